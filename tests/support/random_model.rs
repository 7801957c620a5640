//! Models with random weights, of any spec.

use std::sync::Arc;

use siskin::format::{File, Layout, MetadataBuilder, SectionKind, ShortlistBuilder, Writer, screen_section};
use siskin::model::{Model, ModelSpec, SchemaEntry, schema};
use siskin::pipeline::Generation;
use siskin::tensor::{AlignedBytes, Dtype, I4_COLUMNS, PackedMatrix};

use super::Random;

/// A model file with random weights of sensible scales: every sub-layer gives values of about 1. A tensor's values
/// depend on `seed` and its name alone. Matrices are stored as `dtype`.
pub fn random_model(spec: &ModelSpec, seed: u64, dtype: Dtype) -> Vec<u8> {
    Recipe::new(spec, seed, dtype).build()
}

/// The model in `bytes`, on the best kernels of this CPU.
pub fn open(bytes: &[u8]) -> Arc<Model> {
    Arc::new(Model::from_bytes(AlignedBytes::copy_of(bytes)).expect("a model that fits its spec"))
}

/// The model file `bytes` with a shortlist: the end token and `always` tokens more are always listed, and `best` for
/// every source token, chosen at random.
pub fn with_shortlist(bytes: &[u8], always: usize, best: usize) -> Vec<u8> {
    let model = open(bytes);
    let spec = model.spec();
    let (mut random, vocabulary) = (Random::new(9), spec.target_vocabulary);
    let first = [random.tokens(always, vocabulary), vec![spec.end]].concat();
    let mut builder = ShortlistBuilder::new(vocabulary as u32, &first);
    for _ in 0..spec.source_vocabulary {
        builder.push(random.tokens(best, vocabulary));
    }
    with_section(bytes, SectionKind::Shortlist, builder.build())
}

/// The model file `bytes`, all of whose embeddings are one matrix of int8, with a screen.
pub fn with_screen(bytes: &[u8]) -> Vec<u8> {
    let (name, aligned) = ("embedding.source.weight", AlignedBytes::copy_of(bytes));
    let file = File::parse(aligned.as_slice()).expect("a model file");
    let matrix = file.tensors().get(name).expect("embeddings").matrix(aligned.as_slice());
    let section = screen_section(name, &matrix).expect("int8 with whole blocks");
    with_section(bytes, SectionKind::Screen, section)
}

/// The model file `bytes` with another section.
pub fn with_section(bytes: &[u8], kind: SectionKind, section: Vec<u8>) -> Vec<u8> {
    let bytes = AlignedBytes::copy_of(bytes);
    let file = File::parse(bytes.as_slice()).expect("a model file");
    Writer::copy_of(&file).optional(kind, section).finish()
}

/// How a model file is made.
pub struct Recipe<'a> {
    /// What the weights are made for.
    pub spec: &'a ModelSpec,
    /// What the file says that they are made for.
    pub written: &'a ModelSpec,
    pub seed: u64,
    /// The type of matrices; int8 where int4 has no whole blocks.
    pub dtype: Dtype,
    pub vocabulary: Option<Vec<u8>>,
    pub generation: Option<Generation>,
    /// Changes the values of a tensor before they are stored.
    pub edit: &'a dyn Fn(&SchemaEntry, &mut [f32]),
}

impl<'a> Recipe<'a> {
    pub fn new(spec: &'a ModelSpec, seed: u64, dtype: Dtype) -> Self {
        Self { spec, written: spec, seed, dtype, vocabulary: None, generation: None, edit: &|_, _| {} }
    }

    /// The bytes of the file.
    pub fn build(&self) -> Vec<u8> {
        let mut metadata = MetadataBuilder::new();
        self.written.write(&mut metadata);
        let tensors: Vec<Tensor> =
            schema(self.spec).into_iter().map(|entry| Tensor::random(entry, self)).collect();
        let mut writer = Writer::new();
        writer.critical(SectionKind::Spec, metadata.build());
        if let Some(vocabulary) = &self.vocabulary {
            writer.critical(SectionKind::SourceVocabulary, vocabulary.as_slice());
        }
        if let Some(generation) = &self.generation {
            let mut metadata = MetadataBuilder::new();
            generation.write(&mut metadata);
            writer.optional(SectionKind::Generation, metadata.build());
        }
        for Tensor { entry, content } in &tensors {
            match content {
                Content::Rows(values) => writer.rows(&entry.name, &entry.shape, values),
                Content::Panels(matrix) => writer.matrix(&entry.name, matrix.view()),
            };
        }
        writer.finish()
    }
}

struct Tensor {
    entry: SchemaEntry,
    content: Content,
}

enum Content {
    Rows(Vec<f32>),
    Panels(PackedMatrix),
}

impl Tensor {
    fn random(entry: SchemaEntry, recipe: &Recipe<'_>) -> Self {
        let spec = recipe.spec;
        let mut random = Random::named(recipe.seed, &entry.name);
        let (mean, deviation) = distribution(&entry, spec);
        let count = entry.shape.iter().product();
        let mut values: Vec<f32> = (0..count).map(|_| mean + deviation * random.normal()).collect();
        if entry.name == "output.bias" {
            // Hypotheses end, at different lengths.
            values[spec.end as usize] += 2.5;
        }
        if entry.name.ends_with("qkv.weight") || entry.name.ends_with("query.weight") {
            // Attention scores are about 1, whatever they are multiplied with.
            let factor = 1.0 / (spec.attention_scale * (spec.head_width as f32).sqrt());
            values[..spec.inner_width() * spec.d_model].iter_mut().for_each(|query| *query *= factor);
        }
        (recipe.edit)(&entry, &mut values);
        let content = match entry.layout {
            Layout::Rows => Content::Rows(values),
            Layout::Panels => {
                let (rows, columns) = (entry.shape[0], entry.shape[1]);
                let whole_blocks = columns.is_multiple_of(I4_COLUMNS);
                let dtype = if recipe.dtype == Dtype::I4 && !whole_blocks { Dtype::I8 } else { recipe.dtype };
                let matrix = PackedMatrix::pack(dtype, rows, columns, &values);
                Content::Panels(matrix.expect("finite weights"))
            }
        };
        Self { entry, content }
    }
}

/// Mean and deviation of a tensor's values.
fn distribution(entry: &SchemaEntry, spec: &ModelSpec) -> (f32, f32) {
    let name = entry.name.as_str();
    match entry.shape[..] {
        _ if name.ends_with("norm.weight") => (1.0, 0.1),
        [_] => (0.0, 0.1),
        _ if name.starts_with("embedding.") => (0.0, 1.0 / spec.embedding_scale),
        _ if name.ends_with("position.weight") => (0.0, 0.5),
        _ if name.ends_with("relative_bias") => (0.0, 1.0),
        _ => (0.0, 1.0 / (entry.shape[1] as f32).sqrt()),
    }
}
