//! The C ABI as programs in C and C++ see it: header, libraries, symbols, examples, on this machine, under valgrind and
//! as aarch64 under QEMU.
#![cfg(target_os = "linux")]

mod header;
mod installation;
mod programs;
#[path = "../support/mod.rs"]
mod support;
