//! Runs of `siskin-export train` as a process.
#![allow(dead_code)] // each test file uses a part of it

use siskin_export::train::Snapshot;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

/// A run in a folder of its own.
pub struct Run {
    pub folder: PathBuf,
}

/// Lines of the log behind which a process that is not listened to must wait: 64 KiB of the pipe and 8 KiB of the
/// reader have room for about 1100. The run has more.
pub const STEPS: u64 = 1500;

impl Run {
    pub fn new(name: &str, training: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("siskin-train-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        let run = Self { folder };
        let words = ["abc", "cab", "bca", "aab", "cc", "b", "abcab", "bbca", "ca", "acb", "bac", "ccab"];
        let reversed = |word: &&str| format!("{word}\t{}\n", word.chars().rev().collect::<String>());
        let pairs: String = words.iter().map(reversed).collect();
        run.write("train.tsv", &pairs);
        run.write("dev.tsv", "ab\tba\nbc\tcb\n");
        let recipe = format!(
            "[model]\nd_model = 8\nheads = 2\nffn_width = 8\nencoder_layers = 1\ndecoder_layers = 1\n\
             max_positions = 16\n[training]\nsteps = {STEPS}\nbatch_tokens = 40\nevaluate_every = 200\n{training}"
        );
        run.write("recipe.toml", &recipe);
        run
    }

    pub fn write(&self, name: &str, text: &str) {
        fs::write(self.folder.join(name), text).unwrap();
    }

    pub fn out(&self) -> PathBuf {
        self.folder.join("out")
    }

    pub fn arguments(&self) -> Vec<String> {
        let file = |name: &str| self.folder.join(name).display().to_string();
        let [pairs, dev, out, config] = ["train.tsv", "dev.tsv", "out", "recipe.toml"].map(file);
        ["train", "--pairs", &pairs, "--dev", &dev, "--out", &out, "--config", &config]
            .map(str::to_owned)
            .into()
    }

    pub fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_siskin-export"));
        command.args(self.arguments());
        command
    }

    /// Runs to the end, with `more` arguments.
    pub fn finish(&self, more: &[&str]) -> Output {
        self.command().args(more).output().unwrap()
    }

    /// Starts, and reads standard output up to the line of `step`.
    pub fn start(&self, step: u64) -> (Child, BufReader<impl Read>) {
        let mut child = self.command().stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        while !line.starts_with(&format!("step {step}: loss")) {
            line.clear();
            assert!(lines.read_line(&mut line).unwrap() > 0, "it ended before step {step}");
        }
        (child, lines)
    }

    pub fn bytes(&self, file: &str) -> Vec<u8> {
        fs::read(self.out().join(file)).unwrap()
    }

    pub fn step(&self, file: &str) -> u64 {
        Snapshot::read(&self.out().join(file)).unwrap().progress.step
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

pub fn assert_success(output: &Output) {
    assert!(output.status.success(), "{}\n{}", text(&output.stdout), text(&output.stderr));
}
