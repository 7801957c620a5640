//! A model as files that TensorFlow Lite, or LiteRT, runs without this crate.

use super::builtin::Weights;
use super::convert::{Parameters, convert};
use crate::checkpoint::{Tensor, spec_words};
use crate::onnx::export::matrices;
use crate::onnx::inference::{Cache, Caller, decoder_step, encoder, interface};
use crate::quantize::check_schema;
use siskin::format::{Fingerprint, crc32, spell_fingerprint, write_atomically};
use siskin::model::ModelSpec;
use siskin::{Error, ErrorKind, Result};
use std::collections::BTreeMap;
use std::path::Path;

/// The name of the [encoder]'s file.
pub const ENCODER: &str = "encoder.tflite";
/// The name of the [decoder_step]'s file.
pub const DECODER_STEP: &str = "decoder_step.tflite";
/// The name of the file that says what model it is: lines of `key=value`.
pub const FACTS: &str = "model.txt";

/// The most sentences, and the most hypotheses of one.
const MAX_ROWS: usize = 1024;

/// The sizes that the graphs are made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Sentences at once.
    pub batch: usize,
    /// Hypotheses of each.
    pub beam: usize,
    /// Tokens of a source.
    pub source_length: usize,
    /// Tokens of an output.
    pub target_length: usize,
}

impl Sizes {
    fn check(&self, spec: &ModelSpec) -> Result<()> {
        let positions = spec.max_positions;
        let limits = [
            ("sentences at once", self.batch, MAX_ROWS),
            ("hypotheses of a sentence", self.beam, MAX_ROWS),
            ("tokens of a source", self.source_length, positions),
            ("tokens of an output", self.target_length, positions),
        ];
        match limits.into_iter().find(|(_, size, most)| *size == 0 || size > most) {
            None => Ok(()),
            Some((what, size, most)) => {
                let message = format!("{size} {what}: graphs of this model are made for 1 to {most}");
                Err(Error::new(ErrorKind::InvalidOption, message))
            }
        }
    }

    fn rows(&self) -> usize {
        self.batch * self.beam
    }

    fn facts(&self) -> [(&'static str, usize); 4] {
        [
            ("batch", self.batch),
            ("rows", self.rows()),
            ("source_length", self.source_length),
            ("target_length", self.target_length),
        ]
    }

    /// The size of a named dimension of the encoder.
    fn of_encoder(&self, dimension: &str) -> usize {
        match dimension {
            "batch" => self.batch,
            "source" => self.source_length,
            "source_tokens" => self.batch * self.source_length,
            "source_pairs" => self.source_length * self.source_length,
            other => unreachable!("an encoder with the dimension {other}"),
        }
    }

    /// The size of a named dimension of a step of the decoder.
    fn of_step(&self, dimension: &str) -> usize {
        match dimension {
            "batch" | "rows_before" => self.rows(),
            "sentences" => self.batch,
            "source" => self.source_length,
            "target" => self.target_length,
            other => unreachable!("a step with the dimension {other}"),
        }
    }
}

/// What is written.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Who runs the graphs.
    pub caller: Caller,
    /// How matrices lie in the files.
    pub weights: Weights,
    /// What fits into a run.
    pub sizes: Sizes,
}

/// Writes the two graphs of a model and their facts to `folder`, which is made if it is not there: the spec, under the keys
/// and with the words of a model file, besides `interface`, the sizes, the CRC-32 of each file under its name, as no library
/// checks what it loads, and `model` where they are made from a model file: its fingerprint, by which a delegate knows them.
///
/// # Errors
/// When the tensors are not those of the spec, sizes are more than the model can, or a file cannot be written.
pub fn write(
    spec: &ModelSpec,
    tensors: &BTreeMap<String, Tensor>,
    fingerprint: Option<Fingerprint>,
    options: Options,
    folder: &Path,
) -> Result<()> {
    let Options { caller, weights, sizes } = options;
    check_schema(spec, tensors)?;
    sizes.check(spec)?;
    std::fs::create_dir_all(folder).map_err(|e| Error::io(format!("making {}", folder.display()), e))?;
    let parameters = Parameters { tensors, matrices: matrices(spec), weights };
    let encoder = convert(&encoder(spec, caller)?, &parameters, |name| sizes.of_encoder(name));
    let step = convert(&decoder_step(spec, caller, Cache::Fixed)?, &parameters, |name| sizes.of_step(name));
    let mut facts = spec_words(spec)?;
    for (name, model) in [(ENCODER, encoder), (DECODER_STEP, step)] {
        let bytes = model.to_bytes()?;
        write_atomically(&folder.join(name), &bytes)?;
        facts.insert(name.into(), format!("{:08x}", crc32(0, &bytes)));
    }
    facts.insert("interface".into(), interface(caller, Cache::Fixed).into());
    facts.extend(fingerprint.map(|fingerprint| ("model".into(), spell_fingerprint(&fingerprint))));
    facts.extend(sizes.facts().map(|(key, size)| (key.into(), size.to_string())));
    let facts: String = facts.iter().map(|(key, value)| format!("{key}={value}\n")).collect();
    write_atomically(&folder.join(FACTS), facts.as_bytes())
}
