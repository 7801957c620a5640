//! candle's own Marian and T5 models, in f32: it has no quantized Marian, and its quantized T5 is slower.

#[path = "../../../protocol.rs"]
mod protocol;

use anyhow::Result;
use candle_core::{DType, Device, IndexOp, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::{marian, t5};
use protocol::{Call, Job, Outputs};
use std::time::Instant;

enum Model {
    Marian(marian::MTModel),
    T5(t5::T5ForConditionalGeneration),
}

impl Model {
    fn load(job: &Job) -> Result<Self> {
        // SAFETY: the file is not changed while the benchmark runs.
        let weights = unsafe {
            let files = [job.model.join("model.safetensors")];
            VarBuilder::from_mmaped_safetensors(&files, DType::F32, &Device::Cpu)?
        };
        let config = std::fs::read_to_string(job.model.join("config.json"))?;
        Ok(match job.fields["family"].as_str() {
            Some("t5") => {
                Self::T5(t5::T5ForConditionalGeneration::load(weights, &serde_json::from_str(&config)?)?)
            }
            _ => Self::Marian(marian::MTModel::new(&serde_json::from_str(&config)?, weights)?),
        })
    }

    fn encode(&mut self, source: &Tensor) -> Result<Tensor> {
        Ok(match self {
            Self::Marian(model) => {
                model.reset_kv_cache();
                model.encoder().forward(source, 0)?
            }
            Self::T5(model) => {
                model.clear_kv_cache();
                model.encode(source)?
            }
        })
    }

    /// Logits [B, V] behind `step` tokens and the last one, `token` [B, 1].
    fn step(&mut self, token: &Tensor, memory: &Tensor, step: usize) -> Result<Tensor> {
        Ok(match self {
            Self::Marian(model) => model.decode(token, memory, step)?.i((.., 0, ..))?,
            Self::T5(model) => model.decode(token, memory)?,
        })
    }

    /// Sentences are padded; candle has no mask for that, which costs it nothing.
    fn run(&mut self, Call { sources, length }: &Call, start: u32) -> Result<Outputs> {
        let (batch, longest) = (sources.len(), sources.iter().map(Vec::len).max().unwrap_or(0));
        let mut ids = vec![0; batch * longest];
        for (row, source) in ids.chunks_exact_mut(longest).zip(sources) {
            row[..source.len()].copy_from_slice(source);
        }
        let memory = self.encode(&Tensor::from_vec(ids, (batch, longest), &Device::Cpu)?)?;
        let mut token = Tensor::full(start, (batch, 1), &Device::Cpu)?;
        let mut outputs = vec![Vec::with_capacity(*length); batch];
        for step in 0..*length {
            token = self.step(&token, &memory, step)?.argmax(1)?.unsqueeze(1)?;
            let chosen = token.flatten_all()?.to_vec1::<u32>()?;
            outputs.iter_mut().zip(chosen).for_each(|(output, id)| output.push(id));
        }
        Ok(outputs)
    }
}

fn main() -> Result<()> {
    let job = Job::read()?;
    let begin = Instant::now();
    let mut model = Model::load(&job)?;
    let start = job.number("start") as u32;
    protocol::serve(begin.elapsed(), || {
        let mut outputs = Vec::new();
        for call in &job.calls {
            outputs.extend(model.run(call, start)?);
        }
        Ok(outputs)
    })
}
