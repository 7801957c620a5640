//! What of a model learns: tensors that take the place of the file's, and low-rank terms beside them.

use std::collections::BTreeMap;
use std::ops::Range;

use super::random::Random;
use crate::error::{Error, ErrorKind, Result};
use crate::format::{File, Layout, TensorRef};
use crate::model::{Adapter, AdapterBuilder, Model, SchemaEntry, projections, schema};

/// What of a model learns.
#[derive(Clone, Debug, PartialEq)]
pub enum Scope {
    /// Low-rank terms beside projections (Hu et al. 2022, "LoRA").
    LowRank {
        /// Rank of a term.
        rank: usize,
        /// Which projections, as side, block and name without the layer: `decoder.cross_attention.query`. None stands for
        /// all of the layers.
        projections: Vec<String>,
    },
    /// All biases and norms (Ben Zaken et al. 2022, "BitFit").
    BiasesAndNorms,
    /// The bias of the output projection.
    OutputBias,
    /// Every tensor, in f32: four bytes for each element of the model, and twelve more while it learns.
    Everything,
}

/// The projections that learn where nothing else is asked for.
pub const DEFAULT_PROJECTIONS: [&str; 3] =
    ["encoder.ffn.down", "decoder.cross_attention.value", "decoder.ffn.down"];

impl Default for Scope {
    fn default() -> Self {
        Self::low_rank(8)
    }
}

impl Scope {
    /// Low-rank terms of this rank beside the [`DEFAULT_PROJECTIONS`].
    pub fn low_rank(rank: usize) -> Self {
        Self::LowRank { rank, projections: DEFAULT_PROJECTIONS.map(String::from).to_vec() }
    }
}

/// A tensor that learns.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameter {
    /// Its name in the adapter file.
    pub name: String,
    /// Its dimensions.
    pub shape: Vec<usize>,
    /// Row-major.
    pub values: Vec<f32>,
}

/// A low-rank term by the numbers of its parameters.
#[derive(Clone, Debug)]
pub struct Term {
    /// A [rank, K].
    pub down: usize,
    /// B [rows, rank].
    pub up: usize,
    /// The outputs that it is added to.
    pub rows: Range<usize>,
}

/// The tensors that learn.
#[derive(Clone, Debug, Default)]
pub struct Parameters {
    list: Vec<Parameter>,
    /// Parameters in the place of a tensor of the file, by where its values lie.
    replaced: BTreeMap<usize, usize>,
    /// Terms beside a matrix of the file, by where its values lie.
    terms: BTreeMap<usize, Vec<Term>>,
}

impl Parameters {
    /// The parameters of `scope` as they are before anything is learned: the model's outputs do not change. The A of a
    /// low-rank term is random, from `seed` and its name; its B is zero.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidOption`] if the model has nothing that `scope` names.
    pub fn new(model: &Model, scope: &Scope, seed: u64) -> Result<Self> {
        let file = File::parse(model.bytes())?;
        let mut parameters = Self::default();
        for entry in schema(model.spec()) {
            let Some(tensor) = file.tensors().get(&entry.name) else { continue };
            match scope {
                Scope::LowRank { rank, projections } => {
                    parameters.add_terms(&entry, &tensor, *rank, projections, seed);
                }
                Scope::BiasesAndNorms if entry.shape.len() > 1 => {}
                Scope::OutputBias if entry.name != "output.bias" => {}
                _ => parameters.replace(entry, &tensor, file.bytes()),
            }
        }
        if parameters.list.is_empty() {
            let message = format!("there is nothing to learn: the model has nothing of {scope:?}");
            return Err(Error::new(ErrorKind::InvalidOption, message));
        }
        Ok(parameters)
    }

    fn add_terms(
        &mut self,
        entry: &SchemaEntry,
        tensor: &TensorRef,
        rank: usize,
        wanted: &[String],
        seed: u64,
    ) {
        let (Some(place), Layout::Panels) = (entry.name.strip_suffix(".weight"), entry.layout) else {
            return;
        };
        for (name, rows) in projections(place, entry.shape[0]) {
            let is_wanted = match wanted {
                [] => name.contains(".layers."),
                wanted => wanted.contains(&without_layer(&name)),
            };
            if rank == 0 || !is_wanted {
                continue;
            }
            let (a, b) = (format!("{name}.lora_a"), format!("{name}.lora_b"));
            let columns = entry.shape[1];
            let mut random = Random::named(seed, &a);
            let bound = 1.0 / (columns as f32).sqrt();
            let down = (0..rank * columns).map(|_| random.symmetric() * bound).collect();
            let term = Term { down: self.list.len(), up: self.list.len() + 1, rows: rows.clone() };
            self.list.push(Parameter { name: a, shape: vec![rank, columns], values: down });
            self.list.push(Parameter {
                name: b,
                shape: vec![rows.len(), rank],
                values: vec![0.0; rows.len() * rank],
            });
            self.terms.entry(tensor.values.start).or_default().push(term);
        }
    }

    fn replace(&mut self, entry: SchemaEntry, tensor: &TensorRef, bytes: &[u8]) {
        self.replaced.insert(tensor.values.start, self.list.len());
        self.list.push(Parameter { name: entry.name, shape: entry.shape, values: widened(tensor, bytes) });
    }

    /// Takes the values of `adapter`.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidOption`] if it does not have exactly these parameters.
    pub fn load(&mut self, adapter: &Adapter) -> Result<()> {
        let file = File::parse(adapter.bytes())?;
        let mismatch = || {
            let message = "the adapter has learned other tensors than these options ask for: use its options, or a \
                           new adapter";
            Error::new(ErrorKind::InvalidOption, message)
        };
        if file.tensors().len() != self.list.len() {
            return Err(mismatch());
        }
        for parameter in &mut self.list {
            let tensor = file.tensors().get(&parameter.name).ok_or_else(mismatch)?;
            let values = widened(&tensor, file.bytes());
            if values.len() != parameter.values.len() {
                return Err(mismatch());
            }
            parameter.values = values;
        }
        Ok(())
    }

    /// An adapter file with these values, to be completed.
    ///
    /// # Errors
    /// [`ErrorKind::NonFinite`] if a value is not a number.
    pub fn to_builder(&self, model: &Model, version: u32) -> Result<AdapterBuilder<'_>> {
        let mut builder = AdapterBuilder::new(model, version)?;
        for parameter in &self.list {
            builder.tensor(&parameter.name, &parameter.shape, &parameter.values)?;
        }
        Ok(builder)
    }

    /// All of them.
    pub fn list(&self) -> &[Parameter] {
        &self.list
    }

    /// All of them, to be changed.
    pub fn list_mut(&mut self) -> &mut [Parameter] {
        &mut self.list
    }

    /// These, in the place of no tensor.
    #[cfg(test)]
    pub(super) fn of(list: Vec<Parameter>) -> Self {
        Self { list, ..Self::default() }
    }

    /// The number of the parameter in the place of `tensor`.
    pub fn find(&self, tensor: &TensorRef) -> Option<usize> {
        self.replaced.get(&tensor.values.start).copied()
    }

    /// The terms beside the matrix `tensor`.
    pub fn terms(&self, tensor: &TensorRef) -> &[Term] {
        self.terms.get(&tensor.values.start).map_or(&[], Vec::as_slice)
    }

    /// Whether gradients are needed on the source side.
    pub fn reach_encoder(&self) -> bool {
        let source = |name: &str| name.starts_with("encoder.") || name.starts_with("embedding.source.");
        self.list.iter().any(|parameter| source(&parameter.name))
    }
}

/// One gradient for each parameter.
#[derive(Clone, Debug)]
pub struct Gradients(pub Vec<Vec<f32>>);

impl Gradients {
    /// Zeros.
    pub fn of(parameters: &Parameters) -> Self {
        Self(parameters.list.iter().map(|parameter| vec![0.0; parameter.values.len()]).collect())
    }
}

/// `decoder.layers.0.ffn.down` as `decoder.ffn.down`.
fn without_layer(name: &str) -> String {
    let parts: Vec<&str> = name.split('.').collect();
    match parts[..] {
        [side, "layers", _, ref rest @ ..] => [&[side], rest].concat().join("."),
        _ => name.to_owned(),
    }
}

/// The elements of a tensor, row-major.
fn widened(tensor: &TensorRef, bytes: &[u8]) -> Vec<f32> {
    match tensor.layout {
        Layout::Rows => tensor.rows(bytes).to_vec(),
        Layout::Panels => {
            let matrix = tensor.matrix(bytes);
            let mut values = vec![0.0; matrix.rows() * matrix.columns()];
            for (row, out) in values.chunks_exact_mut(matrix.columns()).enumerate() {
                matrix.gather_row(row, 1.0, out);
            }
            values
        }
    }
}
