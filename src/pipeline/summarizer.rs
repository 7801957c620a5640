//! The summarizer: a document in, its summary out.

use alloc::sync::Arc;
use alloc::vec::Vec;

use super::{TranslateOptions, Translation, Translator};
use crate::error::Result;
use crate::model::Model;

/// Runs a summarization model: a [`Translator`] that reads a document as a whole, or as much of its start as the model
/// has positions for; [`Segment::unread`](super::Segment::unread) says what it did not read.
pub struct Summarizer {
    translator: Translator,
}

impl Summarizer {
    /// A summarizer with the search that the model asks for.
    ///
    /// # Errors
    /// As [`Translator::new`].
    pub fn new(model: Arc<Model>) -> Result<Self> {
        let translator = Translator::new(model)?;
        let options = translator.options().clone();
        Self { translator }.with_options(options)
    }

    /// The same summarizer with other options; [`TranslateOptions::of_documents`] is applied to them.
    ///
    /// # Errors
    /// As [`Translator::with_options`].
    pub fn with_options(self, options: TranslateOptions) -> Result<Self> {
        Ok(Self { translator: self.translator.with_options(options.of_documents())? })
    }

    /// The options in force.
    pub fn options(&self) -> &TranslateOptions {
        self.translator.options()
    }

    /// Summarizes a document.
    ///
    /// # Errors
    /// As [`Translator::translate`].
    pub fn summarize(&mut self, document: &str) -> Result<Translation> {
        self.translator.translate(document)
    }

    /// Summarizes documents together; the results have their order, and each is what its document alone gives.
    ///
    /// # Errors
    /// As [`Translator::translate_batch`].
    pub fn summarize_batch(&mut self, documents: &[&str]) -> Result<Vec<Result<Translation>>> {
        self.translator.translate_batch(documents)
    }
}
