"""The published networks, each in its own folder, in pure PyTorch."""
