//! Speed of the matrix products and row operations, for every instruction set of this machine, on one core.
//!
//! `cargo bench --bench kernels [-- ISA...]`. A matrix-vector product is bound by memory and is measured in gigabytes
//! of weights a second; a matrix-matrix product in billions of multiply-adds a second. Each number is the best of
//! several runs; where a product is compared with reading its weights, both take turns and numbers are medians.

#[path = "limits/read.rs"]
mod read;

use std::hint::black_box;
use std::time::Instant;

use half::f16;
use siskin::kernels::{Activation, Activations, Attention, Epilogue, Kernels, RowIndex, Rows};
use siskin::tensor::{ColumnsMut, Dtype, I4_COLUMNS, I4Block, Matrix, PANEL_ROWS, PackedMatrix, Panels};

/// Outputs and inputs: an attention projection, both halves of a feed-forward block, a vocabulary.
const SHAPES: [(usize, usize); 4] = [(512, 512), (2048, 512), (512, 2048), (32_000, 512)];
/// Sizes of int8 matrices for comparison with the rate at which memory can be read: they fit a second-level cache, a
/// third-level cache, and neither, on many machines.
const STREAMED: [usize; 3] = [4 << 20, 16 << 20, 64 << 20];

/// Weights of every element type, [N, K].
struct Weights {
    n: usize,
    k: usize,
    int8: Vec<i8>,
    scales: Vec<f32>,
    sums: Vec<i32>,
    int4: PackedMatrix,
    half: Vec<f16>,
    single: Vec<f32>,
}

impl Weights {
    /// N and K are multiples of 32, so that every element is one of the matrix.
    fn new(n: usize, k: usize) -> Self {
        let int8: Vec<i8> = (0..n * k).map(|i| (i * 37 % 127) as i8 - 63).collect();
        let mut sums = vec![0; n];
        for (i, &w) in int8.iter().enumerate() {
            sums[i / (PANEL_ROWS * k) * PANEL_ROWS + i / 4 % PANEL_ROWS] += i32::from(w);
        }
        let single: Vec<f32> = int8.iter().map(|&w| f32::from(w) / 127.0).collect();
        let half = single.iter().map(|&w| f16::from_f32(w)).collect();
        let int4 = PackedMatrix::pack(Dtype::I4, n, k, &single).expect("finite weights");
        Self { n, k, int8, scales: vec![0.01; n], sums, int4, half, single }
    }

    fn matrix(&self, dtype: Dtype) -> Matrix<'_> {
        let panels = match dtype {
            Dtype::I4 => return self.int4.view(),
            Dtype::I8 => Panels::I8 { values: &self.int8, scales: &self.scales, sums: &self.sums },
            Dtype::F16 => Panels::F16(&self.half),
            Dtype::F32 => Panels::F32(&self.single),
        };
        Matrix::new(self.n, self.k, panels).expect("the sizes of `new`")
    }
}

/// Seconds of one run of `f`: the best of many batches that take about a millisecond each.
fn seconds(mut f: impl FnMut()) -> f64 {
    let start = Instant::now();
    f();
    let runs = (1e-3 / start.elapsed().as_secs_f64()).clamp(1.0, 1e6) as u32;
    let batch = |_| {
        let start = Instant::now();
        (0..runs).for_each(|_| f());
        start.elapsed().as_secs_f64() / f64::from(runs)
    };
    (0..40).map(batch).fold(f64::INFINITY, f64::min)
}

fn bytes_of_weight(dtype: Dtype) -> f64 {
    match dtype {
        Dtype::I4 => size_of::<I4Block>() as f64 / (PANEL_ROWS * I4_COLUMNS) as f64,
        Dtype::I8 => 1.0,
        Dtype::F16 => 2.0,
        Dtype::F32 => 4.0,
    }
}

fn products(kernels: &Kernels, weights: &Weights, dtype: Dtype, m: usize) {
    let (n, k, matrix) = (weights.n, weights.k, weights.matrix(dtype));
    let (values, scales, rows) = (vec![77i8; m * k], vec![0.01; m], vec![0.5; m * k]);
    let activations = match dtype {
        Dtype::I8 | Dtype::I4 => Activations::I8 { values: &values, scales: &scales },
        _ => Activations::F32 { rows: &rows },
    };
    let mut out = vec![0.0; m * n];
    let time = seconds(|| {
        let out = ColumnsMut::new(black_box(&mut out), n);
        kernels.gemm(activations, &matrix, &Epilogue::NONE, 0..matrix.panels(), out);
    });
    let (bytes, macs) = ((n * k) as f64 * bytes_of_weight(dtype), (m * n * k) as f64);
    let (bandwidth, speed) = (bytes / time * 1e-9, macs / time * 1e-9);
    println!(
        "{dtype:?} {m:>4} x {n:>5} x {k:>4}: {bandwidth:7.1} GB/s {speed:7.1} G MAC/s {:9.1} us",
        time * 1e6
    );
}

/// 8 rows of `k` columns.
fn panel(dtype: Dtype, k: usize) -> PackedMatrix {
    let weights: Vec<f32> = (0..PANEL_ROWS * k).map(|i| (i * 37 % 255) as f32 - 127.0).collect();
    PackedMatrix::pack(dtype, PANEL_ROWS, k, &weights).expect("finite weights")
}

/// Products with one row beside reading the same bytes.
fn streams(kernels: &Kernels, dtype: Dtype) {
    let k = 512;
    for bytes in STREAMED {
        let n = (bytes as f64 / (k as f64 * bytes_of_weight(dtype))) as usize / PANEL_ROWS * PANEL_ROWS;
        let words = vec![0x0102_0304_0506_0708_u64; bytes / 8];
        let rows: Vec<u32> = (0..n).map(|row| (row % PANEL_ROWS) as u32).collect();
        let mut matrix = PackedMatrix::zeroed(dtype, n, k).expect("memory");
        matrix.gather(0, &panel(dtype, k).view(), &rows);
        let matrix = matrix.view();
        let (row, mut out) = (vec![77i8; k], vec![0.0; n]);
        let mut product = || {
            let activations = Activations::I8 { values: &row, scales: &[0.01] };
            let out = ColumnsMut::new(black_box(&mut out), n);
            kernels.gemm(activations, &matrix, &Epilogue::NONE, 0..matrix.panels(), out);
        };
        let (mut products, mut reads) = (Vec::new(), Vec::new());
        for _ in 0..100 {
            let start = Instant::now();
            product();
            products.push(bytes as f64 / start.elapsed().as_secs_f64() * 1e-9);
            let start = Instant::now();
            reads.push(read::read(black_box(&words)) / start.elapsed().as_secs_f64() * 1e-9);
        }
        let median = |mut rates: Vec<f64>| {
            rates.sort_by(f64::total_cmp);
            rates[rates.len() / 2]
        };
        let (product, read) = (median(products), median(reads));
        let megabytes = bytes >> 20;
        println!(
            "{dtype:?}    1 x {n:>6} x {k}, {megabytes:>2} MB: {product:5.1} GB/s; reading {read:5.1} GB/s; {:.2}",
            product / read
        );
    }
}

fn rows(kernels: &Kernels) {
    let len = 4096;
    let source: Vec<f32> = (0..len).map(|i| (i * 37 % 101) as f32 / 20.0 - 2.5).collect();
    let (mut x, mut values) = (source.clone(), vec![0i8; len]);
    let report = |name: &str, time: f64| println!("{name:<12} {:6.3} ns/element", time * 1e9 / len as f64);
    report(
        "softmax",
        seconds(|| {
            x.copy_from_slice(&source);
            kernels.softmax(black_box(&mut x));
        }),
    );
    for activation in [Activation::GeluErf, Activation::GeluTanh, Activation::Silu] {
        report(
            &format!("{activation:?}"),
            seconds(|| {
                x.copy_from_slice(&source);
                kernels.activate(activation, black_box(&mut x));
            }),
        );
    }
    report(
        "quantize",
        seconds(|| {
            black_box(kernels.quantize(black_box(&source), &mut values));
        }),
    );
    report(
        "log_sum_exp",
        seconds(|| {
            black_box(kernels.log_sum_exp(black_box(&source)));
        }),
    );
    report(
        "argmax",
        seconds(|| {
            black_box(kernels.argmax(black_box(&source)));
        }),
    );
    report("layer_norm", seconds(|| kernels.layer_norm(black_box(&source), &source, &source, 1e-5, &mut x)));
    let (heads, width, n) = (8, 64, 30);
    let cache = vec![0.1; n * heads * width];
    let rows = Rows {
        data: &cache,
        stride: heads * width,
        offset: 0,
        index: RowIndex::Range { first: 0, count: n },
    };
    let query = vec![0.2; heads * width];
    let attention =
        Attention { query: &query, keys: rows, values: rows, heads, width, scale: 0.125, bias: None };
    let (mut p, mut out) = (vec![0.0; heads * n], vec![0.0; heads * width]);
    let time = seconds(|| kernels.attend(black_box(&attention), &mut p, &mut out));
    let macs = (2 * n * heads * width) as f64;
    println!("attend 8 x 64, 30 keys: {:.1} us, {:.1} G MAC/s", time * 1e6, macs / time * 1e-9);
}

/// The tables of an instruction set: those for all int8 matrices, and, where they are others, those for narrow pairs.
fn tables(kernels: &'static Kernels) -> impl Iterator<Item = &'static Kernels> {
    let narrow = kernels.for_pairs(true);
    core::iter::once(kernels).chain((!core::ptr::eq(kernels, narrow)).then_some(narrow))
}

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let weights: Vec<Weights> = SHAPES.map(|(n, k)| Weights::new(n, k)).into();
    for kernels in Kernels::available().flat_map(tables) {
        if !wanted.is_empty() && !wanted.iter().any(|name| name == kernels.isa().name()) {
            continue;
        }
        println!("\n{}", kernels.names().map(|name| name.to_string()).join("  "));
        for dtype in [Dtype::I8, Dtype::I4, Dtype::F16, Dtype::F32] {
            for m in [1, 4, 16, 100] {
                weights
                    .iter()
                    .filter(|w| m < 100 || w.n < 32_000)
                    .for_each(|w| products(kernels, w, dtype, m));
            }
        }
        streams(kernels, Dtype::I8);
        streams(kernels, Dtype::I4);
        rows(kernels);
    }
}
