//! A model as files that ONNX Runtime runs without this crate.

use super::graph::Graph;
use super::inference::{Cache, Caller, decoder_step, encoder, interface};
use super::products::Activations;
use super::weights::{Storage, Weights};
use crate::checkpoint::{Tensor, spec_words};
use crate::quantize::check_schema;
use siskin::format::{Fingerprint, Layout, spell_fingerprint, write_atomically};
use siskin::model::{ModelSpec, schema};
use siskin::{Error, ErrorKind, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// The name of the [encoder]'s file.
pub const ENCODER: &str = "encoder.onnx";
/// The name of the [decoder_step]'s file.
pub const DECODER_STEP: &str = "decoder_step.onnx";
/// The name of the file with the weights of both.
pub const WEIGHTS: &str = "weights.bin";

/// What is written.
#[derive(Clone, Copy, Debug)]
pub struct Options<'a> {
    /// Who runs the graphs.
    pub caller: Caller,
    /// How they keep keys and values of written tokens.
    pub cache: Cache,
    /// How matrices lie in the file of weights. Blocks are for a [`Delegate`](Caller::Delegate): else tokens are looked up in a
    /// matrix.
    pub storage: Storage,
    /// What products compute with; quantized activations need [`Int8`](Storage::Int8) matrices.
    pub activations: Activations<'a>,
}

impl Options<'_> {
    /// # Errors
    /// [`ErrorKind::InvalidOption`] for options that do not go together.
    fn check(&self) -> Result<()> {
        let invalid = |message| Err(Error::new(ErrorKind::InvalidOption, message));
        let blocks = matches!(self.storage, Storage::Blocks8 | Storage::Blocks4);
        match (self.caller, self.activations) {
            (Caller::Program, _) if blocks => invalid("weights in blocks are for delegates"),
            (_, Activations::Quantized(..)) if self.storage != Storage::Int8 => {
                invalid("activations are quantized where weights are int8")
            }
            _ => Ok(()),
        }
    }
}

/// The tensors that a model file may hold as int8.
pub fn matrices(spec: &ModelSpec) -> BTreeSet<String> {
    let matrices = schema(spec).into_iter().filter(|entry| entry.layout == Layout::Panels);
    matrices.map(|entry| entry.name).collect()
}

/// Writes the two graphs of a model and the file of their weights to `folder`, which is made if it is not there. Both
/// graphs carry the spec as metadata, under the keys and with the words of a model file, besides `interface`, and `model`
/// where they are made from a model file: its fingerprint, by which a delegate knows them.
///
/// # Errors
/// When the tensors are not those of the spec, options do not go together, or a file cannot be written.
pub fn write(
    spec: &ModelSpec,
    tensors: &BTreeMap<String, Tensor>,
    fingerprint: Option<Fingerprint>,
    options: Options<'_>,
    folder: &Path,
) -> Result<()> {
    options.check()?;
    check_schema(spec, tensors)?;
    std::fs::create_dir_all(folder).map_err(|e| Error::io(format!("making {}", folder.display()), e))?;
    let Options { caller, cache, storage, activations } = options;
    let matrices = matrices(spec);
    let storage = |name: &str| if matrices.contains(name) { storage } else { Storage::F32 };
    let weights = Weights::new(WEIGHTS, tensors, storage);
    let mut facts = spec_words(spec)?;
    facts.insert("interface".into(), interface(caller, cache).into());
    facts.extend(fingerprint.map(|fingerprint| ("model".into(), spell_fingerprint(&fingerprint))));
    let model = |graph: Graph| graph.to_onnx_with_weights(&weights, activations, &facts);
    write_atomically(&folder.join(WEIGHTS), weights.bytes())?;
    write_atomically(&folder.join(ENCODER), &model(encoder(spec, caller)?))?;
    write_atomically(&folder.join(DECODER_STEP), &model(decoder_step(spec, caller, cache)?))
}
