//! `--delegate`: names, settings, and libraries that are missing, are none, or are of a wrong version.

use crate::command::{folder, model, output, run, siskin, translate, write};

#[test]
fn names_and_settings_are_checked_before_anything_runs() {
    translate(&["--delegate", "abacus"], b"a\n").fails(2, &["there is no delegate abacus", "siskin doctor"]);
    translate(&["--delegate", "cpu", "--delegate-setting", "x=1"], b"a\n").fails(2, &["no settings", "x"]);
    translate(&["--delegate", "cpu", "--delegate-setting", "x"], b"a\n").fails(2, &["device_type=GPU"]);
    let plain = translate(&[], b"siskin\n");
    assert_eq!(translate(&["--delegate", "cpu"], b"siskin\n").lines(), plain.lines());
}

#[test]
fn the_doctor_lists_what_is_built_in_and_what_is_not() {
    let said = run(&["doctor", "-m", model().to_str().unwrap()]);
    let lists =
        |name: &str| said.out.lines().any(|line| line.starts_with(&format!("delegate          {name}: ")));
    for name in siskin::delegate::names() {
        assert!(lists(&name), "{name} in {}", said.out);
    }
    for missing in siskin::delegate::missing() {
        assert!(lists(missing.family), "{} in {}", missing.family, said.out);
        translate(&["--delegate", missing.family], b"a\n").fails(2, &["--features", missing.feature]);
    }
}

#[test]
#[cfg(not(feature = "delegate"))]
fn alone_the_cpu_is_the_fastest() {
    let automatic = translate(&["--delegate", "auto"], b"siskin\n");
    assert_eq!(automatic.out, translate(&[], b"siskin\n").out);
    assert_eq!(automatic.err, "siskin: --delegate auto takes cpu: this program was built without another\n");
}

#[test]
#[cfg(feature = "delegate")]
fn the_fastest_is_measured_once_and_remembered() {
    let shipped = concat!(env!("CARGO_MANIFEST_DIR"), "/models/g2p-en/g2p-en.siskin");
    let cache = folder().join(format!("cache-{}", std::process::id()));
    let automatic = || {
        let mut command = siskin();
        command.args(["translate", "-m", shipped, "--delegate", "auto", "siskin"]);
        output(command.env("XDG_CACHE_HOME", &cache))
    };
    let (first, second) = (automatic(), automatic());
    assert_eq!((first.status, second.status), (0, 0), "{first:?} {second:?}");
    assert_eq!(first.out, second.out);
    assert!(first.err.contains("--delegate auto takes") && first.err.contains("cpu"), "{}", first.err);
    assert!(
        !first.err.contains("measured before") && second.err.contains("measured before"),
        "{}",
        second.err
    );
    std::fs::write(cache.join("siskin/delegates.json"), b"no JSON").unwrap();
    assert!(!automatic().err.contains("measured before"));
    let settings = ["--delegate", "auto", "--delegate-setting", "a=b"];
    translate(&settings, b"a\n").fails(2, &["name the one that the settings are for"]);
    let beyond =
        output(siskin().args(["translate", "-m", shipped, "--delegate", "auto", "--alignments", "siskin"]));
    assert!(beyond.err.contains("takes cpu") && beyond.status == 0, "{beyond:?}");
    std::fs::remove_dir_all(cache).unwrap();
}

/// Fails with `library` as ONNX Runtime, and says why.
#[cfg(feature = "ort")]
fn refuses(library: &str, parts: &[&str]) {
    let setting = format!("library={library}");
    translate(&["--delegate", "ort:cpu", "--delegate-setting", &setting], b"a\n").fails(1, parts);
}

#[test]
#[cfg(all(feature = "ort", target_os = "linux"))]
fn libraries_that_are_missing_or_wrong_are_refused() {
    refuses("/nowhere/libonnxruntime.so", &["/nowhere/libonnxruntime.so"]);
    let text = write("library.so", b"no library");
    refuses(text.to_str().unwrap(), &["cannot be used as ONNX Runtime", "library.so"]);
    translate(&["--delegate", "ort:abacus"], b"a\n").fails(2, &["no delegate ort:abacus", "openvino"]);
    let wrong = ["--delegate", "ort:cpu", "--delegate-setting", "device_type=GPU"];
    translate(&wrong, b"a\n").fails(2, &["ort:cpu has no setting device_type"]);
    let mut command = siskin();
    command.args(["translate", "--delegate", "ort:cpu", "-m"]).arg(model()).arg("a");
    let nowhere = output(command.env_remove("ORT_DYLIB_PATH").env("XDG_CACHE_HOME", "/nowhere"));
    nowhere.fails(1, &["there is no ONNX Runtime", "siskin-export ort setup"]);
}

#[test]
#[cfg(all(feature = "ort", target_os = "linux"))]
fn libraries_of_other_interfaces_and_versions_are_refused() {
    for (name, code, parts) in [
        ("other.so", "int something_else(void) { return 0; }", &["does not export `OrtGetApiBase`"][..]),
        (
            "old.so",
            r#"static const void *api(unsigned version) { (void)version; return 0; }
               static const char *version(void) { return "1.10.0"; }
               static const void *const base[] = {(const void *)api, (const void *)version};
               const void *OrtGetApiBase(void) { return base; }"#,
            &["1.17", "1.10.0"],
        ),
    ] {
        let source = write(&format!("{name}.c"), code.as_bytes());
        let library = source.with_extension("");
        let compiled = std::process::Command::new("cc")
            .args(["-shared", "-fPIC", "-o"])
            .arg(&library)
            .arg(&source)
            .status();
        if compiled.is_err() {
            eprintln!("SKIPPED: there is no C compiler to make {name} with");
            return;
        }
        refuses(library.to_str().unwrap(), parts);
    }
}
