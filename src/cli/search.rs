//! How a command searches for outputs.

use crate::decode::{DecodeOptions, Sampling, Strategy};
use crate::model::{Model, ShortlistMode};
use crate::pipeline::{TranslateOptions, set};
use crate::{Error, ErrorKind, Result};
use clap::{Args, ValueEnum};

/// How outputs are searched for; what is not given is as the model file says.
#[derive(Args)]
#[command(next_help_heading = "Search (what is not given is as the model file says)")]
pub(super) struct SearchArguments {
    /// Follow N hypotheses, 1 to 16; 1 is greedy search
    #[arg(long, value_name = "N")]
    beam: Option<usize>,
    /// Go on until X times as many hypotheses as the beam has have finished, 1 to 16
    #[arg(long, value_name = "X")]
    patience: Option<f32>,
    /// Exponent of the length that divides a log-probability, 0 to 10; 0 prefers short outputs
    #[arg(long, value_name = "X")]
    length_penalty: Option<f32>,
    /// Weight of the penalty for source tokens that nothing attends to, 0 to 10
    #[arg(long, value_name = "X")]
    coverage_penalty: Option<f32>,
    /// Tokens before the output may end
    #[arg(long, value_name = "N")]
    min_length: Option<usize>,
    /// Tokens after which the output ends in any case
    #[arg(long, value_name = "N")]
    max_length: Option<usize>,
    /// No sequence of N tokens comes twice; 0 is off
    #[arg(long, value_name = "N")]
    no_repeat_ngram: Option<usize>,
    /// Makes tokens that the output has already less likely, up to 100; 1 is off
    #[arg(long, value_name = "X")]
    repetition_penalty: Option<f32>,
    /// Never choose this token, spelled as in the model's vocabulary; may be given more than once
    #[arg(long, value_name = "TOKEN")]
    suppress: Vec<String>,
    /// Score only the target tokens that the file's shortlist has for an input
    #[arg(long, value_enum, value_name = "HOW")]
    shortlist: Option<Shortlist>,
    /// Draw random tokens from the model's distribution
    #[arg(long, conflicts_with = "beam")]
    sample: bool,
    /// Draw from the K most probable tokens; 0 is all
    #[arg(long, value_name = "K", requires = "sample", default_value_t = 0)]
    top_k: usize,
    /// Draw from the fewest most probable tokens whose probabilities add up to P
    #[arg(long, value_name = "P", requires = "sample", default_value_t = 1.0)]
    top_p: f32,
    /// Divide the logits by T: below 1 is bolder, above 1 more random
    #[arg(long, value_name = "T", requires = "sample", default_value_t = 1.0)]
    temperature: f32,
    /// The same seed gives the same outputs
    #[arg(long, value_name = "N", requires = "sample", default_value_t = 0)]
    seed: u64,
}

/// Whether the file's shortlist is used.
#[derive(Clone, Copy, ValueEnum)]
enum Shortlist {
    /// Score the whole vocabulary
    Off,
    /// Score listed tokens only
    On,
    /// Score listed tokens, hold every choice against the whole vocabulary, and search again where one missed
    Verify,
}

impl SearchArguments {
    /// Sets what was asked for. Without `--beam` the beam is at least `n_best` wide.
    ///
    /// # Errors
    /// [`ErrorKind::Vocabulary`] for a token that the model does not have.
    pub fn apply(&self, model: &Model, n_best: usize, options: &mut TranslateOptions) -> Result<()> {
        let decode = &mut options.decode;
        decode.strategy = self.strategy(decode, n_best);
        decode.n_best = n_best;
        set(&mut decode.patience, self.patience);
        set(&mut decode.length_penalty, self.length_penalty);
        set(&mut decode.coverage_penalty, self.coverage_penalty);
        set(&mut decode.max_length, self.max_length);
        set(&mut decode.min_length, self.min_length);
        set(&mut decode.no_repeat_ngram, self.no_repeat_ngram);
        set(&mut decode.repetition_penalty, self.repetition_penalty);
        options.shortlist = match self.shortlist {
            Some(Shortlist::Off) => ShortlistMode::Off,
            Some(Shortlist::On) => ShortlistMode::On,
            Some(Shortlist::Verify) => ShortlistMode::Verify,
            None => options.shortlist,
        };
        for piece in &self.suppress {
            decode.suppressed.push(token(model, piece)?);
        }
        Ok(())
    }

    fn strategy(&self, decode: &DecodeOptions, n_best: usize) -> Strategy {
        if self.sample {
            let Self { top_k, top_p, temperature, seed, .. } = *self;
            return Strategy::Sample(Sampling { top_k, top_p, temperature, seed });
        }
        match self.beam.unwrap_or(decode.width().max(n_best)) {
            1 => Strategy::Greedy,
            size => Strategy::Beam { size },
        }
    }
}

/// The target token that is spelled `piece`.
fn token(model: &Model, piece: &str) -> Result<u32> {
    let id = model.target_vocabulary().and_then(|vocabulary| vocabulary.id(piece));
    id.ok_or_else(|| {
        let message = format!(
            "--suppress: the model has no target token {piece:?}; `--json` shows how tokens are spelled"
        );
        Error::new(ErrorKind::Vocabulary, message)
    })
}
