//! TensorFlow Lite models: the graphs of [`crate::onnx`], translated operator by operator, with every shape fixed.

pub mod builtin;
pub mod convert;
pub mod export;
pub mod schema;
