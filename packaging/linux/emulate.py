#!/usr/bin/env python3
"""Runs the packaged program on emulated cores: its output must be that of the program for this machine, and no instruction
may be illegal. Prints what a token costs on each, in instructions.

    ./package.sh x86_64 && ./package.sh pi && ./package.sh armv7 && packaging/linux/emulate.py
"""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ROOT / "target/package"
PLUGIN = ROOT / "target/plugin.so"
# The package, the emulator, its core, and the kernels that this core must be given.
CORES = [
    ("armhf", "qemu-arm", "cortex-a8", "portable"),
    ("armhf", "qemu-arm", "cortex-a7", "portable"),
    ("armhf", "qemu-arm", "cortex-a15", "portable"),
    ("arm64", "qemu-aarch64", "cortex-a53", "neon"),
    ("arm64", "qemu-aarch64", "cortex-a72", "neon"),
    ("arm64", "qemu-aarch64", "cortex-a76", "neon-dotprod"),
    ("arm64", "qemu-aarch64", "max", "neon-i8mm"),
]
TEXTS = ["Where is the station?", "I like tea. Do you?", "The children are playing in the garden.", "", "Zażółć gęślą jaźń 🚀"]
# A token costs what as many more do, so that starting, loading and encoding do not count.
LENGTHS = (20, 40)


def run(*command, **environment):
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, env=os.environ | environment)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))}: {done.returncode}\n{done.stdout}{done.stderr}")
    return done


def program(architecture):
    found = sorted(PACKAGES.glob(f"siskin-*-{architecture}/usr/bin/siskin"))
    return found[-1] if found else sys.exit(f"no package of {architecture} in {PACKAGES}: run package.sh")


def translate(*prefix, core=""):
    """What is printed for TEXTS: four texts and their scores for each."""
    return run(*prefix, "translate", "--beam", 4, "--n-best", 4, "--scores", *TEXTS, QEMU_CPU=core).stdout


def instructions(emulator, siskin, core, length):
    lengths = ("--beam", 1, "--min-length", length, "--max-length", length)
    done = run(emulator, "-plugin", PLUGIN, siskin, "translate", *lengths, TEXTS[2], QEMU_CPU=core)
    return int(re.search(r"^instructions (\d+)$", done.stderr, re.M)[1])


def main():
    run("gcc", "-O2", "-shared", "-fPIC", ROOT / "benches/arm/plugin.c", "-o", PLUGIN)
    expected = translate(program("amd64"))
    print("| core | kernels | instructions a token, millions |\n|---|---|---|")
    for architecture, emulator, core, kernels in CORES:
        siskin = program(architecture)
        if translate(emulator, siskin, core=core) != expected:
            sys.exit(f"{core}: the output differs")
        doctor = run(emulator, siskin, "doctor", QEMU_CPU=core).stdout
        if not re.search(rf"\b{kernels}\b", doctor):
            sys.exit(f"{core}: no {kernels} kernels\n{doctor}")
        few, many = (instructions(emulator, siskin, core, length) for length in LENGTHS)
        print(f"| {core} | {kernels} | {(many - few) / (LENGTHS[1] - LENGTHS[0]) / 1e6:.2f} |", flush=True)


if __name__ == "__main__":
    main()
