//! Who computes: the CPU, a delegate that was named, or the fastest one.

use super::delegate_choice::choose;
use crate::delegate::{self, Setting};
use crate::pipeline::Translator;
use crate::{Error, ErrorKind, Result};
use clap::Args;
use std::path::Path;

/// Who computes.
#[derive(Args)]
#[command(next_help_heading = "Delegate")]
pub(super) struct DelegateArguments {
    /// Who runs the layers: cpu, one of those that `siskin doctor` lists, such as ort:openvino, or auto, the fastest one
    #[arg(long, value_name = "NAME", default_value = "cpu")]
    delegate: String,
    /// A setting of the delegate, may be given more than once: docs/delegates.md lists them
    #[arg(long, value_name = "KEY=VALUE", value_parser = setting)]
    delegate_setting: Vec<Setting>,
}

fn setting(text: &str) -> Result<Setting, String> {
    let (key, value) = text.split_once('=').ok_or("write it like device_type=GPU")?;
    Ok((key.to_owned(), value.to_owned()))
}

impl DelegateArguments {
    /// `translator` on the delegate that was asked for; `file` is that of its model.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidOption`] for a name or a setting that is not known, [`ErrorKind::Delegate`] for a delegate that
    /// is not here.
    pub fn apply(&self, translator: Translator, file: &Path) -> Result<Translator> {
        let name = match self.delegate.as_str() {
            "auto" if !self.delegate_setting.is_empty() => {
                let message = "--delegate auto measures every delegate as it is: name the one that the settings are for";
                return Err(Error::new(ErrorKind::InvalidOption, message));
            }
            "auto" => {
                let choice = choose(&translator, file)?;
                eprintln!("siskin: {choice}");
                choice.name
            }
            name => name.to_owned(),
        };
        if name == "cpu" && self.delegate_setting.is_empty() {
            return Ok(translator);
        }
        let settings = with_graphs(&name, &self.delegate_setting, file);
        let delegate = delegate::named(&name, &settings)?;
        delegate.probe()?;
        // Without the feature there is no other than the CPU, and its code for delegates stays out of the program.
        Ok(if cfg!(feature = "delegate") { translator.with_delegate(delegate) } else { translator })
    }
}

/// The settings of the delegate `name`, the folder of its graphs among them: that beside the model file, where no other is
/// named.
pub(super) fn with_graphs(name: &str, settings: &[Setting], file: &Path) -> Vec<Setting> {
    let mut settings = settings.to_vec();
    let extension = match name.split(':').next() {
        Some("ort") => "onnx",
        Some("litert" | "tflite") => "tflite",
        _ => return settings,
    };
    if !settings.iter().any(|(key, _)| key == "graphs") {
        settings.push(("graphs".to_owned(), file.with_extension(extension).display().to_string()));
    }
    settings
}

/// What a delegate that has run says of itself: where what ran, and what its self-test found.
pub(super) fn describe(translator: &Translator) -> Option<[String; 2]> {
    let compiled = translator.compiled()?;
    Some([compiled.placement().to_string(), compiled.self_test().to_string()])
}
