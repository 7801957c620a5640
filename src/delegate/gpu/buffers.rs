//! The memory of an engine on the GPU.

use alloc::format;
use alloc::vec::Vec;

use super::device::Gpu;
use super::driver::Buffer;
use crate::delegate::failed;
use crate::error::Result;
use crate::model::{Autoregression, ModelSpec, SessionShape};
use crate::nn::FfnShape;
use crate::tensor::K_GROUP;

/// Workgroups of one dispatch in each direction, at most: WebGPU's default limit. Rows are dispatched one by one.
const MOST_ROWS: usize = 65_535;

/// Scratch and caches. N source tokens, R rows of a step, M rows of either, T steps.
pub(super) struct Buffers {
    /// What the dispatches of a submission share: `Batch` of `batch.wgsl`.
    pub batch: Buffer,
    /// The residual stream [M, D].
    pub x: Buffer,
    /// Normalized rows [M, D].
    pub normed: Buffer,
    /// The widest projections: q, k and v of the encoder, queries, hidden values, forget gates.
    pub wide: Buffer,
    /// Attention outputs [M, I], gated hidden values [M, F], candidates [M, D].
    pub narrow: Buffer,
    /// Rows in int8.
    pub quantized: Buffer,
    /// Their scales \[M\].
    pub scales: Buffer,
    /// Attention weights [M, H, longest].
    pub probabilities: Buffer,
    /// First source token and number of them, of each row's sentence [M, 2].
    pub spans: Buffer,
    /// The row that each row continues \[R\].
    pub parents: Buffer,
    /// The slots that each row reads [2, R, T].
    pub ancestry: Buffer,
    /// Of each decoder layer the q, k and v of every slot [T * R, 3 I], where the projection wrote them; or the cells of
    /// an SSRU [2, R, D].
    pub history: Vec<Buffer>,
    /// Of each decoder layer the keys and values of the memory [N, 2 I].
    pub memory: Vec<Buffer>,
    /// [R, V].
    pub logits: Buffer,
    /// The logits on their way to the host.
    pub readable: Buffer,
    /// The most keys of a row.
    pub longest: usize,
}

impl Buffers {
    /// Buffers for batches of `shape`.
    ///
    /// # Errors
    /// [`ErrorKind::MemoryLimit`](crate::ErrorKind::MemoryLimit) for what is beyond the GPU's limits,
    /// [`ErrorKind::Delegate`](crate::ErrorKind::Delegate) for more than 65,535 rows.
    pub fn new(gpu: &Gpu, spec: &ModelSpec, shape: &SessionShape) -> Result<Self> {
        let (n, r, t) = (shape.source_tokens, shape.batch * shape.beam, shape.target_length);
        let (d, i, f) = (spec.d_model, spec.inner_width(), spec.ffn_width);
        let m = n.max(r);
        if m > MOST_ROWS {
            return Err(failed(format!("a batch of {m} rows; at most {MOST_ROWS}")));
        }
        let longest = shape.source_length.max(t);
        let (up, gated) = match spec.ffn {
            FfnShape::Plain => (f, 0),
            FfnShape::Gated => (2 * f, f),
        };
        let (history, slots) = match spec.autoregression {
            Autoregression::SelfAttention => (t * r * 3 * i, 2 * r * t),
            Autoregression::Ssru => (2 * r * d, 0),
        };
        let words = |label, count: usize| gpu.buffer(label, 4 * count as u64);
        let layers = |label, count| -> Result<Vec<_>> {
            (0..spec.decoder_layers).map(|_| words(label, count)).collect()
        };
        Ok(Self {
            batch: gpu.parameters(&[0; 4]),
            x: words("the residual stream", m * d)?,
            normed: words("normalized rows", m * d)?,
            wide: words("hidden rows", m * (3 * i).max(up).max(d))?,
            narrow: words("attention outputs", m * i.max(gated).max(d))?,
            quantized: words("int8 rows", m * d.max(i).max(f).div_ceil(K_GROUP))?,
            scales: words("scales of int8 rows", m)?,
            probabilities: words("attention weights", m * spec.heads * longest)?,
            spans: words("spans of sentences", 2 * m)?,
            parents: words("parents", r)?,
            ancestry: words("slots of hypotheses", slots)?,
            history: layers("keys and values of a layer", history)?,
            memory: layers("keys and values of the memory", n * 2 * i)?,
            logits: words("logits", r * spec.target_vocabulary)?,
            readable: gpu.readable(4 * (r * spec.target_vocabulary) as u64),
            longest,
        })
    }
}
