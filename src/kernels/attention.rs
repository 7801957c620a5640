//! Scaled dot-product attention of one query row (Vaswani et al. 2017, eq. 1), all heads.

use super::lanes::{LANES, dot};
use super::softmax::softmax;

/// The operands of one attention; n is `keys.len()`.
#[derive(Clone, Copy, Debug)]
pub struct Attention<'a> {
    /// \[H * width\].
    pub query: &'a [f32],
    /// n rows of \[H * width\].
    pub keys: Rows<'a>,
    /// n rows of \[H * width\].
    pub values: Rows<'a>,
    /// H.
    pub heads: usize,
    /// Factor of every query-key product, usually 1 / √width.
    pub scale: f32,
    /// Added to the scaled products, [H, n]: relative positions, or -infinity where attention is masked.
    pub bias: Option<&'a [f32]>,
}

/// Rows somewhere in a buffer: row i is `data[index(i) * stride + offset ..]`.
#[derive(Clone, Copy, Debug)]
pub struct Rows<'a> {
    /// The buffer.
    pub data: &'a [f32],
    /// Elements from one position to the next.
    pub stride: usize,
    /// Elements before a row within its position.
    pub offset: usize,
    /// Which positions.
    pub index: RowIndex<'a>,
}

/// Which positions of a buffer are rows.
#[derive(Clone, Copy, Debug)]
pub enum RowIndex<'a> {
    /// `count` positions from `first` on.
    Range {
        /// The first position.
        first: usize,
        /// How many.
        count: usize,
    },
    /// The listed positions, in this order: a cache that is indexed by ancestry.
    List(&'a [u32]),
}

impl<'a> Rows<'a> {
    /// Number of rows.
    pub fn len(&self) -> usize {
        match self.index {
            RowIndex::Range { count, .. } => count,
            RowIndex::List(list) => list.len(),
        }
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Elements `[from, from + width)` of row `i`.
    ///
    /// # Panics
    /// If they are not inside the buffer.
    #[inline(always)]
    pub fn part(&self, i: usize, from: usize, width: usize) -> &'a [f32] {
        let position = match self.index {
            RowIndex::Range { first, .. } => first + i,
            RowIndex::List(list) => list[i] as usize,
        };
        &self.data[position * self.stride + self.offset + from..][..width]
    }
}

/// Columns of the output that are summed in registers at a time.
const COLUMNS: usize = 4 * LANES;

#[inline(always)]
pub(super) fn attend(attention: &Attention<'_>, probabilities: &mut [f32], out: &mut [f32]) {
    let Attention { query, keys, values, heads, scale, bias } = *attention;
    let (n, width) = (keys.len(), query.len() / heads);
    for head in 0..heads {
        let from = head * width;
        let weights = &mut probabilities[head * n..][..n];
        for (i, weight) in weights.iter_mut().enumerate() {
            *weight = dot(&query[from..][..width], keys.part(i, from, width)) * scale;
        }
        if let Some(bias) = bias {
            super::activation::add(&bias[head * n..][..n], weights);
        }
        softmax(weights);
        let (blocks, rest) = out[from..][..width].as_chunks_mut::<COLUMNS>();
        for (b, block) in blocks.iter_mut().enumerate() {
            let mut sums = [0.0; COLUMNS];
            weighted_sum(weights, &values, from + b * COLUMNS, &mut sums);
            *block = sums;
        }
        rest.fill(0.0);
        weighted_sum(weights, &values, from + blocks.len() * COLUMNS, rest);
    }
}

/// Adds `sum over i of weights[i] * values[i][from..]` to `out`, in the order of the rows.
#[inline(always)]
fn weighted_sum(weights: &[f32], values: &Rows<'_>, from: usize, out: &mut [f32]) {
    for (i, weight) in weights.iter().enumerate() {
        let row = values.part(i, from, out.len());
        for (out, value) in out.iter_mut().zip(row) {
            *out += weight * value;
        }
    }
}
