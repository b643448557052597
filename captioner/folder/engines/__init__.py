"""What turns photos into captions: this process, or a Ray cluster."""
