//! A model as files that ONNX Runtime runs without this crate.

use super::graph::Graph;
use super::inference::{decoder_step, encoder};
use super::serialize::Weights;
use crate::checkpoint::{Tensor, spec_words};
use crate::quantize::check_schema;
use siskin::format::write_atomically;
use siskin::model::ModelSpec;
use siskin::{Error, Result};
use std::collections::BTreeMap;
use std::path::Path;

/// The name of the [encoder]'s file.
pub const ENCODER: &str = "encoder.onnx";
/// The name of the [decoder_step]'s file.
pub const DECODER_STEP: &str = "decoder_step.onnx";
/// The name of the file with the weights of both.
pub const WEIGHTS: &str = "weights.bin";

/// Writes the two graphs of a model and the file of their weights to `folder`, which is made if it is not there. Both
/// graphs carry the spec as metadata, under the keys and with the words of a model file.
///
/// # Errors
/// When the tensors are not those of the spec, or a file cannot be written.
pub fn write(spec: &ModelSpec, tensors: &BTreeMap<String, Tensor>, folder: &Path) -> Result<()> {
    check_schema(spec, tensors)?;
    std::fs::create_dir_all(folder).map_err(|e| Error::io(format!("making {}", folder.display()), e))?;
    let weights = Weights::new(WEIGHTS, tensors);
    let facts = spec_words(spec)?;
    let model = |graph: Graph| graph.to_onnx_with_weights(&weights, &facts);
    write_atomically(&folder.join(WEIGHTS), weights.bytes())?;
    write_atomically(&folder.join(ENCODER), &model(encoder(spec)?))?;
    write_atomically(&folder.join(DECODER_STEP), &model(decoder_step(spec)?))
}
