//! Searches written for nothing but being obviously right.

use siskin::decode::{DecodeOptions, Request, Strategy};

use super::scorers::HashScorer;
use super::{END, kernels};

/// A hypothesis with its end token, if it has one.
#[derive(Clone, Debug)]
pub struct Found {
    pub tokens: Vec<u32>,
    pub log_prob: f32,
    pub score: f32,
}

impl Found {
    pub fn without_end(&self) -> &[u32] {
        self.tokens.strip_suffix(&[END]).unwrap_or(&self.tokens)
    }
}

/// Logits and attention after `tokens`, under the constraints of `options`.
fn constrained(
    options: &DecodeOptions,
    scorer: &HashScorer,
    sentence: usize,
    request: &Request,
    tokens: &[u32],
) -> (Vec<f32>, Vec<f32>) {
    let fed = [request.prefix, tokens].concat();
    let (mut logits, attention) = scorer.after(sentence, &fed);
    let seen = &fed[1..];
    for token in 0..logits.len() as u32 {
        let n = options.no_repeat_ngram;
        let repeats = n > 0 && {
            let with = [seen, &[token]].concat();
            with.len() >= n && seen.windows(n).any(|ngram| *ngram == with[with.len() - n..])
        };
        let too_short = token == END && tokens.len() < options.min_length;
        let logit = &mut logits[token as usize];
        if repeats || too_short || options.suppressed.contains(&token) {
            *logit = f32::NEG_INFINITY;
        } else if seen.contains(&token) {
            let penalty = options.repetition_penalty;
            *logit = if *logit > 0.0 { *logit / penalty } else { *logit * penalty };
        }
    }
    (logits, attention)
}

fn score(
    options: &DecodeOptions,
    scorer: &HashScorer,
    sentence: usize,
    request: &Request,
    found: &Found,
) -> f32 {
    let normalized = found.log_prob / (found.tokens.len() as f64).powf(options.length_penalty.into()) as f32;
    if options.coverage_penalty == 0.0 {
        return normalized;
    }
    let mut coverage = vec![0.0f32; scorer.sentences[sentence].1];
    for length in 0..found.tokens.len() {
        let (_, attention) = scorer.after(sentence, &[request.prefix, &found.tokens[..length]].concat());
        coverage.iter_mut().zip(attention).for_each(|(sum, weight)| *sum += weight);
    }
    let penalty: f32 = coverage.iter().map(|sum| sum.min(1.0).ln()).sum();
    normalized + options.coverage_penalty * penalty
}

/// Every continuation of `from`: as `Found` without a score.
fn continuations(
    options: &DecodeOptions,
    scorer: &HashScorer,
    sentence: usize,
    request: &Request,
    from: &Found,
) -> Vec<Found> {
    let (logits, _) = constrained(options, scorer, sentence, request, &from.tokens);
    let normalizer = kernels().log_sum_exp(&logits);
    let possible = logits.iter().zip(0..).filter(|(logit, _)| **logit > f32::NEG_INFINITY);
    possible
        .map(|(logit, token)| Found {
            tokens: [&from.tokens[..], &[token]].concat(),
            log_prob: from.log_prob + (logit - normalizer).min(0.0),
            score: 0.0,
        })
        .collect()
}

const EMPTY: Found = Found { tokens: Vec::new(), log_prob: 0.0, score: 0.0 };

/// All hypotheses of a sentence, best first.
pub fn enumerate(
    options: &DecodeOptions,
    scorer: &HashScorer,
    sentence: usize,
    request: &Request,
) -> Vec<Found> {
    let mut live = vec![EMPTY];
    let mut finished = Vec::new();
    while let Some(from) = live.pop() {
        for mut found in continuations(options, scorer, sentence, request, &from) {
            if found.tokens.ends_with(&[END]) || found.tokens.len() == options.max_length {
                found.score = score(options, scorer, sentence, request, &found);
                finished.push(found);
            } else {
                live.push(found);
            }
        }
    }
    finished.sort_by(|a, b| b.score.total_cmp(&a.score));
    finished
}

/// Beam search as CTranslate2 does it, over copied token lists: the `n_best` best, best first.
pub fn beam_search(
    options: &DecodeOptions,
    scorer: &HashScorer,
    sentence: usize,
    request: &Request,
) -> Vec<Found> {
    let Strategy::Beam { size } = options.strategy else { panic!("not a beam") };
    let max_length = request.max_length.unwrap_or(options.max_length);
    let mut live = vec![EMPTY];
    let mut finished = Vec::<Found>::new();
    let mut best_finished = false;
    for length in 1..=max_length {
        let mut candidates: Vec<Found> =
            live.iter().flat_map(|from| continuations(options, scorer, sentence, request, from)).collect();
        candidates.sort_by(|a, b| b.log_prob.total_cmp(&a.log_prob));
        let ends = |found: &Found| found.tokens.ends_with(&[END]) || length == max_length;
        best_finished |= candidates.first().is_some_and(ends);
        for found in candidates.iter().take(size).filter(|found| ends(found)) {
            let score = score(options, scorer, sentence, request, found);
            finished.push(Found { score, ..found.clone() });
        }
        live = candidates.into_iter().take(2 * size).filter(|found| !ends(found)).take(size).collect();
        let enough = if options.length_penalty == 0.0 && options.coverage_penalty == 0.0 {
            best_finished && finished.len() >= options.n_best
        } else {
            finished.len() >= (size as f32 * options.patience).round() as usize
        };
        if enough {
            break;
        }
    }
    finished.sort_by(|a, b| b.score.total_cmp(&a.score));
    finished.truncate(options.n_best);
    finished
}
