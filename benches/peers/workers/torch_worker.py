"""PyTorch: the same Transformer, written with its functions, float32, keys and values cached."""

import math

import torch
import torch.nn.functional as F
from protocol import padded, serve
from safetensors.torch import load_file


class Transformer:
    def __init__(self, job):
        self.job, self.weights = job, load_file(job["model"])
        self.t5, self.d = job["family"] == "t5", job["d_model"]
        self.heads, self.width = job["heads"], job["d_model"] // job["heads"]
        angles = torch.arange(job["positions"])[:, None] / 10000 ** (torch.arange(0, self.d, 2) / self.d)
        self.sinusoids = torch.cat([angles.sin(), angles.cos()], dim=1)

    def linear(self, x, name):
        return F.linear(x, self.weights[f"{name}.weight"], self.weights.get(f"{name}.bias"))

    def norm(self, x, name):
        if self.t5:
            return F.rms_norm(x, [self.d], self.weights[f"{name}.weight"], 1e-6)
        return F.layer_norm(x, [self.d], self.weights[f"{name}.weight"], self.weights[f"{name}.bias"], 1e-5)

    def sub_layer(self, x, name, compute):
        return x + compute(self.norm(x, name)) if self.t5 else self.norm(x + compute(x), name)

    def feed_forward(self, x, name):
        up, down = f"{name}.ffn.up", f"{name}.ffn.down"
        return self.sub_layer(x, f"{name}.ffn_norm", lambda x: self.linear(self.linear(x, up).relu(), down))

    def split(self, x, count):
        """[B, T, count * D] to `count` tensors [B, H, T, D / H]"""
        return x.unflatten(-1, (count, self.heads, self.width)).permute(2, 0, 3, 1, 4)

    def attend(self, queries, keys, values, bias):
        scale = 1.0 if self.t5 else None
        return F.scaled_dot_product_attention(queries, keys, values, bias, scale=scale).transpose(1, 2).flatten(2)

    def embed(self, ids, position):
        x = F.embedding(ids, self.weights["embedding.source.weight"])
        return x if self.t5 else x * math.sqrt(self.d) + self.sinusoids[position : position + ids.shape[1]]

    def relative_bias(self, side, distances):
        """[1, H, ...distances], of keys behind queries as negative numbers."""
        count, first = self.job["buckets"], 0
        if side == "encoder":
            count //= 2
            first = (distances > 0) * count
            distances = -distances.abs()
        distances = (-distances).clamp(min=0)
        exact = count // 2
        far = (distances.clamp(min=1) / exact).log() / math.log(self.job["max_distance"] / exact) * (count - exact)
        buckets = first + torch.where(distances < exact, distances, (exact + far.long()).clamp(max=count - 1))
        return F.embedding(buckets, self.weights[f"{side}.relative_bias"]).movedim(-1, 0)[None]

    def encode(self, ids, bias):
        """Keys and values of cross-attention for each layer of the decoder."""
        x = self.embed(ids, 0)
        if self.t5:
            positions = torch.arange(ids.shape[1])
            bias = bias + self.relative_bias("encoder", positions[None, :] - positions[:, None])
        for i in range(self.job["encoder_layers"]):
            name = f"encoder.layers.{i}"

            def attention(x):
                x = self.attend(*self.split(self.linear(x, f"{name}.self_attention.qkv"), 3), bias)
                return self.linear(x, f"{name}.self_attention.output")

            x = self.feed_forward(self.sub_layer(x, f"{name}.self_attention_norm", attention), name)
        x = self.norm(x, "encoder.final_norm") if self.t5 else x
        layers = range(self.job["decoder_layers"])
        return [self.split(self.linear(x, f"decoder.layers.{i}.cross_attention.key_value"), 2) for i in layers]

    def step(self, token, position, cache, cross, bias):
        """The most probable tokens [B, 1]; `cache` [2, B, H, T, D / H] of each layer grows."""
        x = self.embed(token, position)
        relative = self.relative_bias("decoder", torch.arange(-position, 1)[None, :]) if self.t5 else None
        for i in range(self.job["decoder_layers"]):
            name = f"decoder.layers.{i}"

            def self_attention(x):
                query, *new = self.split(self.linear(x, f"{name}.self_attention.qkv"), 3)
                cache[i] = torch.cat([cache[i], torch.stack(new)], dim=3)
                return self.linear(self.attend(query, *cache[i], relative), f"{name}.self_attention.output")

            def cross_attention(x):
                [query] = self.split(self.linear(x, f"{name}.cross_attention.query"), 1)
                return self.linear(self.attend(query, *cross[i], bias), f"{name}.cross_attention.output")

            x = self.sub_layer(x, f"{name}.self_attention_norm", self_attention)
            x = self.sub_layer(x, f"{name}.cross_attention_norm", cross_attention)
            x = self.feed_forward(x, name)
        x = self.norm(x, "decoder.final_norm") / math.sqrt(self.d) if self.t5 else x
        return F.linear(x, self.weights["embedding.source.weight"], self.weights.get("output.bias")).argmax(-1)

    @torch.inference_mode()
    def translate(self, sources, length):
        ids, mask = map(torch.tensor, padded(sources))
        bias = torch.where(mask > 0, 0.0, -1e9)[:, None, None, :]
        cross = self.encode(ids, bias)
        cache = [torch.zeros(2, len(sources), self.heads, 0, self.width) for _ in cross]
        tokens = [torch.full((len(sources), 1), self.job["start"])]
        for position in range(length):
            tokens.append(self.step(tokens[-1], position, cache, cross, bias))
        return torch.cat(tokens[1:], dim=1).tolist()


def load(job):
    torch.set_num_threads(job["threads"])
    model = Transformer(job)
    return lambda: [output for call in job["calls"] for output in model.translate(call["sources"], call["length"])]


serve(load)
