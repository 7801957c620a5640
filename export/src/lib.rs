//! The workshop of Siskin.

pub mod checkpoint;
pub mod cli;
pub mod golden;
pub mod quantize;
pub mod source;
