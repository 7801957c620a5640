//! A run of the training or the evaluation model.
//!
//! In version 2.0.0-rc.15 of `ort`, `Trainer::step` and `Trainer::eval_step` panic: they wrap the outputs without an
//! allocator, which a tensor must have. This calls the same functions of the C API and wraps them with one.
#![allow(unsafe_code)]

use crate::onnxruntime;
use ort::AsPointer;
use ort::memory::Allocator;
use ort::sys::OrtValue;
use ort::training::{Trainer, training_api};
use ort::value::DynTensor;
use siskin::Result;
use std::ptr::{NonNull, null, null_mut};

/// Which model to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The training model, which adds to the gradients.
    Train,
    /// The evaluation model.
    Evaluate,
}

/// Runs a model of `trainer`. `inputs` are all that the model reads besides parameters and gradients, in its order;
/// `outputs` is the number of its outputs besides those of the gradients.
///
/// # Errors
/// When ONNX Runtime fails, which includes inputs or outputs that are not as many as the model's.
pub fn run(trainer: &Trainer, mode: Mode, inputs: &[DynTensor], outputs: usize) -> Result<Vec<DynTensor>> {
    let failed = |e: ort::Error| onnxruntime::failed("running the model", &e);
    let api = training_api().map_err(failed)?;
    let function = match mode {
        Mode::Train => api.TrainStep,
        Mode::Evaluate => api.EvalStep,
    };
    let inputs: Vec<*const OrtValue> = inputs.iter().map(|input| input.ptr()).collect();
    let mut results: Vec<*mut OrtValue> = vec![null_mut(); outputs];
    // SAFETY: The session is alive as long as `trainer` is, and nobody else uses it: `Trainer` is not `Sync`. The arrays
    // have the lengths that are passed with them, and the inputs outlive the call. No run options is a null pointer.
    let status = unsafe {
        function(
            trainer.ptr().cast_mut(),
            null(),
            inputs.len(),
            inputs.as_ptr(),
            results.len(),
            results.as_mut_ptr(),
        )
    };
    // SAFETY: The status is what the API returned, and is used once.
    unsafe { ort::Error::result_from_status(status) }.map_err(failed)?;
    let allocator = Allocator::default();
    let tensor = |result: *mut OrtValue| {
        let result = NonNull::new(result).expect("a run that succeeded has filled its outputs");
        // SAFETY: The model's outputs are tensors of the CPU, and the caller of the API owns the values it made.
        unsafe { DynTensor::from_ptr(result, Some(&allocator)) }
    };
    Ok(results.into_iter().map(tensor).collect())
}
