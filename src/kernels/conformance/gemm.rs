//! Matrix products.

use half::f16;

use super::{EPSILON, Random, Unaligned, assert_same_bits, tables};
use crate::kernels::{Activation, Activations, Epilogue, Kernels, Residual, reference};
use crate::tensor::{ColumnsMut, Dtype, I4_COLUMNS, I4Block, K_GROUP, Matrix, PANEL_ROWS, Panels};

const ACTIVATIONS: [Activation; 5] =
    [Activation::Identity, Activation::Relu, Activation::GeluErf, Activation::GeluTanh, Activation::Silu];

/// One product: row-major operands, and the weights in panels, unaligned.
struct Case {
    m: usize,
    n: usize,
    k: usize,
    dtype: Dtype,
    activations: Vec<f32>,  // [M, K]
    weights: Vec<f32>,      // [N, K]
    values: Unaligned<i8>,  // [M, K up to 4]
    scales: Vec<f32>,       // [M]
    inputs: Unaligned<f32>, // [M, K]
    panels_i8: Unaligned<i8>,
    panels_i4: Unaligned<I4Block>,
    panels_f16: Unaligned<f16>,
    panels_f32: Unaligned<f32>,
    weight_scales: Vec<f32>, // [P * 8]
    weight_sums: Vec<i32>,   // [P * 8]
    bias: Option<Vec<f32>>,  // [N]
    activation: Activation,
    residual: Option<Vec<f32>>, // [M, N]
}

impl Case {
    /// A product of the given integers in [-127, 127], or, for float weights, of these over 127. int4 takes weights of
    /// [`int4_weights`].
    fn new(
        m: usize,
        n: usize,
        dtype: Dtype,
        activations: &[i8],
        weights: &[i8],
        random: &mut Random,
    ) -> Self {
        let k = weights.len() / n;
        let factor = if is_integer(dtype) { 1.0 } else { 1.0 / 127.0 };
        let number = |x: &i8| f16::from_f32(f32::from(*x) * factor).to_f32();
        let (activations, weights): (Vec<f32>, Vec<f32>) =
            (activations.iter().map(number).collect(), weights.iter().map(number).collect());
        let (padded_n, padded_k) = (n.next_multiple_of(PANEL_ROWS), k.next_multiple_of(K_GROUP));
        let weight = |row: usize, k_index: usize| match row < n && k_index < k {
            true => weights[row * k + k_index],
            false => 0.0,
        };
        let mut values = vec![0; m * padded_k];
        for row in 0..m {
            for i in 0..k {
                values[row * padded_k + i] = activations[row * k + i] as i8;
            }
        }
        let (mut panels_i8, mut panels_f32) = (Vec::new(), Vec::new());
        for panel in (0..padded_n).step_by(PANEL_ROWS) {
            for group in (0..padded_k).step_by(K_GROUP) {
                let order =
                    (0..PANEL_ROWS).flat_map(|row| (0..K_GROUP).map(move |i| (panel + row, group + i)));
                panels_i8.extend(order.map(|(row, i)| weight(row, i) as i8));
            }
            panels_f32.extend(
                (0..k)
                    .flat_map(|i| (panel..panel + PANEL_ROWS).map(move |row| (row, i)))
                    .map(|(row, i)| weight(row, i)),
            );
        }
        let panels_f16: Vec<f16> = panels_f32.iter().map(|&x| f16::from_f32(x)).collect();
        let panels_i4 = if dtype == Dtype::I4 { int4_panels(n, k, &weights) } else { Vec::new() };
        let only = |wanted| dtype == wanted;
        Case {
            m,
            n,
            k,
            dtype,
            values: Unaligned::new(&values),
            scales: (0..m).map(|_| random.unit() * 0.01).collect(),
            inputs: Unaligned::new(&activations),
            panels_i8: Unaligned::new(if only(Dtype::I8) { &panels_i8 } else { &[] }),
            panels_i4: Unaligned::new(&panels_i4),
            panels_f16: Unaligned::new(if only(Dtype::F16) { &panels_f16 } else { &[] }),
            panels_f32: Unaligned::new(if only(Dtype::F32) { &panels_f32 } else { &[] }),
            weight_scales: (0..padded_n)
                .map(|row| if row < n { random.unit() * 0.01 } else { 0.0 })
                .collect(),
            weight_sums: (0..padded_n).map(|row| (0..k).map(|i| weight(row, i) as i32).sum()).collect(),
            bias: random.chance().then(|| random.floats(n, 1.0)),
            activation: ACTIVATIONS[random.between(0, 4)],
            residual: random.chance().then(|| random.floats(m * n, 1.0)),
            activations,
            weights,
        }
    }

    fn random(m: usize, n: usize, k: usize, dtype: Dtype, random: &mut Random) -> Self {
        let activations: Vec<i8> = (0..m * k).map(|_| random.int8()).collect();
        let weights: Vec<i8> = match dtype {
            Dtype::I4 => int4_weights(n, k, random),
            // The pairs of every second matrix are narrow.
            _ if random.chance() => (0..n * k).map(|_| random.int8() / 2).collect(),
            _ => (0..n * k).map(|_| random.int8()).collect(),
        };
        Self::new(m, n, dtype, &activations, &weights, random)
    }

    fn matrix(&self) -> Matrix<'_> {
        let data = match self.dtype {
            Dtype::F32 => Panels::F32(self.panels_f32.get()),
            Dtype::F16 => Panels::F16(self.panels_f16.get()),
            Dtype::I8 => Panels::I8 {
                values: self.panels_i8.get(),
                scales: &self.weight_scales,
                sums: &self.weight_sums,
            },
            Dtype::I4 => Panels::I4 {
                blocks: self.panels_i4.get(),
                scales: &self.weight_scales,
                sums: &self.weight_sums,
            },
        };
        Matrix::new(self.n, self.k, data).unwrap()
    }

    /// The product by `kernels`, in two calls: the panels before `split` and the rest.
    fn multiply(&self, kernels: &Kernels, split: usize) -> Vec<f32> {
        let epilogue = Epilogue {
            bias: self.bias.as_deref(),
            activation: self.activation,
            residual: if self.residual.is_some() { Residual::Add } else { Residual::None },
        };
        let mut values = Unaligned::new(self.values.get());
        kernels.store_activations(values.get_mut());
        let activations = match self.dtype {
            Dtype::I8 | Dtype::I4 => Activations::I8 { values: values.get(), scales: &self.scales },
            _ => Activations::F32 { rows: self.inputs.get() },
        };
        let mut out = Unaligned::new(&self.residual.clone().unwrap_or(vec![f32::NAN; self.m * self.n]));
        let (matrix, columns) = (self.matrix(), ColumnsMut::new(out.get_mut(), self.n));
        let (left, right) = columns.split_at((split * PANEL_ROWS).min(self.n));
        kernels.gemm(activations, &matrix, &epilogue, 0..split, left);
        kernels.gemm(activations, &matrix, &epilogue, split..matrix.panels(), right);
        out.get().to_vec()
    }

    /// Holds `got` against the oracle.
    ///
    /// An int8 or int4 product without activation is `sum * (scale * scale) + bias + residual` in `f32`, to the bit. For the
    /// rest: K products and K sums in `f32` are off by at most K + 1 roundings of the sum of magnitudes (Higham,
    /// *Accuracy and Stability of Numerical Algorithms*, 2nd ed., eq. 3.5); int8 has none of them, but two in the
    /// scale; bias, activation (slope at most 1.13, own error below 8 ulp) and residual add less than 20 roundings of
    /// the magnitudes involved.
    fn check(&self, got: &[f32], what: &str) {
        for (i, &got) in got.iter().enumerate() {
            let (row, column) = (i / self.n, i % self.n);
            let a = self.activations[row * self.k..][..self.k].iter().map(|&x| f64::from(x));
            let w = self.weights[column * self.k..][..self.k].iter().map(|&x| f64::from(x));
            let (mut sum, mut magnitude) = reference::dot(a, w);
            let mut roundings = (self.k + 1) as f64;
            if is_integer(self.dtype) {
                let scale = self.scales[row] * self.weight_scales[column];
                if self.activation == Activation::Identity {
                    let mut want = sum as f32 * scale;
                    want = self.bias.as_ref().map_or(want, |bias| want + bias[column]);
                    want = self.residual.as_ref().map_or(want, |residual| residual[i] + want);
                    assert_eq!(
                        got.to_bits(),
                        want.to_bits(),
                        "{what}: [{row}, {column}] is {got:e}, exactly {want:e}"
                    );
                }
                (sum, magnitude, roundings) = (sum * f64::from(scale), (sum * f64::from(scale)).abs(), 3.0);
            }
            let bias = self.bias.as_ref().map_or(0.0, |bias| f64::from(bias[column]));
            let residual = self.residual.as_ref().map_or(0.0, |residual| f64::from(residual[i]));
            let want = reference::activate(self.activation, sum + bias) + residual;
            let bound =
                (roundings * 1.13 + 20.0) * EPSILON * (magnitude + bias.abs() + residual.abs()) + 1e-38;
            assert!(
                (f64::from(got) - want).abs() <= bound,
                "{what}: [{row}, {column}] is {got:e}, want {want:e}"
            );
        }
    }

    /// The whole check: every table that is for these weights, whole and split.
    fn run(&self, split: usize) {
        let portable = self.multiply(tables()[0], 0);
        let narrow = tables().into_iter().map(|kernels| kernels.for_pairs(true));
        let narrow = narrow.filter(|_| self.matrix().has_narrow_pairs());
        for kernels in tables().into_iter().chain(narrow) {
            let what = format!("{kernels:?} {:?} {}x{}x{}", self.dtype, self.m, self.n, self.k);
            let got = self.multiply(kernels, split);
            self.check(&got, &what);
            assert_same_bits(&got, &portable, &what);
        }
    }
}

fn is_integer(dtype: Dtype) -> bool {
    matches!(dtype, Dtype::I8 | Dtype::I4)
}

/// [N, K] products of values in [-7, 7] and a step in [1, 18] for each block of a row.
fn int4_weights(n: usize, k: usize, random: &mut Random) -> Vec<i8> {
    let mut block = || {
        let step = random.between(1, 18) as i8;
        core::array::from_fn::<i8, I4_COLUMNS, _>(|_| (random.between(0, 14) as i8 - 7) * step)
    };
    (0..n * k / I4_COLUMNS).flat_map(|_| block()).collect()
}

/// The blocks of such weights, each with the least step that all of them are multiples of.
fn int4_panels(n: usize, k: usize, weights: &[f32]) -> Vec<I4Block> {
    let row_blocks = k / I4_COLUMNS;
    let mut blocks = vec![I4Block::default(); n.div_ceil(PANEL_ROWS) * row_blocks];
    for (i, weights) in weights.chunks_exact(I4_COLUMNS).enumerate() {
        let (row, column) = (i / row_blocks, i % row_blocks);
        let block = &mut blocks[row / PANEL_ROWS * row_blocks + column];
        let lane = row % PANEL_ROWS;
        let fits = |step: &i32| weights.iter().all(|&w| w as i32 % step == 0 && (w as i32 / step).abs() <= 7);
        let step = (1..=18).find(fits).unwrap();
        block.steps[lane] = step as u8;
        for (k, &weight) in weights.iter().enumerate() {
            let bits = (weight as i32 / step) as u8 & 15;
            block.values[k / 8][lane][k % 4] |= bits << if k % 8 < 4 { 0 } else { 4 };
        }
    }
    blocks
}

fn random_shapes(dtype: Dtype, seed: u64) {
    let mut random = Random(seed);
    let whole = |k: usize| if dtype == Dtype::I4 { k.next_multiple_of(I4_COLUMNS) } else { k };
    for _ in 0..120 {
        let (m, n, k) = (random.between(1, 20), random.between(1, 70), whole(random.between(1, 300)));
        Case::random(m, n, k, dtype, &mut random).run(random.between(0, n.div_ceil(PANEL_ROWS)));
    }
    // Every number of rows that a tile can be cut into, and every remainder of a step along K.
    for m in 1..=18 {
        Case::random(m, 41, whole(16 + m), dtype, &mut random).run(2);
    }
    Case::random(35, 41, whole(1100), dtype, &mut random).run(2);
    for k in 0..=40 {
        Case::random(3, 9, whole(k), dtype, &mut random).run(1);
    }
}

#[test]
fn int8_products() {
    random_shapes(Dtype::I8, 0x5151);
}

#[test]
fn int4_products() {
    random_shapes(Dtype::I4, 0x4141);
}

#[test]
fn f16_products() {
    random_shapes(Dtype::F16, 0xF16);
}

#[test]
fn f32_products() {
    random_shapes(Dtype::F32, 0xF32);
}

#[test]
fn int8_extremes_are_exact() {
    let mut random = Random(0xEE);
    for k in [1, 2, 4, 127, 512, 4096] {
        for (a, w) in [(127, 127), (127, -127), (-127, 127), (-127, -127)] {
            for m in [3, 5] {
                Case::new(m, 17, Dtype::I8, &vec![a; m * k], &vec![w; 17 * k], &mut random).run(1);
            }
        }
        let mut signs =
            |len: usize| (0..len).map(|_| if random.chance() { 127 } else { -127 }).collect::<Vec<i8>>();
        let (a, w) = (signs(9 * k), signs(33 * k));
        Case::new(9, 33, Dtype::I8, &a, &w, &mut random).run(3);
        // The greatest pairs that are narrow.
        for pair in [[64, 64], [-64, -64], [1, 127], [-127, -1], [127, -127]] {
            let w: Vec<i8> = (0..33 * k).map(|i| pair[i % k % 2]).collect();
            for a in [vec![127; 9 * k], vec![-127; 9 * k], a.clone()] {
                let case = Case::new(9, 33, Dtype::I8, &a, &w, &mut random);
                assert!(case.matrix().has_narrow_pairs());
                case.run(3);
            }
        }
    }
}

#[test]
fn int4_extremes_are_exact() {
    let mut random = Random(0xE4);
    for k in [32, 512, 4096] {
        for (a, w) in [(127, 126), (127, -126), (-127, 126), (-127, -126)] {
            for m in [3, 5, 20] {
                Case::new(m, 17, Dtype::I4, &vec![a; m * k], &vec![w; 17 * k], &mut random).run(1);
            }
        }
    }
}

#[test]
fn weights_of_minus_128_are_safe() {
    let (k, values, sums) = (64, [-128i8; 64 * 8], [-128 * 64i32; 8]);
    let matrix = Matrix::new(8, k, Panels::I8 { values: &values, scales: &[1.0; 8], sums: &sums }).unwrap();
    for kernels in tables().into_iter().flat_map(|kernels| [kernels, kernels.for_pairs(true)]) {
        for m in 1..10 {
            let (mut a, scales) = (vec![-127; m * k], vec![1.0; m]);
            kernels.store_activations(&mut a);
            let mut out = vec![0.0; m * 8];
            let activations = Activations::I8 { values: &a, scales: &scales };
            kernels.gemm(activations, &matrix, &Epilogue::NONE, 0..1, ColumnsMut::new(&mut out, 8));
            assert!(out.iter().all(|x| x.is_finite()));
        }
    }
}

#[test]
fn half_precision_specials_widen_alike() {
    let halves: Vec<f16> = (0..=u16::MAX).map(f16::from_bits).collect();
    let matrix = Matrix::new(halves.len(), 1, Panels::F16(&halves)).unwrap();
    for kernels in tables() {
        let mut out = vec![0.0; halves.len()];
        let activations = Activations::F32 { rows: &[1.0] };
        kernels.gemm(
            activations,
            &matrix,
            &Epilogue::NONE,
            0..matrix.panels(),
            ColumnsMut::new(&mut out, halves.len()),
        );
        let want: Vec<f32> = halves.iter().map(|x| x.to_f32() + 0.0).collect();
        assert_same_bits(&out, &want, &format!("{kernels:?}"));
    }
}

/// Eight products are rounded as many times to 2^-11 of their magnitudes, once more where the inputs are not `f16`, or to
/// 2^-25 where they are less than the least normal number.
#[test]
fn half_arithmetic_is_close() {
    let mut random = Random(0xFA);
    for kernels in tables() {
        let Some(half) = kernels.with_half_arithmetic() else {
            let has_none = !kernels.isa().name().starts_with("neon-");
            assert!(has_none || !cfg!(feature = "std"), "{kernels:?} came to CPUs with FEAT_FP16");
            continue;
        };
        let mut errors = 0.0;
        for _ in 0..60 {
            let (m, n, k) = (random.between(1, 20), random.between(1, 70), random.between(1, 300));
            let mut case = Case::random(m, n, k, Dtype::F16, &mut random);
            case.activation = Activation::Identity;
            let (exact, got) = (case.multiply(kernels, 1), case.multiply(half, 1));
            for (i, (got, exact)) in got.iter().zip(&exact).enumerate() {
                let a = case.activations[i / n * k..][..k].iter().map(|&x| f64::from(x));
                let w = case.weights[i % n * k..][..k].iter().map(|&x| f64::from(x));
                let (_, magnitude) = reference::dot(a, w);
                let bound = 9.0 * 2f64.powi(-11) * magnitude + (k + 4) as f64 * 2f64.powi(-24);
                let error = f64::from(got - exact).abs();
                assert!(error <= bound, "{m}x{n}x{k}: {got} for {exact}");
                errors += error;
            }
            assert_same_bits(&case.multiply(half, 0), &got, "however the panels are cut");
        }
        assert!(errors > 0.0, "{half:?} computes in single precision");
    }
}

#[test]
fn a_row_of_nan_stays_in_its_row() {
    let mut random = Random(0xAA);
    for dtype in [Dtype::F32, Dtype::F16, Dtype::I8, Dtype::I4] {
        let mut case = Case::random(5, 20, 32, dtype, &mut random);
        (case.bias, case.residual) = (None, None);
        let clean = case.multiply(tables()[0], 0);
        case.scales[2] = f32::NAN;
        case.inputs.get_mut()[2 * 32 + 7] = f32::NAN;
        for kernels in tables() {
            let got = case.multiply(kernels, 1);
            assert!(got[2 * 20..3 * 20].iter().all(|x| x.is_nan()), "{kernels:?} {dtype:?}");
            assert_same_bits(&got[..2 * 20], &clean[..2 * 20], "rows before");
            assert_same_bits(&got[3 * 20..], &clean[3 * 20..], "rows behind");
        }
    }
}

#[test]
#[should_panic(expected = "columns of the output")]
fn a_wrong_output_is_refused() {
    let matrix = Matrix::new(8, 1, Panels::F32(&[0.0; 8])).unwrap();
    let mut out = [0.0; 7];
    let activations = Activations::F32 { rows: &[1.0] };
    tables()[0].gemm(activations, &matrix, &Epilogue::NONE, 0..1, ColumnsMut::new(&mut out, 7));
}
