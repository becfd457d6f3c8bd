"""Building blocks that two or more of the published networks share."""
