"""What the workers in Python share; `rust/protocol.rs` is the same in Rust.

A worker gets a job, a JSON file:

- `model`: its model, a file or a folder;
- `calls`: the workload, in the order in which it is run: `sources`, token ids with the end token, and `length`, the tokens
  that every output must have;
- `threads` of one computation, `workers` that compute side by side, `beam`, `shortlist`;
- what is known of the shape, such as `heads` and `start`.

It runs the workload once and writes a line of JSON: how long loading and that first run took, the sizes of its code and its
memory, the number of tokens, and the first output (ids, or words where the peer knows only those). Then it reads lines with a
number, runs the workload as often, and answers each with the seconds that each run took.
"""

import json
import os
import sys
import time


def serve(load):
    """`load(job)` gives a function that runs the workload, and gives the tokens (or words) of each output."""
    with open(sys.argv[1]) as file:
        job = json.load(file)
    # What libraries print must not get between the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def answer(**fields):
        print(json.dumps(fields | dict(peak_rss_kb=peak_rss_kb())), file=answers, flush=True)

    start = time.perf_counter()
    run = load(job)
    loaded = time.perf_counter()
    outputs = run()
    first = time.perf_counter() - loaded
    answer(load_s=loaded - start, first_s=first, library_bytes=library_bytes(), tokens=count(outputs), output=outputs[0])
    for line in sys.stdin:
        seconds = []
        for _ in range(int(line)):
            start = time.perf_counter()
            outputs = run()
            seconds.append(time.perf_counter() - start)
        answer(seconds=seconds, tokens=count(outputs))


def count(outputs):
    return sum(map(len, outputs))


def peak_rss_kb():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmHWM"))


def library_bytes():
    """The compiled code that was loaded, Python's own left out."""
    with open("/proc/self/maps") as file:
        paths = {line.split(maxsplit=5)[-1].strip() for line in file}
    return sum(os.path.getsize(path) for path in paths if "site-packages" in path and os.path.exists(path))


def padded(sources):
    """Token ids and a mask of where there are some, as lists of equal length."""
    longest = max(map(len, sources))
    return (
        [source + [0] * (longest - len(source)) for source in sources],
        [[1] * len(source) + [0] * (longest - len(source)) for source in sources],
    )
