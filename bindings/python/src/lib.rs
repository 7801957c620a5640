//! Siskin for Python: `siskin.pyi` describes the module.

mod error;
mod learner;
mod options;
mod stream;
mod translator;

use pyo3::prelude::*;

#[pymodule]
fn siskin(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add("Error", module.py().get_type::<error::SiskinError>())?;
    module.add_class::<translator::PyTranslator>()?;
    module.add_class::<translator::PyTranslation>()?;
    module.add_class::<stream::Stream>()?;
    module.add_class::<learner::PyLearner>()?;
    module.add_class::<learner::PyOutcome>()
}
