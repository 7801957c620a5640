//! The device library's dependency tree.

use std::collections::BTreeSet;
use std::process::Command;

/// What the default features may link or run at build time, all of it.
const ALLOWED: [&str; 8] =
    ["byteorder", "cfg-if", "half", "hash32", "heapless", "libc", "memmap2", "stable_deref_trait"];

#[test]
fn the_default_tree_has_eight_crates() {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--offline", "--edges", "normal,build", "--prefix", "none", "--format", "{p}"])
        .args(["--package", "siskin", "--target", "x86_64-unknown-linux-gnu"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let tree = String::from_utf8(output.stdout).expect("cargo writes UTF-8");
    let crates: BTreeSet<&str> = tree
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "siskin")
        .collect();
    assert_eq!(crates, BTreeSet::from(ALLOWED), "the device library's dependencies changed");
}
