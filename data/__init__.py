"""COCO and its like on their way to the trainer; the pictures themselves stay out of git."""
