//! `siskin-export train --engine`: one process per library, and checkpoints that go from one to the other.

mod command;

use command::{Run, assert_success, text};
use serde_json::Value;
use siskin_export::onnxruntime::Library;
use siskin_export::train::Snapshot;
use siskin_export::train::trainer::LAST;
use std::path::PathBuf;

/// The libraries; says so where one of them is missing.
fn libraries() -> Option<[PathBuf; 2]> {
    let installed = |library: Library| {
        let path = library.installed_path().unwrap();
        let (there, command) = (path.exists(), library.setup_command());
        if !there {
            eprintln!("SKIPPED: engines are not compared: {} is missing: run `{command}`", path.display());
        }
        there.then_some(path)
    };
    Some([installed(Library::Stock)?, installed(Library::Training)?])
}

fn train(run: &Run, engine: &str, until: &str) -> String {
    let mut command = run.command();
    command.args(["--engine", engine, "--until", until]).env_remove("ORT_DYLIB_PATH");
    let output = command.output().unwrap();
    assert_success(&output);
    text(&output.stdout)
}

/// The loss of every step, by the log.
fn losses(run: &Run) -> Vec<f64> {
    let log = String::from_utf8(run.bytes("log.jsonl")).unwrap();
    let lines = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.filter_map(|line| line.get("loss").and_then(Value::as_f64)).collect()
}

fn assert_close(what: &str, a: &[f64], b: &[f64]) {
    assert_eq!(a.len(), b.len(), "{what}");
    for (step, (a, b)) in a.iter().zip(b).enumerate() {
        assert!((a - b).abs() < 2e-3 * (1.0 + a.abs()), "{what}, step {step}: {a} {b}");
    }
}

const TRAINING: &str = "log_every = 1\naccumulate = 2\nlearning_rate = 0.01\nwarmup = 10\n";

#[test]
fn curves_agree_and_each_engine_continues_the_other() {
    if libraries().is_none() {
        return;
    }
    let [whole, forth, back] = ["whole", "forth", "back"].map(|name| Run::new(name, TRAINING));
    train(&whole, "ort", "60");
    assert!(train(&forth, "ort-training", "30").contains("engine: ort-training: as --engine says"));
    assert!(train(&forth, "ort", "60").contains("continuing at step 30"));
    train(&back, "ort", "30");
    train(&back, "ort-training", "60");
    let curve = losses(&whole);
    assert_eq!(curve.len(), 60);
    assert!(curve[59] < 0.9 * curve[0], "{curve:?}");
    assert_close("ort-training, then ort", &losses(&forth), &curve);
    assert_close("ort, then ort-training", &losses(&back), &curve);
    let state = |run: &Run| Snapshot::read(&run.out().join(LAST)).unwrap().engine;
    for run in [&forth, &back] {
        assert_eq!(state(run).updates, 60);
        assert_eq!(
            state(run).weights.keys().collect::<Vec<_>>(),
            state(&whole).weights.keys().collect::<Vec<_>>()
        );
    }
}

#[test]
fn the_training_library_is_taken_where_it_is() {
    let Some([stock, training]) = libraries() else { return };
    let run = Run::new("auto", TRAINING);
    let said = train(&run, "auto", "1");
    let line = format!("engine: ort-training: {} has the training API", training.display());
    assert!(said.contains(&line), "{said}");
    let output = run.command().args(["--until", "2"]).env("ORT_DYLIB_PATH", &stock).output().unwrap();
    assert_success(&output);
    let line = format!("engine: ort: {} lacks the training API", stock.display());
    assert!(text(&output.stdout).contains(&line), "{}", text(&output.stdout));
}

#[test]
fn a_library_that_is_missing_or_of_another_release_is_named() {
    let run = Run::new("missing", TRAINING);
    let nowhere = run.folder.join("cache");
    let error = |engine: &str, variable: &str, value: &PathBuf| {
        let mut command = run.command();
        let output =
            command.args(["--engine", engine]).env_remove("ORT_DYLIB_PATH").env(variable, value).output();
        let output = output.unwrap();
        assert_eq!(output.status.code(), Some(1), "{}", text(&output.stdout));
        text(&output.stderr)
    };
    for (engine, command) in [
        ("auto", "`siskin-export ort setup`"),
        ("ort", "`siskin-export ort setup`"),
        ("ort-training", "`siskin-export ort setup --training`"),
    ] {
        let said = error(engine, "XDG_CACHE_HOME", &nowhere);
        assert!(said.contains(command), "{engine}: {said}");
    }
    let Some([stock, _]) = libraries() else { return };
    let said = error("ort-training", "ORT_DYLIB_PATH", &stock);
    for part in ["1.32.0", "1.19.2", "ort setup --training"] {
        assert!(said.contains(part), "{said}");
    }
}
