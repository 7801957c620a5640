//! LiteRT and TensorFlow Lite, by graphs that `siskin-export tflite --for delegate` makes.
//!
//! ```text
//! library   which files are loaded, and how
//! litert    LiteRT's C functions: the CPU, a GPU, an NPU
//! classic   TensorFlow Lite's C functions: XNNPACK, its own kernels, a vendor's plugin
//! graph     what both give: a graph with memory for its inputs and outputs
//! exported  the folder of a model's graphs
//! engine    encoder and step run one behind the other
//! ```

mod classic;
mod engine;
mod exported;
mod graph;
mod library;
mod litert;

use alloc::sync::Arc;
use std::ffi::CString;
use std::path::PathBuf;

use super::{Delegate, Engine, Placement, Probe, Setting};
use crate::error::{Error, ErrorKind, Result};
use crate::model::{Model, SessionShape};
use classic::{Classic, Kernels};
use engine::{GraphEngine, Graphs};
use exported::Exported;
use library::LibraryChoice;
use litert::{Accelerators, Hardware, LiteRt};

/// The delegates of this module.
pub const NAMES: [&str; 4] = ["litert", "litert:gpu", "litert:npu", "tflite"];

/// One of the two libraries, and what of it computes.
pub struct TfLite {
    name: String,
    runtime: Runtime,
    library: LibraryChoice,
    /// The folder of the graphs.
    graphs: Option<PathBuf>,
}

/// What computes.
enum Runtime {
    LiteRt(Accelerators),
    Classic(Kernels),
}

impl TfLite {
    /// The delegate that is called `name`. The settings are `graphs`, the folder of the model's graphs; `library` and
    /// `interface`, the file of the library and what it is said to be; `fallback` of an accelerator, `refuse` or `cpu`;
    /// `dispatch` of `litert:npu`, the folder of its libraries; `kernels` of `tflite`, `xnnpack` or `builtin`, and `plugin`,
    /// a vendor's library, to which all other settings go.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidOption`] for a name, a setting or a value that is not known.
    pub fn new(name: &str, settings: &[Setting]) -> Result<Self> {
        let hardware = match name {
            "litert" => Some(Hardware::Cpu),
            "litert:gpu" => Some(Hardware::Gpu),
            "litert:npu" => Some(Hardware::Npu),
            "tflite" => None,
            _ => return invalid(format!("there is no delegate {name}; there are {}", NAMES.join(", "))),
        };
        let runtime = match hardware {
            Some(hardware) => {
                Runtime::LiteRt(Accelerators { hardware, cpu_helps: false, dispatch: None, threads: 1 })
            }
            None => Runtime::Classic(Kernels::Xnnpack),
        };
        let mut delegate =
            Self { name: name.to_owned(), runtime, library: LibraryChoice::default(), graphs: None };
        // The plugin first: settings that are not known go to it.
        let (plugin, others): (Vec<_>, Vec<_>) = settings.iter().partition(|(key, _)| key == "plugin");
        for (key, value) in plugin.into_iter().chain(others) {
            delegate.set(key, value)?;
        }
        Ok(delegate)
    }

    fn set(&mut self, key: &str, value: &str) -> Result<()> {
        match (key, value, &mut self.runtime) {
            ("graphs", folder, _) => self.graphs = Some(folder.into()),
            ("library", file, _) => self.library.path = Some(file.into()),
            ("interface", version, _) => self.library.interface = Some(version.to_owned()),
            ("fallback", choice, Runtime::LiteRt(accelerators)) if accelerators.hardware != Hardware::Cpu => {
                accelerators.cpu_helps = match choice {
                    "refuse" => false,
                    "cpu" => true,
                    other => return invalid(format!("fallback is refuse or cpu, not {other}")),
                }
            }
            ("dispatch", folder, Runtime::LiteRt(accelerators)) if accelerators.hardware == Hardware::Npu => {
                let folder = CString::new(folder)
                    .map_err(|_| Error::new(ErrorKind::InvalidOption, "a zero in dispatch"))?;
                accelerators.dispatch = Some(folder);
            }
            ("plugin", file, Runtime::Classic(kernels)) => {
                *kernels = Kernels::Plugin(file.into(), Vec::new())
            }
            (_, _, Runtime::Classic(Kernels::Plugin(_, options))) => options.push((key.into(), value.into())),
            ("kernels", choice, Runtime::Classic(kernels)) => {
                *kernels = match choice {
                    "xnnpack" => Kernels::Xnnpack,
                    "builtin" => Kernels::Builtin,
                    other => return invalid(format!("kernels are xnnpack or builtin, not {other}")),
                }
            }
            _ => return invalid(format!("{} has no setting {key}", self.name)),
        }
        Ok(())
    }

    /// The encoder and the step of `exported`, loaded, and where they run.
    fn load(&self, exported: &Exported, threads: usize) -> Result<(Graphs, Placement)> {
        let files = [&exported.encoder, &exported.decoder_step];
        match &self.runtime {
            Runtime::LiteRt(accelerators) => {
                let library = litert::RELEASE.load(&self.library)?;
                let accelerators = Accelerators { threads, ..accelerators.clone() };
                let runtime = Arc::new(LiteRt::new(&library, accelerators)?);
                let devices = runtime.devices()?.join(", ");
                let [encoder, step] = files.map(|file| runtime.open(file));
                let (encoder, step) = (encoder?, step?);
                let place = |accelerated| match accelerated {
                    true => format!("LiteRT's {devices}"),
                    false => format!("LiteRT's {devices}, with what it cannot run on LiteRT's own kernels"),
                };
                let (encoder_place, decoder) = (place(encoder.accelerated), place(step.accelerated));
                let placement = Placement { encoder: encoder_place, decoder, ..Placement::default() };
                Ok(([Box::new(encoder), Box::new(step)], placement))
            }
            Runtime::Classic(kernels) => {
                let runtime = Classic::new(classic::RELEASE.load(&self.library)?)?;
                let [encoder, step] = files.map(|file| runtime.open(file, kernels, threads));
                let place = spell(kernels);
                let placement = Placement { encoder: place.clone(), decoder: place, ..Placement::default() };
                Ok(([Box::new(encoder?), Box::new(step?)], placement))
            }
        }
    }
}

/// Who computes, in words.
fn spell(kernels: &Kernels) -> String {
    let first = match kernels {
        Kernels::Xnnpack => "XNNPACK".to_owned(),
        Kernels::Builtin => return "TensorFlow Lite's own kernels".to_owned(),
        Kernels::Plugin(path, _) => path.display().to_string(),
    };
    format!("{first}, with what it cannot run on TensorFlow Lite's own kernels")
}

fn invalid<T>(message: String) -> Result<T> {
    Err(Error::new(ErrorKind::InvalidOption, message))
}

impl Delegate for TfLite {
    fn name(&self) -> &str {
        &self.name
    }

    fn probe(&self) -> Result<Probe> {
        match &self.runtime {
            Runtime::LiteRt(accelerators) => {
                let library = litert::RELEASE.load(&self.library)?;
                let version = format!("{} at {}", litert::RELEASE.name, library.path.display());
                Ok(Probe { version, devices: LiteRt::new(&library, accelerators.clone())?.devices()? })
            }
            Runtime::Classic(kernels) => {
                let library = classic::RELEASE.load(&self.library)?;
                let path = library.path.display().to_string();
                let version = format!("TensorFlow Lite {} at {path}", Classic::new(library)?.version);
                Ok(Probe { version, devices: vec![spell(kernels)] })
            }
        }
    }

    fn build(&self, model: &Arc<Model>, shape: &SessionShape) -> Result<Box<dyn Engine>> {
        let Some(folder) = &self.graphs else {
            return invalid(
                "the folder of the model's graphs is not known: name it by the setting graphs".into(),
            );
        };
        let exported = Exported::find(folder, model)?;
        exported.sizes.check(shape)?;
        let (graphs, placement) = self.load(&exported, shape.threads)?;
        Ok(Box::new(GraphEngine::new(model, shape, exported.sizes, graphs, placement)?))
    }
}
