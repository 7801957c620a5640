//! Multi-head attention.

use super::{Context, Linear, Norm, RelativeBias};
use crate::kernels::{Attention, QUERY_BLOCK, RowIndex};
use crate::threads::MAX_THREADS;

/// Self-attention: one projection gives queries, keys and values.
#[derive(Clone, Debug)]
pub struct SelfAttention {
    /// Q, K and V stacked [3 I, D], I = heads * head width.
    pub qkv: Linear,
    /// [D, I].
    pub output: Linear,
    /// The sub-layer's normalization.
    pub norm: Norm,
}

/// Attention of the decoder over the encoder's output.
#[derive(Clone, Debug)]
pub struct CrossAttention {
    /// [I, D].
    pub query: Linear,
    /// K and V stacked [2 I, D]; applied to the memory once a sentence.
    pub key_value: Linear,
    /// [D, I].
    pub output: Linear,
    /// The sub-layer's normalization.
    pub norm: Norm,
}

/// Distance between the rows of `n` keys that lie as columns [I, n]. Of long ones it is an odd number of cache lines, so
/// that rows do not displace each other from the cache. It grows with n.
pub fn columns_stride(n: usize) -> usize {
    if n < 32 { n } else { n.next_multiple_of(16) | 16 }
}

/// The elements from `offset` on of `rows` [n, `width`], as columns [I, n].
pub fn to_columns(rows: &[f32], width: usize, offset: usize, columns: &mut [f32]) {
    let stride = columns_stride(rows.len() / width);
    for (d, columns) in columns.chunks_exact_mut(stride.max(1)).enumerate() {
        for (column, row) in columns.iter_mut().zip(rows.chunks_exact(width)) {
            *column = row[offset + d];
        }
    }
}

/// Query rows, one behind the other, that attend to the same.
pub struct Queries<'a> {
    /// The rows, their keys and values; the bias is added by [`attend_rows`].
    pub attention: Attention<'a>,
    /// Position of the first among the keys.
    pub position: usize,
}

impl Queries<'_> {
    /// The first `count` of them, or all.
    fn truncate(&mut self, most: usize) {
        if let RowIndex::Range { count, .. } = &mut self.attention.queries.index {
            *count = most.min(*count);
        }
    }
}

/// The rows of one attention call and their buffers.
pub struct AttendRows<'a> {
    /// A bias on the scores.
    pub bias: Option<&'a RelativeBias>,
    /// Room for the attention weights and the biases of a block of rows for each thread: `threads` times
    /// [`attention_scratch`] of the stride.
    pub scratch: &'a mut [f32],
    /// At least H times the most keys of a row.
    pub stride: usize,
    /// The context rows [M, I].
    pub out: &'a mut [f32],
    /// I.
    pub width: usize,
    /// Rows that receive each row's attention weights, averaged over the heads.
    pub alignments: Option<Alignments<'a>>,
}

/// Where averaged attention weights go.
pub struct Alignments<'a> {
    /// [M, longest]; of a row, as many values are written as it has keys.
    pub rows: &'a mut [f32],
    /// Room for a row.
    pub longest: usize,
}

/// One thread's share of the rows.
struct Part<'a> {
    first: usize,
    out: &'a mut [f32],
    scratch: &'a mut [f32],
    alignments: Option<&'a mut [f32]>,
}

/// Values that a thread has room for, where a row has at most `stride` weights.
pub fn attention_scratch(stride: usize) -> usize {
    2 * QUERY_BLOCK * stride
}

/// Attention for every row of `rows.out`; `queries_from` gives the queries from a row on that attend to the same.
pub fn attend_rows<'q>(
    ctx: &Context<'_>,
    rows: AttendRows<'_>,
    queries_from: &(dyn Fn(usize) -> Queries<'q> + Sync),
) {
    let AttendRows { bias, scratch, stride, out, width, alignments } = rows;
    let room = attention_scratch(stride);
    let threads = ctx.pool.threads().min(scratch.len() / room);
    let share = (out.len() / width).div_ceil(threads).max(1);
    let longest = alignments.as_ref().map_or(0, |alignments| alignments.longest);
    let mut aligned = alignments.map(|alignments| alignments.rows.chunks_mut(share * longest));

    let mut parts = heapless::Vec::<Part<'_>, MAX_THREADS>::new();
    for ((i, out), scratch) in out.chunks_mut(share * width).enumerate().zip(scratch.chunks_mut(room)) {
        let alignments = aligned.as_mut().and_then(Iterator::next);
        let pushed = parts.push(Part { first: i * share, out, scratch, alignments });
        debug_assert!(pushed.is_ok(), "a pool has at most MAX_THREADS threads");
    }
    ctx.pool.each(&mut parts, |part| {
        let (weights, biases) = part.scratch.split_at_mut(QUERY_BLOCK * stride);
        let (mut first, rows) = (0, part.out.len() / width);
        while first < rows {
            let mut queries = queries_from(part.first + first);
            queries.truncate(QUERY_BLOCK.min(rows - first));
            let Queries { mut attention, position } = queries;
            let (count, heads, keys) = (attention.queries.len(), attention.heads, attention.keys.len());
            let weights = &mut weights[..count * heads * keys];
            if let Some(bias) = bias {
                let biases = &mut biases[..count * heads * keys];
                for (i, biases) in biases.chunks_exact_mut((heads * keys).max(1)).enumerate() {
                    bias.write(ctx, position + i, keys, biases);
                }
                attention.bias = Some(biases);
            }
            ctx.kernels.attend(&attention, weights, &mut part.out[first * width..][..count * width]);
            if let Some(alignments) = &mut part.alignments {
                for (i, weights) in weights.chunks_exact((heads * keys).max(1)).enumerate() {
                    average_heads(weights, heads, &mut alignments[(first + i) * longest..][..keys]);
                }
            }
            first += count;
        }
    });
}

/// `weights` [H, n] averaged over H, to `out` [n].
fn average_heads(weights: &[f32], heads: usize, out: &mut [f32]) {
    out.fill(0.0);
    for weights in weights.chunks_exact(out.len().max(1)) {
        for (out, weight) in out.iter_mut().zip(weights) {
            *out += weight;
        }
    }
    for out in out {
        *out /= heads as f32;
    }
}
