//! Which matrices are kept wider where a file may be larger than its smallest.

use super::{Kept, Quantization, Sensitivity};
use siskin::{Error, ErrorKind, Result};
use std::collections::BTreeMap;

/// Keeps matrices wider as long as the file, which `make` makes, has at most `budget` bytes: in the order of
/// `sensitivities` each that still fits. Gives the file.
///
/// That a model loses what its matrices lose one by one is an approximation; [`Calibration::loss`] of the file says what
/// it really loses.
///
/// [`Calibration::loss`]: super::Calibration::loss
///
/// # Errors
/// [`ErrorKind::InvalidOption`] if the budget is too small for the narrow type alone; those of `make`.
pub fn keep_wider(
    quantization: &mut Quantization,
    sensitivities: &[Sensitivity],
    budget: usize,
    make: impl Fn(&Quantization) -> Result<Vec<u8>>,
) -> Result<Vec<u8>> {
    quantization.kept.clear();
    let smallest = make(quantization)?.len();
    let Some(mut room) = budget.checked_sub(smallest) else {
        let (name, message) = (quantization.precision.name(), "allow more, or take a narrower type");
        let message =
            format!("the file has {smallest} bytes with {name} alone, the budget {budget}: {message}");
        return Err(Error::new(ErrorKind::InvalidOption, message));
    };
    // Reasons, padding and golden sentences also take bytes: what they take too much of is taken off the room.
    loop {
        quantization.kept = fill(sensitivities, quantization.precision.name(), room);
        let bytes = make(quantization)?;
        match bytes.len().saturating_sub(budget) {
            0 => return Ok(bytes),
            excess => room = room.saturating_sub(excess),
        }
    }
}

/// The matrices that fit into `room` bytes, taken in order.
fn fill(sensitivities: &[Sensitivity], narrow: &str, mut room: usize) -> BTreeMap<String, Kept> {
    let mut kept = BTreeMap::new();
    for Sensitivity { name, loss, wider, bytes } in sensitivities {
        if *bytes <= room {
            room -= bytes;
            let reason = format!(
                "{narrow} alone diverges by {:.2e} nats a token; {bytes} bytes more",
                loss.divergence
            );
            kept.insert(name.clone(), Kept { precision: *wider, reason });
        }
    }
    kept
}
