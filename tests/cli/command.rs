//! Running the command.

use crate::support::model_file;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

/// A folder for this run of the tests.
pub fn folder() -> &'static Path {
    Path::new(env!("CARGO_TARGET_TMPDIR"))
}

/// The file of the model that the tests share.
pub fn model() -> &'static Path {
    static MODEL: OnceLock<PathBuf> = OnceLock::new();
    MODEL.get_or_init(|| write("model.siskin", &model_file()))
}

/// Writes a file that no other test has.
pub fn write(name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder().join(format!("cli-{}-{name}", std::process::id()));
    std::fs::write(&path, bytes).expect("a file for the test");
    path
}

/// The command, ready to get arguments.
pub fn siskin() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_siskin"));
    // A layer of Mesa's Vulkan drivers complains on standard error where there is no desktop.
    command.env("NODEVICE_SELECT", "1");
    command
}

/// What a command said.
#[derive(Debug)]
pub struct Said {
    pub out: String,
    pub err: String,
    pub status: i32,
}

impl Said {
    fn of(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).expect("the command writes UTF-8");
        let status = output.status.code().expect("the command was not killed");
        Self { out: text(output.stdout), err: text(output.stderr), status }
    }

    /// The lines of the standard output of a command that had nothing to complain about.
    pub fn lines(&self) -> Vec<&str> {
        assert_eq!((self.status, &self.err[..]), (0, ""));
        self.out.lines().collect()
    }

    /// Asserts the exit status and that the message has all `parts`.
    pub fn fails(&self, status: i32, parts: &[&str]) {
        assert_eq!(self.status, status, "{self:?}");
        for part in parts {
            assert!(self.err.contains(part), "{part:?} in {}", self.err);
        }
    }
}

/// Runs `siskin` with `arguments`.
pub fn run(arguments: &[&str]) -> Said {
    output(siskin().args(arguments))
}

/// Runs `command` without an input.
pub fn output(command: &mut Command) -> Said {
    Said::of(command.stdin(Stdio::null()).output().expect("the command starts"))
}

/// Runs `siskin translate` on the model of the tests, with `input` on its standard input.
pub fn translate(arguments: &[&str], input: &[u8]) -> Said {
    let mut command = siskin();
    command.args(["translate", "-m"]).arg(model()).args(arguments);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the command starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    let input = input.to_vec();
    let writer = std::thread::spawn(move || {
        // A command that stops early closes the pipe.
        let _ = stdin.write_all(&input);
    });
    let output = child.wait_with_output().expect("the command ends");
    writer.join().expect("the writer ends");
    Said::of(output)
}
