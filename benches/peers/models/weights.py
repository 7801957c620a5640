"""The random weights that every peer gets, by the names and in the shapes of Siskin's own tensors."""

import zlib

import numpy as np
from safetensors.numpy import save_file

from workloads import SEED, SHAPES


def weights(shape, decoder="self_attention"):
    """Float32 arrays by name; matrices are [outputs, inputs]. A tensor's values depend on its name only, so two models
    that differ in one block have all others in common. Every sub-layer gives values of about 1."""
    spec = SHAPES[shape]
    t5, d, ffn, heads = spec["family"] == "t5", spec["d_model"], spec["ffn"], spec["heads"]
    tensors = {}

    def normal(name, dims, deviation):
        rng = np.random.default_rng([SEED, zlib.crc32(name.encode())])
        tensors[name] = np.float32(deviation) * rng.standard_normal(dims, np.float32)
        return tensors[name]

    def linear(name, outputs, inputs, bias=not t5):
        if bias:
            normal(f"{name}.bias", outputs, 0.01)
        return normal(f"{name}.weight", (outputs, inputs), inputs**-0.5)

    def norm(name):
        tensors[f"{name}.weight"] = np.ones(d, np.float32)
        if not t5:
            tensors[f"{name}.bias"] = np.zeros(d, np.float32)

    def queries(weight):
        # T5 does not scale the products of queries and keys.
        weight[:d] *= np.float32((d // heads) ** -0.5 if t5 else 1)

    def layer(name, sub_layers):
        if "self_attention" in sub_layers:
            queries(linear(f"{name}.self_attention.qkv", 3 * d, d))
            linear(f"{name}.self_attention.output", d, d)
        if "ssru" in sub_layers:
            linear(f"{name}.ssru.input", d, d, bias=False)
            linear(f"{name}.ssru.forget", d, d)
        if "cross_attention" in sub_layers:
            queries(linear(f"{name}.cross_attention.query", d, d))
            linear(f"{name}.cross_attention.key_value", 2 * d, d)
            linear(f"{name}.cross_attention.output", d, d)
        linear(f"{name}.ffn.up", ffn, d)
        linear(f"{name}.ffn.down", d, ffn)
        for sub_layer in [*sub_layers, "ffn"]:
            norm(f"{name}.{sub_layer}_norm")

    for i in range(spec["encoder_layers"]):
        layer(f"encoder.layers.{i}", ["self_attention"])
    for i in range(spec["decoder_layers"]):
        layer(f"decoder.layers.{i}", [decoder, "cross_attention"])
    embedding = normal("embedding.source.weight", (spec["vocabulary"], d), 1 if t5 else d**-0.5)
    if t5:
        for side in ["encoder", "decoder"]:
            normal(f"{side}.relative_bias", (spec["buckets"], heads), 1)
            norm(f"{side}.final_norm")
    else:
        # Some decoders start from the embedding of the end token, some from zeros: here that is the same.
        embedding[spec["end"]] = 0
        # Neither the end nor the unknown token is ever the best, which forces the length.
        tensors["output.bias"] = np.zeros(spec["vocabulary"], np.float32)
        tensors["output.bias"][:2] = -1e5
    return tensors


def sinusoids(spec):
    """The code of each position [positions, D]: sines, then cosines, of which the wavelengths grow to 20,000 pi."""
    d = spec["d_model"]
    angles = np.arange(spec["positions"])[:, None] / 10000 ** (np.arange(0, d, 2) / d)
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=1).astype(np.float32)


def buckets(spec, distances, both_directions):
    """T5's bucket of each distance, key behind query being negative (Raffel et al. 2020, and their code)."""
    count, furthest = spec["buckets"], spec["max_distance"]
    first = 0
    if both_directions:
        count //= 2
        first = np.where(distances > 0, count, 0)
        distances = np.abs(distances)
    else:
        distances = np.maximum(-distances, 0)
    exact = count // 2
    scaled = np.log(np.maximum(distances, 1) / exact) / np.log(furthest / exact) * (count - exact)
    far = np.minimum(exact + scaled.astype(np.int64), count - 1)
    return first + np.where(distances < exact, distances, far)


def save(path, shape, decoder, tensors):
    """The weights and their shape as safetensors, which our model file is made of."""
    metadata = {key: str(value) for key, value in SHAPES[shape].items()} | {"decoder": decoder}
    save_file(tensors, path, metadata)
