//! The vocabularies of a run: sections of a model file, so that training cuts text as the runtime will.

use super::config::DataConfig;
use super::data::{Example, Pair};
use crate::source::plain::{MissingUnknown, vocabulary_section};
use crate::tokenizer::{self, Algorithm};
use serde::{Deserialize, Serialize};
use siskin::tensor::AlignedBytes;
use siskin::text::{PieceKind, Segmentation, Vocabulary, VocabularyBuilder};
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

    /// The units that occur in `pairs`, or as many subwords as `data` asks for; on the target side, a token for each
    /// task comes behind them.
    ///
    /// # Errors
    /// [`ErrorKind::Vocabulary`] for a unit that no vocabulary can have, such as a NUL character; those of
    /// [`tokenizer::learn`].
    pub fn learn(pairs: &[Pair], data: &DataConfig) -> Result<Self> {
        let sources = pairs.iter().map(|pair| pair.source.as_str());
        let targets = pairs.iter().flat_map(|pair| pair.targets.iter().map(String::as_str));
        let size = data.vocabulary_size;
        if data.shared {
            let shared = with_tasks(learn(data.source, size, sources.chain(targets))?, pairs)?;
            return Self::new(&shared, &shared);
        }
        let target = with_tasks(learn(data.target, size, targets)?, pairs)?;
        Self::new(&learn(data.source, size, sources)?, &target)
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

    /// The tasks that there are tokens for, with these.
    ///
    /// # Errors
    /// None for sections that [`new`](Self::new) has accepted.
    pub fn tasks(&self) -> Result<Vec<(String, u32)>> {
        let target = self.target()?;
        let task = |id| {
            let piece = target.piece(id).filter(|_| target.kind(id) == Some(PieceKind::Control))?;
            Some((piece.strip_prefix(TASK.0)?.strip_suffix(TASK.1)?.to_owned(), id))
        };
        Ok((0..target.len() as u32).filter_map(task).collect())
    }

    /// The examples of a pair, one for each reference.
    ///
    /// # Errors
    /// [`ErrorKind::Vocabulary`] for text that the vocabulary cannot spell and has no unknown piece for, and for a task
    /// that has no token.
    pub fn encode(&self, pairs: &[Pair]) -> Result<Vec<Vec<Example>>> {
        let (source, target) = (self.source()?, self.target()?);
        let encode = |pair: &Pair| {
            let ids = encoded(&source, &pair.source)?;
            let prefix =
                pair.task.iter().map(|task| self.task(&target, task)).collect::<Result<Vec<u32>>>()?;
            let example = |text: &String| {
                let target = [prefix.clone(), encoded(&target, text)?].concat();
                Ok(Example { source: ids.clone(), target, prefix: prefix.len() })
            };
            pair.targets.iter().map(example).collect()
        };
        pairs.iter().map(encode).collect()
    }

    fn task(&self, target: &Vocabulary<'_>, task: &str) -> Result<u32> {
        target.id(&task_token(task)).ok_or_else(|| {
            let known: Vec<String> = self.tasks().into_iter().flatten().map(|(name, _)| name).collect();
            let message =
                format!("there is no token for the task `{task}` in the vocabulary, which has {known:?}");
            Error::new(ErrorKind::Vocabulary, message)
        })
    }
}

/// What the token of a task is written between (Johnson et al., *Google's Multilingual Neural Machine Translation
/// System*, 2017).
const TASK: (&str, &str) = ("<2", ">");

/// The spelling of the token of a task.
pub fn task_token(task: &str) -> String {
    format!("{}{task}{}", TASK.0, TASK.1)
}

/// The vocabulary in `section` with a control piece for each task of `pairs` behind its own, in alphabetical order.
fn with_tasks(section: Vec<u8>, pairs: &[Pair]) -> Result<Vec<u8>> {
    let tasks: BTreeSet<&str> = pairs.iter().filter_map(|pair| pair.task.as_deref()).collect();
    if tasks.is_empty() {
        return Ok(section);
    }
    let bytes = AlignedBytes::copy_of(&section);
    let vocabulary = Vocabulary::parse(bytes.as_slice())?;
    let mut builder = VocabularyBuilder::new(vocabulary.segmentation());
    builder.whitespace = vocabulary.whitespace();
    builder.unknown_text = vocabulary.unknown_text();
    builder.special = vocabulary.special();
    builder.unk_surface = vocabulary.unk_surface().to_owned();
    for id in 0..vocabulary.len() as u32 {
        if let (Some(piece), Some(kind)) = (vocabulary.piece(id), vocabulary.kind(id)) {
            builder.push(piece, vocabulary.score(id).unwrap_or_default(), kind);
        }
    }
    for task in tasks {
        builder.push(&task_token(task), 0.0, PieceKind::Control);
    }
    builder.build()
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
        Pair { source: source.into(), targets: vec![target.into()], ..Pair::default() }
    }

    #[test]
    fn text_comes_back_from_its_ids() -> Result<()> {
        let data = DataConfig { target: Units::Words, ..DataConfig::default() };
        let vocabularies = Vocabularies::learn(&[pair("cab", "K AE1 B")], &data)?;
        let examples = vocabularies.encode(&[pair("bax", "B K")])?;
        let example = Example { source: vec![4, 3, 1, END], target: vec![4, 5, END], prefix: 0 };
        assert_eq!(examples, [[example]]);
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
    fn a_task_has_a_token_in_front_of_its_targets() -> Result<()> {
        let of = |task: &str, pair: Pair| Pair { task: Some(task.into()), ..pair };
        let pairs = [of("fr", pair("ab ab ab", "ba ba ba")), of("de", pair("b", "a"))];
        for units in [Units::Characters, Units::Unigram] {
            let data =
                DataConfig { source: units, target: units, vocabulary_size: 263, ..DataConfig::default() };
            let vocabularies = Vocabularies::learn(&pairs, &data)?;
            let size = vocabularies.source()?.len() as u32;
            assert_eq!(vocabularies.tasks()?, [("de".to_owned(), size), ("fr".to_owned(), size + 1)]);
            let examples = vocabularies.encode(&pairs)?;
            let [fr, de] = [&examples[0][0], &examples[1][0]];
            assert_eq!((fr.prefix, fr.target[0], de.target[0]), (1, size + 1, size));
            assert_eq!(vocabularies.target()?.decode(&fr.target)?, "ba ba ba", "{units:?}");
            let error = vocabularies.encode(&[of("es", pair("a", "b"))]).expect_err("no token");
            assert!(error.to_string().contains("`es`"), "{error}");
        }
        Ok(())
    }

    #[test]
    fn a_unit_with_a_role_is_refused() {
        let data = DataConfig { source: Units::Words, target: Units::Words, ..DataConfig::default() };
        let error = Vocabularies::learn(&[pair("a", "x </s>")], &data).err();
        assert_eq!(error.map(|e| e.kind()), Some(ErrorKind::Vocabulary));
    }
}
