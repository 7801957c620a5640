//! `docs/cli.md` against `--help`, and wrong command lines.

use crate::command::run;
use std::collections::BTreeSet;

/// The long options that a text names.
fn options(text: &str) -> BTreeSet<String> {
    text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-'))
        .filter(|word| word.starts_with("--") && word.bytes().any(|byte| byte.is_ascii_alphabetic()))
        .map(str::to_owned)
        .collect()
}

#[test]
fn the_manual_has_every_command_and_option_and_no_other() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/cli.md");
    let manual = std::fs::read_to_string(path).expect("docs/cli.md");
    let mut help = run(&["--help"]).out;
    for command in ["translate", "summarize", "learn", "bench", "doctor", "inspect"] {
        assert!(manual.contains(&format!("## siskin {command}")), "a section for {command}");
        let said = run(&[command, "--help"]);
        assert!(said.lines().iter().any(|line| line.starts_with("Examples:")), "{}", said.out);
        help += &said.out;
    }
    assert!(options(&help).len() > 30, "{help}");
    assert_eq!(options(&manual), options(&help), "the manual and --help");
}

#[test]
fn wrong_command_lines_have_status_2_and_help_0() {
    run(&[]).fails(2, &["Usage: siskin"]);
    run(&["translate", "-m", "x", "--bean", "4"]).fails(2, &["--bean", "--beam"]);
    run(&["bench", "-m", "x", "--rounds", "0"]).fails(2, &["--rounds"]);
    assert!(run(&["--help"]).lines().iter().any(|line| line.starts_with("Exit status:")));
    assert!(run(&["--version"]).lines()[0].starts_with("siskin "));
}
