//! A run on disk: one safetensors file with the weights, the optimizer's moments and, as metadata, the rest.

use super::config::Config;
use super::engine::{EngineState, Tensor, Tensors};
use super::vocabulary::Vocabulary;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};
use siskin::{Error, ErrorKind, Result};
use std::collections::HashMap;
use std::fs;
use std::io::Write;
use std::path::Path;

/// The metadata key that holds [`Header`] as JSON.
const HEADER: &str = "siskin.training";
/// Prefixes of the tensors that are no weights.
const FIRST: &str = "optimizer.first.";
const SECOND: &str = "optimizer.second.";
const AVERAGE: &str = "average.";

/// Where a run stands.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Updates so far.
    pub step: u64,
    /// Passes over the data that were finished.
    pub epoch: u64,
    /// Batches of the current pass that were used.
    pub batch: usize,
    /// The lowest loss on the dev set, in nats a token, and the step that reached it.
    pub best: Option<(f64, u64)>,
}

/// All that it takes to continue a run, or to make a model file.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint {
    /// The recipe.
    pub config: Config,
    /// The source vocabulary.
    pub source: Vocabulary,
    /// The target vocabulary.
    pub target: Vocabulary,
    /// Where the run stands.
    pub progress: Progress,
    /// Weights and moments.
    pub engine: EngineState,
    /// The moving average of the weights, where the recipe asks for one.
    pub average: Option<Tensors>,
}

#[derive(Serialize, Deserialize)]
struct Header {
    config: Config,
    source: Vocabulary,
    target: Vocabulary,
    progress: Progress,
    updates: u64,
}

impl Checkpoint {
    /// The weights that the run is judged by: the moving average where there is one.
    pub fn best_weights(&self) -> &Tensors {
        self.average.as_ref().unwrap_or(&self.engine.weights)
    }

    /// Writes the checkpoint. Whenever the process ends, `path` is the old file or the new one, whole.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        let bytes = self.to_bytes()?;
        let partial = path.with_extension("partial");
        let doing = || format!("writing {}", partial.display());
        let mut file = fs::File::create(&partial).map_err(|e| Error::io(doing(), e))?;
        file.write_all(&bytes).and_then(|()| file.sync_all()).map_err(|e| Error::io(doing(), e))?;
        fs::rename(&partial, path).map_err(|e| Error::io(format!("naming {}", path.display()), e))
    }

    fn to_bytes(&self) -> Result<Vec<u8>> {
        let groups = [
            ("", Some(&self.engine.weights)),
            (FIRST, Some(&self.engine.first_moments)),
            (SECOND, Some(&self.engine.second_moments)),
            (AVERAGE, self.average.as_ref()),
        ];
        let named: Vec<(String, &Tensor)> = groups
            .into_iter()
            .filter_map(|(prefix, tensors)| Some((prefix, tensors?)))
            .flat_map(|(prefix, tensors)| tensors.iter().map(move |(name, t)| (format!("{prefix}{name}"), t)))
            .collect();
        let bytes: Vec<Vec<u8>> =
            named.iter().map(|(_, t)| t.data.iter().flat_map(|x| x.to_le_bytes()).collect()).collect();
        let mut views = Vec::with_capacity(named.len());
        for ((name, tensor), bytes) in named.iter().zip(&bytes) {
            let view = TensorView::new(Dtype::F32, tensor.shape.clone(), bytes);
            views.push((name, view.map_err(|e| schema(format!("{name}: {e}")))?));
        }
        let header = Header {
            config: self.config.clone(),
            source: self.source.clone(),
            target: self.target.clone(),
            progress: self.progress.clone(),
            updates: self.engine.updates,
        };
        let header = serde_json::to_string(&header).map_err(|e| schema(e.to_string()))?;
        let metadata = HashMap::from([(HEADER.to_owned(), header)]);
        safetensors::serialize(views, Some(metadata)).map_err(|e| schema(e.to_string()))
    }

    /// Reads a checkpoint.
    ///
    /// # Errors
    /// When the file cannot be read, or was not written by a run.
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = fs::read(path).map_err(|e| Error::io(format!("reading {}", path.display()), e))?;
        Self::from_bytes(&bytes).map_err(|e| e.at(path.display()))
    }

    fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let damaged = |e: &dyn std::fmt::Display| schema(format!("not a checkpoint of siskin-export: {e}"));
        let (_, metadata) = SafeTensors::read_metadata(bytes).map_err(|e| damaged(&e))?;
        let header = metadata.metadata().as_ref().and_then(|m| m.get(HEADER));
        let header = header.ok_or_else(|| damaged(&format!("its metadata has no {HEADER}")))?;
        let header: Header = serde_json::from_str(header).map_err(|e| damaged(&e))?;
        let file = SafeTensors::deserialize(bytes).map_err(|e| damaged(&e))?;
        let mut groups: [(&str, Tensors); 4] =
            [FIRST, SECOND, AVERAGE, ""].map(|prefix| (prefix, Tensors::new()));
        for (name, view) in file.iter() {
            if view.dtype() != Dtype::F32 {
                return Err(damaged(&format!("{name} is {:?}, not F32", view.dtype())));
            }
            let data =
                view.data().chunks_exact(4).map(|c| f32::from_le_bytes([c[0], c[1], c[2], c[3]])).collect();
            let tensor = Tensor { shape: view.shape().to_vec(), data };
            let group =
                groups.iter_mut().find_map(|(prefix, group)| Some((name.strip_prefix(*prefix)?, group)));
            let (name, group) = group.expect("the last prefix is empty");
            group.insert(name.to_owned(), tensor);
        }
        let [first_moments, second_moments, average, weights] = groups.map(|(_, tensors)| tensors);
        Ok(Self {
            config: header.config,
            source: header.source,
            target: header.target,
            progress: header.progress,
            engine: EngineState { updates: header.updates, weights, first_moments, second_moments },
            average: (!average.is_empty()).then_some(average),
        })
    }
}

fn schema(message: String) -> Error {
    Error::new(ErrorKind::Schema, message)
}
