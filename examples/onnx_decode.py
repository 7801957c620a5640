#!/usr/bin/env python3
"""Decodes greedily through the graphs of `siskin-export onnx`, with nothing but onnxruntime and numpy.

    siskin-export onnx models/en-de/en-de.siskin --out en-de-onnx
    printf '4 17 2\\n' | examples/onnx_decode.py en-de-onnx

A line holds the ids of a source; its answer holds the ids of the output, without the end token. `siskin translate --json`
shows the ids of a text as `source_tokens`, and those of its output as `tokens`.
"""

import sys

import numpy as np
import onnxruntime as ort

MAX_TOKENS = 256


class Translator:
    def __init__(self, folder):
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        load = lambda name: ort.InferenceSession(f"{folder}/{name}", options, providers=["CPUExecutionProvider"])
        self.encoder, self.step = load("encoder.onnx"), load("decoder_step.onnx")
        self.spec = self.step.get_modelmeta().custom_metadata_map

    def empty_past(self):
        """What the first step is given: no keys and values, or cells of zeros."""
        heads, width, d = (int(self.spec[key]) for key in ("heads", "head_width", "d_model"))
        shape = (1, d) if self.spec["autoregression"] == "ssru" else (1, heads, 0, width)
        names = (i.name for i in self.step.get_inputs())
        return {name: np.zeros(shape, np.float32) for name in names if ".past_" in name}

    def decode(self, source):
        ids = np.array([source], np.int64)  # [B, S]
        mask = np.ones(ids.shape, np.float32)
        cross = run(self.encoder, {"source": ids, "source_mask": mask})
        past, token, output = self.empty_past(), int(self.spec["decoder_start"]), []
        for position in range(min(MAX_TOKENS, int(self.spec["max_positions"]))):
            inputs = {"tokens": np.array([token]), "position": np.array([position]), "source_mask": mask}
            outputs = run(self.step, inputs | cross | past)
            token = int(outputs.pop("logits")[0].argmax())
            if token == int(self.spec["end"]):
                break
            output.append(token)
            past = {name.replace("present", "past"): value for name, value in outputs.items()}
        return output


def run(session, inputs):
    names = [output.name for output in session.get_outputs()]
    known = {i.name for i in session.get_inputs()}
    return dict(zip(names, session.run(names, {name: x for name, x in inputs.items() if name in known})))


if __name__ == "__main__":
    translator = Translator(sys.argv[1])
    for line in sys.stdin:
        print(*translator.decode([int(token) for token in line.split()]), flush=True)
