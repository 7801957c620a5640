//! Programs in C and C++ over the C ABI.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use siskin::decode::Strategy;
use siskin::{Model, TranslateOptions, Translator};

use crate::installation::{Installation, Link, has, root, run, scratch};

/// The model that the programs run.
fn model() -> String {
    root().join("models/en-de/en-de.siskin").display().to_string()
}

const TEXTS: [&str; 3] = ["Good morning!", "Where is the station?", "I like tea. Do you?"];

/// Ends with 99 at the first wrong access or lost byte.
const VALGRIND: [&str; 5] = [
    "--quiet",
    "--error-exitcode=99",
    "--leak-check=full",
    "--show-leak-kinds=all",
    "--errors-for-leak-kinds=all",
];

fn translator(options: impl FnOnce(&mut TranslateOptions)) -> Translator {
    let translator = Translator::new(Arc::new(Model::open(model()).unwrap())).unwrap();
    let mut wanted = translator.options().clone();
    options(&mut wanted);
    translator.with_options(wanted).unwrap()
}

/// What examples/c/translate.c must print.
fn expected_of_c() -> String {
    let mut translator = translator(|options| {
        options.decode.strategy = Strategy::Beam { size: 4 };
        options.decode.n_best = 2;
    });
    let mut lines = String::new();
    for (i, text) in TEXTS.iter().enumerate() {
        let translation = translator.translate(text).unwrap();
        for rank in 0..2 {
            let score = translation.score(rank).unwrap();
            lines += &format!("{i}\t{score:.6}\t{}\n", translation.ranked(rank));
        }
    }
    lines + &translator.translate(TEXTS[0]).unwrap().text() + "\n"
}

/// What examples/cpp/translate.cpp must print.
fn expected_of_cpp() -> String {
    let mut translator = translator(|_| ());
    TEXTS.map(|text| translator.translate(text).unwrap().text() + "\n").concat()
}

fn run_c(command: &mut Command) -> String {
    run(command.arg(model()).args(TEXTS))
}

fn run_cpp(command: &mut Command) -> String {
    let mut child = command.arg(model()).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all((TEXTS.join("\n") + "\n").as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", output.status);
    String::from_utf8(output.stdout).unwrap()
}

fn valgrind(program: &Path) -> Command {
    let mut command = Command::new("valgrind");
    command.args(VALGRIND).arg(program);
    command
}

#[test]
fn the_examples_give_what_the_library_gives_and_lose_nothing() {
    let Some(installation) = Installation::native() else { return };
    for link in [Link::Static, Link::Shared] {
        let c = installation.compile("examples/c/translate.c", link);
        assert_eq!(run_c(&mut Command::new(&c)), expected_of_c());
        let cpp = installation.compile("examples/cpp/translate.cpp", link);
        assert_eq!(run_cpp(&mut Command::new(&cpp)), expected_of_cpp());
        assert_refused(Command::new(&c).args(["/no/such/model", "a"]), "/no/such/model");
        assert_refused(Command::new(&cpp).arg("/no/such/model"), "/no/such/model");
        if has(&["valgrind"], "leaks and wrong accesses of the examples") {
            assert_eq!(run_c(&mut valgrind(&c)), expected_of_c());
            assert_eq!(run_cpp(&mut valgrind(&cpp)), expected_of_cpp());
        }
    }
}

/// Asserts that the program fails with a message that has the `words`.
pub fn assert_refused(program: &mut Command, words: &str) {
    let output = program.output().unwrap();
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && message.contains(words), "{program:?}: {message}");
}

/// Runs what checks the contract.
pub fn check_contract(program: &mut Command) {
    print!("{}", run(program.arg(model())));
}

#[test]
fn the_contract_holds() {
    let Some(installation) = Installation::native() else { return };
    let program = installation.compile("tests/capi/contract.c", Link::Shared);
    check_contract(&mut Command::new(&program));
    if has(&["valgrind"], "leaks and wrong accesses of the contract") {
        check_contract(&mut valgrind(&program));
    }
}

#[test]
fn a_model_learns() {
    let Some(installation) = Installation::native() else { return };
    let program = installation.compile("tests/capi/learning.c", Link::Shared);
    let learn = |command: &mut Command, seconds: &str| {
        run(command.arg(model()).arg(scratch("learning.adapter")).arg(seconds))
    };
    let output = learn(&mut Command::new(&program), "600");
    let lines: Vec<&str> = output.lines().collect();
    assert!(lines.len() == 3 && lines[0] == lines[1] && lines[0] != lines[2], "{output}");
    assert_eq!(lines[2], "Ich habe einen Kiebitz gesehen.");
    if has(&["valgrind"], "leaks and wrong accesses of learning") {
        learn(&mut valgrind(&program), "5");
    }
}

#[test]
fn threads_share_a_model() {
    let Some(installation) = Installation::native() else { return };
    let program = installation.compile("tests/capi/threads.c", Link::Shared);
    print!("{}", run(Command::new(&program).arg(model()).args(["8", "1000"])));
    if has(&["valgrind"], "leaks and wrong accesses of threads") {
        print!("under valgrind: {}", run(valgrind(&program).arg(model()).args(["8", "2"])));
    }
}

#[test]
fn aarch64_gives_the_same() {
    let Some(installation) = Installation::aarch64() else { return };
    let qemu = |program: &Path| {
        let mut command = Command::new("qemu-aarch64");
        command.args(["-L", "/usr/aarch64-linux-gnu"]).arg(program);
        command
    };
    let program = installation.compile("examples/c/translate.c", Link::Static);
    assert_eq!(run_c(&mut qemu(&program)), expected_of_c());
    let program = installation.compile("examples/cpp/translate.cpp", Link::Shared);
    assert_eq!(run_cpp(&mut qemu(&program)), expected_of_cpp());
    let program = installation.compile("tests/capi/contract.c", Link::Shared);
    check_contract(&mut qemu(&program));
}
