"""`python -m models.make OUT SHAPE`: every peer's model of one shape, all of the same weights. What is there is kept."""

import os
import sys
from importlib import import_module

from models.weights import save, weights
from workloads import SHAPES


def once(path, module, *arguments):
    """Lets a writer write to `path`, unless it has done so before, or its peer is not installed."""
    done = f"{path}.done"
    if os.path.exists(done):
        return
    try:
        writer = import_module(f"models.{module}")
    except ImportError as error:
        print(f"no {path}: {error}", flush=True)
        return
    print(f"writing {path}", flush=True)
    writer.write(path, *arguments)
    open(done, "w").close()


def make(out, shape):
    os.makedirs(out, exist_ok=True)
    t5 = SHAPES[shape]["family"] == "t5"
    for decoder in ["self_attention"] + ([] if t5 else ["ssru"]):
        path, tensors = f"{out}/{shape}-{decoder}", weights(shape, decoder)
        if not os.path.exists(f"{path}.safetensors"):
            save(f"{path}.safetensors", shape, decoder, tensors)
        if not t5:
            once(f"{path}-marian", "marian_model", shape, tensors, decoder)
        if decoder == "self_attention":
            for precision in ["int8", "float32"]:
                once(f"{path}-ctranslate2-{precision}", "ctranslate2_model", shape, tensors, precision)
            once(f"{path}-onnx", "onnx_model", shape, tensors)
            once(f"{path}-candle", "hugging_face_model", shape, tensors)


if __name__ == "__main__":
    make(*sys.argv[1:])
