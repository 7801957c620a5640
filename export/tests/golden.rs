//! Golden sentences of a real model, put into its file by the command.

mod data;

use siskin::kernels::Kernels;
use siskin::model::Model;
use siskin::pipeline::golden::replay;
use siskin_export::golden::read_sources;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

fn temporary(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("golden-{}-{name}", std::process::id()))
}

fn siskin_export(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_siskin-export")).args(arguments).output().unwrap()
}

#[test]
fn sources_are_spread_over_the_file() {
    let path = temporary("sources.txt");
    let lines: Vec<String> = (0..10).map(|i| format!("line {i}\n\n")).collect();
    std::fs::write(&path, lines.concat()).unwrap();
    assert_eq!(read_sources(&path, 4).unwrap(), ["line 0", "line 2", "line 5", "line 7"]);
    assert_eq!(read_sources(&path, 99).unwrap().len(), 10);
    std::fs::write(&path, "source\ttarget\tanother\nalone\n").unwrap();
    assert_eq!(read_sources(&path, 9).unwrap(), ["source", "alone"]);
    assert!(read_sources(&path, 0).is_err());
    std::fs::write(&path, "\n \n").unwrap();
    assert!(read_sources(&path, 4).unwrap_err().to_string().contains("no golden sentences"));
}

#[test]
fn a_real_model_gives_its_golden_sentences_with_all_kernels() {
    let Some(folder) = data::folder("translit-aren") else { return };
    let (file, sources) = (temporary("aren.siskin"), temporary("words.txt"));
    let words = std::fs::read_to_string(folder.join("ar2en-test.txt")).unwrap();
    let words: Vec<&str> = words.lines().filter_map(|line| line.split('\t').next()).collect();
    std::fs::write(&sources, words.join("\n")).unwrap();
    let folder = folder.join("ct2/aren-transliteration");
    let [folder, file, sources] = [&folder, &file, &sources].map(|path| path.to_str().unwrap());

    let imported = siskin_export(&["import", "ctranslate2", folder, "--out", file, "--golden", sources]);
    assert!(imported.status.success(), "{imported:?}");
    let open = || Model::open(file).unwrap();
    assert_eq!(replay(&Arc::new(open())).unwrap().sentences, 50);

    let again = siskin_export(&["golden", file, "--input", sources, "--count", "20"]);
    assert!(again.status.success(), "{again:?}");
    for kernels in Kernels::available() {
        let replay = replay(&Arc::new(open().with_kernels(kernels))).unwrap();
        assert_eq!((replay.sentences, replay.deviations), (20, vec![]), "{}", kernels.isa());
    }

    let before = std::fs::read(file).unwrap();
    std::fs::write(sources, "no\u{0}pe\u{1F600}".repeat(2000)).unwrap();
    let refused = siskin_export(&["golden", file, "--input", sources]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("positions"), "{refused:?}");
    assert_eq!(std::fs::read(file).unwrap(), before, "a failure leaves the file as it was");
}
