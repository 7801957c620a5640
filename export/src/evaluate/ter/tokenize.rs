//! Tercom's normalization of texts, as sacrebleu has it.

use super::super::tokenize::{is_space, is_western_punctuation, set_off, unescape, western_numbers};
use super::{Punctuation, TerOptions};

impl TerOptions {
    /// `text` as its words are compared, white space between them.
    pub(super) fn prepare(&self, text: &str) -> String {
        let mut text = self.case.apply(text.trim_end_matches(is_space));
        if text.is_empty() {
            return text;
        }
        if self.normalize {
            text = western(&text);
            if self.asian {
                text = set_off(&text, is_asian);
            }
        }
        if self.punctuation == Punctuation::Remove {
            text.retain(|c| !matches!(c, '.' | ',' | '?' | ':' | ';' | '!' | '"' | '(' | ')'));
            if self.asian {
                text.retain(|c| !is_asian_punctuation(c));
            }
        }
        text
    }
}

/// Tercom's language-independent and Western normalization.
fn western(text: &str) -> String {
    let text = unescape(&text.replace("\n-", "").replace('\n', " "));
    let text = set_off(&format!(" {text} "), is_western_punctuation);
    western_numbers(&text.replace("'s ", " 's "))
}

/// Characters that are words of their own. sacrebleu writes the block of enclosed letters and months as U+3200 to
/// U+3F22; Hiragana and Katakana stay joined, because its rules for them ask for the start of a text that western
/// normalization has begun with a space.
fn is_asian(c: char) -> bool {
    is_asian_punctuation(c)
        || matches!(c,
            '\u{2e80}'..='\u{2eff}' | '\u{31c0}'..='\u{31ef}' | '\u{3200}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}'
            | '\u{f900}'..='\u{faff}' | '\u{fe30}'..='\u{fe4f}')
}

/// CJK punctuation and its full-width forms.
fn is_asian_punctuation(c: char) -> bool {
    matches!(c,
        '\u{3001}' | '\u{3002}' | '\u{3008}'..='\u{3011}' | '\u{3014}'..='\u{301f}' | '\u{30fb}'
        | '\u{ff61}'..='\u{ff65}' | '\u{ff0e}' | '\u{ff0c}' | '\u{ff1f}' | '\u{ff1a}' | '\u{ff1b}' | '\u{ff01}'
        | '\u{ff02}' | '\u{ff08}' | '\u{ff09}')
}
