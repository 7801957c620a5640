//! The commands of `siskin-export`.

pub mod evaluate;
pub mod import;
