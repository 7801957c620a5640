//! Golden sentences: what a model file says about some inputs, kept in the file, so that every device can check that
//! it says the same.

use crate::checkpoint::Checkpoint;
use crate::quantize::{Precision, write_model};
use siskin::format::GoldenBuilder;
use siskin::model::Model;
use siskin::pipeline::Translator;
use siskin::tensor::AlignedBytes;
use siskin::{Error, ErrorKind, Result};
use std::sync::Arc;

/// The golden section for `texts`: the file that `checkpoint` gives in `precision` is run on them, with the search that
/// it asks for.
///
/// # Errors
/// Those of [`write_model`] and of [`Translator::translate`], with the text.
pub fn record(checkpoint: &Checkpoint, precision: Precision, texts: &[&str]) -> Result<Vec<u8>> {
    let file = AlignedBytes::copy_of(&write_model(checkpoint, precision)?);
    let mut translator = Translator::new(Arc::new(Model::from_bytes(file)?))?;
    let mut golden = GoldenBuilder::new(translator.options().decode.width() as u32);
    for text in texts {
        let translation =
            translator.translate(text).map_err(|e| e.at(format!("golden sentence {text:?}")))?;
        for segment in &translation.segments {
            let best = segment.hypotheses.first().and_then(|best| Some((&best.tokens, best.log_prob?)));
            let (tokens, score) = best.ok_or_else(|| {
                Error::new(
                    ErrorKind::InvalidOption,
                    format!("golden sentence {text:?}: no output with a score"),
                )
            })?;
            golden.sentence(&segment.source_tokens, tokens, score);
        }
    }
    Ok(golden.build())
}
