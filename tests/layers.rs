//! The layers of `docs/architecture.md`, held against every `crate::` path in `src`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What a module of each name may use besides itself: every module of a lower level, and of its own where listed.
const LEVELS: &[(&str, u32)] = &[
    ("error", 0),
    ("tensor", 0),
    ("threads", 0),
    ("kernels", 1),
    ("format", 1),
    ("text", 1),
    ("nn", 2),
    ("model", 2),
    ("decode", 3),
    ("delegate", 3),
    ("pipeline", 4),
    ("learn", 4),
    ("capi", 5),
    ("cli", 5),
    ("main", 5),
];

/// Uses inside a level: the blocks under the model, what everything of level 0 may need, and a learner that translates.
const INSIDE: &[(&str, &str)] =
    &[("model", "nn"), ("tensor", "error"), ("main", "cli"), ("learn", "pipeline")];

/// Uses that the levels allow and the design does not: search sees a `Scorer`, neither tensors nor models.
const FORBIDDEN: &[(&str, &str)] =
    &[("decode", "tensor"), ("decode", "format"), ("decode", "text"), ("decode", "nn"), ("decode", "model")];

fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The modules that a source names after `crate::`; a braced list counts every member's first segment.
fn used_modules(source: &str) -> Vec<String> {
    let mut modules = Vec::new();
    let code =
        source.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        let first =
            |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
        match rest.strip_prefix('{') {
            None => modules.push(first(rest)),
            Some(list) => {
                let (mut depth, mut start) = (0, 0);
                for (i, c) in list.char_indices() {
                    match c {
                        '{' => depth += 1,
                        '}' if depth == 0 => {
                            modules.push(first(list[start..i].trim_start()));
                            break;
                        }
                        '}' => depth -= 1,
                        ',' if depth == 0 => {
                            modules.push(first(list[start..i].trim_start()));
                            start = i + 1;
                        }
                        _ => {}
                    }
                }
            }
        }
    }
    modules
}

#[test]
fn modules_use_only_lower_levels() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let levels: BTreeMap<&str, u32> = LEVELS.iter().copied().collect();
    let mut files = Vec::new();
    rust_files(&src, &mut files);
    let (mut problems, mut checked) = (Vec::new(), 0);
    for file in files {
        let relative = file.strip_prefix(&src).unwrap();
        let user = relative.iter().next().unwrap().to_str().unwrap().trim_end_matches(".rs");
        if user == "lib" {
            continue;
        }
        let Some(level) = levels.get(user) else {
            problems.push(format!("{}: module {user} has no level", relative.display()));
            continue;
        };
        for used in used_modules(&std::fs::read_to_string(&file).unwrap()) {
            let Some(lower) = levels.get(used.as_str()) else { continue };
            checked += 1;
            let allowed = used == user || lower < level || INSIDE.contains(&(user, &used));
            if !allowed || FORBIDDEN.contains(&(user, &used)) {
                problems.push(format!("{}: {user} uses {used}", relative.display()));
            }
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    assert!(checked > 50, "only {checked} uses found: the test does not see the code");
}

#[test]
fn unsafe_code_stands_only_where_the_documentation_says() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(root.join("docs/architecture.md")).unwrap();
    let listed: Vec<String> = page
        .lines()
        .filter_map(|line| line.strip_prefix("| `src/")?.split('`').next())
        .map(|path| format!("src/{path}"))
        .collect();
    let mut files = Vec::new();
    rust_files(&root.join("src"), &mut files);
    let mut found: Vec<String> = files
        .into_iter()
        .filter(|file| std::fs::read_to_string(file).unwrap().contains("allow(unsafe_code)"))
        .map(|file| file.strip_prefix(root).unwrap().to_str().unwrap().to_string())
        .collect();
    let mut expected = listed.clone();
    expected.sort();
    found.sort();
    assert_eq!(found, expected, "the table of docs/architecture.md and the code differ");
}

#[test]
fn the_reader_of_uses_sees_all_forms() {
    let source = "use crate::error::{Error};\nuse crate::{format::{A, B}, text, nn::x};\n// use crate::cli;\nlet x = crate::tensor::y();";
    assert_eq!(used_modules(source), ["error", "format", "text", "nn", "tensor"]);
}
