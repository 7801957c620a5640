#!/usr/bin/env python3
"""Lessons of five words that the shipped en-de model does not know: what is reproduced, used elsewhere, forgotten.

Prints a line for each set of `tests/learn/terms`: processor time, what `siskin learn` says of the lesson, corrections
that come out as taught, other sentences with the right word, BLEU before and after.
"""

import argparse
import lzma
import os
import re
import resource
import subprocess
import tempfile
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MODEL = ROOT / "models/en-de/en-de.siskin"
TERMS = ROOT / "tests/learn/terms"
DATA = Path(os.environ.get("SISKIN_DATA", ROOT / "../shared/data"))
ENDING = 2  # letters that an inflected term may have more
SETS = sorted(path.name.removesuffix("corrections.tsv") for path in TERMS.glob("*corrections.tsv"))


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--programs", type=Path, default=ROOT / "target/release", help="folder of siskin and siskin-export")
    parser.add_argument("--sets", nargs="*", default=[name.rstrip("-") or "first" for name in SETS])
    parser.add_argument("--learn", nargs=argparse.REMAINDER, default=["--reach", "terms"], help="arguments of `siskin learn`")
    return parser.parse_args()


def pairs(name):
    return [line.split("\t") for line in (TERMS / name).read_text().splitlines()]


def translate(siskin, adapter, sources):
    command = [siskin, "translate", "-m", MODEL, "--adapter", adapter, "--recall", "terms"]
    text = "".join(f"{source}\n" for source in sources)
    return subprocess.run(command, input=text, check=True, text=True, stdout=subprocess.PIPE).stdout.splitlines()


def bleu(export, model, test, *adapter):
    command = [export, "evaluate", "-m", model, *adapter, "--pairs", test, "--metric", "bleu"]
    lines = subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE).stdout.splitlines()
    return next(float(line.split(" = ")[1].split()[0]) for line in lines if line.startswith("BLEU"))


def lesson(options, name, folder, test):
    """Learns the set `name` and says what came of it."""
    siskin, export = options.programs / "siskin", options.programs / "siskin-export"
    prefix, adapter = "" if name == "first" else f"{name}-", folder / f"{name}.adapter"
    command = [siskin, "learn", "-m", MODEL, "--adapter", adapter, "--pairs", TERMS / f"{prefix}corrections.tsv"]
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    said = subprocess.run([*command, *options.learn], text=True, stdout=subprocess.PIPE).stdout.strip()
    seconds = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before
    print(f"{name}: {seconds:.1f} s of processor time; {said}", flush=True)
    if not adapter.exists():
        return
    taught, unseen = pairs(f"{prefix}corrections.tsv"), pairs(f"{prefix}unseen.tsv")
    outputs = translate(siskin, adapter, [source for source, _ in taught])
    wrong = [(target, output) for (_, target), output in zip(taught, outputs) if target != output]
    used, missed = Counter(), []
    for (source, term), output in zip(unseen, translate(siskin, adapter, [source for source, _ in unseen])):
        right = any(word.startswith(term) and len(word) <= len(term) + ENDING for word in re.findall(r"\w+", output))
        used[term] += right
        if not right:
            missed.append((f"{source} ({term})", output))
    score = bleu(export, MODEL, test, "--adapter", adapter) if test else float("nan")
    words = ", ".join(f"{term} {count}" for term, count in used.items())
    print(f"  {len(taught) - len(wrong)} of {len(taught)} as taught; {sum(used.values())} of {len(unseen)} unseen ({words}); BLEU {score:.2f}")
    for expected, output in wrong + missed:
        print(f"    {expected}  ->  {output}", flush=True)


def main():
    options = arguments()
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        packed, test = DATA / "tatoeba-en-x/test.en-de.tsv.xz", None
        if packed.exists():
            test = folder / "test.tsv"
            test.write_bytes(lzma.open(packed).read())
            print(f"BLEU before: {bleu(options.programs / 'siskin-export', MODEL, test):.2f}", flush=True)
        else:
            print(f"SKIPPED: BLEU: {packed} is not there")
        for name in options.sets:
            lesson(options, name, folder, test)


if __name__ == "__main__":
    main()
