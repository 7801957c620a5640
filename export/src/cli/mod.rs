//! The commands of `siskin-export`.

pub mod import;
