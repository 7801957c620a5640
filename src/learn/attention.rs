//! Attention and its gradient.
//!
//! Of one head, with scores s_j = scale q·k_j + b_j, probabilities p = softmax(s) and the context c = Σ p_j v_j
//! (Vaswani et al. 2017, eq. 1), and the gradient g of c:
//!
//! ```text
//! dv_j += p_j g        dp_j = g·v_j        ds_j = p_j (dp_j - Σ_i p_i dp_i)
//! dq = scale Σ ds_j k_j        dk_j += scale ds_j q        db_j = ds_j
//! ```

use core::ops::Range;

use super::network::Network;
use super::parameters::Gradients;
use crate::kernels::{Attention, RowIndex, Rows};
use crate::nn::{Direction, RelativeBias, distance_bucket};

/// Which rows attend to which.
#[derive(Clone, Copy)]
pub struct Sight<'a> {
    /// The rows of each sentence's queries.
    pub queries: &'a [Range<usize>],
    /// The rows of its keys and values.
    pub keys: &'a [Range<usize>],
    /// Whether a query sees keys behind its own position.
    pub direction: Direction,
    /// A bias on the scores.
    pub bias: Option<&'a RelativeBias>,
}

/// Queries, keys and values, or their gradients: rows of I values.
pub struct Heads {
    /// [M, I].
    pub query: Vec<f32>,
    /// [N, I].
    pub key: Vec<f32>,
    /// [N, I].
    pub value: Vec<f32>,
}

/// A query: its row, its position in the sentence, and the rows of the keys that it sees.
struct Seen {
    row: usize,
    position: usize,
    keys: Range<usize>,
}

impl Sight<'_> {
    fn rows(&self) -> impl Iterator<Item = Seen> {
        self.queries.iter().zip(self.keys).flat_map(|(queries, keys)| {
            queries.clone().enumerate().map(|(position, row)| {
                let end = match self.direction {
                    Direction::Both => keys.end,
                    Direction::Back => keys.start + position + 1,
                };
                Seen { row, position, keys: keys.start..end }
            })
        })
    }
}

impl Network<'_> {
    /// The context rows [M, I].
    pub fn attend(&self, heads: &Heads, sight: &Sight<'_>) -> Vec<f32> {
        let width = self.spec.inner_width();
        let mut context = vec![0.0; heads.query.len()];
        for seen in sight.rows() {
            self.attend_row(heads, sight, &seen, &mut context[seen.row * width..][..width]);
        }
        context
    }

    /// One context row; gives the probabilities [H, keys].
    fn attend_row(&self, heads: &Heads, sight: &Sight<'_>, seen: &Seen, context: &mut [f32]) -> Vec<f32> {
        let (width, count) = (self.spec.inner_width(), seen.keys.len());
        let index = RowIndex::Range { first: seen.keys.start, count };
        let rows = |data| Rows { data, stride: width, offset: 0, index };
        let bias = sight.bias.map(|bias| self.biases(bias, seen));
        let attention = Attention {
            query: &heads.query[seen.row * width..][..width],
            keys: rows(&heads.key),
            values: rows(&heads.value),
            heads: self.spec.heads,
            width: self.spec.head_width,
            scale: self.spec.attention_scale,
            bias: bias.as_deref(),
        };
        let mut probabilities = vec![0.0; self.spec.heads * count];
        self.ctx.kernels.attend(&attention, &mut probabilities, context);
        probabilities
    }

    /// The biases of a query's scores [H, keys].
    fn biases(&self, bias: &RelativeBias, seen: &Seen) -> Vec<f32> {
        let (table, heads, count) = (self.rows(&bias.table), self.spec.heads, seen.keys.len());
        let at = |i: usize| table[bucket(bias, seen.position, i % count) * heads + i / count];
        (0..heads * count).map(at).collect()
    }

    /// The gradient of [`attend`](Self::attend) for the gradient `g` [M, I] of the context.
    pub fn attend_gradient(
        &self,
        heads: &Heads,
        sight: &Sight<'_>,
        g: &[f32],
        gradients: &mut Gradients,
    ) -> Heads {
        let (inner, width, scale) =
            (self.spec.inner_width(), self.spec.head_width, self.spec.attention_scale);
        let zeros = |like: &[f32]| vec![0.0; like.len()];
        let mut d = Heads { query: zeros(&heads.query), key: zeros(&heads.key), value: zeros(&heads.value) };
        let mut context = vec![0.0; inner];
        for seen in sight.rows() {
            let probabilities = self.attend_row(heads, sight, &seen, &mut context);
            let count = seen.keys.len();
            let mut ds = vec![0.0; count];
            for (head, p) in probabilities.chunks_exact(count).enumerate() {
                let query_at = seen.row * inner + head * width;
                let g = &g[query_at..][..width];
                let key_at = |j: usize| (seen.keys.start + j) * inner + head * width;
                for (j, (ds, &p)) in ds.iter_mut().zip(p).enumerate() {
                    *ds = dot(g, &heads.value[key_at(j)..][..width]);
                    add_scaled(p, g, &mut d.value[key_at(j)..][..width]);
                }
                let mean = dot(p, &ds);
                for (j, (ds, p)) in ds.iter_mut().zip(p).enumerate() {
                    *ds = p * (*ds - mean);
                    let key = &heads.key[key_at(j)..][..width];
                    add_scaled(scale * *ds, key, &mut d.query[query_at..][..width]);
                    let query = &heads.query[query_at..][..width];
                    add_scaled(scale * *ds, query, &mut d.key[key_at(j)..][..width]);
                }
                self.bias_gradient(sight, &seen, head, &ds, gradients);
            }
        }
        d
    }

    fn bias_gradient(
        &self,
        sight: &Sight<'_>,
        seen: &Seen,
        head: usize,
        ds: &[f32],
        gradients: &mut Gradients,
    ) {
        let Some(bias) = sight.bias else { return };
        let Some(table) = self.gradient(&bias.table, gradients) else { return };
        for (key, ds) in ds.iter().enumerate() {
            table[bucket(bias, seen.position, key) * self.spec.heads + head] += ds;
        }
    }
}

fn bucket(bias: &RelativeBias, query: usize, key: usize) -> usize {
    distance_bucket(bias.direction, bias.buckets, bias.max_distance, query, key)
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// `out += factor * x`.
fn add_scaled(factor: f32, x: &[f32], out: &mut [f32]) {
    for (out, x) in out.iter_mut().zip(x) {
        *out += factor * x;
    }
}
