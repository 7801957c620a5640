//! The translator: any text-to-text model, from strings to strings.

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::ControlFlow;

use super::cancellation::Cancellable;
use super::engine::{Demand, Engine};
use super::recall::Memory;
use super::segment::{Segmenter, Source};
use super::terms::Terms;
use super::workers::Workers;
use super::{
    Cancellation, Generation, LongInput, Origin, Recall, Segment, Suggestion, TextHypothesis,
    TranslateOptions, Translation, Unit,
};
use crate::decode::{Hypotheses, Hypothesis, Observer};
use crate::delegate::{Compiled, Delegate};
use crate::error::{Error, ErrorKind, Result};
use crate::format::{File, SectionKind};
use crate::model::{Adapter, Model};
use crate::text::{EncodeScratch, Language, PieceKind, StreamDecoder, Vocabulary};

/// Runs a model on text: translation, summarization, transliteration and every other text-to-text task.
///
/// It owns threads and working memory for one request at a time; a request of many texts is shared out among the threads
/// ([`TranslateOptions::threads`]). For requests in parallel, make several over the same [`Model`].
pub struct Translator {
    model: Arc<Model>,
    generation: Generation,
    language: Language,
    options: TranslateOptions,
    scratch: EncodeScratch,
    memory: Memory,
    terms: Terms,
    workers: Workers,
    cancellation: Cancellation,
}

impl Translator {
    /// A translator with the options that the model asks for.
    ///
    /// # Errors
    /// [`ErrorKind::Schema`] if the file's generation section does not fit the model.
    pub fn new(model: Arc<Model>) -> Result<Self> {
        let file = File::parse(model.bytes())?;
        let generation = Generation::read(&file.metadata(SectionKind::Generation))?;
        let languages = file.metadata(SectionKind::Card).optional::<&str>("languages")?;
        let language = languages.map_or(Language::default(), |languages| {
            Language::from_tag(languages.split_whitespace().next().unwrap_or_default())
        });
        generation.validate(model.spec().source_vocabulary, model.spec().target_vocabulary)?;
        let options = TranslateOptions::of(&generation, model.bytes().len(), model.kernels());
        options.check_shortlist(&model)?;
        let (scratch, workers) = (EncodeScratch::default(), Workers::new(options.threads, None));
        let (memory, terms, cancellation) = (Memory::default(), Terms::default(), Cancellation::default());
        let mut translator =
            Self { model, generation, language, options, scratch, memory, terms, workers, cancellation };
        translator.remember_lessons()?;
        Ok(translator)
    }

    /// The same translator with other options.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidOption`] if an option is out of range.
    pub fn with_options(mut self, options: TranslateOptions) -> Result<Self> {
        options.decode.validate()?;
        options.check_shortlist(&self.model)?;
        for (name, value) in [("batch", options.batch), ("threads", options.threads)] {
            if value == 0 {
                let message = alloc::format!("{name} is 0; it must be at least 1");
                return Err(Error::new(ErrorKind::InvalidOption, message));
            }
        }
        self.workers = Workers::new(options.threads, self.workers.delegate().cloned());
        self.options = options;
        self.find_terms()?;
        Ok(self)
    }

    /// The same translator with `delegate` in the place of the model's own sessions. Its engine is made, and tested, when
    /// the first request comes, and again for a request that the engine has no room for; what the delegate or its engine
    /// cannot do is an error of that request.
    #[must_use]
    pub fn with_delegate(mut self, delegate: Arc<dyn Delegate>) -> Self {
        let make = move |model: &Arc<Model>, options: &TranslateOptions, demand| {
            Engine::delegated(&*delegate, model, options, demand)
        };
        self.workers = Workers::new(self.options.threads, Some(Arc::new(make)));
        self
    }

    /// The engine of the delegate, once a request has made it: what its self-test found, and where what runs.
    pub fn compiled(&self) -> Option<&Compiled> {
        self.workers.compiled()
    }

    /// The same translator with an adapter over its model, in place of the one that it has, and with that one's
    /// corrections.
    ///
    /// # Errors
    /// Those of [`Model::with_adapter`] and [`remember`](Self::remember).
    pub fn with_adapter(mut self, adapter: Arc<Adapter>) -> Result<Self> {
        self.model = Arc::new(self.model.with_adapter(adapter)?);
        self.workers = Workers::new(self.options.threads, self.workers.delegate().cloned());
        self.memory = Memory::default();
        self.remember_lessons()?;
        Ok(self)
    }

    /// Answers `source` by `target` from now on, as [`TranslateOptions::recall`] says: a correction that no adapter has
    /// learned yet. That of a blank source is none.
    ///
    /// # Errors
    /// As [`encode_source`](Self::encode_source).
    pub fn remember(&mut self, source: &str, target: &str) -> Result<()> {
        let tokens = self.encode_source(source)?;
        if !tokens.is_empty() {
            self.memory.insert(tokens, source, target);
        }
        Ok(())
    }

    fn remember_lessons(&mut self) -> Result<()> {
        let model = Arc::clone(&self.model);
        let mut lessons = model.adapter().into_iter().flat_map(|adapter| adapter.lessons());
        lessons.try_for_each(|lesson| self.remember(lesson.source, lesson.target))?;
        self.find_terms()
    }

    /// Finds the terms of the adapter, and whether they are to be completed.
    fn find_terms(&mut self) -> Result<()> {
        let complete =
            self.options.recall != Recall::Off && self.options.task == self.generation.target_prefix;
        self.terms = Terms::of(&self.model, complete)?;
        Ok(())
    }

    /// The model.
    pub fn model(&self) -> &Arc<Model> {
        &self.model
    }

    /// The options in force.
    pub fn options(&self) -> &TranslateOptions {
        &self.options
    }

    /// What ends this translator's requests from another thread.
    pub fn cancellation(&self) -> &Cancellation {
        &self.cancellation
    }

    /// Replaces it, so that what ended an earlier request cannot end a later one.
    pub fn set_cancellation(&mut self, cancellation: Cancellation) {
        self.cancellation = cancellation;
    }

    /// Bytes of working memory for `batch` sources of up to `source` tokens that are computed together, the model's own
    /// bytes not counted: what [`Limits::max_memory`](super::Limits::max_memory) is held against.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidOption`] for nothing, [`ErrorKind::InputTooLong`] beyond the model's positions.
    pub fn plan(&self, batch: usize, source: usize) -> Result<u64> {
        let prefix = 1 + self.options.task.len() + self.options.target_prefix.len();
        Engine::plan(&self.model, &self.options, Demand { engines: 1, batch, source, prefix })
    }

    /// The tokens of `text` on the target side, for [`TranslateOptions::target_prefix`].
    ///
    /// # Errors
    /// [`ErrorKind::Vocabulary`] if the model has no token for a character or a word.
    pub fn encode_target(&self, text: &str) -> Result<Vec<u32>> {
        let mut tokens = Vec::new();
        target_vocabulary(&self.model)?.encode(text, &mut tokens)?;
        Ok(tokens)
    }

    /// The tokens of `text` as the model reads it, prefix and suffix included; none for a blank text.
    ///
    /// # Errors
    /// [`ErrorKind::Vocabulary`] if the model has no token for a character or a word; [`ErrorKind::InputTooLong`].
    pub fn encode_source(&mut self, text: &str) -> Result<Vec<u32>> {
        let mut sources = self.segment_as(text, Unit::Line, LongInput::Refuse)?;
        Ok(sources.pop().map_or_else(Vec::new, |source| source.tokens))
    }

    /// The token that asks for `task`, for [`TranslateOptions::task`]: the piece `<2task>`, as in `<2de>`, or `task` as
    /// it is, as in `__de__`.
    ///
    /// # Errors
    /// [`ErrorKind::Vocabulary`] if the model has neither; the message names the tasks that it has.
    pub fn task(&self, task: &str) -> Result<Vec<u32>> {
        let vocabulary = target_vocabulary(&self.model)?;
        let token = vocabulary.id(&alloc::format!("<2{task}>")).or_else(|| vocabulary.id(task));
        let Some(token) = token.filter(|&token| is_mark(vocabulary, token)) else {
            let pieces = (0..vocabulary.len() as u32).filter(|&id| is_mark(vocabulary, id));
            let pieces = pieces.filter_map(|id| vocabulary.piece(id));
            let known: Vec<&str> =
                pieces.filter_map(|piece| piece.strip_prefix("<2")?.strip_suffix('>')).collect();
            let message = alloc::format!("the model has no token for `{task}`; its tasks are {known:?}");
            return Err(Error::new(ErrorKind::Vocabulary, message));
        };
        Ok(Vec::from([token]))
    }

    /// Translates a text.
    ///
    /// # Errors
    /// [`ErrorKind::Vocabulary`] for a character that the model has no token for, [`ErrorKind::InputTooLong`],
    /// [`ErrorKind::MemoryLimit`], [`ErrorKind::NonFinite`] from a broken model.
    pub fn translate(&mut self, text: &str) -> Result<Translation> {
        self.translate_batch(&[text])?.pop().unwrap_or_else(|| Ok(Translation::default()))
    }

    /// Translates texts together; the results have their order, and each is what its text alone gives.
    ///
    /// # Errors
    /// The outer error stopped all; an inner one is a text's own (a character without a token, too long), and the
    /// other texts are answered.
    pub fn translate_batch(&mut self, texts: &[&str]) -> Result<Vec<Result<Translation>>> {
        let mut sources = Vec::new();
        let mut ranges = Vec::with_capacity(texts.len());
        for text in texts {
            let first = sources.len();
            ranges.push(self.segment(text).map(|mut segments| {
                sources.append(&mut segments);
                first..sources.len()
            }));
        }
        let tokens: Vec<&[u32]> = sources.iter().map(|source| &source.tokens[..]).collect();
        let outputs = self.run_all(&tokens)?;
        let assemble = |(text, range): (&&str, Result<core::ops::Range<usize>>)| {
            let range = range?;
            self.assemble(text, sources[range.clone()].iter().zip(&outputs[range]))
        };
        Ok(texts.iter().zip(ranges).map(assemble).collect())
    }

    /// Translates a text and hands out its parts as soon as they are certain: what `on_text` was given, one behind
    /// the other, is the text of the result. Returning [`ControlFlow::Break`] cancels.
    ///
    /// # Errors
    /// As [`translate`](Self::translate), and [`ErrorKind::Cancelled`].
    pub fn translate_streaming(
        &mut self,
        text: &str,
        mut on_text: impl FnMut(&str) -> ControlFlow<()>,
    ) -> Result<Translation> {
        let sources = self.segment(text)?;
        let model = Arc::clone(&self.model);
        let vocabulary = target_vocabulary(&model)?;
        let mut emit = |text: &str| match text.is_empty() || on_text(text).is_continue() {
            true => Ok(()),
            false => Err(Error::new(ErrorKind::Cancelled, "the translation was cancelled")),
        };
        let mut outputs = Vec::with_capacity(sources.len());
        let mut end = 0;
        for source in &sources {
            emit(&text[end..source.bytes.start])?;
            end = source.bytes.end;
            let mut stream = StreamDecoder::new(vocabulary);
            let mut part = String::new();
            for &token in &self.options.target_prefix {
                stream.push(token, &mut part)?;
            }
            let recalled = self.recalled(source).filter(|found| self.answers(found));
            let mut observed = Ok(());
            let mut observer = |_: usize, tokens: &[u32]| {
                if recalled.is_some() {
                    return ControlFlow::Continue(());
                }
                observed = tokens
                    .iter()
                    .try_for_each(|&token| stream.push(token, &mut part))
                    .and_then(|()| emit(&part));
                part.clear();
                if observed.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            };
            let done = self.run(&[&source.tokens], &mut observer);
            observed?;
            outputs.extend(done?);
            match recalled {
                Some(correction) => emit(&correction.target)?,
                None => {
                    stream.finish(&mut part);
                    emit(&part)?;
                }
            }
        }
        emit(&text[end..])?;
        self.assemble(text, sources.iter().zip(&outputs))
    }

    /// Searches outputs for sources given as tokens, for as many of them as one batch takes: at least one.
    ///
    /// # Errors
    /// As [`translate`](Self::translate).
    pub fn run(&mut self, sources: &[&[u32]], observer: &mut impl Observer) -> Result<Vec<Hypotheses>> {
        let observer = &mut Cancellable { observer, cancellation: self.cancellation.clone() };
        observer.check()?;
        self.workers.run_first(&self.model, &self.options, &self.terms, sources, observer)
    }

    /// Searches outputs for all sources, given as tokens; they have the order of the sources.
    ///
    /// # Errors
    /// As [`translate`](Self::translate); that of one source stops all.
    pub fn run_all(&mut self, sources: &[&[u32]]) -> Result<Vec<Hypotheses>> {
        self.workers.run(&self.model, &self.options, &self.terms, sources, &self.cancellation)
    }

    fn segment(&mut self, text: &str) -> Result<Vec<Source>> {
        self.segment_as(text, self.options.unit, self.options.long_input)
    }

    fn segment_as(&mut self, text: &str, unit: Unit, long_input: LongInput) -> Result<Vec<Source>> {
        let mut segmenter = Segmenter {
            vocabulary: self.model.source_vocabulary().ok_or_else(|| no_vocabulary("source"))?,
            generation: &self.generation,
            language: self.language,
            max_positions: self.model.spec().max_positions,
            scratch: &mut self.scratch,
        };
        segmenter.segment(text, unit, long_input)
    }

    /// The translation of `text` from its sources and their hypotheses.
    fn assemble<'s>(
        &self,
        text: &str,
        parts: impl Iterator<Item = (&'s Source, &'s Hypotheses)>,
    ) -> Result<Translation> {
        let vocabulary = target_vocabulary(&self.model)?;
        let mut translation = Translation::default();
        let mut end = 0;
        for (source, hypotheses) in parts {
            translation.gaps.push(text[end..source.bytes.start].into());
            end = source.bytes.end;
            let scope = hypotheses.scope;
            let hypotheses = hypotheses.hypotheses.iter().map(|hypothesis| {
                let tokens = [&self.options.target_prefix[..], &hypothesis.tokens].concat();
                Ok(TextHypothesis { text: vocabulary.decode(&tokens)?, hypothesis: hypothesis.clone() })
            });
            let mut segment = Segment {
                source: source.bytes.clone(),
                source_tokens: source.tokens.clone(),
                unread: source.unread,
                hypotheses: hypotheses.collect::<Result<_>>()?,
                origin: Origin::Model,
                suggestion: None,
                scope,
            };
            self.correct(&mut segment, self.recalled(source))?;
            translation.segments.push(segment);
        }
        translation.gaps.push(text[end..].into());
        Ok(translation)
    }

    /// The correction of this source, or of one that is similar enough.
    fn recalled(&self, source: &Source) -> Option<Suggestion> {
        let TranslateOptions { recall, target_prefix, task, .. } = &self.options;
        let asked = matches!(recall, Recall::Exact | Recall::Fuzzy)
            && target_prefix.is_empty()
            && *task == self.generation.target_prefix;
        self.memory.find(&source.tokens).filter(|_| asked && source.unread == 0)
    }

    /// Whether a correction is the answer.
    fn answers(&self, correction: &Suggestion) -> bool {
        correction.similarity == 1.0 || self.options.recall == Recall::Fuzzy
    }

    /// Puts a correction in the place of the model's answer, or beside it; an answer that is the same stays.
    fn correct(&self, segment: &mut Segment, correction: Option<Suggestion>) -> Result<()> {
        let Some(correction) = correction else { return Ok(()) };
        if segment.ranked(0).is_some_and(|best| best.text == correction.target) {
            return Ok(());
        }
        if !self.answers(&correction) {
            segment.suggestion = Some(correction);
            return Ok(());
        }
        segment.origin = match correction.similarity {
            1.0 => Origin::Correction,
            similarity => Origin::SimilarCorrection { similarity },
        };
        let tokens = self.encode_target(&correction.target)?;
        let hypothesis = Hypothesis { tokens, ..Hypothesis::default() };
        segment.hypotheses.pop();
        segment.hypotheses.insert(0, TextHypothesis { text: correction.target, hypothesis });
        Ok(())
    }
}

fn target_vocabulary(model: &Model) -> Result<&Vocabulary<'_>> {
    model.target_vocabulary().ok_or_else(|| no_vocabulary("target"))
}

/// Whether a token is no text.
fn is_mark(vocabulary: &Vocabulary<'_>, token: u32) -> bool {
    matches!(vocabulary.kind(token), Some(PieceKind::Control | PieceKind::UserDefined))
}

fn no_vocabulary(side: &str) -> Error {
    let message = alloc::format!("the model file has no {side} vocabulary: it takes token ids, not text");
    Error::new(ErrorKind::Vocabulary, message)
}
