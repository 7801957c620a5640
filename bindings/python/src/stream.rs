//! The parts of a translation, as an iterator.

use std::ops::ControlFlow;
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex};

use ::siskin::{Error, Translator};
use pyo3::prelude::*;

use crate::error::Result;
use crate::translator::LOCK;

/// Parts that are computed ahead of the reader, at most.
const AHEAD: usize = 16;

/// An iterator; who drops it cancels what is left.
#[pyclass(module = "siskin", frozen)]
pub struct Stream {
    parts: Mutex<Receiver<std::result::Result<String, Error>>>,
}

impl Stream {
    /// Translates on a thread of its own.
    pub fn new(translator: Arc<Mutex<Translator>>, text: String) -> Self {
        let (sender, parts) = sync_channel(AHEAD);
        std::thread::spawn(move || {
            let on_text = |part: &str| match sender.send(Ok(part.to_owned())) {
                Ok(()) => ControlFlow::Continue(()),
                Err(_) => ControlFlow::Break(()),
            };
            let done = translator.lock().expect(LOCK).translate_streaming(&text, on_text);
            if let Err(error) = done {
                // Where nobody reads any more, this is that.
                let _ = sender.send(Err(error));
            }
        });
        Self { parts: Mutex::new(parts) }
    }
}

#[pymethods]
impl Stream {
    fn __iter__(this: Bound<'_, Self>) -> Bound<'_, Self> {
        this
    }

    fn __next__(&self, py: Python<'_>) -> Result<Option<String>> {
        let part = py.detach(|| self.parts.lock().expect(LOCK).recv());
        Ok(part.ok().transpose()?)
    }
}
