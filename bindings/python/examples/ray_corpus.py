#!/usr/bin/env python3
"""Translates a corpus on several workers with Ray Data, kills one in the middle, and checks the output.

    pip install 'ray[data]==2.60.0'
    python bindings/python/examples/ray_corpus.py --lines 10000 --workers 1 2
"""

import argparse
import os
import signal
import tempfile
import time
from pathlib import Path

import ray
import siskin

ROOT = Path(__file__).parents[3]
SENTENCES = """\
Good morning! | Where is the station? | I like tea. | She is reading a book. | We are going to the beach tomorrow.
The weather is nice today. | My brother lives in a small town. | Can you help me, please? | He does not speak German.
The children are playing in the garden. | What time is it? | I have lost my key. | This bread tastes very good."""


class Translate:
    """A worker: one translator for all of its batches."""

    def __init__(self, model, folder):
        self.translator = siskin.Translator(model, load="map")
        self.folder = Path(folder)

    def __call__(self, batch):
        answers = self.translator.translate(list(batch["source"]))
        # Says who works, so that somebody can be killed.
        (self.folder / str(os.getpid())).touch()
        return {"line": batch["line"], "target": [answer.text for answer in answers]}


def corpus(lines):
    sentences = [sentence.strip() for line in SENTENCES.splitlines() for sentence in line.split("|")]
    return [f"{sentences[i % len(sentences)]} Number {i}." for i in range(lines)]


def translate(sources, workers, options, kill):
    """Lines and their translations, and the seconds that they took; in the middle a worker is killed, if `kill` says so."""
    rows = [{"line": i, "source": source} for i, source in enumerate(sources)]
    with tempfile.TemporaryDirectory() as folder:
        stream = ray.data.from_items(rows, override_num_blocks=len(rows) // options.batch + 1).map_batches(
            Translate,
            fn_constructor_args=(str(options.model), folder),
            batch_size=options.batch,
            compute=ray.data.ActorPoolStrategy(size=workers),
            num_cpus=0.5,
        )
        answers, killed = [], None
        began = time.monotonic()
        for row in stream.iter_rows():
            answers.append(row)
            if kill and killed is None and len(answers) > len(rows) // 4:
                killed = int(next(Path(folder).iterdir()).name)
                os.kill(killed, signal.SIGKILL)
        seconds = time.monotonic() - began
        if killed is not None:
            seen = sorted(int(path.name) for path in Path(folder).iterdir())
            print(f"worker {killed} was killed after {len(rows) // 4} lines; these have worked: {seen}")
    return answers, seconds


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, default=ROOT / "models/en-de/en-de.siskin")
    parser.add_argument("--lines", type=int, default=10_000)
    parser.add_argument("--batch", type=int, default=500, help="lines of a batch")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    options = parser.parse_args()
    sources = corpus(options.lines)
    words = sum(len(source.split()) for source in sources)
    began = time.monotonic()
    expected = [answer.text for answer in siskin.Translator(options.model).translate(sources)]
    print(f"alone: {words / (time.monotonic() - began):.0f} words/s")

    ray.init(num_cpus=max(options.workers), include_dashboard=False, log_to_driver=False)
    context = ray.data.DataContext.get_current()
    context.execution_options.preserve_order = True
    context.enable_progress_bars = False
    for workers, kill in [*((workers, False) for workers in options.workers), (max(options.workers), True)]:
        answers, seconds = translate(sources, workers, options, kill)
        assert [row["line"] for row in answers] == list(range(len(sources))), "lines are lost, doubled or out of order"
        assert [row["target"] for row in answers] == expected, "a translation differs"
        print(f"{workers} workers{', one killed' if kill else ''}: {words / seconds:.0f} words/s, complete and in order")


if __name__ == "__main__":
    main()
