//! Learning on the device: gradients over a frozen model, adapters, and the rules by which a lesson is kept.
//!
//! The model file is never changed, copied or widened: gradients flow through its panels, whatever their type, and what
//! is learned goes to an [`Adapter`](crate::model::Adapter) file. `docs/learning.md` derives what is computed.
//!
//! - A [`Learner`] takes corrections and gives an adapter: this is what most programs want.
//! - [`gradients`], [`Parameters`] and [`Optimizer`] are the parts that it is made of.

mod attention;
mod batch;
mod course;
mod gate;
mod learner;
mod loss;
mod memory;
mod network;
mod optimizer;
mod options;
mod parameters;
mod passes;
mod product;
mod random;
mod samples;
mod sublayer;
mod suspension;
mod terms;

pub use batch::{Batch, Objective, gradients};
pub use course::{Course, Progress};
pub use gate::{Outcome, Reason, Verdict};
pub use learner::Learner;
pub use loss::Loss;
pub use optimizer::{Method, Optimizer, clip};
pub use options::{Budget, CONTRAST_PAIRS, Gate, LearnOptions, Schedule};
pub use parameters::{DEFAULT_PROJECTIONS, Gradients, Parameter, Parameters, Scope};
