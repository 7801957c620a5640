//! The translator: any text-to-text model, from strings to strings.

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::ControlFlow;

use super::segment::{Segmenter, Source};
use super::verified::run_verified;
use super::{Generation, LongInput, Segment, TextHypothesis, TranslateOptions, Translation, Unit};
use crate::decode::{DecodeOptions, Hypotheses, Observer, Request, Search, Setup, Unobserved};
use crate::error::{Error, ErrorKind, Result};
use crate::format::{File, SectionKind};
use crate::model::{Adapter, Alignment, Model, Session, SessionShape, ShortlistMode};
use crate::text::{EncodeScratch, Language, PieceKind, StreamDecoder, Vocabulary};

/// Runs a model on text: translation, summarization, transliteration and every other text-to-text task.
///
/// It owns the working memory of one request at a time. For requests in parallel, make one for each thread over the
/// same [`Model`].
pub struct Translator {
    model: Arc<Model>,
    generation: Generation,
    language: Language,
    options: TranslateOptions,
    scratch: EncodeScratch,
    engine: Option<Engine>,
}

/// What runs a batch, and what it was made for.
struct Engine {
    session: Session,
    search: Search,
    setup: Setup,
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
        let options = TranslateOptions::of(&generation);
        options.check_shortlist(&model)?;
        Ok(Self { model, generation, language, options, scratch: EncodeScratch::default(), engine: None })
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
        self.options = options;
        self.engine = None;
        Ok(self)
    }

    /// The same translator with an adapter over its model, in place of the one that it has.
    ///
    /// # Errors
    /// Those of [`Model::with_adapter`].
    pub fn with_adapter(mut self, adapter: Arc<Adapter>) -> Result<Self> {
        self.model = Arc::new(self.model.with_adapter(adapter)?);
        self.engine = None;
        Ok(self)
    }

    /// The model.
    pub fn model(&self) -> &Arc<Model> {
        &self.model
    }

    /// The options in force.
    pub fn options(&self) -> &TranslateOptions {
        &self.options
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
        let outputs = self.run_all(&sources)?;
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
            let mut observed = Ok(());
            let mut observer = |_: usize, tokens: &[u32]| {
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
            stream.finish(&mut part);
            emit(&part)?;
        }
        emit(&text[end..])?;
        self.assemble(text, sources.iter().zip(&outputs))
    }

    /// Outputs for all sources, in their order; the longest are computed first, so that the engine is made once.
    fn run_all(&mut self, sources: &[Source]) -> Result<Vec<Hypotheses>> {
        let mut order: Vec<usize> = (0..sources.len()).collect();
        order.sort_by_key(|&i| core::cmp::Reverse(sources[i].tokens.len()));
        let tokens: Vec<&[u32]> = order.iter().map(|&i| &sources[i].tokens[..]).collect();
        let mut outputs = alloc::vec![Hypotheses::default(); sources.len()];
        let mut done = 0;
        while done < order.len() {
            for hypotheses in self.run(&tokens[done..], &mut Unobserved)? {
                outputs[order[done]] = hypotheses;
                done += 1;
            }
        }
        Ok(outputs)
    }

    /// Searches outputs for sources given as tokens, for as many of them as one batch takes: at least one.
    ///
    /// # Errors
    /// As [`translate`](Self::translate).
    pub fn run(&mut self, sources: &[&[u32]], observer: &mut impl Observer) -> Result<Vec<Hypotheses>> {
        let mut prefix = alloc::vec![self.model.spec().decoder_start];
        prefix.extend_from_slice(&self.options.task);
        prefix.extend_from_slice(&self.options.target_prefix);
        let sources = &sources[..sources.len().min(self.options.batch)];
        let longest = sources.iter().map(|source| source.len()).max().unwrap_or(0);
        let (batch, engine) = self.engine(sources.len(), longest, prefix.len())?;
        let sources = &sources[..batch];
        let requests: Vec<Request<'_>> = sources.iter().map(|_| Request::new(&prefix)).collect();
        let Engine { session, search, .. } = engine;
        if session.shape().shortlist == ShortlistMode::Verify {
            return run_verified(session, search, sources, &requests, observer);
        }
        session.encode(sources.iter().copied())?;
        search.run(session, &requests, observer)
    }

    /// An engine for a batch, or for as much of it as the memory limit allows, and the size of that.
    fn engine(&mut self, batch: usize, source: usize, prefix: usize) -> Result<(usize, &mut Engine)> {
        let fits = |engine: &Engine| {
            let shape = engine.session.shape();
            batch <= shape.batch && source <= shape.source_length && prefix <= engine.setup.prefix
        };
        let (batch, engine) = match self.engine.take() {
            Some(engine) if fits(&engine) => (batch, engine),
            // The old engine's memory is given back before the new one takes its own.
            outgrown => {
                drop(outgrown);
                self.make_engine(batch, source, prefix)?
            }
        };
        Ok((batch, self.engine.insert(engine)))
    }

    fn make_engine(&self, batch: usize, source: usize, prefix: usize) -> Result<(usize, Engine)> {
        let decode = self.decode_options(prefix)?;
        let source = source.next_multiple_of(16).min(self.model.spec().max_positions);
        let mut batch = batch;
        loop {
            let (shape, setup) = self.shapes(&decode, batch, source, prefix);
            let needed = self.model.plan(&shape)? + Search::plan(&decode, setup)? as u64;
            let limit = self.options.limits.max_memory.unwrap_or(u64::MAX);
            if needed <= limit {
                let session = Session::new(Arc::clone(&self.model), shape)?;
                let search = Search::new(self.model.kernels(), decode, setup)?;
                return Ok((batch, Engine { session, search, setup }));
            }
            if batch <= 1 {
                let beam = decode.width();
                let message = alloc::format!(
                    "a source of {source} tokens with beam {beam} needs {needed} bytes, more than the limit of \
                     {limit}: lower the beam or the maximum length, or split the input"
                );
                return Err(Error::new(ErrorKind::MemoryLimit, message));
            }
            batch /= 2;
        }
    }

    /// The search's options, with lengths that the model's positions allow and without tokens that have no text.
    fn decode_options(&self, prefix: usize) -> Result<DecodeOptions> {
        let spec = self.model.spec();
        let mut decode = self.options.decode.clone();
        let Some(room) = (spec.max_positions + 1).checked_sub(prefix).filter(|&room| room > 0) else {
            let message =
                alloc::format!("a prefix of {prefix} tokens; the model has {} positions", spec.max_positions);
            return Err(Error::new(ErrorKind::InputTooLong, message));
        };
        decode.max_length = decode.max_length.min(room);
        decode.min_length = decode.min_length.min(decode.max_length);
        if let Some(vocabulary) = self.model.target_vocabulary() {
            decode.suppressed.extend(vocabulary.len() as u32..spec.target_vocabulary as u32);
        }
        Ok(decode)
    }

    fn shapes(
        &self,
        decode: &DecodeOptions,
        batch: usize,
        source: usize,
        prefix: usize,
    ) -> (SessionShape, Setup) {
        let spec = self.model.spec();
        let shape = SessionShape {
            batch,
            beam: decode.width(),
            source_length: source,
            target_length: prefix + decode.max_length - 1,
            threads: self.options.threads,
            alignments: if decode.needs_attention() { Alignment::Keep } else { Alignment::Drop },
            shortlist: self.options.shortlist,
        };
        let setup = Setup { vocabulary: spec.target_vocabulary, end: spec.end, batch, prefix, source };
        (shape, setup)
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
            translation.segments.push(Segment {
                source: source.bytes.clone(),
                source_tokens: source.tokens.clone(),
                unread: source.unread,
                hypotheses: hypotheses.collect::<Result<_>>()?,
                scope,
            });
        }
        translation.gaps.push(text[end..].into());
        Ok(translation)
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
