"""Bergamot takes text. It appends the end token, forms its own batches, and ends an output where it is as long as its
source: with workload b its outputs are shorter than those of others, which count by the token."""

import importlib.util
import sysconfig
from pathlib import Path

from protocol import serve

OPTIONS = """
models: [{model}/model.bin]
vocabs: [{model}/vocabulary.spm, {model}/vocabulary.spm]
{shortlist}
beam-size: {beam}
normalize: 1.0
word-penalty: 0
max-length-break: {longest}
mini-batch-words: {batch}
workspace: 128
max-length-factor: {factor}
skip-cost: true
cpu-threads: 0
quiet: true
quiet-translation: true
gemm-precision: int8shiftAlphaAll
ssplit-mode: sentence
"""


def module():
    """The compiled part alone: the package around it needs others that are not used here."""
    path = next(Path(sysconfig.get_path("purelib")).glob("bergamot/_bergamot*.so"))
    spec = importlib.util.spec_from_file_location("_bergamot", path)
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def load(job):
    bergamot, calls, model = module(), job["calls"], job["model"]
    longest = max(len(source) for call in calls for source in call["sources"])
    service = bergamot.Service(bergamot.ServiceConfig(numWorkers=job["workers"], cacheSize=0, logLevel="off"))
    options = OPTIONS.format(
        model=model,
        shortlist=f"shortlist: [{model}/shortlist.bin, 0]" if job["shortlist"] else "",
        beam=job["beam"],
        longest=longest,
        batch=max(len(call["sources"]) for call in calls) * longest,
        factor=1.0 if len(calls) > 1 else calls[0]["length"] / longest,
    )
    loaded = service.modelFromConfig(options)
    response = bergamot.ResponseOptions(qualityScores=False, alignment=False, HTML=False, sentenceMappings=False)
    words = job["tokens"]
    texts = [" ".join(words[id][1:] for id in source[:-1]) for call in calls for source in call["sources"]]

    def run():
        results = service.translate(loaded, bergamot.VectorString(texts), response)
        return [result.target.text.split() for result in results]

    return run


serve(load)
