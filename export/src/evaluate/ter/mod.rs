//! TER, the translation edit rate (Snover et al., 2006), as sacrebleu computes it after Tercom.

mod edits;
mod shifts;
mod tokenize;

use super::tokenize::words;
use super::{Case, Row, SACREBLEU, Score, signature, yes_or_no};

/// How texts are prepared. The default is that of sacrebleu: lower case, words are what white space separates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TerOptions {
    /// Whether upper and lower case letters differ.
    pub case: Case,
    /// Sets punctuation off from words and replaces `&quot;`, `&amp;`, `&lt;` and `&gt;`.
    pub normalize: bool,
    /// Whether punctuation counts.
    pub punctuation: Punctuation,
    /// With `normalize`, every Chinese or Japanese character is a word; without punctuation, theirs is removed too.
    pub asian: bool,
}

/// Whether punctuation counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Punctuation {
    /// It does.
    #[default]
    Keep,
    /// It is removed.
    Remove,
}

impl Default for TerOptions {
    fn default() -> Self {
        Self { case: Case::Lower, normalize: false, punctuation: Punctuation::Keep, asian: false }
    }
}

/// TER of a corpus: edits and shifts of words for each word of the references. Of several references, the fewest edits
/// and the mean length count.
pub fn ter(rows: &[Row], options: TerOptions) -> Score {
    let (mut edits, mut length) = (0, 0.0);
    for row in rows {
        let hypothesis = options.prepare(&row.hypothesis);
        let hypothesis = words(&hypothesis);
        let (mut fewest, mut lengths) = (None, 0);
        for reference in &row.references {
            let reference = options.prepare(reference);
            let reference = words(&reference);
            let edits = shifts::edits_with_shifts(&hypothesis, &reference);
            fewest = Some(fewest.map_or(edits, |fewest: usize| fewest.min(edits)));
            lengths += reference.len();
        }
        edits += fewest.unwrap_or(0);
        length += lengths as f64 / row.references.len().max(1) as f64;
    }
    let keys = [
        ("case", options.case.signature()),
        ("tok", "tercom"),
        ("norm", yes_or_no(options.normalize)),
        ("punct", yes_or_no(options.punctuation == Punctuation::Keep)),
        ("asian", yes_or_no(options.asian)),
    ];
    let rate = match edits {
        0 => 0.0,
        _ if length == 0.0 => 1.0,
        _ => edits as f64 / length,
    };
    let signature = signature(rows, &keys, SACREBLEU);
    Score { name: "TER", signature, value: 100.0 * rate, details: String::new() }
}

#[cfg(test)]
mod tests {
    use super::super::{rows, sample};
    use super::*;

    fn value(texts: &[(&str, &[&str])], options: TerOptions) -> String {
        format!("{:.4}", ter(&rows(texts), options).value)
    }

    #[test]
    fn lines_are_those_of_sacrebleu() {
        assert_eq!(
            ter(&rows(&sample::SINGLE), TerOptions::default()).line(4),
            "TER|nrefs:1|case:lc|tok:tercom|norm:no|punct:yes|asian:no|version:2.6.0 = 23.0769"
        );
        assert_eq!(
            ter(&rows(&sample::MULTIPLE), TerOptions::default()).line(4),
            "TER|nrefs:var|case:lc|tok:tercom|norm:no|punct:yes|asian:no|version:2.6.0 = 57.1429"
        );
    }

    #[test]
    fn a_block_that_moves_is_one_edit() {
        let default = TerOptions::default();
        assert_eq!(value(&[("d e f a b c", &["a b c d e f"])], default), "16.6667");
        let hypothesis = "on the mat today the black cat sat quietly";
        assert_eq!(
            value(&[(hypothesis, &["today the black cat quietly sat on the mat"])], default),
            "22.2222"
        );
    }

    #[test]
    fn empty_sides_score_as_in_sacrebleu() {
        let default = TerOptions::default();
        assert_eq!(value(&[("a b", &["c"]), ("", &["x"])], default), "150.0000");
        assert_eq!(value(&[("a", &[""])], default), "100.0000");
        assert_eq!(value(&[("", &[""])], default), "0.0000");
    }

    #[test]
    fn options_change_what_a_word_is() {
        let texts: [(&str, &[&str]); 1] = [(
            "He said: “Hello”, the dog's bone costs $5.00.",
            &["He said , hello ; the dogs bone costs $ 5.00"],
        )];
        let default = TerOptions::default();
        let normalize = TerOptions { normalize: true, ..default };
        let bare = TerOptions { punctuation: Punctuation::Remove, ..default };
        assert_eq!(value(&texts, default), "63.6364");
        assert_eq!(value(&texts, TerOptions { case: Case::Mixed, ..default }), "63.6364");
        assert_eq!(value(&texts, normalize), "54.5455");
        assert_eq!(value(&texts, bare), "44.4444");
        assert_eq!(value(&texts, TerOptions { normalize: true, ..bare }), "33.3333");

        let japanese: [(&str, &[&str]); 1] = [("今日は、天気がいい。", &["今日の天気、いい。"])];
        let asian = TerOptions { asian: true, ..normalize };
        assert_eq!(value(&japanese, default), "100.0000");
        assert_eq!(value(&japanese, asian), "37.5000");
        assert_eq!(value(&japanese, TerOptions { punctuation: Punctuation::Remove, ..asian }), "33.3333");
    }
}
