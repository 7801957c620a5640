//! What `siskin-export train` starts from: several tasks, a teacher, another model, and data that is not as it should be.

mod command;
mod setup;

use command::{Run, assert_success, text};
use setup::library_is_missing;
use siskin::format::{File, SectionKind};
use siskin::{ErrorKind, Model, Translator};
use siskin_export::checkpoint::Checkpoint;
use siskin_export::quantize::{Precision, write_model};
use siskin_export::train::Snapshot;
use siskin_export::train::data::Pair;
use siskin_export::train::teacher::{Teacher, TeacherTargets};
use siskin_export::train::trainer::LAST;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

const WORDS: [&str; 12] =
    ["abc", "cab", "bca", "aab", "cc", "b", "abcab", "bbca", "ca", "acb", "bac", "ccab"];

fn reversed(word: &str) -> String {
    word.chars().rev().collect()
}

fn pairs_of(output: impl Fn(&str) -> String) -> String {
    WORDS.iter().map(|word| format!("{word}\t{}\n", output(word))).collect()
}

fn checkpoint(run: &Run) -> Checkpoint {
    Snapshot::read(&run.out().join(LAST)).unwrap().model().unwrap()
}

/// The model file of the newest checkpoint.
fn model_file(run: &Run, precision: Precision) -> PathBuf {
    let path = run.folder.join(format!("{precision:?}.siskin"));
    fs::write(&path, write_model(&checkpoint(run), precision).unwrap()).unwrap();
    path
}

fn translator(path: &PathBuf, task: Option<&str>) -> siskin::Result<Translator> {
    let translator = Translator::new(Arc::new(Model::open(path)?))?;
    let mut options = translator.options().clone();
    if let Some(task) = task {
        options.task = translator.task(task)?;
    }
    translator.with_options(options)
}

fn correct(translator: &mut Translator, mut output: impl FnMut(&str) -> String) -> usize {
    WORDS.iter().filter(|word| translator.translate(word).unwrap().text() == output(word)).count()
}

/// A recipe whose model is large enough to learn the words by heart.
fn learning_run(name: &str, more: &str) -> Run {
    let run = Run::new(name, "");
    let recipe = format!(
        "{more}[model]\nd_model = 32\nheads = 4\nffn_width = 64\nencoder_layers = 1\ndecoder_layers = 1\n\
         max_positions = 16\n[training]\nsteps = 500\nbatch_tokens = 100\nlearning_rate = 0.005\nwarmup = 50\n\
         evaluate_every = 250\ndropout = {{}}\n"
    );
    run.write("recipe.toml", &recipe);
    run
}

#[test]
fn one_model_does_two_tasks_by_their_tokens() {
    if library_is_missing() {
        return;
    }
    let run = learning_run("tasks", "");
    run.write("reverse.tsv", &pairs_of(reversed));
    run.write("upper.tsv", &pairs_of(str::to_uppercase));
    run.write("reverse-dev.tsv", "ab\tba\nbc\tcb\n");
    run.write("upper-dev.tsv", "ab\tAB\n");
    let file = |name: &str| run.folder.join(name).display().to_string();
    let (out, recipe) = (file("out"), file("recipe.toml"));
    let mut arguments = vec!["train".to_owned(), "--out".into(), out, "--config".into(), recipe];
    for task in ["upper", "reverse"] {
        arguments.extend(["--pairs".into(), format!("{task}={}", file(&format!("{task}.tsv")))]);
        arguments.extend(["--dev".into(), format!("{task}={}", file(&format!("{task}-dev.tsv")))]);
    }
    let command = || std::process::Command::new(env!("CARGO_BIN_EXE_siskin-export"));
    assert_success(&command().args(&arguments).output().unwrap());

    let log = fs::read_to_string(run.out().join("log.jsonl")).unwrap();
    let last: serde_json::Value = serde_json::from_str(log.lines().last().unwrap()).unwrap();
    for task in ["upper", "reverse"] {
        assert!(last["tasks"][task]["dev_chrf"].as_f64().is_some(), "{last}");
    }
    let model = model_file(&run, Precision::F32);
    let right = |task: Option<&str>, output: fn(&str) -> String| {
        correct(&mut translator(&model, task).unwrap(), output)
    };
    let reverse: fn(&str) -> String = reversed;
    assert!(right(Some("reverse"), reverse) >= 11, "{}", right(Some("reverse"), reverse));
    assert!(right(Some("upper"), |word| word.to_uppercase()) >= 11);
    assert_eq!(right(None, reverse), right(Some("reverse"), reverse), "the first is the default");
    let error = translator(&model, Some("lower")).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Vocabulary);
    assert!(error.to_string().contains(r#"`lower`; its tasks are ["reverse", "upper"]"#), "{error}");

    let mixed = ["--pairs", &file("train.tsv")];
    let refused = command().args(&arguments).args(mixed).output().unwrap();
    assert!(text(&refused.stderr).contains("others are not"), "{}", text(&refused.stderr));
    arguments.extend(["--pairs".into(), format!("lower={}", file("train.tsv"))]);
    let refused = command().args(&arguments).output().unwrap();
    assert!(text(&refused.stderr).contains("no token for the task `lower`"), "{}", text(&refused.stderr));
}

#[test]
fn a_student_learns_what_its_teacher_writes() {
    if library_is_missing() {
        return;
    }
    let teacher = learning_run("teacher", "");
    teacher.write("train.tsv", &pairs_of(str::to_uppercase));
    assert_success(&teacher.finish(&[]));
    let model = model_file(&teacher, Precision::I8);

    let student = learning_run("student", "");
    let of_teacher = ["--teacher", model.to_str().unwrap(), "--threads", "2"];
    assert_success(&student.finish(&of_teacher));
    let outputs = fs::read_to_string(student.out().join("teacher.tsv")).unwrap();
    let mut expected = translator(&model, None).unwrap();
    let mut words = WORDS;
    words.sort_unstable();
    let line = |word: &&str| format!("{word}\t{}\n", expected.translate(word).unwrap().text());
    assert_eq!(outputs, words.iter().map(line).collect::<String>());
    let mut learned = translator(&model_file(&student, Precision::F32), None).unwrap();
    // As many as of the tasks above: how ONNX Runtime rounds, and so what is learnt, depends on the CPU.
    let alike = correct(&mut learned, |word| expected.translate(word).unwrap().text());
    assert!(alike >= 11, "{alike} of {}", WORDS.len());

    // An interrupted translation goes on behind its last whole line.
    let half = outputs.len() / 2;
    student.write("out/teacher.tsv", &outputs[..half]);
    let mut pairs: Vec<Pair> = words
        .iter()
        .chain(&["cccccccccccccccccc"])
        .map(|&word| Pair { source: word.into(), targets: vec![reversed(word)], ..Pair::default() })
        .collect();
    let mut counts = Vec::new();
    let report = |done, all| counts.push((done, all));
    let unread = Teacher::open(&model, 1, &student.out())
        .unwrap()
        .teach(&mut pairs, TeacherTargets::Add, report)
        .unwrap();
    let whole = outputs[..half].matches('\n').count();
    assert_eq!(counts, [(13 - whole, 13 - whole)]);
    assert_eq!(
        fs::read_to_string(student.out().join("teacher.tsv")).unwrap(),
        outputs + "cccccccccccccccccc\t\n"
    );
    assert_eq!(pairs[0].targets, [reversed(words[0]), expected.translate(words[0]).unwrap().text()]);
    assert_eq!((unread, pairs[12].targets.len()), (1, 1), "it is too long for the teacher");

    let other = model_file(&student, Precision::F32);
    student.write("out/teacher.tsv", "aab\tsomething else\n");
    let refused = student.finish(&["--teacher", other.to_str().unwrap()]);
    assert!(text(&refused.stderr).contains("another teacher"), "{}", text(&refused.stderr));
}

#[test]
fn a_run_starts_from_another_model() {
    if library_is_missing() {
        return;
    }
    let first = Run::new("first", "");
    assert_success(&first.finish(&["--until", "30"]));
    let weights = checkpoint(&first).tensors;
    let standing = "learning_rate = 0.0\n"; // so that an update changes nothing
    let starts = [
        (first.out().join(LAST), 0.0),
        (model_file(&first, Precision::F32), 0.0),
        (model_file(&first, Precision::F16), 1e-3),
        (model_file(&first, Precision::I8), 1e-2),
    ];
    for (start, tolerance) in &starts {
        let second = Run::new("second", standing);
        second.write("train.tsv", "a\ta\nbb\tbb\n"); // its own vocabulary would have no c
        assert_success(&second.finish(&["--warm-start", start.to_str().unwrap(), "--until", "1"]));
        for (name, tensor) in checkpoint(&second).tensors {
            for (found, wanted) in tensor.values.iter().zip(&weights[&name].values) {
                assert!(
                    (found - wanted).abs() <= *tolerance,
                    "{}: {name}: {found}, {wanted}",
                    start.display()
                );
            }
        }
    }
    let second = Run::new("other-shape", standing);
    let start = starts[1].0.to_str().unwrap();
    for (old, new, named) in [
        ("d_model = 8", "d_model = 16", r#"tensor "embedding.source.weight" is [6, 8] in "#),
        ("d_model = 16", "activation = 'gelu'\nd_model = 8", "activation is relu in "),
    ] {
        let recipe = fs::read_to_string(second.folder.join("recipe.toml")).unwrap().replace(old, new);
        second.write("recipe.toml", &recipe);
        let refused = second.finish(&["--warm-start", start]);
        assert_eq!(refused.status.code(), Some(1));
        assert!(text(&refused.stderr).contains(named), "{}", text(&refused.stderr));
    }
}

#[test]
fn languages_are_on_the_card() {
    if library_is_missing() {
        return;
    }
    let run = Run::new("languages", "");
    assert_success(&run.finish(&["--until", "1", "--source-lang", "en", "--target-lang", "de"]));
    let model = Model::open(model_file(&run, Precision::I8)).unwrap();
    let card = File::parse(model.bytes()).unwrap().metadata(SectionKind::Card);
    assert_eq!(card.require::<&str>("languages").unwrap(), "en de");
}

#[test]
fn dev_sources_among_the_training_pairs_are_a_warning() {
    if library_is_missing() {
        return;
    }
    let run = Run::new("overlap", "");
    run.write("dev.tsv", "abc\tcba\ncc\tcc\nnew\twen\n");
    let output = run.finish(&["--until", "1"]);
    assert_success(&output);
    let said = text(&output.stderr);
    assert!(said.contains("warning: 2 of 12 training pairs have a source of the dev set"), "{said}");
}

#[test]
fn a_vocabulary_that_the_data_cannot_fill_is_refused_with_one_that_it_can() {
    if library_is_missing() {
        return;
    }
    for kind in ["unigram", "bpe"] {
        let data =
            |size: usize| format!("[data]\nsource = '{kind}'\ntarget = '{kind}'\nvocabulary_size = {size}\n");
        let run = learning_run(kind, &data(8000));
        let refused = run.finish(&["--until", "1"]);
        assert_eq!(refused.status.code(), Some(1));
        let said = text(&refused.stderr);
        let most = said.split("the text has pieces for ").nth(1).and_then(|rest| rest.split(' ').next());
        let most: usize = most.and_then(|most| most.parse().ok()).unwrap_or_else(|| panic!("{said}"));
        let recipe = fs::read_to_string(run.folder.join("recipe.toml")).unwrap();
        run.write("recipe.toml", &recipe.replace("8000", &most.to_string()));
        assert_success(&run.finish(&["--until", "1"]));
    }
}
