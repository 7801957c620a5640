//! The vocabularies of a run: sections of a model file, so that training cuts text as the runtime will.

use super::config::DataConfig;
use super::data::{Example, Pair};
use crate::source::plain::{MissingUnknown, vocabulary_section};
use crate::tokenizer::{self, Algorithm};
use serde::{Deserialize, Serialize};
use siskin::tensor::AlignedBytes;
use siskin::text::{Segmentation, Vocabulary};
use siskin::{Error, ErrorKind, Result};
use std::collections::BTreeSet;

/// What the tokens of a side are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Units {
    /// One token per character.
    Characters,
    /// One token per word; words stand between white space.
    Words,
    /// Subwords, by the unigram algorithm.
    Unigram,
    /// Subwords, by byte-pair encoding.
    Bpe,
}

/// Ends a text on both sides.
pub const END: u32 = 0;
/// What the decoder starts with.
pub const START: u32 = 2;
/// The first ids: [`END`], what the vocabulary does not have, and [`START`].
const SPECIAL: &str = "</s>\n<unk>\n<s>\n";

/// The vocabulary sections of both sides.
pub struct Vocabularies {
    source: AlignedBytes,
    target: AlignedBytes,
}

impl Vocabularies {
    /// Sections as they are in a file.
    ///
    /// # Errors
    /// Those of [`Vocabulary::parse`].
    pub fn new(source: &[u8], target: &[u8]) -> Result<Self> {
        let vocabularies =
            Self { source: AlignedBytes::copy_of(source), target: AlignedBytes::copy_of(target) };
        vocabularies.source().map_err(|e| e.at("source vocabulary"))?;
        vocabularies.target().map_err(|e| e.at("target vocabulary"))?;
        Ok(vocabularies)
    }

    /// The units that occur in `pairs`, or as many subwords as `data` asks for.
    ///
    /// # Errors
    /// [`ErrorKind::Vocabulary`] for a unit that no vocabulary can have, such as a NUL character; those of
    /// [`tokenizer::learn`].
    pub fn learn(pairs: &[Pair], data: &DataConfig) -> Result<Self> {
        let sources = pairs.iter().map(|pair| pair.source.as_str());
        let targets = pairs.iter().flat_map(|pair| pair.targets.iter().map(String::as_str));
        let size = data.vocabulary_size;
        if data.shared {
            let shared = learn(data.source, size, sources.chain(targets))?;
            return Self::new(&shared, &shared);
        }
        Self::new(&learn(data.source, size, sources)?, &learn(data.target, size, targets)?)
    }

    /// The source vocabulary.
    ///
    /// # Errors
    /// None for sections that [`new`](Self::new) has accepted.
    pub fn source(&self) -> Result<Vocabulary<'_>> {
        Vocabulary::parse(self.source.as_slice())
    }

    /// The target vocabulary.
    ///
    /// # Errors
    /// None for sections that [`new`](Self::new) has accepted.
    pub fn target(&self) -> Result<Vocabulary<'_>> {
        Vocabulary::parse(self.target.as_slice())
    }

    /// The sections, source first.
    pub fn sections(&self) -> [&[u8]; 2] {
        [self.source.as_slice(), self.target.as_slice()]
    }

    /// The examples of a pair, one for each reference.
    ///
    /// # Errors
    /// [`ErrorKind::Vocabulary`] for text that the vocabulary cannot spell and has no unknown piece for.
    pub fn encode(&self, pairs: &[Pair]) -> Result<Vec<Vec<Example>>> {
        let (source, target) = (self.source()?, self.target()?);
        let encode = |pair: &Pair| {
            let ids = encoded(&source, &pair.source)?;
            let example =
                |text: &String| Ok(Example { source: ids.clone(), target: encoded(&target, text)? });
            pair.targets.iter().map(example).collect()
        };
        pairs.iter().map(encode).collect()
    }
}

/// The ids of `text` and the end token.
fn encoded(vocabulary: &Vocabulary<'_>, text: &str) -> Result<Vec<u32>> {
    let mut ids = Vec::new();
    vocabulary.encode(text, &mut ids)?;
    ids.push(END);
    Ok(ids)
}

fn learn<'a>(units: Units, size: usize, texts: impl Iterator<Item = &'a str>) -> Result<Vec<u8>> {
    let mut found: BTreeSet<String> = BTreeSet::new();
    let segmentation = match units {
        Units::Characters => {
            found.extend(texts.flat_map(str::chars).map(String::from));
            Segmentation::Characters
        }
        Units::Words => {
            found.extend(texts.flat_map(str::split_whitespace).map(str::to_owned));
            Segmentation::Words
        }
        Units::Unigram => return tokenizer::learn(texts, Algorithm::Unigram, size),
        Units::Bpe => return tokenizer::learn(texts, Algorithm::Bpe, size),
    };
    if let Some(special) = found.iter().find(|unit| SPECIAL.lines().any(|special| special == *unit)) {
        let message = format!("{special} is in the data, but it has a role in the vocabulary: remove it");
        return Err(Error::new(ErrorKind::Vocabulary, message));
    }
    let list = found.iter().fold(SPECIAL.to_owned(), |list, unit| list + unit + "\n");
    vocabulary_section(&list, segmentation, MissingUnknown::Leave)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(source: &str, target: &str) -> Pair {
        Pair { source: source.into(), targets: vec![target.into()] }
    }

    #[test]
    fn text_comes_back_from_its_ids() -> Result<()> {
        let data = DataConfig { target: Units::Words, ..DataConfig::default() };
        let vocabularies = Vocabularies::learn(&[pair("cab", "K AE1 B")], &data)?;
        let examples = vocabularies.encode(&[pair("bax", "B K")])?;
        assert_eq!(examples, [[Example { source: vec![4, 3, 1, END], target: vec![4, 5, END] }]]);
        assert_eq!(vocabularies.target()?.decode(&examples[0][0].target)?, "B K");
        assert_eq!(vocabularies.target()?.piece(START), Some("<s>"));
        Ok(())
    }

    #[test]
    fn a_shared_vocabulary_is_learned_from_both_sides() -> Result<()> {
        let data = DataConfig { shared: true, ..DataConfig::default() };
        let vocabularies = Vocabularies::learn(&[pair("ab", "bc")], &data)?;
        let [source, target] = vocabularies.sections();
        assert_eq!(source, target);
        assert_eq!(vocabularies.source()?.len(), 6);
        Ok(())
    }

    #[test]
    fn a_unit_with_a_role_is_refused() {
        let data = DataConfig { source: Units::Words, target: Units::Words, ..DataConfig::default() };
        let error = Vocabularies::learn(&[pair("a", "x </s>")], &data).err();
        assert_eq!(error.map(|e| e.kind()), Some(ErrorKind::Vocabulary));
    }
}
