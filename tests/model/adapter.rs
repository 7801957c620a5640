//! Adapters over a model: what they compute, that they change no bit elsewhere, and what is refused.

use std::sync::Arc;

use siskin::ErrorKind;
use siskin::format::{File, Layout};
use siskin::kernels::Kernels;
use siskin::model::{Adapter, AdapterBuilder, Model, ModelSpec, schema};
use siskin::nn::FfnShape;
use siskin::tensor::{AlignedBytes, Dtype};

use crate::session;
use crate::support::{Random, Recipe, open, random_model, specs};

const RANK: usize = 3;

/// A low-rank term: the matrix that it stands beside, its rows there, and its factors.
struct Term {
    matrix: String,
    first: usize,
    projection: String,
    shape: [usize; 2],
    down: Vec<f32>,
    up: Vec<f32>,
}

/// A term for every projection of a model.
fn terms(spec: &ModelSpec) -> Vec<Term> {
    let mut terms = Vec::new();
    for entry in schema(spec) {
        let Some(place) = entry.name.strip_suffix(".weight") else { continue };
        if entry.layout != Layout::Panels || !place.contains(".layers.") {
            continue;
        }
        let (block, stack) = place.rsplit_once('.').expect("a block");
        let parts: &[&str] = match stack {
            "qkv" => &["query", "key", "value"],
            "key_value" => &["key", "value"],
            "gate_up" => &["gate", "up"],
            single => &[single],
        };
        let rows = entry.shape[0] / parts.len();
        for (i, part) in parts.iter().enumerate() {
            let projection = format!("{block}.{part}");
            let mut random = Random::named(6, &projection);
            let mut values = |count: usize| (0..count).map(|_| 0.2 * random.normal()).collect();
            terms.push(Term {
                matrix: entry.name.clone(),
                first: i * rows,
                down: values(RANK * entry.shape[1]),
                up: values(rows * RANK),
                shape: [rows, entry.shape[1]],
                projection,
            });
        }
    }
    terms
}

fn adapter_file(model: &Model, terms: &[Term], version: u32) -> Vec<u8> {
    let names: Vec<_> = terms
        .iter()
        .map(|t| (format!("{}.lora_a", t.projection), format!("{}.lora_b", t.projection)))
        .collect();
    let shapes: Vec<_> = terms.iter().map(|t| ([RANK, t.shape[1]], [t.shape[0], RANK])).collect();
    let mut builder = AdapterBuilder::new(model, version).expect("a model");
    for ((term, (down, up)), (down_shape, up_shape)) in terms.iter().zip(&names).zip(&shapes) {
        builder.tensor(down, down_shape, &term.down).expect("numbers");
        builder.tensor(up, up_shape, &term.up).expect("numbers");
    }
    builder.build()
}

fn adapter(bytes: &[u8]) -> siskin::Result<Arc<Adapter>> {
    Adapter::from_bytes(AlignedBytes::copy_of(bytes)).map(Arc::new)
}

fn adapted(model: &Model, bytes: &[u8]) -> Arc<Model> {
    let adapter = adapter(bytes).expect("an adapter");
    Arc::new(model.with_adapter(adapter).expect("an adapter for this model"))
}

/// The logits of four steps for three sources together, or for one of them alone.
fn logits(model: &Arc<Model>, only: Option<usize>, threads: usize) -> Vec<Vec<f32>> {
    let sources = [&[3u32, 4, 5, 6][..], &[7], &[8, 9, 10, 11, 12, 13]];
    let chosen: Vec<usize> = only.map_or(vec![0, 1, 2], |only| vec![only]);
    let mut shape = *session(model, 9, 6).shape();
    shape.threads = threads;
    let mut session = siskin::model::Session::new(Arc::clone(model), shape).expect("a small session");
    session.encode(chosen.iter().map(|&i| sources[i])).expect("sources that fit");
    let mut rows = vec![Vec::new(); chosen.len()];
    for step in 0..4 {
        let tokens: Vec<u32> = chosen.iter().map(|&i| (2 + i + 3 * step) as u32).collect();
        let parents: Vec<u32> = (0..chosen.len() as u32).collect();
        let width = model.spec().target_vocabulary;
        let logits = session.step(&tokens, &parents).expect("tokens that fit");
        rows.iter_mut().zip(logits.chunks(width)).for_each(|(row, logits)| row.extend_from_slice(logits));
    }
    rows
}

fn families() -> [(&'static str, ModelSpec); 4] {
    let gated = ModelSpec { ffn: FfnShape::Gated, ..specs::m2m100() };
    [
        ("marian", specs::marian()),
        ("firefox", specs::firefox()),
        ("t5 gated", specs::t5_gated()),
        ("gated", gated),
    ]
}

/// Over f32 weights: what the model with the matrices W + B A gives.
#[test]
fn low_rank_terms_are_what_merged_matrices_are() {
    for (name, spec) in families() {
        let model = open(&random_model(&spec, 2, Dtype::F32));
        let terms = terms(&spec);
        let merge = |entry: &siskin::model::SchemaEntry, values: &mut [f32]| {
            for term in terms.iter().filter(|term| term.matrix == entry.name) {
                let [rows, columns] = term.shape;
                for i in 0..rows * columns {
                    let (row, column) = (i / columns, i % columns);
                    let products =
                        (0..RANK).map(|r| term.up[row * RANK + r] * term.down[r * columns + column]);
                    values[term.first * columns + i] += products.sum::<f32>();
                }
            }
        };
        let merged = open(&Recipe { edit: &merge, ..Recipe::new(&spec, 2, Dtype::F32) }.build());
        let adapted = adapted(&model, &adapter_file(&model, &terms, 1));
        let (found, expected) = (logits(&adapted, None, 1).concat(), logits(&merged, None, 1).concat());
        let base = logits(&model, None, 1).concat();
        let largest = |other: &[f32]| found.iter().zip(other).fold(0.0f32, |m, (a, b)| m.max((a - b).abs()));
        assert!(largest(&expected) < 2e-4, "{name}: {} away from the merged model", largest(&expected));
        assert!(largest(&base) > 0.1, "{name}: {} away from the base", largest(&base));
    }
}

/// Over every type of weights: one's own bits in any batch, on any number of threads, on every instruction set; a term of
/// zeros changes nothing.
#[test]
fn an_adapter_gives_the_same_bits_everywhere() {
    for (name, spec) in families() {
        for dtype in [Dtype::I8, Dtype::F16, Dtype::F32] {
            let bytes = random_model(&spec, 2, dtype);
            let (model, mut terms) = (open(&bytes), terms(&spec));
            let file = adapter_file(&model, &terms, 1);
            let together = logits(&adapted(&model, &file), None, 1);
            assert_eq!(together, logits(&adapted(&model, &file), None, 2), "{name}, {dtype:?}: threads");
            for kernels in Kernels::available() {
                let model = Model::from_bytes(AlignedBytes::copy_of(&bytes)).expect("a model");
                let other = adapted(&model.with_kernels(kernels), &file);
                assert_eq!(together, logits(&other, None, 1), "{name}, {dtype:?}: {kernels:?}");
            }
            for (i, row) in together.iter().enumerate() {
                let alone = logits(&adapted(&model, &file), Some(i), 1);
                assert_eq!(row, &alone[0], "{name}, {dtype:?}: sentence {i} alone");
            }
            terms.iter_mut().for_each(|term| term.up.fill(0.0));
            let silent = adapted(&model, &adapter_file(&model, &terms, 1));
            assert_eq!(logits(&silent, None, 1), logits(&model, None, 1), "{name}, {dtype:?}: zeros");
        }
    }
}

/// Vectors, tables and matrices in the place of the model's: the bits of a model that has them itself.
#[test]
fn replaced_tensors_are_those_of_a_model_that_has_them() {
    for (name, spec) in [("bart", specs::bart()), ("t5", specs::t5()), ("marian", specs::marian())] {
        let (model, other) =
            (open(&random_model(&spec, 2, Dtype::F32)), open(&random_model(&spec, 3, Dtype::F32)));
        let file = File::parse(other.bytes()).expect("a model");
        let tensors: Vec<_> = schema(&spec)
            .into_iter()
            .map(|entry| {
                let tensor = file.tensors().get(&entry.name).expect("its tensor");
                let values = match entry.layout {
                    Layout::Rows => tensor.rows(other.bytes()).to_vec(),
                    Layout::Panels => {
                        let matrix = tensor.matrix(other.bytes());
                        let mut values = vec![0.0; matrix.rows() * matrix.columns()];
                        let rows = values.chunks_exact_mut(matrix.columns()).enumerate();
                        rows.for_each(|(row, out)| matrix.gather_row(row, 1.0, out));
                        values
                    }
                };
                (entry, values)
            })
            .collect();
        let mut builder = AdapterBuilder::new(&model, 1).expect("a model");
        for (entry, values) in &tensors {
            builder.tensor(&entry.name, &entry.shape, values).expect("numbers");
        }
        assert_eq!(logits(&adapted(&model, &builder.build()), None, 1), logits(&other, None, 1), "{name}");
    }
}

/// Several adapters over one model: its bytes are there once, and each gives its own answer.
#[test]
fn adapters_share_their_model() {
    let spec = specs::marian();
    let model = open(&random_model(&spec, 2, Dtype::I8));
    let mut other_terms = terms(&spec);
    other_terms.iter_mut().for_each(|term| term.up.iter_mut().for_each(|x| *x = -*x));
    let one = adapted(&model, &adapter_file(&model, &terms(&spec), 1));
    let two = adapted(&one, &adapter_file(&model, &other_terms, 2));
    assert_eq!(
        (one.bytes().as_ptr(), two.bytes().as_ptr()),
        (model.bytes().as_ptr(), model.bytes().as_ptr())
    );
    let versions = [&one, &two].map(|model| model.adapter().map(|adapter| adapter.version()));
    assert_eq!(versions, [Some(1), Some(2)]);
    let [base, first, second] = [&model, &one, &two].map(|model| logits(model, None, 1));
    assert!(first != base && second != base && first != second);
    let without = Arc::new(two.without_adapter().expect("the base"));
    assert_eq!(logits(&without, None, 1), base);
}

#[test]
fn what_does_not_fit_is_refused_and_named() {
    let spec = specs::marian();
    let model = open(&random_model(&spec, 2, Dtype::I8));
    let refused = |bytes: &[u8], what: &str| {
        let error = model.with_adapter(adapter(bytes).expect("an adapter")).err().expect(what);
        assert_eq!(error.kind(), ErrorKind::Schema, "{error}");
        assert!(error.to_string().contains(what), "{what:?} is not in {error}");
    };
    let other = open(&random_model(&spec, 3, Dtype::I8));
    refused(&adapter_file(&other, &terms(&spec), 1), "another model");
    let mut renamed = terms(&spec);
    renamed[0].projection = "encoder.layers.9.self_attention.query".into();
    refused(&adapter_file(&model, &renamed, 1), "encoder.layers.9.self_attention.query.lora_a has no place");
    let tensor = |name: &str, shape: &[usize]| {
        let values = vec![0.5; shape.iter().product()];
        AdapterBuilder::new(&model, 1)
            .expect("a model")
            .tensor(name, shape, &values)
            .expect("numbers")
            .build()
    };
    refused(&tensor("decoder.layers.0.ffn.down.lora_a", &[2, 64]), "lora_b is missing");
    refused(&tensor("decoder.layers.0.ffn.down.lora_a", &[2, 63]), "[2, 63]");
    refused(&tensor("decoder.layers.0.ffn.down.lora_b", &[32, 2]), "lora_b has no place");
    refused(&tensor("output.bias", &[49]), "output.bias is [49]");
    let no_model =
        Model::from_bytes(AlignedBytes::copy_of(&tensor("output.bias", &[50]))).err().expect("it is none");
    assert!(no_model.to_string().contains("is an adapter"), "{no_model}");
    let no_adapter = adapter(model.bytes()).err().expect("it is none");
    assert!(no_adapter.to_string().contains("no adapter"), "{no_adapter}");
    let nan =
        AdapterBuilder::new(&model, 1).expect("a model").tensor("output.bias", &[50], &[f32::NAN; 50]).err();
    assert_eq!(nan.expect("NaN").kind(), ErrorKind::NonFinite);
}

#[test]
fn every_truncation_is_refused() {
    let spec = specs::marian();
    let model = open(&random_model(&spec, 2, Dtype::I8));
    let bytes = adapter_file(&model, &terms(&spec)[..2], 1);
    for length in 0..bytes.len() {
        assert!(adapter(&bytes[..length]).is_err(), "{length} of {} bytes", bytes.len());
    }
}
