#!/usr/bin/env python3
"""Training by Siskin's engines and by PyTorch: target tokens a second and peak memory, on one recipe and one corpus."""

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
sys.path.append(str(HERE.parent / "peers"))

from install import Absent, Installer  # noqa: E402

# As the sizes of `siskin-export train`.
SHAPES = {
    "tiny": dict(d_model=128, heads=4, ffn_width=512, encoder_layers=3, decoder_layers=1),
    "small": dict(d_model=256, heads=4, ffn_width=1024, encoder_layers=4, decoder_layers=2),
    "base": dict(d_model=512, heads=8, ffn_width=2048, encoder_layers=6, decoder_layers=2),
}
# Siskin's engines and their arguments.
ENGINES = {engine: ["--engine", engine] for engine in ("ort", "ort-training")}
# Lines of the log: the first is not counted, as engines make plans and take memory then.
STEPS_A_LINE = 2

RECIPE = """
[model]
d_model = {d_model}
heads = {heads}
ffn_width = {ffn_width}
encoder_layers = {encoder_layers}
decoder_layers = {decoder_layers}

[data]
source = "words"
target = "words"
shared = true

[training]
steps = {steps}
batch_tokens = {batch_tokens}
log_every = {log_every}
evaluate_every = 1000000
decode_rows = 0
label_smoothing = 0.1
dropout = {{ residual = 0.1, attention = 0.0, ffn = 0.0 }}
"""


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", choices=SHAPES, default="small")
    parser.add_argument("--engines", nargs="+", choices=[*ENGINES, "torch"], default=[*ENGINES, "torch"])
    parser.add_argument("--data", type=Path, help="lines of source, TAB, target; words are tokens [default: random]")
    parser.add_argument("--vocabulary", type=int, default=8000, help="tokens of random data")
    parser.add_argument("--batch-tokens", type=int, default=4096, help="of both sides, padding counted")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=ROOT / "target/peers", help="of PyTorch and of the runs")
    return parser.parse_args()


def random_pairs(path, vocabulary, count=5000):
    """Sentences of 5 to 40 words, all words of the vocabulary among them."""
    rng = random.Random(7)
    words = [f"w{i}" for i in range(vocabulary - 3)]
    text = lambda: " ".join(rng.choices(words, k=rng.randint(5, 40)))
    everything = (" ".join(words[i : i + 40]) for i in range(0, len(words), 40))
    path.write_text("".join(f"{source}\t{text()}\n" for source in [*everything, *(text() for _ in range(count))]))


def run(command, output):
    """The most memory that a command had resident, in MB; what it said is in the file `output`."""
    with open(output, "w") as file:
        process = subprocess.Popen(list(map(str, command)), stdout=file, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)
    if status:
        lines = output.read_text().splitlines()
        errors = [line for line in lines if "error" in line.lower()] or lines[-1:] or ["it said nothing"]
        raise Absent(errors[0])
    return usage.ru_maxrss * 1024e-6


def measure(command, out):
    """Runs a command that writes its progress to `out`/log.jsonl."""
    memory = run(command, out.with_suffix(".output"))
    lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    steps = [line for line in lines if "target_tokens_per_second" in line]
    rates = [line["target_tokens_per_second"] for line in steps][1:]
    parameters = next(line["model"] for line in lines if "model" in line).split(" ")[0]
    return dict(rate=statistics.median(rates), memory=memory, parameters=parameters, loss=steps[-1]["loss"])


def main():
    options = arguments()
    installer = Installer(options.folder)
    folder = options.folder / "training"
    folder.mkdir(parents=True, exist_ok=True)
    pairs, dev, recipe = options.data or folder / "pairs.tsv", folder / "dev.tsv", folder / "recipe.toml"
    if not options.data:
        random_pairs(pairs, options.vocabulary)
    # Validation at the last step is no part of this: one pair of a word that no other pair has.
    dev.write_text("dev\tdev\n")
    numbers = dict(steps=options.steps, batch_tokens=options.batch_tokens, log_every=STEPS_A_LINE)
    recipe.write_text(RECIPE.format(**SHAPES[options.shape], **numbers))

    target = options.folder / "cargo"
    build = ["cargo", "build", "--release", "-p", "siskin-export", "--target-dir", target]
    subprocess.run(build, cwd=ROOT, check=True)
    commands, absent = {}, {}
    for engine in options.engines:
        out = folder / engine
        if engine == "torch":
            try:
                python = installer.install("torch")[0]
            except Absent as reason:
                absent[engine] = str(reason)
                continue
            job = SHAPES[options.shape] | numbers | dict(pairs=str(pairs), out=str(out), threads=options.threads)
            commands[engine] = [python, HERE / "torch_training.py", json.dumps(job)]
        else:
            train = [target / "release/siskin-export", "train", "--pairs", pairs, "--dev", dev, "--config", recipe]
            commands[engine] = [*train, "--out", out, "--threads", options.threads, *ENGINES[engine]]

    results = {engine: [] for engine in commands}
    for round in range(options.rounds):
        for engine in random.sample(list(commands), len(commands)):
            if engine in absent:
                continue
            # A run that is there would be continued.
            subprocess.run(["rm", "-rf", folder / engine], check=True)
            try:
                results[engine].append(measure(commands[engine], folder / engine))
                print(f"round {round + 1}: {engine} {results[engine][-1]}", flush=True)
            except Absent as reason:
                absent[engine] = str(reason)
    print(table(options, results))
    for engine, reason in absent.items():
        print(f"absent: {engine}: {reason}")


def table(options, results):
    lines = [
        f"{options.shape}, batches of {options.batch_tokens} tokens, {options.threads} threads, medians of "
        f"{options.rounds} runs of {options.steps} steps",
        "",
        "| engine | target tokens/s (lowest-highest) | peak RSS MB | loss | parameters |",
        "|---|---|---|---|---|",
    ]
    for engine, runs in results.items():
        if runs:
            rates, memory = [run["rate"] for run in runs], statistics.median(run["memory"] for run in runs)
            rate = f"{statistics.median(rates):.0f} ({min(rates):.0f}-{max(rates):.0f})"
            lines.append(f"| {engine} | {rate} | {memory:.0f} | {runs[-1]['loss']:.3f} | {runs[-1]['parameters']} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
