//! A model as files that ONNX Runtime runs without this crate.

use super::graph::Graph;
use super::inference::{decoder_step, encoder};
use super::serialize::Weights;
use crate::checkpoint::Checkpoint;
use crate::quantize::check_schema;
use siskin::format::{Metadata, MetadataBuilder, Value, write_atomically};
use siskin::{Error, Result};
use std::path::Path;

/// The name of the [encoder]'s file.
pub const ENCODER: &str = "encoder.onnx";
/// The name of the [decoder_step]'s file.
pub const DECODER_STEP: &str = "decoder_step.onnx";
/// The name of the file with the weights of both.
pub const WEIGHTS: &str = "weights.bin";

/// Writes the two graphs of `checkpoint` and the file of their weights to `folder`, which is made if it is not there. Both
/// graphs carry the spec as metadata, under the keys and with the words of a model file.
///
/// # Errors
/// When the tensors are not those of the spec, or a file cannot be written.
pub fn write(checkpoint: &Checkpoint, folder: &Path) -> Result<()> {
    check_schema(checkpoint)?;
    std::fs::create_dir_all(folder).map_err(|e| Error::io(format!("making {}", folder.display()), e))?;
    let weights = Weights::new(WEIGHTS, &checkpoint.tensors);
    let facts = facts(checkpoint)?;
    let model = |graph: Graph| graph.to_onnx_with_weights(&weights, &facts);
    write_atomically(&folder.join(WEIGHTS), weights.bytes())?;
    write_atomically(&folder.join(ENCODER), &model(encoder(&checkpoint.spec)?))?;
    write_atomically(&folder.join(DECODER_STEP), &model(decoder_step(&checkpoint.spec)?))
}

/// The spec as text by key.
fn facts(checkpoint: &Checkpoint) -> Result<Vec<(String, String)>> {
    let mut spec = MetadataBuilder::new();
    checkpoint.spec.write(&mut spec);
    let section = spec.build();
    let text = |value: Value<'_>| match value {
        Value::U32(number) => number.to_string(),
        Value::F32(number) => number.to_string(),
        Value::Text(text) => text.to_owned(),
        other => unreachable!("a spec has no value that is {}", other.type_name()),
    };
    let entries = Metadata::parse(&section, "spec")?;
    Ok(entries.iter().map(|entry| (entry.key.to_owned(), text(entry.value))).collect())
}
