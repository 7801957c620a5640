"""`python -m models.make OUT SHAPE`: every peer's model of one shape, all of the same weights. What is there is kept."""

import os
import sys

from models import ctranslate2_model, hugging_face_model, marian_model, onnx_model
from models.weights import save, weights
from workloads import SHAPES


def once(path, write):
    """Runs `write` unless it has finished before."""
    done = f"{path}.done"
    if not os.path.exists(done):
        print(f"writing {path}", flush=True)
        write()
        open(done, "w").close()


def make(out, shape):
    os.makedirs(out, exist_ok=True)
    t5 = SHAPES[shape]["family"] == "t5"
    for decoder in ["self_attention"] + ([] if t5 else ["ssru"]):
        path, tensors = f"{out}/{shape}-{decoder}", weights(shape, decoder)
        once(f"{path}.safetensors", lambda: save(f"{path}.safetensors", shape, decoder, tensors))
        if not t5:
            once(f"{path}-marian", lambda: marian_model.write(f"{path}-marian", shape, tensors, decoder))
        if decoder == "self_attention":
            for precision in ["int8", "float32"]:
                folder = f"{path}-ctranslate2-{precision}"
                once(folder, lambda: ctranslate2_model.write(folder, shape, tensors, precision))
            once(f"{path}-onnx", lambda: onnx_model.write(f"{path}-onnx", shape, tensors))
            once(f"{path}-candle", lambda: hugging_face_model.write(f"{path}-candle", shape, tensors))


if __name__ == "__main__":
    make(*sys.argv[1:])
