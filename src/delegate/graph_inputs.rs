//! What the host hands to graphs that were exported for delegates: `docs/onnx.md` lists their inputs.

use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;

use super::Step;
use crate::error::Result;
use crate::model::{Embeddings, Model, SessionShape};

/// Makes the inputs of the graphs of a model.
pub(super) struct GraphInputs {
    embeddings: Embeddings,
    /// D.
    width: usize,
}

/// An input of a graph.
pub(super) struct GraphInput {
    pub name: &'static str,
    pub shape: Vec<usize>,
    pub values: Values,
}

/// The values of an input.
pub(super) enum Values {
    F32(Vec<f32>),
    Integers(Vec<u32>),
}

impl GraphInputs {
    /// Inputs for positions up to the lengths of `shape`.
    ///
    /// # Errors
    /// Those of [`Embeddings::new`].
    pub fn new(model: &Arc<Model>, shape: &SessionShape) -> Result<Self> {
        Ok(Self { embeddings: Embeddings::new(Arc::clone(model), shape)?, width: model.spec().d_model })
    }

    /// The inputs of the encoder for `sources`, padded to `batch` sentences of `length` tokens.
    pub fn encoder(&mut self, sources: &[&[u32]], batch: usize, length: usize) -> [GraphInput; 2] {
        let width = self.width;
        let mut x = vec![0.0; batch * length * width]; // [B, S, D]
        let mut mask = vec![0.0; batch * length]; // [B, S]
        for (i, source) in sources.iter().enumerate() {
            let first = i * length;
            self.embeddings.source(source, &mut x[first * width..][..source.len() * width]);
            mask[first..first + source.len()].fill(1.0);
        }
        [
            floats("embeddings", vec![batch, length, width], x),
            floats("source_mask", vec![batch, length], mask),
        ]
    }

    /// The inputs of a step that say which rows it has and where they stand, padded to `rows` rows, with room for `length`
    /// tokens. A graph lacks those that its model has no use for.
    pub fn step(&mut self, step: &Step<'_>, rows: usize, length: usize) -> [GraphInput; 6] {
        let mut x = vec![0.0; rows * self.width]; // [M, D]
        self.embeddings.target(step.tokens, step.position, &mut x[..step.tokens.len() * self.width]);
        let padded = |values: &[u32]| {
            let padding = core::iter::repeat_n(0, rows.saturating_sub(values.len()));
            values.iter().copied().chain(padding).collect::<Vec<u32>>()
        };
        let positions = |one: &dyn Fn(usize) -> bool| {
            (0..length).map(|i| f32::from(u8::from(one(i)))).collect::<Vec<f32>>()
        };
        let at = step.position;
        [
            floats("embeddings", vec![rows, self.width], x),
            integers("parents", padded(step.parents)),
            integers("sentences", padded(step.sentences)),
            integers("position", vec![at as u32]),
            floats("past_mask", vec![length], positions(&|i| i < at)),
            floats("slot", vec![length], positions(&|i| i == at)),
        ]
    }
}

fn floats(name: &'static str, shape: Vec<usize>, values: Vec<f32>) -> GraphInput {
    GraphInput { name, shape, values: Values::F32(values) }
}

fn integers(name: &'static str, values: Vec<u32>) -> GraphInput {
    GraphInput { name, shape: vec![values.len()], values: Values::Integers(values) }
}
