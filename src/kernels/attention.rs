//! Scaled dot-product attention (Vaswani et al. 2017, eq. 1), all heads, of query rows that share keys and values.

use super::lanes::{LANES, combine, dot};

/// Query rows that are computed together, where there are as many: what a block reads of keys and values serves all of
/// its rows.
pub const QUERY_BLOCK: usize = 4;

/// The operands of an attention of M queries; n is `keys.len()`.
#[derive(Clone, Copy, Debug)]
pub struct Attention<'a> {
    /// M rows of \[H * width\].
    pub queries: Rows<'a>,
    /// n keys of \[H * width\].
    pub keys: Keys<'a>,
    /// n rows of \[H * width\].
    pub values: Rows<'a>,
    /// H.
    pub heads: usize,
    /// Elements of a head.
    pub width: usize,
    /// Factor of every query-key product, usually 1 / √width.
    pub scale: f32,
    /// Added to the scaled products, [M, H, n]: relative positions, or -infinity where attention is masked.
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
const COLUMNS: usize = 16;
/// Sums of that many columns which do not wait for each other's additions.
const SUMS: usize = 4;

/// Calls `softmax`, the instruction set's, so that its code is there once.
#[inline(always)]
pub(super) fn attend(
    attention: &Attention<'_>,
    softmax: fn(&mut [f32]),
    probabilities: &mut [f32],
    out: &mut [f32],
) {
    let Attention { queries, keys, heads, width, .. } = attention;
    let (weights, inner) = (heads * keys.len(), heads * width);
    let mut first = 0;
    while first < queries.len() {
        let whole = queries.len() - first >= QUERY_BLOCK;
        let count = if whole { QUERY_BLOCK } else { 1 };
        let probabilities = &mut probabilities[first * weights..][..count * weights];
        let out = &mut out[first * inner..][..count * inner];
        if whole {
            attend_block::<QUERY_BLOCK>(attention, first, softmax, probabilities, out);
        } else {
            attend_block::<1>(attention, first, softmax, probabilities, out);
        }
        first += count;
    }
}

/// The Q rows from `first` on: `probabilities` [Q, H, n], `out` \[Q, H * width\].
#[inline(always)]
fn attend_block<const Q: usize>(
    attention: &Attention<'_>,
    first: usize,
    softmax: fn(&mut [f32]),
    probabilities: &mut [f32],
    out: &mut [f32],
) {
    let Attention { queries, keys, values, heads, width, scale, bias } = *attention;
    let n = keys.len();
    for head in 0..heads {
        let from = head * width;
        let queries: [&[f32]; Q] = core::array::from_fn(|q| queries.part(first + q, from, width));
        if let Keys::Columns(keys) = &keys {
            dot_columns(queries, keys, from, |q, i, products| {
                probabilities[(q * heads + head) * n + i..][..products.len()].copy_from_slice(products);
            });
        }
        for (q, query) in queries.into_iter().enumerate() {
            let weights = &mut probabilities[(q * heads + head) * n..][..n];
            if let Keys::Rows(keys) = &keys {
                for (i, weight) in weights.iter_mut().enumerate() {
                    *weight = dot(query, keys.part(i, from, width));
                }
            }
            weights.iter_mut().for_each(|weight| *weight *= scale);
            if let Some(bias) = bias {
                super::activation::add(&bias[((first + q) * heads + head) * n..][..n], weights);
            }
            softmax(weights);
        }
    }
    let weights = Weights { all: probabilities, heads, n, width };
    if !width.is_multiple_of(COLUMNS) {
        write_sums::<Q, 1, 1>(&values, 0, weights, out);
    } else if Q == 1 {
        let rest = write_sums::<Q, SUMS, COLUMNS>(&values, 0, weights, out);
        write_sums::<Q, 1, COLUMNS>(&values, rest, weights, out);
    } else {
        write_sums::<Q, 1, COLUMNS>(&values, 0, weights, out);
    }
}

/// The products of the queries with elements `[from, from + width)` of every column. `write` gets those of query q with
/// some columns from i on.
#[inline(always)]
fn dot_columns<const Q: usize>(
    queries: [&[f32]; Q],
    keys: &Columns<'_>,
    from: usize,
    mut write: impl FnMut(usize, usize, &[f32]),
) {
    let mut first = 0;
    while keys.count - first >= 2 * LANES {
        dot_block::<Q, { 2 * LANES }>(queries, keys, from, first, &mut write);
        first += 2 * LANES;
    }
    while keys.count - first >= LANES {
        dot_block::<Q, LANES>(queries, keys, from, first, &mut write);
        first += LANES;
    }
    while first < keys.count {
        dot_block::<Q, 1>(queries, keys, from, first, &mut write);
        first += 1;
    }
}

/// The products with N columns from `first` on, each summed as [`dot`] sums: in the order of
/// [`combine`].
#[inline(always)]
fn dot_block<const Q: usize, const N: usize>(
    queries: [&[f32]; Q],
    keys: &Columns<'_>,
    from: usize,
    first: usize,
    write: &mut impl FnMut(usize, usize, &[f32]),
) {
    let mut lanes = [[[0.0; N]; Q]; LANES];
    for (l, sums) in lanes.iter_mut().enumerate() {
        *sums = dot_lane(queries, keys, (from, first), l);
    }
    let product = |q: usize, n: usize| combine(core::array::from_fn(|l| lanes[l][q][n]), |a, b| a + b);
    (0..Q).for_each(|q| write(q, first, &core::array::from_fn::<f32, N, _>(|n| product(q, n))));
}

/// The sums of lane `l`: of the elements l, l + 8, ... of every head.
#[inline(always)]
fn dot_lane<const Q: usize, const N: usize>(
    queries: [&[f32]; Q],
    keys: &Columns<'_>,
    (from, first): (usize, usize),
    l: usize,
) -> [[f32; N]; Q] {
    let mut sums = [[0.0; N]; Q];
    let mut d = l;
    while d < queries[0].len() {
        let keys = &keys.from(from + d, first)[..N];
        for (sums, query) in sums.iter_mut().zip(queries) {
            for n in 0..N {
                sums[n] += query[d] * keys[n];
            }
        }
        d += LANES;
    }
    sums
}

/// The probabilities [Q, H, n] by column of the output, of which each head has `width`.
#[derive(Clone, Copy)]
struct Weights<'a> {
    all: &'a [f32],
    heads: usize,
    n: usize,
    width: usize,
}

impl<'a> Weights<'a> {
    /// Those of query `q` for the head of `column`.
    #[inline(always)]
    fn at(self, q: usize, column: usize) -> &'a [f32] {
        &self.all[(q * self.heads + column / self.width) * self.n..][..self.n]
    }
}

/// Writes as many columns of `out` [Q, H * width] from `from` on as there are whole B times N, those of each N being of
/// one head; gives the first column that is left.
#[inline(always)]
fn write_sums<const Q: usize, const B: usize, const N: usize>(
    values: &Rows<'_>,
    mut from: usize,
    weights: Weights<'_>,
    out: &mut [f32],
) -> usize {
    let inner = weights.heads * weights.width;
    while inner - from >= B * N {
        let sums = weighted_sums::<Q, B, N>(values, from, weights);
        for (q, sums) in sums.iter().enumerate() {
            out[q * inner + from..][..B * N].copy_from_slice(sums.as_flattened());
        }
        from += B * N;
    }
    from
}

/// For each query, the sums over i of B times N columns of `values[i]` by weight i, in the order of the rows.
#[inline(always)]
fn weighted_sums<const Q: usize, const B: usize, const N: usize>(
    values: &Rows<'_>,
    from: usize,
    weights: Weights<'_>,
) -> [[[f32; N]; B]; Q] {
    let weights: [[&[f32]; B]; Q] =
        core::array::from_fn(|q| core::array::from_fn(|b| weights.at(q, from + b * N)));
    let mut sums = [[[0.0; N]; B]; Q];
    match values.index {
        RowIndex::Range { first, count } => {
            for i in 0..count {
                add_weighted(&mut sums, &weights, i, values.at(first + i, from, B * N));
            }
        }
        RowIndex::List(list) => {
            for (i, &position) in list.iter().enumerate() {
                add_weighted(&mut sums, &weights, i, values.at(position as usize, from, B * N));
            }
        }
    }
    sums
}

/// Adds `row` [B * N] by weight `i` of each query and of each of the B heads.
#[inline(always)]
fn add_weighted<const Q: usize, const B: usize, const N: usize>(
    sums: &mut [[[f32; N]; B]; Q],
    weights: &[[&[f32]; B]; Q],
    i: usize,
    row: &[f32],
) {
    for q in 0..Q {
        for b in 0..B {
            let (weight, row) = (weights[q][b][i], &row[b * N..][..N]);
            for n in 0..N {
                sums[q][b][n] += weight * row[n];
            }
        }
    }
}
