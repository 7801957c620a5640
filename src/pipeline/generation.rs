//! How a model wants to be used: the generation section of its file.

use alloc::format;
use alloc::vec::Vec;

use super::request::{LongInput, Unit};
use crate::decode::{DecodeOptions, Strategy};
use crate::error::{Error, ErrorKind, Result};
use crate::format::{List, Metadata, MetadataBuilder};
use crate::model::ShortlistMode;

/// How a model wants to be used.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Generation {
    /// Defaults of the search.
    pub decode: DecodeOptions,
    /// What the model reads at once.
    pub unit: Unit,
    /// What happens to a source that is longer than the model's positions.
    pub long_input: LongInput,
    /// Whether the file's shortlist is used.
    pub shortlist: ShortlistMode,
    /// Tokens in front of every source.
    pub source_prefix: Vec<u32>,
    /// Tokens behind every source, such as the end token of Marian and T5 models.
    pub source_suffix: Vec<u32>,
    /// Tokens that every output begins with, behind the start token, where no other
    /// [task](super::TranslateOptions::task) is asked for.
    pub target_prefix: Vec<u32>,
}

const UNITS: &[(&str, Unit)] = &[("line", Unit::Line), ("sentence", Unit::Sentence)];

const LONG_INPUTS: &[(&str, LongInput)] =
    &[("refuse", LongInput::Refuse), ("split", LongInput::Split), ("truncate", LongInput::Truncate)];

const SHORTLISTS: &[(&str, ShortlistMode)] =
    &[("off", ShortlistMode::Off), ("on", ShortlistMode::On), ("verify", ShortlistMode::Verify)];

const KEYS: &[&str] = &[
    "beam",
    "length_penalty",
    "coverage_penalty",
    "max_length",
    "no_repeat_ngram",
    "repetition_penalty",
    "suppressed",
    "unit",
    "long_input",
    "shortlist",
    "source_prefix",
    "source_suffix",
    "target_prefix",
];

impl Generation {
    /// Reads the generation section; a key that is not there keeps its default.
    ///
    /// # Errors
    /// A value of the wrong type or out of range, and unknown critical keys.
    pub fn read(metadata: &Metadata<'_>) -> Result<Self> {
        metadata.refuse_unknown(KEYS)?;
        let mut generation = Self::default();
        let decode = &mut generation.decode;
        let size = |key| Ok::<_, Error>(metadata.optional::<u32>(key)?.map(|value| value as usize));
        if let Some(size) = size("beam")?.filter(|&size| size > 1) {
            decode.strategy = Strategy::Beam { size };
        }
        set(&mut decode.length_penalty, metadata.optional("length_penalty")?);
        set(&mut decode.coverage_penalty, metadata.optional("coverage_penalty")?);
        set(&mut decode.repetition_penalty, metadata.optional("repetition_penalty")?);
        set(&mut decode.max_length, size("max_length")?);
        set(&mut decode.no_repeat_ngram, size("no_repeat_ngram")?);
        let tokens =
            |key| Ok::<_, Error>(metadata.optional::<List<'_, u32>>(key)?.map(|list| list.iter().collect()));
        set(&mut decode.suppressed, tokens("suppressed")?);
        decode.validate()?;
        if metadata.get("unit").is_some() {
            generation.unit = metadata.choice("unit", UNITS)?;
        }
        if metadata.get("long_input").is_some() {
            generation.long_input = metadata.choice("long_input", LONG_INPUTS)?;
        }
        if metadata.get("shortlist").is_some() {
            generation.shortlist = metadata.choice("shortlist", SHORTLISTS)?;
        }
        set(&mut generation.source_prefix, tokens("source_prefix")?);
        set(&mut generation.source_suffix, tokens("source_suffix")?);
        set(&mut generation.target_prefix, tokens("target_prefix")?);
        Ok(generation)
    }

    /// Writes the entries of a generation section. What changes the answer is critical.
    pub fn write(&self, out: &mut MetadataBuilder) {
        let decode = &self.decode;
        out.optional("beam", decode.width() as u32);
        out.optional("length_penalty", decode.length_penalty);
        out.optional("coverage_penalty", decode.coverage_penalty);
        out.optional("max_length", decode.max_length as u32);
        out.optional("no_repeat_ngram", decode.no_repeat_ngram as u32);
        out.optional("repetition_penalty", decode.repetition_penalty);
        let unit = UNITS.iter().find(|(_, unit)| *unit == self.unit).map_or("line", |(word, _)| word);
        out.optional("unit", unit);
        if let Some((word, _)) =
            LONG_INPUTS[1..].iter().find(|(_, long_input)| *long_input == self.long_input)
        {
            out.critical("long_input", *word);
        }
        if let Some((word, _)) = SHORTLISTS[1..].iter().find(|(_, mode)| *mode == self.shortlist) {
            out.critical("shortlist", *word);
        }
        for (key, tokens) in [
            ("suppressed", &decode.suppressed),
            ("source_prefix", &self.source_prefix),
            ("source_suffix", &self.source_suffix),
            ("target_prefix", &self.target_prefix),
        ] {
            if !tokens.is_empty() {
                out.critical(key, tokens.as_slice());
            }
        }
    }

    /// Checks that every token is in its vocabulary.
    ///
    /// # Errors
    /// [`ErrorKind::Schema`], naming the list and the token.
    pub fn validate(&self, source_vocabulary: usize, target_vocabulary: usize) -> Result<()> {
        for (key, tokens, size) in [
            ("source_prefix", &self.source_prefix, source_vocabulary),
            ("source_suffix", &self.source_suffix, source_vocabulary),
            ("target_prefix", &self.target_prefix, target_vocabulary),
            ("suppressed", &self.decode.suppressed, target_vocabulary),
        ] {
            if let Some(token) = tokens.iter().find(|&&token| token as usize >= size) {
                let message = format!("generation: {key} has the token {token}; the vocabulary has {size}");
                return Err(Error::new(ErrorKind::Schema, message));
            }
        }
        Ok(())
    }
}

/// Replaces `to` where there is a value.
pub(crate) fn set<T>(to: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *to = value;
    }
}
