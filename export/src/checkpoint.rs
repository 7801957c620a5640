//! A model on its way to a file: what importers give, what the trainer saves, what quantization takes.

use siskin::Result;
use siskin::format::{Metadata, MetadataBuilder, Value};
use siskin::model::ModelSpec;
use siskin::pipeline::Generation;
use std::collections::BTreeMap;

/// A tensor in full precision, row-major.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    /// Dimensions, slowest first.
    pub dims: Vec<usize>,
    /// As many values as the product of the dimensions.
    pub values: Vec<f32>,
}

/// A model in full precision.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    /// What it is made of.
    pub spec: ModelSpec,
    /// How it wants to be used.
    pub generation: Generation,
    /// The card section.
    pub card: MetadataBuilder,
    /// The section of the source vocabulary; a model without one takes ids.
    pub source_vocabulary: Option<Vec<u8>>,
    /// The section of the target vocabulary, if it is another.
    pub target_vocabulary: Option<Vec<u8>>,
    /// The tensors that [`schema`](siskin::model::schema) names.
    pub tensors: BTreeMap<String, Tensor>,
}

/// The keys of a spec and their values, as a model file has them.
///
/// # Errors
/// Those of [`Metadata::parse`].
pub fn spec_words(spec: &ModelSpec) -> Result<BTreeMap<String, String>> {
    let mut section = MetadataBuilder::new();
    spec.write(&mut section);
    let word = |value| match value {
        Value::U32(number) => number.to_string(),
        Value::F32(number) => number.to_string(),
        Value::Text(text) => text.to_owned(),
        other => format!("{other:?}"),
    };
    let section = section.build();
    let entries = Metadata::parse(&section, "spec")?.iter();
    Ok(entries.map(|entry| (entry.key.to_owned(), word(entry.value))).collect())
}
