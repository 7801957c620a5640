"""Two ONNX graphs, float32 and with int8 weights: an encoder that also computes the keys and values of cross-attention,
and a decoder step that chooses the most probable token. Nothing is copied or transposed that does not have to be."""

import os

import numpy as np
from onnx import TensorProto, helper, numpy_helper, save
from onnxruntime.quantization import QuantType, quantize_dynamic

from models.weights import buckets, sinusoids
from workloads import SHAPES

FLOAT, INT = TensorProto.FLOAT, TensorProto.INT64
MAX_SOURCE = 256


def write(folder, shape, tensors):
    """`folder`-float32 and `folder`-int8, each with encoder.onnx and decoder.onnx."""
    for precision in ["float32", "int8"]:
        os.makedirs(f"{folder}-{precision}", exist_ok=True)
    for name, graph in [("encoder", Encoder(shape, tensors)), ("decoder", Decoder(shape, tensors))]:
        full, small = f"{folder}-float32/{name}.onnx", f"{folder}-int8/{name}.onnx"
        save(graph.model(), full)
        # Weights that are per channel and activations that are quantized as they come: what its guide recommends.
        quantize_dynamic(
            full, small, op_types_to_quantize=["MatMul", "Gather"], per_channel=True, weight_type=QuantType.QInt8,
            extra_options={"MatMulConstBOnly": True},
        )  # fmt: skip


class Graph:
    """Emits nodes; a value is its name."""

    def __init__(self, shape, tensors):
        self.spec, self.tensors = SHAPES[shape], tensors
        self.t5, self.d, self.heads = self.spec["family"] == "t5", self.spec["d_model"], self.spec["heads"]
        self.width = self.d // self.heads
        self.nodes, self.initializers, self.inputs, self.outputs = [], {}, [], []
        # [B, 1, 1, S]: 0 where there is a token and a large negative number where there is none.
        self.bias = self.input("bias", FLOAT, ["batch", 1, 1, "source"])

    def model(self):
        initializers = [numpy_helper.from_array(array, name) for name, array in self.initializers.items()]
        graph = helper.make_graph(self.nodes, "transformer", self.inputs, self.outputs, initializers)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)

    def input(self, name, kind, dims):
        self.inputs.append(helper.make_tensor_value_info(name, kind, dims))
        return name

    def output(self, value, name, kind, dims):
        self.nodes.append(helper.make_node("Identity", [value], [name]))
        self.outputs.append(helper.make_tensor_value_info(name, kind, dims))

    def op(self, kind, *inputs, outputs=1, **attributes):
        names = [f"{kind}_{len(self.nodes)}_{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(kind, inputs, names, **attributes))
        return names[0] if outputs == 1 else names

    def constant(self, name, array):
        self.initializers[name] = np.ascontiguousarray(array)
        return name

    def numbers(self, *values):
        return self.constant("numbers_" + "_".join(map(str, values)), np.array(values, np.int64))

    def scalar(self, value):
        return self.constant(f"scalar_{value}", np.array(value, np.float32))

    def weight(self, name):
        """A tensor of the model; matrices are turned, as MatMul multiplies from the left."""
        return self.constant(name, self.tensors[name].T)

    def linear(self, x, name):
        y = self.op("MatMul", x, self.weight(f"{name}.weight"))
        return y if self.t5 else self.op("Add", y, self.weight(f"{name}.bias"))

    def norm(self, x, name):
        if not self.t5:
            return self.op("LayerNormalization", x, self.weight(f"{name}.weight"), self.weight(f"{name}.bias"), epsilon=1e-5)
        square = self.op("ReduceMean", self.op("Pow", x, self.scalar(2)), axes=[-1])
        root = self.op("Sqrt", self.op("Add", square, self.scalar(1e-6)))
        return self.op("Mul", self.op("Div", x, root), self.weight(f"{name}.weight"))

    def sub_layer(self, x, name, norm, compute):
        """Behind the norm and added (T5), or added and normalized (Marian)."""
        norm = f"{name}.{norm}_norm"
        if self.t5:
            return self.op("Add", x, compute(self.norm(x, norm)))
        return self.norm(self.op("Add", x, compute(x)), norm)

    def feed_forward(self, x, name):
        return self.sub_layer(x, name, "ffn", lambda x: self.linear(
            self.op("Relu", self.linear(x, f"{name}.ffn.up")), f"{name}.ffn.down"))  # fmt: skip

    def embed(self, ids):
        embedding = self.constant("embedding", self.tensors["embedding.source.weight"])
        x = self.op("Gather", embedding, ids)
        return x if self.t5 else self.op("Mul", x, self.scalar(self.d**0.5))

    def size(self, x, axis):
        return self.op("Shape", x, start=axis, end=axis + 1)

    def heads_first(self, x, count, order=(0, 2, 1, 3)):
        """[B, T, count * D] to `count` tensors [B, H, T, D / H], or in another order of dimensions."""
        parts = [x] if count == 1 else self.op("Split", x, self.numbers(*[self.d] * count), outputs=count, axis=-1)
        shape = self.numbers(0, 0, self.heads, self.width)
        return [self.op("Transpose", self.op("Reshape", part, shape), perm=order) for part in parts]

    def attend(self, queries, keys, values, bias):
        """`keys` are columns [B, H, D / H, T]."""
        scores = self.op("MatMul", queries, keys)
        if not self.t5:
            scores = self.op("Mul", scores, self.scalar(self.width**-0.5))
        scores = scores if bias is None else self.op("Add", scores, bias)
        x = self.op("MatMul", self.op("Softmax", scores, axis=-1), values)
        return self.op("Reshape", self.op("Transpose", x, perm=[0, 2, 1, 3]), self.numbers(0, 0, self.d))

    def relative_bias(self, side, distances):
        """[1, H, ...distances]"""
        table = self.tensors[f"{side}.relative_bias"][buckets(self.spec, distances, side == "encoder")]
        return self.constant(f"{side}_bias", np.moveaxis(table, -1, 0)[None])


class Encoder(Graph):
    """source [B, S], bias -> cross0 [B, H, D / H, S], cross1 [B, H, S, D / H], and so on for each decoder layer."""

    def __init__(self, shape, tensors):
        super().__init__(shape, tensors)
        source = self.input("source", INT, ["batch", "source"])
        x, length = self.embed(source), self.size(source, 1)
        bias = self.bias
        if self.t5:
            distances = np.arange(MAX_SOURCE)[None, :] - np.arange(MAX_SOURCE)[:, None]
            ends = self.op("Concat", length, length, axis=0)
            relative, axes = self.relative_bias("encoder", distances), self.numbers(2, 3)
            bias = self.op("Add", bias, self.op("Slice", relative, self.numbers(0, 0), ends, axes))
        else:
            positions = self.constant("positions", sinusoids(self.spec))
            x = self.op("Add", x, self.op("Slice", positions, self.numbers(0), length, self.numbers(0)))
        for i in range(self.spec["encoder_layers"]):
            x = self.layer(x, f"encoder.layers.{i}", bias)
        x = self.norm(x, "encoder.final_norm") if self.t5 else x
        for i in range(self.spec["decoder_layers"]):
            keys_values = self.linear(x, f"decoder.layers.{i}.cross_attention.key_value")
            keys, values = self.op("Split", keys_values, self.numbers(self.d, self.d), outputs=2, axis=-1)
            [keys], [values] = self.heads_first(keys, 1, (0, 2, 3, 1)), self.heads_first(values, 1)
            self.output(keys, f"cross{2 * i}", FLOAT, ["batch", self.heads, self.width, "source"])
            self.output(values, f"cross{2 * i + 1}", FLOAT, ["batch", self.heads, "source", self.width])

    def layer(self, x, name, bias):
        def attention(x):
            queries, keys, values = self.heads_first(self.linear(x, f"{name}.self_attention.qkv"), 3)
            keys = self.op("Transpose", keys, perm=[0, 1, 3, 2])
            return self.linear(self.attend(queries, keys, values, bias), f"{name}.self_attention.output")

        return self.feed_forward(self.sub_layer(x, name, "self_attention", attention), name)


class Decoder(Graph):
    """token [B, 1], past and cross keys and values, bias -> next [B, 1], present keys and values."""

    def __init__(self, shape, tensors):
        super().__init__(shape, tensors)
        token = self.input("token", INT, ["batch", 1])
        shapes = [["batch", self.heads, self.width, "past"], ["batch", self.heads, "past", self.width]]
        layers = range(self.spec["decoder_layers"])
        past = [[self.input(f"past{2 * i + j}", FLOAT, shapes[j]) for j in range(2)] for i in layers]
        position = self.size(past[0][0], 3)
        x, self.relative = self.embed(token), None
        if self.t5:
            # Of the biases of all distances, furthest first, the last ones.
            biases = self.relative_bias("decoder", np.arange(1 - self.spec["positions"], 1)[None, :])
            start = self.op("Sub", self.numbers(self.spec["positions"] - 1), position)
            self.relative = self.op("Slice", biases, start, self.numbers(self.spec["positions"]), self.numbers(3))
        else:
            x = self.op("Add", x, self.op("Gather", self.constant("positions", sinusoids(self.spec)), position))
        present = []
        for i in layers:
            x = self.layer(x, f"decoder.layers.{i}", past[i], i, present)
        if self.t5:
            x = self.op("Mul", self.norm(x, "decoder.final_norm"), self.scalar(self.d**-0.5))
        logits = self.op("MatMul", x, self.constant("output.weight", self.tensors["embedding.source.weight"].T))
        logits = logits if self.t5 else self.op("Add", logits, self.weight("output.bias"))
        self.output(self.op("ArgMax", logits, axis=-1, keepdims=0), "next", INT, ["batch", 1])
        for i, value in enumerate(present):
            dims = [dim if dim != "past" else "present" for dim in shapes[i % 2]]
            self.output(value, f"present{i}", FLOAT, dims)

    def row(self, x, columns=False):
        """[B, 1, D] to [B, H, 1, D / H], or to columns."""
        return self.op("Reshape", x, self.numbers(0, self.heads, *((self.width, 1) if columns else (1, self.width))))

    def layer(self, x, name, past, i, present):
        def self_attention(x):
            qkv = self.linear(x, f"{name}.self_attention.qkv")
            queries, keys, values = self.op("Split", qkv, self.numbers(*[self.d] * 3), outputs=3, axis=-1)
            keys = self.op("Concat", past[0], self.row(keys, columns=True), axis=3)
            values = self.op("Concat", past[1], self.row(values), axis=2)
            present.extend([keys, values])
            x = self.attend(self.row(queries), keys, values, self.relative)
            return self.linear(x, f"{name}.self_attention.output")

        def cross_attention(x):
            keys = self.input(f"cross{2 * i}", FLOAT, ["batch", self.heads, self.width, "source"])
            values = self.input(f"cross{2 * i + 1}", FLOAT, ["batch", self.heads, "source", self.width])
            queries = self.row(self.linear(x, f"{name}.cross_attention.query"))
            return self.linear(self.attend(queries, keys, values, self.bias), f"{name}.cross_attention.output")

        x = self.sub_layer(x, name, "self_attention", self_attention)
        return self.feed_forward(self.sub_layer(x, name, "cross_attention", cross_attention), name)
