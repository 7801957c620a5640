//! What a training run needs from whatever computes gradients.

use super::batch::Batch;
use super::random::Random;
use crate::checkpoint::Tensor;
use crate::onnx::transformer::Arithmetic;
use siskin::Result;
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

/// Computes gradients and takes steps.
pub trait Engine {
    /// Adds the gradients of the loss on `batch` to those since the last update. Dropout masks come from `random`.
    /// Returns the loss, smoothed as the run's configuration says, summed over labels.
    ///
    /// # Errors
    /// When the computation fails.
    fn accumulate(&mut self, batch: &Batch, random: &mut Random) -> Result<f64>;

    /// Takes a step of the optimizer along the mean gradient over the labels since the last update. Returns the
    /// norm of that gradient before clipping; the weights stay as they are where it is not finite.
    ///
    /// # Errors
    /// When the computation fails.
    fn update(&mut self, learning_rate: f32) -> Result<f32>;

    /// Rounds as `arithmetic` says from here on, in training and in [`forward`](Self::forward). An engine starts
    /// without.
    ///
    /// # Errors
    /// When the computation cannot be set up.
    fn set_arithmetic(&mut self, arithmetic: Arithmetic) -> Result<()>;

    /// Runs the model on `batch` without dropout.
    ///
    /// # Errors
    /// When the computation fails.
    fn forward(&mut self, batch: &Batch) -> Result<Forward>;

    /// A copy of the weights.
    fn weights(&self) -> Tensors;

    /// Replaces the weights.
    ///
    /// # Errors
    /// When a tensor is missing or has another shape.
    fn set_weights(&mut self, weights: &Tensors) -> Result<()>;

    /// A copy of all that [`restore`](Self::restore) needs.
    fn state(&self) -> EngineState;

    /// Continues from `state`.
    ///
    /// # Errors
    /// When a tensor is missing or has another shape.
    fn restore(&mut self, state: &EngineState) -> Result<()>;
}
