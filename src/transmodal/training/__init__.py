"""The one loop, for one to many networks, and what it owns: optimisers, precision, checkpoints, log."""
