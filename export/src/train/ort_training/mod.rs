//! The engine that runs on ONNX Runtime's training API: it accumulates, clips and steps.
//!
//! The gradients are those of our own [`autodiff`](crate::onnx::autodiff), so both engines compute the same numbers; the
//! API does the rest with the models of `artifacts` and the state of `checkpoint`. Two things are done around it:
//! the decay of weights, which the API's optimizer applies to all parameters or none, and the norm of the gradient,
//! which it does not tell, so the training model computes it.

mod artifacts;
mod checkpoint;
mod step;

use super::adamw::AdamW;
use super::batch::{Batch, mean_factor};
use super::engine::{Engine, EngineState, Forward, Tensors, Update, lookup};
use super::graph_inputs::{GraphInputs, tensor};
use super::random::Random;
use crate::checkpoint::Tensor;
use crate::onnx::transformer::{Arithmetic, Regularization, emit};
use crate::onnxruntime;
use artifacts::Artifacts;
use ort::memory::Allocator;
use ort::training::{Checkpoint, Trainer};
use ort::value::{DynTensor, Tensor as OrtTensor};
use siskin::Result;
use siskin::model::ModelSpec;
use std::fmt::Display;
use step::{Mode, run};

/// Gradients, accumulation, clipping and steps by ONNX Runtime's training API.
pub struct OrtTrainingEngine {
    spec: ModelSpec,
    regularization: Regularization,
    trainer: Trainer,
    artifacts: Artifacts,
    training_inputs: GraphInputs,
    evaluation_inputs: GraphInputs,
    parameters: Vec<Parameter>,
    optimizer: AdamW,
    threads: usize,
}

/// Name and shape.
struct Parameter {
    name: String,
    shape: Vec<usize>,
}

impl Parameter {
    fn len(&self) -> usize {
        self.shape.iter().product()
    }
}

impl OrtTrainingEngine {
    /// An engine for `spec` on `threads` threads that starts from `weights`.
    ///
    /// # Errors
    /// When the library has no training API or refuses the graph, or when `weights` are not those of `spec`.
    pub fn new(
        spec: &ModelSpec,
        regularization: Regularization,
        optimizer: AdamW,
        threads: usize,
        weights: &Tensors,
    ) -> Result<Self> {
        let evaluation = emit(spec, regularization.for_evaluation())?;
        let training = emit(spec, regularization)?;
        let training_inputs = GraphInputs::new(&training, spec.positions);
        let graph = &training.graph;
        let parameter = |&p| Parameter { name: graph.name(p).to_owned(), shape: graph.parameter_shape(p) };
        let parameters: Vec<Parameter> = graph.parameters().iter().map(parameter).collect();
        let artifacts = Artifacts::new(training, &evaluation.graph, &optimizer);
        let state = EngineState { weights: weights.clone(), ..EngineState::default() };
        Ok(Self {
            spec: spec.clone(),
            regularization,
            trainer: trainer(&artifacts, &parameters, threads, &state)?,
            artifacts,
            training_inputs,
            evaluation_inputs: GraphInputs::new(&evaluation, spec.positions),
            parameters,
            optimizer,
            threads,
        })
    }

    /// One run of the training model: adds the gradients times `factor` to those since the last step. Returns the loss and
    /// the squared norm of the gradients added up so far.
    fn accumulate(&self, batch: &Batch, factor: f32, random: &mut Random) -> Result<(f64, f32)> {
        let mut inputs = self.training_inputs.tensors(batch, random)?;
        inputs.push((artifacts::GRADIENT_FACTOR, tensor(&[], vec![factor])?.upcast()));
        let outputs = run(&self.trainer, Mode::Train, &values(inputs), artifacts::TRAINING_OUTPUTS)?;
        Ok((f64::from(floats(&outputs[0])?[0]), floats(&outputs[1])?[0]))
    }

    /// What AdamW does first: shortens matrices by the learning rate times the decay.
    fn decay(&mut self, learning_rate: f32) -> Result<()> {
        let kept = 1.0 - learning_rate * self.optimizer.weight_decay;
        if kept == 1.0 {
            return Ok(());
        }
        let mut flat = self.flat_weights()?;
        let mut rest = flat.extract_tensor_mut().1;
        for parameter in &self.parameters {
            let (weights, behind) = rest.split_at_mut(parameter.len());
            if parameter.shape.len() > 1 {
                weights.iter_mut().for_each(|weight| *weight *= kept);
            }
            rest = behind;
        }
        self.set_flat_weights(&flat)
    }

    /// All parameters one behind the other, in the order of the training model's inputs.
    fn flat_weights(&self) -> Result<OrtTensor<f32>> {
        let length = self.parameters.iter().map(Parameter::len).sum::<usize>();
        let mut flat = tensor(&[length], vec![0.0; length])?;
        let copied = self.trainer.copy_parameters_to(&mut flat, true);
        copied.map_err(|e| onnxruntime::failed("reading the weights", &e))?;
        Ok(flat)
    }

    fn set_flat_weights(&mut self, flat: &OrtTensor<f32>) -> Result<()> {
        let copied = self.trainer.copy_parameters_from(flat, true);
        copied.map_err(|e| onnxruntime::failed("setting the weights", &e))
    }
}

impl Engine for OrtTrainingEngine {
    fn update(&mut self, batches: &[Batch], learning_rate: f32, random: &mut Random) -> Result<Update> {
        let failed = |e: ort::Error| onnxruntime::failed("taking a step", &e);
        self.trainer.optimizer().reset_grad().map_err(failed)?;
        let factor = mean_factor(batches);
        let (mut loss, mut squared_norm) = (0.0, 0.0);
        for batch in batches {
            let (batch_loss, norm) = self.accumulate(batch, factor, random)?;
            loss += batch_loss;
            squared_norm = norm;
        }
        if squared_norm.is_finite() {
            self.decay(learning_rate)?;
            let mut optimizer = self.trainer.optimizer();
            optimizer.set_lr(learning_rate).map_err(failed)?;
            optimizer.step().map_err(failed)?;
        }
        Ok(Update { loss, gradient_norm: squared_norm.sqrt() })
    }

    fn set_arithmetic(&mut self, arithmetic: Arithmetic) -> Result<()> {
        if arithmetic != self.regularization.arithmetic {
            let state = self.state()?;
            let regularization = Regularization { arithmetic, ..self.regularization };
            *self = Self::new(&self.spec, regularization, self.optimizer, self.threads, &state.weights)?;
            self.restore(&state)?;
        }
        Ok(())
    }

    fn forward(&mut self, batch: &Batch) -> Result<Forward> {
        let inputs = self.evaluation_inputs.tensors(batch, &mut Random::new(0, &[]))?;
        let outputs = run(&self.trainer, Mode::Evaluate, &values(inputs), artifacts::EVALUATION_OUTPUTS)?;
        Ok(Forward { loss: f64::from(floats(&outputs[0])?[0]), logits: floats(&outputs[1])?.to_vec() })
    }

    fn weights(&self) -> Result<Tensors> {
        let flat = self.flat_weights()?;
        let mut rest = flat.extract_tensor().1;
        let tensors = self.parameters.iter().map(|p| {
            let (values, behind) = rest.split_at(p.len());
            rest = behind;
            (p.name.clone(), Tensor { dims: p.shape.clone(), values: values.to_vec() })
        });
        Ok(tensors.collect())
    }

    fn set_weights(&mut self, weights: &Tensors) -> Result<()> {
        let parts: Result<Vec<&[f32]>> =
            self.parameters.iter().map(|p| lookup(weights, &p.name, &p.shape)).collect();
        let flat = parts?.concat();
        self.set_flat_weights(&tensor(&[flat.len()], flat)?)
    }

    fn state(&self) -> Result<EngineState> {
        checkpoint::state(self.trainer.checkpoint())
    }

    fn restore(&mut self, state: &EngineState) -> Result<()> {
        self.trainer = trainer(&self.artifacts, &self.parameters, self.threads, state)?;
        Ok(())
    }
}

/// A trainer that continues from `state`. Without moments it starts with moments of 0.
fn trainer(
    artifacts: &Artifacts,
    parameters: &[Parameter],
    threads: usize,
    state: &EngineState,
) -> Result<Trainer> {
    let making = |e: &dyn Display| onnxruntime::failed("loading the training models", e);
    let moments = [&state.first_moments, &state.second_moments].into_iter().filter(|m| !m.is_empty());
    for tensors in std::iter::once(&state.weights).chain(moments) {
        parameters.iter().try_for_each(|p| lookup(tensors, &p.name, &p.shape).map(drop))?;
    }
    let environment = onnxruntime::environment()?;
    let options = onnxruntime::session_builder(environment, threads)?;
    let checkpoint = Checkpoint::load_from_buffer(&checkpoint::encode(state)?).map_err(|e| making(&e))?;
    let Artifacts { training, evaluation, optimizer } = artifacts;
    Trainer::new_from_memory(options, Allocator::default(), checkpoint, training, evaluation, optimizer)
        .map_err(|e| making(&e))
}

fn values(inputs: Vec<(&str, DynTensor)>) -> Vec<DynTensor> {
    inputs.into_iter().map(|(_, tensor)| tensor).collect()
}

fn floats(tensor: &DynTensor) -> Result<&[f32]> {
    let extracted = tensor.try_extract_tensor::<f32>();
    extracted.map(|(_, data)| data).map_err(|e| onnxruntime::failed("reading an output", &e))
}
