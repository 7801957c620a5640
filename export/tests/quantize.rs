//! Quantization by measurement, on a real model: what narrow weights cost, budgets, receipts and cards.

mod data;

use siskin::format::{File, Layout, SectionKind};
use siskin::kernels::Kernels;
use siskin::model::Model;
use siskin::tensor::{AlignedBytes, Dtype};
use siskin::{ErrorKind, Result};
use siskin_export::checkpoint::Checkpoint;
use siskin_export::evaluate::pairs;
use siskin_export::quantize::{Calibration, Loss, Precision, Quantization, keep_wider, write_model};
use siskin_export::shortlist::{Pair, Tokenizer};
use siskin_export::source::ctranslate2;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

const PAIRS: usize = 150;

fn checkpoint(folder: &Path) -> Checkpoint {
    let folder = folder.join("ct2/aren-transliteration");
    ctranslate2::import(&folder, &ctranslate2::Options::default()).unwrap()
}

fn open(bytes: &[u8]) -> Arc<Model> {
    Arc::new(Model::from_bytes(AlignedBytes::copy_of(bytes)).unwrap())
}

/// The first lines of the dev set.
fn dev(folder: &Path) -> String {
    let text = std::fs::read_to_string(folder.join("ar2en-eval.txt")).unwrap();
    text.lines().take(PAIRS).map(|line| format!("{line}\n")).collect()
}

fn calibration(folder: &Path, checkpoint: &Checkpoint) -> Calibration {
    let model = open(&write_model(checkpoint, Precision::F32).unwrap());
    let pairs = pairs::parse(dev(folder).as_bytes(), None).unwrap();
    let pairs = Tokenizer::new(&model).unwrap().pairs(&pairs);
    Calibration::new(model, &pairs).unwrap()
}

#[derive(serde::Deserialize)]
struct Forced {
    src: String,
    gold: String,
    gold_token_logprobs: Vec<f32>,
}

#[test]
fn the_cross_entropy_is_that_of_the_reference() {
    let Some(folder) = data::folder("translit-aren") else { return };
    let bytes = write_model(&checkpoint(&folder), Precision::F32).unwrap();
    let model = open(&bytes);
    let forced: Vec<Forced> = data::json_lines(&folder.join("ct2/reference_logprobs_40.jsonl"));
    let text: String = forced.iter().map(|word| format!("{}\t{}\n", word.src, word.gold)).collect();
    let pairs = Tokenizer::new(&model).unwrap().pairs(&pairs::parse(text.as_bytes(), None).unwrap());
    let calibration = Calibration::new(Arc::clone(&model), &pairs).unwrap();
    let log_probs: Vec<f32> = forced.iter().flat_map(|word| &word.gold_token_logprobs).copied().collect();
    assert_eq!((calibration.pairs(), calibration.tokens()), (40, log_probs.len()));
    let expected = -log_probs.iter().map(|&x| f64::from(x)).sum::<f64>() / log_probs.len() as f64;
    let Loss { divergence, cross_entropy } = calibration.loss(&bytes).unwrap();
    println!("cross-entropy {cross_entropy}, CTranslate2 {expected}");
    assert!((cross_entropy - expected).abs() < 1e-5, "{cross_entropy} {expected}");
    assert_eq!(divergence, 0.0, "a model does not diverge from itself");
}

#[test]
fn a_budget_keeps_what_loses_most_for_its_bytes() {
    let Some(folder) = data::folder("translit-aren") else { return };
    let checkpoint = checkpoint(&folder);
    let calibration = calibration(&folder, &checkpoint);
    let mut heard = 0;
    let found = calibration.sensitivities(&checkpoint, Precision::I8, |_| heard += 1).unwrap();
    assert_eq!(heard, found.len());
    let per_byte: Vec<f64> = found.iter().map(|s| s.loss.divergence / s.bytes as f64).collect();
    assert!(per_byte.is_sorted_by(|a, b| a >= b) && per_byte[per_byte.len() - 1] > 0.0, "{per_byte:?}");

    let int8 = write_model(&checkpoint, Precision::I8).unwrap();
    let f16 = write_model(&checkpoint, Precision::F16).unwrap();
    let make = |quantization: &Quantization| quantization.write(&checkpoint);
    let keep = |budget| {
        let mut quantization = Quantization::from(Precision::I8);
        keep_wider(&mut quantization, &found, budget, make).map(|bytes| (quantization, bytes))
    };
    let budget = int8.len() + (f16.len() - int8.len()) / 3;
    let (quantization, mixed) = keep(budget).unwrap();
    assert!((1..found.len()).contains(&quantization.kept.len()), "{:?}", quantization.kept);
    assert!(quantization.kept.contains_key(&found[0].name), "the first of the order is kept");
    assert!((int8.len() + 1..=budget).contains(&mixed.len()), "{} of {budget} bytes", mixed.len());
    let divergence = |bytes: &[u8]| calibration.loss(bytes).unwrap().divergence;
    let (narrow, kept, wide) = (divergence(&int8), divergence(&mixed), divergence(&f16));
    println!("divergence: int8 {narrow:.2e}, {} kept {kept:.2e}, f16 {wide:.2e}", quantization.kept.len());
    assert!(kept < 0.8 * narrow && wide < 0.01 * narrow, "{narrow} {kept} {wide}");

    let aligned = AlignedBytes::copy_of(&mixed);
    let file = File::parse(aligned.as_slice()).unwrap();
    let receipt = file.metadata(SectionKind::Receipt);
    for sensitivity in &found {
        let name = &sensitivity.name;
        let reason: Option<&str> = receipt.optional(&format!("kept.{name}")).unwrap();
        let dtype = file.tensors().get(name).unwrap().dtype;
        match quantization.kept.contains_key(name) {
            true => {
                assert!(dtype == Dtype::F16 && reason.unwrap().starts_with("f16: int8 alone diverges by"))
            }
            false => assert!(dtype == Dtype::I8 && reason.is_none()),
        }
    }

    let (all, _) = keep(usize::MAX).unwrap();
    assert_eq!(all.kept.len(), found.len());
    assert_eq!(keep(int8.len()).unwrap().1, int8, "the smallest budget keeps nothing");
    let error = keep(int8.len() - 1).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidOption);
    assert!(error.to_string().contains(&format!("{} bytes with int8 alone", int8.len())), "{error}");
}

#[test]
fn int4_is_smaller_and_a_budget_gives_back_what_it_loses_most_by() {
    let Some(folder) = data::folder("translit-aren") else { return };
    let checkpoint = checkpoint(&folder);
    let calibration = calibration(&folder, &checkpoint);
    let precisions = [Precision::I8, Precision::I4, Precision::I4All];
    let [int8, int4, all] = precisions.map(|p| write_model(&checkpoint, p).unwrap());
    assert!(int4.len() * 6 < int8.len() * 5, "{} and {} bytes", int4.len(), int8.len());
    assert!(all.len() * 10 < int4.len() * 9, "{} and {} bytes", all.len(), int4.len());
    for (file, is_all) in [(&int4, false), (&all, true)] {
        let aligned = AlignedBytes::copy_of(file);
        for tensor in File::parse(aligned.as_slice()).unwrap().tensors().iter() {
            let is_outside = tensor.name.starts_with("embedding.") || tensor.name.starts_with("output.");
            let is_narrow = is_all || is_outside || tensor.name.contains(".ffn.");
            match tensor.tensor.layout {
                Layout::Rows => assert_eq!(tensor.tensor.dtype, Dtype::F32),
                Layout::Panels => assert_eq!(tensor.tensor.dtype == Dtype::I4, is_narrow, "{}", tensor.name),
            }
        }
    }
    let mut quantization = Quantization::from(Precision::I4);
    let found = calibration.sensitivities(&checkpoint, Precision::I4, |_| ()).unwrap();
    let budget = (int4.len() + int8.len()) / 2;
    let mixed = keep_wider(&mut quantization, &found, budget, |q| q.write(&checkpoint)).unwrap();
    assert!(quantization.kept.values().all(|kept| kept.precision == Precision::I8));
    let [all, int4, mixed, int8] =
        [&all, &int4, &mixed, &int8].map(|bytes| calibration.loss(bytes).unwrap().divergence);
    println!(
        "divergence: all {all:.2e}, int4 {int4:.2e}, {} kept {mixed:.2e}, int8 {int8:.2e}",
        quantization.kept.len()
    );
    assert!(int8 < 0.1 * int4 && mixed < 0.7 * int4 && int4 < 0.1, "{int4} {mixed} {int8}");
    assert!((int4..0.1).contains(&all), "{all}");
}

#[test]
fn mixed_types_give_the_same_bits_on_every_instruction_set() {
    let Some(folder) = data::folder("translit-aren") else { return };
    let checkpoint = checkpoint(&folder);
    let mut quantization = Quantization::from(Precision::I8);
    let calibration = calibration(&folder, &checkpoint);
    let found = calibration.sensitivities(&checkpoint, Precision::I8, |_| ()).unwrap();
    let small = write_model(&checkpoint, Precision::I8).unwrap().len();
    let mixed = keep_wider(&mut quantization, &found, small + 60_000, |q| q.write(&checkpoint)).unwrap();
    let text = dev(&folder);
    let sources: Vec<&str> = text.lines().take(30).filter_map(|line| line.split('\t').next()).collect();
    let golden = siskin_export::golden::with_golden(&mixed, &sources).unwrap();
    for kernels in Kernels::available() {
        let model = Model::from_bytes(AlignedBytes::copy_of(&golden)).unwrap().with_kernels(kernels);
        let replay = siskin::pipeline::golden::replay(&Arc::new(model)).unwrap();
        assert_eq!((replay.sentences, replay.deviations), (30, vec![]), "{}", kernels.isa());
    }
}

#[test]
fn pairs_that_do_not_fit_are_no_calibration() {
    let Some(folder) = data::folder("translit-aren") else { return };
    let model = open(&write_model(&checkpoint(&folder), Precision::F32).unwrap());
    let positions = model.spec().max_positions;
    let long = Pair { source: vec![1; positions + 1], target: vec![1] };
    let error = Calibration::new(Arc::clone(&model), std::slice::from_ref(&long)).map(|_| ()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidOption);
    let fits = Pair { source: vec![1; positions], target: vec![1; positions - 1] };
    assert_eq!(Calibration::new(model, &[fits, long]).unwrap().pairs(), 1);
}

struct Workshop {
    folder: PathBuf,
    model: PathBuf,
}

impl Workshop {
    fn new(name: &str, data: &Path) -> Self {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("quantize").join(name);
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("dev.tsv"), dev(data)).unwrap();
        Self { folder, model: data.join("ct2/aren-transliteration") }
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_siskin-export"));
        command.current_dir(&self.folder).args(arguments).output().unwrap()
    }

    fn import(&self, arguments: &[&str]) -> Output {
        let folder = self.model.to_str().unwrap();
        self.run(&[&["import", "ctranslate2", folder], arguments].concat())
    }

    fn cer(&self, model: &str) -> f64 {
        let output = self.run(&[
            "evaluate", "-m", model, "--pairs", "dev.tsv", "--metric", "cer", "--json", "--width", "9",
        ]);
        let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        json["scores"][0]["score"].as_f64().unwrap()
    }
}

#[test]
fn the_receipt_says_what_was_measured_on_what() -> Result<()> {
    let Some(data) = data::folder("translit-aren") else { return Ok(()) };
    let workshop = Workshop::new("receipt", &data);
    let measured = ["--scores", "dev.tsv", "--calibrate", "dev.tsv", "--metric", "cer"];
    let card =
        "name = \"aren\"\nlicence = \"Apache-2.0\"\ndescription = \"\"\"\nWords,\nnot sentences.\n\"\"\"\n";
    std::fs::write(workshop.folder.join("card.toml"), card).unwrap();
    let golden = ["--golden", "dev.tsv", "--card", "card.toml", "--name", "aren 2"];
    let out = ["--budget", "0.28MB", "--out", "mixed.siskin"];
    let output = workshop.import(&[&measured[..], &golden, &out].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    println!("{}", String::from_utf8_lossy(&output.stdout));
    assert!(workshop.import(&["--type", "f32", "--out", "f32.siskin"]).status.success());

    let bytes = AlignedBytes::copy_of(&std::fs::read(workshop.folder.join("mixed.siskin")).unwrap());
    assert!(bytes.as_slice().len() <= 280_000, "{} bytes", bytes.as_slice().len());
    let file = File::parse(bytes.as_slice())?;
    let receipt = file.metadata(SectionKind::Receipt);
    let number = |key: &str| receipt.require::<f32>(key);
    let [wide, narrow] = ["f32.siskin", "mixed.siskin"].map(|model| workshop.cer(model) as f32);
    assert_eq!([number("scores.CER.f32")?, number("scores.CER")?], [wide, narrow]);
    assert_eq!(receipt.require::<u32>("scores.rows")?, PAIRS as u32);
    assert!(
        receipt.require::<&str>("scores.CER.signature")?.starts_with("nrefs:1|case:mixed|version:siskin-")
    );
    assert_eq!(receipt.require::<&str>("scores.pairs")?, "dev.tsv");
    assert_eq!(receipt.require::<&str>("scores.sha256")?, receipt.require::<&str>("calibration.sha256")?);
    assert_eq!(receipt.require::<u32>("budget")?, 280_000);
    let command = receipt.require::<&str>("command")?;
    assert!(command.starts_with("siskin-export import ctranslate2 "), "{command}");
    assert!(command.contains("--name 'aren 2'"), "{command}");
    let [narrow, kept] = [number("calibration.divergence.narrow")?, number("calibration.divergence")?];
    assert!(0.0 < kept && kept < narrow, "{kept} {narrow}");
    assert!(receipt.iter().any(|entry| entry.key.starts_with("kept.")));
    assert_eq!(file.golden().map(|golden| golden.len()), Some(50));

    let card = file.metadata(SectionKind::Card);
    assert_eq!(card.require::<&str>("name")?, "aren 2", "an option overrides the file");
    assert_eq!(card.require::<&str>("description")?, "Words,\nnot sentences.");
    Ok(())
}

#[test]
fn what_cannot_be_measured_is_an_error() {
    let Some(data) = data::folder("translit-aren") else { return };
    let workshop = Workshop::new("errors", &data);
    let write = |name: &str, text: &str| std::fs::write(workshop.folder.join(name), text).unwrap();
    write("long.tsv", &format!("{}\tabc\n", "ب".repeat(2000)));
    write("number.toml", "name = \"a\"\nparameters = 7\n");
    write("broken.toml", "name =\n");
    for (arguments, message, status) in [
        (&["--budget", "1MB"][..], "--calibrate", 2),
        (&["--calibrate", "dev.tsv", "--budget", "much"], "1.5MB", 2),
        (&["--calibrate", "long.tsv"], "long.tsv: no pair", 1),
        (&["--calibrate", "none.tsv"], "cannot read none.tsv", 1),
        (&["--calibrate", "dev.tsv", "--budget", "1000"], "bytes with int8 alone, the budget 1000", 1),
        (&["--scores", "none.tsv"], "cannot read none.tsv", 1),
        (&["--card", "number.toml"], "number.toml: parameters is of the type integer", 1),
        (&["--card", "broken.toml"], "broken.toml: ", 1),
    ] {
        let output = workshop.import(&[&["--out", "never.siskin"], arguments].concat());
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(status), "{arguments:?}: {error}");
        assert!(error.contains(message), "{arguments:?}: {error}");
    }
    assert!(!workshop.folder.join("never.siskin").exists());
}
