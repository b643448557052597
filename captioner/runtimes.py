"""What runs the network: each runtime is one class in one file, and one line here.

The class says how the network is run (`captioner.pipeline.Captioner`); docs/extending.md adds one.
"""

RUNTIMES = {
    "torch": ("captioner.pytorch", "TorchCaptioner"),
    "onnx": ("captioner.onnx.runner", "OnnxCaptioner"),
}
"""Module and class of each runtime; it is imported when it is needed."""

PRECISIONS = {
    "torch": ("auto", "float32", "bfloat16", "float16"),
    "onnx": ("auto", "float32", "int8"),
}
"""Number formats of the encoder that these runtimes know."""
