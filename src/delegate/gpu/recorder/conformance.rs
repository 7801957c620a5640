//! Every kernel against naive loops in `f64`.

use super::*;
use crate::delegate::gpu::device::PackedDot;
use crate::delegate::gpu::driver::Transfer;
use crate::delegate::gpu::kernels::Products;
use crate::model::{Alignment, Model, SessionShape, ShortlistMode};
use crate::tensor::{Dtype, PackedMatrix, Panels, cast_slice};
use crate::threads::Pool;

/// Numbers in [-1, 1) that are the same on every machine (Knuth's linear congruential generator for MMIX).
struct Random(u64);

impl Random {
    fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 40) as f32 / (1 << 23) as f32 - 1.0
    }

    fn rows(&mut self, count: usize) -> Vec<f32> {
        (0..count).map(|_| self.next()).collect()
    }
}

/// The first GPU with the buffers of a small session of a model that ships, for `check`.
fn with_recorder(change: impl FnOnce(Gpu) -> Gpu, check: impl FnOnce(&mut Recorder<'_>)) {
    let gpu = match Gpu::open() {
        Ok(gpu) => change(gpu),
        Err(error) if std::env::var_os("SISKIN_REQUIRE_GPU").is_some() => panic!("{error}"),
        Err(error) => return eprintln!("SKIPPED: {error}"),
    };
    let model = Model::open(concat!(env!("CARGO_MANIFEST_DIR"), "/models/en-de/en-de.siskin"));
    let model = model.expect("a model that ships");
    let shape = SessionShape {
        batch: 4,
        beam: 5,
        source_length: 12,
        source_tokens: 24,
        target_length: 12,
        threads: 1,
        alignments: Alignment::Drop,
        shortlist: ShortlistMode::Off,
    };
    let buffers = Buffers::new(&gpu, model.spec(), &shape).expect("little memory");
    let pool = Pool::new(1);
    let ctx = model.context(&pool);
    let mut recorder = Recorder::new(&gpu, &ctx, model.spec(), &buffers).expect("a recorder");
    check(&mut recorder);
    gpu.check().expect("no complaint of the driver");
}

impl Recorder<'_> {
    fn floats(&self, values: &[f32]) -> Buffer {
        self.gpu.upload("floats", bytemuck::cast_slice(values)).expect("little memory")
    }

    /// Runs what was recorded for `rows` rows of step `position`, with `room` rows a step, and gives `count` words of
    /// `out`.
    fn run<T: crate::tensor::Element>(
        &mut self,
        [rows, position, room, length]: [u32; 4],
        out: &Buffer,
        count: usize,
    ) -> Vec<T> {
        self.gpu.write(&self.buffers.batch, bytemuck::cast_slice(&[rows, position, room, length]));
        let bytes = 4 * count as u64;
        let readable = self.gpu.readable(bytes);
        let copy = Transfer { from: out, to: &readable, bytes };
        self.gpu.submit(self.dispatches.iter().map(|dispatch| dispatch.launch(rows)), Some(copy));
        self.dispatches.clear();
        let mut words = Vec::new();
        let take = |bytes: &[u8]| words.extend_from_slice(cast_slice(bytes).expect("aligned"));
        self.gpu.read(&readable, bytes, take).expect("the words");
        words
    }
}

/// A product with random weights, and the weights that the kernel should see.
fn product(recorder: &Recorder<'_>, dtype: Dtype, n: usize, k: usize, bias: &[f32]) -> (Product, Vec<f32>) {
    let packed = PackedMatrix::pack(dtype, n, k, &Random(7).rows(n * k)).expect("finite weights");
    let view = packed.view();
    let mut seen = alloc::vec![0.0; n * k];
    seen.chunks_exact_mut(k).enumerate().for_each(|(row, out)| view.gather_row(row, 1.0, out));
    let (element, bytes, scales): (_, Vec<u8>, _) = match view.data() {
        Panels::F32(values) => (Element::F32, bytemuck::cast_slice(values).to_vec(), None),
        Panels::F16(values) => {
            (Element::F16, values.iter().flat_map(|value| value.to_le_bytes()).collect(), None)
        }
        Panels::I8 { values, scales, .. } => {
            (Element::I8, bytemuck::cast_slice(values).to_vec(), Some(scales))
        }
        Panels::I4 { .. } => panic!("int4 is uploaded as int8"),
    };
    let pair = |row: usize| [scales.map_or(1.0, |scales| scales[row]), bias.get(row).copied().unwrap_or(0.0)];
    let scale_bias: Vec<f32> = (0..n.next_multiple_of(PANEL_ROWS)).flat_map(pair).collect();
    let weights = recorder.gpu.upload("weights", &bytes).expect("little memory");
    (Product { element, rows: n, columns: k, weights, scale_bias: recorder.floats(&scale_bias) }, seen)
}

fn check_products(recorder: &mut Recorder<'_>) {
    const ROOM: usize = 13;
    const POSITION: usize = 2;
    for dtype in [Dtype::I8, Dtype::F16, Dtype::F32] {
        for (n, k) in [(1, 1), (7, 5), (9, 34), (67, 130)] {
            let mut random = Random(n as u64);
            let bias = random.rows(n);
            let (product, weights) = product(recorder, dtype, n, k, &bias);
            for (m, place) in [(1, Place::Front), (3, Place::Slots), (11, Place::Front), (13, Place::Slots)] {
                let before = if place == Place::Slots { POSITION * ROOM * n } else { 0 };
                let old = random.rows(before + m * n);
                let x = random.rows(m * k);
                let (from, out) = (recorder.floats(&x), recorder.floats(&old));
                let input = recorder.prepare(&product, &from, &from, &UNCHANGED);
                recorder.multiply(&product, &input, &out, place, Activation::Identity, Residual::Add);
                let batch = [m, POSITION, ROOM, 12].map(|size| size as u32);
                let found: Vec<f32> = recorder.run(batch, &out, old.len());
                assert_eq!(found[..before], old[..before], "what lies before the slots of the step");
                for (i, found) in found[before..].iter().enumerate() {
                    let (x, w) = (&x[i / n * k..][..k], &weights[i % n * k..][..k]);
                    // The largest magnitude of a row is 127 steps; each value is at most half a step off.
                    let half = x.iter().fold(0f32, |most, x| most.max(x.abs())) / 254.0;
                    let step = if dtype == Dtype::I8 { f64::from(half) } else { 0.0 };
                    let terms = || x.iter().zip(w).map(|(x, w)| (f64::from(*x), f64::from(*w)));
                    let exact = terms().map(|(x, w)| x * w).sum::<f64>()
                        + f64::from(bias[i % n])
                        + f64::from(old[before + i]);
                    let bound =
                        1e-5 + terms().map(|(x, w)| 1e-6 * (x * w).abs() + step * w.abs()).sum::<f64>();
                    let error = (f64::from(*found) - exact).abs();
                    assert!(error <= bound, "{dtype:?} {n} x {k}, {m} rows, {i}: {error} above {bound}");
                }
            }
        }
    }
}

#[test]
fn products() {
    with_recorder(|gpu| gpu, check_products);
}

#[test]
fn products_without_packed_dot_products_and_without_tiles() {
    let plain = |gpu: Gpu| gpu.with_dot(PackedDot::Unpacked).with_products(Products::Plain);
    with_recorder(plain, check_products);
}

#[test]
fn normalized_and_gated_rows() {
    with_recorder(
        |gpu| gpu,
        |recorder| {
            const ROWS: usize = 3;
            for width in [3, 64, 77] {
                let mut random = Random(width as u64);
                let x = random.rows(ROWS * 2 * width);
                let pairs = random.rows(2 * width);
                let weight_bias = recorder.floats(&pairs);
                let to = recorder.floats(&x);
                for code in [NormCode::Layer, NormCode::Rms] {
                    let norm = Normalization { code, epsilon: 1e-3, weight_bias: weight_bias.clone() };
                    let gate = Some(Activation::Silu);
                    let preparation = Preparation { norm: Some(&norm), gate, scale: 0.5 };
                    let from = recorder.floats(&x);
                    recorder.rows(&from, &to, width, &preparation, FLOATS | QUANTIZED);
                    let found: Vec<f32> = recorder.run([ROWS as u32, 0, 1, 1], &to, ROWS * width);
                    let scales: Vec<f32> =
                        recorder.run([ROWS as u32, 0, 1, 1], &recorder.buffers.scales.clone(), ROWS);
                    for (row, (found, x)) in found.chunks(width).zip(x.chunks(2 * width)).enumerate() {
                        let wide = |i: usize| f64::from(x[i]);
                        let gated: Vec<f64> = (0..width)
                            .map(|i| wide(i) / (1.0 + (-wide(i)).exp()) * wide(width + i))
                            .collect();
                        let mean = match code {
                            NormCode::Layer => gated.iter().sum::<f64>() / width as f64,
                            NormCode::Rms | NormCode::None => 0.0,
                        };
                        let square = gated.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / width as f64;
                        let mut most = 0f64;
                        for (i, (found, x)) in found.iter().zip(&gated).enumerate() {
                            let [weight, bias] = [pairs[2 * i], pairs[2 * i + 1]].map(f64::from);
                            let exact = 0.5 * ((x - mean) / (square + 1e-3).sqrt() * weight + bias);
                            assert!(
                                (f64::from(*found) - exact).abs() < 1e-5,
                                "row {row}, {i}: {found}, {exact}"
                            );
                            most = most.max(exact.abs());
                        }
                        assert!((f64::from(scales[row]) * 127.0 - most).abs() < 1e-5, "scale of row {row}");
                    }
                }
            }
        },
    );
}

#[test]
fn attention_by_ancestry() {
    with_recorder(
        |gpu| gpu,
        |recorder| {
            const ROOM: usize = 3;
            const LENGTH: usize = 12;
            const STEPS: usize = 5;
            let (heads, width) = (recorder.spec.heads, recorder.spec.head_width);
            let inner = heads * width;
            let slots = Random(3).rows(STEPS * ROOM * 3 * inner);
            let buffer = recorder.floats(&slots);
            let layout = [3 * inner, 3 * inner, inner, 2 * inner].map(|offset| offset as u32);
            // Rows split, change places and end; the slots that each reads, by the rule of `Hypotheses`.
            let steps: [&[u32]; STEPS] = [&[0, 1, 2], &[2, 2, 0], &[1, 0], &[1, 1, 0], &[2, 0, 1]];
            let mut ancestry: Vec<Vec<usize>> = alloc::vec![Vec::new(); ROOM];
            for (position, parents) in steps.into_iter().enumerate() {
                ancestry = parents.iter().map(|&parent| ancestry[parent as usize].clone()).collect();
                ancestry.iter_mut().enumerate().for_each(|(row, slots)| slots.push(position * ROOM + row));
                recorder.gpu.write(&recorder.buffers.parents, bytemuck::cast_slice(parents));
                recorder.advance();
                recorder.attend(&buffer, &buffer, layout, 1, None);
                let batch = [parents.len(), position, ROOM, LENGTH].map(|size| size as u32);
                let out = recorder.buffers.narrow.clone();
                let found: Vec<f32> = recorder.run(batch, &out, parents.len() * inner);
                for (row, found) in found.chunks(inner).enumerate() {
                    let part = |slot: usize, part: usize, i: usize| {
                        f64::from(slots[slot * 3 * inner + part * inner + i])
                    };
                    for head in 0..heads {
                        let columns = head * width..(head + 1) * width;
                        let score = |slot: &usize| {
                            let own = position * ROOM + row;
                            let product: f64 =
                                columns.clone().map(|i| part(own, 0, i) * part(*slot, 1, i)).sum();
                            (product * f64::from(recorder.spec.attention_scale)).exp()
                        };
                        let weights: Vec<f64> = ancestry[row].iter().map(score).collect();
                        let sum: f64 = weights.iter().sum();
                        for i in columns.clone() {
                            let values = ancestry[row].iter().zip(&weights);
                            let exact =
                                values.map(|(slot, weight)| weight / sum * part(*slot, 2, i)).sum::<f64>();
                            assert!((f64::from(found[i]) - exact).abs() < 1e-5, "step {position}, row {row}");
                        }
                    }
                }
            }
        },
    );
}
