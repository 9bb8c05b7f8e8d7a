"""Layers and networks that two methods or more share. Each is built for ``spatial`` = 2 or 3 axes."""
