//! A model on its way to a file: what importers give, what the trainer saves, what quantization takes.

use siskin::format::MetadataBuilder;
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
