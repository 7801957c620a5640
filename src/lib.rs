//! Siskin runs encoder-decoder Transformers on devices, offline, from one memory-mapped file.
#![cfg_attr(not(feature = "std"), no_std)]
#![deny(unsafe_code)]

extern crate alloc;

pub mod decode;
pub mod error;
pub mod format;
pub mod kernels;
pub mod model;
pub mod nn;
pub mod pipeline;
pub mod tensor;
pub mod text;
pub mod threads;

pub use error::{Error, ErrorKind, Result};
