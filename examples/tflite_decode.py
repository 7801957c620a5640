#!/usr/bin/env python3
"""Decodes greedily through the graphs of `siskin-export tflite`, with nothing but ai-edge-litert and numpy.

    siskin-export tflite models/en-de/en-de.siskin --out en-de-tflite
    printf '4 17 2\\n' | examples/tflite_decode.py en-de-tflite

A line holds the ids of a source; its answer holds the ids of the output, without the end token. `siskin translate --json`
shows the ids of a text as `source_tokens`, and those of its output as `tokens`.
"""

import sys

import numpy as np
from ai_edge_litert.interpreter import Interpreter


class Translator:
    def __init__(self, folder):
        self.encoder, self.step = Graph(f"{folder}/encoder.tflite"), Graph(f"{folder}/decoder_step.tflite")
        with open(f"{folder}/model.txt") as facts:
            self.facts = dict(line.rstrip("\n").split("=", 1) for line in facts)

    def fact(self, key):
        return int(self.facts[key])

    def decode(self, source):
        length = self.fact("source_length")
        if len(source) > length:
            raise ValueError(f"the graphs are for sources of at most {length} tokens, not {len(source)}")
        padded = np.zeros((1, length), np.int32)  # [B, S]
        padded[0, : len(source)] = source
        mask = (np.arange(length) < len(source)).astype(np.float32)[None]  # [B, S]
        cross = self.encoder.run({"source": padded, "source_mask": mask})
        past, token, output = self.step.zeros(".past_"), self.fact("decoder_start"), []
        positions = np.arange(self.fact("target_length"))
        for position in positions:
            inputs = {
                "tokens": np.array([token], np.int32),
                "position": np.array([position], np.int32),
                "source_mask": mask,
                "past_mask": (positions < position).astype(np.float32),
                "slot": (positions == position).astype(np.float32),
            }
            outputs = self.step.run(inputs | cross | past)
            token = int(outputs.pop("logits")[0].argmax())
            if token == self.fact("end"):
                break
            output.append(token)
            past = {name.replace("present", "past"): value for name, value in outputs.items()}
        return output


class Graph:
    def __init__(self, file):
        self.interpreter = Interpreter(file, num_threads=1)
        self.signature = self.interpreter.get_signature_runner("serving_default")
        self.inputs = self.signature.get_input_details()

    def run(self, inputs):
        return self.signature(**{name: x for name, x in inputs.items() if name in self.inputs})

    def zeros(self, part):
        """Zeros for the inputs that have `part` in their names."""
        return {name: np.zeros(x["shape"], np.float32) for name, x in self.inputs.items() if part in name}


if __name__ == "__main__":
    translator = Translator(sys.argv[1])
    for line in sys.stdin:
        print(*translator.decode([int(token) for token in line.split()]), flush=True)
