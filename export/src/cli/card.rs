//! The card of a model file: what people should know of the model.

use clap::Args;
use siskin::format::MetadataBuilder;
use siskin::{Error, ErrorKind, Result};
use std::path::{Path, PathBuf};

/// What the card says.
#[derive(Args)]
#[command(next_help_heading = "Card")]
pub struct CardArguments {
    /// A TOML file of texts, such as name = "en-de"; the options below override it
    #[arg(long, value_name = "FILE")]
    card: Option<PathBuf>,
    /// The model's name
    #[arg(long)]
    name: Option<String>,
    /// What it is for, and what it is not good at
    #[arg(long)]
    description: Option<String>,
    /// Languages, source first, such as "en de"
    #[arg(long)]
    languages: Option<String>,
    /// What the model does, such as translation or summarization
    #[arg(long)]
    task: Option<String>,
    /// The licence of the weights
    #[arg(long)]
    licence: Option<String>,
    /// Whom the licence asks to name
    #[arg(long)]
    attribution: Option<String>,
    /// What it was trained on
    #[arg(long)]
    data: Option<String>,
}

impl CardArguments {
    /// Sets what was given.
    ///
    /// # Errors
    /// When the file cannot be read, is not TOML or has something else than texts.
    pub fn apply(&self, card: &mut MetadataBuilder) -> Result<()> {
        if let Some(path) = &self.card {
            for (key, text) in read(path)? {
                card.optional(&key, &*text);
            }
        }
        let options = [
            ("name", &self.name),
            ("description", &self.description),
            ("languages", &self.languages),
            ("task", &self.task),
            ("licence", &self.licence),
            ("attribution", &self.attribution),
            ("data", &self.data),
        ];
        for (key, value) in options {
            if let Some(value) = value {
                card.optional(key, value.as_str());
            }
        }
        Ok(())
    }
}

fn read(path: &Path) -> Result<Vec<(String, String)>> {
    let at_file = |message: String| Error::new(ErrorKind::InvalidOption, message).at(path.display());
    let text = std::fs::read_to_string(path)
        .map_err(|error| Error::io(format!("cannot read {}", path.display()), error))?;
    let table: toml::Table = toml::from_str(&text).map_err(|error| at_file(error.to_string()))?;
    let entry = |(key, value): (String, toml::Value)| match value {
        toml::Value::String(text) => Ok((key, text.trim_end().to_owned())),
        other => {
            let kind = other.type_str();
            Err(at_file(format!("{key} is of the type {kind}; a card has texts: {key} = \"...\"")))
        }
    };
    table.into_iter().map(entry).collect()
}
