"""Bodies that were scanned, frozen, cut and photographed: from the files they are handed out in to a dataset."""
