//! ONNX Runtime: its CPU kernels and its execution providers, by graphs that `siskin-export onnx --for delegate` makes.

mod engine;
mod graphs;
mod library;
mod plugin;
mod provider;
mod run;

use alloc::sync::Arc;
use std::path::PathBuf;

use super::{Delegate, Engine, Probe, Setting, failed};
use crate::error::{Error, ErrorKind, Result};
use crate::model::{Model, SessionShape};
use engine::OrtEngine;
use graphs::Graphs;
pub use library::{Library, load};
use plugin::Plugin;
pub use provider::PROVIDERS;
use provider::Provider;

/// One of ONNX Runtime's execution providers.
pub struct Ort {
    name: String,
    provider: &'static Provider,
    /// The folder of the graphs.
    graphs: Option<PathBuf>,
    /// The library's file, where it is not the usual one.
    library: Option<PathBuf>,
    /// The file of the provider, where that is a library of its own.
    plugin: Option<Plugin>,
    fallback: Fallback,
    /// What the provider itself is told.
    options: Vec<Setting>,
}

/// What happens where a provider cannot run a part of a graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fallback {
    /// The graph is refused.
    Refuse,
    /// ONNX Runtime runs that part on the CPU.
    Cpu,
}

impl Ort {
    /// The delegate of the provider that is called `name`. The settings are `graphs`, the folder of the model's graphs;
    /// `library`, the file of ONNX Runtime; `plugin`, the file of the provider, where it is a library of its own;
    /// `fallback`, `refuse` or `cpu`; and those of the provider.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidOption`] for a provider that is not known, a wrong value of `fallback`, options of a provider
    /// that has none, and a plugin where this program was built without them.
    pub fn new(name: &str, settings: &[Setting]) -> Result<Self> {
        let invalid = |message| Err(Error::new(ErrorKind::InvalidOption, message));
        let Some(provider) = PROVIDERS.iter().find(|provider| provider.name == name) else {
            let known: Vec<&str> = PROVIDERS.iter().map(|provider| provider.name).collect();
            return invalid(format!(
                "there is no delegate ort:{name}; the providers are {}",
                known.join(", ")
            ));
        };
        let mut ort = Self {
            name: format!("ort:{name}"),
            provider,
            graphs: None,
            library: None,
            plugin: None,
            fallback: Fallback::Refuse,
            options: Vec::new(),
        };
        for (key, value) in settings {
            match (key.as_str(), value.as_str()) {
                ("graphs", folder) => ort.graphs = Some(folder.into()),
                ("library", file) => ort.library = Some(file.into()),
                ("plugin", file) => ort.plugin = Some(Plugin::new(file)?),
                ("fallback", "refuse") => ort.fallback = Fallback::Refuse,
                ("fallback", "cpu") => ort.fallback = Fallback::Cpu,
                ("fallback", other) => return invalid(format!("fallback is refuse or cpu, not {other}")),
                _ if provider.takes_options() => ort.options.push((key.clone(), value.clone())),
                _ => return invalid(format!("ort:{name} has no setting {key}")),
            }
        }
        Ok(ort)
    }
}

impl Delegate for Ort {
    fn name(&self) -> &str {
        &self.name
    }

    fn probe(&self) -> Result<Probe> {
        let library = load(self.library.as_deref())?;
        let provider = self.provider.onnx_name;
        let version = library.version();
        if let Some(plugin) = &self.plugin {
            return Ok(Probe { version, devices: plugin.devices(&library.environment, provider)? });
        }
        if !self.provider.is_in_library() {
            return Err(failed(format!("{} was built without {provider}", library.path.display())));
        }
        Ok(Probe { version, devices: vec![provider.to_owned()] })
    }

    fn build(&self, model: &Arc<Model>, shape: &SessionShape) -> Result<Box<dyn Engine>> {
        self.probe()?;
        let library = load(self.library.as_deref())?;
        let Some(folder) = &self.graphs else {
            let message = "the folder of the model's graphs is not known: name it by the setting graphs";
            return Err(Error::new(ErrorKind::InvalidOption, message));
        };
        let graphs = Graphs::open(&library.environment, self, folder, model, shape)?;
        Ok(Box::new(OrtEngine::new(model, shape, graphs, self.place(), self.provider.memory)?))
    }
}

impl Ort {
    /// Where the graphs run.
    fn place(&self) -> String {
        match self.fallback {
            Fallback::Refuse => self.provider.onnx_name.to_owned(),
            Fallback::Cpu => {
                format!("{}, with what it cannot run on the CPU", self.provider.onnx_name)
            }
        }
    }
}
