//! The workshop of Siskin.

#![deny(unsafe_code)]

pub mod checkpoint;
pub mod cli;
pub mod evaluate;
pub mod golden;
pub mod merge;
pub mod onnx;
pub mod onnxruntime;
pub mod quantize;
pub mod screen;
pub mod shortlist;
pub mod source;
pub mod tflite;
pub mod tokenizer;
pub mod train;
