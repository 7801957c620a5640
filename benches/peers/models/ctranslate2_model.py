"""CTranslate2's model, filled by hand: its importers of other formats are not needed for that."""

import os

import numpy as np
from ctranslate2.specs import TransformerSpec, common_spec

from models.tokens import tokens
from models.weights import sinusoids
from workloads import SHAPES, SHORTLIST_ALWAYS, shortlist


def write(folder, shape, tensors, precision):
    spec, t5 = SHAPES[shape], SHAPES[shape]["family"] == "t5"
    # Quantization overwrites what it is given.
    tensors = {name: tensor.copy() for name, tensor in tensors.items()}
    model = TransformerSpec.from_config(
        (spec["encoder_layers"], spec["decoder_layers"]),
        spec["heads"],
        pre_norm=t5,
        activation=common_spec.Activation.RELU,
        relative_attention_bias=t5,
        rms_norm=t5,
    )
    embedding = tensors["embedding.source.weight"]
    model.encoder.embeddings[0].weight = model.decoder.embeddings.weight = model.decoder.projection.weight = embedding
    if t5:
        model.decoder.scale_outputs = np.float32(spec["d_model"] ** -0.5)
    else:
        model.decoder.projection.bias = tensors["output.bias"]
    for name, side in [("encoder", model.encoder), ("decoder", model.decoder)]:
        side.scale_embeddings = not t5
        if t5:
            norm(side.layer_norm, tensors, f"{name}.final_norm")
        else:
            side.position_encodings.encodings = sinusoids(spec)
        for i, layer in enumerate(side.layer):
            fill_layer(layer, tensors, f"{name}.layers.{i}", spec, tensors.get(f"{name}.relative_bias"))
    words = tokens(spec)
    model.register_source_vocabulary(words)
    model.register_target_vocabulary(words)
    model.config.decoder_start_token, model.config.eos_token = words[spec["start"]], words[spec["end"]]
    model.config.bos_token, model.config.unk_token = words[spec["start"]], "<unk>"
    model.config.layer_norm_epsilon = 1e-6 if t5 else 1e-5
    model.validate()
    model.optimize(quantization=precision)
    os.makedirs(folder, exist_ok=True)
    model.save(folder)
    if not t5:
        write_shortlist(f"{folder}/vmap.txt", shape, words)


def write_shortlist(path, shape, words):
    """A vocabulary map: source words, a tab, target words; those of the empty phrase are for every sentence."""
    lists = [("", range(SHORTLIST_ALWAYS)), *zip(words, shortlist(shape))]
    with open(path, "w", encoding="utf-8") as file:
        file.writelines(f"{source}\t{' '.join(words[id] for id in targets)}\n" for source, targets in lists)


def fill_layer(layer, tensors, name, spec, relative_bias):
    attentions = [(layer.self_attention, "self_attention", ["qkv", "output"])]
    if hasattr(layer, "attention"):
        attentions.append((layer.attention, "cross_attention", ["query", "key_value", "output"]))
    for attention, kind, parts in attentions:
        norm(attention.layer_norm, tensors, f"{name}.{kind}_norm")
        for projection, part in zip(attention.linear, parts):
            linear(projection, tensors, f"{name}.{kind}.{part}")
        if relative_bias is not None:
            attention.queries_scale = np.float32(1)
    if relative_bias is not None:
        layer.self_attention.relative_attention_bias = relative_bias
        layer.self_attention.relative_attention_max_distance = np.dtype("int32").type(spec["max_distance"])
    norm(layer.ffn.layer_norm, tensors, f"{name}.ffn_norm")
    linear(layer.ffn.linear_0, tensors, f"{name}.ffn.up")
    linear(layer.ffn.linear_1, tensors, f"{name}.ffn.down")


def linear(projection, tensors, name):
    projection.weight = tensors[f"{name}.weight"]
    if f"{name}.bias" in tensors:
        projection.bias = tensors[f"{name}.bias"]


def norm(layer_norm, tensors, name):
    layer_norm.gamma = tensors[f"{name}.weight"]
    if f"{name}.bias" in tensors:
        layer_norm.beta = tensors[f"{name}.bias"]
