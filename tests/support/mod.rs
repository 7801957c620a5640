//! What several tests share: seeded random numbers, specs of every family, models with random weights.
#![allow(dead_code, unused_imports)] // each test uses its own part

mod random;
mod random_model;
pub mod specs;
mod text_model;

pub use random::Random;
pub use random_model::{Recipe, open, random_model, with_screen, with_section, with_shortlist};
pub use text_model::{POSITIONS, model_file};
