"""The recipe of `run.py` in PyTorch, from its own modules: the same parameters, dropout, loss, optimizer and batches."""

import json
import math
import random
import sys
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

END, UNKNOWN, START = range(3)
PADDING = -100
WARMUP, RATE = 1000, 1e-3


class Transformer(nn.Module):
    """Norms in front of sub-layers, sinusoids, one matrix for both embeddings and the output."""

    def __init__(self, job, vocabulary):
        super().__init__()
        d = job["d_model"]
        options = dict(dropout=0.1, batch_first=True, norm_first=True)
        encoder = nn.TransformerEncoderLayer(d, job["heads"], job["ffn_width"], **options)
        decoder = nn.TransformerDecoderLayer(d, job["heads"], job["ffn_width"], **options)
        self.encoder = nn.TransformerEncoder(encoder, job["encoder_layers"], nn.LayerNorm(d), enable_nested_tensor=False)
        self.decoder = nn.TransformerDecoder(decoder, job["decoder_layers"], nn.LayerNorm(d))
        for layer in [*self.encoder.layers, *self.decoder.layers]:
            # Dropout of what is added only: neither of attention nor inside of feed-forward layers.
            layer.dropout.p = layer.self_attn.dropout = 0.0
            if hasattr(layer, "multihead_attn"):
                layer.multihead_attn.dropout = 0.0
        self.embedding, self.output = nn.Embedding(vocabulary, d), nn.Linear(d, vocabulary)
        for matrix in [p for p in self.parameters() if p.ndim > 1]:
            nn.init.xavier_uniform_(matrix)
        self.output.weight = self.embedding.weight
        nn.init.normal_(self.embedding.weight, std=d**-0.5)
        self.dropout, self.scale = nn.Dropout(0.1), math.sqrt(d)
        angles = torch.arange(256)[:, None] / 10000 ** (torch.arange(0, d, 2) / d)
        self.register_buffer("sinusoids", torch.cat([angles.sin(), angles.cos()], dim=1))

    def embed(self, ids):
        return self.dropout(self.embedding(ids) * self.scale + self.sinusoids[: ids.shape[1]])

    def forward(self, source, mask, target):
        memory = self.encoder(self.embed(source), src_key_padding_mask=mask)
        causal = nn.Transformer.generate_square_subsequent_mask(target.shape[1])
        x = self.decoder(self.embed(target), memory, causal, memory_key_padding_mask=mask, tgt_is_causal=True)
        return self.output(x)


def read(path):
    """Pairs of token ids, each with the end token, and the size of their vocabulary."""
    ids = {"</s>": END, "<unk>": UNKNOWN, "<s>": START}
    encode = lambda text: [ids.setdefault(word, len(ids)) for word in text.split()] + [END]
    with open(path, encoding="utf-8") as file:
        pairs = [tuple(map(encode, line.rstrip("\n").split("\t"))) for line in file]
    return pairs, len(ids)


def batches(pairs, most):
    """Pairs of like length together, at most so many tokens with padding, in random order; without end."""
    rng = random.Random(7)
    while True:
        order = sorted(rng.sample(pairs, len(pairs)), key=lambda pair: tuple(map(len, pair)))
        plan, batch, longest = [], [], (0, 0)
        for pair in order:
            longest = tuple(max(a, len(b)) for a, b in zip(longest, pair))
            if batch and (len(batch) + 1) * sum(longest) > most:
                plan.append(batch)
                batch, longest = [], tuple(map(len, pair))
            batch.append(pair)
        plan.append(batch)
        rng.shuffle(plan)
        yield from plan


def padded(rows, value):
    return nn.utils.rnn.pad_sequence([torch.tensor(row) for row in rows], batch_first=True, padding_value=value)


def main():
    job = json.loads(sys.argv[1])
    torch.set_num_threads(job["threads"])
    torch.manual_seed(7)
    pairs, vocabulary = read(job["pairs"])
    model = Transformer(job, vocabulary)
    parameters = list(model.parameters())
    groups = [
        dict(params=[p for p in parameters if p.ndim > 1], weight_decay=0.01),
        dict(params=[p for p in parameters if p.ndim == 1], weight_decay=0.0),
    ]
    optimizer = torch.optim.AdamW(groups, lr=RATE, betas=(0.9, 0.98), eps=1e-9, fused=True)
    Path(job["out"]).mkdir()
    log = open(Path(job["out"]) / "log.jsonl", "w", buffering=1)
    print(json.dumps(dict(model=f"{sum(p.numel() for p in parameters)} parameters, {vocabulary} tokens")), file=log)
    start, tokens, losses = time.perf_counter(), 0, 0.0
    for step, batch in zip(range(1, job["steps"] + 1), batches(pairs, job["batch_tokens"])):
        sources, targets = zip(*batch)
        source, labels = padded(sources, END), padded(targets, PADDING)
        target = padded([[START, *target[:-1]] for target in targets], END)
        mask = padded([[False] * len(source) for source in sources], True)
        logits = model(source, mask, target)
        loss = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), label_smoothing=0.1, ignore_index=PADDING)
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        for group in optimizer.param_groups:
            group["lr"] = RATE * min(step / WARMUP, math.sqrt(WARMUP / step))
        optimizer.step()
        optimizer.zero_grad()
        count = sum(map(len, targets))
        tokens, losses = tokens + count, losses + loss.item() * count
        if step % job["log_every"] == 0:
            rate = tokens / (time.perf_counter() - start)
            print(json.dumps(dict(step=step, loss=losses / tokens, target_tokens_per_second=rate)), file=log)
            start, tokens, losses = time.perf_counter(), 0, 0.0


if __name__ == "__main__":
    main()
