"""One file per published method; files whose name starts with an underscore are not methods."""
