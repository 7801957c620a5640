//! The terms of an adapter: which words of a source ask for it, and for words of the target.

use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::error::Result;
use crate::model::{Model, Reach};

/// What a translator does with the terms of its adapter.
#[derive(Clone, Default)]
pub(super) struct Terms {
    /// The tokens of each word of a source and of that of the target.
    words: Vec<[Vec<u32>; 2]>,
    /// The model without its adapter, for sources without terms, where these are not to be changed.
    plain: Option<Arc<Model>>,
    /// Whether words of targets are completed.
    complete: bool,
}

impl Terms {
    /// The terms of the adapter of `model`.
    ///
    /// # Errors
    /// [`ErrorKind::Vocabulary`](crate::ErrorKind::Vocabulary) for a word that the model has no tokens for.
    pub fn of(model: &Model, complete: bool) -> Result<Self> {
        let Some(adapter) = model.adapter() else { return Ok(Self::default()) };
        let mut words = Vec::new();
        if let (Some(sources), Some(targets)) = (model.source_vocabulary(), model.target_vocabulary()) {
            for term in adapter.terms() {
                let (mut source, mut target) = (Vec::new(), Vec::new());
                sources.encode(term.source, &mut source)?;
                targets.encode(term.target, &mut target)?;
                words.push([source, target]);
            }
        }
        let plain = match adapter.reach() {
            Reach::Everywhere => None,
            Reach::Terms => Some(Arc::new(model.without_adapter()?)),
        };
        Ok(Self { words, plain, complete })
    }

    /// Whether `source` is for the adapter.
    pub fn ask_for_adapter(&self, source: &[u32]) -> bool {
        self.plain.is_none() || self.within(source).next().is_some()
    }

    /// `adapted`, or the same without its adapter: for `sources` that all ask for it, or do not.
    pub fn model_for<'m>(&'m self, sources: &[&[u32]], adapted: &'m Arc<Model>) -> &'m Arc<Model> {
        match (&self.plain, sources.first()) {
            (Some(plain), Some(source)) if !self.ask_for_adapter(source) => plain,
            _ => adapted,
        }
    }

    /// The words of the target that are to be completed for `source`.
    pub fn completed(&self, source: &[u32]) -> Vec<&[u32]> {
        self.within(source).filter(|_| self.complete).collect()
    }

    /// The words of the target that belong to words of `source`.
    fn within<'t>(&'t self, source: &[u32]) -> impl Iterator<Item = &'t [u32]> {
        let has = |[word, _]: &&[Vec<u32>; 2]| source.windows(word.len().max(1)).any(|part| part == word);
        self.words.iter().filter(has).map(|[_, target]| &target[..])
    }
}
