"""Captioning without PyTorch: checkpoints as ONNX graphs on onnxruntime.

files      the folder of an export: graphs, and a description in JSON
session    a graph in onnxruntime, with the checkpoint's weights
decoder    graphs as a decoder: features -> state; words, state -> scores, attention, next state
runner     OnnxCaptioner: photo -> Caption
graphs     the network as graphs (needs torch)
borrowing  graphs -> graphs without weights, in float32 or int8 (needs onnx)
export     checkpoint -> folder (needs torch)
"""

from captioner.onnx.runner import OnnxCaptioner

__all__ = ["OnnxCaptioner"]
