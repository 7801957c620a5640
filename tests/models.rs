//! The models that ship: whole, small enough, with a card, the same on every instruction set, and safe to replace.

use siskin::Model;
use siskin::format::write_atomically;
use siskin::kernels::Kernels;
use siskin::pipeline::golden::replay;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const MEGABYTE: u64 = 1_000_000;

fn models() -> Vec<PathBuf> {
    let folders = std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("models")).unwrap();
    let files = folders.flat_map(|folder| std::fs::read_dir(folder.unwrap().path()).unwrap());
    let mut models: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    models.retain(|path| path.extension().is_some_and(|extension| extension == "siskin"));
    models.sort();
    assert!(!models.is_empty(), "no model ships");
    models
}

#[test]
fn golden_sentences_come_out_to_the_bit_on_every_instruction_set() {
    for path in models() {
        if cfg!(not(target_arch = "x86_64")) && path.metadata().unwrap().len() > MEGABYTE {
            eprintln!("SKIPPED: {}: an emulator would take minutes for it", path.display());
            continue;
        }
        for kernels in Kernels::available() {
            let model = Arc::new(Model::open(&path).unwrap().with_kernels(kernels));
            let replay = replay(&model).unwrap();
            assert!(replay.sentences >= 50, "{}: {} golden sentences", path.display(), replay.sentences);
            assert_eq!(replay.deviations, [], "{} on {}", path.display(), kernels.isa());
            println!("{}: {} sentences on {}", path.display(), replay.sentences, kernels.isa());
        }
    }
}

#[test]
fn files_are_small_and_have_a_card() {
    let mut total = 0;
    for path in models() {
        let size = path.metadata().unwrap().len();
        assert!(size <= 20 * MEGABYTE, "{}: {size} bytes", path.display());
        total += size;
        let card =
            std::fs::read_to_string(path.with_file_name("README.md")).expect("a card beside the model");
        for word in ["licence", "data", "Recipe", "Scores"] {
            assert!(card.contains(word), "the card of {} says nothing of {word}", path.display());
        }
    }
    assert!(total <= 60 * MEGABYTE, "{total} bytes of models");
}

#[test]
#[allow(unsafe_code)]
fn a_mapped_model_outlives_the_replacement_of_its_file() {
    let path = std::env::temp_dir().join(format!("siskin-replaced-{}.siskin", std::process::id()));
    std::fs::copy(&models()[0], &path).unwrap();
    // SAFETY: the file is only replaced by renaming, never changed or truncated.
    let model = Arc::new(unsafe { Model::map(&path) }.unwrap());
    write_atomically(&path, b"another file").unwrap();
    let replay = replay(&model).unwrap();
    assert_eq!(replay.deviations, []);
    let error = Model::open(&path).err().expect("the new file is no model");
    assert_eq!(error.kind(), siskin::ErrorKind::NotAModel, "{error}");
    std::fs::remove_file(&path).unwrap();
}
