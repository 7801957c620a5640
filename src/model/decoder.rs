//! One step of the decoder.

use super::buffers::Buffers;
use super::cache::{Hypotheses, Sources};
use super::embeddings::embed;
use super::spec::ModelSpec;
use super::weights::{Decoder, History};
use crate::kernels::{Activation, Attention, Residual, RowIndex, Rows};
use crate::nn::{
    Alignments, AttendRows, Attended, Context, CrossAttention, FfnBuffers, Norm, SelfAttention, Ssru,
    SsruRows, attend_history, attend_sentences,
};

/// Keys and values of the memory, for every layer of the decoder: computed once a batch from `buffers.x` [N, D].
pub(super) fn remember(
    ctx: &Context<'_>,
    spec: &ModelSpec,
    decoder: &Decoder,
    sources: &Sources,
    buffers: &mut Buffers,
) {
    let Buffers { x, quantized, wide, memory, .. } = buffers;
    let (n, inner) = (sources.tokens.len(), spec.inner_width());
    let (x, both) = (&x[..n * spec.d_model], &mut wide[..n * 2 * inner]); // [N, 2 I]
    for (layer, memory) in decoder.layers.iter().zip(memory) {
        let projection = &layer.cross_attention.key_value;
        projection.forward(ctx, x, quantized, Activation::Identity, Residual::None, both);
        sources.pack(spec.attention_heads(), both, 2 * inner, 0, memory);
    }
}

/// What all layers of one step share.
struct Step<'a> {
    ctx: &'a Context<'a>,
    spec: &'a ModelSpec,
    decoder: &'a Decoder,
    sources: &'a Sources,
    hypotheses: &'a Hypotheses,
}

/// Feeds `tokens` \[M\] to the hypotheses; what the output projection takes of them is in the first rows of `buffers.x`.
pub(super) fn step(
    ctx: &Context<'_>,
    spec: &ModelSpec,
    decoder: &Decoder,
    sources: &Sources,
    hypotheses: &Hypotheses,
    tokens: &[u32],
    buffers: &mut Buffers,
) {
    let (d, m) = (spec.d_model, tokens.len());
    let step = Step { ctx, spec, decoder, sources, hypotheses };

    let Buffers { x, normed, positions, biases, .. } = &mut *buffers;
    let (x, position) = (&mut x[..m * d], hypotheses.position()); // [M, D]
    embed(ctx, &decoder.side, positions, tokens, |_| position, normed, x);
    if let Some(relative) = &decoder.side.relative {
        relative.write(ctx, position, 0, &mut biases[..spec.heads * (position + 1)]);
    }
    for (i, layer) in decoder.layers.iter().enumerate() {
        match &layer.history {
            History::SelfAttention(block) => step.self_attention(block, i, m, buffers),
            History::Ssru(ssru, norm) => step.ssru(ssru, norm, i, m, buffers),
        }
        step.cross_attention(&layer.cross_attention, i, m, buffers);
        let Buffers { x, normed, wide, narrow, quantized, .. } = buffers;
        let ffn = FfnBuffers { up: wide, gated: narrow, normed };
        layer.ffn.forward(ctx, spec.norm_order, d, ffn, quantized, &mut x[..m * d]);
    }
    let Buffers { x, normed, .. } = buffers;
    let x = &mut x[..m * d];
    if let Some(norm) = &decoder.side.final_norm {
        norm.forward_in_place(ctx, x, normed);
    }
    if spec.output_scale != 1.0 {
        x.iter_mut().for_each(|x| *x *= spec.output_scale);
    }
}

impl Step<'_> {
    fn self_attention(&self, block: &SelfAttention, layer: usize, m: usize, buffers: &mut Buffers) {
        let Self { ctx, spec, hypotheses, .. } = self;
        let (d, inner, order) = (spec.d_model, spec.inner_width(), spec.norm_order);
        let room = buffers.attention_room;
        let Buffers { x, normed, wide, narrow, quantized, attention, biases, history, .. } = buffers;
        let (x, qkv, context) = (&mut x[..m * d], &mut wide[..m * 3 * inner], &mut narrow[..m * inner]);
        let input = order.enter(ctx, &block.norm, x, normed);
        block.qkv.forward(ctx, input, quantized, Activation::Identity, Residual::None, qkv);

        let history = &mut history[layer]; // [slots, 2 I]
        for (row, qkv) in qkv.chunks_exact(3 * inner).enumerate() {
            history[hypotheses.slot(row) * 2 * inner..][..2 * inner].copy_from_slice(&qkv[inner..]);
        }
        let relative = self.decoder.side.relative.as_ref();
        let bias = relative.map(|_| &biases[..spec.heads * (hypotheses.position() + 1)]);
        let (qkv, history) = (&*qkv, &**history);
        let heads = spec.attention_heads();
        let rows = AttendRows { heads, scratch: attention, room, out: context, alignments: None };
        attend_history(ctx, rows, |row| {
            let index = RowIndex::List(hypotheses.ancestry(row));
            let part = |offset| Rows { data: history, stride: 2 * inner, offset, index };
            Attention {
                query: &qkv[row * 3 * inner..][..inner],
                keys: part(0),
                values: part(inner),
                heads: spec.heads,
                width: spec.head_width,
                scale: spec.attention_scale,
                bias,
            }
        });
        block.output.forward(ctx, context, quantized, Activation::Identity, Residual::Add, x);
        order.leave(ctx, &block.norm, x, normed);
    }

    fn ssru(&self, ssru: &Ssru, norm: &Norm, layer: usize, m: usize, buffers: &mut Buffers) {
        let Self { ctx, spec, hypotheses, .. } = self;
        let d = spec.d_model;
        let Buffers { x, normed, wide, narrow, quantized, history, .. } = buffers;
        let (x, hidden) = (&mut x[..m * d], &mut narrow[..m * d]);
        let (forget, candidate) = wide[..2 * m * d].split_at_mut(m * d);
        let history = &mut history[layer]; // [2, R, D]
        let half = history.len() / 2;
        let (even, odd) = history.split_at_mut(half);
        let (cells, next_cells) = if hypotheses.position() % 2 == 0 { (odd, even) } else { (even, odd) };
        if hypotheses.position() == 0 {
            cells.fill(0.0);
        }
        let parents = hypotheses.parents();
        let input = spec.norm_order.enter(ctx, norm, x, normed);
        let rows = SsruRows { cells, parents, next_cells, forget, candidate, hidden };
        ssru.forward(ctx, input, d, quantized, rows);
        ctx.kernels.add(hidden, x);
        spec.norm_order.leave(ctx, norm, x, normed);
    }

    fn cross_attention(&self, block: &CrossAttention, layer: usize, m: usize, buffers: &mut Buffers) {
        let Self { ctx, spec, sources, hypotheses, .. } = self;
        let (d, inner, order) = (spec.d_model, spec.inner_width(), spec.norm_order);
        let (heads, room) = (spec.attention_heads(), buffers.attention_room);
        let Buffers { x, normed, wide, narrow, quantized, attention, memory, alignments, .. } = buffers;
        let (x, query, context) = (&mut x[..m * d], &mut wide[..m * inner], &mut narrow[..m * inner]);
        let input = order.enter(ctx, &block.norm, x, normed);
        block.query.forward(ctx, input, quantized, Activation::Identity, Residual::None, query);

        let keep = layer + 1 == self.decoder.layers.len() && !alignments.is_empty();
        let longest = sources.capacity;
        let alignments = keep.then(|| Alignments { rows: &mut alignments[..m * longest], longest });
        let rows = AttendRows { heads, scratch: attention, room, out: context, alignments };
        attend_sentences(ctx, rows, query, None, &|row| {
            let sentence = hypotheses.sentence(row);
            let (rows, (_, keys)) = (hypotheses.rows_beside(row), sources.span(sentence));
            Attended { rows, panels: &memory[layer][sources.panels(heads, sentence)], keys, position: 0 }
        });
        block.output.forward(ctx, context, quantized, Activation::Identity, Residual::Add, x);
        order.leave(ctx, &block.norm, x, normed);
    }
}
