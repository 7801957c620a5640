//! `siskin-export report`: a run as a page.

use crate::train::report::{REPORT, write_report};
use clap::Args;
use siskin::Result;
use std::path::PathBuf;

/// Arguments of `siskin-export report`.
#[derive(Args)]
pub struct Arguments {
    /// The folder of a run of `siskin-export train`, which may be under way
    folder: PathBuf,
}

/// Runs the command.
///
/// # Errors
/// Those of [`write_report`].
pub fn run(arguments: &Arguments) -> Result<()> {
    write_report(&arguments.folder)?;
    println!("{}", arguments.folder.join(REPORT).display());
    Ok(())
}
