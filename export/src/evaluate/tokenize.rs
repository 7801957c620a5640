//! Cutting text into words, as sacrebleu does before it counts n-grams.

use unicode_properties::{GeneralCategoryGroup, UnicodeGeneralCategory};

/// How BLEU finds words. Scores with different tokenizers cannot be compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Tokenizer {
    /// That of the NIST's mteval-v13a: ASCII punctuation is set off
    #[default]
    #[value(name = "13a")]
    V13a,
    /// That of mteval-v14: Unicode punctuation and symbols are set off
    #[value(name = "intl")]
    International,
    /// Every Chinese character is a word, the rest is as in 13a
    #[value(name = "zh")]
    Chinese,
    /// Every character is a word
    #[value(name = "char")]
    Characters,
    /// Words are what white space separates
    #[value(name = "none")]
    None,
}

impl Tokenizer {
    /// `text` with white space between its words.
    pub fn tokenize(self, text: &str) -> String {
        match self {
            Self::V13a => v13a(text),
            Self::International => international(text),
            Self::Chinese => western(&set_off(text.trim_matches(is_space), is_chinese)),
            Self::Characters => set_off(text, |_| true),
            Self::None => text.to_owned(),
        }
    }

    /// The word for it in signatures.
    pub fn signature(self) -> &'static str {
        match self {
            Self::V13a => "13a",
            Self::International => "intl",
            Self::Chinese => "zh",
            Self::Characters => "char",
            Self::None => "none",
        }
    }
}

/// White space as Python's `str.split` has it: Unicode's and four control characters.
pub(super) fn is_space(c: char) -> bool {
    c.is_whitespace() || matches!(c, '\x1c'..='\x1f')
}

/// What stands between white space.
pub(super) fn words(text: &str) -> Vec<&str> {
    text.split(is_space).filter(|word| !word.is_empty()).collect()
}

/// `text` with spaces around every character of a kind.
pub(super) fn set_off(text: &str, kind: impl Fn(char) -> bool) -> String {
    let mut out = String::with_capacity(2 * text.len());
    for c in text.chars() {
        if kind(c) {
            out.extend([' ', c, ' ']);
        } else {
            out.push(c);
        }
    }
    out
}

/// Which of two neighbours is set off.
enum Neighbour {
    First,
    Second,
}

/// `text` with spaces around one of two neighbours, wherever they are of a kind. Pairs are found from the left and do
/// not overlap, as in a substitution by regular expression.
fn set_off_beside(text: &str, which: Neighbour, kind: impl Fn(char, char) -> bool) -> String {
    let mut out = String::with_capacity(2 * text.len());
    let mut chars = text.chars().peekable();
    while let Some(first) = chars.next() {
        match (chars.next_if(|&second| kind(first, second)), &which) {
            (Some(second), Neighbour::First) => out.extend([' ', first, ' ', second]),
            (Some(second), Neighbour::Second) => out.extend([first, ' ', second, ' ']),
            (None, _) => out.push(first),
        }
    }
    out
}

/// mteval-v13a.pl of the NIST (2009), normalization and tokenization of Western languages.
fn v13a(text: &str) -> String {
    let text = text.replace("<skipped>", "").replace("-\n", "").replace('\n', " ");
    western(&format!(" {} ", unescape(&text)))
}

/// Replaces the four escapes of SGML, one after the other.
pub(super) fn unescape(text: &str) -> String {
    text.replace("&quot;", "\"").replace("&amp;", "&").replace("&lt;", "<").replace("&gt;", ">")
}

/// Sets off ASCII punctuation; full stops and commas only where no digit is on one of their sides, and hyphens only
/// behind a digit.
pub(super) fn western(text: &str) -> String {
    let text = set_off(text, is_western_punctuation);
    western_numbers(&text)
}

/// ASCII punctuation and the space, without `'`, `,`, `-` and `.`.
pub(super) fn is_western_punctuation(c: char) -> bool {
    matches!(c, ' '..='&' | '('..='+' | '/' | ':'..='@' | '['..='`' | '{'..='~')
}

/// The part of [`western`] that looks at digits.
pub(super) fn western_numbers(text: &str) -> String {
    let digit = |c: char| c.is_ascii_digit();
    let stop = |c| matches!(c, '.' | ',');
    let text = set_off_beside(text, Neighbour::Second, |before, c| !digit(before) && stop(c));
    let text = set_off_beside(&text, Neighbour::First, |c, after| stop(c) && !digit(after));
    set_off_beside(&text, Neighbour::Second, |before, c| digit(before) && c == '-')
}

/// mteval-v14.pl, `--international-tokenization`. A full stop between a number and the end of the text stays with the
/// number.
fn international(text: &str) -> String {
    let group = |c: char| c.general_category_group();
    let number = |c| group(c) == GeneralCategoryGroup::Number;
    let punctuation = |c| group(c) == GeneralCategoryGroup::Punctuation;
    let text = set_off_beside(text, Neighbour::Second, |before, c| !number(before) && punctuation(c));
    let text = set_off_beside(&text, Neighbour::First, |c, after| punctuation(c) && !number(after));
    set_off(&text, |c| group(c) == GeneralCategoryGroup::Symbol)
}

/// sacrebleu's Chinese characters. Of the two ranges above U+FFFF in its source, Python reads the first as U+2001 to
/// U+2A6D, general punctuation to mathematical operators, and the second as a part of the Kangxi radicals.
fn is_chinese(c: char) -> bool {
    matches!(c,
        '\u{2001}'..='\u{2a6d}' | '\u{2e80}'..='\u{2fdf}' | '\u{2ff0}'..='\u{303f}' | '\u{3100}'..='\u{312f}'
        | '\u{31a0}'..='\u{31bf}' | '\u{31c0}'..='\u{31ef}' | '\u{3200}'..='\u{33ff}' | '\u{3400}'..='\u{4db5}'
        | '\u{4e00}'..='\u{9fbb}' | '\u{f900}'..='\u{fa2d}' | '\u{fa30}'..='\u{fa6a}' | '\u{fa70}'..='\u{fad9}'
        | '\u{fe10}'..='\u{fe1f}' | '\u{fe30}'..='\u{fe4f}' | '\u{ff00}'..='\u{ffef}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(tokenizer: Tokenizer, text: &str) -> String {
        words(&tokenizer.tokenize(text)).join(" ")
    }

    /// What sacrebleu 2.6.0 makes of six texts.
    fn check(tokenizer: Tokenizer, expected: [&str; 6]) {
        let texts = [
            "\"Hello,\" she said... 1,000.5 (approx.) &amp; more-or-less 3-4 a.b 5.",
            "don't <skipped>stop_it #tag/x &quot;q&lt;",
            "Er sagt: „Ja“ – 5€ für 3.5 kg, 2017.",
            "a,,b..c.",
            "今天天气3.5度。OK? “好”",
            "x\u{a0}y\u{1c}z",
        ];
        for (text, expected) in texts.into_iter().zip(expected) {
            assert_eq!(tokens(tokenizer, text), expected);
        }
    }

    #[test]
    fn v13a_sets_off_ascii_punctuation() {
        let expected = [
            "\" Hello , \" she said . . . 1,000.5 ( approx . ) & more-or-less 3 - 4 a . b 5 .",
            "don't stop _ it # tag / x \" q <",
            "Er sagt : „Ja“ – 5€ für 3.5 kg , 2017 .",
            "a , , b . . c .",
            "今天天气3.5度。OK ? “好”",
            "x y z",
        ];
        check(Tokenizer::V13a, expected);
    }

    #[test]
    fn international_sets_off_unicode_punctuation_and_symbols() {
        let expected = [
            "\" Hello , \" she said . . . 1,000.5 ( approx . ) & amp ; more - or - less 3-4 a . b 5.",
            "don ' t < skipped > stop _ it # tag / x & quot ; q & lt ;",
            "Er sagt : „ Ja “ – 5 € für 3.5 kg , 2017.",
            "a , , b . . c .",
            "今天天气3.5度 。 OK ? “ 好 ”",
            "x y z",
        ];
        check(Tokenizer::International, expected);
    }

    #[test]
    fn chinese_sets_off_chinese_characters() {
        let expected = [
            "\" Hello , \" she said . . . 1,000.5 ( approx . ) & amp ; more-or-less 3 - 4 a . b 5.",
            "don't < skipped > stop _ it # tag / x & quot ; q & lt ;",
            "Er sagt : „ Ja “ – 5 € für 3.5 kg , 2017.",
            "a , , b . . c .",
            "今 天 天 气 3.5 度 。 OK ? “ 好 ”",
            "x y z",
        ];
        check(Tokenizer::Chinese, expected);
    }

    #[test]
    fn characters_and_white_space_are_the_simplest_tokenizers() {
        assert_eq!(tokens(Tokenizer::Characters, "5€ für, x"), "5 € f ü r , x");
        assert_eq!(tokens(Tokenizer::None, " 5€  für, x\u{3000}y "), "5€ für, x y");
    }
}
