//! The C ABI. `include/siskin.h` is its documentation; `docs/c-api.md` says how to build and link it.
//!
//! - Every function's name, types and constants are held against the header by `tests/capi`.
//! - Pointers that come from C have types of their own: [`Borrowed`](handle::Borrowed), [`Owned`](handle::Owned),
//!   [`Out`](handle::Out). Nothing in Rust makes one, so each carries the promise that the header asks of its caller,
//!   and the code that trusts it is in [`handle`], [`text`] and [`options`].
//! - A function that can fail runs in [`guarded`](error::guarded), which turns an error or a panic into a status. The
//!   others only read what is there.

#![allow(unsafe_code)]

mod error;
mod handle;
#[cfg(feature = "learn")]
mod learner;
mod model;
mod options;
mod result;
mod text;
mod translator;

use core::ffi::c_char;

#[unsafe(no_mangle)]
extern "C" fn siskin_version() -> *const c_char {
    concat!(env!("CARGO_PKG_VERSION"), "\0").as_ptr().cast()
}
