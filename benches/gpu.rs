//! Tokens a second of the delegate `gpu` beside the CPU's session on one thread, and beside the same kernels with
//! products that are not tiled.
//!
//! `cargo bench --features gpu --bench gpu [-- MODEL]` decodes sources of 16 random tokens for 24 steps, all of them
//! together, and prints for batches of 1 and 64 the fastest of three runs. The default model is the shipped `en-de`.

use siskin::delegate::gpu::{Gpu, GpuDelegate, Products};
use siskin::delegate::{Compiled, Cpu, Delegate};
use siskin::model::{Alignment, Model, SessionShape, ShortlistMode};
use siskin::{Error, Result};
use std::sync::Arc;
use std::time::Instant;

const SOURCE: usize = 16;
const STEPS: usize = 24;
const RUNS: usize = 3;

fn main() -> Result<()> {
    let shipped = concat!(env!("CARGO_MANIFEST_DIR"), "/models/en-de/en-de.siskin");
    let path = std::env::args().skip(1).find(|argument| !argument.starts_with("--"));
    let model = Arc::new(Model::open(path.as_deref().unwrap_or(shipped))?);
    let gpu = match Gpu::open() {
        Ok(gpu) => gpu,
        Err(error) => {
            eprintln!("SKIPPED: {error}");
            return Ok(());
        }
    };
    println!("{}; source {SOURCE}, {STEPS} steps, tokens/s", gpu.name());
    let tiled = GpuDelegate::on(Arc::new(gpu));
    let plain = GpuDelegate::on(Arc::new(Gpu::open()?.with_products(Products::Plain)));
    println!("{:>5} {:>10} {:>10} {:>10}  gpu / cpu  gpu / plain", "batch", "cpu", "gpu", "plain");
    for batch in [1, 64] {
        let delegates: [&dyn Delegate; 3] = [&Cpu, &tiled, &plain];
        let speeds = delegates.map(|delegate| speed(delegate, &model, batch));
        let [cpu, gpu, plain] = speeds.map(|speed: Result<f64, Error>| speed.unwrap_or(f64::NAN));
        println!(
            "{batch:>5} {cpu:>10.0} {gpu:>10.0} {plain:>10.0} {:>10.3} {:>12.2}",
            gpu / cpu,
            gpu / plain
        );
    }
    Ok(())
}

/// Tokens a second of the fastest run.
fn speed(delegate: &dyn Delegate, model: &Arc<Model>, batch: usize) -> Result<f64> {
    let shape = SessionShape {
        batch,
        beam: 1,
        source_length: SOURCE,
        source_tokens: SOURCE * batch,
        target_length: STEPS,
        threads: 1,
        alignments: Alignment::Drop,
        shortlist: ShortlistMode::Off,
    };
    let mut compiled = delegate.compile(model, &shape)?;
    let seconds = (0..RUNS).map(|_| decode(&mut compiled, batch));
    let fastest = seconds.collect::<Result<Vec<f64>>>()?.into_iter().fold(f64::INFINITY, f64::min);
    Ok((batch * STEPS) as f64 / fastest)
}

/// Seconds of the steps of one batch, the encoder not counted.
fn decode(compiled: &mut Compiled, batch: usize) -> Result<f64> {
    let source: Vec<u32> = (0..SOURCE as u32).map(|i| 3 + 7 * i).collect();
    compiled.encode(&vec![source.as_slice(); batch])?;
    let tokens = vec![compiled.model().spec().decoder_start; batch];
    let parents: Vec<u32> = (0..batch as u32).collect();
    // The first step waits for the encoder.
    compiled.step(&tokens, &parents)?;
    let start = Instant::now();
    for _ in 1..STEPS {
        compiled.step(&tokens, &parents)?;
    }
    Ok(start.elapsed().as_secs_f64() * STEPS as f64 / (STEPS - 1) as f64)
}
