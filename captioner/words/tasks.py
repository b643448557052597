"""Tasks by the prompts that stand for them: questions that the encoder of Florence-2 reads."""

TASKS = {
    "<CAPTION>": "What does the image describe?",
    "<DETAILED_CAPTION>": "Describe in detail what is shown in the image.",
    "<MORE_DETAILED_CAPTION>": "Describe with a paragraph what is shown in the image.",
}
"""Those that ask for captions, as in its authors' processing_florence2.py."""
