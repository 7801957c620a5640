//! The models of the service, by language.

use super::super::load::ModelFile;
use super::super::resources::ResourceArguments;
use super::super::search::SearchArguments;
use super::ask::Ask;
use crate::Result;
use crate::format::{File, SectionKind};
use crate::model::Model;
use crate::pipeline::{TranslateOptions, Translator};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A model, and what it translates.
pub(super) struct Served {
    model: Arc<Model>,
    /// Options without alternatives, and for 1 to [`MOST_ALTERNATIVES`](super::ask::MOST_ALTERNATIVES) of them.
    options: Vec<TranslateOptions>,
    source: String,
    target: String,
}

impl Served {
    /// A translator that gives `alternatives` beside the best output.
    ///
    /// # Errors
    /// As [`Translator::with_options`].
    pub fn translator(&self, alternatives: usize) -> Result<Translator> {
        let options = self.options[alternatives.min(self.options.len() - 1)].clone();
        Translator::new(Arc::clone(&self.model))?.with_options(options)
    }
}

/// The models of the service.
#[derive(Clone)]
pub(super) struct Models(Arc<Vec<Served>>);

impl Models {
    /// Opens the models, and checks that options fit them.
    ///
    /// # Errors
    /// As [`Model::open`] and [`Translator::with_options`].
    pub fn open(
        files: &[ModelFile],
        search: &SearchArguments,
        resources: &ResourceArguments,
    ) -> Result<Self> {
        let open = |file: &ModelFile| {
            let model = Arc::new(file.open()?);
            let card = File::parse(model.bytes())?.metadata(SectionKind::Card);
            let languages = card.optional::<&str>("languages")?.unwrap_or_default().to_lowercase();
            let mut languages = languages.split_whitespace().map(str::to_owned);
            let source = languages.next().unwrap_or_default();
            let target = languages.next().unwrap_or_else(|| source.clone());
            let defaults = Translator::new(Arc::clone(&model))?.options().clone();
            let options = (0..=super::ask::MOST_ALTERNATIVES).map(|alternatives| {
                let mut options = defaults.clone();
                search.apply(&model, alternatives + 1, &mut options)?;
                resources.apply(&mut options);
                Ok(options)
            });
            let served = Served { options: options.collect::<Result<_>>()?, model, source, target };
            served.translator(0).map_err(|error| error.at(file.path.display()))?;
            Ok(served)
        };
        Ok(Self(Arc::new(files.iter().map(open).collect::<Result<_>>()?)))
    }

    /// The models.
    pub fn all(&self) -> &[Served] {
        &self.0
    }

    /// The index of the one model that does what is asked for.
    ///
    /// # Errors
    /// A message for the client where none does, or several do.
    pub fn choose(&self, ask: &Ask) -> std::result::Result<usize, String> {
        let fits = |wanted: &Option<String>, has: &str| wanted.as_ref().is_none_or(|wanted| wanted == has);
        let fitting = |model: &&Served| fits(&ask.source, &model.source) && fits(&ask.target, &model.target);
        let mut fitting = self.0.iter().enumerate().filter(|(_, model)| fitting(model)).map(|(i, _)| i);
        match (fitting.next(), fitting.next()) {
            (Some(model), None) => Ok(model),
            (first, _) => {
                let pairs: Vec<String> =
                    self.0.iter().map(|model| format!("{} to {}", model.source, model.target)).collect();
                let problem = if first.is_none() { "no model does this" } else { "several models do this" };
                Err(format!("{problem}: name source and target of one of {}", pairs.join(", ")))
            }
        }
    }

    /// The targets of every source language.
    pub fn languages(&self) -> BTreeMap<&str, Vec<&str>> {
        let mut languages = BTreeMap::<&str, Vec<&str>>::new();
        for model in self.0.iter() {
            languages.entry(&model.source).or_default().push(&model.target);
        }
        languages
    }
}
