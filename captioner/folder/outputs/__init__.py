"""What a finished journal becomes: tables, reports, a gallery."""
