//! Training through ONNX Runtime: whole models against finite differences, runs against their repetition.

mod setup;

use setup::{config, library_is_missing, specs};
use siskin::decode::Strategy;
use siskin::model::{Model, ModelSpec, schema};
use siskin::pipeline::Translator;
use siskin::tensor::AlignedBytes;
use siskin_export::onnx::transformer::{Dropout, Regularization, emit};
use siskin_export::quantize::{Precision, write_model};
use siskin_export::train::adamw::AdamW;
use siskin_export::train::batch::Batch;
use siskin_export::train::data::{Cleaning, Example, Pair};
use siskin_export::train::engine::{Engine, Tensors};
use siskin_export::train::initialization::initialize;
use siskin_export::train::random::Random;
use siskin_export::train::selection::{Metric, kept_path};
use siskin_export::train::trainer::{AVERAGE, BEST, LAST, PREVIOUS};
use siskin_export::train::vocabulary::Vocabularies;
use siskin_export::train::{Config, OrtEngine, Snapshot, Trainer};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

fn folder(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("siskin-training-{}-{name}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    folder
}

fn pairs() -> Vec<Pair> {
    let words = ["abc", "cab", "bca", "aab", "cc", "b", "abcab", "bbca", "ca", "acb", "bac", "ccab"];
    let spell = |word: &str| word.chars().rev().map(|c| format!("{c}1 ")).collect::<String>();
    let pair = |word: &&str| Pair {
        source: (*word).to_owned(),
        targets: vec![spell(word).trim().to_owned()],
        ..Pair::default()
    };
    words.iter().map(pair).collect()
}

fn new_trainer(config: &Config, folder: &Path) -> Trainer<OrtEngine> {
    try_new_trainer(config, folder).unwrap()
}

fn try_new_trainer(config: &Config, folder: &Path) -> siskin::Result<Trainer<OrtEngine>> {
    let pairs = pairs();
    let vocabularies = Vocabularies::learn(&pairs, &config.data).unwrap();
    let spec = config.spec(vocabularies.source().unwrap().len(), vocabularies.target().unwrap().len());
    let weights = initialize(&emit(&spec, config.regularization()).unwrap().graph, config.seed);
    let engine = OrtEngine::new(&spec, config.regularization(), config.optimizer, 1, &weights).unwrap();
    let train = (pairs.as_slice(), &mut Cleaning::default());
    Trainer::new(config.clone(), engine, vocabularies, train, pairs.clone(), folder)
}

#[test]
fn a_run_that_is_resumed_gives_the_bytes_of_one_that_was_not() {
    if library_is_missing() {
        return;
    }
    let (whole, parts) = (folder("whole"), folder("parts"));
    new_trainer(&config(), &whole).run().unwrap();

    let mut first = new_trainer(&config(), &parts);
    first.run_until(6).unwrap();
    drop(first);
    let snapshot = Snapshot::read(&parts.join(LAST)).unwrap();
    assert_eq!(snapshot.progress.step, 6);
    let mut second = new_trainer(&config(), &parts);
    second.resume(snapshot).unwrap();
    second.run().unwrap();

    for file in [LAST, PREVIOUS, BEST] {
        let read = |folder: &Path| std::fs::read(folder.join(file)).unwrap();
        assert!(read(&whole) == read(&parts), "{file} differs after resuming");
    }
    std::fs::remove_dir_all(whole).unwrap();
    std::fs::remove_dir_all(parts).unwrap();
}

#[test]
fn the_best_checkpoints_are_averaged() {
    if library_is_missing() {
        return;
    }
    let mut config = config();
    config.training.keep_best = 2;
    config.training.evaluate_every = 3;
    let (whole, parts) = (folder("average-whole"), folder("average-parts"));
    let progress = new_trainer(&config, &whole).run().unwrap();
    new_trainer(&config, &parts).run_until(6).unwrap();
    let mut second = new_trainer(&config, &parts);
    second.resume(Snapshot::read(&parts.join(LAST)).unwrap()).unwrap();
    second.run().unwrap();

    let read = |folder: &Path| std::fs::read(folder.join(AVERAGE)).unwrap();
    assert!(read(&whole) == read(&parts), "the average differs after resuming");
    let weights = |path: PathBuf| Snapshot::read(&path).unwrap().model().unwrap().tensors;
    let kept: Vec<Tensors> =
        progress.kept.iter().map(|&(_, step)| weights(kept_path(&whole, step))).collect();
    assert_eq!(kept.len(), 2);
    assert_eq!(progress.best, Some(progress.kept[0]));
    assert_eq!(kept[0], weights(whole.join(BEST)));
    for (name, mean) in weights(whole.join(AVERAGE)) {
        for (i, value) in mean.values.iter().enumerate() {
            assert_eq!(*value, (kept[0][&name].values[i] + kept[1][&name].values[i]) * 0.5, "{name}");
        }
    }
    let files = std::fs::read_dir(&whole).unwrap().map(|e| e.unwrap().file_name());
    let kept_files = files.filter(|name| name.to_string_lossy().starts_with("best-")).count();
    assert_eq!(kept_files, 2, "of {:?}", progress.kept);
    std::fs::remove_dir_all(whole).unwrap();
    std::fs::remove_dir_all(parts).unwrap();
}

/// With a learning rate of 0 nothing ever improves.
#[test]
fn a_run_ends_when_its_patience_does() {
    if library_is_missing() {
        return;
    }
    let folder = folder("patience");
    let mut config = config();
    config.training.learning_rate = 0.0;
    config.training.evaluate_every = 2;
    config.training.patience = 3;
    config.training.metric = Metric::Chrf;
    let progress = new_trainer(&config, &folder).run().unwrap();
    assert_eq!((progress.step, progress.without_improvement), (8, 3));
    let log = std::fs::read_to_string(folder.join("log.jsonl")).unwrap();
    let last: serde_json::Value = serde_json::from_str(log.lines().last().unwrap()).unwrap();
    assert_eq!(progress.best, Some((last["dev_chrf"].as_f64().unwrap(), 2)));

    let mut again = new_trainer(&config, &folder);
    again.resume(Snapshot::read(&folder.join(LAST)).unwrap()).unwrap();
    assert_eq!(again.run().unwrap().step, 8, "it has no patience left");
    config.training.metric = Metric::Loss;
    let mut other = new_trainer(&config, &folder);
    other.resume(Snapshot::read(&folder.join(LAST)).unwrap()).unwrap();
    assert_eq!(other.run_until(10).unwrap().step, 10, "another metric starts anew");
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn parameters_are_the_tensors_of_the_runtime() {
    for (name, spec) in specs() {
        let graph = emit(&spec, Regularization::default()).unwrap().graph;
        let emitted: BTreeMap<String, Vec<usize>> = graph
            .parameters()
            .iter()
            .map(|&p| (graph.name(p).to_owned(), graph.parameter_shape(p)))
            .collect();
        let wanted = schema(&spec).into_iter().map(|entry| (entry.name, entry.shape)).collect();
        assert_eq!(emitted, wanted, "{name}");
    }
}

#[test]
fn a_spec_that_no_model_can_have_is_refused_by_name() {
    let spec = ModelSpec { heads: 0, ..config().spec(7, 9) };
    let error = emit(&spec, Regularization::default()).err().unwrap();
    assert!(error.to_string().contains("heads"), "{error}");
}

/// Trains, writes a model file and runs it: what the trainer's graph says greedily, the runtime says.
#[test]
fn a_model_learns_to_reverse_words_and_the_runtime_agrees() {
    if library_is_missing() {
        return;
    }
    let folder = folder("reverse");
    let mut config = config();
    config.training.steps = 300;
    config.training.evaluate_every = 300;
    config.training.dropout = Dropout::default();
    let progress = new_trainer(&config, &folder).run().unwrap();
    let log = std::fs::read_to_string(folder.join("log.jsonl")).unwrap();
    let last: serde_json::Value = serde_json::from_str(log.lines().last().unwrap()).unwrap();
    assert_eq!(progress.step, 300);
    let accuracy = last["dev_accuracy"].as_f64().unwrap();
    assert!(accuracy > 0.9, "{last}");

    let checkpoint = Snapshot::read(&folder.join(LAST)).unwrap().model().unwrap();
    for precision in [Precision::F32, Precision::F16, Precision::I8] {
        let file = AlignedBytes::copy_of(&write_model(&checkpoint, precision).unwrap());
        let mut translator = Translator::new(Arc::new(Model::from_bytes(file).unwrap())).unwrap();
        let mut options = translator.options().clone();
        options.decode.strategy = Strategy::Greedy;
        translator = translator.with_options(options).unwrap();
        let mut reversed =
            |pair: &Pair| translator.translate(&pair.source).unwrap().text() == pair.targets[0];
        let correct = pairs().iter().filter(|pair| reversed(pair)).count();
        assert_eq!(correct as f64 / pairs().len() as f64, accuracy, "{precision:?}");
    }
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn data_that_leaves_no_example_is_an_error() {
    if library_is_missing() {
        return;
    }
    let mut config = config();
    config.model.max_positions = 1; // the end token alone
    let error = try_new_trainer(&config, &folder("empty")).err().unwrap();
    assert_eq!(error.kind(), siskin::ErrorKind::InvalidOption);
    assert!(error.to_string().contains("max_positions"), "{error}");
}

#[test]
fn a_loss_that_is_no_number_stops_the_run() {
    if library_is_missing() {
        return;
    }
    let folder = folder("diverged");
    let mut trainer = new_trainer(&config(), &folder);
    trainer.run_until(6).unwrap();
    let mut snapshot = Snapshot::read(&folder.join(LAST)).unwrap();
    let bias = snapshot.engine.weights.get_mut("output.bias").unwrap();
    bias.values[0] = f32::NAN;
    trainer.resume(snapshot).unwrap();
    let error = trainer.run().unwrap_err();
    assert_eq!(error.kind(), siskin::ErrorKind::NonFinite);
    assert!(error.to_string().contains("at step 7"), "{error}");
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn gradients_of_whole_models_are_those_of_finite_differences() {
    if library_is_missing() {
        return;
    }
    let dropout = Dropout { residual: 0.1, attention: 0.1, ffn: 0.1 };
    let regularization = Regularization { dropout, label_smoothing: 0.1 };
    let long = Example { source: vec![3, 4, 5, 0], target: vec![3, 8, 4, 5, 0], prefix: 1 };
    let short = Example { source: vec![6, 0], target: vec![7, 0], prefix: 0 };
    let batch = Batch::new(&[&long, &short], 2);
    for (name, spec) in specs() {
        let weights = initialize(&emit(&spec, regularization).unwrap().graph, 1);
        // The first moment after one update is (1 - beta1) times the gradient: half of it here.
        let optimizer = AdamW { beta1: 0.5, clip_norm: f32::INFINITY, ..AdamW::default() };
        let mut engine = OrtEngine::new(&spec, regularization, optimizer, 1, &weights).unwrap();
        let batch = std::slice::from_ref(&batch);
        engine.update(batch, 0.0, &mut Random::new(9, &[])).unwrap();
        let gradients = engine.state().unwrap().first_moments;
        let mut loss = |weights: &Tensors| {
            engine.set_weights(weights).unwrap();
            let update = engine.update(batch, 0.0, &mut Random::new(9, &[])).unwrap();
            update.loss / batch[0].label_count() as f64
        };
        for (parameter, direction) in directions(&weights) {
            let mut at = |step: f32| {
                let mut moved = weights.clone();
                let data = &mut moved.get_mut(&parameter).unwrap().values;
                data.iter_mut().zip(&direction).for_each(|(w, d)| *w += step * d);
                loss(&moved)
            };
            let h = 0.01;
            let numeric = (8.0 * (at(h) - at(-h)) - at(2.0 * h) + at(-2.0 * h)) / (12.0 * f64::from(h));
            let gradient = &gradients[&parameter].values;
            let analytic: f64 = gradient.iter().zip(&direction).map(|(g, d)| f64::from(2.0 * g * d)).sum();
            let error = (numeric - analytic).abs() / (1.0 + numeric.abs());
            assert!(error < 1e-3, "{name}, {parameter}: {numeric} by differences, {analytic} by rule");
        }
    }
}

/// A random direction of unit length for each parameter.
fn directions(weights: &Tensors) -> Vec<(String, Vec<f32>)> {
    let mut random = Random::new(4, &[]);
    let mut direction = |length: usize| {
        let values: Vec<f32> = (0..length).map(|_| random.normal()).collect();
        let norm = values.iter().map(|x| x * x).sum::<f32>().sqrt();
        values.into_iter().map(|x| x / norm).collect()
    };
    weights.iter().map(|(name, tensor)| (name.clone(), direction(tensor.values.len()))).collect()
}
