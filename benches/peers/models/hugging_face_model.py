"""Weights by the names that Hugging Face gives them, and the configuration, as candle reads them."""

import json
import os

from safetensors.numpy import save_file

from workloads import SHAPES

# Sub-layers of a T5 block, in their order.
T5_SUB_LAYERS = {
    "encoder": ["self_attention", "ffn"],
    "decoder": ["self_attention", "cross_attention", "ffn"],
}


def write(folder, shape, tensors):
    os.makedirs(folder, exist_ok=True)
    spec, t5 = SHAPES[shape], SHAPES[shape]["family"] == "t5"
    result = (t5_names if t5 else marian_names)(spec, tensors)
    save_file({name: tensor.copy() for name, tensor in result.items()}, f"{folder}/model.safetensors")
    with open(f"{folder}/config.json", "w") as file:
        json.dump((t5_configuration if t5 else marian_configuration)(spec), file)


def projections(tensors, layer, attention):
    """Queries, keys, values and output of an attention: where their rows are in which of our tensors."""
    d = len(tensors[f"{layer}.{attention}.output.weight"])
    if attention == "self_attention":
        return [("qkv", slice(i * d, (i + 1) * d)) for i in range(3)] + [("output", slice(None))]
    return [("query", slice(None)), ("key_value", slice(d)), ("key_value", slice(d, None)), ("output", slice(None))]


def layers(spec):
    return [(side, i) for side in T5_SUB_LAYERS for i in range(spec[f"{side}_layers"])]


def marian_names(spec, tensors):
    result = {
        "model.shared.weight": tensors["embedding.source.weight"],
        "final_logits_bias": tensors["output.bias"][None],
    }
    for side, i in layers(spec):
        ours, theirs = f"{side}.layers.{i}", f"model.{side}.layers.{i}"
        names = {"ffn.up": "fc1", "ffn.down": "fc2", "self_attention_norm": "self_attn_layer_norm",
                 "cross_attention_norm": "encoder_attn_layer_norm", "ffn_norm": "final_layer_norm"}  # fmt: skip
        for part in ["weight", "bias"]:
            for our, their in names.items():
                if f"{ours}.{our}.{part}" in tensors:
                    result[f"{theirs}.{their}.{part}"] = tensors[f"{ours}.{our}.{part}"]
            for attention, their in [("self_attention", "self_attn"), ("cross_attention", "encoder_attn")]:
                if f"{ours}.{attention}.output.weight" in tensors:
                    parts = projections(tensors, ours, attention)
                    for projection, (our, rows) in zip(["q_proj", "k_proj", "v_proj", "out_proj"], parts):
                        result[f"{theirs}.{their}.{projection}.{part}"] = tensors[f"{ours}.{attention}.{our}.{part}"][rows]
    return result


def marian_configuration(spec):
    return dict(
        vocab_size=spec["vocabulary"], decoder_vocab_size=spec["vocabulary"], d_model=spec["d_model"],
        max_position_embeddings=spec["positions"], use_cache=True, is_encoder_decoder=True, scale_embedding=True,
        encoder_layers=spec["encoder_layers"], decoder_layers=spec["decoder_layers"], activation_function="relu",
        encoder_attention_heads=spec["heads"], decoder_attention_heads=spec["heads"], encoder_ffn_dim=spec["ffn"],
        decoder_ffn_dim=spec["ffn"], decoder_start_token_id=spec["start"], eos_token_id=spec["end"],
        pad_token_id=spec["start"], forced_eos_token_id=spec["end"], share_encoder_decoder_embeddings=True,
    )  # fmt: skip


def t5_names(spec, tensors):
    result = {"shared.weight": tensors["embedding.source.weight"]}
    for side in T5_SUB_LAYERS:
        result[f"{side}.final_layer_norm.weight"] = tensors[f"{side}.final_norm.weight"]
        bias = f"{side}.block.0.layer.0.SelfAttention.relative_attention_bias.weight"
        result[bias] = tensors[f"{side}.relative_bias"]
    for side, i in layers(spec):
        for j, sub_layer in enumerate(T5_SUB_LAYERS[side]):
            ours, theirs = f"{side}.layers.{i}", f"{side}.block.{i}.layer.{j}"
            result[f"{theirs}.layer_norm.weight"] = tensors[f"{ours}.{sub_layer}_norm.weight"]
            if sub_layer == "ffn":
                result[f"{theirs}.DenseReluDense.wi.weight"] = tensors[f"{ours}.ffn.up.weight"]
                result[f"{theirs}.DenseReluDense.wo.weight"] = tensors[f"{ours}.ffn.down.weight"]
                continue
            block = {"self_attention": "SelfAttention", "cross_attention": "EncDecAttention"}[sub_layer]
            for projection, (our, rows) in zip("qkvo", projections(tensors, ours, sub_layer)):
                result[f"{theirs}.{block}.{projection}.weight"] = tensors[f"{ours}.{sub_layer}.{our}.weight"][rows]
    return result


def t5_configuration(spec):
    return dict(
        vocab_size=spec["vocabulary"], d_model=spec["d_model"], d_kv=spec["d_model"] // spec["heads"],
        d_ff=spec["ffn"], num_layers=spec["encoder_layers"], num_decoder_layers=spec["decoder_layers"],
        num_heads=spec["heads"], relative_attention_num_buckets=spec["buckets"],
        relative_attention_max_distance=spec["max_distance"], dropout_rate=0.1, layer_norm_epsilon=1e-6,
        initializer_factor=1.0, feed_forward_proj="relu", tie_word_embeddings=True, is_decoder=False,
        is_encoder_decoder=True, use_cache=True, pad_token_id=0, eos_token_id=1, decoder_start_token_id=0,
    )  # fmt: skip
