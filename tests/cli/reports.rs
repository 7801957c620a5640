//! `siskin bench`, `doctor` and `inspect`, and the commands of the workshop.

use crate::command::{folder, model, run, siskin, write};
use crate::support::model_file;
use siskin::format::{File, GoldenBuilder, SectionKind, Writer};
use siskin::model::Model;
use siskin::pipeline::golden::record;
use siskin::tensor::AlignedBytes;
use std::path::PathBuf;
use std::sync::Arc;

/// The model of the tests with the golden sentences that `section` makes for it.
fn golden(name: &str, section: impl FnOnce(&Arc<Model>) -> Vec<u8>) -> PathBuf {
    let bytes = AlignedBytes::copy_of(&model_file());
    let mut writer = Writer::copy_of(&File::parse(bytes.as_slice()).unwrap());
    writer.optional(SectionKind::Golden, section(&Arc::new(Model::open(model()).unwrap())));
    write(name, &writer.finish())
}

#[test]
fn doctor_compares_golden_sentences() {
    let good = golden("good.siskin", |model| record(model, &["siskin", "finch"]).unwrap());
    let said = run(&["doctor", "-m", good.to_str().unwrap()]);
    let lines = said.lines();
    assert_eq!(lines.last(), Some(&"verdict: OK"));
    for part in ["CPU features", "gemm_i8i8f32/", "checksums good", "portable", "2 of 2 golden sentences"] {
        assert!(said.out.contains(part), "{part:?} in\n{}", said.out);
    }
}

#[test]
fn doctor_finds_what_deviates() {
    let bad = golden("bad.siskin", |_| {
        let mut builder = GoldenBuilder::new(1);
        builder.sentence(&[5, 0], &[1, 2, 3], -1.0);
        builder.build()
    });
    let said = run(&["doctor", "-m", bad.to_str().unwrap()]);
    assert_eq!(said.status, 1, "{said:?}");
    assert!(
        said.out.contains("sentence 0: the file says tokens [1, 2, 3] with -1.0, found ["),
        "{}",
        said.out
    );
    assert!(said.out.ends_with("verdict: FAILED\n"), "{}", said.out);
}

#[test]
fn doctor_says_that_there_was_nothing_to_compare() {
    let said = run(&["doctor", "-m", model().to_str().unwrap()]);
    assert!(said.lines().last().unwrap().contains("the file has no golden sentences"), "{}", said.out);
}

#[test]
fn doctor_says_which_kernels_are_forced() {
    let command = |isa| {
        let output = siskin().env("SISKIN_ISA", isa).args(["doctor", "-m"]).arg(model()).output().unwrap();
        (
            output.status.code(),
            String::from_utf8(output.stdout).unwrap(),
            String::from_utf8(output.stderr).unwrap(),
        )
    };
    let (status, out, _) = command("portable");
    assert_eq!(status, Some(0));
    assert!(out.contains("in use: portable") && out.contains("gemm_i8i8f32/portable"), "{out}");
    let (status, _, err) = command("abacus");
    assert_eq!(status, Some(2));
    assert!(err.contains("SISKIN_ISA") && err.contains("abacus"), "{err}");
}

#[test]
fn bench_measures() {
    let words = write("bench.txt", b"siskin\nfinch\n\ngoldfinch\n");
    let arguments =
        ["bench", "-m", model().to_str().unwrap(), "--input", words.to_str().unwrap(), "--rounds", "2"];
    let said = run(&[&arguments[..], &["--json"]].concat());
    let report: serde_json::Value = serde_json::from_str(said.lines()[0]).unwrap();
    assert_eq!((report["sentences"].as_u64(), report["rounds"].as_u64()), (Some(3), Some(2)));
    assert_eq!(report["bytes"].as_u64(), Some(model().metadata().unwrap().len()));
    assert!(report["output_tokens"].as_u64().unwrap() > 0);
    for time in ["load_ms", "first_sentence_ms", "latency_median_ms", "latency_p95_ms"] {
        assert!(report[time].as_f64().unwrap() > 0.0, "{time} in {report}");
    }
    assert!(report["latency_p95_ms"].as_f64() >= report["latency_median_ms"].as_f64());
    assert!(report["tokens_per_second"]["median"].as_f64().unwrap() > 0.0);
    if cfg!(target_os = "linux") {
        assert!(report["peak_memory_bytes"].as_u64() > report["bytes"].as_u64(), "{report}");
        assert!(report["first_sentence_page_faults"].as_u64().unwrap() > 0);
    }
    assert!(report["kernels"][0].as_str().unwrap().starts_with("gemm_i8i8f32/"));
    assert_eq!(report["scaling"].as_array().map(Vec::len), Some(0));
    let text = run(&[&arguments[..], &["--scaling", "--threads", "3"]].concat());
    for part in ["median", "tokens/s, together", "peak memory", "gemm_i8i8f32/", "2 threads", "3 threads"] {
        assert!(text.out.contains(part), "{part:?} in\n{}", text.out);
    }
    let without = run(&["bench", "-m", model().to_str().unwrap()]);
    without.fails(2, &["there are no sentences", "--input"]);
    let golden = golden("bench.siskin", |model| record(model, &["siskin", "finch"]).unwrap());
    assert!(run(&["bench", "-m", golden.to_str().unwrap(), "--rounds", "1"]).out.contains("2, "));
    let adapter = folder().join(format!("cli-{}-bench.adapter", std::process::id()));
    let adapter = adapter.to_str().unwrap();
    let learn = ["--source", "tit", "--target", "meise", "--passes", "1", "--bound", "9"];
    let said = run(&[&["learn", "-m", model().to_str().unwrap(), "--adapter", adapter], &learn[..]].concat());
    assert_eq!(said.status, 0, "{}", said.out);
    let said = run(&[&arguments[..], &["--adapter", adapter, "--json"]].concat());
    let report: serde_json::Value = serde_json::from_str(said.lines()[0]).unwrap();
    for time in ["latency_without_ms", "latency_with_ms"] {
        assert!(report["adapter"][time].as_f64().unwrap() > 0.0, "{time} in {report}");
    }
    let text = run(&[&arguments[..], &["--adapter", adapter]].concat());
    assert!(text.out.contains("latency without, with") && text.out.contains("overhead of the adapter"));
}

#[test]
fn inspect_verifies_when_that_is_asked_for() {
    let said = run(&["inspect", model().to_str().unwrap(), "--verify", "--tensors"]);
    assert!(said.lines()[0].contains("verified") && said.out.contains("encoder.layers.0."), "{}", said.out);
    let mut bytes = model_file();
    *bytes.last_mut().unwrap() ^= 1;
    let damaged = write("inspect.siskin", &bytes);
    assert_eq!(run(&["inspect", damaged.to_str().unwrap()]).status, 0);
    run(&["inspect", damaged.to_str().unwrap(), "--verify"]).fails(1, &["inspect.siskin", "checksum"]);
}

/// A folder with the command and, if asked for, the shell in the place of `siskin-export`. Nothing that is run was
/// written by this process, so no test that starts a program just then can keep it open for writing.
#[cfg(unix)]
fn installed(name: &str, workshop: bool) -> PathBuf {
    let place = folder().join(format!("cli-{}-{name}", std::process::id()));
    std::fs::create_dir_all(&place).unwrap();
    std::fs::hard_link(env!("CARGO_BIN_EXE_siskin"), place.join("siskin")).unwrap();
    if workshop {
        std::os::unix::fs::symlink("/bin/sh", place.join("siskin-export")).unwrap();
    }
    place
}

#[test]
#[cfg(unix)]
fn other_commands_are_those_of_the_workshop() {
    use std::process::Command;
    let place = installed("with", true);
    std::fs::write(place.join("train"), "echo \"$0 $@\"\nexit 7\n").unwrap();
    let output = Command::new(place.join("siskin"))
        .args(["train", "--steps", "3", "data"])
        .current_dir(&place)
        .output()
        .unwrap();
    assert_eq!((output.status.code(), &output.stdout[..]), (Some(7), &b"train --steps 3 data\n"[..]));
    let place = installed("without", false);
    let output = Command::new(place.join("siskin")).arg("train").env("PATH", "").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(message.contains("`train`") && message.contains("siskin-export"), "{message}");
}
