//! The graphs of a model, loaded.

use ort::environment::Environment;
use ort::session::Session;
use std::path::Path;

use super::plugin::on_cpu;
use super::{Fallback, Ort};
use crate::delegate::failed;
use crate::error::Result;
use crate::format::{File, spell_fingerprint};
use crate::model::{Model, SessionShape};

/// How the graphs keep keys and values of written tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cache {
    /// They grow with every step.
    Growing,
    /// They have room for the longest output, and every shape is fixed.
    Fixed,
}

/// The encoder and a step of the decoder.
pub struct Graphs {
    pub encoder: Session,
    pub step: Session,
    pub cache: Cache,
}

impl Graphs {
    /// The graphs in `folder`, which were made from `model`.
    ///
    /// # Errors
    /// [`Delegate`](crate::ErrorKind::Delegate) if they are not there or of another model, or if the provider cannot run
    /// them.
    pub fn open(
        environment: &Environment,
        ort: &Ort,
        folder: &Path,
        model: &Model,
        shape: &SessionShape,
    ) -> Result<Self> {
        let encoder_file = folder.join("encoder.onnx");
        if !encoder_file.exists() {
            return Err(failed(format!(
                "there are no graphs in {}: `siskin-export onnx MODEL --for delegate --out {}` makes them",
                folder.display(),
                folder.display()
            )));
        }
        let cache = Self::check(environment, &encoder_file, model)?;
        let rows = shape.batch * shape.beam;
        let (encoder_sizes, step_sizes) = match cache {
            Cache::Growing => (vec![], vec![]),
            Cache::Fixed => (
                vec![("batch", shape.batch), ("source", shape.source_length)],
                vec![
                    ("batch", rows),
                    ("rows_before", rows),
                    ("sentences", shape.batch),
                    ("source", shape.source_length),
                    ("target", shape.target_length),
                ],
            ),
        };
        let load = |file: &Path, sizes: &[(&str, usize)]| {
            load(environment, ort, file, shape.threads, sizes).map_err(|error| {
                failed(format!("loading {}: ONNX Runtime answered: {error}", file.display()))
            })
        };
        let encoder = load(&encoder_file, &encoder_sizes)?;
        let step = load(&folder.join("decoder_step.onnx"), &step_sizes)?;
        Ok(Self { encoder, step, cache })
    }

    /// Checks, without any provider, that the graphs are for a delegate and of this model.
    fn check(environment: &Environment, file: &Path, model: &Model) -> Result<Cache> {
        let place = file.display();
        let answered =
            |error: &dyn std::fmt::Display| failed(format!("{place}: ONNX Runtime answered: {error}"));
        let builder = Session::builder(environment).map_err(|error| answered(&error))?;
        let mut builder = on_cpu(builder, environment).map_err(|error| answered(&error))?;
        let graph = builder.commit_from_file(file).map_err(|error| answered(&error))?;
        let metadata = graph.metadata().map_err(|error| answered(&error))?;
        let cache = match metadata.custom("interface").as_deref() {
            Some("delegate, growing cache") => Cache::Growing,
            Some("delegate, fixed cache") => Cache::Fixed,
            _ => return Err(failed(format!("{place} was not exported with `--for delegate`"))),
        };
        let fingerprint = spell_fingerprint(&File::parse(model.bytes())?.fingerprint());
        match metadata.custom("model") == Some(fingerprint) {
            true => Ok(cache),
            false => Err(failed(format!("{place} was exported from another model file: export it again"))),
        }
    }
}

fn load(
    environment: &Environment,
    ort: &Ort,
    file: &Path,
    threads: usize,
    sizes: &[(&str, usize)],
) -> ort::Result<Session> {
    let mut builder = Session::builder(environment)?.with_intra_threads(threads)?;
    for &(name, size) in sizes {
        builder = builder.with_dimension_override(name, size as i64)?;
    }
    let provider = ort.provider;
    let mut builder = match (&ort.plugin, provider.dispatch(&ort.options)) {
        (Some(plugin), _) => plugin.choose(builder, environment, provider.onnx_name, &ort.options)?,
        (None, Some(provider)) => builder.with_execution_providers([provider])?,
        (None, None) => return on_cpu(builder, environment)?.commit_from_file(file),
    };
    if ort.fallback == Fallback::Refuse {
        builder = builder.with_config_entry("session.disable_cpu_ep_fallback", "1")?;
    }
    builder.commit_from_file(file)
}
