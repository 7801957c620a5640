import ctranslate2
from protocol import serve

BATCH = 1024


def load(job):
    translator = ctranslate2.Translator(
        job["model"], compute_type=job["precision"], intra_threads=job["threads"], inter_threads=job["workers"]
    )
    words = job["tokens"]
    calls = [([[words[id] for id in source] for source in call["sources"]], call["length"]) for call in job["calls"]]

    def run():
        results = []
        for sources, length in calls:
            results += translator.translate_batch(
                sources, max_batch_size=BATCH, asynchronous=True, beam_size=job["beam"], use_vmap=job["shortlist"],
                min_decoding_length=length, max_decoding_length=length, max_input_length=0, return_scores=False,
            )  # fmt: skip
        return [result.result().hypotheses[0] for result in results]

    return run


serve(load)
