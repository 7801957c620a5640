//! Golden sentences: whether a model gives on this machine what it gave where its file was made.
//!
//! A file with golden sentences ([`record`]) can be checked anywhere ([`replay`]): the same tokens and the same bits of
//! the score must come out. `siskin doctor` does it with the kernels of every instruction set.

use alloc::sync::Arc;
use alloc::vec::Vec;

use super::Translator;
use crate::decode::{Hypothesis, Strategy, Unobserved};
use crate::error::Result;
use crate::format::{File, GoldenBuilder};
use crate::model::Model;

/// What a replay found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Replay {
    /// Golden sentences of the file; 0 if it has none.
    pub sentences: usize,
    /// Those that came out otherwise.
    pub deviations: Vec<Deviation>,
}

/// A golden sentence that came out otherwise.
#[derive(Clone, Debug, PartialEq)]
pub struct Deviation {
    /// Its number, from 0.
    pub sentence: usize,
    /// What the file says.
    pub expected: Output,
    /// What this machine gives.
    pub found: Output,
}

/// The output for a golden sentence.
#[derive(Clone, Debug, PartialEq)]
pub struct Output {
    /// The tokens, without the end token.
    pub tokens: Vec<u32>,
    /// The sum of the log-probabilities of the tokens and the end token; compared by its bits.
    pub log_prob: f32,
}

impl Output {
    fn of(hypothesis: Option<&Hypothesis>) -> Self {
        let tokens = hypothesis.map(|hypothesis| hypothesis.tokens.clone()).unwrap_or_default();
        Self { tokens, log_prob: hypothesis.and_then(|hypothesis| hypothesis.log_prob).unwrap_or(f32::NAN) }
    }

    fn is(&self, other: &Self) -> bool {
        self.tokens == other.tokens && self.log_prob.to_bits() == other.log_prob.to_bits()
    }
}

/// Decodes the golden sentences of the model's file again, one by one, and compares tokens and scores.
///
/// # Errors
/// Those of [`Translator::new`] and [`Translator::run`]; a sentence that comes out otherwise is none.
pub fn replay(model: &Arc<Model>) -> Result<Replay> {
    let Some(golden) = File::parse(model.bytes())?.golden() else { return Ok(Replay::default()) };
    let mut translator = translator(model, golden.beam() as usize)?;
    let mut replay = Replay { sentences: golden.len(), deviations: Vec::new() };
    for (sentence, golden) in golden.iter().enumerate() {
        let source: Vec<u32> = golden.source.iter().collect();
        let hypotheses = translator
            .run(&[&source], &mut Unobserved)
            .map_err(|error| error.at(format_args!("golden sentence {sentence}")))?;
        let found = Output::of(hypotheses.first().and_then(|sentence| sentence.hypotheses.first()));
        let expected = Output { tokens: golden.output.iter().collect(), log_prob: golden.score };
        if !found.is(&expected) {
            replay.deviations.push(Deviation { sentence, expected, found });
        }
    }
    Ok(replay)
}

/// A golden section: `texts` with what the model gives for them, searched as its file says.
///
/// # Errors
/// Those of [`Translator::translate`]; that of a text begins with it.
pub fn record(model: &Arc<Model>, texts: &[&str]) -> Result<Vec<u8>> {
    let mut translator = Translator::new(Arc::clone(model))?;
    let mut builder = GoldenBuilder::new(translator.options().decode.width() as u32);
    for (text, translation) in texts.iter().zip(translator.translate_batch(texts)?) {
        for segment in translation.map_err(|error| error.at(format_args!("{text:?}")))?.segments {
            if let Some(best) = segment.hypotheses.first() {
                let Output { tokens, log_prob } = Output::of(Some(&best.hypothesis));
                builder.sentence(&segment.source_tokens, &tokens, log_prob);
            }
        }
    }
    Ok(builder.build())
}

/// A golden section with the sources of the one in the model's file and what the model gives for them, searched as its
/// file says; `None` if it has none.
///
/// # Errors
/// As [`replay`].
pub fn renew(model: &Arc<Model>) -> Result<Option<Vec<u8>>> {
    let Some(golden) = File::parse(model.bytes())?.golden() else { return Ok(None) };
    let mut translator = translator(model, golden.beam() as usize)?;
    let mut builder = GoldenBuilder::new(golden.beam());
    for golden in golden.iter() {
        let source: Vec<u32> = golden.source.iter().collect();
        let hypotheses = translator.run(&[&source], &mut Unobserved)?;
        let Output { tokens, log_prob } =
            Output::of(hypotheses.first().and_then(|sentence| sentence.hypotheses.first()));
        builder.sentence(&source, &tokens, log_prob);
    }
    Ok(Some(builder.build()))
}

/// A translator that searches as golden sentences were searched: as the file says, with `beam` hypotheses.
fn translator(model: &Arc<Model>, beam: usize) -> Result<Translator> {
    let translator = Translator::new(Arc::clone(model))?;
    let mut options = translator.options().clone();
    options.decode.strategy = if beam <= 1 { Strategy::Greedy } else { Strategy::Beam { size: beam } };
    translator.with_options(options)
}
