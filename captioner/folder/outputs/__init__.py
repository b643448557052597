"""Files made from the journal: tables, data sets, a list of failures, a gallery."""
