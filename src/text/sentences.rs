//! Prose to sentences, by rules.
//!
//! A sentence ends at a line break, after a full-width stop, or after a run of `. ! ? …` with its closing quotes and
//! brackets if white space follows and what comes next may start a sentence. A full stop also belongs to
//! abbreviations, initials, ordinals and list numbers; those are told apart by the word in front of it, the word after
//! it, and the word lists of the language.

use super::abbreviations::{Language, Rules};
use core::ops::Range;

/// The sentences of `text`, as byte ranges in order.
///
/// No range is empty, starts or ends with white space, and between two ranges there is nothing but white space: the
/// ranges and the gaps give the text back. `language` decides about abbreviations, quotation marks and ordinals.
///
/// ```
/// use siskin::text::{Language, split_sentences};
///
/// let text = "Dr. Weber kam am 3. Oktober. Er blieb.";
/// let sentences: Vec<&str> = split_sentences(text, Language::German).map(|range| &text[range]).collect();
/// assert_eq!(sentences, ["Dr. Weber kam am 3. Oktober.", "Er blieb."]);
/// ```
pub fn split_sentences(text: &str, language: Language) -> Sentences<'_> {
    Sentences { text, rules: language.rules(), position: 0 }
}

/// The iterator of [`split_sentences`].
#[derive(Clone)]
pub struct Sentences<'t> {
    text: &'t str,
    rules: &'static Rules,
    position: usize,
}

impl Iterator for Sentences<'_> {
    type Item = Range<usize>;

    fn next(&mut self) -> Option<Range<usize>> {
        let rest = &self.text[self.position..];
        let start = self.text.len() - rest.trim_start().len();
        if start == self.text.len() {
            return None;
        }
        let sentence = &self.text[start..];
        self.position = start + sentence_end(sentence, self.rules);
        Some(start..start + self.text[start..self.position].trim_end().len())
    }
}

/// How long the sentence is that `text`, which does not start with white space, starts with.
fn sentence_end(text: &str, rules: &Rules) -> usize {
    let mut position = 0;
    while let Some(found) = text[position..].find(|c| is_stop(c) || is_line_break(c)) {
        let stop = position + found;
        if text[stop..].starts_with(is_line_break) {
            return stop;
        }
        let after_stops = skip(text, stop, is_stop);
        let end = skip_closers(text, after_stops);
        let (stops, after) = (&text[stop..after_stops], &text[end..]);
        let full_width = stops.ends_with(is_full_width_stop);
        if after.is_empty() || full_width || ends_here(&text[..stop], stops, after, rules) {
            return end;
        }
        position = end;
    }
    text.len()
}

/// Whether a sentence ends between `before` with its `stops`, and `after`.
fn ends_here(before: &str, stops: &str, after: &str, rules: &Rules) -> bool {
    if !after.starts_with(char::is_whitespace) {
        return false;
    }
    let next = after.trim_start_matches(is_blank);
    if next.starts_with(is_line_break) {
        return true;
    }
    let next = next.trim_start_matches(|c| is_opener(c) || is_blank(c));
    match next.chars().next() {
        None => true,
        Some(first) if is_line_break(first) => true,
        Some(first) if first.is_lowercase() || is_stop(first) || is_continuation(first) => false,
        Some(_) => stops != "." || full_stop_ends(before, next, rules),
    }
}

/// Whether a single full stop after `before` ends the sentence, where `next` does not start in lower case.
fn full_stop_ends(before: &str, next: &str, rules: &Rules) -> bool {
    let word = last_word(before);
    let starter = starts_with_any(next, rules.starters);
    let next_is_number = next.starts_with(|c: char| c.is_numeric());
    let starts_sentence = word.len() == before.len();
    if word.bytes().all(|b| b.is_ascii_digit()) && !word.is_empty() {
        return !starts_sentence && (starter || next_is_number || !is_ordinal(before, word, rules));
    }
    if contains(rules.never_last, word) {
        return false;
    }
    if contains(rules.before_number, word) && next_is_number {
        return false;
    }
    if contains(rules.maybe_last, word) {
        return starter;
    }
    if is_letter(word) {
        return letter_ends(before, word, starter, rules);
    }
    if is_dotted(word) {
        return starter || !(rules.capital_nouns || word.starts_with(char::is_uppercase));
    }
    !(rules.capital_nouns && is_roman(word) && !starter)
}

/// Whether the number `word`, which ends `before`, may be an ordinal: a short one ("3. Tag") that no abbreviation
/// announces ("Nr. 3.").
fn is_ordinal(before: &str, word: &str, rules: &Rules) -> bool {
    let announced = in_front_of(before, word).strip_suffix('.').map(last_word);
    rules.capital_nouns
        && word.len() <= 3
        && !announced.is_some_and(|word| contains(rules.before_number, word))
}

/// Whether the full stop after the single letter `word` ends the sentence: not that of an initial ("J. Smith") or of
/// an abbreviation written with spaces ("z. B."), but that of "Tom's." or of a letter that is a word.
fn letter_ends(before: &str, word: &str, starter: bool, rules: &Rules) -> bool {
    let in_front = in_front_of(before, word);
    let chained = in_front.strip_suffix('.').is_some_and(|rest| is_letter(last_word(rest)));
    if chained || in_front.is_empty() {
        return false;
    }
    starter || in_front.ends_with(['\'', '’']) || contains(rules.letter_words, word)
}

/// What stands in front of `word`, which ends `before`, without the space between.
fn in_front_of<'t>(before: &'t str, word: &str) -> &'t str {
    before[..before.len() - word.len()].trim_end()
}

/// The last word of `text`: letters, digits, and the dots and hyphens between them.
fn last_word(text: &str) -> &str {
    let inside = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | 'ª' | 'º');
    let start = text.char_indices().rev().take_while(|&(_, c)| inside(c)).last();
    text[start.map_or(text.len(), |(place, _)| place)..].trim_start_matches(['.', '-'])
}

/// Whether `text` starts with one of `words`, in whatever case, as a whole word.
fn starts_with_any(text: &str, words: &[&str]) -> bool {
    let end = text.find(|c: char| !c.is_alphanumeric()).unwrap_or(text.len());
    contains(words, &text[..end])
}

/// Whether `word`, in whatever case, is one of `words`, which are in lower case.
fn contains(words: &[&str], word: &str) -> bool {
    words.iter().any(|known| known.chars().eq(word.chars().flat_map(char::to_lowercase)))
}

/// Whether `word` is one letter.
fn is_letter(word: &str) -> bool {
    let mut chars = word.chars();
    chars.next().is_some_and(char::is_alphabetic) && chars.next().is_none()
}

/// Whether `word` is single letters with dots between them, such as `U.S` or `a.m`.
fn is_dotted(word: &str) -> bool {
    word.contains('.') && word.split('.').all(is_letter)
}

/// Whether `word` is a Roman numeral.
fn is_roman(word: &str) -> bool {
    !word.is_empty() && word.chars().all(|c| matches!(c, 'I' | 'V' | 'X' | 'L' | 'C'))
}

/// Where the closing quotes and brackets end that follow a stop at `position`. In French a space stands before ».
fn skip_closers(text: &str, position: usize) -> usize {
    let end = skip(text, position, is_closer);
    let spaced = skip(text, end, is_blank);
    let closed = skip(text, spaced, |c| matches!(c, '»' | '›'));
    let after = &text[closed..];
    let closes = after.is_empty()
        || after.starts_with(|c: char| c.is_whitespace() || is_continuation(c) || is_stop(c));
    if closed > spaced && closes { closed } else { end }
}

/// Where the run of characters that satisfy `wanted` ends.
fn skip(text: &str, position: usize, wanted: impl Fn(char) -> bool) -> usize {
    text.len() - text[position..].trim_start_matches(wanted).len()
}

fn is_stop(c: char) -> bool {
    matches!(c, '.' | '!' | '?' | '…' | '‽' | '؟' | '۔' | '।') || is_full_width_stop(c)
}

/// Stops after which no space is written.
fn is_full_width_stop(c: char) -> bool {
    matches!(c, '。' | '！' | '？' | '｡')
}

fn is_line_break(c: char) -> bool {
    matches!(c, '\n' | '\u{B}' | '\u{C}' | '\r' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

/// White space within a line.
fn is_blank(c: char) -> bool {
    c.is_whitespace() && !is_line_break(c)
}

/// What may follow a stop and still belongs to its sentence. Which quotation mark closes depends on the language; after
/// a stop and without a space each one does.
fn is_closer(c: char) -> bool {
    let quote = matches!(c, '"' | '\'' | '“' | '”' | '‘' | '’' | '«' | '»' | '‹' | '›');
    quote || matches!(c, ')' | ']' | '}' | '」' | '』' | '）' | '】' | '》')
}

/// What may stand before the first word of a sentence.
fn is_opener(c: char) -> bool {
    matches!(
        c,
        '"' | '\''
            | '“'
            | '”'
            | '„'
            | '‘'
            | '’'
            | '‚'
            | '«'
            | '»'
            | '‹'
            | '›'
            | '('
            | '['
            | '{'
            | '¿'
            | '¡'
            | '-'
            | '–'
            | '—'
            | '•'
            | '*'
    )
}

/// Punctuation that goes on with the sentence.
fn is_continuation(c: char) -> bool {
    matches!(c, ',' | ';' | ':' | ')' | ']' | '}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::String;
    use alloc::vec::Vec;

    /// Splits the sentences joined by one space, and expects them back.
    fn check(language: Language, cases: &[&[&str]]) {
        for sentences in cases {
            let text = sentences.join(" ");
            let found: Vec<&str> = split_sentences(&text, language).map(|range| &text[range]).collect();
            assert_eq!(found, *sentences);
        }
    }

    #[test]
    fn english() {
        check(
            Language::English,
            &[
                &["Dr. Smith met Mr. and Mrs. Jones.", "They talked."],
                &["J. R. R. Tolkien wrote it.", "George W. Bush did not."],
                &["It costs 3.14 dollars.", "See www.example.com for more."],
                &["He said \"Stop.\"", "Then he left."],
                &["“Why?” she asked.", "“Because!” he said."],
                &["(It rained.)", "We stayed."],
                &["Wait... what?", "Never mind…", "Go on."],
                &["He lives in the U.S. and works.", "The U.S. President came to the U.S.", "He left."],
                &["We met at 5 p.m. on Monday.", "It ended at 6 p.m.", "Tom left."],
                &["See No. 5 and Fig. 3.", "The answer is no.", "Ask again."],
                &["Apples, pears, etc. are fruit.", "Apples, pears, etc.", "They are fruit."],
                &["The coat is Tom's.", "Mine isn’t.", "Look."],
                &["So do I.", "Nobody knows Vitamin C.", "The end."],
                &["Compare e.g. Berlin vs. Paris.", "I like both!", "Do you?!"],
                &["It was 1990.", "42 people came."],
                &["1. The first point.", "2. The second point."],
                &["Acme Inc. Chairman Bob spoke.", "He works at Acme Inc.", "She does not."],
            ],
        );
    }

    #[test]
    fn german() {
        check(
            Language::German,
            &[
                &["Am 3. Oktober kam Dr. Weber.", "Er blieb bis zum 5. November."],
                &["Im 19. Jahrhundert war das so.", "Heute, z. B. Montag, nicht."],
                &["Das gilt z.B. Kindern, d. h. Schülern usw. Erwachsenen nicht.", "Das ist alles."],
                &["Er wurde 1990 geboren.", "Sie starb 1990.", "Danach kam Krieg."],
                &["Friedrich II. König von Preußen.", "Das war Friedrich II.", "Er regierte lange."],
                &["„Komm her!“, rief er.", "„Nein.“", "Sie ging."],
                &["»Komm.«", "Er kam."],
                &["Das kostet ca. 3,50 Euro bzw. Dollar.", "Teuer!"],
                &["Siehe S. 12 und Abb. 3.", "Frau Prof. Dr. Meier sprach.", "Ich sah Max.", "Er lief."],
                &["Rom fiel 50 v. Chr. Cäsar an.", "Das war 50 v. Chr.", "Der Krieg ging weiter."],
                &["Der Vertrag, Nr. 5, gilt.", "Wirklich?", "Ja."],
                &["Er sagte: „Ich gehe.“", "Dann ging er."],
                &["Er zahlte 3 Mio. Euro.", "Viel!"],
            ],
        );
    }

    #[test]
    fn french() {
        check(
            Language::French,
            &[
                &["M. Dupont et Mme. Durand sont là.", "Ils parlent."],
                &["« Bonjour. »", "Il sourit."],
                &["« Quoi ? » dit-il.", "« Rien ! »"],
                &["Il y en a.", "Mais allons-y !", "D'accord ?", "Oui."],
                &["En 52 av. J.-C. César gagna.", "C'était en 52 av. J.-C.", "Les Gaulois perdirent."],
                &["Voir p. 12, art. 3.", "L'homme partit…", "Puis il revint."],
                &["Des pommes, des poires, etc. sont là.", "Des pommes, etc.", "Il en mange."],
                &["Le prix est de 3.50 euros.", "C'est cher."],
                &["— Bonjour.", "— Qui est là ?", "— Moi."],
            ],
        );
    }

    #[test]
    fn spanish() {
        check(
            Language::Spanish,
            &[
                &["El Sr. García y la Sra. López llegaron.", "Hablaron."],
                &["¿Qué dices?", "¡No lo sé!", "¿Y tú?"],
                &["Los EE. UU. son grandes.", "Vive en EE. UU.", "Ella no."],
                &["D. Quijote, p. ej. Sancho, etc. hablan.", "Compró pan, etc.", "El resto no."],
                &["«No vengas.»", "Luego salió."],
                &["Cuesta 3.50 euros.", "Véase la pág. 12 del núm. 4.", "Gracias..."],
                &["—Hola —dijo él.", "—Adiós."],
                &["¿Está Ud. bien?", "Sí."],
            ],
        );
    }

    #[test]
    fn any_language() {
        check(Language::Other, &[&["Ja.", "Nej!", "Kanske?"], &["A.b.c no stop"], &["Pi is 3.14"]]);
        let text = "  One line\nanother line.\r\n\n日本語。「はい。」次！  ";
        let found: Vec<&str> = split_sentences(text, Language::Other).map(|range| &text[range]).collect();
        assert_eq!(found, ["One line", "another line.", "日本語。", "「はい。」", "次！"]);
        assert_eq!(split_sentences(" \n\t\u{A0} ", Language::English).count(), 0);
        assert_eq!(Language::from_tag("DE-at"), Language::German);
        assert_eq!(Language::from_tag("deu"), Language::Other);
    }

    #[test]
    fn ranges_and_white_space_give_the_text_back() {
        let alphabet = [
            " ", "\n", ".", "!", "…", "»", "«", "\"", "(", ")", "A", "b", "1", "Dr", "é", "。", "\u{A0}", "-",
        ];
        let mut state = 1u32;
        for _ in 0..2000 {
            let mut text = String::new();
            for _ in 0..30 {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                text.push_str(alphabet[(state >> 16) as usize % alphabet.len()]);
            }
            let mut end = 0;
            for range in split_sentences(&text, Language::French) {
                assert!(text[end..range.start].trim().is_empty());
                let sentence = &text[range.clone()];
                assert!(!sentence.is_empty() && sentence.trim() == sentence, "{text:?}");
                end = range.end;
            }
            assert!(text[end..].trim().is_empty());
        }
    }
}
