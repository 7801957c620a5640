//! The reference: the model's own session.

use alloc::boxed::Box;
use alloc::string::ToString;
use alloc::sync::Arc;

use super::{Delegate, Engine, Placement, Probe, Step};
use crate::error::Result;
use crate::kernels::Kernels;
use crate::model::{Model, Session, SessionShape};

/// The model's own session, which every other delegate is held against.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cpu;

impl Delegate for Cpu {
    fn name(&self) -> &str {
        "cpu"
    }

    fn probe(&self) -> Result<Probe> {
        let isa = Kernels::detect()?.isa();
        let version = alloc::format!("siskin {}", env!("CARGO_PKG_VERSION"));
        Ok(Probe { version, devices: alloc::vec![alloc::format!("CPU ({isa})")] })
    }

    fn build(&self, model: &Arc<Model>, shape: &SessionShape) -> Result<Box<dyn Engine>> {
        Ok(Box::new(Session::new(Arc::clone(model), *shape)?))
    }
}

impl Engine for Session {
    fn encode(&mut self, sources: &[&[u32]]) -> Result<()> {
        Self::encode(self, sources.iter().copied())
    }

    fn start(&mut self) -> Result<()> {
        self.restart();
        Ok(())
    }

    fn step(&mut self, step: &Step<'_>) -> Result<()> {
        Self::step(self, step.tokens, step.parents).map(|_| ())
    }

    fn logits(&mut self) -> &mut [f32] {
        self.last_logits()
    }

    fn placement(&self) -> Placement {
        let place = self.model().kernels().isa().to_string();
        Placement { encoder: place.clone(), decoder: place, ..Placement::default() }
    }
}
