//! Keyword arguments as options of a translator.

use ::siskin::decode::{Sampling, Strategy};
use ::siskin::model::ShortlistMode;
use ::siskin::pipeline::{LongInput, Unit};
use ::siskin::{TranslateOptions, Translator};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::error::Result;

/// The options of `translator`, changed to what the keywords ask for.
pub fn changed(translator: &Translator, keywords: &Bound<'_, PyDict>) -> Result<TranslateOptions> {
    let mut options = translator.options().clone();
    let mut sampling = None;
    for (name, value) in keywords {
        let name: String = name.extract()?;
        let decode = &mut options.decode;
        match &*name {
            "beam" => {
                let size = value.extract()?;
                decode.strategy = if size == 1 { Strategy::Greedy } else { Strategy::Beam { size } };
            }
            "n_best" => decode.n_best = value.extract()?,
            "min_length" => decode.min_length = value.extract()?,
            "max_length" => decode.max_length = value.extract()?,
            "no_repeat_ngram" => decode.no_repeat_ngram = value.extract()?,
            "length_penalty" => decode.length_penalty = value.extract()?,
            "coverage_penalty" => decode.coverage_penalty = value.extract()?,
            "patience" => decode.patience = value.extract()?,
            "repetition_penalty" => decode.repetition_penalty = value.extract()?,
            "top_k" => sampling.get_or_insert_with(Sampling::default).top_k = value.extract()?,
            "top_p" => sampling.get_or_insert_with(Sampling::default).top_p = value.extract()?,
            "temperature" => sampling.get_or_insert_with(Sampling::default).temperature = value.extract()?,
            "seed" => sampling.get_or_insert_with(Sampling::default).seed = value.extract()?,
            "task" => options.task = translator.task(&value.extract::<String>()?)?,
            "target_prefix" => {
                options.target_prefix = translator.encode_target(&value.extract::<String>()?)?
            }
            "unit" => options.unit = choice(&value, &[("line", Unit::Line), ("sentence", Unit::Sentence)])?,
            "long_input" => options.long_input = choice(&value, &LONG_INPUTS)?,
            "shortlist" => options.shortlist = choice(&value, &SHORTLISTS)?,
            "batch" => options.batch = value.extract()?,
            "threads" => options.threads = value.extract()?,
            "max_memory" => options.limits.max_memory = value.extract()?,
            _ => return Err(PyTypeError::new_err(format!("there is no option `{name}`")).into()),
        }
    }
    if let Some(sampling) = sampling {
        options.decode.strategy = Strategy::Sample(sampling);
    }
    Ok(options)
}

const LONG_INPUTS: [(&str, LongInput); 3] =
    [("refuse", LongInput::Refuse), ("split", LongInput::Split), ("truncate", LongInput::Truncate)];
const SHORTLISTS: [(&str, ShortlistMode); 3] =
    [("off", ShortlistMode::Off), ("on", ShortlistMode::On), ("verify", ShortlistMode::Verify)];

/// The one of `choices` that has the name `value`.
fn choice<T: Copy>(value: &Bound<'_, PyAny>, choices: &[(&str, T)]) -> PyResult<T> {
    let wanted: String = value.extract()?;
    let known = choices.iter().find(|(name, _)| *name == wanted);
    known.map(|(_, choice)| *choice).ok_or_else(|| {
        let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
        PyValueError::new_err(format!("`{wanted}` is none of {names:?}"))
    })
}
