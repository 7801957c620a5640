//! How good outputs are, against one or more references each.
//!
//! [`bleu`], [`chrf`] and [`ter`] give what sacrebleu (Post, 2018) prints, signature included; [`rouge`] gives what
//! the package rouge-score gives. `docs/evaluation.md` has the definitions, and how each was checked.

mod bleu;
mod chrf;
mod error_rate;
mod model;
mod ngrams;
pub mod pairs;
mod rouge;
mod ter;
mod tokenize;

pub use bleu::bleu;
pub use chrf::{Chrf, chrf};
pub use error_rate::{ErrorRate, error_rate};
pub use model::{Outputs, outputs};
pub use rouge::{Rouge, rouge};
pub use ter::{Punctuation, TerOptions, ter};
pub use tokenize::Tokenizer;

/// The version of sacrebleu whose scores and signatures are given.
pub const SACREBLEU: &str = "2.6.0";

/// An output and what it should have been.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The output.
    pub hypothesis: String,
    /// Its references: at least one.
    pub references: Vec<String>,
}

impl Row {
    /// The row without the characters in `ignored`, in the output and in its references.
    #[must_use]
    pub fn without(&self, ignored: &str) -> Self {
        let strip = |text: &String| text.chars().filter(|&c| !ignored.contains(c)).collect();
        Self { hypothesis: strip(&self.hypothesis), references: self.references.iter().map(strip).collect() }
    }
}

/// Whether upper and lower case letters differ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Case {
    /// They do.
    #[default]
    Mixed,
    /// They do not: texts are compared in lower case.
    Lower,
}

impl Case {
    /// The text as it is compared.
    fn apply(self, text: &str) -> String {
        match self {
            Self::Mixed => text.to_owned(),
            Self::Lower => text.to_lowercase(),
        }
    }

    /// The word for it in signatures.
    fn signature(self) -> &'static str {
        match self {
            Self::Mixed => "mixed",
            Self::Lower => "lc",
        }
    }
}

/// What a metric says of an output.
#[derive(Clone, Debug, PartialEq)]
pub struct Score {
    /// The metric's name.
    pub name: &'static str,
    /// How it was computed: `key:value` pairs with `|` between them.
    pub signature: String,
    /// The score in percent. Error rates can be above 100.
    pub value: f64,
    /// More numbers, for people; empty for most metrics.
    pub details: String,
}

impl Score {
    /// `name|signature = value details` with `width` decimals: the line that sacrebleu prints.
    pub fn line(&self, width: usize) -> String {
        let Self { name, signature, value, details } = self;
        let separator = if details.is_empty() { "" } else { " " };
        format!("{name}|{signature} = {value:.width$}{separator}{details}")
    }
}

/// A measure of outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Metric {
    /// BLEU: n-grams of words
    Bleu,
    /// chrF2: n-grams of characters
    Chrf,
    /// chrF2++: n-grams of characters and words
    #[value(name = "chrf++")]
    ChrfPlusPlus,
    /// Translation edit rate: edits and shifts of words
    Ter,
    /// ROUGE-1, ROUGE-2 and ROUGE-L
    Rouge,
    /// Word error rate
    Wer,
    /// Character error rate
    Cer,
    /// String error rate: outputs that equal none of their references. On lists of words, as in spelling to phonemes,
    /// it is what the literature calls word error rate
    Ser,
}

/// How texts are compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// For BLEU, chrF and the error rates. ROUGE always compares in lower case.
    pub case: Case,
    /// For BLEU.
    pub tokenizer: Tokenizer,
    /// For TER.
    pub ter: TerOptions,
}

/// The scores of `metric`: three for ROUGE, else one.
pub fn score(metric: Metric, rows: &[Row], options: &Options) -> Vec<Score> {
    let Options { case, tokenizer, ter: ter_options } = *options;
    match metric {
        Metric::Bleu => vec![bleu(rows, tokenizer, case)],
        Metric::Chrf => vec![chrf(rows, Chrf::Characters, case)],
        Metric::ChrfPlusPlus => vec![chrf(rows, Chrf::CharactersAndWords, case)],
        Metric::Ter => vec![ter(rows, ter_options)],
        Metric::Rouge => [Rouge::One, Rouge::Two, Rouge::L].map(|kind| rouge(rows, kind)).into(),
        Metric::Wer => vec![error_rate(rows, ErrorRate::Words, case)],
        Metric::Cer => vec![error_rate(rows, ErrorRate::Characters, case)],
        Metric::Ser => vec![error_rate(rows, ErrorRate::Strings, case)],
    }
}

/// A signature: the number of references first, `var` where it varies, and the version last.
fn signature(rows: &[Row], pairs: &[(&str, &str)], version: &str) -> String {
    let mut counts = rows.iter().map(|row| row.references.len());
    let first = counts.next().unwrap_or(0);
    let references = if counts.all(|count| count == first) { first.to_string() } else { "var".to_owned() };
    let mut text = format!("nrefs:{references}");
    for (key, value) in pairs.iter().chain(&[("version", version)]) {
        text.push_str(&format!("|{key}:{value}"));
    }
    text
}

fn yes_or_no(value: bool) -> &'static str {
    if value { "yes" } else { "no" }
}

#[cfg(test)]
fn rows(texts: &[(&str, &[&str])]) -> Vec<Row> {
    let row = |&(hypothesis, references): &(&str, &[&str])| Row {
        hypothesis: hypothesis.to_owned(),
        references: references.iter().map(|&reference| reference.to_owned()).collect(),
    };
    texts.iter().map(row).collect()
}

#[cfg(test)]
mod sample {
    //! What the metrics are tested on.

    /// Outputs with one reference each.
    pub(super) const SINGLE: [(&str, &[&str]); 2] = [
        ("The cat sat on the mat, didn't it?", &["The cat was sitting on the mat, wasn't it?"]),
        ("It costs 1,000.50 euros.", &["It costs 1,000.50 euros."]),
    ];

    /// Outputs with one or two references.
    pub(super) const MULTIPLE: [(&str, &[&str]); 2] = [
        ("The cat sat on the mat.", &["A cat sat on a mat.", "The cat is on the mat today, I think."]),
        ("Good morning to you all", &["Good morning, everyone"]),
    ];
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_says_how_many_references_there_are() {
        let same = rows(&[("a", &["b", "c"]), ("d", &["e", "f"])]);
        assert_eq!(signature(&same, &[("case", "lc")], "1"), "nrefs:2|case:lc|version:1");
        let different = rows(&[("a", &["b", "c"]), ("d", &["e"])]);
        assert_eq!(signature(&different, &[], "1"), "nrefs:var|version:1");
    }

    #[test]
    fn ignored_characters_are_in_neither_side() {
        let stressed = &rows(&[("K AE1 T", &["K AE2 T"])])[0];
        assert_eq!(stressed.without("012"), rows(&[("K AE T", &["K AE T"])])[0]);
    }
}
