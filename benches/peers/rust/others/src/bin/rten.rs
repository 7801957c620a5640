//! rten on the ONNX graphs that onnxruntime runs too.

#[path = "../../../protocol.rs"]
mod protocol;

use anyhow::{Context, Result};
use protocol::{Call, Job, Outputs};
use rten::{Model, ModelOptions, NodeId, RunOptions, ThreadPool, Value, ValueOrView};
use rten_tensor::NdTensor;
use rten_tensor::prelude::*;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

/// A graph with its inputs and outputs by name.
struct Graph {
    model: Model,
    inputs: Vec<(String, NodeId)>,
    outputs: Vec<NodeId>,
}

impl Graph {
    fn load(path: &Path) -> Result<Self> {
        let model = ModelOptions::with_all_ops().prepack_weights(true).load_file(path)?;
        let name = |id: &NodeId| Some((model.node_info(*id)?.name()?.to_owned(), *id));
        let inputs = model.input_ids().iter().filter_map(name).collect();
        let outputs = model.output_ids().to_vec();
        Ok(Self { model, inputs, outputs })
    }
}

struct Translator {
    encoder: Graph,
    decoder: Graph,
    /// Decoder layers; each has cached keys and values.
    layers: usize,
    /// Heads and their width.
    heads: [usize; 2],
    start: i32,
    options: RunOptions,
}

impl Translator {
    fn run(&self, Call { sources, length }: &Call) -> Result<Outputs> {
        let (batch, longest) = (sources.len(), sources.iter().map(Vec::len).max().unwrap_or(0));
        let mut ids = NdTensor::<i32, 2>::full([batch, longest], 0);
        let mut bias = NdTensor::<f32, 4>::full([batch, 1, 1, longest], -1e9);
        for (i, source) in sources.iter().enumerate() {
            for (j, &id) in source.iter().enumerate() {
                ids[[i, j]] = id as i32;
                bias[[i, 0, 0, j]] = 0.0;
            }
        }
        let inputs =
            self.encoder.inputs.iter().map(|(name, id)| {
                (*id, if name == "source" { ids.view().into() } else { bias.view().into() })
            });
        let cross =
            self.encoder.model.run(inputs.collect(), &self.encoder.outputs, Some(self.options.clone()))?;
        let [heads, width] = self.heads;
        // Keys lie as columns, values as rows.
        let mut cache: Vec<Value> = (0..self.layers)
            .flat_map(|_| [[batch, heads, width, 0], [batch, heads, 0, width]])
            .map(|shape| NdTensor::<f32, 4>::zeros(shape).into())
            .collect();
        let mut token: Value = NdTensor::<i32, 2>::full([batch, 1], self.start).into();
        let mut outputs = vec![Vec::with_capacity(*length); batch];
        for _ in 0..*length {
            let mut past = cache.drain(..);
            let mut inputs: Vec<(NodeId, ValueOrView)> = Vec::new();
            for (name, id) in &self.decoder.inputs {
                let value: ValueOrView = match name.as_str() {
                    "token" => (&token).into(),
                    "bias" => bias.view().into(),
                    name if name.starts_with("past") => past.next().context("a past too many")?.into(),
                    name => (&cross
                        [name.strip_prefix("cross").context("unknown input")?.parse::<usize>()?])
                        .into(),
                };
                inputs.push((*id, value));
            }
            drop(past);
            let mut results = self
                .decoder
                .model
                .run(inputs, &self.decoder.outputs, Some(self.options.clone()))?
                .into_iter();
            token = results.next().context("no token")?;
            cache = results.collect();
            let chosen: NdTensor<i32, 2> = token.clone().try_into()?;
            chosen.iter().zip(&mut outputs).for_each(|(&id, output)| output.push(id as u32));
        }
        Ok(outputs)
    }
}

fn main() -> Result<()> {
    let job = Job::read()?;
    let start = Instant::now();
    let mut options = RunOptions::default();
    options.thread_pool = Some(Arc::new(ThreadPool::with_num_threads(job.number("threads"))));
    let translator = Translator {
        encoder: Graph::load(&job.model.join("encoder.onnx"))?,
        decoder: Graph::load(&job.model.join("decoder.onnx"))?,
        layers: job.number("decoder_layers"),
        heads: [job.number("heads"), job.number("d_model") / job.number("heads")],
        start: job.number("start") as i32,
        options,
    };
    protocol::serve(start.elapsed(), || {
        job.calls
            .iter()
            .map(|call| translator.run(call))
            .collect::<Result<Vec<_>>>()
            .map(|outputs| outputs.concat())
    })
}
