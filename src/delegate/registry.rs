//! Delegates by name.

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::{Cpu, Delegate};
use crate::error::{Error, ErrorKind, Result};

/// Something that a user says to a delegate: a key and a value.
pub type Setting = (String, String);

/// A family of delegates that this program was built without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Missing {
    /// How its names begin.
    pub family: &'static str,
    /// The feature of this crate that it needs.
    pub feature: &'static str,
}

/// Families of names that need a feature, and whether this program has it.
const FAMILIES: &[(Missing, bool)] = &[
    (Missing { family: "gpu", feature: "gpu" }, cfg!(feature = "gpu")),
    (Missing { family: "ort", feature: "ort" }, cfg!(feature = "ort")),
    (Missing { family: "litert", feature: "tflite" }, cfg!(feature = "tflite")),
    (Missing { family: "tflite", feature: "tflite" }, cfg!(feature = "tflite")),
];

/// The names of all delegates that this program was built with.
pub fn names() -> Vec<String> {
    let names = core::iter::once("cpu").chain(cfg!(feature = "gpu").then_some("gpu")).map(String::from);
    #[cfg(feature = "ort")]
    let names =
        names.chain(super::ort::PROVIDERS.iter().map(|provider| alloc::format!("ort:{}", provider.name)));
    #[cfg(feature = "tflite")]
    let names = names.chain(super::tflite::NAMES.map(String::from));
    names.collect()
}

/// The families that this program was built without.
pub fn missing() -> impl Iterator<Item = Missing> {
    FAMILIES.iter().filter(|(_, built)| !built).map(|(missing, _)| *missing)
}

/// The delegate that is called `name`, such as `cpu` or `ort:openvino`, with the user's settings.
///
/// # Errors
/// [`ErrorKind::InvalidOption`] for an unknown name or setting, and for one that needs a feature that this program was
/// built without.
pub fn named(name: &str, settings: &[Setting]) -> Result<Arc<dyn Delegate>> {
    let (family, _provider) = name.split_once(':').unwrap_or((name, ""));
    let invalid = |message| Err(Error::new(ErrorKind::InvalidOption, message));
    if let Some(Missing { feature, .. }) = missing().find(|missing| missing.family == family) {
        return invalid(alloc::format!(
            "this program was built without the delegate {name}: build it with `--features {feature}`"
        ));
    }
    match (family, settings) {
        ("cpu", []) => Ok(Arc::new(Cpu)),
        #[cfg(feature = "gpu")]
        ("gpu", []) => Ok(Arc::new(super::gpu::GpuDelegate::default())),
        ("cpu" | "gpu", [(key, _), ..]) => {
            invalid(alloc::format!("the delegate {name} has no settings; {key} was given"))
        }
        #[cfg(feature = "ort")]
        ("ort", settings) => Ok(Arc::new(super::ort::Ort::new(_provider, settings)?)),
        #[cfg(feature = "tflite")]
        ("litert" | "tflite", settings) => Ok(Arc::new(super::tflite::TfLite::new(name, settings)?)),
        _ => invalid(alloc::format!("there is no delegate {name}: `siskin doctor` lists them")),
    }
}
