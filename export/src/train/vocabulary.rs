//! Closed vocabularies that are read off a corpus: characters, or words between spaces.

use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// What the tokens of a side are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Units {
    /// One token per character.
    Characters,
    /// One token per word; words stand between spaces.
    Words,
}

/// The tokens of one side: id `i` is `tokens[i]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vocabulary {
    /// What a token is.
    pub units: Units,
    /// The tokens, special ones first.
    pub tokens: Vec<String>,
}

/// Ends a sentence on both sides.
pub const END: u32 = 0;
/// Stands for what is not in the vocabulary.
pub const UNKNOWN: u32 = 1;
/// What the decoder starts with.
pub const START: u32 = 2;
const SPECIAL: [&str; 3] = ["</s>", "<unk>", "<s>"];

impl Vocabulary {
    /// The units that occur in `texts`, in the order of their code points.
    pub fn build<'a>(units: Units, texts: impl IntoIterator<Item = &'a str>) -> Self {
        let found: BTreeSet<String> = texts.into_iter().flat_map(|text| cut(units, text)).collect();
        let tokens = SPECIAL.map(str::to_owned).into_iter().chain(found).collect();
        Self { units, tokens }
    }

    /// The ids of `text`, with the end token.
    pub fn encode(&self, text: &str) -> Vec<u32> {
        let found = &self.tokens[SPECIAL.len()..];
        let id = |unit: String| match found.binary_search(&unit) {
            Ok(index) => (index + SPECIAL.len()) as u32,
            Err(_) => UNKNOWN,
        };
        cut(self.units, text).map(id).chain([END]).collect()
    }

    /// The text of `ids`, up to the end token if there is one.
    pub fn decode(&self, ids: &[u32]) -> String {
        let words: Vec<&str> = ids
            .iter()
            .take_while(|&&id| id != END)
            .map(|&id| self.tokens.get(id as usize).map_or("", String::as_str))
            .collect();
        words.join(if self.units == Units::Words { " " } else { "" })
    }
}

fn cut(units: Units, text: &str) -> Box<dyn Iterator<Item = String> + '_> {
    match units {
        Units::Characters => Box::new(text.chars().map(String::from)),
        Units::Words => Box::new(text.split_whitespace().map(str::to_owned)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_comes_back_from_its_ids() {
        let letters = Vocabulary::build(Units::Characters, ["abc", "cd"]);
        assert_eq!(letters.tokens, ["</s>", "<unk>", "<s>", "a", "b", "c", "d"]);
        assert_eq!(letters.encode("dax"), [6, 3, UNKNOWN, END]);
        assert_eq!(letters.decode(&[6, 3, END, 4]), "da");
        let words = Vocabulary::build(Units::Words, ["K AE1 T", "AE1 T"]);
        let ids = words.encode("T AE1");
        assert_eq!(words.decode(&ids), "T AE1");
    }
}
