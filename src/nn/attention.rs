//! Multi-head attention.

use core::ops::Range;

use super::{Context, Linear, Norm};
use crate::kernels::{Activations, Attention, Epilogue, LANES};
use crate::tensor::{ColumnsMut, K_GROUP, Matrix, PANEL_ROWS, Panels};
use crate::threads::MAX_THREADS;

/// Queries that are computed together: what a product reads of keys and values serves all of them.
const QUERY_BLOCK: usize = 16;

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

/// What all attentions of a model have in common.
#[derive(Clone, Copy, Debug)]
pub struct Heads {
    /// H.
    pub count: usize,
    /// Elements of a head.
    pub width: usize,
    /// Factor of every query-key product, usually 1 / √width.
    pub scale: f32,
}

impl Heads {
    /// I, the elements of all heads.
    pub fn inner(&self) -> usize {
        self.count * self.width
    }

    /// Elements of a query or a key of a head, filled up with zeros to whole lanes.
    fn key_width(&self) -> usize {
        self.width.next_multiple_of(LANES)
    }

    /// Elements of the keys and of the values of `rows` rows as panels, where the sentences that the rows are of have
    /// `padded_rows` when each is filled up to whole panels.
    pub fn panel_elements(&self, rows: usize, padded_rows: usize) -> (usize, usize) {
        let product = |a: usize, b: usize| self.count.saturating_mul(a).saturating_mul(b);
        (product(self.key_width(), padded_rows), product(self.width.next_multiple_of(PANEL_ROWS), rows))
    }

    /// Keys and values of a sentence, `rows` [n, stride] with both side by side from `offset` on, as the panels of
    /// products: of each head the keys as [`Kernels::scores`](crate::kernels::Kernels::scores) takes them, and behind
    /// all of them the transposed values [width, n].
    pub fn pack(&self, rows: &[f32], stride: usize, offset: usize, panels: &mut [f32]) {
        let (width, n) = (self.width, rows.len() / stride);
        let (keys, values) = panels.split_at_mut(self.panel_elements(n, n.next_multiple_of(PANEL_ROWS)).0);
        let heads = keys.chunks_exact_mut(keys.len() / self.count);
        let heads = heads.zip(values.chunks_exact_mut(values.len() / self.count));
        for (head, (keys, values)) in heads.enumerate() {
            let key = offset + head * width;
            for (rows, panel) in
                rows.chunks(PANEL_ROWS * stride).zip(keys.chunks_exact_mut(PANEL_ROWS * self.key_width()))
            {
                for (first, four) in (0..).step_by(K_GROUP).zip(panel.chunks_exact_mut(PANEL_ROWS * K_GROUP))
                {
                    let len = width.saturating_sub(first).min(K_GROUP);
                    for (row, elements) in rows.chunks_exact(stride).zip(four.chunks_exact_mut(K_GROUP)) {
                        let (elements, rest) = elements.split_at_mut(len);
                        elements.copy_from_slice(&row[key + first..][..len]);
                        rest.fill(0.0);
                    }
                }
            }
            for (i, row) in rows.chunks_exact(stride).enumerate() {
                let value = row[key + self.inner()..][..width].chunks(PANEL_ROWS);
                for (value, panel) in value.zip(values.chunks_exact_mut(n * PANEL_ROWS)) {
                    panel[i * PANEL_ROWS..][..value.len()].copy_from_slice(value);
                }
            }
        }
    }

    /// The keys and the values of head `head` of a sentence of `n` rows.
    fn panels<'a>(&self, panels: &'a [f32], n: usize, head: usize) -> (&'a [f32], Matrix<'a>) {
        let (keys, values) = panels.split_at(self.panel_elements(n, n.next_multiple_of(PANEL_ROWS)).0);
        let [keys, values] = [keys, values].map(|all| {
            let len = all.len() / self.count;
            &all[head * len..][..len]
        });
        (keys, Matrix::new(self.width, n, Panels::F32(values)).expect("panels of one head"))
    }
}

/// The rows of one attention call and their buffers.
pub struct AttendRows<'a> {
    /// What the rows are divided into.
    pub heads: Heads,
    /// Room for each thread, [`attention_scratch`] of the most keys.
    pub scratch: &'a mut [f32],
    /// How much of it a thread has.
    pub room: usize,
    /// The context rows [M, I].
    pub out: &'a mut [f32],
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
    rows: Range<usize>,
    out: &'a mut [f32],
    scratch: &'a mut [f32],
    alignments: Option<&'a mut [f32]>,
}

/// Values that a thread has room for, where a row has at most `keys` keys.
pub fn attention_scratch(heads: Heads, keys: usize) -> usize {
    let block = keys.saturating_add(heads.key_width()).saturating_mul(QUERY_BLOCK);
    keys.saturating_mul(heads.count).max(block)
}

impl AttendRows<'_> {
    /// Has the threads of `ctx` do `work`, each with a part of the rows.
    fn each(self, ctx: &Context<'_>, work: impl Fn(&mut Part<'_>) + Sync) {
        let Self { heads, scratch, room, out, alignments } = self;
        let threads = ctx.pool.threads().min(scratch.len() / room);
        let rows = out.len() / heads.inner();
        let share = rows.div_ceil(threads).max(1);
        let mut alignments = alignments.map(|all| all.rows.chunks_mut(share * all.longest));
        let mut parts = heapless::Vec::<Part<'_>, MAX_THREADS>::new();
        let shares = out.chunks_mut(share * heads.inner()).zip(scratch.chunks_mut(room));
        for (i, (out, scratch)) in shares.enumerate() {
            let rows = i * share..rows.min((i + 1) * share);
            let alignments = alignments.as_mut().and_then(Iterator::next);
            let pushed = parts.push(Part { rows, out, scratch, alignments });
            debug_assert!(pushed.is_ok(), "a pool has at most MAX_THREADS threads");
        }
        ctx.pool.each(&mut parts, work);
    }
}

/// Attention of every row of `rows.out` over rows of a cache that are its own: `query` gives a row's.
pub fn attend_history<'q>(
    ctx: &Context<'_>,
    rows: AttendRows<'_>,
    query: impl Fn(usize) -> Attention<'q> + Sync,
) {
    let inner = rows.heads.inner();
    rows.each(ctx, |part| {
        for (row, out) in part.rows.clone().zip(part.out.chunks_exact_mut(inner)) {
            let attention = query(row);
            let weights = &mut part.scratch[..attention.heads * attention.keys.len()];
            ctx.kernels.attend(&attention, weights, out);
        }
    });
}

/// The sentence that a row attends to.
pub struct Attended<'a> {
    /// How many rows, from this one on, attend to it.
    pub rows: usize,
    /// Its keys and values: [`Heads::pack`].
    pub panels: &'a [f32],
    /// How many.
    pub keys: usize,
    /// Position of the row in it.
    pub position: usize,
}

/// Attention of every row of `rows.out` over whole sentences: `queries` [M, stride] has a row's query from `offset` on,
/// `sentence` gives what it attends to, and `biases` are those of the scores.
pub fn attend_sentences<'q>(
    ctx: &Context<'_>,
    rows: AttendRows<'_>,
    queries: &[f32],
    biases: Option<Biases<'_>>,
    sentence: &(dyn Fn(usize) -> Attended<'q> + Sync),
) {
    let (heads, inner) = (rows.heads, rows.heads.inner());
    let stride = queries.len() / (rows.out.len() / inner).max(1);
    let longest = rows.alignments.as_ref().map_or(0, |alignments| alignments.longest);
    rows.each(ctx, |part| {
        let Range { start, end } = part.rows;
        let mut row = start;
        while row < end {
            let attended = sentence(row);
            let count = attended.rows.min(end - row).min(QUERY_BLOCK);
            let mut block = Block {
                heads,
                queries: &queries[row * stride..],
                stride,
                attended,
                biases,
                out: &mut part.out[(row - start) * inner..][..count * inner],
                alignments: part.alignments.as_mut().map(|rows| &mut rows[(row - start) * longest..]),
                longest,
            };
            block.attend(ctx, part.scratch);
            row += count;
        }
    });
}

/// Biases of scores by the distance from a query to a key.
#[derive(Clone, Copy)]
pub struct Biases<'a> {
    /// [H, distances], the nearest before and behind in the middle.
    pub all: &'a [f32],
    /// Distances before the one of 0.
    pub before: usize,
    /// Distances of a head.
    pub distances: usize,
}

impl<'a> Biases<'a> {
    /// Those of the query at `position` towards `keys` keys that start at position 0.
    fn of(&self, head: usize, position: usize, keys: usize) -> &'a [f32] {
        &self.all[head * self.distances + self.before - position..][..keys]
    }
}

/// Queries that attend to the same.
struct Block<'a> {
    heads: Heads,
    queries: &'a [f32],
    stride: usize,
    attended: Attended<'a>,
    biases: Option<Biases<'a>>,
    out: &'a mut [f32],
    alignments: Option<&'a mut [f32]>,
    longest: usize,
}

impl Block<'_> {
    fn attend(&mut self, ctx: &Context<'_>, scratch: &mut [f32]) {
        let Heads { count, width, scale } = self.heads;
        let Attended { panels, keys: n, position, .. } = self.attended;
        let m = self.out.len() / self.heads.inner();
        let key_width = self.heads.key_width();
        let (query, scores) = scratch.split_at_mut(m * key_width);
        let scores = &mut scores[..m * n]; // [M, n]
        let mut out = ColumnsMut::new(self.out, self.heads.inner());
        for head in 0..count {
            for (query, row) in query.chunks_exact_mut(key_width).zip(self.queries.chunks(self.stride)) {
                let (elements, rest) = query.split_at_mut(width);
                elements.copy_from_slice(&row[head * width..][..width]);
                rest.fill(0.0);
            }
            let (keys, values) = self.heads.panels(panels, n, head);
            ctx.kernels.scores(query, keys, key_width, ColumnsMut::new(scores, n));
            scores.iter_mut().for_each(|score| *score *= scale);
            if let Some(biases) = &self.biases {
                for (i, scores) in scores.chunks_exact_mut(n).enumerate() {
                    ctx.kernels.add(biases.of(head, position + i, n), scores);
                }
            }
            scores.chunks_exact_mut(n).for_each(|scores| ctx.kernels.softmax(scores));
            if let Some(alignments) = &mut self.alignments {
                average(scores, n, head, count, alignments, self.longest);
            }
            let (columns, rest) = out.split_at(width);
            out = rest;
            let rows = Activations::F32 { rows: scores };
            ctx.kernels.gemm(rows, &values, &Epilogue::NONE, 0..values.panels(), columns);
        }
    }
}

/// Adds the weights [M, n] of head `head` of `heads` to the rows of `out` [M, longest]; the last makes them an average.
fn average(weights: &[f32], n: usize, head: usize, heads: usize, out: &mut [f32], longest: usize) {
    for (weights, out) in weights.chunks_exact(n).zip(out.chunks_mut(longest)) {
        for (out, weight) in out.iter_mut().zip(weights) {
            let sum = if head == 0 { *weight } else { *out + weight };
            *out = if head + 1 == heads { sum / heads as f32 } else { sum };
        }
    }
}
