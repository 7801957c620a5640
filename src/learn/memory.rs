//! How many rows are computed at once, so that learning stays within its budget.

use super::loss::ROWS;
use super::options::Budget;
use super::parameters::Parameters;
use super::product::BLOCK;
use super::samples::Sample;
use crate::error::{Error, ErrorKind, Result};
use crate::model::ModelSpec;

/// Rows beyond which a batch is computed no faster.
const MOST_ROWS: usize = 256;

/// Batches whose rows of encoder output are kept where nothing of the encoder learns.
pub const KEPT_BATCHES: usize = 16;

/// Source and target rows that a thread may compute at once.
///
/// # Errors
/// [`ErrorKind::MemoryLimit`] if the budget is too small for any.
pub fn rows(spec: &ModelSpec, parameters: &Parameters, golden: &[Sample], budget: &Budget) -> Result<usize> {
    let learned: usize = parameters.list().iter().map(|parameter| parameter.values.len()).sum();
    let (d, threads) = (spec.d_model, budget.threads.max(1));
    // Kept and new values, the best of them, two moments, the sum of the gradients, and those of each thread's two batches.
    let values = learned.saturating_mul(6 + 2 * threads);
    let golden_rows: usize = golden.iter().map(|sample| sample.target.len() + 1).sum();
    let fixed = 4 * (values + golden_rows * d) + 64 * golden_rows;
    // Logits, what they are held against, and the gradients' way back.
    let widest = spec.ffn_width.max(spec.target_vocabulary).max(spec.inner_width()).max(d);
    let output =
        4 * ROWS * 5 * spec.target_vocabulary + 4 * (3 * BLOCK + 2 * ROWS) * widest.max(2 * spec.ffn_width);
    let limit = usize::try_from(budget.memory).unwrap_or(usize::MAX);
    let left = limit.saturating_sub(fixed).checked_div(threads).unwrap_or(0).saturating_sub(output);
    let rows = (left / row_bytes(spec)).min(MOST_ROWS);
    if rows < 2 {
        let needed = fixed + threads * (output + 64 * row_bytes(spec));
        let message = format!(
            "learning {learned} values of this model takes about {needed} bytes, the budget is {limit}: learn fewer \
             projections or a lower rank, or raise the budget"
        );
        return Err(Error::new(ErrorKind::MemoryLimit, message));
    }
    Ok(rows)
}

/// Bytes of a row: the inputs that both stacks keep, the widest sub-layer on its way back, and its share of what is
/// kept of the encoder's output.
fn row_bytes(spec: &ModelSpec) -> usize {
    let (d, i, f) = (spec.d_model, spec.inner_width(), spec.ffn_width);
    let kept = (2 * spec.encoder_layers).max(3 * spec.decoder_layers) + 4;
    let attention = 16 * i + 8 * d;
    let ffn = 8 * f + 6 * d;
    4 * ((kept + KEPT_BATCHES) * d + attention.max(ffn))
}

/// Samples in groups of at most `rows` rows; a larger one is alone.
pub fn chunks<'s, 'a>(samples: &'s [&'a Sample], rows: usize) -> Vec<&'s [&'a Sample]> {
    let (mut groups, mut first, mut sum) = (Vec::new(), 0, 0);
    for (i, sample) in samples.iter().enumerate() {
        if i > first && sum + sample.rows() > rows {
            groups.push(&samples[first..i]);
            (first, sum) = (i, 0);
        }
        sum += sample.rows();
    }
    if first < samples.len() {
        groups.push(&samples[first..]);
    }
    groups
}

/// Refuses a sample that alone is larger than the budget.
///
/// # Errors
/// [`ErrorKind::MemoryLimit`].
pub fn check(sample: &Sample, rows: usize) -> Result<()> {
    if sample.rows() <= rows {
        return Ok(());
    }
    let message =
        format!("{} tokens; the budget is enough for {rows}: shorten the pair or raise it", sample.rows());
    Err(Error::new(ErrorKind::MemoryLimit, message))
}
