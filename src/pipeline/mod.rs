//! What users hold: text in, text out.

mod cancellation;
mod engine;
mod generation;
pub mod golden;
mod recall;
mod request;
mod scorer;
mod segment;
mod summarizer;
mod terms;
mod translation;
mod translator;
mod verified;
mod workers;

pub use cancellation::Cancellation;
pub use generation::Generation;
#[cfg(feature = "cli")]
pub(crate) use generation::set;
pub use recall::{Origin, Recall, SIMILAR, Suggestion};
pub use request::{Limits, LongInput, TranslateOptions, Unit};
pub use summarizer::Summarizer;
pub use translation::{Segment, TextHypothesis, Translation};
pub use translator::Translator;
