"""Captioning without PyTorch: checkpoints as ONNX graphs, and what runs them.

files      the folder of an export: two graphs, and a description in JSON
decoder    the graphs as a decoder: photo -> state; words, state -> scores, attention, next state
runner     OnnxCaptioner: photo -> Caption
graphs     the network as two graphs (needs torch)
borrowing  graphs -> graphs without weights, in float32 or int8 (needs onnx)
export     checkpoint -> folder (needs torch)
"""

from captioner.onnx.runner import OnnxCaptioner

__all__ = ["OnnxCaptioner"]
