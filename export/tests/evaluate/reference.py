"""The scores of sacrebleu, rouge-score and jiwer.

Reads lines of {"hypotheses": [...], "references": [[...], ...], "settings": NAME}, where the references are those of
each row and may differ in number. Prints the version of sacrebleu, and then a JSON list of score lines for each line.
"""

import itertools
import json
import statistics
import sys

import jiwer
import sacrebleu
from rouge_score.rouge_scorer import RougeScorer
from sacrebleu.metrics import BLEU, CHRF, TER

DEFAULTS = [BLEU(), CHRF(), CHRF(word_order=2), TER()]
SETTINGS = {
    "defaults": DEFAULTS,
    "all": DEFAULTS
    + [BLEU(tokenize=tokenizer) for tokenizer in ["intl", "zh", "char", "none"]]
    + [BLEU(lowercase=True), CHRF(lowercase=True), CHRF(word_order=2, lowercase=True), TER(case_sensitive=True)]
    + [
        TER(normalized=normalized, no_punct=no_punct, asian_support=asian)
        for normalized, no_punct, asian in itertools.product([False, True], repeat=3)
    ],
}
ROUGE = {"rouge1": "ROUGE-1", "rouge2": "ROUGE-2", "rougeL": "ROUGE-L"}
SCORER = RougeScorer(list(ROUGE))


def sacrebleu_lines(hypotheses, references, settings):
    most = max(map(len, references))
    streams = list(zip(*[row + [None] * (most - len(row)) for row in references]))
    for metric in SETTINGS[settings]:
        score = metric.corpus_score(hypotheses, streams)
        yield score.format(width=6, signature=str(metric.get_signature()))


def rouge_lines(hypotheses, references):
    scores = [SCORER.score_multi(row, hypothesis) for hypothesis, row in zip(hypotheses, references)]
    for key, name in ROUGE.items():
        yield f"{name} = {100 * statistics.fmean(score[key].fmeasure for score in scores):.6f}"


def jiwer_lines(hypotheses, references):
    """jiwer knows one reference a row, which must not be empty, and no white space but the space."""
    if any(len(row) != 1 or not row[0].strip() for row in references):
        return
    sides = [row[0] for row in references], hypotheses
    words = [[" ".join(text.split()) for text in side] for side in sides]
    yield f"WER = {100 * jiwer.wer(*words):.6f}"
    yield f"CER = {100 * jiwer.cer(*sides):.6f}"


print(sacrebleu.__version__)
for line in sys.stdin:
    case = json.loads(line)
    texts = case["hypotheses"], case["references"]
    lines = [*sacrebleu_lines(*texts, case["settings"]), *rouge_lines(*texts), *jiwer_lines(*texts)]
    print(json.dumps(lines), flush=True)
