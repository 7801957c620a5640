//! Models of CTranslate2: a folder with `model.bin`, the vocabularies and, from binary version 6 on, `config.json`.

mod container;
mod map;
mod vocabulary;

use crate::checkpoint::Checkpoint;
use container::Container;
use map::Known;
use siskin::format::MetadataBuilder;
use siskin::pipeline::Generation;
use siskin::{Error, ErrorKind, Result};
use std::fs;
use std::path::{Path, PathBuf};
use vocabulary::Tokens;

pub use vocabulary::PlainSegmentation;

/// What the folder does not say itself.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The SentencePiece model that cuts source text; without it the vocabulary's tokens are words or characters.
    pub source_sentencepiece: Option<PathBuf>,
    /// The SentencePiece model that joins target text.
    pub target_sentencepiece: Option<PathBuf>,
    /// What the tokens are where there is no SentencePiece model.
    pub segmentation: PlainSegmentation,
    /// The most positions that the model is to be used with; by default what its table has, or 1024.
    pub max_positions: Option<u32>,
}

/// Reads the model in `folder`: a `TransformerBase`, `TransformerBig` or `TransformerSpec` in a container of version 2
/// to 6, with f32, f16, bf16, int16 or int8 weights.
///
/// # Errors
/// [`ErrorKind::Io`] for a file that cannot be read; [`ErrorKind::Corrupt`] for a damaged container;
/// [`ErrorKind::Schema`] for a model that Siskin has no blocks for, naming the variable;
/// [`ErrorKind::Vocabulary`] for a vocabulary that does not fit the model.
pub fn import(folder: &Path, options: &Options) -> Result<Checkpoint> {
    let path = folder.join("model.bin");
    let bytes = read(&path)?;
    let container = Container::parse(&bytes).map_err(|error| error.at(path.display()))?;
    let config = Config::read(folder, &container)?;
    let [source, target] = Tokens::read(folder, &config)?;
    let known = Known {
        norm_epsilon: config.norm_epsilon,
        max_positions: options.max_positions,
        decoder_start: target.id(&config.decoder_start_token)?,
        end: target.id(&config.eos_token)?,
    };
    let (spec, tensors) = map::map(&container, &known).map_err(|error| error.at(path.display()))?;
    source.check_rows(spec.source_vocabulary)?;
    target.check_rows(spec.target_vocabulary)?;
    let source_section = source.section(options.source_sentencepiece.as_deref(), options.segmentation)?;
    let target_section = target.section(options.target_sentencepiece.as_deref(), options.segmentation)?;
    let affix =
        |add: bool, token: &str| add.then(|| source.id(token)).into_iter().collect::<Result<Vec<u32>>>();
    let generation = Generation {
        source_prefix: affix(config.add_source_bos, &config.bos_token)?,
        source_suffix: affix(config.add_source_eos, &config.eos_token)?,
        ..Generation::default()
    };
    Ok(Checkpoint {
        spec,
        generation,
        card: MetadataBuilder::new(),
        target_vocabulary: (target_section != source_section).then_some(target_section),
        source_vocabulary: Some(source_section),
        tensors,
    })
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).map_err(|error| Error::io(format!("cannot read {}", path.display()), error))
}

/// What the model expects around its input, from `config.json` or, up to version 5, from the container.
struct Config {
    unk_token: String,
    bos_token: String,
    eos_token: String,
    decoder_start_token: String,
    add_source_bos: bool,
    add_source_eos: bool,
    norm_epsilon: Option<f32>,
}

impl Config {
    fn read(folder: &Path, container: &Container<'_>) -> Result<Self> {
        if container.version < 6 {
            return Self::from_container(container);
        }
        let path = folder.join("config.json");
        let json = serde_json::from_slice(&read(&path)?).map_err(|error| {
            Error::new(ErrorKind::Corrupt, format!("{}: not JSON: {error}", path.display()))
        })?;
        Self::from_json(&json).map_err(|error| error.at(path.display()))
    }

    fn from_json(json: &serde_json::Value) -> Result<Self> {
        let text =
            |key: &str, default: &str| json.get(key).and_then(|v| v.as_str()).unwrap_or(default).to_owned();
        let flag = |key: &str| json.get(key).and_then(|v| v.as_bool()).unwrap_or(false);
        if json.get("decoder_start_token").is_some_and(|token| token.is_null()) {
            return Err(no_decoder_start());
        }
        Ok(Self {
            unk_token: text("unk_token", "<unk>"),
            bos_token: text("bos_token", "<s>"),
            eos_token: text("eos_token", "</s>"),
            decoder_start_token: text("decoder_start_token", "<s>"),
            add_source_bos: flag("add_source_bos"),
            add_source_eos: flag("add_source_eos"),
            norm_epsilon: json
                .get("layer_norm_epsilon")
                .and_then(|v| v.as_f64())
                .map(|epsilon| epsilon as f32),
        })
    }

    fn from_container(container: &Container<'_>) -> Result<Self> {
        let text = |name: &str, default: &str| container.text(name).unwrap_or_else(|| default.to_owned());
        let flag = |name: &str, default: bool| -> Result<bool> {
            Ok(container.scalar(name)?.map_or(default, |value| value != 0.0))
        };
        if flag("user_decoder_start_tokens", false)? {
            return Err(no_decoder_start());
        }
        let (bos_token, eos_token) = (text("bos_token", "<s>"), text("eos_token", "</s>"));
        let decoder_start = if flag("with_target_bos", true)? { &bos_token } else { &eos_token };
        Ok(Self {
            decoder_start_token: decoder_start.clone(),
            unk_token: text("unk_token", "<unk>"),
            add_source_bos: flag("with_source_bos", false)?,
            add_source_eos: flag("with_source_eos", false)?,
            norm_epsilon: None,
            bos_token,
            eos_token,
        })
    }
}

fn no_decoder_start() -> Error {
    Error::new(
        ErrorKind::Schema,
        "the model leaves the token that decoding starts with to every request, such as a target language; that is not \
         supported",
    )
}
