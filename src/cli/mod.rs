//! The commands of `siskin`.

pub mod inspect;
