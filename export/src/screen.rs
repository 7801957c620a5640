//! Screens: what lets greedy search read half of the output projection.

use siskin::format::{File, SectionKind, Writer, screen_section};
use siskin::model::{Model, ModelSpec, Tying};
use siskin::tensor::AlignedBytes;
use siskin::{Error, ErrorKind, Result};

/// The model file `bytes` with a screen of its output projection.
///
/// # Errors
/// The bytes are no model that can be run; [`ErrorKind::InvalidOption`] if its output projection is not int8, or has
/// columns that are no multiple of 32.
pub fn with_screen(bytes: &[u8]) -> Result<Vec<u8>> {
    let bytes = AlignedBytes::copy_of(bytes);
    let file = File::parse(bytes.as_slice())?;
    let name = output_projection(&ModelSpec::read(&file.metadata(SectionKind::Spec))?);
    let section = match file.tensors().get(name) {
        Some(tensor) => screen_section(name, &tensor.matrix(file.bytes())),
        None => None,
    };
    let section = section.ok_or_else(|| {
        let message =
            format!("{name} is not int8 with a multiple of 32 columns: only such a matrix can have a screen");
        Error::new(ErrorKind::InvalidOption, message)
    })?;
    let written =
        AlignedBytes::copy_of(&Writer::copy_of(&file).optional(SectionKind::Screen, section).finish());
    File::parse(written.as_slice())?.verify()?;
    Ok(Model::from_bytes(written)?.bytes().to_vec())
}

/// The name of the tensor that gives the logits.
fn output_projection(spec: &ModelSpec) -> &'static str {
    match spec.tying {
        Tying::All => "embedding.source.weight",
        Tying::Decoder => "embedding.target.weight",
        Tying::Embeddings | Tying::None => "output.weight",
    }
}
