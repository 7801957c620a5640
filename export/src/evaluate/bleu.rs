//! BLEU (Papineni et al., 2002) as sacrebleu computes it.

use super::ngrams::{count_ngrams, matches};
use super::tokenize::{is_space, words};
use super::{Case, Row, SACREBLEU, Score, Tokenizer, signature};
use std::collections::HashMap;

/// The longest n-grams.
const ORDER: usize = 4;

/// What BLEU is computed from.
#[derive(Default)]
struct Statistics {
    /// Words of the hypotheses.
    hypothesis: usize,
    /// Words of the references: of each row's, those of the one whose length is closest.
    reference: usize,
    /// n-grams of the hypotheses that are in a reference too, by order.
    correct: [usize; ORDER],
    /// n-grams of the hypotheses, by order.
    total: [usize; ORDER],
}

/// BLEU of a corpus with 4-grams, exponential smoothing (method 3 of Chen & Cherry, 2014) and the brevity penalty.
pub fn bleu(rows: &[Row], tokenizer: Tokenizer, case: Case) -> Score {
    let mut statistics = Statistics::default();
    for row in rows {
        let tokenize = |text: &String| tokenizer.tokenize(case.apply(text).trim_end_matches(is_space));
        let references: Vec<String> = row.references.iter().map(tokenize).collect();
        let references: Vec<Vec<&str>> = references.iter().map(|reference| words(reference)).collect();
        statistics.add(&words(&tokenize(&row.hypothesis)), &references);
    }
    let keys = [("case", case.signature()), ("eff", "no"), ("tok", tokenizer.signature()), ("smooth", "exp")];
    let (value, details) = statistics.score();
    Score { name: "BLEU", signature: signature(rows, &keys, SACREBLEU), value, details }
}

impl Statistics {
    fn add(&mut self, hypothesis: &[&str], references: &[Vec<&str>]) {
        let length = hypothesis.len();
        let closest = references.iter().map(Vec::len).min_by_key(|other| (other.abs_diff(length), *other));
        self.hypothesis += length;
        self.reference += closest.unwrap_or(0);
        for n in 1..=ORDER {
            // An n-gram may be used as often as the reference with the most of it has it.
            let mut most: HashMap<&[&str], usize> = HashMap::new();
            for (ngram, count) in references.iter().flat_map(|reference| count_ngrams(reference, n)) {
                let most = most.entry(ngram).or_default();
                *most = count.max(*most);
            }
            self.total[n - 1] += (length + 1).saturating_sub(n);
            self.correct[n - 1] += matches(&count_ngrams(hypothesis, n), &most);
        }
    }

    /// The score, and the numbers that sacrebleu prints behind it.
    fn score(&self) -> (f64, String) {
        let (hypothesis, reference) = (self.hypothesis as f64, self.reference as f64);
        let penalty = match self.hypothesis {
            0 if self.reference > 0 => 0.0,
            length if length < self.reference => (1.0 - reference / hypothesis).exp(),
            _ => 1.0,
        };
        let precisions = self.precisions();
        let value = match precisions.iter().all(|&precision| precision > 0.0) {
            true => penalty * (precisions.iter().map(|p| p.ln()).sum::<f64>() / ORDER as f64).exp(),
            false => 0.0,
        };
        let [one, two, three, four] = precisions;
        let ratio = if self.reference > 0 { hypothesis / reference } else { 0.0 };
        let details = format!(
            "{one:.1}/{two:.1}/{three:.1}/{four:.1} (BP = {penalty:.3} ratio = {ratio:.3} hyp_len = {} ref_len = {})",
            self.hypothesis, self.reference
        );
        (value, details)
    }

    /// Precisions in percent. The first order without a match counts as half a match, the next as a quarter and so on,
    /// unless no order has a match; an order without n-grams is 0.
    fn precisions(&self) -> [f64; ORDER] {
        let mut precisions = [0.0; ORDER];
        if self.correct == [0; ORDER] {
            return precisions;
        }
        let mut smooth = 1.0;
        for ((precision, &correct), &total) in precisions.iter_mut().zip(&self.correct).zip(&self.total) {
            if total == 0 {
                break;
            }
            *precision = if correct == 0 {
                smooth *= 2.0;
                100.0 / (smooth * total as f64)
            } else {
                100.0 * correct as f64 / total as f64
            };
        }
        precisions
    }
}

#[cfg(test)]
mod tests {
    use super::super::{rows, sample};
    use super::*;

    fn line(texts: &[(&str, &[&str])]) -> String {
        bleu(&rows(texts), Tokenizer::V13a, Case::Mixed).line(4)
    }

    /// The end of the line, behind the signature.
    fn result(texts: &[(&str, &[&str])]) -> String {
        line(texts).split_once(" = ").expect("a score").1.to_owned()
    }

    #[test]
    fn lines_are_those_of_sacrebleu() {
        assert_eq!(
            line(&sample::SINGLE),
            "BLEU|nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:2.6.0 = 51.3687 86.7/69.2/45.5/33.3 \
             (BP = 0.936 ratio = 0.938 hyp_len = 15 ref_len = 16)"
        );
        assert_eq!(
            line(&sample::MULTIPLE),
            "BLEU|nrefs:var|case:mixed|eff:no|tok:13a|smooth:exp|version:2.6.0 = 32.3392 75.0/70.0/25.0/8.3 \
             (BP = 1.000 ratio = 1.091 hyp_len = 12 ref_len = 11)"
        );
        let lower = bleu(&rows(&[("a b C d e", &["a B c d f"])]), Tokenizer::None, Case::Lower);
        assert_eq!(
            lower.line(4),
            "BLEU|nrefs:1|case:lc|eff:no|tok:none|smooth:exp|version:2.6.0 = 66.8740 80.0/75.0/66.7/50.0 \
             (BP = 1.000 ratio = 1.000 hyp_len = 5 ref_len = 5)"
        );
    }

    #[test]
    fn short_and_wrong_outputs_score_as_in_sacrebleu() {
        let cases: [(&str, &str, &str); 4] = [
            (
                "one two three",
                "one two four",
                "0.0000 66.7/50.0/50.0/0.0 (BP = 1.000 ratio = 1.000 hyp_len = 3 ref_len = 3)",
            ),
            ("x", "y", "0.0000 0.0/0.0/0.0/0.0 (BP = 1.000 ratio = 1.000 hyp_len = 1 ref_len = 1)"),
            ("", "y z", "0.0000 0.0/0.0/0.0/0.0 (BP = 0.000 ratio = 0.000 hyp_len = 0 ref_len = 2)"),
            (
                "a b c d e",
                "a c b e d",
                "15.9736 100.0/12.5/8.3/6.2 (BP = 1.000 ratio = 1.000 hyp_len = 5 ref_len = 5)",
            ),
        ];
        for (hypothesis, reference, expected) in cases {
            assert_eq!(result(&[(hypothesis, &[reference])]), expected);
        }
    }
}
