//! Scores against those of sacrebleu, rouge-score and jiwer, and the command.

mod command;
#[path = "../data/mod.rs"]
mod data;
mod flores;
mod generate;

use generate::Random;
use serde_json::json;
use siskin_export::evaluate::{
    Case, Metric, Options, Punctuation, Row, SACREBLEU, TerOptions, Tokenizer, score,
};
use std::ffi::OsString;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

/// The settings that are compared, as `reference.py` names them.
#[derive(Clone, Copy, PartialEq)]
enum Settings {
    Defaults,
    All,
}

/// The Python whose sacrebleu, rouge-score and jiwer are asked, or `None` (said loudly) where they are absent.
/// `SISKIN_SACREBLEU` names a Python.
fn python() -> Option<OsString> {
    let python = std::env::var_os("SISKIN_SACREBLEU").unwrap_or_else(|| "python3".into());
    let found = Command::new(&python).args(["-c", "import jiwer, rouge_score, sacrebleu"]).output();
    if !found.is_ok_and(|output| output.status.success()) {
        eprintln!(
            "SKIPPED: {} has no sacrebleu, rouge-score and jiwer; set SISKIN_SACREBLEU to a Python that has",
            python.display()
        );
        return None;
    }
    Some(python)
}

/// Compares our score lines for every case with those that the reference prints.
fn compare(python: OsString, cases: &[(String, Vec<Row>, Settings)]) {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/evaluate/reference.py");
    let mut reference = Command::new(python)
        .arg(script)
        .env("PYTHONIOENCODING", "utf-8")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("Python starts");
    let (mut input, output) = (reference.stdin.take().unwrap(), reference.stdout.take().unwrap());
    let mut output = BufReader::new(output).lines().map(|line| line.expect("the reference answers in UTF-8"));
    let version = format!("version:{}", output.next().expect("the reference starts"));
    let mut compared = 0;
    for (name, rows, settings) in cases {
        let case = json!({
            "hypotheses": rows.iter().map(|row| &row.hypothesis).collect::<Vec<_>>(),
            "references": rows.iter().map(|row| &row.references).collect::<Vec<_>>(),
            "settings": if *settings == Settings::All { "all" } else { "defaults" },
        });
        writeln!(input, "{case}").expect("the reference listens");
        let theirs = output.next().unwrap_or_else(|| panic!("{name}: the reference has failed"));
        let theirs: Vec<String> = serde_json::from_str(&theirs).expect("the reference answers in JSON");
        let ours = lines(rows, *settings, theirs.iter().any(|line| line.starts_with("WER")));
        assert_eq!(ours.len(), theirs.len(), "{name}");
        for (ours, theirs) in ours.iter().zip(&theirs) {
            assert_eq!(*ours, theirs.replace(&version, &format!("version:{SACREBLEU}")), "{name}");
            compared += 1;
        }
    }
    drop(input);
    assert!(reference.wait().is_ok_and(|status| status.success()));
    println!("{compared} lines are those of sacrebleu ({version}), rouge-score and jiwer");
}

/// Our score lines, in the order of `reference.py`.
fn lines(rows: &[Row], settings: Settings, error_rates: bool) -> Vec<String> {
    let default = Options::default();
    let mut lines = Vec::new();
    let mut add =
        |metric, options: &Options| lines.extend(score(metric, rows, options).iter().map(|s| s.line(6)));
    for metric in [Metric::Bleu, Metric::Chrf, Metric::ChrfPlusPlus, Metric::Ter] {
        add(metric, &default);
    }
    if settings == Settings::All {
        use Tokenizer::{Characters, Chinese, International, None};
        for tokenizer in [International, Chinese, Characters, None] {
            add(Metric::Bleu, &Options { tokenizer, ..default });
        }
        for metric in [Metric::Bleu, Metric::Chrf, Metric::ChrfPlusPlus] {
            add(metric, &Options { case: Case::Lower, ..default });
        }
        add(Metric::Ter, &Options { ter: TerOptions { case: Case::Mixed, ..default.ter }, ..default });
        for bits in 0..8 {
            let punctuation = if bits & 2 == 0 { Punctuation::Keep } else { Punctuation::Remove };
            let ter =
                TerOptions { normalize: bits & 4 != 0, punctuation, asian: bits & 1 != 0, ..default.ter };
            add(Metric::Ter, &Options { ter, ..default });
        }
    }
    let mut add_bare = |metric| {
        let scores = score(metric, rows, &default);
        lines.extend(scores.iter().map(|score| format!("{} = {:.6}", score.name, score.value)));
    };
    add_bare(Metric::Rouge);
    if error_rates {
        add_bare(Metric::Wer);
        add_bare(Metric::Cer);
    }
    lines
}

#[test]
fn made_up_texts_score_as_in_the_reference() {
    let Some(python) = python() else { return };
    let mut random = Random::new(7);
    let everything = usize::MAX;
    let cases = [
        ("one reference", Settings::All, random.rows(80, 1, 30, everything)),
        ("up to three references", Settings::All, random.rows(60, 3, 30, everything)),
        ("one row", Settings::All, random.rows(1, 4, 12, everything)),
        ("few words, many shifts", Settings::Defaults, random.rows(40, 2, 60, 9)),
        ("long texts, beyond the limits of shifts and beam", Settings::Defaults, random.rows(6, 1, 160, 40)),
    ];
    let cases = cases.map(|(name, settings, rows)| (name.to_owned(), rows, settings));
    compare(python, &cases);
}

#[test]
fn real_systems_score_as_in_the_reference() {
    let Some(python) = python() else { return };
    let Some(systems) = flores::systems() else { return };
    let mut cases = Vec::new();
    for pair in systems.chunks(2) {
        let [tiny, base] = pair else { panic!("two systems for each direction") };
        for system in pair {
            cases.push((system.name.clone(), system.rows.clone(), Settings::Defaults));
        }
        // The other system's output as a second reference of every other row.
        let mut rows = tiny.rows[..50].to_vec();
        for (row, other) in rows.iter_mut().zip(&base.rows).step_by(2) {
            row.references.push(other.hypothesis.clone());
        }
        cases.push((format!("{}, more references", tiny.name), rows, Settings::All));
    }
    assert_eq!(cases.len(), 18);
    compare(python, &cases);
}

#[test]
fn real_systems_score_what_sacrebleu_printed() {
    let Some(systems) = flores::systems() else { return };
    assert_eq!(systems.len(), flores::PRINTED.len());
    for (system, (name, printed)) in systems.iter().zip(flores::PRINTED) {
        assert_eq!(system.name, name);
        let metrics = [Metric::Bleu, Metric::Chrf, Metric::ChrfPlusPlus, Metric::Ter];
        let values = metrics.map(|metric| {
            let scores = score(metric, &system.rows, &Options::default());
            format!("{:.4}", scores[0].value)
        });
        assert_eq!(values, printed.map(|value| format!("{value:.4}")), "{name}");
    }
}
