//! Scaled dot-product attention (Vaswani et al. 2017, eq. 1) of one query over the rows of a cache. Queries that share
//! keys and values are products instead: `nn/attention.rs`.

use super::lanes::dot;

/// The operands of a query's attention; n is `keys.len()`.
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
    /// Elements of a head.
    pub width: usize,
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

/// Columns of the output that are summed together.
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
    let Attention { query, keys, values, heads, width, scale, bias } = *attention;
    let n = keys.len();
    for head in 0..heads {
        let from = head * width;
        let (query, weights) = (&query[from..][..width], &mut probabilities[head * n..][..n]);
        for (i, weight) in weights.iter_mut().enumerate() {
            *weight = dot(query, keys.part(i, from, width)) * scale;
        }
        if let Some(bias) = bias {
            super::activation::add(&bias[head * n..][..n], weights);
        }
        softmax(weights);
    }
    let weights = Weights { all: probabilities, n, width };
    if width.is_multiple_of(COLUMNS) {
        let rest = write_sums::<SUMS, COLUMNS>(&values, 0, weights, out);
        write_sums::<1, COLUMNS>(&values, rest, weights, out);
    } else {
        write_sums::<1, 1>(&values, 0, weights, out);
    }
}

/// The probabilities [H, n] by column of the output, of which each head has `width`.
#[derive(Clone, Copy)]
struct Weights<'a> {
    all: &'a [f32],
    n: usize,
    width: usize,
}

/// Writes as many columns of `out` from `from` on as there are whole B times N, those of each N being of one head; gives
/// the first column that is left.
#[inline(always)]
fn write_sums<const B: usize, const N: usize>(
    values: &Rows<'_>,
    mut from: usize,
    weights: Weights<'_>,
    out: &mut [f32],
) -> usize {
    while out.len() - from >= B * N {
        let sums = weighted_sums::<B, N>(values, from, weights);
        out[from..][..B * N].copy_from_slice(sums.as_flattened());
        from += B * N;
    }
    from
}

/// The sums over i of B times N columns of `values[i]` by weight i, in the order of the rows.
#[inline(always)]
fn weighted_sums<const B: usize, const N: usize>(
    values: &Rows<'_>,
    from: usize,
    weights: Weights<'_>,
) -> [[f32; N]; B] {
    let Weights { all, n, width } = weights;
    let weights: [&[f32]; B] = core::array::from_fn(|b| &all[(from + b * N) / width * n..][..n]);
    let mut sums = [[0.0; N]; B];
    for i in 0..n {
        let (row, _) = values.part(i, from, B * N).as_chunks::<N>();
        for ((sums, weights), row) in sums.iter_mut().zip(weights).zip(row) {
            // Before the loop, so that the compiler makes vectors of it.
            let weight = weights[i];
            for (sum, value) in sums.iter_mut().zip(row) {
                *sum += weight * value;
            }
        }
    }
    sums
}
