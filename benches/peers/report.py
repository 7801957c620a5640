"""What was measured, as a table to read."""

import os
import platform
from pathlib import Path

from workloads import INT4, OURS, SCREENED


COLUMNS = ["kind", "who", "ms (quartiles)", "tokens/s", "load ms", "first ms", "peak RSS MB", "model MB", "code MB"]
COLUMNS += ["ours / theirs", "as f32"]


def bound(steps, limits):
    """The least seconds for the calls of `work`: encoder and decoding steps are as fast as their weights can be read or
    multiplied, whichever takes longer."""
    peak, bandwidths = limits["int8_macs_per_second"], limits["bytes_per_second"]
    if peak is None:
        return None
    least = lambda weights, macs: max(weights / bandwidths[str(weights)], macs / peak)
    encoder = sum(least(*once) for once, _, _ in steps)
    decoder = sum(length * least(*step) for _, length, step in steps)
    return dict(seconds=encoder + decoder, encoder=encoder, decoder=decoder)


def machine():
    """What this ran on."""
    model = [line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line]
    return dict(cpu=model[0] if model else platform.machine(), cores=os.cpu_count(), system=platform.platform())


def per_token(result):
    return result["seconds"] / result["tokens"]


def agreement(result, results):
    """How many tokens of the first output are those of float32, where someone computes in that."""
    references = [r["output"] for r in results if r["precision"] == "float32"]
    if not references:
        return "-"
    same = [a == b for a, b in zip(result["output"], references[0])] + [False]
    return f"{same.index(False)} of {len(references[0])}"


def best(results):
    return min(results, key=per_token, default=None)


def is_ours(result, precision):
    return result["peer"] == OURS and result["precision"] == precision


def table(group):
    """Markdown: everyone by kind, the fastest first, then ours beside the best peer and the bound."""
    lines = [
        f"### {group['shape']}, {group['workload']}: {group['title']}",
        "",
        f"{group['sentences']} sentences, {group['tokens']} output tokens; other processes used "
        f"{group['others']:.2f} processors meanwhile.",
        "",
        f"| {' | '.join(COLUMNS)} |",
        "|---" * len(COLUMNS) + "|",
    ]
    conclusions = []
    for kind in dict.fromkeys(result["kind"] for result in group["results"]):
        results = [result for result in group["results"] if result["kind"] == kind]
        ours = best([result for result in results if is_ours(result, "int8")])
        peer = best([result for result in results if result["peer"] != OURS])
        lines += [row(result, ours, results) for result in sorted(results, key=per_token)]
        if ours:
            conclusions.append(f"- {kind}: {conclusion(ours, peer, group['bounds'][kind])}")
        for precision in [SCREENED, *INT4]:
            if other := best([result for result in results if is_ours(result, precision)]):
                # The bound is that of reading all int8 weights.
                conclusions.append(f"- {kind}: {conclusion(other, peer, bound=None)}")
    return "\n".join([*lines, "", *conclusions, ""])


def row(result, ours, results):
    low, high = result["quartiles"]
    ratio = f"{per_token(ours) / per_token(result):.2f}" if ours else "-"
    cells = [
        result["kind"],
        result["name"],
        f"{result['seconds'] * 1e3:.2f} ({low * 1e3:.2f}-{high * 1e3:.2f})",
        f"{1 / per_token(result):.0f}",
        f"{result['load_s'] * 1e3:.1f}",
        f"{result['first_s'] * 1e3:.1f}",
        *(f"{result[key]:.1f}" for key in ["peak_rss_mb", "model_mb", "library_mb"]),
        ratio,
        agreement(result, results),
    ]
    return f"| {' | '.join(cells)} |"


def conclusion(ours, peer, bound):
    text = f"{ours['name']} {ours['seconds'] * 1e3:.2f} ms"
    if peer:
        ratio = per_token(ours) / per_token(peer)
        text += f", {ratio:.2f} of the best peer ({peer['name']}, {peer['seconds'] * 1e3:.2f} ms)"
    if bound:
        encoder, decoder = bound["encoder"] * 1e3, bound["decoder"] * 1e3
        text += (
            f"; {bound['seconds'] / ours['seconds']:.0%} of the bound, {bound['seconds'] * 1e3:.2f} ms "
            f"({encoder:.2f} to encode, {decoder:.2f} to decode)"
        )
    return text


def markdown(everything):
    machine, parts = everything["machine"], []
    minutes = f"{everything['minutes']:.0f} minutes"
    parts.append(f"{machine['cpu']}, {machine['cores']} processors, {machine['system']}; {minutes}.\n")
    if everything["absent"]:
        absent = [f"- {name}: {reason}" for name, reason in everything["absent"].items()]
        parts.append("\n".join(["Absent:\n", *absent, ""]))
    for group in everything["groups"]:
        bandwidths = group["limits"]["bytes_per_second"]
        sizes = ", ".join(f"{rate * 1e-9:.1f} GB/s of {int(size) * 1e-6:.1f} MB" for size, rate in bandwidths.items())
        peak = group["limits"]["int8_macs_per_second"]
        peak = f"{peak * 1e-9:.0f} G int8 multiply-adds a second" if peak else "the int8 peak is not known"
        parts.append(f"{table(group)}\nThe machine: {peak}; it reads {sizes}.\n")
    return "\n".join(parts)
