//! `include/siskin.h` against `src/capi`: the C compiler compares the declarations.
//!
//! The sources in Rust are read and written as C, behind an `#include` of the header. What is declared twice and
//! differs, is missing, or lies elsewhere in a struct, does not compile.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::process::Command;

use crate::installation::{Installation, has, root, run, scratch};

/// All of `src/capi`, without tests.
fn sources() -> String {
    let files = std::fs::read_dir(root().join("src/capi")).unwrap();
    let read = |entry: std::fs::DirEntry| std::fs::read_to_string(entry.path()).unwrap();
    let code = files.map(|entry| read(entry.unwrap()).split("#[cfg(test)]").next().unwrap().to_owned());
    code.collect::<Vec<_>>().join("\n")
}

/// What stands behind `start` and before `end`, wherever it does.
fn all_between<'a>(text: &'a str, start: &'a str, end: &'a str) -> impl Iterator<Item = &'a str> {
    text.split(start).skip(1).map(move |rest| rest.split(end).next().unwrap())
}

/// A type of a parameter, a field or a result, as C writes it.
fn c_type(rust: &str) -> String {
    let handle = |name: &str| format!("siskin_{}", name.strip_prefix('C').unwrap().to_lowercase());
    let argument = rust.split_once('<').map(|(name, rest)| (name, rest.strip_suffix('>').unwrap()));
    match argument {
        Some(("Borrowed", name @ ("CTranslator" | "CLearner"))) => format!("{} *", handle(name)),
        Some(("Borrowed", name)) => format!("const {} *", handle(name)),
        Some(("Owned", name)) => format!("{} *", handle(name)),
        Some(("Out", name)) => format!("{} **", handle(name)),
        Some(("NumberOut", number)) => format!("{} *", c_type(number)),
        None => String::from(match rust {
            "TextPointer" | "*const c_char" => "const char *",
            "BytesPointer" => "const void *",
            "TextArray" => "const char *const *",
            "LengthArray" => "const size_t *",
            "OptionsPointer" => "const siskin_options *",
            "OptionsOut" => "siskin_options *",
            "TextCallback" => "siskin_text_callback",
            "*mut c_void" => "void *",
            "Status" => "siskin_status",
            "usize" => "size_t",
            "u64" => "uint64_t",
            "u32" => "uint32_t",
            "c_int" => "int",
            "f32" => "float",
            "" => "void",
            other => panic!("no C type is known for {other}"),
        }),
        Some(_) => panic!("no C type is known for {rust}"),
    }
}

/// The types of `name: type, name: type,`.
fn parameters(list: &str) -> Vec<(String, String)> {
    let pairs = list.split(',').filter_map(|pair| pair.split_once(':'));
    pairs
        .map(|(name, rust)| (name.trim().to_owned(), c_type(rust.trim().trim_start_matches("core::ffi::"))))
        .collect()
}

/// Names of the functions that Rust defines, and a declaration in C of each.
fn functions(code: &str) -> Vec<(String, String)> {
    let declare = |signature: &str| {
        let (name, rest) = signature.split_once('(').unwrap();
        let (list, result) = rest.rsplit_once(')').unwrap();
        let types: Vec<String> = parameters(list).into_iter().map(|(_, c)| c).collect();
        let types = if types.is_empty() { "void".into() } else { types.join(", ") };
        let result = c_type(result.trim().trim_start_matches("->").trim().trim_start_matches("core::ffi::"));
        let name = format!("siskin_{name}");
        let declaration = format!("{result} {name}({types});");
        (name, declaration)
    };
    all_between(code, "extern \"C\" fn siskin_", "{").map(declare).collect()
}

/// `NotAModel` as `NOT_A_MODEL`.
fn upper_snake(name: &str) -> String {
    let mut snake = String::new();
    for c in name.chars() {
        if c.is_uppercase() && !snake.is_empty() {
            snake.push('_');
        }
        snake.extend(c.to_uppercase());
    }
    snake
}

/// The program that compiles if and only if the header says what Rust does.
fn comparison(code: &str) -> String {
    let mut c = String::from("#include <siskin.h>\n");
    for (_, declaration) in functions(code) {
        writeln!(c, "{declaration}").unwrap();
    }
    let callback = all_between(code, "type TextCallback = Option<extern \"C\" fn(", ")").next().unwrap();
    let types: Vec<String> = callback.split(", ").map(c_type).collect();
    writeln!(c, "typedef int (*siskin_text_callback)({});", types.join(", ")).unwrap();

    for status in all_between(code, "pub enum Status {", "}").next().unwrap().split(',') {
        let Some((name, number)) = status.split_once('=') else { continue };
        let prefix = if name.trim() == "Ok" { "SISKIN_" } else { "SISKIN_ERROR_" };
        let (name, number) = (prefix.to_owned() + &upper_snake(name.trim()), number.trim());
        writeln!(c, "_Static_assert({name} == {number}, \"{name}\");").unwrap();
    }
    let tables = ["STRATEGIES", "SCORES", "UNITS", "LONG_INPUTS", "SHORTLISTS"];
    for table in tables {
        let definition = code.split(&format!("const {table}: [")).nth(1).unwrap();
        let values = all_between(definition, "= [", "]").next().unwrap();
        for (number, value) in values.split(',').enumerate() {
            let (kind, value) = value.trim().split_once("::").unwrap();
            let name = format!("SISKIN_{}_{}", upper_snake(kind), upper_snake(value));
            writeln!(c, "_Static_assert({name} == {number}, \"{name}\");").unwrap();
        }
    }
    let fields = all_between(code, "pub struct COptions {", "}").next().unwrap().replace("pub ", "");
    let fields = parameters(&fields);
    assert!(fields.len() > 20, "{fields:?}");
    let mirror: String = fields.iter().map(|(name, c)| format!("{c} {name}; ")).collect();
    writeln!(c, "struct mirror {{ {mirror}}};").unwrap();
    writeln!(c, "_Static_assert(sizeof(struct mirror) == sizeof(siskin_options), \"size\");").unwrap();
    for (name, c_type) in fields {
        writeln!(
            c,
            "_Static_assert(offsetof(struct mirror, {name}) == offsetof(siskin_options, {name}), \"{name}\");\n\
             _Static_assert(_Generic(((siskin_options *)0)->{name}, {c_type}: 1, default: 0), \"{name}\");"
        )
        .unwrap();
    }
    c
}

/// What the compiler says of a C program that is not linked.
fn check(compiler: &str, standard: &str, name: &str, program: &str) -> Result<(), String> {
    let file = scratch(name);
    std::fs::write(&file, program).unwrap();
    let mut command = Command::new(compiler);
    command.arg(standard).args(["-Wall", "-Wextra", "-Werror", "-pedantic", "-fsyntax-only"]);
    let output = command.arg("-I").arg(root().join("include")).arg(file).output().unwrap();
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
}

/// Names that the header declares.
fn declared() -> BTreeSet<String> {
    let header = std::fs::read_to_string(root().join("include/siskin.h")).unwrap();
    let mut code = String::new();
    for (i, part) in header.split("/*").enumerate() {
        code.push_str(if i == 0 { part } else { part.split_once("*/").unwrap().1 });
    }
    let called = code.split("siskin_").skip(1).filter_map(|rest| rest.split_once('('));
    let called = called.filter(|(name, _)| name.chars().all(|c| c.is_alphanumeric() || c == '_'));
    called.map(|(name, _)| format!("siskin_{name}")).collect()
}

#[test]
fn the_header_is_c99_and_cpp11() {
    if !has(&["gcc", "g++"], "the header in C and C++") {
        return;
    }
    let program = "#include <siskin.h>\n#include <siskin.h>\nint main(void) { return SISKIN_OK; }\n";
    check("gcc", "-std=c99", "header.c", program).unwrap();
    check("g++", "-std=c++11", "header.cpp", program).unwrap();
}

#[test]
fn the_header_says_what_the_code_does() {
    let code = sources();
    let defined: BTreeSet<String> = functions(&code).into_iter().map(|(name, _)| name).collect();
    assert!(defined.len() > 25, "{defined:?}");
    assert_eq!(defined, declared());
    if !has(&["gcc"], "the header against the code") {
        return;
    }
    let program = comparison(&code);
    check("gcc", "-std=c11", "agreement.c", &program).unwrap();
    // What differs is noticed.
    for (from, to) in [
        ("(const siskin_model *);", "(siskin_model *);"),
        ("size_t siskin_result_count", "int siskin_result_count"),
        ("SISKIN_ERROR_BUSY == 14", "SISKIN_ERROR_BUSY == 13"),
        ("uint32_t beam;", "uint64_t beam;"),
        ("SISKIN_UNIT_LINE == 0", "SISKIN_UNIT_LINE == 1"),
        ("(const char *, size_t, void *);", "(const char *, size_t);"),
    ] {
        assert!(program.contains(from), "{from} is nowhere in\n{program}");
        let changed = program.replacen(from, to, 1);
        assert!(check("gcc", "-std=c11", "difference.c", &changed).is_err(), "{from} as {to}");
    }
}

#[test]
fn the_shared_library_shows_its_functions_and_nothing_else() {
    if !has(&["nm"], "symbols of the shared library") {
        return;
    }
    let Some(installation) = Installation::native() else { return };
    let mut nm = Command::new("nm");
    nm.args(["--dynamic", "--defined-only", "--format=just-symbols"]).arg(installation.library());
    let symbols: BTreeSet<String> = run(&mut nm).lines().map(str::to_owned).collect();
    assert_eq!(symbols, declared());
}
