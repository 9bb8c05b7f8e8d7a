"""One function per metric: formula, range, explicit ``data_range`` and mask."""
