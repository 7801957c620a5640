//! The `siskin` command as its users see it: what it prints, and its exit status.

#[path = "../support/mod.rs"]
mod support;

mod command;
mod delegate;
mod learn;
mod manual;
mod reports;
#[cfg(all(feature = "tflite", target_os = "linux"))]
mod tflite;
mod translate;
