//! A batch as the tensors that a graph reads.

use super::batch::Batch;
use super::random::Random;
use crate::onnx::Dim;
use crate::onnx::transformer::{DropoutMask, Emitted};
use crate::onnxruntime;
use ort::value::{DynTensor, PrimitiveTensorElementType, Tensor};
use siskin::Result;
use siskin::model::Positions;
use siskin::nn::{Direction, distance_bucket};
use std::fmt::Debug;

/// The inputs of an emitted graph, besides parameters.
pub struct GraphInputs {
    names: Vec<String>,
    masks: Vec<DropoutMask>,
    positions: Positions,
}

impl GraphInputs {
    /// The inputs of `emitted`, a model with these positions.
    pub fn new(emitted: &Emitted, positions: Positions) -> Self {
        let names = emitted.graph.inputs().iter().map(|&input| emitted.graph.name(input).to_owned());
        Self { names: names.collect(), masks: emitted.dropout_masks.clone(), positions }
    }

    /// The tensors for `batch`, in the order of the graph's inputs. Dropout masks come from `random`.
    ///
    /// # Errors
    /// When ONNX Runtime refuses to make a tensor.
    pub fn tensors(&self, batch: &Batch, random: &mut Random) -> Result<Vec<(&str, DynTensor)>> {
        let value = |name: &String| match self.masks.iter().find(|mask| mask.name == *name) {
            Some(mask) => dropout_mask(mask, batch, random),
            None => self.tensor(name, batch),
        };
        let tensors: Result<Vec<DynTensor>> = self.names.iter().map(value).collect();
        Ok(self.names.iter().map(String::as_str).zip(tensors?).collect())
    }

    fn tensor(&self, name: &str, batch: &Batch) -> Result<DynTensor> {
        let (b, s, t) = (batch.sentences, batch.source_length, batch.target_length);
        let buckets = |direction, length| buckets(self.positions, direction, length);
        Ok(match name {
            "source" => tensor(&[b * s], batch.source.clone())?.upcast(),
            "source_positions" => tensor(&[b * s], batch.source_positions())?.upcast(),
            "source_mask" => tensor(&[b, 1, 1, s], batch.source_mask.clone())?.upcast(),
            "target" => tensor(&[b * t], batch.target.clone())?.upcast(),
            "target_positions" => tensor(&[b * t], batch.target_positions())?.upcast(),
            "source_buckets" => tensor(&[s * s], buckets(Direction::Both, s))?.upcast(),
            "target_buckets" => tensor(&[t * t], buckets(Direction::Back, t))?.upcast(),
            "causal_mask" => tensor(&[1, 1, t, t], batch.causal_mask())?.upcast(),
            "labels" => tensor(&[b * t], batch.labels.clone())?.upcast(),
            "label_weights" => tensor(&[b * t, 1], batch.label_weights.clone())?.upcast(),
            other => unreachable!("the emitter has no input {other}"),
        })
    }
}

/// A tensor of `shape` with the elements `data` in row-major order.
///
/// # Errors
/// When ONNX Runtime refuses to make it.
pub fn tensor<T>(shape: &[usize], data: Vec<T>) -> Result<Tensor<T>>
where
    T: PrimitiveTensorElementType + Debug + Clone + 'static,
{
    Tensor::from_array((shape.to_vec(), data)).map_err(|e| onnxruntime::failed("making a tensor", &e))
}

fn dropout_mask(mask: &DropoutMask, batch: &Batch, random: &mut Random) -> Result<DynTensor> {
    let shape: Vec<usize> = mask.shape.iter().map(|dim| size(*dim, batch)).collect();
    let values = random.dropout_mask(shape.iter().product(), mask.rate);
    Ok(tensor(&shape, values)?.upcast())
}

/// The distance buckets of all pairs of positions, query by query; none without relative positions.
fn buckets(positions: Positions, direction: Direction, length: usize) -> Vec<i64> {
    let Positions::Relative { buckets, max_distance } = positions else { return Vec::new() };
    let pairs = (0..length).flat_map(|query| (0..length).map(move |key| (query, key)));
    pairs.map(|(query, key)| distance_bucket(direction, buckets, max_distance, query, key) as i64).collect()
}

fn size(dim: Dim, batch: &Batch) -> usize {
    match dim {
        Dim::Fixed(size) => size,
        Dim::Symbol("batch") => batch.sentences,
        Dim::Symbol("source") => batch.source_length,
        Dim::Symbol("target") => batch.target_length,
        Dim::Symbol("source_tokens") => batch.sentences * batch.source_length,
        Dim::Symbol("target_tokens") => batch.sentences * batch.target_length,
        Dim::Symbol(other) => unreachable!("the emitter has no dimension {other}"),
    }
}
