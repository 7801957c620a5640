//! Lexical shortlists: learnt from a parallel corpus, or read from Bergamot's files, and put into a model file.

mod bergamot;
mod corpus;
mod translation_table;

pub use bergamot::read_bergamot;
pub use corpus::{Pair, Tokenizer};
pub use translation_table::TranslationTable;

use siskin::Result;
use siskin::format::{File, MetadataBuilder, SectionKind, Shortlist, ShortlistBuilder, Writer};
use siskin::model::{Model, ShortlistMode};
use siskin::pipeline::{Generation, golden};
use siskin::tensor::AlignedBytes;
use std::sync::Arc;

/// How a shortlist is learnt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// The most frequent target tokens, which are always listed.
    pub first: usize,
    /// The most probable translations of a source token, which are listed for it.
    pub best: usize,
    /// Rounds of expectation-maximization.
    pub iterations: usize,
}

impl Default for Options {
    /// The 100 most frequent and the 50 most probable tokens, after 5 rounds.
    fn default() -> Self {
        Self { first: 100, best: 50, iterations: 5 }
    }
}

/// The shortlist section of `model`, learnt from `pairs` of its tokens.
///
/// Listed for a source token are the [`best`](Options::best) target tokens by [`TranslationTable`] and, where both
/// sides have one vocabulary, the token itself: names and numbers are copied. The end token and the tokens that outputs
/// are to begin with are always listed.
///
/// # Errors
/// Those of reading the model's generation section.
pub fn learn(model: &Model, pairs: &[Pair], options: Options) -> Result<Vec<u8>> {
    let spec = model.spec();
    let (sources, targets) = (spec.source_vocabulary, spec.target_vocabulary);
    let generation = Generation::read(&File::parse(model.bytes())?.metadata(SectionKind::Generation))?;
    let mut always = most_frequent(pairs, targets, options.first);
    always.extend(generation.target_prefix.iter().chain([&spec.end]));
    let table = TranslationTable::learn(pairs, sources, targets, options.iterations);
    let shared = File::parse(model.bytes())?.section(SectionKind::TargetVocabulary).is_none();
    let mut builder = ShortlistBuilder::new(targets as u32, &always);
    for source in 0..sources as u32 {
        let itself = Some(source).filter(|&token| shared && (token as usize) < targets);
        builder.push(table.best(source, options.best).into_iter().chain(itself));
    }
    Ok(builder.build())
}

/// The `count` most frequent target tokens; of equal ones the lower.
fn most_frequent(pairs: &[Pair], targets: usize, count: usize) -> Vec<u32> {
    let mut counts = vec![0u64; targets];
    for &token in pairs.iter().flat_map(|pair| &pair.target) {
        counts[token as usize] += 1;
    }
    let mut tokens: Vec<u32> = (0..targets as u32).filter(|&token| counts[token as usize] > 0).collect();
    tokens.sort_by_key(|&token| std::cmp::Reverse(counts[token as usize]));
    tokens.truncate(count);
    tokens
}

/// How well a shortlist covers references.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    /// Sentences.
    pub sentences: usize,
    /// Of these those with no token that is not listed.
    pub whole: usize,
    /// Target tokens.
    pub tokens: usize,
    /// Of these the listed ones.
    pub listed: usize,
    /// Tokens that are listed for a sentence, summed over all.
    pub list_tokens: usize,
}

/// Measures `shortlist` on `pairs`.
///
/// # Errors
/// Those of [`Shortlist::of`].
pub fn coverage(shortlist: &Shortlist<'_>, pairs: &[Pair]) -> Result<Coverage> {
    let mut coverage = Coverage { sentences: pairs.len(), ..Coverage::default() };
    for Pair { source, target } in pairs {
        let mut listed = vec![false; shortlist.target_vocabulary()];
        shortlist.always().iter().for_each(|token| listed[token as usize] = true);
        for &token in source {
            shortlist.of(token)?.iter().for_each(|token| listed[token as usize] = true);
        }
        let found = target.iter().filter(|&&token| listed[token as usize]).count();
        coverage.whole += usize::from(found == target.len());
        coverage.tokens += target.len();
        coverage.listed += found;
        coverage.list_tokens += listed.iter().filter(|listed| **listed).count();
    }
    Ok(coverage)
}

/// The model file `bytes` with `section` as its shortlist, used as `mode` says unless a user asks for another.
///
/// Golden sentences are decoded again where the mode, old or new, uses a shortlist.
///
/// # Errors
/// The bytes are no model that can be run, or the shortlist is not of its vocabularies.
pub fn with_shortlist(bytes: &[u8], section: &[u8], mode: Option<ShortlistMode>) -> Result<Vec<u8>> {
    let bytes = AlignedBytes::copy_of(bytes);
    let file = File::parse(bytes.as_slice())?;
    let mut generation = Generation::read(&file.metadata(SectionKind::Generation))?;
    let old = generation.shortlist;
    generation.shortlist = mode.unwrap_or(old);
    let mut writer = Writer::copy_of(&file);
    writer.optional(SectionKind::Shortlist, section);
    if generation.shortlist != old {
        let mut metadata = MetadataBuilder::new();
        generation.write(&mut metadata);
        writer.optional(SectionKind::Generation, metadata.build());
    }
    let written = AlignedBytes::copy_of(&writer.finish());
    File::parse(written.as_slice())?.verify()?;
    let model = Arc::new(Model::from_bytes(written)?);
    if (old, generation.shortlist) == (ShortlistMode::Off, ShortlistMode::Off) {
        return Ok(model.bytes().to_vec());
    }
    let Some(golden) = golden::renew(&model)? else { return Ok(model.bytes().to_vec()) };
    Ok(Writer::copy_of(&File::parse(model.bytes())?).optional(SectionKind::Golden, golden).finish())
}
