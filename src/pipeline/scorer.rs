//! The model's session as the search sees it.

use crate::decode::Scorer;
use crate::error::Result;
use crate::model::Session;

impl Scorer for Session {
    fn vocabulary(&self) -> usize {
        self.model().spec().target_vocabulary
    }

    fn step(&mut self, tokens: &[u32], parents: &[u32]) -> Result<&mut [f32]> {
        Session::step(self, tokens, parents)
    }

    fn attention(&self, row: usize) -> Option<&[f32]> {
        Session::attention(self, row)
    }
}
