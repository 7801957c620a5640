//! `siskin-export evaluate`.

use crate::data;
use serde_json::Value;
use siskin_export::quantize::{Precision, write_model};
use siskin_export::source::ctranslate2;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A folder of its own for a test's files.
fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("evaluate").join(name);
    std::fs::create_dir_all(&folder).expect("a folder");
    folder
}

fn evaluate(folder: &Path, arguments: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_siskin-export"))
        .arg("evaluate")
        .args(arguments.split(' '))
        .current_dir(folder)
        .output()
        .expect("the command runs")
}

fn stdout(output: Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

#[test]
fn outputs_in_a_file_are_scored() {
    let folder = folder("hypotheses");
    std::fs::write(folder.join("pairs.tsv"), "w\tW ER1 D|W ER0 D\nhi\tHH AY1\n").unwrap();
    std::fs::write(folder.join("hyp.txt"), "W ER2 D\nHH AY1 Z\n").unwrap();
    let printed = stdout(evaluate(
        &folder,
        "--hypotheses hyp.txt --pairs pairs.tsv --reference-separator | --ignore 012 --metric ser,wer",
    ));
    assert!(printed.starts_with("hypotheses: \"hyp.txt\", pairs: \"pairs.tsv\", rows: 2\n"), "{printed}");
    assert!(printed.contains("SER|nrefs:var|case:mixed|version:siskin-"), "{printed}");
    assert!(printed.contains("|ignore:012 = 50.00 (1 / 2)\nWER|"), "{printed}");

    let printed =
        stdout(evaluate(&folder, "--hypotheses hyp.txt --pairs pairs.tsv --metric bleu --width 1 --json"));
    let json: Value = serde_json::from_str(&printed).expect("JSON");
    assert_eq!(json["settings"]["rows"], 2);
    assert_eq!(json["scores"][0]["name"], "BLEU");
    assert!(json["scores"][0]["score"].is_f64());
    assert_eq!(json["scores"][0]["signature"], "nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:2.6.0");
}

#[test]
fn what_cannot_be_scored_is_an_error() {
    let folder = folder("errors");
    std::fs::write(folder.join("pairs.tsv"), "a\tb\nc\td\n").unwrap();
    std::fs::write(folder.join("broken.tsv"), "a\tb\nc\n").unwrap();
    std::fs::write(folder.join("hyp.txt"), "b\n").unwrap();
    for (arguments, message) in [
        ("--hypotheses hyp.txt --pairs pairs.tsv", "1 hypotheses for 2 pairs"),
        ("--hypotheses hyp.txt --pairs broken.tsv", "broken.tsv: line 2: no reference"),
        ("--hypotheses none.txt --pairs pairs.tsv", "cannot read none.txt"),
        ("--model hyp.txt --pairs pairs.tsv", "hyp.txt"),
    ] {
        let output = evaluate(&folder, arguments);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{arguments}: {error}");
        assert!(error.contains(message), "{arguments}: {error}");
    }
    let output = evaluate(&folder, "--pairs pairs.tsv");
    assert_eq!(output.status.code(), Some(2), "neither a model nor hypotheses");
}

/// The reference's README has 22.45 % and 77.48 % for the outputs of CTranslate2.
#[test]
fn a_model_scores_what_its_references_say() {
    let Some(data) = data::folder("translit-aren") else { return };
    let folder = folder("model");
    let options = ctranslate2::Options::default();
    let checkpoint = ctranslate2::import(&data.join("ct2/aren-transliteration"), &options).unwrap();
    std::fs::write(folder.join("aren.siskin"), write_model(&checkpoint, Precision::F32).unwrap()).unwrap();
    let pairs = std::fs::read_to_string(data.join("ar2en-test.txt")).unwrap();
    // A source that is too long is refused, and its output counts as empty.
    let long = "ب".repeat(2000);
    std::fs::write(folder.join("pairs.tsv"), format!("{pairs}{long}\tx\n")).unwrap();
    let arguments = "-m aren.siskin --pairs pairs.tsv --beam 4 --metric cer,ser --limit 1590";
    let printed = stdout(evaluate(&folder, arguments));
    println!("{printed}");
    assert!(printed.contains("\"aren.siskin\"") && printed.contains("beam: 4"), "{printed}");
    assert!(printed.contains(" = 22.45 (") && printed.contains(" = 77.48 ("), "{printed}");

    let arguments = "-m aren.siskin --pairs pairs.tsv --beam 4 --metric cer,ser --output hyp.txt --json";
    let output = evaluate(&folder, arguments);
    let warning = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(warning.contains("1 outputs count as empty") && warning.contains("row 1591"), "{warning}");
    let of_model: Value = serde_json::from_str(&stdout(output)).expect("JSON");
    assert_eq!(of_model["settings"]["refused"], 1);

    let arguments = "--hypotheses hyp.txt --pairs pairs.tsv --metric cer,ser --json";
    let of_file: Value = serde_json::from_str(&stdout(evaluate(&folder, arguments))).expect("JSON");
    assert_eq!(of_model["scores"], of_file["scores"]);
}
