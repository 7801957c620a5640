//! Engines that were tested, and that are asked for nothing that they were not built for.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::self_test::{self, SelfTest};
use super::{Engine, Placement, Step};
use crate::error::Result;
use crate::model::{Model, SessionShape, check_sources, check_step};

/// An engine that has passed its [`SelfTest`]; see [`compile`](trait.Delegate.html#method.compile).
pub struct Compiled {
    model: Arc<Model>,
    shape: SessionShape,
    engine: Box<dyn Engine>,
    self_test: SelfTest,
    /// Sources of the batch.
    batch: usize,
    /// The sentence of each row of the last step; before the first, row `i` is sentence `i`.
    sentences: Vec<u32>,
    /// Those of the step before.
    before: Vec<u32>,
    steps: usize,
}

impl Compiled {
    pub(super) fn new(model: &Arc<Model>, shape: SessionShape, engine: Box<dyn Engine>) -> Result<Self> {
        let mut compiled = Self {
            model: Arc::clone(model),
            shape,
            engine,
            self_test: SelfTest::default(),
            batch: 0,
            sentences: Vec::new(),
            before: Vec::new(),
            steps: 0,
        };
        compiled.self_test = self_test::run(&mut compiled)?;
        Ok(compiled)
    }

    /// The model.
    pub fn model(&self) -> &Arc<Model> {
        &self.model
    }

    /// The most that it can do at once.
    pub fn shape(&self) -> &SessionShape {
        &self.shape
    }

    /// What the self-test found.
    pub fn self_test(&self) -> &SelfTest {
        &self.self_test
    }

    /// Where what ran.
    pub fn placement(&self) -> Placement {
        self.engine.placement()
    }

    /// Encodes a batch of source sentences and gets ready for the first [`step`](Self::step).
    ///
    /// # Errors
    /// As [`Session::encode`](crate::model::Session::encode), and those of the engine.
    pub fn encode(&mut self, sources: &[&[u32]]) -> Result<()> {
        self.batch = 0;
        self.sentences.clear();
        check_sources(sources, &self.shape, self.model.spec())?;
        self.engine.encode(sources)?;
        self.batch = sources.len();
        self.start()
    }

    /// Gets ready for the first step over the same batch again.
    ///
    /// # Errors
    /// Those of the engine.
    pub fn start(&mut self) -> Result<()> {
        self.engine.start()?;
        self.steps = 0;
        self.sentences.clear();
        self.sentences.extend(0..self.batch as u32);
        Ok(())
    }

    /// Feeds a token to each hypothesis, as [`Session::step`](crate::model::Session::step).
    ///
    /// # Errors
    /// As there, and those of the engine.
    pub fn step(&mut self, tokens: &[u32], parents: &[u32]) -> Result<()> {
        check_step(tokens, parents, self.sentences.len(), self.steps, &self.shape, self.model.spec())?;
        core::mem::swap(&mut self.sentences, &mut self.before);
        self.sentences.clear();
        self.sentences.extend(parents.iter().map(|&parent| self.before[parent as usize]));
        let step = Step { tokens, parents, sentences: &self.sentences, position: self.steps };
        self.engine.step(&step)?;
        self.steps += 1;
        Ok(())
    }

    /// The logits of the last step [M, V].
    pub fn logits(&mut self) -> &mut [f32] {
        self.engine.logits()
    }
}
