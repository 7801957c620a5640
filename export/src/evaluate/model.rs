//! What a model gives, to be scored.

use siskin::{Error, Result, Translator};

/// A model's outputs.
#[derive(Debug, Default)]
pub struct Outputs {
    /// One for each source, on one line.
    pub hypotheses: Vec<String>,
    /// Why the model refused sources, whose outputs are empty.
    pub refused: Vec<Error>,
}

/// The outputs of `translator` for `sources`, in their order.
///
/// # Errors
/// What keeps the model from running at all.
pub fn outputs(translator: &mut Translator, sources: &[&str]) -> Result<Outputs> {
    let mut outputs = Outputs::default();
    for (i, translation) in translator.translate_batch(sources)?.into_iter().enumerate() {
        outputs.hypotheses.push(match translation {
            Ok(translation) => translation.text().replace(['\n', '\r'], " "),
            Err(error) => {
                outputs.refused.push(error.at(format_args!("row {}", i + 1)));
                String::new()
            }
        });
    }
    Ok(outputs)
}
