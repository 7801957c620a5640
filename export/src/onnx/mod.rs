//! ONNX graphs made in Rust: a typed graph, reverse-mode differentiation over its nodes, the Transformer as a graph,
//! and the protobuf that ONNX Runtime reads. The same blocks serve training, evaluation and export.

mod attention;
pub mod autodiff;
pub mod build;
pub mod export;
pub mod functions;
pub mod graph;
pub mod inference;
pub mod memory;
pub mod products;
pub mod proto;
pub mod quantization;
pub mod serialize;
pub mod transformer;
pub mod weights;

pub use graph::{Dim, ElementType, Graph, Value};
