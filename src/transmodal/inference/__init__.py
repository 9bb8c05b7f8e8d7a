"""From a Model and a scan to a synthetic scan on exactly the same grid."""
