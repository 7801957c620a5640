//! What a search is asked for, and what it is made for.

use alloc::format;
use alloc::vec::Vec;
use core::fmt;

use crate::error::{Error, ErrorKind, Result};

/// Most hypotheses that a search follows for one sentence.
pub const MAX_BEAM: usize = 16;

/// How the next tokens are chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Strategy {
    /// The most probable token, at every step.
    #[default]
    Greedy,
    /// Beam search.
    Beam {
        /// Hypotheses that are followed for each sentence, 1 to [`MAX_BEAM`].
        size: usize,
    },
    /// Random tokens from the model's distribution. [`DecodeOptions::n_best`] samples are drawn independently.
    Sample(Sampling),
}

/// How random tokens are drawn: temperature first, then top-k, then top-p.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    /// Only the `top_k` most probable tokens can be drawn; 0 for all.
    pub top_k: usize,
    /// Only the smallest set of most probable tokens whose probabilities add up to `top_p` can be drawn, in (0, 1].
    pub top_p: f32,
    /// The logits are divided by it before the softmax, above 0; less than 1 sharpens the distribution.
    pub temperature: f32,
    /// The same seed and [`Request::id`](super::Request::id) give the same output.
    pub seed: u64,
}

impl Default for Sampling {
    /// The model's distribution as it is, with the seed 0.
    fn default() -> Self {
        Self { top_k: 0, top_p: 1.0, temperature: 1.0, seed: 0 }
    }
}

/// Which log-probabilities are reported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scores {
    /// None. Saves greedy search the softmax, by which it would notice a NaN among finite logits.
    Skip,
    /// The score and the log-probability of each hypothesis.
    #[default]
    Total,
    /// Also the log-probability of every token, those of the prefix included.
    Tokens,
}

/// Which cross-attention is reported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Alignments {
    /// None.
    #[default]
    Skip,
    /// For every token the source position with the highest weight.
    Hard,
    /// Also the weights of all source positions, for every token.
    Soft,
}

/// Options of a search. Lengths count the tokens that the search itself chose, never the prefix.
///
/// `docs/decoding.md` has the formula and the source of each.
#[derive(Clone, Debug, PartialEq)]
pub struct DecodeOptions {
    /// How the next tokens are chosen.
    pub strategy: Strategy,
    /// Hypotheses that are returned for each sentence: 1 when greedy, up to `size * patience` from a beam, up to
    /// [`MAX_BEAM`] samples.
    pub n_best: usize,
    /// Tokens before the end token may follow.
    pub min_length: usize,
    /// Tokens, the end token included, after which a hypothesis ends in any case; a [`Request`](super::Request) may
    /// ask for fewer. At least 1.
    pub max_length: usize,
    /// Exponent of the length that divides a hypothesis' log-probability, in [0, 10]. 0 prefers short hypotheses, 1
    /// compares averages a token.
    pub length_penalty: f32,
    /// Weight of the coverage penalty, in [0, 10]; 0 is off.
    pub coverage_penalty: f32,
    /// A beam with a penalty goes on until `size * patience` hypotheses have finished, in [1, 16].
    pub patience: f32,
    /// No sequence of this many tokens comes twice; 0 is off.
    pub no_repeat_ngram: usize,
    /// Divides the positive and multiplies the negative logits of the tokens a hypothesis already has, in (0, 100];
    /// 1 is off.
    pub repetition_penalty: f32,
    /// Tokens that are never chosen.
    pub suppressed: Vec<u32>,
    /// Which log-probabilities are reported.
    pub scores: Scores,
    /// Which cross-attention is reported. Needs a scorer that keeps it.
    pub alignments: Alignments,
}

impl Default for DecodeOptions {
    /// Greedy, up to 256 tokens, averages a token for a score, every constraint off.
    fn default() -> Self {
        Self {
            strategy: Strategy::default(),
            n_best: 1,
            min_length: 0,
            max_length: 256,
            length_penalty: 1.0,
            coverage_penalty: 0.0,
            patience: 1.0,
            no_repeat_ngram: 0,
            repetition_penalty: 1.0,
            suppressed: Vec::new(),
            scores: Scores::default(),
            alignments: Alignments::default(),
        }
    }
}

impl DecodeOptions {
    /// Checks that every option is in its range and contradicts no other.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidOption`] that names the option, its value and what is allowed.
    pub fn validate(&self) -> Result<()> {
        match self.strategy {
            Strategy::Greedy => {}
            Strategy::Beam { size } => within("strategy.size", size, 1, MAX_BEAM)?,
            Strategy::Sample(Sampling { top_p, temperature, .. }) => {
                check(top_p > 0.0 && top_p <= 1.0, "strategy.top_p", top_p, "in (0, 1]")?;
                let positive = temperature > 0.0 && temperature.is_finite();
                check(positive, "strategy.temperature", temperature, "above 0; for 0 choose greedy search")?;
            }
        }
        within("patience", self.patience, 1.0, 16.0)?;
        within("n_best", self.n_best, 1, self.most_finished())?;
        within("max_length", self.max_length, 1, u32::MAX as usize)?;
        within("min_length", self.min_length, 0, self.max_length)?;
        within("length_penalty", self.length_penalty, 0.0, 10.0)?;
        within("coverage_penalty", self.coverage_penalty, 0.0, 10.0)?;
        let penalty = self.repetition_penalty;
        check(penalty > 0.0 && penalty <= 100.0, "repetition_penalty", penalty, "in (0, 100]")
    }

    /// Hypotheses that are followed for each sentence, K.
    pub fn width(&self) -> usize {
        match self.strategy {
            Strategy::Greedy => 1,
            Strategy::Beam { size } => size,
            Strategy::Sample(_) => self.n_best,
        }
    }

    /// Whether the search reads [`Scorer::attention`](super::Scorer::attention).
    pub fn needs_attention(&self) -> bool {
        self.alignments != Alignments::Skip || self.coverage_penalty > 0.0
    }

    /// Finished hypotheses at which a beam with a penalty stops, which is also the most that can be returned.
    pub(super) fn most_finished(&self) -> usize {
        match self.strategy {
            Strategy::Greedy => 1,
            Strategy::Beam { size } => (size as f32 * self.patience + 0.5) as usize,
            Strategy::Sample(_) => MAX_BEAM,
        }
    }

    /// Whether of each row only the highest logit is read, of the tokens that are not suppressed and may end it.
    pub(super) fn reads_highest(&self) -> bool {
        (self.strategy, self.scores) == (Strategy::Greedy, Scores::Skip)
            && (self.no_repeat_ngram, self.repetition_penalty) == (0, 1.0)
    }

    /// Whether some token can be forbidden to some hypothesis.
    pub(super) fn can_forbid(&self) -> bool {
        self.min_length > 0 || self.no_repeat_ngram > 0 || !self.suppressed.is_empty()
    }
}

/// What a [`Search`](super::Search) is made for: the target side of a model and the largest batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setup {
    /// Size of the target vocabulary.
    pub vocabulary: usize,
    /// The token that ends a sentence.
    pub end: u32,
    /// Sentences in a batch, at most.
    pub batch: usize,
    /// Tokens in a [`Request::prefix`](super::Request::prefix), at most.
    pub prefix: usize,
    /// Tokens in a source sentence, at most. Counts only where attention is used.
    pub source: usize,
}

impl Setup {
    /// Checks that the options fit the vocabulary.
    pub(super) fn validate(&self, options: &DecodeOptions) -> Result<()> {
        within("vocabulary", self.vocabulary, 1, u32::MAX as usize)?;
        within("end", self.end as usize, 0, self.vocabulary - 1)?;
        within("prefix", self.prefix, 1, u32::MAX as usize)?;
        for &token in &options.suppressed {
            within("suppressed", token as usize, 0, self.vocabulary - 1)?;
        }
        Ok(())
    }
}

/// An error unless `low <= value <= high`.
pub(super) fn within<T: PartialOrd + fmt::Display>(option: &str, value: T, low: T, high: T) -> Result<()> {
    check(value >= low && value <= high, option, value, format_args!("in [{low}, {high}]"))
}

fn check(holds: bool, option: &str, value: impl fmt::Display, allowed: impl fmt::Display) -> Result<()> {
    if holds {
        return Ok(());
    }
    Err(Error::new(ErrorKind::InvalidOption, format!("{option} is {value}, but must be {allowed}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bad_option_is_named() {
        let good = DecodeOptions::default;
        let sample =
            |top_p, temperature| Strategy::Sample(Sampling { top_p, temperature, ..Sampling::default() });
        let beam = |size| Strategy::Beam { size };
        let cases = [
            ("strategy.size is 0", DecodeOptions { strategy: beam(0), ..good() }),
            ("strategy.size is 17", DecodeOptions { strategy: beam(17), ..good() }),
            ("strategy.top_p is 0", DecodeOptions { strategy: sample(0.0, 1.0), ..good() }),
            ("strategy.top_p is 1.5", DecodeOptions { strategy: sample(1.5, 1.0), ..good() }),
            ("strategy.top_p is NaN", DecodeOptions { strategy: sample(f32::NAN, 1.0), ..good() }),
            ("strategy.temperature is 0", DecodeOptions { strategy: sample(1.0, 0.0), ..good() }),
            ("strategy.temperature is inf", DecodeOptions { strategy: sample(1.0, f32::INFINITY), ..good() }),
            ("n_best is 0", DecodeOptions { n_best: 0, ..good() }),
            ("n_best is 2", DecodeOptions { n_best: 2, ..good() }),
            ("n_best is 5", DecodeOptions { strategy: beam(4), n_best: 5, ..good() }),
            ("n_best is 17", DecodeOptions { strategy: sample(1.0, 1.0), n_best: 17, ..good() }),
            ("max_length is 0", DecodeOptions { max_length: 0, ..good() }),
            ("min_length is 9", DecodeOptions { min_length: 9, max_length: 8, ..good() }),
            ("length_penalty is -1", DecodeOptions { length_penalty: -1.0, ..good() }),
            ("coverage_penalty is NaN", DecodeOptions { coverage_penalty: f32::NAN, ..good() }),
            ("patience is 0.5", DecodeOptions { patience: 0.5, ..good() }),
            ("repetition_penalty is 0", DecodeOptions { repetition_penalty: 0.0, ..good() }),
        ];
        for (expected, options) in cases {
            let error = options.validate().expect_err(expected);
            assert_eq!(error.kind(), ErrorKind::InvalidOption);
            assert!(format!("{error}").starts_with(expected), "{error}");
        }
        good().validate().unwrap();
        DecodeOptions { strategy: beam(4), n_best: 8, patience: 2.0, ..good() }.validate().unwrap();
    }
}
