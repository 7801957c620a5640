//! The folder that `siskin-export tflite` writes: two graphs, and a file of facts about them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::delegate::failed;
use crate::error::Result;
use crate::format::{File, crc32, spell_fingerprint};
use crate::model::{Model, SessionShape};

/// The graphs of a model, which are checked and not yet loaded.
pub struct Exported {
    pub encoder: PathBuf,
    pub decoder_step: PathBuf,
    pub sizes: Sizes,
}

/// The shapes of the graphs, all of which are fixed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// B, sentences.
    pub batch: usize,
    /// M, rows of a step.
    pub rows: usize,
    /// S, tokens of a source.
    pub source_length: usize,
    /// T, tokens of an output.
    pub target_length: usize,
}

impl Exported {
    /// The graphs in `folder`, which were made from `model`.
    ///
    /// # Errors
    /// [`Delegate`](crate::ErrorKind::Delegate) if they are not there, damaged, or of another model.
    pub fn find(folder: &Path, model: &Model) -> Result<Self> {
        let place = folder.display();
        let facts = std::fs::read_to_string(folder.join("model.txt")).map_err(|error| {
            failed(format!(
                "there are no graphs in {place} ({error}): `siskin-export tflite MODEL --for delegate --out {place}` \
                 makes them"
            ))
        })?;
        let facts: BTreeMap<&str, &str> = facts.lines().filter_map(|line| line.split_once('=')).collect();
        if facts.get("interface") != Some(&"delegate, fixed cache") {
            return Err(failed(format!("{place} was not exported with `--for delegate`")));
        }
        let fingerprint = spell_fingerprint(&File::parse(model.bytes())?.fingerprint());
        if facts.get("model") != Some(&fingerprint.as_str()) {
            return Err(failed(format!("{place} was exported from another model file: export it again")));
        }
        let size = |key: &str| {
            let size = facts.get(key).and_then(|size| size.parse().ok());
            size.ok_or_else(|| failed(format!("{place}/model.txt has no {key}: export it again")))
        };
        let sizes = Sizes {
            batch: size("batch")?,
            rows: size("rows")?,
            source_length: size("source_length")?,
            target_length: size("target_length")?,
        };
        let [encoder, decoder_step] = ["encoder.tflite", "decoder_step.tflite"].map(|name| {
            let file = folder.join(name);
            check(&file, facts.get(name).copied().unwrap_or_default()).map(|()| file)
        });
        Ok(Self { encoder: encoder?, decoder_step: decoder_step?, sizes })
    }
}

/// Checks that `file` is the one that was written, whose CRC-32 is `checksum`: what is damaged, LiteRT reads all the same.
fn check(file: &Path, checksum: &str) -> Result<()> {
    let place = file.display();
    let bytes = std::fs::read(file).map_err(|error| failed(format!("{place}: {error}")))?;
    match format!("{:08x}", crc32(0, &bytes)) == checksum {
        true => Ok(()),
        false => {
            Err(failed(format!("{place} is damaged, or was not written with its model.txt: export it again")))
        }
    }
}

impl Sizes {
    /// Checks that a batch of `shape` fits.
    ///
    /// # Errors
    /// [`Delegate`](crate::ErrorKind::Delegate) if it does not, with what to ask for instead.
    pub fn check(&self, shape: &SessionShape) -> Result<()> {
        let Self { batch, rows, source_length, target_length } = *self;
        let needed = (shape.batch, shape.batch * shape.beam, shape.source_length, shape.target_length);
        if needed.0 <= batch && needed.1 <= rows && needed.2 <= source_length && needed.3 <= target_length {
            return Ok(());
        }
        Err(failed(format!(
            "the graphs have room for {batch} sentences, {rows} hypotheses, sources of {source_length} and outputs of \
             {target_length} tokens; {}, {}, {} and {} are asked for: lower --batch, --beam or --max-length, or export \
             the graphs with a larger --batch, --beam, --source-length or --target-length",
            needed.0, needed.1, needed.2, needed.3
        )))
    }
}
