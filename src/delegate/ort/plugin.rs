//! Providers that are libraries of their own, and that ONNX Runtime loads when it is told to.
//!
//! Their interface came with ONNX Runtime 1.22, and a program that is built for it refuses earlier libraries. So it is
//! built in by `RUSTFLAGS='--cfg siskin_plugins'` and not by a feature, which every package of a workspace build would get.

#[cfg(siskin_plugins)]
pub use built_in::{Plugin, on_cpu};
#[cfg(not(siskin_plugins))]
pub use left_out::{Plugin, on_cpu};

#[cfg(siskin_plugins)]
mod built_in {
    use ort::device::Device;
    use ort::environment::Environment;
    use ort::memory::DeviceType;
    use ort::session::builder::SessionBuilder;
    use std::path::PathBuf;
    use std::sync::Mutex;

    use crate::delegate::{Setting, failed};
    use crate::error::Result;

    /// The library of a provider.
    pub struct Plugin(PathBuf);

    impl Plugin {
        /// The plugin at `path`, which is looked for when it is needed.
        ///
        /// # Errors
        /// None.
        pub fn new(path: &str) -> Result<Self> {
            Ok(Self(path.into()))
        }

        /// Loads the plugin, unless the process has done that before, and says what devices `provider` has.
        ///
        /// # Errors
        /// [`Delegate`](crate::ErrorKind::Delegate) if it is not there, ONNX Runtime refuses it, or there is no device.
        pub fn devices(&self, environment: &Environment, provider: &str) -> Result<Vec<String>> {
            static LOADED: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());
            let place = self.0.display();
            let path = self.0.canonicalize().map_err(|error| failed(format!("{place}: {error}")))?;
            let mut loaded = LOADED.lock().map_err(|_| failed("a thread ended in a panic"))?;
            if !loaded.contains(&path) {
                // A plugin calls its provider by the name that it is registered under.
                environment
                    .register_ep_library(provider, &path)
                    .map_err(|error| failed(format!("{place} cannot be used as a plugin: {error}")))?;
                loaded.push(path);
            }
            let describe = |device: &Device<'_>| {
                let hardware = device.hardware_device();
                format!(
                    "{provider}, {:?} of {}",
                    hardware.ty(),
                    hardware.vendor().unwrap_or("an unknown vendor")
                )
            };
            let found: Vec<String> = devices_of(environment, provider).iter().map(describe).collect();
            match found.is_empty() {
                false => Ok(found),
                true => Err(failed(format!("{place} finds no device for {provider}"))),
            }
        }

        /// Lets a session run on the first device of `provider`, which is told `options`.
        ///
        /// # Errors
        /// What ONNX Runtime answers.
        pub fn choose(
            &self,
            builder: SessionBuilder,
            environment: &Environment,
            provider: &str,
            options: &[Setting],
        ) -> ort::Result<SessionBuilder> {
            let options = options.iter().map(|(key, value)| (format!("{provider}.{key}"), value.clone()));
            let options: Vec<Setting> = options.collect();
            Ok(builder.with_devices(devices_of(environment, provider).into_iter().take(1), Some(&options))?)
        }
    }

    /// Lets a session run on the CPU: without a choice ONNX Runtime takes whatever plugin has been loaded.
    ///
    /// # Errors
    /// What ONNX Runtime answers.
    pub fn on_cpu(builder: SessionBuilder, environment: &Environment) -> ort::Result<SessionBuilder> {
        Ok(builder.with_devices(devices_of(environment, "CPUExecutionProvider"), None)?)
    }

    /// The devices of `provider`, an NPU before a GPU before the CPU.
    fn devices_of<'e>(environment: &'e Environment, provider: &str) -> Vec<Device<'e>> {
        let is_one = |device: &Device<'_>| device.ep().is_ok_and(|name| name == provider);
        let mut devices: Vec<Device<'e>> = environment.devices().filter(is_one).collect();
        devices.sort_by_key(|device| match device.hardware_device().ty() {
            DeviceType::NPU => 0,
            DeviceType::GPU => 1,
            _ => 2,
        });
        devices
    }
}

#[cfg(not(siskin_plugins))]
mod left_out {
    use ort::environment::Environment;
    use ort::session::builder::SessionBuilder;

    use crate::delegate::Setting;
    use crate::error::{Error, ErrorKind, Result};

    /// There is none.
    pub enum Plugin {}

    impl Plugin {
        /// # Errors
        /// Always, with what the user can do.
        pub fn new(_: &str) -> Result<Self> {
            let message =
                "this program was built without plugins: build it with RUSTFLAGS='--cfg siskin_plugins'";
            Err(Error::new(ErrorKind::InvalidOption, message))
        }

        pub fn devices(&self, _: &Environment, _: &str) -> Result<Vec<String>> {
            match *self {}
        }

        pub fn choose(
            &self,
            _: SessionBuilder,
            _: &Environment,
            _: &str,
            _: &[Setting],
        ) -> ort::Result<SessionBuilder> {
            match *self {}
        }
    }

    /// The CPU is what a session runs on where nothing else is chosen.
    pub fn on_cpu(builder: SessionBuilder, _: &Environment) -> ort::Result<SessionBuilder> {
        Ok(builder)
    }
}
