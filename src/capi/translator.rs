//! `siskin_translator`.

#![allow(unsafe_code)]

use core::ffi::{c_char, c_int, c_void};
use core::ops::ControlFlow;
use std::sync::{Arc, Mutex, MutexGuard};

use super::error::{CError, Status, guarded};
use super::handle::{Borrowed, NumberOut, Out, Owned, lock};
use super::model::CModel;
use super::options::{COptions, OptionsPointer};
use super::result::CResult;
use super::text::{CText, LengthArray, TextArray, TextPointer, batch};
use crate::pipeline::{Cancellation, Translator};

/// `siskin_translator`.
pub struct CTranslator {
    translator: Mutex<Translator>,
    cancellation: Cancellation,
}

/// `siskin_text_callback`.
type TextCallback = Option<extern "C" fn(*const c_char, usize, *mut c_void) -> c_int>;

impl From<Translator> for CTranslator {
    fn from(translator: Translator) -> Self {
        Self { cancellation: translator.cancellation().clone(), translator: Mutex::new(translator) }
    }
}

impl CTranslator {
    fn lock(&self) -> Result<MutexGuard<'_, Translator>, CError> {
        lock(&self.translator, "translator")
    }
}

/// What an input is to a translator.
enum Input {
    Text,
    Document,
}

fn give(
    model: &Borrowed<CModel>,
    options: &OptionsPointer,
    input: Input,
    translator: Out<CTranslator>,
) -> Result<(), CError> {
    let place = translator.required("translator")?;
    let model = &model.get("model")?.model;
    let translator = Translator::new(Arc::clone(model))?;
    let wanted = options.read(COptions::of(translator.options()))?;
    let options =
        wanted.map_or_else(|| Ok(translator.options().clone()), |options| options.to(&translator))?;
    let options = match input {
        Input::Text => options,
        Input::Document => options.of_documents(),
    };
    place.put(translator.with_options(options)?.into());
    Ok(())
}

#[unsafe(no_mangle)]
extern "C" fn siskin_translator_new(
    model: Borrowed<CModel>,
    options: OptionsPointer,
    translator: Out<CTranslator>,
    error: Out<CError>,
) -> Status {
    guarded(error, || give(&model, &options, Input::Text, translator))
}

#[unsafe(no_mangle)]
extern "C" fn siskin_translator_new_summarizer(
    model: Borrowed<CModel>,
    options: OptionsPointer,
    translator: Out<CTranslator>,
    error: Out<CError>,
) -> Status {
    guarded(error, || give(&model, &options, Input::Document, translator))
}

#[unsafe(no_mangle)]
extern "C" fn siskin_translator_translate(
    translator: Borrowed<CTranslator>,
    text: TextPointer,
    length: usize,
    result: Out<CResult>,
    error: Out<CError>,
) -> Status {
    guarded(error, || {
        let result = result.required("result")?;
        let text = text.text(length, "text")?;
        let translation = translator.get("translator")?.lock()?.translate(text)?;
        result.put(CResult::of([Ok(translation)]));
        Ok(())
    })
}

#[unsafe(no_mangle)]
extern "C" fn siskin_translator_translate_batch(
    translator: Borrowed<CTranslator>,
    texts: TextArray,
    lengths: LengthArray,
    count: usize,
    result: Out<CResult>,
    error: Out<CError>,
) -> Status {
    guarded(error, || {
        let result = result.required("result")?;
        let texts = batch(&texts, &lengths, count)?;
        let valid: Vec<&str> = texts.iter().filter_map(|text| text.as_ref().ok().copied()).collect();
        let mut answers = translator.get("translator")?.lock()?.translate_batch(&valid)?.into_iter();
        let answer = |text: Result<&str, CError>| {
            text.and_then(|_| Ok(answers.next().expect("an answer for each valid text")?))
        };
        result.put(CResult::of(texts.into_iter().map(answer)));
        Ok(())
    })
}

#[unsafe(no_mangle)]
extern "C" fn siskin_translator_translate_streaming(
    translator: Borrowed<CTranslator>,
    text: TextPointer,
    length: usize,
    on_text: TextCallback,
    user_data: *mut c_void,
    result: Out<CResult>,
    error: Out<CError>,
) -> Status {
    guarded(error, || {
        let result = result.required("result")?;
        let on_text = on_text.ok_or_else(|| CError::null("on_text"))?;
        let text = text.text(length, "text")?;
        let on_part = |part: &str| {
            let part = CText::new(part);
            match on_text(part.as_ptr(), part.len(), user_data) {
                0 => ControlFlow::Continue(()),
                _ => ControlFlow::Break(()),
            }
        };
        let translation = translator.get("translator")?.lock()?.translate_streaming(text, on_part)?;
        result.put(CResult::of([Ok(translation)]));
        Ok(())
    })
}

#[unsafe(no_mangle)]
extern "C" fn siskin_translator_plan(
    translator: Borrowed<CTranslator>,
    batch: usize,
    source_tokens: usize,
    bytes: NumberOut<u64>,
    error: Out<CError>,
) -> Status {
    guarded(error, || {
        let translator = translator.get("translator")?.lock()?;
        bytes.put(translator.plan(batch, source_tokens)?, "bytes")
    })
}

#[unsafe(no_mangle)]
extern "C" fn siskin_translator_cancel(translator: Borrowed<CTranslator>) {
    if let Ok(translator) = translator.get("translator") {
        translator.cancellation.cancel();
    }
}

#[unsafe(no_mangle)]
extern "C" fn siskin_translator_resume(translator: Borrowed<CTranslator>) {
    if let Ok(translator) = translator.get("translator") {
        translator.cancellation.reset();
    }
}

#[unsafe(no_mangle)]
extern "C" fn siskin_translator_free(translator: Owned<CTranslator>) {
    translator.free();
}
