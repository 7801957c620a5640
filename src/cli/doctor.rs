//! `siskin doctor`: whether a model gives on this machine what it must give.

use super::load::ModelArguments;
use super::machine::{cpu_features, kernel_names};
use crate::delegate::{self, Missing};
use crate::format::File;
use crate::kernels::Kernels;
use crate::pipeline::golden::{Deviation, Output, replay};
use crate::{Error, Result};
use clap::Args;
use std::env::{consts, var};
use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Arc;

/// Check that a model gives on this machine what it must give.
///
/// Verifies the file, and decodes its golden sentences with the kernels of every instruction set of this CPU: tokens
/// and scores must be those in the file, bit for bit.
#[derive(Args)]
#[command(after_help = "\
Exit status: 0 if the verdict is OK, 1 if it is FAILED.

Examples:
  siskin doctor -m en-de.siskin
  SISKIN_ISA=portable siskin doctor -m en-de.siskin")]
pub(super) struct Arguments {
    #[command(flatten)]
    model: ModelArguments,
}

/// Runs the command.
///
/// # Errors
/// The model cannot be loaded or run; a deviation is no error but a verdict.
pub(super) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let mut out = io::stdout().lock();
    let mut line = |text: String| {
        writeln!(out, "{text}").map_err(|error| Error::io("cannot write to the standard output", error))
    };
    line(format!("siskin {}, {} {}", env!("CARGO_PKG_VERSION"), consts::ARCH, consts::OS))?;
    line(format!("CPU features      {}", cpu_features().join(" ")))?;
    line(format!("SISKIN_ISA        {}", var("SISKIN_ISA").unwrap_or_else(|_| "not set".to_owned())))?;
    let chosen = Kernels::detect()?.isa();
    let sets: Vec<&str> = Kernels::available().map(|kernels| kernels.isa().name()).collect();
    line(format!("instruction sets  {}; in use: {chosen}", sets.join(", ")))?;
    for name in delegate::names() {
        let found = delegate::named(&name, &[]).and_then(|delegate| delegate.probe());
        let found = match found {
            Ok(probe) => format!("{}: {}", probe.version, probe.devices.join(", ")),
            Err(error) => format!("not here: {error}"),
        };
        line(format!("delegate          {name}: {found}"))?;
    }
    for Missing { family, feature } in delegate::missing() {
        line(format!("delegate          {family}: not built in: build with `--features {feature}`"))?;
    }
    let file = arguments.model.find("en-de")?;
    let model = file.open()?;
    line(format!("kernels           {}", kernel_names(&model).join(" ")))?;
    let path = file.path.display();
    File::parse(model.bytes())?.verify().map_err(|error| error.at(&path))?;
    line(format!("model             {path}: {} bytes, checksums good", model.bytes().len()))?;
    drop(model);
    let (mut sentences, mut failed) = (0, false);
    for kernels in Kernels::available() {
        let isa = kernels.isa();
        let model = Arc::new(file.open()?.with_kernels(kernels));
        let replay = replay(&model).map_err(|error| error.at(isa))?;
        sentences = replay.sentences;
        failed |= !replay.deviations.is_empty();
        if sentences > 0 {
            let same = sentences - replay.deviations.len();
            line(format!("  {isa:<15} {same} of {sentences} golden sentences as in the file"))?;
        }
        for deviation in &replay.deviations {
            line(format!("    {}", describe(deviation)))?;
        }
    }
    line(verdict(sentences, failed).to_owned())?;
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn verdict(sentences: usize, failed: bool) -> &'static str {
    match (sentences, failed) {
        (_, true) => "verdict: FAILED",
        (0, _) => {
            "verdict: OK, but no output was compared: the file has no golden sentences (`siskin-export golden` adds \
             them)"
        }
        _ => "verdict: OK",
    }
}

fn describe(Deviation { sentence, expected, found }: &Deviation) -> String {
    let shown = |output: &Output| format!("{:?} with {:?}", output.tokens, output.log_prob);
    format!("sentence {sentence}: the file says tokens {}, found {}", shown(expected), shown(found))
}
