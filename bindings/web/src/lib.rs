//! What `index.js` calls. A module instance holds one model; to give its memory back, the instance is dropped.
//!
//! Texts and tokens pass through the *exchange*, bytes that both sides read and write. A function that can fail returns
//! a number of 0 or more, or `-n`: then the exchange holds an error of `n` bytes, as `Kind: message` in UTF-8.

#[cfg(feature = "gpu")]
mod gpu;

use std::cell::RefCell;
use std::ops::ControlFlow;
use std::sync::Arc;

use siskin::decode::Strategy;
use siskin::format::{File, SectionKind};
use siskin::pipeline::Unit;
use siskin::tensor::AlignedBytes;
use siskin::{Error, ErrorKind, Model, Result, Translation, Translator};

#[derive(Default)]
struct State {
    exchange: Vec<u8>,
    /// The model file while it is written and not yet opened.
    file: Option<AlignedBytes>,
    translator: Option<Translator>,
    translation: Translation,
}

thread_local! {
    static STATE: RefCell<State> = RefCell::default();
}

#[link(wasm_import_module = "siskin")]
unsafe extern "C" {
    /// Takes a part of a translation in UTF-8; an answer other than 0 cancels the rest.
    safe fn on_text(start: *const u8, length: usize) -> i32;
}

fn with_state<T>(work: impl FnOnce(&mut State) -> T) -> T {
    STATE.with_borrow_mut(work)
}

/// The answer to JavaScript: the number that `work` gives, or its error in the exchange.
fn answer(work: impl FnOnce(&mut State) -> Result<usize>) -> i32 {
    with_state(|state| match work(state) {
        Ok(number) => number as i32,
        Err(error) => -(state.put(format!("{error:?}").as_bytes()) as i32),
    })
}

impl State {
    /// Puts bytes into the exchange and gives their number.
    fn put(&mut self, bytes: &[u8]) -> usize {
        self.exchange.clear();
        self.exchange.extend_from_slice(bytes);
        bytes.len()
    }

    /// The exchange's text.
    fn text(&self) -> Result<&str> {
        str::from_utf8(&self.exchange)
            .map_err(|e| Error::new(ErrorKind::InvalidUtf8, format!("the text is not UTF-8: {e}")))
    }

    fn translator(&mut self) -> Result<&mut Translator> {
        let missing = || Error::new(ErrorKind::InvalidOption, "no model is open");
        self.translator.as_mut().ok_or_else(missing)
    }
}

/// Makes the exchange `length` bytes long, keeps what is in it as far as that goes, and gives its address.
#[unsafe(no_mangle)]
extern "C" fn exchange(length: usize) -> *mut u8 {
    with_state(|state| {
        state.exchange.resize(length, 0);
        state.exchange.as_mut_ptr()
    })
}

/// Room for a model file of `length` bytes; null where there is no memory for it.
#[unsafe(no_mangle)]
extern "C" fn model_room(length: usize) -> *mut u8 {
    with_state(|state| {
        state.translator = None;
        state.file = None;
        if Vec::<u8>::new().try_reserve_exact(length.saturating_add(64)).is_err() {
            return std::ptr::null_mut();
        }
        state.file.insert(AlignedBytes::zeroed(length)).as_mut_slice().as_mut_ptr()
    })
}

/// Opens the model that was written to [`model_room`], once its checksums are verified.
#[unsafe(no_mangle)]
extern "C" fn open() -> i32 {
    answer(|state| {
        let missing = || Error::new(ErrorKind::InvalidOption, "no model was written");
        let file = state.file.take().ok_or_else(missing)?;
        File::parse(file.as_slice())?.verify()?;
        state.translator = Some(Translator::new(Arc::new(Model::from_bytes(file)?))?);
        Ok(0)
    })
}

/// Sets the search: `beam` hypotheses of which `alternatives` are given back, outputs of at most `tokens` tokens; and what
/// the model reads at once, a line (1) or a sentence (2). 0 stands for what the model asks for.
#[unsafe(no_mangle)]
extern "C" fn configure(beam: usize, alternatives: usize, tokens: usize, unit: usize) -> i32 {
    answer(|state| {
        let current = state.translator()?;
        let fresh = Translator::new(Arc::clone(current.model()))?;
        let mut options = fresh.options().clone();
        match beam {
            0 => {}
            1 => options.decode.strategy = Strategy::Greedy,
            size => options.decode.strategy = Strategy::Beam { size },
        }
        if alternatives > 0 {
            options.decode.n_best = alternatives;
        }
        if tokens > 0 {
            options.decode.max_length = tokens;
        }
        match unit {
            1 => options.unit = Unit::Line,
            2 => options.unit = Unit::Sentence,
            _ => {}
        }
        if options != *current.options() {
            // Options that are refused leave the translator as it is.
            fresh.with_options(options.clone())?;
            let current = state.translator.take();
            state.translator = current.map(|current| current.with_options(options)).transpose()?;
        }
        Ok(0)
    })
}

/// Translates the exchange's text, hands its parts to [`on_text`] as soon as they are certain, and gives the number of
/// alternatives.
#[unsafe(no_mangle)]
extern "C" fn translate() -> i32 {
    answer(|state| {
        let text = state.text()?.to_owned();
        state.translation = state.translator()?.translate_streaming(&text, |part| {
            if on_text(part.as_ptr(), part.len()) == 0 {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            }
        })?;
        Ok(state.translation.alternatives())
    })
}

/// Puts the text of rank `rank` into the exchange and gives its length.
#[unsafe(no_mangle)]
extern "C" fn text(rank: usize) -> i32 {
    answer(|state| Ok(state.put(state.translation.ranked(rank).as_bytes())))
}

/// The score of rank `rank`.
#[unsafe(no_mangle)]
extern "C" fn score(rank: usize) -> f32 {
    with_state(|state| state.translation.score(rank).unwrap_or(f32::NAN))
}

/// Puts the tokens of rank `rank`, of one segment behind the other, into the exchange as u32 and gives their bytes.
#[unsafe(no_mangle)]
extern "C" fn tokens(rank: usize) -> i32 {
    answer(|state| {
        let segments = &state.translation.segments;
        let tokens = segments.iter().filter_map(|segment| segment.ranked(rank));
        let tokens = tokens.flat_map(|output| &output.hypothesis.tokens);
        let bytes: Vec<u8> = tokens.flat_map(|token| token.to_le_bytes()).collect();
        Ok(state.put(&bytes))
    })
}

/// Puts the card's entry of the key in the exchange there and gives its length: 0 if there is none.
#[unsafe(no_mangle)]
extern "C" fn card() -> i32 {
    answer(|state| {
        let key = state.text()?.to_owned();
        let model = Arc::clone(state.translator()?.model());
        let entry = File::parse(model.bytes())?.metadata(SectionKind::Card).optional::<&str>(&key)?;
        Ok(state.put(entry.unwrap_or_default().as_bytes()))
    })
}

/// Puts the name of the instruction set that the model runs on into the exchange and gives its length.
#[unsafe(no_mangle)]
extern "C" fn instruction_set() -> i32 {
    answer(|state| {
        let name = state.translator()?.model().kernels().isa().name();
        Ok(state.put(name.as_bytes()))
    })
}

/// Hypotheses that the search follows.
#[unsafe(no_mangle)]
extern "C" fn beam() -> i32 {
    answer(|state| Ok(state.translator()?.options().decode.width()))
}
