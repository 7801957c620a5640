//! The engine that runs on every ONNX Runtime: the gradients are outputs of the graph, AdamW is Rust.

use super::adamw::{AdamW, Moments};
use super::batch::Batch;
use super::engine::{Engine, EngineState, Forward, Tensors};
use super::random::Random;
use crate::checkpoint::Tensor;
use crate::onnx::transformer::{Arithmetic, DropoutMask, Regularization, emit};
use crate::onnx::{Dim, Graph};
use crate::onnxruntime;
use ort::session::{Session, SessionInputValue, SessionInputs, SessionOutputs};
use ort::value::Tensor as OrtTensor;
use siskin::model::{ModelSpec, Positions};
use siskin::nn::{Direction, distance_bucket};
use siskin::{Error, ErrorKind, Result};
use std::borrow::Cow;

/// Gradients by ONNX Runtime, steps by [`AdamW`].
pub struct OrtEngine {
    spec: ModelSpec,
    regularization: Regularization,
    threads: usize,
    training: Session,
    evaluation: Session,
    inputs: [Vec<String>; 2],
    masks: Vec<DropoutMask>,
    optimizer: AdamW,
    parameters: Vec<Parameter>,
    labels: usize,
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
        let Regularization { arithmetic, .. } = regularization;
        let evaluation = emit(spec, Regularization { arithmetic, ..Regularization::default() })?.graph;
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
            spec: spec.clone(),
            regularization,
            threads,
            inputs: [input_names(&training.graph), input_names(&evaluation)],
            training: onnxruntime::session(environment, &training.graph, threads)?,
            evaluation: onnxruntime::session(environment, &evaluation, threads)?,
            masks: training.dropout_masks,
            optimizer,
            parameters,
            labels: 0,
            updates: 0,
        })
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
            weights: ort_tensor(&shape, data)?,
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
    fn accumulate(&mut self, batch: &Batch, random: &mut Random) -> Result<f64> {
        let mut inputs = inputs(&self.inputs[0], batch, self.spec.positions, &self.parameters)?;
        for mask in &self.masks {
            let shape: Vec<usize> = mask.shape.iter().map(|dim| size(*dim, batch)).collect();
            let values = random.dropout_mask(shape.iter().product(), mask.rate);
            inputs.push((mask.name.clone().into(), ort_tensor(&shape, values)?.into()));
        }
        let outputs = run(&mut self.training, inputs)?;
        for parameter in &mut self.parameters {
            let gradient = output(&outputs, &gradient_name(&parameter.name))?;
            parameter.gradient.iter_mut().zip(gradient).for_each(|(sum, g)| *sum += g);
        }
        self.labels += batch.label_count();
        Ok(f64::from(output(&outputs, "loss")?[0]))
    }

    fn update(&mut self, learning_rate: f32) -> Result<f32> {
        let mean = 1.0 / self.labels.max(1) as f32;
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
        self.labels = 0;
        self.parameters.iter_mut().for_each(|p| p.gradient.fill(0.0));
        Ok(norm)
    }

    fn set_arithmetic(&mut self, arithmetic: Arithmetic) -> Result<()> {
        if arithmetic != self.regularization.arithmetic {
            let state = self.state();
            let regularization = Regularization { arithmetic, ..self.regularization };
            *self = Self::new(&self.spec, regularization, self.optimizer, self.threads, &state.weights)?;
            self.restore(&state)?;
        }
        Ok(())
    }

    fn forward(&mut self, batch: &Batch) -> Result<Forward> {
        let inputs = inputs(&self.inputs[1], batch, self.spec.positions, &self.parameters)?;
        let outputs = run(&mut self.evaluation, inputs)?;
        let loss = f64::from(output(&outputs, "loss")?[0]);
        Ok(Forward { loss, logits: output(&outputs, "logits")?.to_vec() })
    }

    fn weights(&self) -> Tensors {
        self.tensors(|p| p.weights.extract_tensor().1.to_vec())
    }

    fn set_weights(&mut self, weights: &Tensors) -> Result<()> {
        self.parameters.iter_mut().try_for_each(|p| p.set_weights(weights))
    }

    fn state(&self) -> EngineState {
        EngineState {
            updates: self.updates,
            weights: self.weights(),
            first_moments: self.tensors(|p| p.moments.first.clone()),
            second_moments: self.tensors(|p| p.moments.second.clone()),
        }
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

type Inputs<'a> = Vec<(Cow<'a, str>, SessionInputValue<'a>)>;

/// What the graph's inputs `names` hold for `batch`, and the parameters.
fn inputs<'a>(
    names: &[String],
    batch: &Batch,
    positions: Positions,
    parameters: &'a [Parameter],
) -> Result<Inputs<'a>> {
    let (b, s, t) = (batch.sentences, batch.source_length, batch.target_length);
    let mut inputs: Inputs<'a> = Vec::new();
    for name in names.iter().filter(|name| !name.starts_with("dropout.")) {
        let value: SessionInputValue<'a> = match name.as_str() {
            "source" => ort_tensor(&[b * s], batch.source.clone())?.into(),
            "source_positions" => ort_tensor(&[b * s], batch.source_positions())?.into(),
            "source_mask" => ort_tensor(&[b, 1, 1, s], batch.source_mask.clone())?.into(),
            "target" => ort_tensor(&[b * t], batch.target.clone())?.into(),
            "target_positions" => ort_tensor(&[b * t], batch.target_positions())?.into(),
            "source_buckets" => ort_tensor(&[s * s], buckets(positions, Direction::Both, s))?.into(),
            "target_buckets" => ort_tensor(&[t * t], buckets(positions, Direction::Back, t))?.into(),
            "causal_mask" => ort_tensor(&[1, 1, t, t], batch.causal_mask())?.into(),
            "labels" => ort_tensor(&[b * t], batch.labels.clone())?.into(),
            "label_weights" => ort_tensor(&[b * t, 1], batch.label_weights.clone())?.into(),
            other => unreachable!("the emitter has no input {other}"),
        };
        inputs.push((name.clone().into(), value));
    }
    inputs.extend(parameters.iter().map(|p| (p.name.as_str().into(), (&p.weights).into())));
    Ok(inputs)
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

fn run<'s>(session: &'s mut Session, inputs: Inputs<'_>) -> Result<SessionOutputs<'s>> {
    session.run(SessionInputs::from(inputs)).map_err(|e| onnxruntime::failed("running the graph", &e))
}

fn output<'o>(outputs: &'o SessionOutputs<'_>, name: &str) -> Result<&'o [f32]> {
    let tensor = outputs[name].try_extract_tensor::<f32>();
    tensor.map(|(_, data)| data).map_err(|e| onnxruntime::failed("reading an output", &e))
}

fn ort_tensor<T: ort::value::PrimitiveTensorElementType + std::fmt::Debug + Clone + 'static>(
    shape: &[usize],
    data: Vec<T>,
) -> Result<OrtTensor<T>> {
    OrtTensor::from_array((shape.to_vec(), data)).map_err(|e| onnxruntime::failed("making a tensor", &e))
}

fn input_names(graph: &Graph) -> Vec<String> {
    graph.inputs().iter().map(|&input| graph.name(input).to_owned()).collect()
}

fn gradient_name(parameter: &str) -> String {
    format!("gradient.{parameter}")
}

fn lookup<'t>(tensors: &'t Tensors, name: &str, shape: &[usize]) -> Result<&'t [f32]> {
    match tensors.get(name) {
        Some(tensor) if tensor.dims == shape => Ok(&tensor.values),
        Some(tensor) => Err(schema(format!("{name} is {:?}, not {shape:?} as the spec says", tensor.dims))),
        None => Err(schema(format!("{name} {shape:?} is missing"))),
    }
}

fn schema(message: String) -> Error {
    Error::new(ErrorKind::Schema, message)
}
