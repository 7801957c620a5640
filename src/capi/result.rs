//! `siskin_result`: the answers to one call.

#![allow(unsafe_code)]

use core::ffi::c_char;
use core::ptr;

use super::error::{CError, Status};
use super::handle::{Borrowed, NumberOut, Owned};
use super::text::CText;
use crate::decode::Scope;
use crate::pipeline::{Segment, Translation};

/// `siskin_result`.
pub struct CResult {
    answers: Vec<Result<Answer, CError>>,
}

/// The answer to one text.
struct Answer {
    /// Best first, at least one.
    alternatives: Vec<Alternative>,
    unread: usize,
    redone: usize,
}

struct Alternative {
    text: CText,
    /// NaN where scores were skipped.
    score: f32,
}

impl From<Translation> for Answer {
    fn from(translation: Translation) -> Self {
        let alternative = |rank| Alternative {
            text: CText::new(&translation.ranked(rank)),
            score: translation.score(rank).unwrap_or(f32::NAN),
        };
        let redone = |segment: &&Segment| matches!(segment.scope, Scope::Redone { .. });
        Self {
            alternatives: (0..translation.alternatives().max(1)).map(alternative).collect(),
            unread: translation.segments.iter().map(|segment| segment.unread).sum(),
            redone: translation.segments.iter().filter(redone).count(),
        }
    }
}

impl CResult {
    /// The answers to texts, in their order.
    pub fn of(translations: impl IntoIterator<Item = Result<Translation, CError>>) -> Self {
        Self { answers: translations.into_iter().map(|translation| translation.map(Answer::from)).collect() }
    }

    fn answer(&self, index: usize) -> Option<&Answer> {
        self.answers.get(index)?.as_ref().ok()
    }
}

/// What `read` finds in the answer to text `index`.
fn read<'a, T>(
    result: &'a Borrowed<CResult>,
    index: usize,
    read: impl FnOnce(&'a Answer) -> Option<T>,
) -> Option<T> {
    read(result.get("result").ok()?.answer(index)?)
}

#[unsafe(no_mangle)]
extern "C" fn siskin_result_count(result: Borrowed<CResult>) -> usize {
    result.get("result").map_or(0, |result| result.answers.len())
}

#[unsafe(no_mangle)]
extern "C" fn siskin_result_status(result: Borrowed<CResult>, index: usize) -> Status {
    match result.get("result").ok().and_then(|result| result.answers.get(index)) {
        Some(Ok(_)) => Status::Ok,
        Some(Err(error)) => error.status(),
        None => Status::InvalidArgument,
    }
}

#[unsafe(no_mangle)]
extern "C" fn siskin_result_message(result: Borrowed<CResult>, index: usize) -> *const c_char {
    match result.get("result").ok().and_then(|result| result.answers.get(index)) {
        Some(Err(error)) => error.message().as_ptr(),
        _ => ptr::null(),
    }
}

#[unsafe(no_mangle)]
extern "C" fn siskin_result_alternatives(result: Borrowed<CResult>, index: usize) -> usize {
    read(&result, index, |answer| Some(answer.alternatives.len())).unwrap_or(0)
}

#[unsafe(no_mangle)]
extern "C" fn siskin_result_text(
    result: Borrowed<CResult>,
    index: usize,
    rank: usize,
    length: NumberOut<usize>,
) -> *const c_char {
    let text = read(&result, index, |answer| Some(&answer.alternatives.get(rank)?.text));
    // Who reads up to the NUL asks for no length.
    let _ = length.put(text.map_or(0, CText::len), "length");
    text.map_or(ptr::null(), CText::as_ptr)
}

#[unsafe(no_mangle)]
extern "C" fn siskin_result_score(result: Borrowed<CResult>, index: usize, rank: usize) -> f32 {
    read(&result, index, |answer| Some(answer.alternatives.get(rank)?.score)).unwrap_or(f32::NAN)
}

#[unsafe(no_mangle)]
extern "C" fn siskin_result_unread(result: Borrowed<CResult>, index: usize) -> usize {
    read(&result, index, |answer| Some(answer.unread)).unwrap_or(0)
}

#[unsafe(no_mangle)]
extern "C" fn siskin_result_redone(result: Borrowed<CResult>, index: usize) -> usize {
    read(&result, index, |answer| Some(answer.redone)).unwrap_or(0)
}

#[unsafe(no_mangle)]
extern "C" fn siskin_result_free(result: Owned<CResult>) {
    result.free();
}
