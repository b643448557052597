"""The journal: one line for every photo that is done."""
