//! The commands of `siskin-export`.

pub mod card;
pub mod evaluate;
pub mod golden;
pub mod import;
pub mod measure;
pub mod merge;
pub mod metrics;
pub mod onnx;
pub mod ort;
pub mod output;
pub mod quantize;
pub mod report;
pub mod screen;
pub mod shortlist;
pub mod tflite;
pub mod train;
pub mod vocabulary;
