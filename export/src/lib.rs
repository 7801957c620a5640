//! The workshop of Siskin.

pub mod checkpoint;
pub mod cli;
pub mod evaluate;
pub mod quantize;
pub mod source;
