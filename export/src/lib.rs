//! The workshop of Siskin: from a corpus to the model that ships.

pub mod onnx;
pub mod onnxruntime;
pub mod spec;
pub mod train;
