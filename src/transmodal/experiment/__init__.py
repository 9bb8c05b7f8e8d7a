"""An experiment from end to end: prepare, train, evaluate against the floors, write the run's folder."""
