//! The commands of `siskin-export`.

pub mod golden;
pub mod import;
