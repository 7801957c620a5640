//! The engine: graphs, and what goes from one of their runs to the next.

use alloc::sync::Arc;
use ort::memory::Allocator;
use ort::session::Session;
use ort::value::{DynTensor, Tensor, ValueType};

use super::graphs::{Cache, Graphs};
use super::provider::Memory;
use super::run::{LOGITS, Values, answered, bytes};
use crate::delegate::graph_inputs::{self, GraphInput, GraphInputs};
use crate::delegate::{Engine, Placement, Step, failed};
use crate::error::Result;
use crate::model::{Model, SessionShape};

/// Runs the graphs of a model.
pub struct OrtEngine {
    /// What every step reads of the source: keys and values of each layer, and the mask [B, S]. Tensors stand before the
    /// graphs, in whose memory they may lie, since fields are dropped in their order.
    memory: Values,
    /// The inputs of the next step that are outputs of the last.
    past: Values,
    graphs: Graphs,
    host: GraphInputs,
    shape: SessionShape,
    /// Sentences in the memory.
    sentences: usize,
    /// [M, V], and behind it those of padding rows.
    logits: Vec<f32>,
    /// Values of a step's logits that are of rows.
    used: usize,
    placement: Placement,
    provider_memory: Memory,
}

impl OrtEngine {
    /// An engine for batches of at most `shape`, computing at `place`.
    ///
    /// # Errors
    /// Those of [`Embeddings::new`](crate::model::Embeddings::new).
    pub fn new(
        model: &Arc<Model>,
        shape: &SessionShape,
        graphs: Graphs,
        place: String,
        provider_memory: Memory,
    ) -> Result<Self> {
        Ok(Self {
            graphs,
            host: GraphInputs::new(model, shape)?,
            shape: *shape,
            memory: Vec::new(),
            sentences: 0,
            past: Vec::new(),
            logits: Vec::new(),
            used: 0,
            placement: Placement { encoder: place.clone(), decoder: place, ..Placement::default() },
            provider_memory,
        })
    }

    /// The rows that a step is padded to.
    fn rows(&self, rows: usize) -> usize {
        match self.graphs.cache {
            Cache::Growing => rows,
            Cache::Fixed => self.shape.batch * self.shape.beam,
        }
    }

    /// The inputs of a step that say which rows it has and where they stand.
    fn step_inputs(&mut self, step: &Step<'_>) -> Result<Values> {
        let rows = self.rows(step.tokens.len());
        let made = self.host.step(step, rows, self.shape.target_length).into_iter();
        let known =
            |input: &GraphInput| self.graphs.step.inputs().iter().any(|known| known.name() == input.name);
        made.filter(known).map(tensor).collect()
    }
}

impl Engine for OrtEngine {
    fn encode(&mut self, sources: &[&[u32]]) -> Result<()> {
        let longest = sources.iter().map(|source| source.len()).max().unwrap_or(1);
        let (batch, length) = match self.graphs.cache {
            Cache::Growing => (sources.len(), longest),
            Cache::Fixed => (self.shape.batch, self.shape.source_length),
        };
        let inputs = self.host.encoder(sources, batch, length).map(tensor);
        let inputs = inputs.into_iter().collect::<Result<Values>>()?;
        self.memory = self.provider_memory.run(&mut self.graphs.encoder, inputs.iter())?;
        self.memory.extend(inputs.into_iter().filter(|(name, _)| name == "source_mask"));
        self.sentences = sources.len();
        Ok(())
    }

    fn start(&mut self) -> Result<()> {
        let (rows, length) = match self.graphs.cache {
            Cache::Growing => (self.sentences, 0),
            Cache::Fixed => (self.rows(0), self.shape.target_length),
        };
        self.past = empty_past(&self.graphs.step, rows, length)?;
        Ok(())
    }

    fn step(&mut self, step: &Step<'_>) -> Result<()> {
        let own = self.step_inputs(step)?;
        let past = core::mem::take(&mut self.past);
        let memory = self.provider_memory;
        let handed: u64 = own.iter().map(|(_, value)| bytes(value)).sum();
        let kept: u64 = self.memory.iter().chain(&past).map(|(_, value)| memory.copied(value)).sum();
        let inputs = own.iter().chain(&self.memory).chain(&past);
        let mut outputs = memory.run(&mut self.graphs.step, inputs)?;
        let logits = outputs.iter().position(|(name, _)| name == LOGITS);
        let (_, logits) = outputs.swap_remove(logits.ok_or_else(|| failed("the graph gives no logits"))?);
        let (shape, values) =
            logits.try_extract_tensor::<f32>().map_err(|error| answered("reading logits", &error))?;
        self.logits.clear();
        self.logits.extend_from_slice(values);
        self.used = step.tokens.len() * shape.last().map_or(0, |&columns| columns as usize);
        let made: u64 = outputs.iter().map(|(_, value)| memory.copied(value)).sum();
        self.past =
            outputs.into_iter().map(|(name, value)| (name.replace("present", "past"), value)).collect();
        self.placement.to_device = handed + kept;
        self.placement.from_device = bytes(&logits) + made;
        Ok(())
    }

    fn logits(&mut self) -> &mut [f32] {
        let used = self.used.min(self.logits.len());
        &mut self.logits[..used]
    }

    fn placement(&self) -> Placement {
        self.placement.clone()
    }
}

/// Zeros for the caches of `rows` rows with room for `length` tokens.
fn empty_past(step: &Session, rows: usize, length: usize) -> Result<Values> {
    let caches = step.inputs().iter().filter(|input| input.name().contains(".past_"));
    let empty = |input: &ort::value::Outlet| {
        let ValueType::Tensor { ty, shape, .. } = input.dtype() else {
            return Err(failed(format!("{} is no tensor", input.name())));
        };
        let mut shape: Vec<i64> = shape.iter().copied().collect();
        shape[0] = rows as i64;
        if let [_, _, keys, _] = &mut shape[..] {
            *keys = length as i64;
        }
        let zeros = DynTensor::new(&Allocator::default(), *ty, shape);
        let zeros = zeros.map_err(|error| answered("making caches", &error))?;
        Ok((input.name().to_owned(), zeros))
    };
    caches.map(empty).collect()
}

/// An input as ONNX Runtime takes it, with its name.
fn tensor(input: GraphInput) -> Result<(String, DynTensor)> {
    let GraphInput { name, shape, values } = input;
    let tensor = match values {
        graph_inputs::Values::F32(values) => Tensor::from_array((shape, values)).map(Tensor::upcast),
        graph_inputs::Values::Integers(values) => {
            let values: Vec<i64> = values.into_iter().map(i64::from).collect();
            Tensor::from_array((shape, values)).map(Tensor::upcast)
        }
    };
    Ok((name.to_owned(), tensor.map_err(|error| answered("making an input", &error))?))
}
