#!/usr/bin/env python3
"""What a token costs on ARM cores that are not here: instructions, counted in an emulator, and cycles of the inner loops,
by LLVM's models of the cores. README.md says how and what."""

import argparse
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
sys.path.append(str(ROOT / "benches/peers"))

from install import Absent, Installer  # noqa: E402
from run import Models  # noqa: E402
from workloads import SHAPES, Runner  # noqa: E402

TARGET = "aarch64-unknown-linux-gnu"
SHAPE = "arm"
# The cost of a token is that of as many more, so that starting, loading and encoding do not count.
LENGTHS = (20, 40)
SOURCE = [*range(200, 219), SHAPES[SHAPE]["end"]]
CPUS = ["cortex-a76", "cortex-a72"]
# Cores with arithmetic in half precision.
HALF = {"cortex-a76": "neon-dotprod"}
# Inner loops: the instructions to count by, the multiply-adds of each, and the core whose model is asked.
LOOPS = {
    "sdot": (["sdot"], 16, "neoverse-n1"),
    "smull": (["smull", "smull2", "smlal", "smlal2"], 8, "cortex-a72"),
    "smmla": (["smmla"], 32, "neoverse-n2"),
}


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=ROOT / "target/peers", help="of the models, as the peers' --folder")
    parser.add_argument("--cpus", nargs="+", default=CPUS)
    parser.add_argument("--python", help="command of an emulated arm64 Python with CTranslate2; {plugin} and {cpu} are set in it")
    parser.add_argument("--mca", default="llvm-mca-22", help="llvm-mca of version 16 or later")
    return parser.parse_args()


def run(*command, **options):
    return subprocess.run(list(map(str, command)), check=True, capture_output=True, text=True, **options)


def build():
    """The emulator's plugin and the program that decodes."""
    plugin = ROOT / "target/plugin.so"
    run("gcc", "-O2", "-shared", "-fPIC", "-Wall", HERE / "plugin.c", "-o", plugin)
    messages = run(
        "cargo", "bench", "--no-run", "--bench", "decode", "--target", TARGET, "--message-format=json", cwd=ROOT,
        env=os.environ | dict(CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER="aarch64-linux-gnu-gcc"),
    )  # fmt: skip
    built = [json.loads(line) for line in messages.stdout.splitlines()]
    return plugin, next(line["executable"] for line in built if line.get("executable"))


def count(command, cpu, isa):
    """Instructions of an emulated command."""
    environment = os.environ | dict(QEMU_CPU=cpu, SISKIN_ISA=isa)
    errors = run(*command, stdin=subprocess.DEVNULL, env=environment).stderr
    return int(re.search(r"^instructions (\d+)$", errors, re.M)[1])


def slope(command_for, cpu, isa=""):
    """Instructions for one more token."""
    few, many = (count(command_for(length), cpu, isa) for length in LENGTHS)
    return (many - few) / (LENGTHS[1] - LENGTHS[0])


def peer_job(folder, model):
    """Writes the jobs of CTranslate2's worker, as `benches/peers/workers/protocol.py` describes them."""
    words = (Path(model) / "shared_vocabulary.json").read_text()
    for length in LENGTHS:
        calls = [dict(sources=[SOURCE], length=length)]
        job = dict(model=str(model), calls=calls, threads=1, workers=1, beam=1, precision="int8", shortlist=False)
        (folder / f"arm-job-{length}.json").write_text(json.dumps(job | dict(tokens=json.loads(words))))
    return lambda length: folder / f"arm-job-{length}.json"


def innermost_loops(listing):
    """Bodies of the loops in a disassembly that have no branch inside: lists of instructions."""
    seen = {}
    lines = re.findall(r"^\s*([0-9a-f]+):\s+[0-9a-f]{8}\s+(.*)$", listing, re.M)
    for number, (address, text) in enumerate(lines):
        seen[int(address, 16)] = number
        branch = re.match(r"(b\.\w+|cbn?z|tbn?z)\s.*\b([0-9a-f]+) <", text)
        if branch and (start := seen.get(int(branch[2], 16))) is not None:
            body = [text.split("//")[0].strip() for _, text in lines[start:number]]
            if not any(re.match(r"(b|b\.\w+|bl|blr|br|ret|cbn?z|tbn?z)\b", line) for line in body):
                yield body


def cycles(mca, cpu, body):
    """Cycles of one pass through a loop, by the core's model."""
    times = 100
    code = "\n".join(re.sub(r"\s+<.*>", "", line) for line in body)
    out = run(mca, "-mtriple=aarch64", f"-mcpu={cpu}", "-mattr=+dotprod,+i8mm", f"-iterations={times}", input=code).stdout
    return int(re.search(r"Total Cycles:\s+(\d+)", out)[1]) / times


def loops(program, mca):
    listing = run("aarch64-linux-gnu-objdump", "-d", program).stdout
    # Blocks of int4 have steps to multiply by.
    bodies = [body for body in innermost_loops(listing) if not any(line.split()[0] in ("mul", "mla") for line in body)]
    print("\n| loop | core | multiply-adds | cycles | a cycle |\n|---|---|---|---|---|")
    for name, (mnemonics, work, cpu) in LOOPS.items():
        counted = [(work * sum(line.split()[0] in mnemonics for line in body), body) for body in bodies]
        # Of each kind the loop with the largest tile; of equal ones the fastest.
        products, _ = max(counted, key=lambda pair: pair[0])
        spent, body = min((cycles(mca, cpu, body), body) for count, body in counted if count == products)
        print(f"| {name} | {cpu} | {products} | {spent:.1f} | {products / spent:.1f} |")


def main():
    options = arguments()
    installer = Installer(options.folder)
    models = Models(installer, installer.tools())
    path = options.folder / f"models/{SHAPE}-self_attention"
    model, half = Path(f"{path}-int8.siskin"), Path(f"{path}-float16.siskin")
    if not model.exists() or not half.exists():
        if options.python:
            # Its package writes its models.
            installer.ctranslate2()
        installer.siskin()
        models.make(SHAPE)
        run(models.cargo / "release/model", f"{path}.safetensors", "float16", half)
    plugin, program = build()
    emulator = ["qemu-aarch64", "-plugin", plugin, "-L", "/usr/aarch64-linux-gnu"]
    ours = lambda length: [*emulator, program, model, length]
    theirs = None
    if options.python:
        job = peer_job(options.folder, models.files(SHAPE, Runner("ctranslate2"))[0])
        worker = ROOT / "benches/peers/workers/ctranslate2_worker.py"
        python = lambda cpu: shlex.split(options.python.format(plugin=plugin, cpu=cpu))
        theirs = lambda cpu: lambda length: [*python(cpu), worker, job(length)]
    print("Millions of instructions for a token of a greedy search, 6+6 layers, d 512, V 8,000, 20 tokens in:\n")
    print("| core | Siskin | CTranslate2 | ours / theirs |\n|---|---|---|---|")
    for cpu in options.cpus:
        mine = slope(ours, cpu) / 1e6
        other = slope(theirs(cpu), cpu) / 1e6 if theirs else float("nan")
        print(f"| {cpu} | {mine:.2f} | {other:.2f} | {mine / other:.2f} |", flush=True)
    print("\nWith f16 weights, in single and in half precision:\n")
    print("| core | single | half | half / single |\n|---|---|---|---|")
    of_half = lambda length: [*emulator, program, half, length]
    for cpu, isa in HALF.items():
        single, halved = (slope(of_half, cpu, isa + suffix) / 1e6 for suffix in ("", "+half"))
        print(f"| {cpu} | {single:.2f} | {halved:.2f} | {halved / single:.2f} |", flush=True)
    loops(program, options.mca)


if __name__ == "__main__":
    try:
        main()
    except Absent as reason:
        sys.exit(f"benches/arm/count.py: {reason}")
