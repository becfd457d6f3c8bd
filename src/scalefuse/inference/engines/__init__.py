"""Engines: one network computed by torch, ONNX Runtime or OpenVINO, in float32 or bf16.

A predictor calls an engine and does not know what computes it. :mod:`.choice` says which one is used,
:mod:`.build` makes it.
"""
