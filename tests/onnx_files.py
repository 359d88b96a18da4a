"""Linear models as ONNX files, for tests; skips the test where onnx is not installed."""

from __future__ import annotations

import pytest
import torch


def onnx_file(path, model, *, batch="N", double=False, labels_first=False):
    """A linear model as an ONNX file: for batches of any size or a fixed one, and of either precision."""
    package = pytest.importorskip("onnx", reason="onnx is not installed")
    make, kind = package.helper, package.TensorProto.DOUBLE if double else package.TensorProto.FLOAT
    precision = torch.float64 if double else torch.float32
    values = {name: one.detach().to(precision).numpy() for name, one in (("w", model[1].weight), ("b", model[1].bias))}
    nodes = [
        make.make_node("Flatten", ["x"], ["f"]),
        make.make_node("Gemm", ["f", "w", "b"], ["z"], transB=1),
        make.make_node("ArgMax", ["z"], ["label"], axis=1, keepdims=0),
    ]
    outputs = [
        make.make_tensor_value_info("label", package.TensorProto.INT64, [batch]),
        make.make_tensor_value_info("z", kind, [batch, 10]),
    ]
    graph = make.make_graph(
        nodes,
        "linear",
        [make.make_tensor_value_info("x", kind, [batch, 1, 8, 8])],
        outputs if labels_first else outputs[::-1],
        [package.numpy_helper.from_array(value, name) for name, value in values.items()],
    )
    package.save(make.make_model(graph, opset_imports=[make.make_opsetid("", 17)], ir_version=8), path)
    return path
