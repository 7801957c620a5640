//! A run on disk: one safetensors file with weights, the optimizer's moments and vocabularies; the recipe and the
//! progress are its metadata.

use super::config::Config;
use super::data::LongSources;
use super::engine::{EngineState, Tensors};
use super::vocabulary::Vocabularies;
use crate::checkpoint::{Checkpoint, Tensor};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};
use siskin::decode::Strategy;
use siskin::format::write_atomically;
use siskin::pipeline::{Generation, LongInput};
use siskin::{Error, ErrorKind, Result};
use std::collections::HashMap;
use std::fs;
use std::path::Path;

/// The metadata key that holds [`Header`] as JSON.
const HEADER: &str = "siskin.training";
/// Prefixes of the tensors that are no weights.
const FIRST: &str = "optimizer.first.";
const SECOND: &str = "optimizer.second.";
const AVERAGE: &str = "average.";
/// The vocabulary sections.
const SOURCE: &str = "vocabulary.source";
const TARGET: &str = "vocabulary.target";

/// Where a run stands.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Updates so far.
    pub step: u64,
    /// Passes over the data that were finished.
    pub epoch: u64,
    /// Batches of the current pass that were used.
    pub batch: usize,
    /// The best score on the dev set, by the recipe's metric, and the step that reached it.
    pub best: Option<(f64, u64)>,
    /// Evaluations since then.
    #[serde(default)]
    pub without_improvement: u64,
    /// The scores and steps whose weights are kept for their average, best first.
    #[serde(default)]
    pub kept: Vec<(f64, u64)>,
}

/// All that it takes to continue a run, or to make a model file.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    /// The recipe.
    pub config: Config,
    /// The vocabulary sections, source first.
    pub vocabularies: [Vec<u8>; 2],
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
    progress: Progress,
    updates: u64,
}

impl Snapshot {
    /// The model, with the weights that the run is judged by: the moving average where there is one. Of several tasks,
    /// the first is what it does where nothing else is asked for.
    ///
    /// # Errors
    /// When a vocabulary section is damaged.
    pub fn model(&self) -> Result<Checkpoint> {
        let [source, target] = &self.vocabularies;
        let vocabularies = Vocabularies::new(source, target)?;
        let spec = self.config.spec(vocabularies.source()?.len(), vocabularies.target()?.len());
        let mut generation = Generation { source_suffix: vec![spec.end], ..Generation::default() };
        generation.target_prefix.extend(vocabularies.tasks()?.first().map(|(_, token)| token));
        generation.decode.strategy = Strategy::Beam { size: self.config.data.beam };
        generation.decode.max_length = spec.max_positions - 1;
        generation.long_input = match self.config.data.long_sources {
            LongSources::Drop => LongInput::Refuse,
            LongSources::Truncate => LongInput::Truncate,
        };
        Ok(Checkpoint {
            spec,
            generation,
            card: self.config.data.card(),
            source_vocabulary: Some(source.clone()),
            target_vocabulary: (source != target).then(|| target.clone()),
            tensors: self.average.as_ref().unwrap_or(&self.engine.weights).clone(),
        })
    }

    /// The same with nothing but the weights that the run is judged by: enough for a model, not to continue.
    #[must_use]
    pub fn weights_only(&self) -> Self {
        let weights = self.average.as_ref().unwrap_or(&self.engine.weights).clone();
        Self {
            config: self.config.clone(),
            vocabularies: self.vocabularies.clone(),
            progress: self.progress.clone(),
            engine: EngineState { updates: self.engine.updates, weights, ..EngineState::default() },
            average: None,
        }
    }

    /// Writes the file. Whenever the process ends, `path` is the old file or the new one, whole.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        write_atomically(path, &self.to_bytes()?)
    }

    fn to_bytes(&self) -> Result<Vec<u8>> {
        let groups = [
            ("", Some(&self.engine.weights)),
            (FIRST, Some(&self.engine.first_moments)),
            (SECOND, Some(&self.engine.second_moments)),
            (AVERAGE, self.average.as_ref()),
        ];
        let mut entries: Vec<(String, Dtype, Vec<usize>, Vec<u8>)> = Vec::new();
        for (prefix, tensors) in groups {
            for (name, tensor) in tensors.into_iter().flatten() {
                let bytes = tensor.values.iter().flat_map(|x| x.to_le_bytes()).collect();
                entries.push((format!("{prefix}{name}"), Dtype::F32, tensor.dims.clone(), bytes));
            }
        }
        for (name, section) in [SOURCE, TARGET].into_iter().zip(&self.vocabularies) {
            entries.push((name.to_owned(), Dtype::U8, vec![section.len()], section.clone()));
        }
        let mut views = Vec::with_capacity(entries.len());
        for (name, dtype, shape, bytes) in &entries {
            let view = TensorView::new(*dtype, shape.clone(), bytes);
            views.push((name, view.map_err(|e| schema(format!("{name}: {e}")))?));
        }
        let (config, progress) = (self.config.clone(), self.progress.clone());
        let header = Header { config, progress, updates: self.engine.updates };
        let header = serde_json::to_string(&header).map_err(|e| schema(e.to_string()))?;
        let metadata = HashMap::from([(HEADER.to_owned(), header)]);
        safetensors::serialize(views, Some(metadata)).map_err(|e| schema(e.to_string()))
    }

    /// Reads a file that [`write`](Self::write) wrote.
    ///
    /// # Errors
    /// When the file cannot be read, or was not written by a run.
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = fs::read(path).map_err(|e| Error::io(format!("reading {}", path.display()), e))?;
        Self::from_bytes(&bytes).map_err(|e| e.at(path.display()))
    }

    fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let damaged =
            |e: &dyn std::fmt::Display| schema(format!("not a checkpoint of siskin-export train: {e}"));
        let (_, metadata) = SafeTensors::read_metadata(bytes).map_err(|e| damaged(&e))?;
        let header = metadata.metadata().as_ref().and_then(|m| m.get(HEADER));
        let header = header.ok_or_else(|| damaged(&format!("its metadata has no {HEADER}")))?;
        let header: Header = serde_json::from_str(header).map_err(|e| damaged(&e))?;
        let file = SafeTensors::deserialize(bytes).map_err(|e| damaged(&e))?;
        let section = |name| file.tensor(name).map(|view| view.data().to_vec()).map_err(|e| damaged(&e));
        // The last prefix is that of every name.
        let mut groups = [FIRST, SECOND, AVERAGE, ""].map(|prefix| (prefix, Tensors::new()));
        for (name, view) in file.iter().filter(|(_, view)| view.dtype() == Dtype::F32) {
            let values = view.data().chunks_exact(4).map(|c| f32::from_le_bytes([c[0], c[1], c[2], c[3]]));
            let tensor = Tensor { dims: view.shape().to_vec(), values: values.collect() };
            let group =
                groups.iter_mut().find_map(|(prefix, group)| Some((name.strip_prefix(*prefix)?, group)));
            if let Some((name, group)) = group {
                group.insert(name.to_owned(), tensor);
            }
        }
        let [first_moments, second_moments, average, weights] = groups.map(|(_, tensors)| tensors);
        Ok(Self {
            config: header.config,
            vocabularies: [section(SOURCE)?, section(TARGET)?],
            progress: header.progress,
            engine: EngineState { updates: header.updates, weights, first_moments, second_moments },
            average: (!average.is_empty()).then_some(average),
        })
    }
}

fn schema(message: String) -> Error {
    Error::new(ErrorKind::Schema, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::config::DataConfig;
    use crate::train::data::Pair;
    use crate::train::vocabulary::Units;

    fn snapshot() -> Result<Snapshot> {
        let data = DataConfig { target: Units::Words, ..DataConfig::default() };
        let pair = Pair { source: "ab".into(), targets: vec!["A B".into()], ..Pair::default() };
        let vocabularies = Vocabularies::learn(&[pair], &data)?;
        let tensor = |value: f32| Tensor { dims: vec![2, 1], values: vec![value, -value] };
        let tensors = |value: f32| Tensors::from([("a.weight".to_owned(), tensor(value))]);
        Ok(Snapshot {
            config: Config::default(),
            vocabularies: vocabularies.sections().map(<[u8]>::to_vec),
            progress: Progress { step: 7, epoch: 1, batch: 3, best: Some((0.1, 4)), ..Progress::default() },
            engine: EngineState {
                updates: 7,
                weights: tensors(1.0),
                first_moments: tensors(2.0),
                second_moments: tensors(3.0),
            },
            average: Some(tensors(4.0)),
        })
    }

    #[test]
    fn a_snapshot_comes_back_from_its_bytes() -> Result<()> {
        let snapshot = snapshot()?;
        assert_eq!(Snapshot::from_bytes(&snapshot.to_bytes()?)?, snapshot);
        assert_eq!(snapshot.model()?.tensors["a.weight"].values, [4.0, -4.0]);
        Ok(())
    }

    #[test]
    fn a_header_without_later_keys_is_read() -> Result<()> {
        let header =
            r#"{"config":{"seed":4},"progress":{"step":7,"epoch":1,"batch":3,"best":[0.1,4]},"updates":7}"#;
        let header: Header = serde_json::from_str(header).map_err(|e| schema(e.to_string()))?;
        assert_eq!(header.config, Config { seed: 4, ..Config::default() });
        assert_eq!(header.progress, snapshot()?.progress);
        Ok(())
    }

    #[test]
    fn bytes_that_are_no_snapshot_are_refused() -> Result<()> {
        let bytes = snapshot()?.to_bytes()?;
        for length in [0, 7, 100, bytes.len() - 1] {
            let error = Snapshot::from_bytes(&bytes[..length]).map(|_| ()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Schema);
        }
        Ok(())
    }
}
