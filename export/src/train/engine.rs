//! What a training run needs from whatever computes gradients.

use super::batch::Batch;
use super::random::Random;
use crate::checkpoint::Tensor;
use siskin::{Error, ErrorKind, Result};
use std::collections::BTreeMap;

/// Tensors by the names that a model file gives them.
pub type Tensors = BTreeMap<String, Tensor>;

/// All that an engine remembers between steps.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EngineState {
    /// Updates so far.
    pub updates: u64,
    /// The parameters.
    pub weights: Tensors,
    /// The optimizer's running means of gradients.
    pub first_moments: Tensors,
    /// The optimizer's running means of squared gradients.
    pub second_moments: Tensors,
}

/// What a forward pass found.
#[derive(Clone, Debug)]
pub struct Forward {
    /// Cross-entropy in nats, without smoothing, summed over labels.
    pub loss: f64,
    /// `[B*T, V]`.
    pub logits: Vec<f32>,
}

/// What a step of the optimizer found.
#[derive(Clone, Copy, Debug)]
pub struct Update {
    /// The loss, smoothed as the run's configuration says, summed over labels.
    pub loss: f64,
    /// The norm of the mean gradient over the labels, before clipping.
    pub gradient_norm: f32,
}

/// Computes gradients and takes steps.
pub trait Engine {
    /// Takes a step of the optimizer along the mean gradient over the labels of `batches`, which are run one by one.
    /// Dropout masks come from `random`. The weights stay as they are where the gradient's norm is not finite.
    ///
    /// # Errors
    /// When the computation fails.
    fn update(&mut self, batches: &[Batch], learning_rate: f32, random: &mut Random) -> Result<Update>;

    /// Runs the model on `batch` without dropout.
    ///
    /// # Errors
    /// When the computation fails.
    fn forward(&mut self, batch: &Batch) -> Result<Forward>;

    /// A copy of the weights.
    ///
    /// # Errors
    /// When the engine cannot read them.
    fn weights(&self) -> Result<Tensors>;

    /// Replaces the weights.
    ///
    /// # Errors
    /// When a tensor is missing or has another shape.
    fn set_weights(&mut self, weights: &Tensors) -> Result<()>;

    /// A copy of all that [`restore`](Self::restore) needs.
    ///
    /// # Errors
    /// When the engine cannot read it.
    fn state(&self) -> Result<EngineState>;

    /// Continues from `state`.
    ///
    /// # Errors
    /// When a tensor is missing or has another shape.
    fn restore(&mut self, state: &EngineState) -> Result<()>;
}

impl<E: Engine + ?Sized> Engine for Box<E> {
    fn update(&mut self, batches: &[Batch], learning_rate: f32, random: &mut Random) -> Result<Update> {
        (**self).update(batches, learning_rate, random)
    }

    fn forward(&mut self, batch: &Batch) -> Result<Forward> {
        (**self).forward(batch)
    }

    fn weights(&self) -> Result<Tensors> {
        (**self).weights()
    }

    fn set_weights(&mut self, weights: &Tensors) -> Result<()> {
        (**self).set_weights(weights)
    }

    fn state(&self) -> Result<EngineState> {
        (**self).state()
    }

    fn restore(&mut self, state: &EngineState) -> Result<()> {
        (**self).restore(state)
    }
}

/// The values of the tensor `name`.
///
/// # Errors
/// When it is missing or has another shape than `shape`.
pub fn lookup<'t>(tensors: &'t Tensors, name: &str, shape: &[usize]) -> Result<&'t [f32]> {
    match tensors.get(name) {
        Some(tensor) if tensor.dims == shape => Ok(&tensor.values),
        Some(tensor) => Err(schema(format!("{name} is {:?}, not {shape:?} as the spec says", tensor.dims))),
        None => Err(schema(format!("{name} {shape:?} is missing"))),
    }
}

fn schema(message: String) -> Error {
    Error::new(ErrorKind::Schema, message)
}
