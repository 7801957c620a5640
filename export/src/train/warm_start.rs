//! Weights and vocabularies to start from instead of random ones: those of a model file or of a checkpoint.

use super::engine::Tensors;
use super::snapshot::Snapshot;
use crate::checkpoint::{Checkpoint, Tensor, spec_words};
use siskin::format::{File, Layout, SectionKind};
use siskin::model::{Model, ModelSpec, schema};
use siskin::{Error, ErrorKind, Result};
use std::path::{Path, PathBuf};

/// A model to start from.
pub struct WarmStart {
    path: PathBuf,
    spec: ModelSpec,
    tensors: Tensors,
    /// Its vocabulary sections, source first; the run has them too.
    pub vocabularies: [Vec<u8>; 2],
}

impl WarmStart {
    /// Reads a model file, or else a checkpoint of `siskin-export train`. Weights that are stored in f16 or int8 are
    /// read back to f32; of a checkpoint with a moving average, that is taken.
    ///
    /// # Errors
    /// When the file is neither, is damaged, or has no vocabularies.
    pub fn read(path: &Path) -> Result<Self> {
        let path = path.to_owned();
        match Model::open(&path) {
            Ok(model) => {
                let vocabularies = vocabularies(&model).map_err(|e| e.at(path.display()))?;
                Ok(Self { spec: model.spec().clone(), tensors: tensors(model.bytes())?, vocabularies, path })
            }
            Err(error) if error.kind() == ErrorKind::NotAModel => {
                let snapshot = Snapshot::read(&path)?;
                let Checkpoint { spec, tensors, .. } = snapshot.model()?;
                Ok(Self { spec, tensors, vocabularies: snapshot.vocabularies, path })
            }
            Err(error) => Err(error),
        }
    }

    /// The weights, for a run whose model has `spec`.
    ///
    /// # Errors
    /// [`ErrorKind::Schema`], naming the first tensor with another shape and both shapes, or the first key of the spec
    /// that differs; `max_positions` may.
    pub fn weights(self, spec: &ModelSpec) -> Result<Tensors> {
        let path = self.path.display();
        let fail = |message| Err(Error::new(ErrorKind::Schema, message));
        for entry in schema(spec) {
            let (name, wanted) = (entry.name, entry.shape);
            match self.tensors.get(&name) {
                Some(tensor) if tensor.dims == wanted => {}
                Some(Tensor { dims, .. }) => {
                    return fail(format!(
                        "tensor {name:?} is {dims:?} in {path} and {wanted:?} in the recipe"
                    ));
                }
                None => return fail(format!("tensor {name:?} {wanted:?} of the recipe is not in {path}")),
            }
        }
        let (found, wanted) = (spec_words(&self.spec)?, spec_words(spec)?);
        match wanted.iter().find(|(key, word)| *key != "max_positions" && found.get(*key) != Some(word)) {
            Some((key, wanted)) => {
                let found = found.get(key).map_or("not there", String::as_str);
                fail(format!("{key} is {found} in {path} and {wanted} in the recipe"))
            }
            None => Ok(self.tensors),
        }
    }
}

/// The spec and the weights of a model file, or else of a checkpoint of `siskin-export train`, as [`WarmStart::read`] reads
/// them; vocabularies may be missing.
///
/// # Errors
/// When the file is neither, or is damaged.
pub fn read_model(path: &Path) -> Result<(ModelSpec, Tensors)> {
    match Model::open(path) {
        Ok(model) => Ok((model.spec().clone(), tensors(model.bytes())?)),
        Err(error) if error.kind() == ErrorKind::NotAModel => {
            let Checkpoint { spec, tensors, .. } = Snapshot::read(path)?.model()?;
            Ok((spec, tensors))
        }
        Err(error) => Err(error),
    }
}

/// The tensors in `bytes`, a model or an adapter file, in f32.
///
/// # Errors
/// Those of [`File::parse`].
pub fn tensors(bytes: &[u8]) -> Result<Tensors> {
    let file = File::parse(bytes)?;
    let tensor = |entry: siskin::format::Tensor<'_>| {
        let dims: Vec<usize> = entry.tensor.shape.dims().iter().map(|&dim| dim as usize).collect();
        let values = match entry.tensor.layout {
            Layout::Rows => entry.tensor.rows(bytes).to_vec(),
            Layout::Panels => {
                let matrix = entry.tensor.matrix(bytes);
                let mut values = vec![0.0; matrix.rows() * matrix.columns()];
                let rows = values.chunks_exact_mut(matrix.columns()).enumerate();
                rows.for_each(|(row, out)| matrix.gather_row(row, 1.0, out));
                values
            }
        };
        (entry.name.to_owned(), Tensor { dims, values })
    };
    Ok(file.tensors().iter().map(tensor).collect())
}

/// The vocabulary sections of `model`; one that both sides share is there twice.
fn vocabularies(model: &Model) -> Result<[Vec<u8>; 2]> {
    let file = File::parse(model.bytes())?;
    let source = file.section(SectionKind::SourceVocabulary).ok_or_else(|| {
        Error::new(ErrorKind::Schema, "the model has no vocabulary, so it cannot be trained on text")
    })?;
    Ok([source, file.section(SectionKind::TargetVocabulary).unwrap_or(source)].map(<[u8]>::to_vec))
}
