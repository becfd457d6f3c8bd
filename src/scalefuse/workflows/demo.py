"""The main jobs on data that come with the package."""
