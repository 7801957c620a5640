//! `siskin-export train` as a user runs it: interrupted, killed, out of space.

mod command;
mod setup;

use command::{Run, STEPS, assert_success, text};
use setup::library_is_missing;
use siskin_export::train::trainer::{BEST, LAST, PREVIOUS};
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command};

fn signal(child: &Child, name: &str) {
    let status = Command::new("kill").args([name, &child.id().to_string()]).status().unwrap();
    assert!(status.success());
}

fn assert_same(a: &Run, b: &Run) {
    for file in [LAST, BEST] {
        assert!(a.bytes(file) == b.bytes(file), "{file} differs");
    }
}

#[test]
fn an_interrupted_run_continues_to_the_same_bytes() {
    if library_is_missing() {
        return;
    }
    let training = "log_every = 1\nema = 0.9\n";
    let (whole, parts) = (Run::new("whole", training), Run::new("interrupted", training));
    assert_success(&whole.finish(&[]));
    for (step, name) in [(50, "-INT"), (450, "-TERM")] {
        let (mut child, mut lines) = parts.start(step);
        signal(&child, name);
        let mut errors = BufReader::new(child.stderr.take().unwrap());
        let mut said = String::new();
        while !said.contains("interrupted") {
            assert!(errors.read_line(&mut said).unwrap() > 0, "{said}");
        }
        lines.read_to_end(&mut Vec::new()).unwrap();
        errors.read_to_string(&mut said).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(1), "{said}");
        let stopped = parts.step(LAST);
        assert!((step..STEPS).contains(&stopped), "{stopped}");
        assert!(said.contains(&format!("interrupted at step {stopped}")), "{said}");
    }
    let last = parts.finish(&[]);
    assert_success(&last);
    assert!(text(&last.stdout).contains("continuing at step"), "{}", text(&last.stdout));
    assert_same(&whole, &parts);
}

/// Both signals wait for a process that is stopped, so it has not finished what the first asks for.
#[test]
fn a_second_interruption_ends_the_run_at_once() {
    if library_is_missing() {
        return;
    }
    let run = Run::new("twice", "log_every = 1\n");
    let (mut child, _lines) = run.start(50);
    for name in ["-STOP", "-INT", "-TERM", "-CONT"] {
        signal(&child, name);
    }
    assert_eq!(child.wait().unwrap().code(), Some(130));
}

#[test]
fn a_killed_run_loses_the_updates_since_the_last_checkpoint() {
    if library_is_missing() {
        return;
    }
    let training = "log_every = 1\nkeep_best = 3\n";
    let (whole, parts) = (Run::new("unharmed", training), Run::new("killed", training));
    assert_success(&whole.finish(&[]));
    let (mut child, _lines) = parts.start(450);
    signal(&child, "-KILL");
    child.wait().unwrap();
    let (last, previous) = (parts.step(LAST), parts.step(PREVIOUS));
    assert!(last >= 400 && last % 200 == 0 && previous == last - 200, "{last} and {previous}");
    fs::write(parts.out().join(LAST), b"half of a checkpoint").unwrap();
    let continued = parts.finish(&[]);
    assert_success(&continued);
    assert!(text(&continued.stdout).contains(&format!("continuing at step {previous}")));
    assert_same(&whole, &parts);
    assert!(whole.bytes("average.safetensors") == parts.bytes("average.safetensors"));
}

/// A limit on the size of files stands for a full disk.
#[test]
fn a_full_disk_leaves_the_last_good_checkpoint() {
    if library_is_missing() {
        return;
    }
    let training = "log_every = 500\n";
    let (whole, parts) = (Run::new("room", training), Run::new("no-room", training));
    assert_success(&whole.finish(&[]));
    assert_success(&parts.finish(&["--until", "400"]));
    let size = fs::metadata(parts.out().join(LAST)).unwrap().len();
    let limited = Command::new("bash")
        .args(["-c", "trap '' XFSZ; ulimit -f $0; exec \"$@\"", &(size / 2048).to_string()])
        .arg(env!("CARGO_BIN_EXE_siskin-export"))
        .args(parts.arguments())
        .output()
        .unwrap();
    assert_eq!(limited.status.code(), Some(1), "{}", text(&limited.stderr));
    let said = text(&limited.stderr);
    assert!(
        said.contains("cannot write") && (said.contains("safetensors") || said.contains(".checkpoint")),
        "{said}"
    );
    let newest = [LAST, PREVIOUS].into_iter().find(|file| parts.out().join(file).exists()).unwrap();
    assert_eq!(parts.step(newest), 400);
    assert_no_partial_files(&parts.out());
    assert_success(&parts.finish(&[]));
    assert_same(&whole, &parts);
}

fn assert_no_partial_files(folder: &Path) {
    let names = fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().to_string_lossy().into_owned());
    let partial: Vec<String> = names.filter(|name| name.contains("partial")).collect();
    assert!(partial.is_empty(), "{partial:?}");
}
