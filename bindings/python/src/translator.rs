//! `siskin.Translator`.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use ::siskin::model::Adapter;
use ::siskin::{Model, Translation, Translator};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};

use crate::error::{Failure, Result};
use crate::options;
use crate::stream::Stream;

/// A translator; threads of Python take turns.
#[pyclass(name = "Translator", module = "siskin", frozen)]
pub struct PyTranslator {
    translator: Arc<Mutex<Translator>>,
}

/// One text, or several.
#[derive(FromPyObject)]
enum Texts {
    One(String),
    Many(Vec<String>),
}

/// Opens the model at `path`, with the adapter, if there is one.
pub fn open(path: PathBuf, adapter: Option<PathBuf>, load: &str) -> Result<Arc<Model>> {
    let model = match load {
        "read" => Model::open(path)?,
        // SAFETY: the documentation of `load="map"` asks the caller for the promise of `Model::map`.
        "map" => unsafe { Model::map(path) }?,
        _ => return Err(PyValueError::new_err(format!("load is `{load}`: say `read` or `map`")).into()),
    };
    Ok(Arc::new(match adapter {
        Some(adapter) => model.with_adapter(Arc::new(Adapter::open(adapter)?))?,
        None => model,
    }))
}

#[pymethods]
impl PyTranslator {
    #[new]
    #[pyo3(signature = (path, *, adapter=None, load="read", **keywords))]
    fn new(
        path: PathBuf,
        adapter: Option<PathBuf>,
        load: &str,
        keywords: Option<&Bound<'_, PyDict>>,
    ) -> Result<Self> {
        let mut translator = Translator::new(open(path, adapter, load)?)?;
        if let Some(keywords) = keywords {
            let options = options::changed(&translator, keywords)?;
            translator = translator.with_options(options)?;
        }
        Ok(Self { translator: Arc::new(Mutex::new(translator)) })
    }

    #[pyo3(signature = (texts, *, return_exceptions=false))]
    fn translate<'py>(
        &self,
        py: Python<'py>,
        texts: Texts,
        return_exceptions: bool,
    ) -> Result<Bound<'py, PyAny>> {
        let (texts, single) = match texts {
            Texts::One(text) => (vec![text], true),
            Texts::Many(texts) => (texts, false),
        };
        let sources: Vec<&str> = texts.iter().map(String::as_str).collect();
        let translations = py.detach(|| self.translator.lock().expect(LOCK).translate_batch(&sources))?;
        let mut answers = Vec::with_capacity(texts.len());
        for (i, translation) in translations.into_iter().enumerate() {
            let place =
                |error: ::siskin::Error| if single { error } else { error.at(format_args!("text {i}")) };
            answers.push(match translation.map_err(place).map_err(Failure::from) {
                Ok(translation) => Bound::new(py, PyTranslation::from(translation))?.into_any(),
                Err(failure) if return_exceptions => failure.0.into_value(py).into_bound(py).into_any(),
                Err(failure) => return Err(failure),
            });
        }
        match answers.pop() {
            Some(answer) if single => Ok(answer),
            last => Ok(PyList::new(py, answers.into_iter().chain(last))?.into_any()),
        }
    }

    fn stream(&self, text: String) -> Stream {
        Stream::new(Arc::clone(&self.translator), text)
    }

    #[getter]
    fn isa(&self, py: Python<'_>) -> &'static str {
        py.detach(|| self.translator.lock().expect(LOCK).model().kernels().isa().name())
    }
}

/// Why a lock is not poisoned.
pub const LOCK: &str = "no earlier call met a defect";

/// What a text was turned into.
#[pyclass(name = "Translation", module = "siskin", frozen, get_all)]
pub struct PyTranslation {
    text: String,
    score: Option<f32>,
    alternatives: Vec<(String, Option<f32>)>,
}

impl From<Translation> for PyTranslation {
    fn from(translation: Translation) -> Self {
        let ranks = 0..translation.alternatives();
        Self {
            text: translation.text(),
            score: translation.score(0),
            alternatives: ranks.map(|rank| (translation.ranked(rank), translation.score(rank))).collect(),
        }
    }
}

#[pymethods]
impl PyTranslation {
    fn __str__(&self) -> &str {
        &self.text
    }

    fn __repr__(&self) -> String {
        format!("Translation({:?}, score={:?})", self.text, self.score)
    }
}
