//! The engine that runs on every ONNX Runtime: the gradients are outputs of the graph, AdamW is Rust.

use super::adamw::{AdamW, Moments};
use super::batch::{Batch, mean_factor};
use super::engine::{Engine, EngineState, Forward, Tensors, Update, lookup};
use super::graph_inputs::{GraphInputs, tensor};
use super::random::Random;
use crate::checkpoint::Tensor;
use crate::onnx::transformer::{Regularization, emit};
use crate::onnxruntime;
use ort::session::{Session, SessionInputValue, SessionInputs, SessionOutputs};
use ort::value::{DynTensor, Tensor as OrtTensor};
use siskin::Result;
use siskin::model::ModelSpec;

/// Gradients by ONNX Runtime, steps by [`AdamW`].
pub struct OrtEngine {
    training: Session,
    evaluation: Session,
    training_inputs: GraphInputs,
    evaluation_inputs: GraphInputs,
    optimizer: AdamW,
    parameters: Vec<Parameter>,
    updates: u64,
}

struct Parameter {
    name: String,
    shape: Vec<usize>,
    weights: OrtTensor<f32>,
    gradient: Vec<f32>,
    moments: Moments,
}

impl OrtEngine {
    /// An engine for `spec` on `threads` threads that starts from `weights`.
    ///
    /// # Errors
    /// When ONNX Runtime is missing or refuses the graph, or when `weights` are not those of `spec`.
    pub fn new(
        spec: &ModelSpec,
        regularization: Regularization,
        optimizer: AdamW,
        threads: usize,
        weights: &Tensors,
    ) -> Result<Self> {
        let environment = onnxruntime::environment()?;
        let evaluation = emit(spec, Regularization::default())?;
        let mut training = emit(spec, regularization)?;
        let gradients = training.graph.differentiate(training.loss);
        let names: Vec<String> =
            training.graph.parameters().iter().map(|&p| training.graph.name(p).to_owned()).collect();
        for (name, gradient) in names.iter().zip(gradients) {
            training.graph.output(&gradient_name(name), gradient);
        }
        let parameters = training
            .graph
            .parameters()
            .iter()
            .map(|&p| Parameter::new(training.graph.name(p), training.graph.parameter_shape(p), weights))
            .collect::<Result<_>>()?;
        Ok(Self {
            training_inputs: GraphInputs::new(&training, spec.positions),
            evaluation_inputs: GraphInputs::new(&evaluation, spec.positions),
            training: onnxruntime::session(environment, &training.graph, threads)?,
            evaluation: onnxruntime::session(environment, &evaluation.graph, threads)?,
            optimizer,
            parameters,
            updates: 0,
        })
    }

    /// Adds the gradients of the loss on `batch` to those since the last update, and returns the loss.
    fn accumulate(&mut self, batch: &Batch, random: &mut Random) -> Result<f64> {
        let inputs = with_parameters(self.training_inputs.tensors(batch, random)?, &self.parameters);
        let outputs = run(&mut self.training, inputs)?;
        for parameter in &mut self.parameters {
            let gradient = output(&outputs, &gradient_name(&parameter.name))?;
            parameter.gradient.iter_mut().zip(gradient).for_each(|(sum, g)| *sum += g);
        }
        Ok(f64::from(output(&outputs, "loss")?[0]))
    }

    fn tensors(&self, part: impl Fn(&Parameter) -> Vec<f32>) -> Tensors {
        let tensor = |p: &Parameter| (p.name.clone(), Tensor { dims: p.shape.clone(), values: part(p) });
        self.parameters.iter().map(tensor).collect()
    }
}

impl Parameter {
    fn new(name: &str, shape: Vec<usize>, weights: &Tensors) -> Result<Self> {
        let data = lookup(weights, name, &shape)?.to_vec();
        let length = data.len();
        Ok(Self {
            name: name.to_owned(),
            weights: tensor(&shape, data)?,
            shape,
            gradient: vec![0.0; length],
            moments: Moments::new(length),
        })
    }

    fn set_weights(&mut self, weights: &Tensors) -> Result<()> {
        let data = lookup(weights, &self.name, &self.shape)?;
        self.weights.extract_tensor_mut().1.copy_from_slice(data);
        Ok(())
    }
}

impl Engine for OrtEngine {
    fn update(&mut self, batches: &[Batch], learning_rate: f32, random: &mut Random) -> Result<Update> {
        self.parameters.iter_mut().for_each(|p| p.gradient.fill(0.0));
        let mut loss = 0.0;
        for batch in batches {
            loss += self.accumulate(batch, random)?;
        }
        let mean = mean_factor(batches);
        for parameter in &mut self.parameters {
            parameter.gradient.iter_mut().for_each(|g| *g *= mean);
        }
        let (norm, scale) = self.optimizer.clip(self.parameters.iter().map(|p| p.gradient.as_slice()));
        if norm.is_finite() {
            self.updates += 1;
            for p in &mut self.parameters {
                let decay = if p.shape.len() > 1 { self.optimizer.weight_decay } else { 0.0 };
                let weights = p.weights.extract_tensor_mut().1;
                let gradient = (p.gradient.as_slice(), scale);
                self.optimizer.update(self.updates, learning_rate, decay, weights, gradient, &mut p.moments);
            }
        }
        Ok(Update { loss, gradient_norm: norm })
    }

    fn forward(&mut self, batch: &Batch) -> Result<Forward> {
        let inputs = self.evaluation_inputs.tensors(batch, &mut Random::new(0, &[]))?;
        let inputs = with_parameters(inputs, &self.parameters);
        let outputs = run(&mut self.evaluation, inputs)?;
        let loss = f64::from(output(&outputs, "loss")?[0]);
        Ok(Forward { loss, logits: output(&outputs, "logits")?.to_vec() })
    }

    fn weights(&self) -> Result<Tensors> {
        Ok(self.tensors(|p| p.weights.extract_tensor().1.to_vec()))
    }

    fn set_weights(&mut self, weights: &Tensors) -> Result<()> {
        self.parameters.iter_mut().try_for_each(|p| p.set_weights(weights))
    }

    fn state(&self) -> Result<EngineState> {
        Ok(EngineState {
            updates: self.updates,
            weights: self.weights()?,
            first_moments: self.tensors(|p| p.moments.first.clone()),
            second_moments: self.tensors(|p| p.moments.second.clone()),
        })
    }

    fn restore(&mut self, state: &EngineState) -> Result<()> {
        for p in &mut self.parameters {
            p.set_weights(&state.weights)?;
            p.moments.first.copy_from_slice(lookup(&state.first_moments, &p.name, &p.shape)?);
            p.moments.second.copy_from_slice(lookup(&state.second_moments, &p.name, &p.shape)?);
        }
        self.updates = state.updates;
        Ok(())
    }
}

/// What the graph reads: the batch, and the parameters in place.
fn with_parameters<'a>(
    inputs: Vec<(&'a str, DynTensor)>,
    parameters: &'a [Parameter],
) -> Vec<(&'a str, SessionInputValue<'a>)> {
    let inputs = inputs.into_iter().map(|(name, tensor)| (name, tensor.into()));
    inputs.chain(parameters.iter().map(|p| (p.name.as_str(), (&p.weights).into()))).collect()
}

fn run<'s>(
    session: &'s mut Session,
    inputs: Vec<(&str, SessionInputValue<'_>)>,
) -> Result<SessionOutputs<'s>> {
    session.run(SessionInputs::from(inputs)).map_err(|e| onnxruntime::failed("running the graph", &e))
}

fn output<'o>(outputs: &'o SessionOutputs<'_>, name: &str) -> Result<&'o [f32]> {
    let tensor = outputs[name].try_extract_tensor::<f32>();
    tensor.map(|(_, data)| data).map_err(|e| onnxruntime::failed("reading an output", &e))
}

fn gradient_name(parameter: &str) -> String {
    format!("gradient.{parameter}")
}
