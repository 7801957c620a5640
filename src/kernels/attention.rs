//! Scaled dot-product attention of one query row (Vaswani et al. 2017, eq. 1), all heads.

use super::lanes::{LANES, combine, dot};
use super::softmax::softmax;

/// The operands of one attention; n is `keys.len()`.
#[derive(Clone, Copy, Debug)]
pub struct Attention<'a> {
    /// \[H * width\].
    pub query: &'a [f32],
    /// n keys of \[H * width\].
    pub keys: Keys<'a>,
    /// n rows of \[H * width\].
    pub values: Rows<'a>,
    /// H.
    pub heads: usize,
    /// Factor of every query-key product, usually 1 / √width.
    pub scale: f32,
    /// Added to the scaled products, [H, n]: relative positions, or -infinity where attention is masked.
    pub bias: Option<&'a [f32]>,
}

/// The keys of an attention. Their layout changes the speed, never a bit.
#[derive(Clone, Copy, Debug)]
pub enum Keys<'a> {
    /// A row for each key: as a cache grows.
    Rows(Rows<'a>),
    /// A column for each key: eight of them are multiplied at once, without a sum across lanes.
    Columns(Columns<'a>),
}

impl Keys<'_> {
    /// Number of keys.
    pub fn len(&self) -> usize {
        match self {
            Self::Rows(rows) => rows.len(),
            Self::Columns(columns) => columns.count,
        }
    }

    /// Whether there are no keys.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Columns of a buffer with a row for each dimension: element d of column i is `data[d * stride + first + i]`.
#[derive(Clone, Copy, Debug)]
pub struct Columns<'a> {
    /// The buffer.
    pub data: &'a [f32],
    /// Elements from one row to the next.
    pub stride: usize,
    /// The first column.
    pub first: usize,
    /// How many.
    pub count: usize,
}

impl<'a> Columns<'a> {
    /// Element `d` of the columns from `i` on.
    #[inline(always)]
    fn from(&self, d: usize, i: usize) -> &'a [f32] {
        &self.data[d * self.stride + self.first + i..]
    }
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
        let query = &query[from..][..width];
        match &keys {
            Keys::Rows(keys) => {
                for (i, weight) in weights.iter_mut().enumerate() {
                    *weight = dot(query, keys.part(i, from, width));
                }
            }
            Keys::Columns(keys) => dot_columns(query, keys, from, weights),
        }
        weights.iter_mut().for_each(|weight| *weight *= scale);
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

/// The products of `query` with elements `[from, from + query.len())` of every column.
#[inline(always)]
fn dot_columns(query: &[f32], keys: &Columns<'_>, from: usize, out: &mut [f32]) {
    let (blocks, rest) = out.as_chunks_mut::<LANES>();
    let done = blocks.len() * LANES;
    for (b, block) in blocks.iter_mut().enumerate() {
        *block = dot_block(query, keys, from, b * LANES);
    }
    for (i, out) in rest.iter_mut().enumerate() {
        [*out] = dot_block(query, keys, from, done + i);
    }
}

/// The products of `query` with N columns from `first` on, each summed as [`dot`] sums.
#[inline(always)]
fn dot_block<const N: usize>(query: &[f32], keys: &Columns<'_>, from: usize, first: usize) -> [f32; N] {
    let mut lanes = [[0.0; N]; LANES];
    let add = |lane: &mut [f32; N], d: usize, query: f32| {
        let keys = &keys.from(from + d, first)[..N];
        for n in 0..N {
            lane[n] += query * keys[n];
        }
    };
    let (chunks, rest) = query.as_chunks::<LANES>();
    for (c, chunk) in chunks.iter().enumerate() {
        for l in 0..LANES {
            add(&mut lanes[l], c * LANES + l, chunk[l]);
        }
    }
    for (l, &query) in rest.iter().enumerate() {
        add(&mut lanes[l], chunks.len() * LANES + l, query);
    }
    core::array::from_fn(|n| combine(lanes.map(|lane| lane[n]), |a, b| a + b))
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
