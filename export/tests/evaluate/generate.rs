//! Made-up texts that try every rule of the tokenizers and the search for shifts.

use siskin_export::evaluate::Row;

const WORDS: &[&str] = &[
    "the",
    "The",
    "a",
    "cat",
    "cats'",
    "dog's",
    "don't",
    "of",
    "and",
    "Straße",
    "ΟΔΟΣ",
    "İstanbul",
    "naïve",
    "1,000.50",
    "3-4",
    "2017.",
    "5.",
    ".5",
    "-",
    "--",
    "...",
    ".",
    ",",
    "!",
    "?!",
    "(hi)",
    "\"so\"",
    "„ja“",
    "5€",
    "±2",
    "x+y=z",
    "a.b",
    "a,,b",
    "more-or-less",
    "<skipped>",
    "&quot;",
    "&amp;lt;",
    "AT&T",
    "#tag/x",
    "今日は、",
    "天気3.5度。",
    "「カタカナ」",
    "ﾊﾟｿｺﾝ",
    "𠀀",
    "한국어",
    "⅓",
    "👍🏽",
    "e\u{301}",
    "x\u{a0}y",
    "p\u{1c}q",
    "u\u{2009}v",
    "\u{85}",
];

/// Knuth's linear congruential generator.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number below `limit`.
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % limit
    }

    /// `count` rows with one to `references` references of up to `longest` words out of the first `vocabulary`.
    pub fn rows(&mut self, count: usize, references: usize, longest: usize, vocabulary: usize) -> Vec<Row> {
        (0..count)
            .map(|_| {
                let length = self.below(longest);
                let words: Vec<&str> = (0..length).map(|_| self.word(vocabulary)).collect();
                let references = 1 + self.below(references);
                Row {
                    hypothesis: self.changed(&words, vocabulary),
                    references: (0..references).map(|_| self.changed(&words, vocabulary)).collect(),
                }
            })
            .collect()
    }

    fn word(&mut self, vocabulary: usize) -> &'static str {
        WORDS[self.below(vocabulary.min(WORDS.len()))]
    }

    /// The words after moves, replacements, insertions and deletions, with one kind of space between them or another.
    fn changed(&mut self, words: &[&'static str], vocabulary: usize) -> String {
        let mut words = words.to_vec();
        for _ in 0..self.below(6) {
            let (start, end) = (self.below(words.len() + 1), self.below(words.len() + 1));
            let block: Vec<&str> = words.drain(start.min(end)..start.max(end)).collect();
            let at = self.below(words.len() + 1);
            match self.below(8) {
                0 => words.insert(at, self.word(vocabulary)),
                1 if block.len() < 4 => {}
                _ => drop(words.splice(at..at, block)),
            }
            if !words.is_empty() {
                let at = self.below(words.len());
                words[at] = self.word(vocabulary);
            }
        }
        words.join([" ", " ", " ", "  ", "\u{3000}"][self.below(5)])
    }
}
