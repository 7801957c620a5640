#!/usr/bin/env python3
"""A domain learned on the device, beside f32 fine-tuning of the whole model on a workstation, from the same pairs.

2,000 captions of multi30k, chosen by a fixed seed, are learned over the shipped en-de model by `siskin learn`, and by
`siskin-export train`, which starts from the same file and takes its best checkpoint by 500 other captions. Prints BLEU on
the captions of `val` before and after, the share of the gain, the processor time and the peak memory of both processes.
"""

import argparse
import gzip
import random
import subprocess
import tempfile
import tomllib
from pathlib import Path

from terms import DATA, MODEL, ROOT, bleu

PAIRS, DEV = 2000, 500
# A domain may change more than terms do, and needs all its passes.
LEARN = (
    "--scope all-projections --rank 32 --learning-rate 0.01 --batch 16 --decay --smoothing 0.1 --keep 0.1 --bound 9 "
    "--passes 8 --max-memory 32MiB --max-time 7200"
).split()

# The shape is read from the recipe of the model.
TRAINING = """
[data]
source = "unigram"
target = "unigram"
vocabulary_size = 4000
shared = true

[training]
steps = {steps}
batch_tokens = 2500
learning_rate = {rate}
warmup = 40
decay = "cosine"
label_smoothing = 0.1
dropout = {{ residual = 0.1, attention = 0.0, ffn = 0.0 }}
log_every = 40
evaluate_every = 40
decode_rows = 0
"""


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--programs", type=Path, default=ROOT / "target/release", help="folder of siskin and siskin-export")
    parser.add_argument("--only", choices=["learn", "train"], help="one side")
    parser.add_argument("--steps", type=int, default=400, help="of fine-tuning")
    parser.add_argument("--rate", type=float, default=1e-3, help="of fine-tuning")
    parser.add_argument("--learn", nargs=argparse.REMAINDER, default=LEARN, help=f"arguments of `siskin learn` [default: {' '.join(LEARN)}]")
    return parser.parse_args()


def captions(split):
    sides = [gzip.open(DATA / f"multi30k/{split}.{side}.gz", "rt").read().splitlines() for side in ("en", "de")]
    return [f"{source.strip()}\t{target.strip()}" for source, target in zip(*sides)]


def write(path, lines):
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def measured(folder, *command):
    """Runs a command; gives its last line, its processor time in seconds and its peak memory in bytes."""
    used = folder / "used"
    run = ["/usr/bin/time", "-o", used, "-f", "%U %M", *command]
    said = subprocess.run(run, text=True, stdout=subprocess.PIPE, check=False).stdout.strip().splitlines()
    seconds, kilobytes = used.read_text().splitlines()[-1].split()
    return said[-1] if said else "", float(seconds), int(kilobytes) * 1024


def learned(options, folder, pairs, val):
    adapter = folder / "captions.adapter"
    command = [options.programs / "siskin", "learn", "-m", MODEL, "--adapter", adapter, "--pairs", pairs, *options.learn]
    said, seconds, peak = measured(folder, *command)
    print(f"siskin learn: {said}", flush=True)
    if not adapter.exists():
        raise SystemExit("the lesson was not kept")
    print(f"adapter: {adapter.stat().st_size} bytes")
    return bleu(options.programs / "siskin-export", MODEL, val, "--adapter", adapter), seconds, peak


def trained(options, folder, pairs, dev, val):
    recipe = tomllib.loads((ROOT / "models/en-de/recipe.toml").read_text())
    shape = "\n".join(f"{key} = {value}" for key, value in recipe["model"].items())
    config = folder / "recipe.toml"
    config.write_text(f"seed = 1\n[model]\n{shape}\n" + TRAINING.format(steps=options.steps, rate=options.rate))
    export, run, model = options.programs / "siskin-export", folder / "run", folder / "tuned.siskin"
    command = [export, "train", "--pairs", pairs, "--dev", dev, "--out", run, "--config", config, "--warm-start", MODEL, "--engine", "ort"]
    said, seconds, peak = measured(folder, *command)
    print(f"siskin-export train: {said}", flush=True)
    command = [export, "quantize", run / "best.safetensors", "--type", "f32", "--golden", dev, "--out", model]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return bleu(export, model, val), seconds, peak


def main():
    options = arguments()
    chosen = random.Random(1).sample(captions("train"), PAIRS + DEV)
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        pairs, dev = write(folder / "pairs.tsv", chosen[:PAIRS]), write(folder / "dev.tsv", chosen[PAIRS:])
        val = write(folder / "val.tsv", captions("val"))
        before = bleu(options.programs / "siskin-export", MODEL, val)
        print(f"before: BLEU {before:.2f}", flush=True)
        sides = {}
        if options.only != "learn":
            sides["fine-tuning, f32"] = trained(options, folder, pairs, dev, val)
        if options.only != "train":
            sides["adapter, int8"] = learned(options, folder, pairs, val)
        for name, (score, seconds, peak) in sides.items():
            print(f"{name}: BLEU {score:.2f}, {seconds:.0f} s of processor time, peak memory {peak / 1e6:.1f} MB")
        if len(sides) == 2:
            (full, _, large), (part, _, small) = sides.values()
            print(f"share of the gain {(part - before) / (full - before):.1%}, of the peak memory {small / large:.1%}")


if __name__ == "__main__":
    main()
