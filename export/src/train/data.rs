//! Reading pairs: two columns of text, separated by a tab.

use serde::{Deserialize, Serialize};
use siskin::{Error, ErrorKind, Result};
use std::collections::HashSet;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// A line longer than this, in bytes, is no sentence.
const MAX_LINE: usize = 1 << 16;

/// A source and what it may become.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Pair {
    /// Which of several tasks it is an example of, such as the language of the target.
    pub task: Option<Arc<str>>,
    /// The source text.
    pub source: String,
    /// Its references: at least one.
    pub targets: Vec<String>,
}

/// A pair as token ids, each side with its end token.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Example {
    /// Source ids.
    pub source: Vec<u32>,
    /// Target ids; in front, the tokens that every output of the task begins with.
    pub target: Vec<u32>,
    /// How many these are: the decoder reads them and learns only what follows.
    pub prefix: usize,
}

impl Example {
    /// Whether both sides have at most `positions` tokens; a longer source is first cut to them, its end token kept,
    /// where `long_sources` says so.
    pub fn fit(&mut self, positions: usize, long_sources: LongSources) -> bool {
        if long_sources == LongSources::Truncate && self.source.len() > positions {
            self.source.drain(positions - 1..self.source.len() - 1);
        }
        self.source.len().max(self.target.len()) <= positions
    }
}

/// How many rows were read and how many were dropped for what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cleaning {
    /// Rows that were kept.
    pub kept: usize,
    /// Not UTF-8.
    pub invalid_utf8: usize,
    /// Without a tab.
    pub without_tab: usize,
    /// With an empty side.
    pub empty: usize,
    /// Longer than 65,536 bytes, or with more tokens than the model has positions.
    pub too_long: usize,
    /// With a source that is held out for measuring.
    pub held_out: usize,
    /// With a target that is the source.
    pub identical: usize,
    /// With one side too much longer than the other.
    pub lopsided: usize,
    /// The same as an earlier row.
    pub repeated: usize,
}

/// What is dropped besides rows that cannot be used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CleaningRules {
    /// Pairs whose longer side has more than this many times the characters of the shorter one, if there is a limit.
    pub max_length_ratio: Option<f32>,
    /// Pairs whose target is their source.
    pub identical: Identical,
}

/// What becomes of pairs whose target is their source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Identical {
    /// They stay: where text is corrected or simplified, they teach what needs no change.
    #[default]
    Keep,
    /// They go: in translation, they are mostly text that was left as it was.
    Drop,
}

/// What becomes of pairs whose source has more tokens than the model has positions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LongSources {
    /// They go: a part of a sentence has not the meaning of its translation.
    #[default]
    Drop,
    /// Their first tokens stay: the start of a document says what it is about.
    Truncate,
}

impl fmt::Display for Cleaning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} pairs kept", self.kept)?;
        let dropped = [
            (self.invalid_utf8, "not UTF-8"),
            (self.without_tab, "without a tab"),
            (self.empty, "with an empty side"),
            (self.too_long, "too long"),
            (self.held_out, "held out"),
            (self.identical, "identical sides"),
            (self.lopsided, "one side much longer"),
            (self.repeated, "repeated"),
        ];
        for (count, reason) in dropped.into_iter().filter(|(count, _)| *count > 0) {
            write!(f, ", {count} dropped: {reason}")?;
        }
        Ok(())
    }
}

/// Reads `source<TAB>target` rows and counts in `cleaning`. With a `separator`, a target holds several references
/// between separators.
///
/// # Errors
/// When the file cannot be read, or when no row can be used.
pub fn read_pairs(path: &Path, separator: Option<&str>, cleaning: &mut Cleaning) -> Result<Vec<Pair>> {
    let bytes = std::fs::read(path).map_err(|e| Error::io(format!("reading {}", path.display()), e))?;
    let pairs = parse_pairs(&bytes, separator, cleaning);
    if pairs.is_empty() {
        let message = format!("{}: no row has a source, a tab and a target ({cleaning})", path.display());
        return Err(Error::new(ErrorKind::InvalidOption, message));
    }
    Ok(pairs)
}

fn parse_pairs(bytes: &[u8], separator: Option<&str>, cleaning: &mut Cleaning) -> Vec<Pair> {
    let mut pairs = Vec::new();
    for line in bytes.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
        match parse_pair(line, separator) {
            Err(Dropped::TooLong) => cleaning.too_long += 1,
            Err(Dropped::InvalidUtf8) => cleaning.invalid_utf8 += 1,
            Err(Dropped::WithoutTab) => cleaning.without_tab += 1,
            Err(Dropped::Empty) => cleaning.empty += 1,
            Ok(pair) => pairs.push(pair),
        }
    }
    cleaning.kept += pairs.len();
    pairs
}

/// Drops pairs whose source is one of `held_out`, those that break `rules`, and those that are the same as an earlier one.
pub fn clean(pairs: &mut Vec<Pair>, held_out: &[Pair], rules: CleaningRules, cleaning: &mut Cleaning) {
    let held_out: HashSet<&str> = held_out.iter().map(|pair| pair.source.as_str()).collect();
    let mut seen = HashSet::new();
    pairs.retain(|pair| {
        let reason = if held_out.contains(pair.source.as_str()) {
            &mut cleaning.held_out
        } else if rules.identical == Identical::Drop && pair.targets.contains(&pair.source) {
            &mut cleaning.identical
        } else if rules.max_length_ratio.is_some_and(|limit| length_ratio(pair) > limit) {
            &mut cleaning.lopsided
        } else if !seen.insert(pair.clone()) {
            &mut cleaning.repeated
        } else {
            return true;
        };
        *reason += 1;
        false
    });
    cleaning.kept = pairs.len();
}

/// How many times longer, in characters, the longer side is than the shorter one, at most over the references.
fn length_ratio(pair: &Pair) -> f32 {
    let length = |text: &String| text.chars().count() as f32;
    let source = length(&pair.source);
    let ratio = |target| source.max(target) / source.min(target);
    pair.targets.iter().map(|target| ratio(length(target))).fold(0.0, f32::max)
}

enum Dropped {
    TooLong,
    InvalidUtf8,
    WithoutTab,
    Empty,
}

fn parse_pair(line: &[u8], separator: Option<&str>) -> Result<Pair, Dropped> {
    if line.len() > MAX_LINE {
        return Err(Dropped::TooLong);
    }
    let line = std::str::from_utf8(line).map_err(|_| Dropped::InvalidUtf8)?;
    let (source, target) = line.split_once('\t').ok_or(Dropped::WithoutTab)?;
    let targets: Vec<String> = match separator {
        Some(separator) => target.split(separator).map(|t| t.trim().to_owned()).collect(),
        None => vec![target.trim().to_owned()],
    };
    let source = source.trim().to_owned();
    match source.is_empty() || targets.iter().any(String::is_empty) {
        true => Err(Dropped::Empty),
        false => Ok(Pair { source, targets, ..Pair::default() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_dropped_for_a_reason_that_is_counted() {
        let text = b"a\tb\nno tab\n\tempty\nempty\t \na\tb\n\xff\xfe\tx\nc\td | e\ndev\tx\nOK\tOK\na\t1234\n";
        let mut cleaning = Cleaning::default();
        let mut pairs = parse_pairs(text, Some(" | "), &mut cleaning);
        let rules = CleaningRules { max_length_ratio: Some(3.0), identical: Identical::Drop };
        let dev = Pair { source: "dev".into(), targets: vec!["y".into()], ..Pair::default() };
        clean(&mut pairs, &[dev], rules, &mut cleaning);
        assert_eq!(pairs.len(), 2);
        assert_eq!(pairs[1].targets, ["d", "e"]);
        let expected = Cleaning {
            kept: 2,
            invalid_utf8: 1,
            without_tab: 1,
            empty: 2,
            too_long: 0,
            held_out: 1,
            identical: 1,
            lopsided: 1,
            repeated: 1,
        };
        assert_eq!(cleaning, expected);
        assert_eq!(
            cleaning.to_string(),
            "2 pairs kept, 1 dropped: not UTF-8, 1 dropped: without a tab, 2 dropped: with an empty side, \
             1 dropped: held out, 1 dropped: identical sides, 1 dropped: one side much longer, 1 dropped: repeated"
        );
    }

    #[test]
    fn by_default_only_repetitions_and_held_out_sources_go() {
        let mut cleaning = Cleaning::default();
        let mut pairs = parse_pairs(b"OK\tOK\na\tfar longer\n", None, &mut cleaning);
        clean(&mut pairs, &[], CleaningRules::default(), &mut cleaning);
        assert_eq!(cleaning, Cleaning { kept: 2, ..Cleaning::default() });
    }

    #[test]
    fn a_long_source_is_dropped_or_cut_but_for_its_end() {
        let long = Example { source: vec![7, 8, 9, 0], target: vec![7, 0], prefix: 0 };
        assert!(!long.clone().fit(3, LongSources::Drop));
        let mut cut = long.clone();
        assert!(cut.fit(3, LongSources::Truncate));
        assert_eq!(cut, Example { source: vec![7, 8, 0], ..long.clone() });
        assert!(
            !Example { source: vec![0], target: vec![7, 8, 9, 0], prefix: 0 }.fit(3, LongSources::Truncate)
        );
    }

    #[test]
    fn a_line_of_megabytes_is_dropped() {
        let line = [b"a\t".as_slice(), &vec![b'x'; 10 << 20]].concat();
        let mut cleaning = Cleaning::default();
        assert!(parse_pairs(&line, None, &mut cleaning).is_empty());
        assert_eq!(cleaning.too_long, 1);
    }
}
