//! The engine: two graphs, and what goes from one of their runs to the next.

use alloc::sync::Arc;

use super::exported::Sizes;
use super::graph::{Graph, Tensor, Values};
use crate::delegate::graph_inputs::{GraphInput, GraphInputs, Values as Made};
use crate::delegate::{Engine, Placement, Step, failed};
use crate::error::Result;
use crate::model::{Model, SessionShape};

/// The encoder and the step of the decoder.
pub type Graphs = [Box<dyn Graph>; 2];

/// Runs the graphs of a model.
pub struct GraphEngine {
    encoder: Box<dyn Graph>,
    decoder_step: Box<dyn Graph>,
    host: GraphInputs,
    sizes: Sizes,
    /// Outputs of the encoder, and the inputs of a step that they are.
    memory: Vec<[usize; 2]>,
    /// Outputs of a step, and the inputs of the next one that they are.
    caches: Vec<[usize; 2]>,
    /// Which output of a step they are.
    logits_output: usize,
    /// [M, V], and behind it those of padding rows.
    logits: Vec<f32>,
    /// V.
    vocabulary: usize,
    /// Rows of the last step.
    rows: usize,
    placement: Placement,
}

impl GraphEngine {
    /// An engine for batches of at most `shape` of graphs that have `sizes`.
    ///
    /// # Errors
    /// [`Delegate`](crate::ErrorKind::Delegate) for graphs that do not fit together, and those of
    /// [`Embeddings::new`](crate::model::Embeddings::new).
    pub fn new(
        model: &Arc<Model>,
        shape: &SessionShape,
        sizes: Sizes,
        [encoder, decoder_step]: Graphs,
        placement: Placement,
    ) -> Result<Self> {
        let vocabulary = model.spec().target_vocabulary;
        let (reads, gives) = (decoder_step.inputs(), decoder_step.outputs());
        let logits_output = find(gives, "logits")?;
        if gives[logits_output].shape != [sizes.rows, vocabulary] {
            let (found, rows) = (&gives[logits_output].shape, sizes.rows);
            return Err(failed(format!("logits are {found:?}, not {:?}", [rows, vocabulary])));
        }
        let caches =
            pairs(gives, reads, |name| name.contains(".present_").then(|| name.replace("present", "past")))?;
        Ok(Self {
            memory: pairs(encoder.outputs(), reads, |name| Some(name.to_owned()))?,
            caches,
            logits_output,
            logits: vec![0.0; sizes.rows * vocabulary],
            vocabulary,
            rows: 0,
            host: GraphInputs::new(model, shape)?,
            sizes,
            placement,
            encoder,
            decoder_step,
        })
    }
}

/// The tensor that is called `name`.
fn find(tensors: &[Tensor], name: &str) -> Result<usize> {
    let found = tensors.iter().position(|tensor| tensor.name == name);
    found.ok_or_else(|| failed(format!("the graphs lack {name}: export them again")))
}

/// Each of `outputs` that `input_name` gives a name, and the input that has it.
fn pairs(
    outputs: &[Tensor],
    inputs: &[Tensor],
    input_name: impl Fn(&str) -> Option<String>,
) -> Result<Vec<[usize; 2]>> {
    let named =
        outputs.iter().enumerate().filter_map(|(i, output)| Some((i, output, input_name(&output.name)?)));
    let pair = |(i, output, name): (usize, &Tensor, String)| {
        let found = find(inputs, &name)?;
        let Tensor { shape, element, .. } = &inputs[found];
        match (&output.shape, &output.element) == (shape, element) {
            true => Ok([i, found]),
            false => Err(failed(format!("{} is {:?}, and {name} is {shape:?}", output.name, output.shape))),
        }
    };
    named.map(pair).collect()
}

/// Sets the input of `graph` that has the name of `input`, and gives its bytes; 0 where the graph has none.
fn write(graph: &mut dyn Graph, input: &GraphInput) -> Result<usize> {
    let Some(i) = graph.inputs().iter().position(|tensor| tensor.name == input.name) else { return Ok(0) };
    let Tensor { name, shape, .. } = &graph.inputs()[i];
    if *shape != input.shape {
        return Err(failed(format!("{name} is {shape:?}, not {:?}: export the graphs again", input.shape)));
    }
    match &input.values {
        Made::F32(values) => graph.write(i, Values::F32(values))?,
        Made::Integers(values) => {
            let values: Vec<i32> = values.iter().map(|&value| value as i32).collect();
            graph.write(i, Values::I32(&values))?;
        }
    }
    Ok(graph.inputs()[i].bytes())
}

impl Engine for GraphEngine {
    fn encode(&mut self, sources: &[&[u32]]) -> Result<()> {
        let Sizes { batch, source_length, .. } = self.sizes;
        let inputs = self.host.encoder(sources, batch, source_length);
        for input in &inputs {
            write(&mut *self.encoder, input)?;
        }
        self.encoder.run()?;
        let [_, mask] = &inputs;
        write(&mut *self.decoder_step, mask)?;
        let mut values = Vec::new();
        for &[output, input] in &self.memory {
            values.resize(self.encoder.outputs()[output].count(), 0.0);
            self.encoder.read(output, &mut values)?;
            self.decoder_step.write(input, Values::F32(&values))?;
        }
        Ok(())
    }

    fn start(&mut self) -> Result<()> {
        for &[_, input] in &self.caches {
            let zeros = vec![0.0; self.decoder_step.inputs()[input].count()];
            self.decoder_step.write(input, Values::F32(&zeros))?;
        }
        Ok(())
    }

    fn step(&mut self, step: &Step<'_>) -> Result<()> {
        let graph = &mut *self.decoder_step;
        let mut written = 0;
        for input in self.host.step(step, self.sizes.rows, self.sizes.target_length) {
            written += write(graph, &input)?;
        }
        graph.run()?;
        graph.read(self.logits_output, &mut self.logits)?;
        for &[output, input] in &self.caches {
            graph.feed_back(output, input)?;
        }
        self.rows = step.tokens.len();
        self.placement.to_device = written as u64;
        self.placement.from_device = 4 * self.logits.len() as u64;
        Ok(())
    }

    fn logits(&mut self) -> &mut [f32] {
        &mut self.logits[..self.rows * self.vocabulary]
    }

    fn placement(&self) -> Placement {
        self.placement.clone()
    }
}
