"""The graphs of `models/onnx_model.py`, bound to their inputs and outputs, so that caches are handed on as they are."""

import numpy as np
import onnxruntime
from onnxruntime import OrtValue
from protocol import padded, serve


def load(job):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = job["threads"], 1
    session = lambda name: onnxruntime.InferenceSession(f"{job['model']}/{name}.onnx", options, ["CPUExecutionProvider"])
    encoder, decoder = session("encoder"), session("decoder")
    heads, width = job["heads"], job["d_model"] // job["heads"]

    def compute(session, inputs):
        binding = session.io_binding()
        for name, value in inputs.items():
            binding.bind_ortvalue_input(name, value)
        names = [output.name for output in session.get_outputs()]
        for name in names:
            binding.bind_output(name)
        session.run_with_iobinding(binding)
        return dict(zip(names, binding.get_outputs()))

    def translate(sources, length):
        ids, mask = (np.array(rows) for rows in padded(sources))
        value = OrtValue.ortvalue_from_numpy
        bias = value(np.where(mask, 0, -1e9).astype(np.float32)[:, None, None, :])
        cross = compute(encoder, {"source": value(ids), "bias": bias})
        empty = [value(np.zeros((len(sources), heads, *dims), np.float32)) for dims in [(width, 0), (0, width)]]
        past = {f"past{i}": empty[i % 2] for i in range(len(cross))}
        token, tokens = value(np.full((len(sources), 1), job["start"])), []
        needed = {input.name for input in decoder.get_inputs()}
        fixed = {name: value for name, value in {**cross, "bias": bias}.items() if name in needed}
        for _ in range(length):
            outputs = compute(decoder, {"token": token, **past, **fixed})
            token = outputs["next"]
            tokens.append(token.numpy())
            past = {f"past{i}": outputs[f"present{i}"] for i in range(len(cross))}
        return np.concatenate(tokens, axis=1).tolist()

    return lambda: [output for call in job["calls"] for output in translate(call["sources"], call["length"])]


serve(load)
