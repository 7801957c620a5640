//! The delegate `gpu` against the CPU: logits of every kind of model, beams, bytes, and what can go wrong.
//!
//! Without an adapter the tests say so and pass; with `SISKIN_REQUIRE_GPU` set they fail.

mod support;

use std::sync::Arc;

use siskin::Model;
use siskin::delegate::gpu::{Gpu, GpuDelegate, PackedDot};
use siskin::delegate::{Compiled, Delegate};
use siskin::error::{ErrorKind, Result};
use siskin::model::{Alignment, ModelSpec, Session, SessionShape, ShortlistMode};
use siskin::tensor::Dtype;
use support::{Random, open, random_model, specs};

/// The greatest error of a logit, as a part of the greatest logit of its row, where weights are floats: sums of a few
/// hundred terms in another order, and the precision that WGSL asks of `exp` and `inverseSqrt`.
const FLOAT_BOUND: f32 = 1e-4;
/// The same where weights are int8: an activation on the border of two of its 255 values may fall on either side, and
/// a difference of one such step in a row of 32 values is what these small models amplify most.
const INT8_BOUND: f32 = 0.03;

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
        target_length: 10,
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
    for (name, spec) in specs::variations() {
        for (dtype, bound) in [(Dtype::F32, FLOAT_BOUND), (Dtype::F16, FLOAT_BOUND), (Dtype::I8, INT8_BOUND)]
        {
            let Some(gpu) = gpu() else { return Ok(()) };
            let model = open(&random_model(&spec, 3, dtype));
            let shape = shape(3, 2);
            let mut compiled = compile(gpu, &model, &shape)?;
            let error = worst_error(&mut compiled, &mut Session::new(model, shape)?)?;
            println!("{name}, {dtype:?}: {error:.1e}");
            assert!(error <= bound, "{name}, {dtype:?}: {error}");
        }
    }
    Ok(())
}

/// A model that looks at the numbers of int8 products only through what follows them.
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
    for step in 0..10 {
        compiled.step(&[1, 2], if step == 0 { &[0, 0] } else { &[1, 0] })?;
        let placement = compiled.placement();
        copied.push((placement.to_device, placement.from_device));
    }
    let spec = model.spec();
    // Of each of the 2 rows: its embedding, parent and span; and what describes the step.
    let to_device = 2 * (4 * spec.d_model + 4 + 8) + 16;
    let from_device = 2 * 4 * spec.target_vocabulary;
    assert_eq!(copied, [(to_device as u64, from_device as u64); 10]);
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
    let error = compiled.step(&[1], &[0]).err().expect("the device is lost");
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
