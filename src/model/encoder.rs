//! The encoder's forward pass.

use super::buffers::Buffers;
use super::cache::Sources;
use super::embeddings::embed;
use super::spec::ModelSpec;
use super::weights::Encoder;
use crate::kernels::{Activation, Residual};
use crate::nn::{AttendRows, Attended, Biases, Context, FfnBuffers, attend_sentences};

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
    let (heads, room) = (spec.attention_heads(), buffers.attention_room);
    let Buffers { x, normed, wide, narrow, quantized, attention, memory, positions, biases, .. } = buffers;
    // Until there is a memory, its room holds the keys and values of a layer.
    let panels = &mut memory[0];
    let x = &mut x[..n * d]; // [N, D]
    embed(ctx, &encoder.side, positions, &sources.tokens, |row| sources.position(row), normed, x);
    let biases = encoder.side.relative.as_ref().map(|relative| {
        let before = sources.longest() - 1;
        let distances = 2 * before + 1;
        let all = &mut biases[..spec.heads * distances];
        relative.write(ctx, before, before, all);
        Biases { all, before, distances }
    });
    for layer in &encoder.layers {
        let block = &layer.self_attention;
        let qkv = &mut wide[..n * 3 * inner]; // [N, 3 I]
        let context = &mut narrow[..n * inner]; // [N, I]
        let input = order.enter(ctx, &block.norm, x, normed);
        block.qkv.forward(ctx, input, quantized, Activation::Identity, Residual::None, qkv);
        sources.pack(heads, qkv, 3 * inner, inner, panels);
        let rows = AttendRows { heads, scratch: attention, room, out: context, alignments: None };
        attend_sentences(ctx, rows, qkv, biases, &|row| {
            let sentence = sources.sentence_of(row);
            let (first, keys) = sources.span(sentence);
            let panels = &panels[sources.panels(heads, sentence)];
            Attended { rows: first + keys - row, panels, keys, position: row - first }
        });
        block.output.forward(ctx, context, quantized, Activation::Identity, Residual::Add, x);
        order.leave(ctx, &block.norm, x, normed);
        layer.ffn.forward(ctx, order, d, FfnBuffers { up: wide, gated: narrow, normed }, quantized, x);
    }
    if let Some(norm) = &encoder.side.final_norm {
        norm.forward_in_place(ctx, x, normed);
    }
}
