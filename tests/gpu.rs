//! The delegate `gpu` against the CPU: logits of every kind of model, beams, bytes, and what can go wrong.
//!
//! Without an adapter the tests say so and pass; with `SISKIN_REQUIRE_GPU` set they fail.

mod support;

use std::sync::Arc;

use siskin::decode::Strategy;
use siskin::delegate::gpu::{Gpu, GpuDelegate, PackedDot};
use siskin::delegate::{Compiled, Delegate};
use siskin::model::{Alignment, Model, ModelSpec, Session, SessionShape, ShortlistMode};
use siskin::pipeline::Unit;
use siskin::tensor::Dtype;
use siskin::{ErrorKind, Result, Translator};
use support::{Random, open, random_model, specs};

/// The greatest error of a logit, as a part of the greatest logit of its row: sums of a few hundred terms in another
/// order, and the precision that WGSL asks of `exp` and `inverseSqrt`.
const FLOAT_BOUND: f32 = 1e-5;
/// The same where activations are int8: one on the border of two of its 255 values may fall on either side, and so do
/// those that depend on it.
const INT8_BOUND: f32 = 0.01;

/// The GPU of this machine, if there is one.
fn gpu() -> Option<Gpu> {
    match Gpu::open() {
        Ok(gpu) => Some(gpu),
        Err(error) if std::env::var_os("SISKIN_REQUIRE_GPU").is_some() => panic!("{error}"),
        Err(error) => {
            eprintln!("SKIPPED: {error}");
            None
        }
    }
}

fn shape(batch: usize, beam: usize) -> SessionShape {
    SessionShape {
        batch,
        beam,
        source_length: 12,
        source_tokens: 12 * batch,
        target_length: 6,
        threads: 1,
        alignments: Alignment::Drop,
        shortlist: ShortlistMode::Off,
    }
}

fn compile(gpu: Gpu, model: &Arc<Model>, shape: &SessionShape) -> Result<Compiled> {
    (&GpuDelegate::on(Arc::new(gpu)) as &dyn Delegate).compile(model, shape)
}

/// Sources of different lengths.
fn sources(spec: &ModelSpec, count: usize) -> Vec<Vec<u32>> {
    let mut random = Random::new(5);
    (0..count).map(|i| random.tokens(1 + (i * 5 + 3) % 12, spec.source_vocabulary)).collect()
}

/// Steps of a batch on both: rows split, change places and end. Gives the greatest error, as a part of the greatest
/// logit of its row.
fn worst_error(compiled: &mut Compiled, session: &mut Session) -> Result<f32> {
    let spec = session.model().spec().clone();
    let SessionShape { batch, beam, target_length, .. } = *session.shape();
    let sources = sources(&spec, batch);
    let sources: Vec<&[u32]> = sources.iter().map(Vec::as_slice).collect();
    session.encode(sources.iter().copied())?;
    compiled.encode(&sources)?;
    let mut random = Random::new(17);
    let mut rows = batch;
    let mut worst = 0f32;
    for step in 0..target_length {
        let next = if step == 0 { batch } else { 1 + random.below(batch * beam) };
        let parents: Vec<u32> = match step {
            0 => (0..batch as u32).rev().collect(),
            _ => random.tokens(next, rows),
        };
        let tokens = random.tokens(next, spec.target_vocabulary);
        rows = next;
        compiled.step(&tokens, &parents)?;
        let expected = session.step(&tokens, &parents)?;
        let found = compiled.logits();
        assert_eq!(expected.len(), found.len());
        for (expected, found) in
            expected.chunks(spec.target_vocabulary).zip(found.chunks(spec.target_vocabulary))
        {
            let greatest = expected.iter().fold(0f32, |greatest, logit| greatest.max(logit.abs()));
            let errors = expected.iter().zip(found).map(|(expected, found)| (expected - found).abs());
            worst = errors.fold(worst, |worst, error| worst.max(error / greatest));
        }
    }
    Ok(worst)
}

#[test]
fn logits_are_those_of_the_cpu_for_every_kind_of_model() -> Result<()> {
    let Some(gpu) = gpu() else { return Ok(()) };
    let delegate: &dyn Delegate = &GpuDelegate::on(Arc::new(gpu));
    for (name, spec) in specs::variations() {
        // A software rasterizer takes a second for each model: all types are tried where blocks read them otherwise.
        let all_types = ["marian", "firefox", "t5 gated", "odd width, narrow heads"].contains(&name);
        let types = [
            (Dtype::I8, INT8_BOUND),
            (Dtype::I4, INT8_BOUND),
            (Dtype::F16, FLOAT_BOUND),
            (Dtype::F32, FLOAT_BOUND),
        ];
        for (dtype, bound) in types.into_iter().take(if all_types { 4 } else { 1 }) {
            let model = open(&random_model(&spec, 3, dtype));
            let shape = shape(3, 2);
            let mut compiled = delegate.compile(&model, &shape)?;
            let error = worst_error(&mut compiled, &mut Session::new(model, shape)?)?;
            println!("{name}, {dtype:?}: {error:.1e}");
            assert!(error <= bound, "{name}, {dtype:?}: {error}");
        }
    }
    Ok(())
}

#[test]
fn int8_products_without_packed_dot_products_are_the_same() -> Result<()> {
    let Some(gpu) = gpu() else { return Ok(()) };
    let model = open(&random_model(&specs::marian(), 8, Dtype::I8));
    let mut builtin = compile(gpu, &model, &shape(3, 2))?;
    let Some(gpu) = self::gpu() else { return Ok(()) };
    let mut unpacked = compile(gpu.with_dot(PackedDot::Unpacked), &model, &shape(3, 2))?;
    let sources = sources(model.spec(), 3);
    let sources: Vec<&[u32]> = sources.iter().map(Vec::as_slice).collect();
    for compiled in [&mut builtin, &mut unpacked] {
        compiled.encode(&sources)?;
        compiled.step(&[1, 1, 1], &[0, 1, 2])?;
        compiled.step(&[5, 9, 11, 13], &[2, 2, 0, 1])?;
    }
    assert_eq!(builtin.logits(), unpacked.logits());
    Ok(())
}

#[test]
fn a_step_copies_the_same_bytes_whatever_was_written() -> Result<()> {
    let Some(gpu) = gpu() else { return Ok(()) };
    let model = open(&random_model(&specs::marian(), 8, Dtype::I8));
    let mut compiled = compile(gpu, &model, &shape(1, 2))?;
    compiled.encode(&[&[3, 4, 5]])?;
    let mut copied = Vec::new();
    for step in 0..6 {
        compiled.step(&[1, 2], if step == 0 { &[0, 0] } else { &[1, 0] })?;
        let placement = compiled.placement();
        copied.push((placement.to_device, placement.from_device));
    }
    let spec = model.spec();
    // Of each of the 2 rows: its embedding, parent and span; and what describes the step.
    let to_device = 2 * (4 * spec.d_model + 4 + 8) + 16;
    let from_device = 2 * 4 * spec.target_vocabulary;
    assert_eq!(copied, [(to_device as u64, from_device as u64); 6]);
    Ok(())
}

#[test]
fn what_a_gpu_cannot_do_is_an_error() -> Result<()> {
    let Some(gpu) = gpu() else { return Ok(()) };
    let model = open(&random_model(&specs::marian(), 8, Dtype::I8));
    let error = compile(gpu.with_largest_buffer(1000), &model, &shape(1, 1)).err().expect("too large");
    assert_eq!(error.kind(), ErrorKind::MemoryLimit, "{error}");
    assert!(error.to_string().contains("allows 1000"), "{error}");

    let Some(gpu) = self::gpu().map(Arc::new) else { return Ok(()) };
    let delegate: &dyn Delegate = &GpuDelegate::on(Arc::clone(&gpu));
    let mut compiled = delegate.compile(&model, &shape(1, 1))?;
    compiled.encode(&[&[3, 4, 5]])?;
    compiled.step(&[1], &[0])?;
    gpu.destroy();
    let error = compiled.step(&[1], &[0]).expect_err("the device is lost");
    assert_eq!(error.kind(), ErrorKind::Delegate, "{error}");
    let error = delegate.compile(&model, &shape(1, 1)).err().expect("the device is still lost");
    assert_eq!(error.kind(), ErrorKind::Delegate, "{error}");
    Ok(())
}

/// A process of its own, whose Vulkan loader finds no driver.
#[test]
fn a_machine_without_a_gpu_is_told_so() {
    const INSIDE: &str = "SISKIN_TEST_WITHOUT_GPU";
    if std::env::var_os(INSIDE).is_some() {
        let model = open(&random_model(&specs::marian(), 8, Dtype::I8));
        let delegate: &dyn Delegate = &GpuDelegate::default();
        for error in
            [delegate.probe().err(), delegate.compile(&model, &shape(1, 1)).err()].map(Option::unwrap)
        {
            assert_eq!(error.kind(), ErrorKind::Delegate, "{error}");
            assert!(error.to_string().contains("no GPU"), "{error}");
        }
        return;
    }
    if !cfg!(target_os = "linux") {
        eprintln!("SKIPPED: only Vulkan's loader can be told to find no driver");
        return;
    }
    let status = std::process::Command::new(std::env::current_exe().expect("a path"))
        .args(["--exact", "a_machine_without_a_gpu_is_told_so"])
        .envs([(INSIDE, "1"), ("VK_DRIVER_FILES", "/nowhere"), ("VK_ICD_FILENAMES", "/nowhere")])
        .status();
    assert!(status.expect("the test runs").success());
}

/// What decides a choice of the shipped models: differences that are smaller may be another order of sums.
const MARGIN_BOUND: f32 = 0.05;

#[test]
fn shipped_translations_are_those_of_the_cpu() -> Result<()> {
    let Some(gpu) = gpu() else { return Ok(()) };
    let count = std::env::var("SISKIN_SENTENCES").map_or(200, |count| count.parse().expect("a number"));
    let Some(texts) = english(count) else { return Ok(()) };
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/models/en-de/en-de.siskin");
    let model = Arc::new(Model::open(path)?);
    let translator = || -> Result<Translator> {
        let translator = Translator::new(Arc::clone(&model))?;
        let mut options = translator.options().clone();
        options.decode.strategy = Strategy::Greedy;
        options.shortlist = ShortlistMode::Off;
        options.unit = Unit::Line;
        options.batch = 32;
        translator.with_options(options)
    };
    let expected = translator()?.translate_batch(&texts)?;
    let mut on_gpu = translator()?.with_delegate(Arc::new(GpuDelegate::on(Arc::new(gpu))));
    let found = on_gpu.translate_batch(&texts)?;
    let mut equal = 0;
    for (expected, found) in expected.into_iter().zip(found) {
        let (expected, found) = (expected?, found?);
        let margins = expected.segments.iter().zip(&found.segments).map(|(expected, found)| {
            let [expected_tokens, found_tokens] =
                [expected, found].map(|segment| segment.hypotheses[0].hypothesis.tokens.clone());
            margin(&model, &expected.source_tokens, &expected_tokens, &found_tokens)
        });
        let margins = margins.collect::<Result<Vec<Option<f32>>>>()?;
        equal += usize::from(margins.iter().all(Option::is_none));
        for margin in margins.into_iter().flatten() {
            println!("margin {margin:.4}: {:?} on the CPU, {:?}", expected.text(), found.text());
            assert!(margin <= MARGIN_BOUND, "a choice that is not close: {margin}");
        }
    }
    let compiled = on_gpu.compiled().expect("the engine that translated");
    println!("{equal} of {} outputs equal; {}", texts.len(), compiled.self_test());
    println!("{}", compiled.placement());
    Ok(())
}

/// By how much the CPU's logit of its own choice exceeds that of the other choice, where outputs first differ.
fn margin(model: &Arc<Model>, source: &[u32], expected: &[u32], found: &[u32]) -> Result<Option<f32>> {
    if expected == found {
        return Ok(None);
    }
    let spec = model.spec();
    let same = expected.iter().zip(found).take_while(|(expected, found)| expected == found).count();
    let long = SessionShape {
        source_length: source.len(),
        source_tokens: source.len(),
        target_length: same + 1,
        ..shape(1, 1)
    };
    let mut session = Session::new(Arc::clone(model), long)?;
    session.encode([source])?;
    session.step(&[spec.decoder_start], &[0])?;
    for token in &expected[..same] {
        session.step(&[*token], &[0])?;
    }
    let logits = session.last_logits();
    let logit = |tokens: &[u32]| logits[tokens.get(same).copied().unwrap_or(spec.end) as usize];
    Ok(Some(logit(expected) - logit(found)))
}

/// `count` English sentences of Multi30k's test of 2016.
fn english(count: usize) -> Option<Vec<String>> {
    let folder = std::env::var("SISKIN_DATA").unwrap_or("../shared/data".into());
    let path = std::path::Path::new(&folder).join("multi30k/test_2016_flickr.en.gz");
    let output = std::process::Command::new("gzip").arg("-dc").arg(&path).output();
    match output {
        Ok(output) if output.status.success() => {
            let text = String::from_utf8(output.stdout).expect("UTF-8");
            Some(text.lines().take(count).map(String::from).collect())
        }
        _ => {
            eprintln!("SKIPPED: no {} that gzip can read", path.display());
            None
        }
    }
}
