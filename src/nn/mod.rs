//! The blocks of an encoder-decoder Transformer, each a forward pass over rows.
//!
//! A block keeps references into the model's bytes, never the bytes themselves, and owns no scratch memory: the
//! caller gives every buffer. Rows of several sentences lie one behind the other without padding, and no block mixes
//! rows except attention, inside a sentence: that is why a batch gives the bits that its sentences give alone.

mod attention;
mod embedding;
mod ffn;
mod linear;
mod norm;
mod position;
mod ssru;
mod stored;

pub use attention::{
    Alignments, AttendRows, Attended, Biases, CrossAttention, Heads, SelfAttention, attend_history,
    attend_sentences, attention_scratch,
};
pub use embedding::Embedding;
pub use ffn::{FFN_ROWS, FeedForward, FfnBuffers, FfnShape};
pub use linear::{Linear, LowRank, Quantized, project};
pub use norm::{Norm, NormOrder};
pub use position::{Direction, RelativeBias, Sinusoid, SinusoidLayout, SinusoidTimescale, distance_bucket};
pub use ssru::{Ssru, SsruRows};
pub use stored::{Origin, Stored};

use crate::kernels::Kernels;
use crate::threads::Pool;

/// What every block needs: the bytes that its weights lie in, the kernels and the threads.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// The model file.
    pub bytes: &'a [u8],
    /// The adapter file over it; empty without one.
    pub adapter: &'a [u8],
    /// The kernels of this CPU.
    pub kernels: &'static Kernels,
    /// The threads that share one computation.
    pub pool: &'a Pool,
}
