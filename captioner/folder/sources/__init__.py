"""Where photos come from: folders, lists and archives."""
