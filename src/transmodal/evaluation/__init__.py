"""From predictions and references to one tidy table and its summary."""
