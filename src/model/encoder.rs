//! The encoder's forward pass.

use super::buffers::Buffers;
use super::cache::Sources;
use super::embeddings::embed;
use super::spec::ModelSpec;
use super::weights::Encoder;
use crate::kernels::{Activation, Attention, Columns, Keys, Residual, RowIndex, Rows};
use crate::nn::{AttendRows, Context, FfnBuffers, Queries, attend_rows, columns_stride, to_columns};

/// Runs the encoder over the packed sources; the memory [N, D] is in the first rows of `buffers.x`.
pub(super) fn encode(
    ctx: &Context<'_>,
    spec: &ModelSpec,
    encoder: &Encoder,
    sources: &Sources,
    buffers: &mut Buffers,
) {
    let (d, inner, order) = (spec.d_model, spec.inner_width(), spec.norm_order);
    let n = sources.tokens.len();
    let stride = buffers.attention_stride;
    let Buffers { x, normed, wide, narrow, quantized, attention, memory, positions, .. } = buffers;
    // Until there is a memory, its room holds the keys of a layer.
    let keys = &mut memory[0][..columns_stride(n) * inner]; // [I, N]
    let x = &mut x[..n * d]; // [N, D]
    embed(ctx, &encoder.side, positions, &sources.tokens, |row| sources.position(row), normed, x);
    for layer in &encoder.layers {
        let block = &layer.self_attention;
        let qkv = &mut wide[..n * 3 * inner]; // [N, 3 I]
        let context = &mut narrow[..n * inner]; // [N, I]
        let input = order.enter(ctx, &block.norm, x, normed);
        block.qkv.forward(ctx, input, quantized, Activation::Identity, Residual::None, qkv);
        let rows = AttendRows {
            bias: encoder.side.relative.as_ref(),
            scratch: attention,
            stride,
            out: context,
            width: inner,
            alignments: None,
        };
        let qkv = &*qkv;
        to_columns(qkv, 3 * inner, inner, keys);
        let keys = &*keys;
        attend_rows(ctx, rows, &|row| {
            let (first, count) = sources.span(sources.sentence_of(row));
            let index = RowIndex::Range { first, count };
            let attention = Attention {
                queries: Rows {
                    data: qkv,
                    stride: 3 * inner,
                    offset: 0,
                    index: RowIndex::Range { first: row, count: first + count - row },
                },
                keys: Keys::Columns(Columns { data: keys, stride: columns_stride(n), first, count }),
                values: Rows { data: qkv, stride: 3 * inner, offset: 2 * inner, index },
                heads: spec.heads,
                width: spec.head_width,
                scale: spec.attention_scale,
                bias: None,
            };
            Queries { attention, position: row - first }
        });
        block.output.forward(ctx, context, quantized, Activation::Identity, Residual::Add, x);
        order.leave(ctx, &block.norm, x, normed);
        layer.ffn.forward(ctx, order, d, FfnBuffers { up: wide, gated: narrow, normed }, quantized, x);
    }
    if let Some(norm) = &encoder.side.final_norm {
        norm.forward_in_place(ctx, x, normed);
    }
}
