"""What is run: shapes of models, sentences, and which peer runs what."""

import random
from dataclasses import dataclass
from functools import cache

SEED = 7

# Marian's Transformer (as OPUS-MT's and Firefox's models are) and T5's. All embeddings are one matrix.
SHAPES = {
    "tiny": dict(family="marian", d_model=256, ffn=1536, heads=8, encoder_layers=6, decoder_layers=2, vocabulary=32000),
    "base": dict(family="marian", d_model=512, ffn=2048, heads=8, encoder_layers=6, decoder_layers=6, vocabulary=58104),
    "t5small": dict(family="t5", d_model=512, ffn=2048, heads=8, encoder_layers=6, decoder_layers=6, vocabulary=32128),
    # For ../arm alone.
    "arm": dict(family="marian", d_model=512, ffn=2048, heads=8, encoder_layers=6, decoder_layers=6, vocabulary=8000),
}
TIMED = ["tiny", "base", "t5small"]
for shape in SHAPES.values():
    shape |= dict(start=0, end=1 if shape["family"] == "t5" else 0, positions=512, buckets=32, max_distance=128)

# A shortlist of 5 % of the vocabulary for a sentence of 24 tokens: tokens for every sentence, and for a source token.
SHORTLIST_ALWAYS = 100
SHORTLIST_LISTED = {"tiny": 62, "base": 117, "arm": 15}


@cache
def shortlist(shape):
    """Target tokens for each source token; the tokens below SHORTLIST_ALWAYS are for all of them."""
    rng, vocabulary = random.Random(SEED), SHAPES[shape]["vocabulary"]
    targets = range(SHORTLIST_ALWAYS, vocabulary)
    return [sorted(rng.sample(targets, SHORTLIST_LISTED[shape])) for _ in range(vocabulary)]


@dataclass
class Workload:
    title: str
    # Tokens of the sources of each call, the longest call first, and how many tokens each output of it must have.
    calls: list[tuple[list[int], int]]
    threads: int = 1
    beam: int = 1
    rounds: int = 10


def batches(lengths, size):
    """Calls of sentences of similar length; every output is as long as the longest source of its call."""
    lengths = sorted(lengths, reverse=True)
    return [(lengths[i : i + size], lengths[i]) for i in range(0, len(lengths), size)]


WORKLOADS = {
    "a": Workload("24 tokens in, 24 out, one sentence, 1 thread", [([24], 24)]),
    "a2": Workload("24 tokens in, 24 out, one sentence, 2 threads", [([24], 24)], threads=2),
    "b": Workload(
        "64 sentences of 8 to 48 tokens, batches of 16, 2 threads or 2 workers of one",
        batches([round(8 + 40 * i / 63) for i in range(64)], 16),
        threads=2,
        rounds=5,
    ),
    "c": Workload("256 tokens in, 64 out, one sentence, 1 thread", [([256], 64)], rounds=7),
    "beam": Workload("24 tokens in, 24 out, one sentence, beam 4, 1 thread", [([24], 24)], beam=4),
}


def calls(shape, workload):
    """The workload as token ids: random, with the end token behind each source."""
    rng, spec = random.Random(SEED), SHAPES[shape]
    source = lambda length: [rng.randrange(200, spec["vocabulary"] - 200) for _ in range(length - 1)] + [spec["end"]]
    return [
        dict(sources=[source(length) for length in lengths], length=output)
        for lengths, output in WORKLOADS[workload].calls
    ]


@dataclass(frozen=True)
class Runner:
    """A peer, how it runs, and the kind of model, which is what it is compared within."""

    peer: str
    precision: str = "int8"
    decoder: str = "self_attention"
    shortlist: bool = False
    # Threads inside one computation, or workers of one thread each.
    split: str = "threads"

    @property
    def kind(self):
        decoder = {"self_attention": "self-attention", "ssru": "SSRU"}[self.decoder]
        return f"{decoder} + shortlist" if self.shortlist else decoder

    def name(self, threads):
        return f"{self.peer} {self.precision}" + (f", {threads} {self.split}" if threads > 1 else "")


OURS = "siskin"
# Ours with a screen, which only a sentence by itself, searched greedily over all tokens, makes use of.
SCREENED = "int8 screened"
# int4 in embeddings, output and feed-forward blocks, and in all matrices.
INT4 = ["int4", "int4-all"]
# What a peer can do: precisions, decoders, shortlists, beams, and what its parallel runs are split into.
PEERS = {
    OURS: dict(
        decoders=["self_attention", "ssru"], shortlist=True, beam=True, splits=["threads", "workers"],
        precisions=["int8", SCREENED, *INT4, "float32"],
    ),
    "ctranslate2": dict(shortlist=True, beam=True, splits=["threads", "workers"], precisions=["int8", "float32"]),
    "bergamot": dict(decoders=["self_attention", "ssru"], shortlist=True, beam=True, splits=["workers"], t5=False),
    "onnxruntime": dict(precisions=["int8", "float32"]),
    "rten": dict(),
    "candle": dict(precisions=["float32"]),
    "torch": dict(precisions=["float32"]),
}


def runners(shape, workload):
    """Everyone who runs a workload. More than one thread shares a sentence; only batches can be split by workers."""
    load, t5 = WORKLOADS[workload], SHAPES[shape]["family"] == "t5"
    for peer, can in PEERS.items():
        splits, precisions = can.get("splits", ["threads"]), can.get("precisions", ["int8"])
        if load.threads == 1:
            splits = ["threads"]
        elif len(load.calls) == 1:
            splits = [split for split in splits if split == "threads"]
        if (t5 and not can.get("t5", True)) or (load.beam > 1 and not can.get("beam")):
            continue
        for decoder in can.get("decoders", ["self_attention"])[: 1 if t5 else None]:
            for listed in [False, True][: 2 if can.get("shortlist") and not t5 else 1]:
                for precision in precisions:
                    # Float32 is there to compare outputs with, once.
                    if precision == "float32" and len(precisions) > 1 and (listed or decoder == "ssru" or workload != "a"):
                        continue
                    if precision == SCREENED and (listed or load.beam > 1 or load.threads > 1):
                        continue
                    yield from (Runner(peer, precision, decoder, listed, split) for split in splits)


def work(shape, workload, decoder, listed):
    """What the arithmetic cannot do without, for each call: the bytes of int8 weights and the multiply-adds of the
    encoder (with the keys and values of cross-attention), how many decoding steps, and the same of a step. Attention
    itself, norms and softmax are not counted."""
    spec, load = SHAPES[shape], WORKLOADS[workload]
    d, ffn, layers = spec["d_model"], spec["ffn"], spec["decoder_layers"]
    lists = shortlist(shape) if listed else None
    history = {"self_attention": 4, "ssru": 2}[decoder] * d * d
    for call in calls(shape, workload):
        tokens = sum(map(len, call["sources"]))
        encoder = spec["encoder_layers"] * (4 * d * d + 2 * d * ffn) + layers * 2 * d * d
        outputs = spec["vocabulary"]
        if lists:
            outputs = SHORTLIST_ALWAYS + len({target for source in call["sources"] for id in source for target in lists[id]})
        weights = layers * (history + 2 * d * d + 2 * d * ffn) + outputs * d
        rows = len(call["sources"]) * load.beam
        yield (encoder, tokens * encoder), call["length"], (weights, rows * weights)
