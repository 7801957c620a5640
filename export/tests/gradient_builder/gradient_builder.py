"""Makes gradients.safetensors: the gradients of ONNX Runtime's own gradient builder.

Needs Python 3.11 on Linux (x86-64), which the builder's wheel is for, and ONNX Runtime for the test (`ort setup`).
From the folder of the repository:

    python3.11 -m venv /tmp/builder
    /tmp/builder/bin/pip install onnxruntime-training-cpu==1.19.2 onnx==1.16.2 "numpy<2"
    mkdir /tmp/graphs
    SISKIN_GRADIENT_GRAPHS=/tmp/graphs cargo test -p siskin-export --test gradient_builder -- --ignored
    /tmp/builder/bin/python export/tests/gradient_builder/gradient_builder.py /tmp/graphs

The graphs hold forward pass and loss, and values for all that they read; their inputs are the parameters.
"""

import json
import pathlib
import struct
import sys

import onnx
import onnxruntime
from onnxruntime.capi._pybind_state import GradientGraphBuilder


def gradients(path):
    """The gradient of the loss for each parameter."""
    model = onnx.load(path)
    parameters = [parameter.name for parameter in model.graph.input]
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    builder = GradientGraphBuilder(model.SerializeToString(), {"loss"}, set(parameters), "loss", options)
    builder.build()
    whole = onnx.load_from_string(builder.get_model())
    names = [f"{parameter}_grad" for parameter in parameters]
    del whole.graph.output[:]
    whole.graph.output.extend(
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in names
    )
    session = onnxruntime.InferenceSession(
        whole.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return dict(zip(parameters, session.run(names, {})))


def safetensors(tensors):
    """The bytes of a safetensors file."""
    header, data = {}, b""
    for name, tensor in sorted(tensors.items()):
        start, data = len(data), data + tensor.astype("<f4").tobytes()
        header[name] = {"dtype": "F32", "shape": tensor.shape, "data_offsets": [start, len(data)]}
    header = json.dumps(header, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    return struct.pack("<Q", len(header)) + header + data


def main():
    onnxruntime.set_default_logger_severity(3)  # errors: parameters with values are inputs on purpose
    tensors = {}
    paths = sorted(pathlib.Path(sys.argv[1]).glob("*.onnx"))
    if not paths:
        sys.exit(f"no graphs in {sys.argv[1]}")
    for path in paths:
        for parameter, gradient in gradients(path).items():
            tensors[f"{path.stem}/{parameter}"] = gradient
    pathlib.Path(__file__).with_name("gradients.safetensors").write_bytes(safetensors(tensors))


main()
