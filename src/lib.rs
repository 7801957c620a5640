//! Siskin runs encoder-decoder Transformers on devices, offline, from one memory-mapped file.
#![cfg_attr(not(feature = "std"), no_std)]
#![deny(unsafe_code)]

extern crate alloc;

pub mod decode;
pub mod error;
pub mod kernels;
pub mod tensor;

pub use error::{Error, ErrorKind, Result};
