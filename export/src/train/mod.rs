//! From pairs of text to a checkpoint.
//!
//! [`Trainer`] runs the loop over an [`Engine`], which computes gradients and takes steps. All randomness depends on
//! the seed and the place in the run, and a [`Snapshot`] holds the rest, so a resumed run gives the numbers of one
//! that was never interrupted.

pub mod adamw;
pub mod batch;
pub mod chart;
pub mod config;
pub mod corpus;
pub mod data;
pub mod engine;
pub mod engine_choice;
pub mod graph_inputs;
pub mod initialization;
pub mod log;
pub mod memory;
pub mod ort_engine;
pub mod ort_training;
pub mod random;
pub mod report;
pub mod schedule;
pub mod selection;
pub mod shape;
pub mod snapshot;
pub mod start;
pub mod teacher;
pub mod trainer;
pub mod validation;
pub mod vocabulary;
pub mod warm_start;

pub use config::Config;
pub use engine::Engine;
pub use engine_choice::EngineChoice;
pub use ort_engine::OrtEngine;
pub use ort_training::OrtTrainingEngine;
pub use snapshot::Snapshot;
pub use trainer::Trainer;
