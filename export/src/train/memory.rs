//! How much memory a run takes, before it takes it.

use super::batch::plan;
use super::config::Config;
use super::data::Example;
use super::random::Random;
use crate::onnx::transformer::emit;
use crate::onnx::{Dim, Graph};
use siskin::model::ModelSpec;
use siskin::{Error, ErrorKind, Result};

/// Bytes a parameter takes: the weight, its gradient and the two moments; a copy of all but the gradient where a
/// checkpoint is written, as tensors, as bytes, and in the file's layout; twice an average.
const BYTES_A_PARAMETER: usize = 4 * (4 + 3 * 3 + 2);

/// How many times the bytes of a batch's values the batch takes: ONNX Runtime's arena grows in powers of two, and
/// validation has an arena of its own. With it, runs with 2,000 to 8,000 pieces and 2,048 to 8,192 tokens a batch took
/// 0.9 to 1.15 times their estimate.
const ARENAS: usize = 2;

/// The program, ONNX Runtime and a usual corpus.
const PROGRAM_BYTES: usize = 100 << 20;

/// An estimate of the memory that a run takes.
pub struct Estimate {
    graph: Graph,
    parameters: usize,
}

impl Estimate {
    /// For the training graph of `spec`.
    ///
    /// # Errors
    /// Those of [`emit`].
    pub fn new(spec: &ModelSpec, config: &Config) -> Result<Self> {
        let mut emitted = emit(spec, config.regularization())?;
        for (index, gradient) in emitted.graph.differentiate(emitted.loss).into_iter().enumerate() {
            emitted.graph.output(&format!("gradient.{index}"), gradient);
        }
        let shapes = emitted.graph.parameters().iter().map(|&p| emitted.graph.parameter_shape(p));
        let parameters = shapes.map(|shape| shape.iter().product::<usize>()).sum();
        Ok(Self { graph: emitted.graph, parameters })
    }

    /// Bytes that no batch changes: of weights, moments, checkpoints and the program.
    pub fn fixed_bytes(&self) -> usize {
        self.parameters.saturating_mul(BYTES_A_PARAMETER).saturating_add(PROGRAM_BYTES)
    }

    /// Bytes of the largest batch that `examples` make with `batch_tokens`.
    pub fn batch_bytes(&self, examples: &[Example], batch_tokens: usize) -> usize {
        let longest = |indices: &[usize], length: fn(&Example) -> usize| {
            indices.iter().map(|&i| length(&examples[i])).max().unwrap_or(0)
        };
        let batches = plan(examples, batch_tokens, &mut Random::new(0, &[]));
        let mut shapes: Vec<[usize; 3]> = batches
            .iter()
            .map(|batch| {
                [batch.len(), longest(batch, |e| e.source.len()), longest(batch, |e| e.target.len())]
            })
            .collect();
        shapes.sort_unstable();
        shapes.dedup();
        let bytes = |&[b, s, t]: &[usize; 3]| self.graph.peak_bytes(|dim| size(dim, b, s, t));
        largest(shapes).iter().map(bytes).max().unwrap_or(0).saturating_mul(ARENAS)
    }

    /// The bytes that a run on `examples` takes, if they are at most `available`.
    ///
    /// # Errors
    /// [`ErrorKind::MemoryLimit`], with the `batch_tokens` that would fit.
    pub fn check(&self, examples: &[Example], config: &Config, available: usize) -> Result<usize> {
        let (fixed, wanted) = (self.fixed_bytes(), config.training.batch_tokens);
        let needed = |tokens| fixed.saturating_add(self.batch_bytes(examples, tokens));
        let total = needed(wanted);
        if total <= available {
            return Ok(total);
        }
        let halves = std::iter::successors(Some(wanted / 2), |tokens| Some(tokens / 2));
        let fitting = halves.take_while(|&tokens| tokens > 0).find(|&tokens| needed(tokens) <= available);
        let advice = match fitting {
            Some(tokens) => format!(
                "batch_tokens = {tokens} with accumulate = {} would fit",
                config.training.accumulate * wanted.div_ceil(tokens)
            ),
            None => "no batch_tokens would fit: make the model smaller, or lower max_positions".to_owned(),
        };
        let message = format!(
            "the run needs about {} MiB, {} of them for a batch of {wanted} tokens, and the machine has {} MiB free: {advice}",
            total >> 20,
            (total - fixed) >> 20,
            available >> 20
        );
        Err(Error::new(ErrorKind::MemoryLimit, message))
    }
}

/// Of batch shapes [B, S, T], those that can be the largest: no other has as much in each of the sizes that count.
fn largest(shapes: Vec<[usize; 3]>) -> Vec<[usize; 3]> {
    let sizes = |&[b, s, t]: &[usize; 3]| [b * s, b * t, b * s * s, b * s * t, b * t * t];
    let covers = |a: &[usize; 3], b: &[usize; 3]| sizes(a).iter().zip(sizes(b)).all(|(x, y)| *x >= y);
    let mut kept: Vec<[usize; 3]> = Vec::new();
    for shape in shapes {
        if !kept.iter().any(|other| covers(other, &shape)) {
            kept.retain(|other| !covers(&shape, other));
            kept.push(shape);
        }
    }
    kept
}

fn size(dim: Dim, b: usize, s: usize, t: usize) -> usize {
    match dim {
        Dim::Fixed(size) => size,
        Dim::Symbol("batch") => b,
        Dim::Symbol("source") => s,
        Dim::Symbol("target") => t,
        Dim::Symbol("source_tokens") => b * s,
        Dim::Symbol("target_tokens") => b * t,
        Dim::Symbol("source_pairs") => s * s,
        Dim::Symbol("target_pairs") => t * t,
        // Targets that an SSRU shifts: no longer than twice, but for the shifts that move everything out.
        Dim::Symbol("padded") => 2 * t,
        Dim::Symbol(other) => unreachable!("the emitter has no dimension {other}"),
    }
}

/// Bytes that this machine has free, or a container may have, where the system says so: on Linux.
pub fn available_bytes() -> Option<usize> {
    let limit = std::fs::read_to_string("/sys/fs/cgroup/memory.max").ok();
    let limit = limit.and_then(|text| text.trim().parse().ok()).unwrap_or(usize::MAX);
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let kilobytes = |key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
        line.trim().strip_suffix("kB")?.trim().parse::<usize>().ok()
    };
    Some(((kilobytes("MemAvailable")? + kilobytes("SwapFree").unwrap_or(0)) * 1024).min(limit))
}

#[cfg(test)]
mod tests {
    use super::*;
    use siskin::model::Autoregression;

    #[test]
    fn a_batch_that_does_not_fit_is_refused_with_one_that_does() -> Result<()> {
        let mut config = Config::default();
        config.training.batch_tokens = 8192;
        let examples = vec![Example { source: vec![4; 20], target: vec![4; 20], prefix: 0 }; 1000];
        let estimate = Estimate::new(&config.spec(100, 8000), &config)?;
        let bytes = |tokens| estimate.fixed_bytes() + estimate.batch_bytes(&examples, tokens);
        assert!(estimate.batch_bytes(&examples, 8192) > 4096 * 8000 * 4, "logits alone are more");
        assert_eq!(estimate.check(&examples, &config, bytes(8192))?, bytes(8192));
        let error = estimate.check(&examples, &config, bytes(2048) + 1).expect_err("too little");
        assert_eq!(error.kind(), ErrorKind::MemoryLimit);
        assert!(error.to_string().contains("batch_tokens = 2048 with accumulate = 4 would fit"), "{error}");
        let error = estimate.check(&examples, &config, 1 << 20).expect_err("far too little");
        assert!(error.to_string().contains("no batch_tokens would fit"), "{error}");
        Ok(())
    }

    #[test]
    fn a_recurrence_takes_memory_too() -> Result<()> {
        let config = Config::default();
        let examples = vec![Example { source: vec![4; 20], target: vec![4; 20], prefix: 0 }; 100];
        let spec = config.spec(100, 100);
        let recurrent = ModelSpec { autoregression: Autoregression::Ssru, ..spec.clone() };
        let bytes = |spec: &ModelSpec| -> Result<usize> {
            Ok(Estimate::new(spec, &config)?.batch_bytes(&examples, 2048))
        };
        let longer = ModelSpec { max_positions: 8 * spec.max_positions, ..recurrent.clone() };
        assert!(bytes(&longer)? > bytes(&recurrent)?, "a scan of more steps keeps more of them");
        Ok(())
    }

    #[test]
    fn shapes_that_another_covers_are_left_out() {
        assert_eq!(largest(vec![[2, 3, 3], [2, 4, 3], [10, 1, 1], [1, 2, 2]]), [[2, 4, 3], [10, 1, 1]]);
    }
}
