"""From files to cases on one grid, and from cases to what a network sees. Numpy up to :mod:`.batch`."""
