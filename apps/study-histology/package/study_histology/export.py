"""A trained network as an ONNX file: what tests with it needs no Keras, and has it loaded in milliseconds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from study_histology import PATCH
from study_histology.files import write_whole

OPSET = 17
IR_VERSION = 8
INPUT, OUTPUT = "patches", "classes"
ACTIVATIONS = {"relu": "Relu", "softmax": "Softmax"}


class _Graph:
    """An ONNX graph while it is written, a layer after the other."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self.last = INPUT

    def add(self, kind: str, *constants: NDArray[Any], output: str = "", **attributes: Any) -> None:
        """One operation on what the last one made."""
        from onnx import helper, numpy_helper

        name = output or f"step{len(self.nodes)}"
        named = [f"{name}.{number}" for number in range(len(constants))]
        self.constants += [numpy_helper.from_array(array, label) for array, label in zip(constants, named, strict=True)]
        self.nodes.append(helper.make_node(kind, [self.last, *named], [name], **attributes))
        self.last = name

    def activate(self, layer: Any) -> None:
        """The layer's activation, where it has one."""
        name = layer.activation.__name__
        if name != "linear":
            self.add(ACTIVATIONS[name])


def export(network: Any, path: Path) -> None:
    """Write a Sequential network of the layers in LAYERS to `path`; Keras' own exporter wants TensorFlow for it."""
    import onnx
    from onnx import TensorProto, helper

    graph = _Graph()
    graph.add("Reshape", np.array([-1, 1, PATCH, PATCH]))
    for layer in network.layers:
        LAYERS[type(layer).__name__](graph, layer)
    graph.add("Identity", output=OUTPUT)
    patches = helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ["n", PATCH, PATCH, 1])
    classes = helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["n", 2])
    whole = helper.make_graph(graph.nodes, "histology", [patches], [classes], graph.constants)
    model = helper.make_model(whole, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    onnx.checker.check_model(model, full_check=True)
    write_whole(path, lambda part: part.write_bytes(model.SerializeToString(deterministic=True)))


def _convolution(graph: _Graph, layer: Any) -> None:
    kernel, bias = layer.get_weights()
    pads = [side // 2 for side in layer.kernel_size] * 2 if layer.padding == "same" else [0] * 4
    if layer.padding == "same" and layer.strides != (1, 1):
        raise ValueError(f"layer {layer.name}: padding 'same' with strides {layer.strides} is not exported")
    # Keras has channels last, ONNX first.
    graph.add("Conv", np.ascontiguousarray(kernel.transpose(3, 2, 0, 1)), bias, strides=list(layer.strides), pads=pads)
    graph.activate(layer)


def _normalization(graph: _Graph, layer: Any) -> None:
    graph.add("BatchNormalization", *layer.get_weights(), epsilon=float(layer.epsilon))


def _pooling(graph: _Graph, layer: Any) -> None:
    graph.add("MaxPool", kernel_shape=list(layer.pool_size), strides=list(layer.strides))


def _flatten(graph: _Graph, _: Any) -> None:
    graph.add("Transpose", perm=[0, 2, 3, 1])  # the order in which Keras flattens
    graph.add("Flatten")


def _dense(graph: _Graph, layer: Any) -> None:
    graph.add("Gemm", *layer.get_weights())
    graph.activate(layer)


def _nothing(_: _Graph, __: Any) -> None:
    """What only training knows."""


LAYERS = {
    "BatchNormalization": _normalization,
    "Conv2D": _convolution,
    "Dense": _dense,
    "Dropout": _nothing,
    "Flatten": _flatten,
    "MaxPooling2D": _pooling,
}
