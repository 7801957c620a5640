//! Learning: gradients against finite differences of the oracle, and what becomes of lessons.

#[path = "../oracle/mod.rs"]
mod oracle;
#[path = "../support/mod.rs"]
mod support;

mod gradients;
mod lessons;
