"""Speed: number formats, compiled code, packed weights."""
