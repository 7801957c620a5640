//! `--delegate litert` and `tflite`: libraries that are missing, are none, are cut off or of a wrong version, and graphs that
//! are missing or of another model.

use crate::command::{Said, folder, model, output, siskin, translate, write};
use siskin::format::{File, spell_fingerprint};
use std::path::{Path, PathBuf};
use std::process::Command;

/// What the command says with these settings of `delegate`.
fn with(delegate: &str, settings: &[&str]) -> Said {
    let settings = settings.iter().flat_map(|setting| ["--delegate-setting", setting]);
    translate(&["--delegate", delegate].into_iter().chain(settings).collect::<Vec<_>>(), b"a\n")
}

/// A library that is compiled of `code`; `None` where there is no C compiler.
fn library(name: &str, code: &str) -> Option<PathBuf> {
    let source = write(&format!("{name}.c"), code.as_bytes());
    let library = source.with_extension("so");
    let compiler = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source).status();
    if compiler.is_err() {
        eprintln!("SKIPPED: there is no C compiler to make {name} with");
        return None;
    }
    Some(library)
}

/// A library that says it is TensorFlow Lite `version`, and makes nothing.
fn mock(version: &str) -> Option<PathBuf> {
    let functions = [
        "ModelCreateFromFile",
        "ModelDelete",
        "InterpreterOptionsCreate",
        "InterpreterOptionsDelete",
        "InterpreterOptionsSetNumThreads",
        "InterpreterOptionsAddDelegate",
        "InterpreterCreate",
        "InterpreterDelete",
        "InterpreterAllocateTensors",
        "InterpreterInvoke",
        "InterpreterGetInputTensorCount",
        "InterpreterGetOutputTensorCount",
        "InterpreterGetInputTensor",
        "InterpreterGetOutputTensor",
        "TensorType",
        "TensorNumDims",
        "TensorDim",
        "TensorName",
        "TensorByteSize",
        "TensorData",
    ];
    let functions = functions.map(|name| format!("void *TfLite{name}(void) {{ return 0; }}\n")).concat();
    let code = format!("const char *TfLiteVersion(void) {{ return \"{version}\"; }}\n{functions}");
    library(&format!("tflite-{version}"), &code)
}

#[test]
fn names_and_settings_are_checked_before_anything_is_loaded() {
    with("litert:abacus", &[]).fails(2, &["no delegate litert:abacus", "litert:gpu"]);
    with("litert", &["fallback=cpu"]).fails(2, &["litert has no setting fallback"]);
    with("litert:gpu", &["fallback=maybe"]).fails(2, &["refuse or cpu"]);
    with("tflite", &["kernels=fast"]).fails(2, &["xnnpack or builtin"]);
    let any = write("any.so", b"any");
    let any = format!("library={}", any.display());
    with("litert", &[&any, "interface=1.4"]).fails(2, &["known here is 2.3, not 1.4"]);
}

#[test]
fn a_library_that_is_not_there_is_an_error_that_says_how_to_install_it() {
    for (delegate, variable, install) in [
        ("litert", "SISKIN_LITERT_LIBRARY", "pip install --no-deps --target DIR ai-edge-litert==2.3.0"),
        ("tflite", "SISKIN_TFLITE_LIBRARY", "npm pack tfjs-tflite-node@0.0.2"),
    ] {
        let mut command = siskin();
        command.args(["translate", "--delegate", delegate, "-m"]).arg(model()).arg("a");
        output(command.env_remove(variable)).fails(1, &["there is no", install, variable]);
        output(command.env(variable, "/nowhere/lib.so")).fails(1, &["/nowhere/lib.so", install]);
    }
}

#[test]
fn files_that_are_not_known_are_refused_unread_and_others_are_never_crashed_into() {
    let text = write("text.so", b"no library");
    let whole = std::fs::read("/proc/self/exe").unwrap();
    let cut = write("cut.so", &whole[..whole.len() / 2]);
    let other = library("other", "int something_else(void) { return 0; }");
    for delegate in ["litert", "litert:gpu", "litert:npu", "tflite"] {
        let (interface, install) = match delegate {
            "tflite" => ("interface=2", "tfjs-tflite-node@0.0.2"),
            _ => ("interface=2.3", "ai-edge-litert==2.3.0"),
        };
        let refuses = |file: &Path, words: &str| {
            let library = format!("library={}", file.display());
            with(delegate, &[&library]).fails(1, &["none of the files", install, interface]);
            with(delegate, &[&library, interface]).fails(1, &[words]);
        };
        refuses(&text, "too short");
        refuses(&cut, "the end of the file is missing");
        if let Some(other) = &other {
            refuses(other, "does not export");
        }
    }
}

#[test]
fn a_wrong_version_is_refused() {
    for (version, fits) in [("2.8.4", false), ("3.0.0", false), ("1.15.5", false), ("2.16.1", true)] {
        let Some(library) = mock(version) else { return };
        let library = format!("library={}", library.display());
        let words: &[&str] = match fits {
            true => &["there are no graphs in", "siskin-export tflite"],
            false => &[version, "2.9 or a later 2 is needed", "tfjs-tflite-node@0.0.2"],
        };
        with("tflite", &[&library, "interface=2"]).fails(1, words);
    }
}

/// Makes a folder of graphs that are none, with facts of which `changed` replace those of the tests' model.
fn graphs(name: &str, changed: &[(&str, &str)]) -> String {
    let graphs = folder().join(format!("graphs-{}-{name}", std::process::id()));
    std::fs::create_dir_all(&graphs).unwrap();
    let opened = siskin::Model::open(model()).unwrap();
    let mine = spell_fingerprint(&File::parse(opened.bytes()).unwrap().fingerprint());
    let facts = [("interface", "delegate, fixed cache"), ("model", &mine), ("batch", "2"), ("rows", "8")];
    let lengths = [("source_length", "64"), ("target_length", "64")];
    let files = [("encoder.tflite", "00000000"), ("decoder_step.tflite", "00000000")]; // of no bytes
    files.iter().for_each(|(name, _)| std::fs::write(graphs.join(name), b"").unwrap());
    let facts = facts.iter().chain(&lengths).chain(&files).chain(changed);
    let facts: String = facts.map(|(key, value)| format!("{key}={value}\n")).collect();
    std::fs::write(graphs.join("model.txt"), facts).unwrap();
    format!("graphs={}", graphs.display())
}

#[test]
fn graphs_of_another_kind_model_or_size_are_refused_before_they_are_loaded() {
    let Some(library) = mock("2.9.0") else { return };
    let library = format!("library={}", library.display());
    for (key, value, words) in [
        ("interface", "tokens, fixed cache", &["--for delegate"][..]),
        ("model", "00", &["another model file"]),
        ("rows", "many", &["no rows"]),
        ("rows", "0", &["room for 2 sentences, 0 hypotheses", "--beam"]),
        ("target_length", "4", &["outputs of 4 tokens", "--max-length"]),
        ("encoder.tflite", "12345678", &["encoder.tflite is damaged"]),
    ] {
        with("tflite", &[&library, "interface=2", &graphs(key, &[(key, value)])]).fails(1, words);
    }
    let whole = graphs("whole", &[]);
    with("tflite", &[&library, "interface=2", &whole]).fails(1, &["XNNPACK", "kernels=builtin"]);
    let settings = [&library, "interface=2", &whole, "kernels=builtin"];
    with("tflite", &settings).fails(1, &["encoder.tflite", "TensorFlow Lite refuses it"]);
}

#[test]
fn a_vendors_plugin_is_told_the_settings_that_are_not_known_and_may_refuse() {
    let plugin = library(
        "plugin",
        r#"#include <stddef.h>
           #include <stdio.h>
           void *tflite_plugin_create_delegate(char **keys, char **values, size_t n, void (*report)(const char *)) {
               char message[99];
               snprintf(message, sizeof message, "%zu: %s is %s", n, keys[0], values[0]);
               report(message);
               return NULL;
           }
           void tflite_plugin_destroy_delegate(void *delegate) { (void)delegate; }"#,
    );
    let (Some(plugin), Some(library)) = (plugin, mock("2.9.1")) else { return };
    let (library, graphs) = (format!("library={}", library.display()), graphs("plugin", &[]));
    let starts = |plugin: &Path, words: &[&str]| {
        let plugin = format!("plugin={}", plugin.display());
        with("tflite", &["cores=2", &plugin, &library, "interface=2", &graphs]).fails(1, words);
    };
    starts(&plugin, &["plugin", "cannot be started: 1: cores is 2"]);
    starts(Path::new("/nowhere/plugin.so"), &["/nowhere/plugin.so"]);
    starts(&write("plugin-text.so", b"none"), &["too short"]);
}
