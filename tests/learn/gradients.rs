//! Gradients against finite differences. The differences are those of the oracle's `f64`, which is written from the
//! formulas and shares no code with the library.

use siskin::format::{File, Layout, SectionKind, Writer};
use siskin::learn::{Batch, Gradients, Objective, Parameters, Scope, gradients};
use siskin::model::{Model, ModelSpec, schema};
use siskin::tensor::{AlignedBytes, Dtype};

use crate::oracle::{Oracle, Real, Rows};
use crate::support::{Random, open, random_model, specs};

/// How far a number is moved: far above the noise of `f64`, and so little that hardly any ReLU passes its kink.
const STEP: f32 = 1e-6;

/// The largest error of a directional derivative, relative to the gradient's norm.
const BOUND: f64 = 1e-3;

const SMOOTHING: f32 = 0.1;

struct Pair {
    source: Vec<u32>,
    target: Vec<u32>,
}

/// Pairs of different lengths; the target's first token is given and not scored.
fn pairs(spec: &ModelSpec) -> [Pair; 3] {
    let mut random = Random::new(3);
    [(5, 4), (1, 3), (9, 6)].map(|(source, target)| Pair {
        source: random.tokens(source, spec.source_vocabulary),
        target: random.tokens(target, spec.target_vocabulary),
    })
}

fn batch(spec: &ModelSpec) -> Batch {
    let mut batch = Batch::default();
    for Pair { source, target } in pairs(spec) {
        batch.push(spec, &source, &target, 1).expect("a pair that fits");
    }
    batch
}

/// The logits of the rows that are scored, pair by pair, and their labels.
fn oracle_rows(spec: &ModelSpec, bytes: &[u8]) -> Vec<(Vec<f64>, u32)> {
    let oracle = Oracle::new(spec, bytes);
    let columns: Vec<usize> = (0..spec.target_vocabulary).collect();
    let mut rows = Vec::new();
    for Pair { source, target } in pairs(spec) {
        let memory: Rows<Real> = oracle.encode(&source);
        let decoded = oracle.decode(&memory, &[&[spec.decoder_start], &target[..]].concat(), &columns);
        let labels = target.iter().copied().chain([spec.end]);
        let scored = decoded.logits.into_iter().zip(labels).skip(1);
        rows.extend(scored.map(|(row, label)| (row.iter().map(|x| x.value).collect(), label)));
    }
    rows
}

fn log_softmax(row: &[f64]) -> Vec<f64> {
    let greatest = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let log_sum = greatest + row.iter().map(|x| (x - greatest).exp()).sum::<f64>().ln();
    row.iter().map(|x| x - log_sum).collect()
}

fn cross_entropy(spec: &ModelSpec, bytes: &[u8]) -> f64 {
    let smoothing = f64::from(SMOOTHING);
    let row_loss = |(row, label): (Vec<f64>, u32)| {
        let log_p = log_softmax(&row);
        let mean = log_p.iter().sum::<f64>() / log_p.len() as f64;
        -(1.0 - smoothing) * log_p[label as usize] - smoothing * mean
    };
    oracle_rows(spec, bytes).into_iter().map(row_loss).sum()
}

fn divergence(spec: &ModelSpec, base: &[u8], bytes: &[u8]) -> f64 {
    let pairs = oracle_rows(spec, base).into_iter().zip(oracle_rows(spec, bytes));
    let row_loss = |((base, _), (row, _)): ((Vec<f64>, u32), (Vec<f64>, u32))| {
        let (q, p) = (log_softmax(&base), log_softmax(&row));
        q.iter().zip(&p).map(|(q, p)| q.exp() * (q - p)).sum::<f64>()
    };
    pairs.map(row_loss).sum()
}

/// The bytes with a tensor's numbers moved by `STEP` in random directions times `sign`, and by how much each row-major
/// element moved. Of int8 matrices the scales are moved.
fn moved(bytes: &[u8], name: &str, sign: f32) -> (AlignedBytes, Vec<f64>) {
    let mut copy = AlignedBytes::copy_of(bytes);
    let tensor = File::parse(copy.as_slice()).expect("a model").tensors().get(name).expect("its tensor");
    let columns = tensor.shape.columns();
    let mut random = Random::named(1, name);
    let mut differences = vec![0.0; tensor.shape.rows() * columns];
    let mut shift = |at: usize, relative: bool| {
        let place = &mut copy.as_mut_slice()[at..at + 4];
        let before = f32::from_le_bytes(place.try_into().expect("four bytes"));
        let step = if random.below(2) == 0 { STEP } else { -STEP };
        let after = before + sign * step * if relative { before } else { 1.0 };
        place.copy_from_slice(&after.to_le_bytes());
        f64::from(after) - f64::from(before)
    };
    match (tensor.layout, tensor.dtype) {
        (Layout::Rows, _) => {
            for (i, difference) in differences.iter_mut().enumerate() {
                *difference = shift(tensor.values.start + 4 * i, false);
            }
        }
        (Layout::Panels, Dtype::F32) => {
            for (i, difference) in differences.iter_mut().enumerate() {
                let (row, k) = (i / columns, i % columns);
                *difference = shift(tensor.values.start + 4 * ((row / 8 * columns + k) * 8 + row % 8), false);
            }
        }
        (Layout::Panels, Dtype::I8 | Dtype::I4) => {
            let unmoved = AlignedBytes::copy_of(bytes);
            let matrix = tensor.matrix(unmoved.as_slice());
            let mut weights = vec![0.0; columns];
            for (row, differences) in differences.chunks_exact_mut(columns).enumerate() {
                let at = tensor.scales.start + 4 * row;
                let scale = f32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
                let step = shift(at, true);
                matrix.gather_row(row, 1.0, &mut weights);
                for (difference, weight) in differences.iter_mut().zip(&weights) {
                    *difference = step * f64::from((weight / scale).round());
                }
            }
        }
        (Layout::Panels, Dtype::F16) => unreachable!("f16 is too coarse to be moved"),
    }
    (copy, differences)
}

/// Holds the gradient of every tensor of the model in `bytes` against the differences of `loss`.
fn check(name: &str, spec: &ModelSpec, bytes: &[u8], found: &Gradients, loss: impl Fn(&[u8]) -> f64) {
    let parameters = Parameters::new(&open(bytes), &Scope::Everything, 0).expect("all tensors");
    assert_eq!(parameters.list().len(), schema(spec).len());
    for (parameter, gradient) in parameters.list().iter().zip(&found.0) {
        let tensor = &parameter.name;
        let (ahead, forward) = moved(bytes, tensor, 1.0);
        let (behind, backward) = moved(bytes, tensor, -1.0);
        let steps: Vec<f64> = forward.iter().zip(&backward).map(|(f, b)| f - b).collect();
        let numeric = loss(ahead.as_slice()) - loss(behind.as_slice());
        let analytic: f64 = gradient.iter().zip(&steps).map(|(&g, step)| f64::from(g) * step).sum();
        // The size of the derivative in a random direction.
        let products = gradient.iter().zip(&steps).map(|(&g, step)| (f64::from(g) * step).powi(2));
        let size = products.sum::<f64>().sqrt();
        assert!(size > 0.0, "{name}: {tensor} has no gradient");
        let error = (numeric - analytic).abs() / size;
        assert!(error < BOUND, "{name}: {tensor} differs by {error}: {numeric} by differences, {analytic}");
    }
}

/// Every tensor of every family, each element type that can be moved.
#[test]
fn every_tensor_has_the_gradient_of_its_differences() {
    for (i, (name, spec)) in specs::variations().into_iter().enumerate() {
        // How weights are stored is the same for every family.
        let int4 = (name == "marian").then_some(Dtype::I4);
        for dtype in [Dtype::F32, Dtype::I8].into_iter().chain(int4) {
            let file = AlignedBytes::copy_of(&random_model(&spec, i as u64, dtype));
            let bytes = file.as_slice();
            let model = open(bytes);
            let parameters = Parameters::new(&model, &Scope::Everything, 0).expect("all tensors");
            let objective = Objective::Labels { smoothing: SMOOTHING };
            let (loss, found) = gradients(&model, &parameters, &batch(&spec), objective).expect("gradients");
            let exact = cross_entropy(&spec, bytes);
            assert!((loss.sum - exact).abs() < 1e-4 * exact, "{name}: {} and {exact}", loss.sum);
            check(&format!("{name}, {dtype:?}"), &spec, bytes, &found, |bytes| cross_entropy(&spec, bytes));
        }
    }
}

/// The divergence from the base, where the parameters are those of another model.
#[test]
fn the_divergence_from_the_base_has_the_gradient_of_its_differences() {
    for (name, spec) in [("marian", specs::marian()), ("t5 gated", specs::t5_gated())] {
        let [base, other] = [1, 2].map(|seed| AlignedBytes::copy_of(&random_model(&spec, seed, Dtype::F32)));
        let parameters = Parameters::new(&open(other.as_slice()), &Scope::Everything, 0);
        let parameters = parameters.expect("all tensors");
        let base_model = open(base.as_slice());
        let (loss, found) =
            gradients(&base_model, &parameters, &batch(&spec), Objective::Base).expect("gradients");
        let exact = divergence(&spec, base.as_slice(), other.as_slice());
        assert!((loss.sum - exact).abs() < 1e-4 * exact, "{name}: {} and {exact}", loss.sum);
        check(name, &spec, other.as_slice(), &found, |bytes| divergence(&spec, base.as_slice(), bytes));
        let same = Parameters::new(&base_model, &Scope::Everything, 0).expect("all tensors");
        let (loss, found) = gradients(&base_model, &same, &batch(&spec), Objective::Base).expect("gradients");
        assert!(loss.sum.abs() < 1e-5, "{name}: the base diverges from itself by {}", loss.sum);
        assert!(found.0.iter().flatten().all(|g| g.abs() < 1e-5), "{name}: and has gradients");
    }
}

/// Gradients flow through frozen panels of every type as through the same numbers in f32, but for rounding: the
/// embedding of an int8 token is `value * (scale * factor)`.
#[test]
fn frozen_panels_pass_the_gradients_of_their_numbers() {
    for (i, (name, spec)) in specs::variations().into_iter().enumerate() {
        for dtype in [Dtype::F32, Dtype::F16, Dtype::I8] {
            let model = open(&random_model(&spec, i as u64, dtype));
            let of = |scope: &Scope| {
                let parameters = Parameters::new(&model, scope, 0).expect("something to learn");
                let objective = Objective::Labels { smoothing: 0.0 };
                let found = gradients(&model, &parameters, &batch(&spec), objective).expect("gradients").1;
                let names = parameters.list().iter().map(|parameter| parameter.name.clone());
                names.zip(found.0).collect::<std::collections::BTreeMap<_, _>>()
            };
            let (all, vectors) = (of(&Scope::Everything), of(&Scope::BiasesAndNorms));
            assert!(vectors.len() > 5 && vectors.len() < all.len(), "{name}: {} vectors", vectors.len());
            for (tensor, gradient) in &vectors {
                close(gradient, |i| all[tensor][i], &format!("{name}, {dtype:?}: {tensor}"));
            }
        }
    }
}

/// Every projection of the model, as a scope names it.
fn all_projections() -> Vec<String> {
    let blocks = [
        ("self_attention", &["query", "key", "value", "output"][..]),
        ("cross_attention", &["query", "key", "value", "output"]),
        ("ffn", &["up", "gate", "down"]),
        ("ssru", &["input", "forget"]),
    ];
    let of_side = |side| {
        blocks
            .iter()
            .flat_map(move |(block, names)| names.iter().map(move |name| format!("{side}.{block}.{name}")))
    };
    of_side("encoder").chain(of_side("decoder")).collect()
}

/// The gradients of A and B are those of the dense matrix W + B A, by the chain rule: dA = Bᵀ dW, dB = dW Aᵀ.
#[test]
fn low_rank_terms_have_the_gradients_of_the_matrix_that_they_are() {
    const RANK: usize = 3;
    for (name, spec) in
        [("marian", specs::marian()), ("firefox", specs::firefox()), ("t5 gated", specs::t5_gated())]
    {
        let model = open(&random_model(&spec, 4, Dtype::I8));
        let scope = Scope::LowRank { rank: RANK, projections: all_projections() };
        let mut terms = Parameters::new(&model, &scope, 7).expect("projections");
        let mut random = Random::new(8);
        let ups = terms.list_mut().iter_mut().filter(|parameter| parameter.name.ends_with("lora_b"));
        ups.for_each(|up| up.values.iter_mut().for_each(|x| *x = 0.1 * random.normal()));
        let mut dense = Parameters::new(&model, &Scope::Everything, 0).expect("all tensors");
        let objective = Objective::Labels { smoothing: SMOOTHING };
        let pairs: Vec<_> =
            terms.list().chunks_exact(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect();
        let place = |projection: &str| -> (usize, usize) {
            // The matrix that the projection is stacked in, and its first row.
            let (block, part) = projection.rsplit_once('.').expect("a block");
            let parts = [
                ("qkv", ["query", "key", "value"]),
                ("key_value", ["key", "value", ""]),
                ("gate_up", ["gate", "up", ""]),
            ];
            let stacks = parts.iter().map(|(stack, parts)| (*stack, parts.iter().position(|p| *p == part)));
            let own = [(part, Some(0))];
            let mut all = own.into_iter().chain(stacks);
            all.find_map(|(stack, index)| {
                let name = format!("{block}.{stack}.weight");
                let number = dense.list().iter().position(|parameter| parameter.name == name)?;
                Some((number, index?))
            })
            .expect("a matrix")
        };
        let places: Vec<_> =
            pairs.iter().map(|(a, _)| place(a.name.strip_suffix(".lora_a").expect("an A"))).collect();
        for ((a, b), &(matrix, part)) in pairs.iter().zip(&places) {
            let (columns, rows) = (a.shape[1], b.shape[0]);
            let weights = &mut dense.list_mut()[matrix].values[part * rows * columns..];
            for (i, weight) in weights[..rows * columns].iter_mut().enumerate() {
                let (row, column) = (i / columns, i % columns);
                let product = |r: usize| b.values[row * RANK + r] * a.values[r * columns + column];
                *weight += (0..RANK).map(product).sum::<f32>();
            }
        }
        let of = |parameters| gradients(&model, parameters, &batch(&spec), objective).expect("gradients");
        let ((loss, found), (dense_loss, dense)) = (of(&terms), of(&dense));
        assert!((loss.sum - dense_loss.sum).abs() < 1e-4 * loss.sum, "{name}: {loss:?} and {dense_loss:?}");
        assert!(pairs.len() >= 18, "{name}: {} terms", pairs.len());
        for (i, ((a, b), &(matrix, part))) in pairs.iter().zip(&places).enumerate() {
            let (columns, rows) = (a.shape[1], b.shape[0]);
            let dw = &dense.0[matrix][part * rows * columns..][..rows * columns];
            let da = |at: usize| {
                (0..rows)
                    .map(|row| b.values[row * RANK + at / columns] * dw[row * columns + at % columns])
                    .sum()
            };
            let db = |at: usize| {
                (0..columns).map(|k| dw[at / RANK * columns + k] * a.values[at % RANK * columns + k]).sum()
            };
            close(&found.0[2 * i], da, &format!("{name}: {}", a.name));
            close(&found.0[2 * i + 1], db, &format!("{name}: {}", b.name));
        }
    }
}

/// Every element is within `BOUND` of the tensor's root mean square.
fn close(found: &[f32], expected: impl Fn(usize) -> f32, name: &str) {
    let expected: Vec<f32> = (0..found.len()).map(expected).collect();
    let square = expected.iter().map(|x| f64::from(x * x)).sum::<f64>() / expected.len() as f64;
    for (found, expected) in found.iter().zip(&expected) {
        let error = f64::from((found - expected).abs()) / square.sqrt();
        assert!(error < BOUND, "{name}: {found}, not {expected}");
    }
}

/// Gradients are the same to the bit on the kernels of every instruction set.
#[test]
fn gradients_are_the_same_on_every_instruction_set() {
    let spec = specs::marian();
    let bytes = random_model(&spec, 5, Dtype::I8);
    let of = |kernels| {
        let model = Model::from_bytes(AlignedBytes::copy_of(&bytes)).expect("a model").with_kernels(kernels);
        let parameters = Parameters::new(&model, &Scope::Everything, 0).expect("all tensors");
        let objective = Objective::Labels { smoothing: SMOOTHING };
        gradients(&model, &parameters, &batch(&spec), objective).expect("gradients")
    };
    let mut all = siskin::kernels::Kernels::available();
    let (loss, portable) = of(all.next().expect("the portable kernels"));
    for kernels in all {
        let (other_loss, other) = of(kernels);
        assert_eq!((loss, &portable.0), (other_loss, &other.0), "{kernels:?}");
    }
}

/// A file with other golden sentences is the same base; one with another weight is not.
#[test]
fn a_fingerprint_is_of_what_is_computed() {
    let bytes = AlignedBytes::copy_of(&random_model(&specs::marian(), 1, Dtype::I8));
    let file = File::parse(bytes.as_slice()).expect("a model");
    let with_golden = Writer::copy_of(&file).optional(SectionKind::Golden, vec![0; 8]).finish();
    let with_golden = AlignedBytes::copy_of(&with_golden);
    assert_eq!(File::parse(with_golden.as_slice()).expect("a model").fingerprint(), file.fingerprint());
    let other = AlignedBytes::copy_of(&random_model(&specs::marian(), 2, Dtype::I8));
    assert_ne!(File::parse(other.as_slice()).expect("a model").fingerprint(), file.fingerprint());
}
