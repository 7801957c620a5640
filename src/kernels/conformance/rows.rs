//! Operations on rows.
//!
//! Bounds: a sum of n terms in eight lanes takes at most n / 8 + 4 additions in a row, each one rounding of the sum of
//! magnitudes; elementary functions are off by the ulps that `math` states. Where a bound below has a factor in front
//! of [`EPSILON`], it is the number of roundings that reach the result.

use super::{EPSILON, Random, Unaligned, assert_same_bits, tables};
use crate::kernels::lanes::dot;
use crate::kernels::{Activation, Attention, Kernels, LANES, RowIndex, Rows, reference};
use crate::tensor::{ColumnsMut, K_GROUP, PANEL_ROWS};

const LENGTHS: [usize; 17] = [1, 2, 3, 5, 7, 8, 9, 15, 16, 17, 31, 33, 64, 100, 127, 512, 1003];

/// Rows of every length: three scales, and rows with special values.
fn rows(seed: u64) -> Vec<Unaligned<f32>> {
    let mut random = Random(seed);
    let mut rows = Vec::new();
    for len in LENGTHS {
        for scale in [1e-3, 1.0, 30.0] {
            rows.push(Unaligned::new(&random.floats(len, scale)));
        }
        for special in [0.0, -0.0, f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1e38, -1e38, 1e-40] {
            let mut row = random.floats(len, 2.0);
            row[random.between(0, len - 1)] = special;
            rows.push(Unaligned::new(&row));
            rows.push(Unaligned::new(&vec![special; len]));
        }
    }
    rows
}

/// Runs `f` on every row with every table: all must give the portable bits, which `check` holds against the oracle
/// where all elements of the row are finite and none so large that `f32` overflows.
fn run(seed: u64, f: impl Fn(&Kernels, &[f32]) -> Vec<f32>, check: impl Fn(&[f32], &[f32])) {
    for row in rows(seed) {
        let row = row.get();
        let portable = f(tables()[0], row);
        if row.iter().all(|x| x.abs() < 1e9) {
            check(row, &portable);
        }
        for kernels in tables() {
            assert_same_bits(&f(kernels, row), &portable, &format!("{kernels:?}, row of {}", row.len()));
        }
    }
}

#[track_caller]
fn assert_near(got: f32, want: f64, bound: f64) {
    assert!((f64::from(got) - want).abs() <= bound, "{got:e} instead of {want:e}, bound {bound:e}");
}

#[test]
fn quantize_rounds_to_the_nearest() {
    let quantize = |kernels: &Kernels, x: &[f32]| {
        let mut values = vec![77i8; x.len().next_multiple_of(4)];
        let scale = kernels.quantize(x, &mut values);
        kernels.store_activations(&mut values);
        values.iter().map(|&v| f32::from(v)).chain([scale]).collect::<Vec<f32>>()
    };
    run(1, quantize, |x, got| {
        let (values, scale) = (&got[..got.len() - 1], got[got.len() - 1]);
        let greatest = x.iter().fold(0f32, |max, x| max.max(x.abs()));
        if greatest < 3e-37 {
            return assert!(got.iter().all(|&x| x == 0.0));
        }
        assert_eq!(scale, greatest / 127.0);
        assert!(values[x.len()..].iter().all(|&v| v == 0.0));
        for (x, v) in x.iter().zip(values) {
            // 1e-4: two roundings of a quotient of up to 127.
            assert!((x / greatest * 127.0 - v).abs() <= 0.5 + 1e-4, "{x:e} / {scale:e} became {v}");
        }
    });
    for kernels in tables() {
        for special in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut values = [1; 4];
            assert!(kernels.quantize(&[1.0, special, 3.0], &mut values).is_nan());
            kernels.store_activations(&mut values);
            assert_eq!(values, [0; 4]);
        }
        let mut values = [9; 8];
        assert_eq!(kernels.quantize(&[127.0, 0.5, 1.5, 2.5, -0.5, -1.5, -127.0], &mut values), 1.0);
        kernels.store_activations(&mut values);
        assert_eq!(values, [127, 0, 2, 2, 0, -2, -127, 0]);
    }
}

#[test]
fn softmax_sums_to_one() {
    let softmax = |kernels: &Kernels, x: &[f32]| {
        let mut out = Unaligned::new(x);
        kernels.softmax(out.get_mut());
        out.get().to_vec()
    };
    run(2, softmax, |x, got| {
        let roundings = x.len() as f64 / 8.0 + 10.0;
        for (&got, want) in got.iter().zip(reference::softmax(&reference::widen(x))) {
            // x - max is rounded too: up to |x - max| roundings of the power.
            assert_near(got, want, (roundings + 120.0) * EPSILON * want + 1e-37);
        }
    });
    tables().iter().for_each(|kernels| kernels.softmax(&mut []));
}

#[test]
fn log_sum_exp_agrees() {
    run(
        3,
        |kernels, x| vec![kernels.log_sum_exp(x)],
        |x, got| {
            let want = reference::log_sum_exp(&reference::widen(x));
            assert_near(got[0], want, (x.len() as f64 / 8.0 + 150.0) * EPSILON * (1.0 + want.abs()));
        },
    );
    for kernels in tables() {
        assert_eq!(kernels.log_sum_exp(&[]), f32::NEG_INFINITY);
        assert_eq!(kernels.log_sum_exp(&[f32::NEG_INFINITY; 9]), f32::NEG_INFINITY);
        assert_eq!(kernels.log_sum_exp(&[f32::INFINITY, 1.0]), f32::INFINITY);
        assert!(kernels.log_sum_exp(&[f32::NEG_INFINITY, f32::NAN]).is_nan());
    }
}

#[test]
fn argmax_finds_the_first() {
    run(
        4,
        |kernels, x| vec![kernels.argmax(x) as f32],
        |x, got| {
            let max = x.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            assert_eq!(Some(got[0] as usize), x.iter().position(|&y| y == max));
        },
    );
    for kernels in tables() {
        assert_eq!(kernels.argmax(&[]), 0);
        assert_eq!(kernels.argmax(&[f32::NAN; 20]), 0);
        assert_eq!(kernels.argmax(&[f32::NAN, -1.0, f32::NAN, 3.0, 3.0]), 3);
        let mut row = [0.5; 100];
        (row[17], row[42], row[98]) = (1.0, 1.0, f32::NAN);
        assert_eq!(kernels.argmax(&row), 17);
    }
}

#[test]
fn norms_agree() {
    let parameters = |len: usize| (Random(5).floats(len, 2.0), Random(6).floats(len, 1.0));
    let layer_norm = |kernels: &Kernels, x: &[f32]| {
        let ((weight, bias), mut out) = (parameters(x.len()), vec![0.0; x.len()]);
        kernels.layer_norm(x, &weight, &bias, 1e-5, &mut out);
        out
    };
    run(7, layer_norm, |x, got| {
        let ((weight, bias), wide) = (parameters(x.len()), reference::widen(x));
        let (mean, variance) = reference::moments(&wide);
        let factor = 1.0 / (variance + 1e-5).sqrt();
        let greatest = wide.iter().fold(0f64, |max, x| max.max(x.abs()));
        let roundings = x.len() as f64 / 8.0 + 16.0;
        for (i, &got) in got.iter().enumerate() {
            let (weight, bias) = (f64::from(weight[i]), f64::from(bias[i]));
            let normed = (wide[i] - mean) * factor;
            // The mean is off by its roundings of the greatest element, the factor by those of the variance.
            let error = roundings * EPSILON * (factor * greatest + normed.abs());
            assert_near(got, normed * weight + bias, (error + 2.0 * EPSILON) * (weight.abs() + bias.abs()));
        }
    });
    let rms_norm = |kernels: &Kernels, x: &[f32]| {
        let mut out = vec![0.0; x.len()];
        kernels.rms_norm(x, &parameters(x.len()).0, 1e-6, &mut out);
        out
    };
    run(8, rms_norm, |x, got| {
        let wide = reference::widen(x);
        let mean_square = wide.iter().map(|x| x * x).sum::<f64>() / wide.len() as f64;
        for ((&got, x), weight) in got.iter().zip(&wide).zip(parameters(x.len()).0) {
            let want = x / (mean_square + 1e-6).sqrt() * f64::from(weight);
            assert_near(got, want, (wide.len() as f64 / 8.0 + 10.0) * EPSILON * want.abs() + 1e-37);
        }
    });
}

#[test]
fn activations_agree() {
    let all =
        [Activation::Identity, Activation::Relu, Activation::GeluErf, Activation::GeluTanh, Activation::Silu];
    for activation in all {
        let activate = |kernels: &Kernels, x: &[f32]| {
            let mut out = Unaligned::new(x);
            kernels.activate(activation, out.get_mut());
            out.get().to_vec()
        };
        run(9, activate, |x, got| {
            for (&x, &got) in x.iter().zip(got) {
                let want = reference::activate(activation, f64::from(x));
                assert_near(got, want, 16.0 * EPSILON * f64::from(x).abs());
            }
        });
        let gate = |kernels: &Kernels, x: &[f32]| {
            let pair = [x, &Random(10).floats(x.len(), 3.0)].concat();
            let mut out = vec![0.0; x.len()];
            kernels.gate(activation, &pair, &mut out);
            out
        };
        run(11, gate, |x, got| {
            for ((&x, up), &got) in x.iter().zip(Random(10).floats(x.len(), 3.0)).zip(got) {
                let want = reference::activate(activation, f64::from(x)) * f64::from(up);
                assert_near(got, want, 17.0 * EPSILON * (f64::from(x) * f64::from(up)).abs() + 1e-44);
            }
        });
    }
}

#[test]
fn sums_and_the_ssru_agree() {
    let add = |kernels: &Kernels, x: &[f32]| {
        let mut out = Random(12).floats(x.len(), 1.0);
        kernels.add(x, &mut out);
        out
    };
    run(13, add, |x, got| {
        for ((x, y), &got) in x.iter().zip(Random(12).floats(x.len(), 1.0)).zip(got) {
            assert_eq!(got, x + y);
        }
    });
    let ssru = |kernels: &Kernels, x: &[f32]| {
        let (candidate, cell) = (Random(14).floats(x.len(), 2.0), Random(15).floats(x.len(), 2.0));
        let (mut next, mut hidden) = (vec![0.0; x.len()], vec![0.0; x.len()]);
        kernels.ssru(x, &candidate, &cell, &mut next, &mut hidden);
        [next, hidden].concat()
    };
    run(16, ssru, |x, got| {
        let (next, hidden) = got.split_at(x.len());
        let (candidate, cell) = (Random(14).floats(x.len(), 2.0), Random(15).floats(x.len(), 2.0));
        for i in 0..x.len() {
            let f = reference::sigmoid(f64::from(x[i]));
            let want = f * f64::from(cell[i]) + (1.0 - f) * f64::from(candidate[i]);
            assert_near(next[i], want, 20.0 * EPSILON);
            assert_eq!(hidden[i], next[i].max(0.0));
        }
    });
}

/// An attention with random operands: `index` picks rows of a buffer of 40 positions.
struct AttentionCase {
    heads: usize,
    width: usize,
    query: Unaligned<f32>,
    cache: Unaligned<f32>,
    bias: Option<Vec<f32>>,
}

impl AttentionCase {
    const POSITIONS: usize = 40;

    fn new(heads: usize, width: usize, n: usize, random: &mut Random) -> Self {
        let d = heads * width;
        Self {
            heads,
            width,
            query: Unaligned::new(&random.floats(d, 2.0)),
            cache: Unaligned::new(&random.floats(Self::POSITIONS * (2 * d + 3), 2.0)),
            bias: random.chance().then(|| random.floats(heads * n, 1.0)),
        }
    }

    /// Keys and values lie side by side in the cache, three elements behind each position unused.
    fn attention<'a>(&'a self, index: RowIndex<'a>) -> Attention<'a> {
        let d = self.heads * self.width;
        let rows = |offset| Rows { data: self.cache.get(), stride: 2 * d + 3, offset, index };
        Attention {
            query: self.query.get(),
            keys: rows(0),
            values: rows(d),
            heads: self.heads,
            width: self.width,
            scale: 0.3,
            bias: self.bias.as_deref(),
        }
    }

    /// Probabilities and outputs.
    fn attend(kernels: &Kernels, attention: &Attention<'_>) -> (Vec<f32>, Vec<f32>) {
        let mut p = vec![f32::NAN; attention.heads * attention.keys.len()];
        let mut out = vec![f32::NAN; attention.heads * attention.width];
        kernels.attend(attention, &mut p, &mut out);
        (p, out)
    }

    fn run(&self, index: RowIndex<'_>) {
        let attention = self.attention(index);
        let (portable_p, portable) = Self::attend(tables()[0], &attention);
        self.check(&attention, &portable_p, &portable);
        for kernels in tables() {
            let (p, out) = Self::attend(kernels, &attention);
            assert_same_bits(&p, &portable_p, &format!("{kernels:?}: probabilities"));
            let what = format!("{kernels:?}: {} x {}, n {}", self.heads, self.width, attention.keys.len());
            assert_same_bits(&out, &portable, &what);
        }
    }

    fn check(&self, attention: &Attention<'_>, p: &[f32], out: &[f32]) {
        let (n, width) = (attention.keys.len(), self.width);
        for head in 0..self.heads {
            let query = reference::widen(&attention.query[head * width..][..width]);
            let part = |rows: &Rows<'_>, i| reference::widen(rows.part(i, head * width, width));
            let score =
                |i| reference::dot(query.iter().copied(), part(&attention.keys, i).into_iter()).0 * 0.3;
            let bias = |i| attention.bias.map_or(0.0, |bias| f64::from(bias[head * n + i]));
            let want = reference::softmax(&(0..n).map(|i| score(i) + bias(i)).collect::<Vec<f64>>());
            // Scores are at most 4 * 0.3 * width + 1, each off by width / 8 + 6 roundings of that.
            let magnitude = 1.2 * width as f64 + 1.0;
            let relative = ((width as f64 / 8.0 + 6.0) * 2.0 * magnitude + n as f64 / 8.0 + 16.0) * EPSILON;
            for (&got, want) in p[head * n..][..n].iter().zip(&want) {
                assert_near(got, *want, relative * want + 1e-37);
            }
            for d in 0..width {
                let want: f64 = (0..n).map(|i| want[i] * part(&attention.values, i)[d]).sum();
                assert_near(out[head * width + d], want, (relative + (n + 1) as f64 * EPSILON) * 2.0);
            }
        }
    }
}

#[test]
fn attention_agrees() {
    let mut random = Random(17);
    for _ in 0..60 {
        let (heads, width, n) = (random.between(1, 4), random.between(1, 70), random.between(1, 30));
        let case = AttentionCase::new(heads, width, n, &mut random);
        case.run(RowIndex::Range { first: random.between(0, 40 - n), count: n });
        let list: Vec<u32> = (0..n).map(|_| random.between(0, 39) as u32).collect();
        case.run(RowIndex::List(&list));
    }
    let case = AttentionCase { bias: None, ..AttentionCase::new(2, 8, 0, &mut random) };
    case.run(RowIndex::List(&[]));
}

#[test]
fn scores_have_the_bits_of_the_row_kernel() {
    let mut random = Random(20);
    for _ in 0..60 {
        let (m, n, width) = (random.between(1, 11), random.between(1, 40), random.between(1, 70));
        let depth = width.next_multiple_of(LANES);
        let [mut queries, mut keys] = [m, n].map(|rows| random.floats(rows * width, 2.0));
        // All products of the first two are -0.
        queries[..width].fill(-0.0);
        keys[..width].iter_mut().for_each(|element| *element = element.abs());
        let filled = |rows: &[f32]| -> Vec<f32> {
            let zeros = vec![0.0; depth - width];
            rows.chunks(width).flat_map(|row| [row, &zeros].concat()).collect()
        };
        let mut panels = vec![f32::NAN; n.next_multiple_of(PANEL_ROWS) * depth];
        for (i, element) in filled(&keys).into_iter().enumerate() {
            let ((key, k), (groups, group)) =
                ((i / depth, i % depth), (depth / K_GROUP, PANEL_ROWS * K_GROUP));
            let panel = key / PANEL_ROWS * groups + k / K_GROUP;
            panels[panel * group + key % PANEL_ROWS * K_GROUP + k % K_GROUP] = element;
        }
        let want: Vec<f32> =
            queries.chunks(width).flat_map(|q| keys.chunks(width).map(|k| dot(q, k))).collect();
        for kernels in tables() {
            let mut got = vec![f32::NAN; m * n];
            kernels.scores(&filled(&queries), &panels, depth, ColumnsMut::new(&mut got, n));
            assert_same_bits(&got, &want, &format!("{kernels:?}: {m} x {n} x {width}"));
        }
    }
}

#[test]
fn masked_keys_have_no_weight() {
    let mut random = Random(18);
    let bias = Some(vec![0.0, f32::NEG_INFINITY, 0.0]);
    let case = AttentionCase { bias, ..AttentionCase::new(1, 8, 3, &mut random) };
    for kernels in tables() {
        let (p, _) = AttentionCase::attend(kernels, &case.attention(RowIndex::List(&[3, 5, 4])));
        assert_eq!(p[1], 0.0);
        assert!((p[0] + p[2] - 1.0).abs() < 1e-6);
    }
}

#[test]
#[should_panic]
fn a_row_outside_the_cache_is_refused() {
    let case = AttentionCase::new(1, 8, 1, &mut Random(19));
    tables()[0].attend(&case.attention(RowIndex::List(&[40])), &mut [0.0], &mut [0.0; 8]);
}
