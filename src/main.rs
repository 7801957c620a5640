//! The `siskin` command; `docs/cli.md` is its manual.

use std::process::ExitCode;

fn main() -> ExitCode {
    siskin::cli::main()
}
