//! Models on LiteRT and TensorFlow Lite as delegates, against the CPU: every kind of block, every kind of weights, a shipped
//! model, and what is known to give wrong numbers.
//!
//! `SISKIN_DELEGATES` names the delegates (`litert litert:gpu tflite`) whose libraries are here, which are those of
//! `SISKIN_LITERT_LIBRARY` and `SISKIN_TFLITE_LIBRARY`: `tests/delegates.sh` installs them and runs this file.

mod data;
mod delegate_setup;
mod setup;

use delegate_setup::{
    F32_ERROR, Folder, SHIPPED, Tensors, decode, differing, f32_model, greedy, margin, random_tensors, shape,
    sources,
};
use setup::specs;
use siskin::delegate::{Compiled, named};
use siskin::format::{File, crc32};
use siskin::model::{ModelSpec, SessionShape};
use siskin::{ErrorKind, Model, Result};
use siskin_export::onnx::inference::{Cache, Caller, decoder_step};
use siskin_export::tflite::builtin::{Builtin, Weights};
use siskin_export::tflite::convert::{Parameters, convert};
use siskin_export::tflite::export::{DECODER_STEP, ENCODER, FACTS, Options, Sizes, write};
use siskin_export::tflite::schema::{self as tflite, ElementType, Operator};
use siskin_export::train::warm_start::read_model;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The delegates whose libraries are here.
fn delegates() -> Vec<String> {
    let names = std::env::var("SISKIN_DELEGATES").unwrap_or_default();
    if names.is_empty() {
        eprintln!("SKIPPED: SISKIN_DELEGATES names no delegate; tests/delegates.sh does");
    }
    names.split_whitespace().map(str::to_owned).collect()
}

fn is_here(name: &str) -> bool {
    delegates().iter().any(|delegate| delegate == name)
}

/// The kinds of weights that a delegate runs: TensorFlow Lite 2.9 does not know scales of rows.
fn kinds(delegate: &str) -> &'static [Weights] {
    match delegate {
        "tflite" => &[Weights::F32, Weights::PerTensor],
        _ => &[Weights::F32, Weights::PerChannel],
    }
}

/// Writes the graphs of a model for a shape of [`shape`] to `folder`.
fn export<'a>(folder: &'a Folder, model: &Model, tensors: &Tensors, weights: Weights) -> &'a Path {
    let shape = shape(model.spec());
    let sizes = Sizes {
        batch: shape.batch,
        beam: shape.beam,
        source_length: shape.source_length,
        target_length: shape.target_length,
    };
    export_sized(folder, model, tensors, weights, sizes)
}

fn export_sized<'a>(
    folder: &'a Folder,
    model: &Model,
    tensors: &Tensors,
    weights: Weights,
    sizes: Sizes,
) -> &'a Path {
    let fingerprint = File::parse(model.bytes()).unwrap().fingerprint();
    let options = Options { caller: Caller::Delegate, weights, sizes };
    write(model.spec(), tensors, Some(fingerprint), options, &folder.0).unwrap();
    &folder.0
}

fn compile(delegate: &str, model: &Arc<Model>, graphs: &Path) -> Result<Compiled> {
    let settings = [("graphs".to_owned(), graphs.display().to_string())];
    named(delegate, &settings)?.compile(model, &shape(model.spec()))
}

#[test]
fn every_block_with_all_kinds_of_weights_gives_the_numbers_of_the_cpu() {
    for delegate in delegates() {
        // A simulator of a GPU is slow: it gets one spec of each kind of decoder. Relative positions it cannot run.
        let few = ["pre-norm, GELU, sinusoidal, decoder tied", "SSRU"];
        let specs = specs().into_iter().filter(|(name, _)| delegate != "litert:gpu" || few.contains(name));
        for (name, spec) in specs {
            let tensors = random_tensors(&spec);
            let model = f32_model(&spec, &tensors);
            let folder = Folder::new(&format!("{delegate}{name}"));
            for &weights in kinds(&delegate) {
                let compiled = compile(&delegate, &model, export(&folder, &model, &tensors, weights));
                let compiled = compiled.unwrap_or_else(|error| panic!("{name}, {weights:?}: {error}"));
                let test = compiled.self_test();
                println!("{delegate}, {name}, {weights:?}: {test}");
                if weights == Weights::F32 {
                    assert!(test.worst_error < F32_ERROR, "{delegate}, {name}: {test}");
                }
            }
        }
    }
}

#[test]
fn graphs_that_are_damaged_or_of_other_weights_are_refused() {
    for delegate in delegates() {
        let (_, spec) = &specs()[0];
        let tensors = random_tensors(spec);
        let model = f32_model(spec, &tensors);
        let folder = Folder::new(&format!("{delegate}refused"));
        let refused = |graphs: &Path, words: &str| {
            let error = compile(&delegate, &model, graphs).err().expect(words);
            assert_eq!(error.kind(), ErrorKind::Delegate);
            assert!(error.to_string().contains(words), "{error}");
        };
        // Weights of other values, though the graphs say that they are of this model.
        let mut wrong = tensors.clone();
        let up = wrong.get_mut("decoder.layers.0.ffn.up.weight").unwrap();
        up.values.iter_mut().for_each(|value| *value *= 3.0);
        refused(export(&folder, &model, &wrong, Weights::F32), "wrong numbers");

        let graphs = export(&folder, &model, &tensors, Weights::F32);
        let whole = std::fs::read(graphs.join(DECODER_STEP)).unwrap();
        for damaged in [b"no graph", &whole[..whole.len() / 2], &[]] {
            std::fs::write(graphs.join(DECODER_STEP), damaged).unwrap();
            refused(graphs, "decoder_step.tflite is damaged");
        }
        replace(graphs, DECODER_STEP, b"no graph");
        refused(graphs, DECODER_STEP);
        replace(graphs, DECODER_STEP, &std::fs::read(graphs.join(ENCODER)).unwrap());
        refused(graphs, "the graphs lack logits");
    }
}

/// Writes a file of a folder of graphs, with its checksum among the facts.
fn replace(graphs: &Path, name: &str, bytes: &[u8]) {
    std::fs::write(graphs.join(name), bytes).unwrap();
    let facts = std::fs::read_to_string(graphs.join(FACTS)).unwrap();
    let others = facts.lines().filter(|line| !line.starts_with(&format!("{name}=")));
    let facts: String = others.map(|line| format!("{line}\n")).collect();
    std::fs::write(graphs.join(FACTS), format!("{facts}{name}={:08x}\n", crc32(0, bytes))).unwrap();
}

/// A TensorFlow Lite file with other operators: `change` gets number and version of each kind.
fn with_operators(mut bytes: Vec<u8>, change: impl Fn(i32, i32) -> (i32, i32)) -> Vec<u8> {
    let number = |bytes: &[u8], at: usize| i32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
    let follow = |bytes: &[u8], at: usize| at + number(bytes, at) as usize;
    // A table begins with the distance back to its layout, which has the place of each field behind two sizes.
    let field = |bytes: &[u8], table: usize, index: usize| {
        let layout = (table as i64 - i64::from(number(bytes, table))) as usize + 4 + 2 * index;
        table + usize::from(u16::from_le_bytes([bytes[layout], bytes[layout + 1]]))
    };
    let model = follow(&bytes, 0);
    let codes = follow(&bytes, field(&bytes, model, 1));
    for i in 0..number(&bytes, codes) as usize {
        let code = follow(&bytes, codes + 4 + 4 * i);
        // Fields of `OperatorCode`: the number in one byte, as old programs read it, the version, and the number.
        let [old, version, new] = [0, 2, 3].map(|index| field(&bytes, code, index));
        let (changed, changed_version) = change(number(&bytes, new), number(&bytes, version));
        bytes[old] = changed as u8;
        bytes[version..version + 4].copy_from_slice(&changed_version.to_le_bytes());
        bytes[new..new + 4].copy_from_slice(&changed.to_le_bytes());
    }
    bytes
}

/// TensorFlow Lite's numbers of operators.
const EMBEDDING_LOOKUP: i32 = 7;
const FULLY_CONNECTED: i32 = 9;
const TANH: i32 = 28;

#[test]
fn tensorflow_lite_computes_scales_of_rows_wrong_where_it_is_told_that_it_knows_them_and_is_refused() {
    if !is_here("tflite") {
        return;
    }
    let path = Path::new(SHIPPED);
    let model = Arc::new(Model::open(path).unwrap());
    let (_, tensors) = read_model(path).unwrap();
    let folder = Folder::new("scales");
    let graphs = export(&folder, &model, &tensors, Weights::PerChannel);
    let refused = |words: &str| {
        let error = compile("tflite", &model, graphs).err().expect(words).to_string();
        println!("{error}");
        assert!(error.contains(words), "{error}");
    };
    // The version of the operator that has scales of rows.
    refused("TensorFlow Lite refuses it");
    for file in [ENCODER, DECODER_STEP] {
        let older = |number, version| (number, if number == FULLY_CONNECTED { 9 } else { version });
        let bytes = std::fs::read(graphs.join(file)).unwrap();
        replace(graphs, file, &with_operators(bytes, older));
    }
    refused("wrong numbers");
}

#[test]
fn a_shipped_model_gives_the_outputs_of_the_cpu() {
    let length = 64;
    let path = PathBuf::from(SHIPPED);
    let shipped = Arc::new(Model::open(&path).unwrap());
    let (spec, tensors) = read_model(&path).unwrap();
    let wide = f32_model(&spec, &tensors);
    let sources = sources(&mut greedy(&shipped, length));
    let sizes = Sizes { batch: 1, beam: 1, source_length: 128, target_length: length };
    println!(
        "| delegate | weights | outputs equal | with f32 on the CPU | worst logit difference | ms a step (CPU) |"
    );
    for delegate in delegates() {
        for &weights in kinds(&delegate) {
            let folder = Folder::new(&format!("{delegate}shipped"));
            let on = |model: &Arc<Model>| {
                let graphs = export_sized(&folder, model, &tensors, weights, sizes).display().to_string();
                let settings = [("graphs".to_owned(), graphs)];
                let mut translator =
                    greedy(model, length).with_delegate(named(&delegate, &settings).unwrap());
                let (outputs, time) = decode(&mut translator, &sources);
                let compiled = translator.compiled().unwrap();
                println!("{}", compiled.placement());
                (outputs, time, *compiled.self_test())
            };
            let (found, time, test) = on(&shipped);
            let (expected, cpu_time) = decode(&mut greedy(&shipped, length), &sources);
            let (found_wide, _, wide_test) = on(&wide);
            let (expected_wide, _) = decode(&mut greedy(&wide, length), &sources);
            let (differ, differ_wide) =
                (differing(&found, &expected), differing(&found_wide, &expected_wide));
            let total = sources.len();
            println!(
                "| {delegate} | {weights:?} | {} of {total} | {} of {total} | {:.3} (f32: {:.6}) | {time:.2} ({cpu_time:.2}) |",
                total - differ.len(),
                total - differ_wide.len(),
                test.worst_difference,
                wide_test.worst_difference,
            );
            for &i in &differ {
                let margin = margin(&found[i], &expected[i]);
                println!("  sentence {i} differs: log-probability {margin:+.3} of the CPU's");
                assert!(margin.abs() < 3.0, "sentence {i}: {margin}");
            }
            assert!(differ.len() * 10 <= total, "{} of {total} outputs differ", differ.len());
            if weights == Weights::F32 {
                assert!(differ_wide.is_empty(), "with f32 on both sides sentences {differ_wide:?} differ");
            }
        }
    }
}

/// A step, of two rows, that looks up what the output's bias is in an int8 table, by `parents`: both rows of the table have
/// the bias.
fn step_with_a_lookup(spec: &ModelSpec, tensors: &Tensors, length: usize) -> Vec<u8> {
    let mut tensors = tensors.clone();
    let bias = std::mem::take(&mut tensors.get_mut("output.bias").unwrap().values);
    tensors.get_mut("output.bias").unwrap().values = vec![0.0; bias.len()];
    let parameters = Parameters { tensors: &tensors, matrices: BTreeSet::new(), weights: Weights::F32 };
    let graph = decoder_step(spec, Caller::Delegate, Cache::Fixed).unwrap();
    let size = |name: &str| match name {
        "source" | "target" => length,
        "sentences" => 1,
        _ => 2,
    };
    let mut model = convert(&graph, &parameters, size);

    let find = |model: &tflite::Model, name: &str| {
        model.tensors.iter().position(|tensor| tensor.name == name).unwrap() as i32
    };
    let (logits, rows) = (find(&model, "logits"), find(&model, "parents"));
    let shape = model.tensors[logits as usize].shape.clone();
    let scale = bias.iter().fold(0f32, |most, value| most.max(value.abs())) / 127.0;
    let row: Vec<u8> = bias.iter().map(|value| (value / scale).round() as i8 as u8).collect();
    model.buffers.push(row.repeat(2));
    let buffer = Some(model.buffers.len() - 1);
    let mut tensor = |name: &str, element_type, buffer, scales| {
        model.tensors.push(tflite::Tensor {
            name: name.into(),
            shape: shape.clone(),
            element_type,
            buffer,
            scales,
        });
        model.tensors.len() as i32 - 1
    };
    let table = tensor("table", ElementType::I8, buffer, vec![scale]);
    let found = tensor("found", ElementType::F32, None, vec![]);
    let sum = tensor("logits", ElementType::F32, None, vec![]);
    model.tensors[logits as usize].name = "logits without bias".into();
    // In the place of an operator that `siskin-export` does not write: the file is changed below.
    model.operators.push(Operator {
        builtin: Builtin::Tanh,
        inputs: vec![rows, table],
        outputs: vec![found],
    });
    model.operators.push(Operator { builtin: Builtin::Add, inputs: vec![logits, found], outputs: vec![sum] });
    model.outputs.iter_mut().filter(|output| **output == logits).for_each(|output| *output = sum);
    model.to_bytes().unwrap()
}

#[test]
fn litert_gpu_finds_zeros_in_an_int8_table_and_is_refused() {
    let length = 16;
    let (_, spec) = &specs()[0];
    let mut tensors = random_tensors(spec);
    tensors.get_mut("output.bias").unwrap().values.iter_mut().for_each(|value| *value *= 20.0);
    let model = f32_model(spec, &tensors);
    for delegate in delegates().iter().filter(|name| name.starts_with("litert")) {
        let folder = Folder::new(&format!("{delegate}lookup"));
        let sizes = Sizes { batch: 1, beam: 2, source_length: length, target_length: length };
        let graphs = export_sized(&folder, &model, &tensors, Weights::F32, sizes);
        let lookup = |number, version| if number == TANH { (EMBEDDING_LOOKUP, 1) } else { (number, version) };
        replace(graphs, DECODER_STEP, &with_operators(step_with_a_lookup(spec, &tensors, length), lookup));
        let settings = [("graphs".to_owned(), graphs.display().to_string())];
        let shape =
            SessionShape { batch: 1, beam: 2, source_length: length, source_tokens: length, ..shape(spec) };
        let compiled = named(delegate, &settings).unwrap().compile(&model, &shape);
        let said =
            compiled.map(|compiled| compiled.self_test().to_string()).map_err(|error| error.to_string());
        println!("{delegate}: {said:?}");
        match delegate.as_str() {
            "litert" => assert!(said.is_ok(), "{said:?}"),
            _ => assert!(said.unwrap_err().contains("wrong numbers")),
        }
    }
}
