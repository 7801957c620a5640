//! Golden sentences: outputs that a model file carries, so that every machine can check that it gives the same.

use siskin::format::{File, SectionKind, Writer};
use siskin::model::Model;
use siskin::pipeline::golden;
use siskin::tensor::AlignedBytes;
use siskin::{Error, ErrorKind, Result};
use std::path::Path;
use std::sync::Arc;

/// The model file `bytes` with `sources`, and what the model gives for them, as its golden sentences; those that it had
/// are replaced.
///
/// # Errors
/// The bytes are no model that can be run, or a source cannot be answered.
pub fn with_golden(bytes: &[u8], sources: &[&str]) -> Result<Vec<u8>> {
    let model = Arc::new(Model::from_bytes(AlignedBytes::copy_of(bytes))?);
    let section = golden::record(&model, sources)?;
    let mut writer = Writer::copy_of(&File::parse(model.bytes())?);
    writer.optional(SectionKind::Golden, section);
    Ok(writer.finish())
}

/// Up to `count` lines of the file at `path` that are not blank, at equal distances from the first to the end; of lines
/// with a TAB, as in files of pairs, what stands before it.
///
/// # Errors
/// [`ErrorKind::Io`] if the file cannot be read as UTF-8, [`ErrorKind::InvalidOption`] if it has no such line or
/// `count` is 0.
pub fn read_sources(path: &Path, count: usize) -> Result<Vec<String>> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| Error::io(format!("cannot read {}", path.display()), error))?;
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let count = count.min(lines.len());
    if count == 0 {
        let message = format!("{}: no golden sentences in it, or none asked for", path.display());
        return Err(Error::new(ErrorKind::InvalidOption, message));
    }
    let source = |line: &str| line.split('\t').next().unwrap_or_default().to_owned();
    Ok((0..count).map(|i| source(lines[i * lines.len() / count])).collect())
}
