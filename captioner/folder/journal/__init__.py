"""The journal: one JSON line per finished photo, its index, its write-ahead log."""
