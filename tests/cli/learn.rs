//! `siskin learn`, and `translate` with what it made.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use siskin::model::Adapter;

use crate::command::{Said, folder, model, output, run, siskin, write};
use crate::support::Random;

/// Where a test keeps its adapter; nothing is there.
fn adapter(name: &str) -> PathBuf {
    let path = folder().join(format!("cli-{}-{name}.adapter", std::process::id()));
    let _ = std::fs::remove_file(&path);
    path
}

fn learn(adapter: &Path, arguments: &[&str]) -> Said {
    let mut command = siskin();
    let quick = ["--learning-rate", "0.02", "--passes", "60"];
    output(
        command.args(["learn", "-m"]).arg(model()).arg("--adapter").arg(adapter).args(quick).args(arguments),
    )
}

/// What the model itself writes.
fn translate(adapter: &Path, text: &str) -> Said {
    recall(adapter, &[text, "--recall", "off"])
}

fn recall(adapter: &Path, arguments: &[&str]) -> Said {
    output(siskin().args(["translate", "-m"]).arg(model()).arg("--adapter").arg(adapter).args(arguments))
}

#[test]
fn a_correction_is_answered_and_can_be_undone() {
    let path = adapter("undone");
    let said = learn(&path, &["--source", "tit", "--target", "meise"]);
    assert!(said.lines()[0].starts_with("kept as version 1; 6 of 6 tokens right"), "{said:?}");
    assert_eq!(translate(&path, "tit").lines(), ["meise"]);
    let first = std::fs::read(&path).expect("an adapter");
    let pairs = write("pairs.tsv", b"owl\teule\n\njay\tspatz\n");
    let said = learn(&path, &["--pairs", pairs.to_str().expect("a path")]);
    assert!(said.lines()[0].starts_with("kept as version 2"), "{said:?}");
    assert_eq!(translate(&path, "owl").lines(), ["eule"]);
    assert_eq!(translate(&path, "jay").lines(), ["spatz"]);
    assert_eq!(learn(&path, &["--undo"]).lines(), ["version 1 is back"]);
    assert_eq!(std::fs::read(&path).expect("an adapter"), first);
    learn(&path, &["--undo"]).fails(1, &["nothing to undo"]);
}

#[test]
fn a_correction_answers_where_the_model_has_not_learned_it() {
    let path = adapter("recalled");
    assert_eq!(learn(&path, &["--source", "siskin", "--target", "zeisig", "--max-time", "0"]).status, 0);
    assert_ne!(translate(&path, "siskin").lines(), ["zeisig"]);
    let said = recall(&path, &["siskin"]);
    assert_eq!((&said.out[..], said.status), ("zeisig\n", 0));
    assert_eq!(said.err, "siskin: 1 of 1 parts are answered by corrections\n");
    let said = recall(&path, &["--json", "siskins"]);
    let answer: serde_json::Value = serde_json::from_str(&said.out).expect("JSON");
    let segment = &answer["segments"][0];
    assert_eq!(segment["origin"]["by"], "model");
    assert_eq!(
        (&segment["suggestion"]["target"], &segment["suggestion"]["source"]),
        (&"zeisig".into(), &"siskin".into())
    );
    let said = recall(&path, &["--recall", "fuzzy", "siskins"]);
    assert_eq!((&said.out[..], said.status), ("zeisig\n", 0));
}

#[test]
fn what_cannot_be_learned_is_named() {
    let path = adapter("refused");
    learn(&path, &[]).fails(2, &["--source", "--pairs"]);
    learn(&path, &["--source", "tit"]).fails(2, &["--target"]);
    learn(&path, &["--source", "tit", "--target", "M\u{00fc}ller"]).fails(1, &["pair 1"]);
    let pairs = write("no-tab.tsv", b"owl\teule\njay spatz\n");
    learn(&path, &["--pairs", pairs.to_str().expect("a path")]).fails(2, &["line 2", "TAB"]);
    learn(&path, &["--source", "a", "--target", "b", "--max-memory", "9kB"]).fails(1, &["budget"]);
    assert!(!path.exists(), "nothing was learned");
    translate(&path, "tit").fails(1, &["cannot open"]);
    let model = model().to_str().expect("a path");
    run(&["translate", "tit", "-m", model, "--adapter", model]).fails(1, &["no adapter"]);
}

/// Killed at any moment, a lesson leaves the old adapter or the new one, and goes on where it was.
#[cfg(unix)]
fn kill_lessons(name: &str, model: &Path, lessons: [(&str, &str); 2], most_ms: usize) {
    let path = adapter(name);
    let suspended = path.with_extension("adapter.lesson");
    let _ = std::fs::remove_file(&suspended);
    let mut random = Random::new(5);
    let (mut killed, mut resumed, mut before) = (0, 0, 0);
    for round in 0..20 {
        let mut command = siskin();
        command.args(["learn", "--passes", "3", "-m"]).arg(model).arg("--adapter").arg(&path);
        let (source, target) = lessons[round % 2];
        match suspended.exists() {
            true => command.arg("--resume"),
            false => command.args(["--source", source, "--target", target]),
        };
        resumed += usize::from(suspended.exists());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().expect("the command starts");
        std::thread::sleep(Duration::from_millis(random.below(most_ms) as u64));
        child.kill().expect("a child");
        killed += usize::from(!child.wait().expect("a child").success());
        let after = match path.exists() {
            true => Adapter::open(&path).expect("a whole adapter").version(),
            false => 0,
        };
        assert!([before, before + 1].contains(&after), "round {round}: {after}");
        before = after;
    }
    println!("{name}: {killed} of 20 were killed, {resumed} went on, version {before}");
    assert!(killed > 0, "every lesson ended before it was killed");
}

#[cfg(unix)]
#[test]
fn killed_lessons_leave_a_whole_adapter() {
    kill_lessons("killed", model(), [("tit", "meise"), ("owl", "eule")], 120);
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/en-de/en-de.siskin");
    let lessons = [
        ("I saw a lapwing.", "Ich habe einen Kiebitz gesehen."),
        ("Is that a wren?", "Ist das ein Zaunkönig?"),
    ];
    kill_lessons("killed-en-de", &shipped, lessons, 1500);
}

/// While a lesson is being learned its corrections answer; what was interrupted is not forgotten.
#[cfg(unix)]
#[test]
fn an_interrupted_lesson_answers_and_is_gone_on_with() {
    let path = adapter("interrupted");
    let suspended = path.with_extension("adapter.lesson");
    let _ = std::fs::remove_file(&suspended);
    let mut command = siskin();
    command.args(["learn", "--passes", "100000", "--learning-rate", "1e-9", "-m"]).arg(model());
    command.arg("--adapter").arg(&path).args(["--source", "siskin", "--target", "zeisig"]);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the command starts");
    while !suspended.exists() {
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(recall(&path, &["siskin"]).out, "zeisig\n");
    child.kill().expect("a child");
    child.wait().expect("a child");
    let lesson = ["--source", "owl", "--target", "eule"];
    learn(&path, &lesson).fails(2, &["interrupted", "--resume"]);
    let left = std::fs::read(&suspended).expect("the lesson's file");
    assert_eq!(learn(&path, &["--resume"]).status, 0);
    assert!(path.exists() && !suspended.exists());
    learn(&path, &["--resume"]).fails(1, &["interrupted lesson"]);
    // As a kill between the new adapter and the removal of the lesson leaves it.
    std::fs::write(&suspended, &left).expect("a file");
    assert!(learn(&path, &["--resume"]).lines()[0].contains("kept already: the adapter has version 1"));
    assert!(!suspended.exists());
    std::fs::write(&suspended, &left).expect("a file");
    assert!(learn(&path, &lesson).lines()[0].starts_with("kept as version 2"));
}
