//! The token lists of a model folder, and the vocabulary sections that they become.

use super::{Config, read};
use crate::source::{plain, sentencepiece};
use siskin::text::Segmentation;
use siskin::{Error, ErrorKind, Result};
use std::path::Path;

/// What tokens are where no SentencePiece model says how text is cut.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PlainSegmentation {
    /// Characters if every token but the special ones is one, else words.
    #[default]
    Detect,
    /// A token is a word between white space.
    Words,
    /// A token is one character.
    Characters,
}

/// The tokens of one side by id.
pub(super) struct Tokens {
    tokens: Vec<String>,
    special: Vec<String>,
    file: String,
}

impl Tokens {
    /// The tokens of source and target.
    ///
    /// CTranslate2 puts the unknown token behind lists that lack it.
    pub fn read(folder: &Path, config: &Config) -> Result<[Self; 2]> {
        let special = [&config.unk_token, &config.bos_token, &config.eos_token].map(String::clone);
        let side = |names: [&str; 2]| -> Result<Self> {
            let found = names.iter().flat_map(|name| [format!("{name}.json"), format!("{name}.txt")]);
            let Some(file) = found.map(|name| folder.join(name)).find(|path| path.exists()) else {
                let message = format!("{}: no {}.json or .txt", folder.display(), names.join(" or "));
                return Err(Error::new(ErrorKind::Vocabulary, message));
            };
            let mut tokens = list(&file)?;
            if !tokens.contains(&config.unk_token) {
                tokens.push(config.unk_token.clone());
            }
            Ok(Self { tokens, special: special.to_vec(), file: file.display().to_string() })
        };
        Ok([
            side(["shared_vocabulary", "source_vocabulary"])?,
            side(["shared_vocabulary", "target_vocabulary"])?,
        ])
    }

    /// The id of `token`.
    pub fn id(&self, token: &str) -> Result<u32> {
        let id = self.tokens.iter().position(|known| known == token);
        id.map(|id| id as u32).ok_or_else(|| self.error(format!("there is no token {token:?}")))
    }

    /// Embedding matrices may have rows that no token uses; tokens without a row cannot be used.
    pub fn check_rows(&self, rows: usize) -> Result<()> {
        if self.tokens.len() > rows {
            return Err(self.error(format!("{} tokens, and the model embeds {rows}", self.tokens.len())));
        }
        Ok(())
    }

    /// The vocabulary section.
    pub fn section(&self, model: Option<&Path>, segmentation: PlainSegmentation) -> Result<Vec<u8>> {
        if let Some(model) = model {
            let section = sentencepiece::vocabulary_section_of(&read(model)?, &self.tokens);
            return section.map_err(|error| error.at(model.display()));
        }
        let characters = match segmentation {
            PlainSegmentation::Detect => self.normal().all(|token| token.chars().count() == 1),
            PlainSegmentation::Words => false,
            PlainSegmentation::Characters => true,
        };
        let segmentation = if characters { Segmentation::Characters } else { Segmentation::Words };
        plain::vocabulary_section(&self.tokens.join("\n"), segmentation, plain::MissingUnknown::Append)
            .map_err(|error| error.at(&self.file))
    }

    fn normal(&self) -> impl Iterator<Item = &String> {
        let marks = ["<blank>", "<pad>"];
        self.tokens
            .iter()
            .filter(move |token| !self.special.contains(token) && !marks.contains(&token.as_str()))
    }

    fn error(&self, what: String) -> Error {
        Error::new(ErrorKind::Vocabulary, format!("{}: {what}", self.file))
    }
}

/// A JSON list, or a token a line; a carriage return is part of a token unless every line ends with one.
fn list(path: &Path) -> Result<Vec<String>> {
    let bad = |what: String| Error::new(ErrorKind::Vocabulary, format!("{}: {what}", path.display()));
    let bytes = read(path)?;
    if path.extension().is_some_and(|extension| extension == "json") {
        return serde_json::from_slice(&bytes)
            .map_err(|error| bad(format!("not a JSON list of texts: {error}")));
    }
    let text = str::from_utf8(&bytes).map_err(|error| bad(error.to_string()))?;
    let text = text.strip_suffix('\n').unwrap_or(text);
    let end = if text.split('\n').all(|line| line.ends_with('\r')) { "\r" } else { "" };
    Ok(text.split('\n').map(|line| line.strip_suffix(end).unwrap_or(line).to_owned()).collect())
}
