//! Decoding that a search could do, recorded, and held against the oracle.

use std::fmt;

use siskin::model::Session;

use crate::oracle::{Decoded, Number, Oracle, Real, Rows};
use crate::support::Random;

/// A batch that was decoded with random tokens, its hypotheses multiplied, reordered and dropped at random.
pub struct Walk {
    sources: Vec<Vec<u32>>,
    hypotheses: Vec<Hypothesis>,
}

/// So many sentences are alive to the end; others may end early, as in a search.
const KEPT: usize = 2;

/// One hypothesis that was alive at the last step, and what the session gave at every step of its past.
#[derive(Clone)]
pub struct Hypothesis {
    sentence: usize,
    tokens: Vec<u32>,
    logits: Rows<f32>,
    attention: Rows<f32>,
}

impl Walk {
    /// Sources of `lengths`, and as many targets of `steps` tokens as the session has room for.
    pub fn run(session: &mut Session, lengths: &[usize], steps: usize, seed: u64) -> Self {
        let spec = session.model().spec().clone();
        let mut random = Random::new(seed);
        let sources: Vec<Vec<u32>> =
            lengths.iter().map(|&length| random.tokens(length, spec.source_vocabulary)).collect();
        session.encode(sources.iter().map(Vec::as_slice)).expect("sources that fit");
        let begin =
            |sentence| Hypothesis { sentence, tokens: Vec::new(), logits: Vec::new(), attention: Vec::new() };
        let mut hypotheses: Vec<Hypothesis> = (0..sources.len()).map(begin).collect();
        let room = session.shape().batch * session.shape().beam;
        for step in 0..steps {
            let fewest = sources.len().min(KEPT);
            let rows = if step + 1 == steps { room } else { fewest + random.below(room + 1 - fewest) };
            let mut parents = random.tokens(rows, hypotheses.len());
            for (sentence, parent) in parents.iter_mut().take(fewest).enumerate() {
                while hypotheses[*parent as usize].sentence != sentence {
                    *parent = random.below(hypotheses.len()) as u32;
                }
            }
            let tokens = random.tokens(rows, spec.target_vocabulary);
            let logits = session.step(&tokens, &parents).expect("tokens that fit").to_vec();
            let advance = |(row, logits): (usize, &[f32])| {
                let mut hypothesis = hypotheses[parents[row] as usize].clone();
                hypothesis.tokens.push(tokens[row]);
                hypothesis.logits.push(logits.to_vec());
                hypothesis.attention.push(session.attention(row).expect("it was kept").to_vec());
                hypothesis
            };
            hypotheses = logits.chunks(spec.target_vocabulary).enumerate().map(advance).collect();
        }
        Self { sources, hypotheses }
    }

    /// Calls `check` with every hypothesis and what the oracle gives for it.
    fn compare<N: Number>(
        &self,
        oracle: &Oracle<'_>,
        columns: &[usize],
        mut check: impl FnMut(&Hypothesis, &Decoded<N>),
    ) {
        let memories: Vec<Rows<N>> = self.sources.iter().map(|source| oracle.encode(source)).collect();
        for hypothesis in &self.hypotheses {
            let memory = &memories[hypothesis.sentence];
            check(hypothesis, &oracle.decode(memory, &hypothesis.tokens, columns));
        }
    }

    /// How far all logits and attention weights are from the oracle's.
    pub fn errors(&self, oracle: &Oracle<'_>, columns: &[usize]) -> Errors {
        let mut errors = Errors::default();
        self.compare::<Real>(oracle, columns, |hypothesis, expected| {
            for (got, expected) in hypothesis.logits.iter().zip(&expected.logits) {
                columns.iter().zip(expected).for_each(|(&column, x)| errors.add(x.deviations(got[column])));
            }
            for (got, expected) in hypothesis.attention.iter().zip(&expected.attention) {
                got.iter().zip(expected).for_each(|(&got, x)| errors.add(x.deviations(got)));
            }
        });
        errors
    }

    /// How many numbers differ from the oracle's in their bits.
    pub fn different_bits(&self, oracle: &Oracle<'_>, columns: &[usize]) -> usize {
        let mut different = 0;
        let mut count =
            |got: f32, expected: f32| different += usize::from(got.to_bits() != expected.to_bits());
        self.compare::<f32>(oracle, columns, |hypothesis, expected| {
            for (got, expected) in hypothesis.logits.iter().zip(&expected.logits) {
                columns.iter().zip(expected).for_each(|(&column, &x)| count(got[column], x));
            }
            for (got, expected) in hypothesis.attention.iter().zip(&expected.attention) {
                got.iter().zip(expected).for_each(|(&got, &x)| count(got, x));
            }
        });
        different
    }
}

/// Errors in standard deviations.
#[derive(Default)]
pub struct Errors {
    pub count: usize,
    squares: f64,
    pub worst: f64,
}

impl Errors {
    fn add(&mut self, deviations: f64) {
        self.count += 1;
        self.squares += deviations * deviations;
        // NaN is the worst.
        self.worst = if deviations.abs() <= self.worst { self.worst } else { deviations.abs() };
    }

    fn root_mean_square(&self) -> f64 {
        (self.squares / self.count as f64).sqrt()
    }

    /// Whether the derived variance is that of the errors: neither too small nor much too large.
    pub fn is_typical(&self) -> bool {
        (0.1..1.25).contains(&self.root_mean_square())
    }
}

impl fmt::Display for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (count, typical, worst) = (self.count, self.root_mean_square(), self.worst);
        write!(f, "{count} outputs are {typical:.2} deviations away, at most {worst:.2}")
    }
}
