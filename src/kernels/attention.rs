//! Scaled dot-product attention of one query row (Vaswani et al. 2017, eq. 1), all heads.

use super::lanes::{LANES, dot};
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
    /// A column for each key: up to sixteen of them are multiplied at once, without a sum across lanes.
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

    /// Elements `[from, from + width)` of the row at `position`.
    #[inline(always)]
    fn at(&self, position: usize, from: usize, width: usize) -> &'a [f32] {
        &self.data[position * self.stride + self.offset + from..][..width]
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
        self.at(position, from, width)
    }
}

/// Columns of the output that are summed together: they are of one head.
const BLOCK: usize = 16;
/// Blocks whose sums are independent, so that additions need not wait for each other.
const BLOCKS: usize = 4;

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
    }
    let weights = Weights { all: probabilities, n, width };
    if !width.is_multiple_of(BLOCK) {
        for (column, out) in out.iter_mut().enumerate() {
            [[*out]] = weighted_sums(&values, column, weights);
        }
        return;
    }
    let (blocks, _) = out.as_chunks_mut::<BLOCK>();
    let (groups, rest) = blocks.as_chunks_mut::<BLOCKS>();
    let mut from = 0;
    for group in groups {
        *group = weighted_sums(&values, from, weights);
        from += BLOCKS * BLOCK;
    }
    for block in rest {
        [*block] = weighted_sums(&values, from, weights);
        from += BLOCK;
    }
}

/// The products of `query` with elements `[from, from + query.len())` of every column.
#[inline(always)]
fn dot_columns(query: &[f32], keys: &Columns<'_>, from: usize, out: &mut [f32]) {
    let (blocks, rest) = out.as_chunks_mut::<{ 2 * LANES }>();
    let mut first = 0;
    for block in blocks {
        *block = dot_block(query, keys, from, first);
        first += block.len();
    }
    let (blocks, rest) = rest.as_chunks_mut::<LANES>();
    for block in blocks {
        *block = dot_block(query, keys, from, first);
        first += block.len();
    }
    for out in rest {
        [*out] = dot_block(query, keys, from, first);
        first += 1;
    }
}

/// The products of `query` with N columns from `first` on, each summed as [`dot`] sums: in the order of
/// [`combine`](super::lanes::combine).
#[inline(always)]
fn dot_block<const N: usize>(query: &[f32], keys: &Columns<'_>, from: usize, first: usize) -> [f32; N] {
    let block = Block { query, keys, from, first };
    add(add(block.lanes(0, 4), block.lanes(2, 6)), add(block.lanes(1, 5), block.lanes(3, 7)))
}

/// The operands of [`dot_block`].
#[derive(Clone, Copy)]
struct Block<'a> {
    query: &'a [f32],
    keys: &'a Columns<'a>,
    from: usize,
    first: usize,
}

impl Block<'_> {
    /// The sums of lane `l`.
    #[inline(always)]
    fn lane<const N: usize>(self, l: usize) -> [f32; N] {
        let mut sums = [0.0; N];
        let mut d = l;
        while d < self.query.len() {
            let (query, keys) = (self.query[d], &self.keys.from(self.from + d, self.first)[..N]);
            for n in 0..N {
                sums[n] += query * keys[n];
            }
            d += LANES;
        }
        sums
    }

    #[inline(always)]
    fn lanes<const N: usize>(self, a: usize, b: usize) -> [f32; N] {
        add(self.lane(a), self.lane(b))
    }
}

#[inline(always)]
fn add<const N: usize>(mut a: [f32; N], b: [f32; N]) -> [f32; N] {
    for n in 0..N {
        a[n] += b[n];
    }
    a
}

/// The probabilities [H, n] by column of the output, of which each head has `width`.
#[derive(Clone, Copy)]
struct Weights<'a> {
    all: &'a [f32],
    n: usize,
    width: usize,
}

/// B times N columns from `from` on, those of each N being of one head: the sums over i of `values[i]` by the head's
/// weight i, in the order of the rows.
#[inline(always)]
fn weighted_sums<const B: usize, const N: usize>(
    values: &Rows<'_>,
    from: usize,
    weights: Weights<'_>,
) -> [[f32; N]; B] {
    let mut heads = [&weights.all[..0]; B];
    for (b, head) in heads.iter_mut().enumerate() {
        *head = &weights.all[(from + b * N) / weights.width * weights.n..][..weights.n];
    }
    let mut sums = [[0.0; N]; B];
    match values.index {
        RowIndex::Range { first, .. } => {
            for i in 0..weights.n {
                add_weighted(&mut sums, heads, i, values.at(first + i, from, B * N));
            }
        }
        RowIndex::List(list) => {
            for (i, &position) in list.iter().enumerate() {
                add_weighted(&mut sums, heads, i, values.at(position as usize, from, B * N));
            }
        }
    }
    sums
}

/// Adds `row` [B * N], by weight `i` of each of the B heads.
#[inline(always)]
fn add_weighted<const B: usize, const N: usize>(
    sums: &mut [[f32; N]; B],
    heads: [&[f32]; B],
    i: usize,
    row: &[f32],
) {
    for b in 0..B {
        let (weight, row) = (heads[b][i], &row[b * N..][..N]);
        for n in 0..N {
            sums[b][n] += weight * row[n];
        }
    }
}
