//! The workshop of Siskin.

pub mod source;
