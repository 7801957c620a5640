//! A model on its way to a file: what importers give, what the trainer saves, what quantization takes.

use siskin::format::MetadataBuilder;
use std::collections::BTreeMap;

/// A tensor in full precision, row-major.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    /// Dimensions, slowest first.
    pub dims: Vec<usize>,
    /// As many values as the product of the dimensions.
    pub values: Vec<f32>,
}

/// A model in full precision. Tensors and spec keys have the names of `docs/format.md`.
#[derive(Clone, Debug, Default)]
pub struct Checkpoint {
    /// The spec section.
    pub spec: MetadataBuilder,
    /// The generation section.
    pub generation: MetadataBuilder,
    /// The card section.
    pub card: MetadataBuilder,
    /// The section of the source vocabulary.
    pub source_vocabulary: Vec<u8>,
    /// The section of the target vocabulary, if it is another.
    pub target_vocabulary: Option<Vec<u8>>,
    /// The golden section, if there is one; see [`golden::record`](crate::quantize::golden::record).
    pub golden: Option<Vec<u8>>,
    /// The tensors by name.
    pub tensors: BTreeMap<String, Tensor>,
}
