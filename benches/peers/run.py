#!/usr/bin/env python3
"""Siskin beside its peers on the same work; README.md says how and what."""

import argparse
import contextlib
import itertools
import json
import mmap
import os
import random
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import report
from install import HERE, Absent, Installer
from workloads import OURS, PEERS, SCREENED, SHAPES, TIMED, WORKLOADS, calls, runners, work

ROOT = HERE.parent.parent
# A sample runs a workload so often that it takes about this long.
SAMPLE_SECONDS = 0.3
MOST_RUNS = 20


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    names = lambda choices: dict(nargs="+", choices=choices, default=list(choices), metavar="NAME")
    parser.add_argument("--shapes", **names(TIMED), help=", ".join(TIMED))
    parser.add_argument("--workloads", **names(WORKLOADS), help=", ".join(WORKLOADS))
    parser.add_argument("--peers", **names(PEERS), help=", ".join(PEERS))
    parser.add_argument("--rounds", type=int, help="rounds of each workload, instead of its own number")
    parser.add_argument("--folder", type=Path, default=ROOT / "target/peers", help="of the peers and the models")
    parser.add_argument("--out", type=Path, help="results.json and results.md go here [default: --folder]")
    parser.add_argument("--install", action="store_true", help="only install the peers and make the models")
    return parser.parse_args()


class Models:
    """The models of all peers, made once."""

    def __init__(self, installer, python):
        self.folder, self.cargo, self.python = installer.folder / "models", installer.folder / "cargo", python
        self.environment = os.environ | dict(PYTHONPATH=str(HERE))

    def make(self, shape):
        command = [*self.python, "-m", "models.make", self.folder, shape]
        subprocess.run(command, env=self.environment, check=True)
        for runner in runners(shape, "a"):
            # Ours is made when it is asked for; what cannot be made is told by those who run it.
            with contextlib.suppress(Absent):
                self.files(shape, runner)

    def load(self, shapes):
        """Brings all files of these shapes into the page cache anew, as one does who maps them and asks for huge pages."""
        os.sync()
        for path in itertools.chain.from_iterable(self.folder.glob(f"{shape}-*") for shape in shapes):
            for file in path.iterdir() if path.is_dir() else [path]:
                if not file.stat().st_size:
                    continue
                with file.open("rb") as opened:
                    os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
                    with mmap.mmap(opened.fileno(), 0, prot=mmap.PROT_READ) as pages:
                        pages.madvise(mmap.MADV_HUGEPAGE)
                        pages[:: mmap.PAGESIZE]

    def files(self, shape, runner):
        """The model of a runner, and all files that it is made of."""
        path = f"{self.folder}/{shape}-{runner.decoder}"
        if runner.peer == OURS:
            model = self.ours(path, runner)
            return model, [model]
        if runner.peer == "torch":
            return f"{path}.safetensors", [Path(f"{path}.safetensors")]
        suffix = {"ctranslate2": f"ctranslate2-{runner.precision}", "bergamot": "marian", "candle": "candle"}
        folder = Path(f"{path}-{suffix.get(runner.peer, f'onnx-{runner.precision}')}")
        unused = [] if runner.shortlist else ["vmap.txt", "shortlist.bin"]
        if not folder.exists():
            raise Absent(f"there is no {folder}")
        return folder, [file for file in folder.iterdir() if file.name not in unused]

    def ours(self, path, runner):
        precision = "int8" if runner.precision == SCREENED else runner.precision
        model, listed = Path(f"{path}-{precision}.siskin"), Path(f"{path}-{precision}-listed.siskin")
        writer = self.cargo / "release/model"
        if newer(writer, model):
            subprocess.run([writer, f"{path}.safetensors", precision, model], check=True)
        if runner.precision == SCREENED:
            screened = Path(f"{path}-int8-screened.siskin")
            if newer(model, screened):
                self.export("screen", "--model", model, "--out", screened)
            return screened
        if not runner.shortlist:
            return model
        if newer(model, listed):
            options = ["--bergamot", f"{path}-marian/shortlist.bin", "--use", "on", "--out", listed]
            self.export("shortlist", "--model", model, *options)
        return listed

    def export(self, *arguments):
        command = ["cargo", "run", "--quiet", "--release", "--target-dir", self.cargo, "-p", "siskin-export", "--"]
        result = subprocess.run([*command, *arguments], cwd=ROOT, capture_output=True, text=True)
        if result.returncode:
            raise Absent(f"siskin-export {arguments[0]}: {(result.stderr.splitlines() or ['failed'])[0]}")


def newer(source, made):
    return not made.exists() or source.stat().st_mtime > made.stat().st_mtime


class Process:
    """A process that answers lines with lines of JSON."""

    def __init__(self, command, threads=1):
        variables = ["OMP_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS"]
        environment = os.environ | {name: str(threads) for name in variables} | dict(RUST_BACKTRACE="0")
        pipe, self.errors = subprocess.PIPE, tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen(
            list(map(str, command)), stdin=pipe, stdout=pipe, stderr=self.errors, text=True, env=environment
        )

    def read(self):
        line = self.process.stdout.readline()
        if not line:
            self.process.wait()
            self.errors.seek(0)
            errors = [line for line in self.errors.read().splitlines() if line.strip()]
            raise Absent(f"its worker ended: {errors[-1] if errors else 'it said nothing'}")
        return json.loads(line)

    def ask(self, line):
        print(line, file=self.process.stdin, flush=True)
        return self.read()

    def end(self):
        self.process.communicate()


class Worker(Process):
    """One who runs a workload."""

    def __init__(self, command, runner, shape, workload, models):
        load = WORKLOADS[workload]
        self.runner, self.seconds = runner, []
        model, files = models.files(shape, runner)
        threads, workers = (load.threads, 1) if runner.split == "threads" else (1, load.threads)
        job = SHAPES[shape] | dict(
            model=str(model), calls=calls(shape, workload), threads=threads, workers=workers, beam=load.beam,
            precision=runner.precision, shortlist=runner.shortlist, tokens=words(shape),
        )  # fmt: skip
        # Marian's words have no mark in front.
        self.ids = {word: id for id, token in enumerate(job["tokens"]) for word in [token, token.lstrip("\u2581")]}
        path = models.folder / f"job-{os.getpid()}.json"
        path.write_text(json.dumps(job))
        super().__init__([*command, path], threads)
        self.first = self.read()
        path.unlink()
        wanted = sum(len(call["sources"]) * call["length"] for call in job["calls"])
        # Bergamot forms batches of its own, of which the longest source is the length of the outputs.
        if self.first["tokens"] != wanted and not (runner.peer == "bergamot" and len(job["calls"]) > 1):
            self.end()
            raise Absent(f"it gave {self.first['tokens']} tokens, not {wanted}")
        self.model_bytes = sum(file.stat().st_size for file in files)
        [seconds] = self.ask(1)["seconds"]
        self.runs = max(1, min(MOST_RUNS, round(SAMPLE_SECONDS / seconds)))

    def sample(self):
        answer = self.ask(self.runs)
        self.seconds.append(statistics.median(answer["seconds"]))
        self.peak_rss_kb, self.tokens = answer["peak_rss_kb"], answer["tokens"]

    def result(self, threads):
        quartiles = statistics.quantiles(self.seconds, n=4, method="inclusive") if len(self.seconds) > 1 else self.seconds * 3
        return dict(
            name=self.runner.name(threads),
            peer=self.runner.peer,
            kind=self.runner.kind,
            precision=self.runner.precision,
            seconds=quartiles[1],
            quartiles=[quartiles[0], quartiles[2]],
            samples=self.seconds,
            tokens=self.tokens,
            load_s=self.first["load_s"],
            first_s=self.first["first_s"],
            peak_rss_mb=self.peak_rss_kb * 1024e-6,
            model_mb=self.model_bytes * 1e-6,
            library_mb=self.first["library_bytes"] * 1e-6,
            output=[self.ids.get(token, token) for token in self.first["output"]],
        )


def words(shape):
    """The words of all ids, as `models/tokens.py` has them."""
    from models.tokens import tokens

    return tokens(SHAPES[shape])


def busy_seconds():
    """Of all processors of this machine since it started."""
    ticks = list(map(int, open("/proc/stat").readline().split()[1:]))
    return (sum(ticks) - ticks[3] - ticks[4]) / os.sysconf("SC_CLK_TCK")


def own_seconds(processes):
    """Of processor time that these processes took."""
    seconds = 0
    for process in processes:
        fields = Path(f"/proc/{process.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        seconds += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return seconds


def measure(title, workers, limits, rounds):
    """Rounds in which everyone runs, in a random order. Gives what the machine can do, and how much of it others took."""
    measured, everyone = [], [*workers, limits]
    start, busy, own = time.time(), busy_seconds(), own_seconds(everyone)
    for round in range(rounds):
        random.shuffle(everyone)
        for one in everyone:
            if one is limits:
                measured.append(one.ask(""))
            else:
                one.sample()
        print(f"  {title}: round {round + 1} of {rounds}", flush=True)
    others = busy_seconds() - busy - (own_seconds(everyone) - own)
    reads, int8 = [m["bytes_per_second"] for m in measured], [m["int8_macs_per_second"] for m in measured]
    limits = dict(
        bytes_per_second={size: statistics.median(read[size] for read in reads) for size in reads[0]},
        int8_macs_per_second=statistics.median(int8) if all(int8) else None,
    )
    return limits, max(0, others) / (time.time() - start)


def run_workload(shape, workload, commands, models, rounds, absent):
    load = WORKLOADS[workload]
    workers, kinds = [], {}
    for runner in runners(shape, workload):
        if runner.peer not in commands:
            continue
        name = f"{runner.name(load.threads)}, {runner.kind}"
        try:
            worker = Worker(commands[runner.peer], runner, shape, workload, models)
            print(f"  {shape} {workload}: {name}: {worker.first['tokens']} tokens", flush=True)
            workers.append(worker)
            kinds[runner.kind] = list(work(shape, workload, runner.decoder, runner.shortlist))
        except Absent as reason:
            absent[f"{name}, {shape} {workload}"] = str(reason)
    sizes = {str(weights) for steps in kinds.values() for once, _, step in steps for weights, _ in [once, step]}
    limits = Process([models.cargo / "release/limits", load.threads, *sizes])
    measured, others = measure(f"{shape} {workload}", workers, limits, rounds or load.rounds)
    for process in [*workers, limits]:
        process.end()
    return dict(
        shape=shape,
        workload=workload,
        title=load.title,
        sentences=sum(len(call["sources"]) for call in calls(shape, workload)),
        tokens=sum(len(call["sources"]) * call["length"] for call in calls(shape, workload)),
        results=[worker.result(load.threads) for worker in workers],
        limits=measured,
        others=others,
        bounds={kind: report.bound(steps, measured) for kind, steps in kinds.items()},
    )


def main():
    options = arguments()
    installer = Installer(options.folder)
    commands, absent = {}, {}
    # Ours makes its models and measures the machine, too.
    for peer in dict.fromkeys([OURS, *options.peers]):
        try:
            commands[peer] = installer.install(peer)
        except Absent as reason:
            absent[peer] = str(reason)
            print(f"absent: {peer}: {reason}", flush=True)
    models = Models(installer, installer.tools())
    for shape in options.shapes:
        models.make(shape)
    if options.install:
        return
    models.load(options.shapes)
    out, start = options.out or options.folder, time.time()
    out.mkdir(parents=True, exist_ok=True)
    groups = []
    for shape in options.shapes:
        for workload in options.workloads:
            chosen = {peer: command for peer, command in commands.items() if peer in options.peers}
            groups.append(run_workload(shape, workload, chosen, models, options.rounds, absent))
            everything = dict(machine=report.machine(), absent=absent, minutes=(time.time() - start) / 60, groups=groups)
            (out / "results.json").write_text(json.dumps(everything, indent=1))
            (out / "results.md").write_text(report.markdown(everything))
            print(report.table(groups[-1]), flush=True)
    print(f"{out}/results.json and {out}/results.md after {everything['minutes']:.1f} minutes")
    for name, reason in absent.items():
        print(f"absent: {name}: {reason}")


if __name__ == "__main__":
    main()
