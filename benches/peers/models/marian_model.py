"""Marian's binary model with int8 weights, as Bergamot reads it, with its vocabulary and its shortlist."""

import os
import struct

import numpy as np
import yaml
from sentencepiece import sentencepiece_model_pb2

from models.tokens import tokens
from workloads import SHAPES, SHORTLIST_ALWAYS, shortlist

# Element types of Marian's tensors: integers or floats, their size, and for intgemm's a flag of their own.
INT8, FLOAT32, INTGEMM8 = 0x0101, 0x0404, 0x4101
# What activations are multiplied with before they are rounded: they are expected within 6 of 0.
ACTIVATION_SCALE = 127 / 6
ALIGNMENT = 256


def write(folder, shape, tensors, decoder):
    os.makedirs(folder, exist_ok=True)
    write_model(f"{folder}/model.bin", parameters(shape, tensors), configuration(shape, decoder))
    write_vocabulary(f"{folder}/vocabulary.spm", SHAPES[shape])
    write_shortlist(f"{folder}/shortlist.bin", shape)


def parameters(shape, tensors):
    """Tensors by Marian's names; matrices are [inputs, outputs] except for the embeddings."""
    spec, d = SHAPES[shape], SHAPES[shape]["d_model"]
    result = {"Wemb": tensors["embedding.source.weight"], "decoder_ff_logit_out_b": tensors["output.bias"]}

    def linear(place, suffixes, name):
        """One matrix of ours below the other is several of theirs."""
        rows = len(tensors[f"{name}.weight"]) // len(suffixes)
        for i, suffix in enumerate(suffixes):
            part = slice(i * rows, (i + 1) * rows)
            result[f"{place}_W{suffix}"] = tensors[f"{name}.weight"][part].T
            if f"{name}.bias" in tensors:
                result[f"{place}_b{suffix}"] = tensors[f"{name}.bias"][part]

    def norm(place, name):
        result[f"{place}_ln_scale"] = tensors[f"{name}.weight"]
        result[f"{place}_ln_bias"] = tensors[f"{name}.bias"]

    for side in ["encoder", "decoder"]:
        for i in range(spec[f"{side}_layers"]):
            ours, theirs = f"{side}.layers.{i}", f"{side}_l{i + 1}"
            if f"{ours}.ssru.input.weight" in tensors:
                linear(f"{theirs}_rnn", [""], f"{ours}.ssru.input")
                linear(f"{theirs}_rnn", ["f"], f"{ours}.ssru.forget")
                norm(f"{theirs}_rnn_ffn", f"{ours}.ssru_norm")
            else:
                linear(f"{theirs}_self", "qkv", f"{ours}.self_attention.qkv")
                linear(f"{theirs}_self", "o", f"{ours}.self_attention.output")
                norm(f"{theirs}_self_Wo", f"{ours}.self_attention_norm")
            if side == "decoder":
                linear(f"{theirs}_context", "q", f"{ours}.cross_attention.query")
                linear(f"{theirs}_context", "kv", f"{ours}.cross_attention.key_value")
                linear(f"{theirs}_context", "o", f"{ours}.cross_attention.output")
                norm(f"{theirs}_context_Wo", f"{ours}.cross_attention_norm")
            linear(f"{theirs}_ffn", "1", f"{ours}.ffn.up")
            linear(f"{theirs}_ffn", "2", f"{ours}.ffn.down")
            norm(f"{theirs}_ffn_ffn", f"{ours}.ffn_norm")
    return {name: np.atleast_2d(tensor) for name, tensor in result.items()}


def configuration(shape, decoder):
    """The options that a model file carries; most say that something is not there."""
    spec, ssru = SHAPES[shape], decoder == "ssru"
    options = {
        "type": "transformer", "version": "v1.9.31 0000000 1970-01-01 00:00:00 +0000", "input-types": [],
        "dim-emb": spec["d_model"], "dim-rnn": 1024, "dim-vocabs": [spec["vocabulary"]] * 2,
        "enc-type": "bidirectional", "enc-cell": "gru", "enc-cell-depth": 1, "enc-depth": spec["encoder_layers"],
        "dec-cell": "ssru" if ssru else "gru", "dec-cell-base-depth": 2, "dec-cell-high-depth": 1,
        "dec-depth": spec["decoder_layers"], "skip": False, "layer-normalization": False, "right-left": False,
        "tied-embeddings": False, "tied-embeddings-src": False, "tied-embeddings-all": True, "output-omit-bias": False,
        "transformer-heads": spec["heads"], "transformer-no-projection": False, "transformer-pool": False,
        "transformer-dim-ffn": spec["ffn"], "transformer-ffn-depth": 2, "transformer-ffn-activation": "relu",
        "transformer-dim-aan": 2048, "transformer-aan-depth": 2, "transformer-aan-activation": "swish",
        "transformer-aan-nogate": False, "transformer-decoder-autoreg": "rnn" if ssru else "self-attention",
        "transformer-depth-scaling": False, "transformer-tied-layers": [], "transformer-guided-alignment-layer": "last",
        "transformer-preprocess": "", "transformer-postprocess": "dan", "transformer-postprocess-emb": "d",
        "transformer-postprocess-top": "", "transformer-train-position-embeddings": False,
        "bert-train-type-embeddings": True, "bert-type-vocab-size": 2, "ulr": False, "ulr-dim-emb": 0,
        "ulr-trainable-transformation": False, "factors-combine": "sum", "factors-dim-emb": 0, "lemma-dim-emb": 0,
    }  # fmt: skip
    return yaml.dump(options)


def padded(data):
    return data + b"\0" * (-len(data) % ALIGNMENT)


def write_model(path, parameters, configuration):
    items = []
    for name, tensor in parameters.items():
        if name == "Wemb" or "_W" in name and "_ln_" not in name:
            scale = 127 / np.abs(tensor).max()
            stored = tensor if name == "Wemb" else tensor.T
            data = np.clip(np.rint(stored * scale), -127, 127).astype(np.int8).tobytes() + struct.pack("<f", scale)
            items.append((name, INTGEMM8, tensor.shape, data))
            items.append((f"{name}_QuantMultA", FLOAT32, (1, 1), struct.pack("<f", ACTIVATION_SCALE)))
        else:
            items.append((name, FLOAT32, tensor.shape, tensor.astype("<f4").tobytes()))
    items.append(("none_QuantMultA", FLOAT32, (1, 1), struct.pack("<f", ACTIVATION_SCALE)))
    text = configuration.encode() + b"\0"
    items.append(("special:model.yml", INT8, (len(text),), text))

    # Version and number of tensors, a header for each, their names, their shapes, then their elements, aligned.
    head = struct.pack("<QQ", 1, len(items))
    for name, kind, dims, data in items:
        head += struct.pack("<QQQQ", len(name) + 1, kind, len(dims), len(padded(data)))
    head += b"".join(name.encode() + b"\0" for name, *_ in items)
    head += b"".join(struct.pack(f"<{len(dims)}i", *dims) for _, _, dims, _ in items)
    gap = -(len(head) + 8) % ALIGNMENT
    with open(path, "wb") as file:
        file.write(head + struct.pack("<Q", gap) + b"\0" * gap)
        for *_, data in items:
            file.write(padded(data))


def write_vocabulary(path, spec):
    """A SentencePiece model whose pieces are whole words."""
    model = sentencepiece_model_pb2.ModelProto()
    for id, token in enumerate(tokens(spec)):
        model.pieces.add(piece=token, score=-1 if id > 1 else 0, type={0: 3, 1: 2}.get(id, 1))
    trainer, normalizer = model.trainer_spec, model.normalizer_spec
    trainer.model_type, trainer.vocab_size = 1, spec["vocabulary"]
    trainer.eos_id, trainer.unk_id, trainer.bos_id, trainer.pad_id = 0, 1, -1, -1
    trainer.eos_piece, trainer.unk_piece, normalizer.name = "</s>", "<unk>", "identity"
    normalizer.add_dummy_prefix = normalizer.remove_extra_whitespaces = normalizer.escape_whitespaces = True
    with open(path, "wb") as file:
        file.write(model.SerializeToString())


def write_shortlist(path, shape):
    """Bergamot's binary shortlist: magic, checksum of the rest, four counts, where each list starts, the lists."""
    lists = shortlist(shape)
    offsets = np.cumsum([0, *map(len, lists)], dtype="<u8")
    ids = np.concatenate(lists).astype("<u4")
    counts = struct.pack("<QQQQ", SHORTLIST_ALWAYS, max(map(len, lists)), len(offsets), len(ids))
    body = counts + offsets.tobytes() + ids.tobytes()
    with open(path, "wb") as file:
        file.write(struct.pack("<QQ", 0xF11A48D5013417F5, checksum(body)) + body)


def checksum(data):
    """Folds the words of 64 bits; a last half word is left out."""
    folded = 0
    for word in memoryview(data[: len(data) // 8 * 8]).cast("Q"):
        folded ^= (word + 0x9E3779B9 + (folded << 6) + (folded >> 2)) & 0xFFFFFFFFFFFFFFFF
    return folded
