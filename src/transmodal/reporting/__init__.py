"""One self-contained HTML page and tidy tables from an evaluated run."""
