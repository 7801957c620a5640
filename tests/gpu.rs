//! The delegate `gpu` against the CPU: logits of every kind of model, beams, bytes, and what can go wrong.
//!
//! Without an adapter the tests say so and pass; with `SISKIN_REQUIRE_GPU` set they fail.

mod support;

use std::sync::Arc;

use siskin::Model;
use siskin::delegate::{Compiled, Delegate, Gpu, GpuDelegate};
use siskin::error::Result;
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
