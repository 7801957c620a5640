//! Commands of the workshop, `siskin-export`, under the name of this program.

use crate::{Error, ErrorKind, Result};
use std::env::consts::EXE_SUFFIX;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

/// Runs `siskin-export` with `command`, a command and its arguments; its exit status is this program's.
///
/// # Errors
/// [`ErrorKind::InvalidOption`] if there is no `siskin-export`, or [`ErrorKind::Io`] if it cannot be started.
pub(super) fn run(command: &[OsString]) -> Result<ExitCode> {
    let program = beside_this_program().unwrap_or_else(|| "siskin-export".into());
    match Command::new(&program).args(command).status() {
        Ok(status) => Ok(status.code().map_or(ExitCode::FAILURE, |code| ExitCode::from(code as u8))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(not_found(command)),
        Err(error) => Err(Error::io(format!("cannot start {}", program.display()), error)),
    }
}

fn beside_this_program() -> Option<PathBuf> {
    let program = std::env::current_exe().ok()?.with_file_name(format!("siskin-export{EXE_SUFFIX}"));
    program.is_file().then_some(program)
}

fn not_found(command: &[OsString]) -> Error {
    let name = command.first().map_or(OsStr::new(""), OsString::as_os_str).display();
    let message = format!(
        "`{name}` is no command of siskin (see `siskin --help`), and siskin-export, which has more, was found neither \
         beside this program nor on the PATH: install it, or check the spelling"
    );
    Error::new(ErrorKind::InvalidOption, message)
}
