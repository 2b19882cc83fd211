//! Imports point downwards. Every path into the crate that a source file spells, in a `use` or in code, is held against the
//! table of layers, which `docs/architecture.md` shows, too.

use std::collections::BTreeSet;
use std::fs::read_to_string;
use std::path::{Path, PathBuf};

/// From the lowest layer to the highest. A module knows those in the rows above its own; those of one row do not know each
/// other, but for [`TOGETHER`].
const LAYERS: &[&[&str]] = &[
    &["error"],
    &["engine/hash", "engine/real"],
    &["engine/tensor"],
    &["engine/params"],
    &["engine/toolkit"],
    &["engine/tape", "engine/ops"],
    &["engine/plan", "engine/quantized"],
    &["engine/device"],
    &["engine/gradcheck"],
    &["output"],
    &["data", "metrics", "weights"],
    &["backend", "model"],
    &["program"],
    &["detector"],
    &["score", "export", "quantize"],
    &["train", "pretrain"],
    &["bench", "report"],
    &["experiment", "serve", "watch"],
    &["cli"],
    &["main"],
];

/// Ops add the methods that record them to the tape, and the tape asks ops for their gradients.
const TOGETHER: [&str; 2] = ["engine/tape", "engine/ops"];

/// What the crate's root gives on, and from where it has it.
const ROOT: [(&str, &str); 4] =
    [("Error", "error"), ("Result", "error"), ("invalid", "error"), ("device_error", "error")];

fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// All Rust files of a folder, with their module paths: `engine/ops/add/mod.rs` is `[engine, ops, add]`.
fn files(folder: &Path, module: &[String], all: &mut Vec<(PathBuf, Vec<String>)>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_string();
        let below = [module, std::slice::from_ref(&name)].concat();
        if path.is_dir() {
            files(&path, &below, all);
        } else if path.extension().is_some_and(|e| e == "rs") {
            all.push((path, if name == "mod" { module.to_vec() } else { below }));
        }
    }
}

/// A text as identifiers, `::` and other single characters, without comments.
fn tokens(text: &str) -> Vec<&str> {
    let mut tokens = Vec::new();
    for line in text.lines().map(|l| l.split("//").next().unwrap()) {
        let mut rest = line.trim_start();
        while let Some(first) = rest.chars().next() {
            let word = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
            let len = if word > 0 {
                word
            } else if rest.starts_with("::") {
                2
            } else {
                first.len_utf8()
            };
            tokens.push(&rest[..len]);
            rest = rest[len..].trim_start();
        }
    }
    tokens
}

fn is_word(token: &str) -> bool {
    token.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// The paths that begin at token `at` behind `path`, groups in braces taken apart, and where they end.
fn tree(tokens: &[&str], mut at: usize, mut path: Vec<String>, found: &mut Vec<Vec<String>>) -> usize {
    loop {
        match tokens.get(at) {
            Some(&"{") => {
                at += 1;
                while tokens.get(at).is_some_and(|t| *t != "}") {
                    at = tree(tokens, at, path.clone(), found);
                    // `as` and another name, then the next of the group.
                    at += tokens[at..].iter().position(|t| [",", "}"].contains(t)).unwrap_or(tokens.len() - at);
                    at += usize::from(tokens.get(at) == Some(&","));
                }
                return at + 1;
            }
            Some(word) if is_word(word) => path.push(word.to_string()),
            _ => {
                found.push(path);
                return at;
            }
        }
        at += 1;
        if tokens.get(at) != Some(&"::") {
            found.push(path);
            return at;
        }
        at += 1;
    }
}

/// What a file of `module` names of this crate, from its root.
fn paths(text: &str, module: &[String]) -> Vec<Vec<String>> {
    let tokens = tokens(text);
    // The program is a crate of its own.
    let roots: &[&str] = if module == ["main"] { &["ckaad"] } else { &["crate", "super"] };
    let mut found = Vec::new();
    // Modules within the file that are open, with the number of braces around each.
    let (mut depth, mut open): (usize, Vec<(usize, String)>) = (0, vec![]);
    let mut at = 0;
    while at < tokens.len() {
        match tokens[at..] {
            ["mod", name, "{", ..] => open.push((depth, name.to_string())),
            ["{", ..] => depth += 1,
            ["}", ..] => {
                depth = depth.saturating_sub(1);
                open.retain(|(around, _)| *around < depth);
            }
            [root, "::", ..] if roots.contains(&root) && (at == 0 || tokens[at - 1] != "::") => {
                let mut here: Vec<String> = module.iter().cloned().chain(open.iter().map(|o| o.1.clone())).collect();
                if tokens[at] != "super" {
                    here.clear();
                    at += 2;
                }
                while tokens[at..].starts_with(&["super", "::"]) {
                    here.pop();
                    at += 2;
                }
                at = tree(&tokens, at, here, &mut found);
                continue;
            }
            _ => {}
        }
        at += 1;
    }
    found
}

/// The module of the table that a path belongs to.
fn row_name(path: &[String]) -> String {
    let of_root = path.first().and_then(|first| ROOT.iter().find(|(item, _)| item == first));
    if let Some((_, module)) = of_root {
        return module.to_string();
    }
    match path {
        [first, second, ..] if first == "engine" => format!("engine/{second}"),
        [first, ..] => first.clone(),
        [] => "crate".into(),
    }
}

fn row(name: &str) -> Option<usize> {
    LAYERS.iter().position(|row| row.contains(&name))
}

fn allowed(from: &str, to: &str) -> Result<(), String> {
    let at = |name: &str| row(name).ok_or_else(|| format!("`{name}` has no row in the table of layers"));
    let (above, below) = (at(from)?, at(to)?);
    let together = TOGETHER.contains(&from) && TOGETHER.contains(&to);
    if from == to || below < above || together { Ok(()) } else { Err(format!("`{from}` may not know `{to}`")) }
}

#[test]
fn imports_point_downwards() {
    let root = source("src");
    let mut all = Vec::new();
    files(&root, &[], &mut all);
    let (mut wrong, mut seen) = (BTreeSet::new(), BTreeSet::new());
    for (file, module) in &all {
        let name = file.strip_prefix(&root).unwrap().display().to_string();
        // These say which modules there are.
        if ["lib.rs", "engine/mod.rs"].contains(&name.as_str()) {
            continue;
        }
        let from = row_name(module);
        for path in paths(&read_to_string(file).unwrap(), module) {
            if let Err(why) = allowed(&from, &row_name(&path)) {
                wrong.insert(format!("{name}: {} ({why})", path.join("::")));
            }
        }
        if row(&from).is_none() {
            wrong.insert(format!("{name}: `{from}` has no row in the table of layers"));
        }
        seen.insert(from);
    }
    assert!(wrong.is_empty(), "imports that do not point downwards:\n{}", Vec::from_iter(wrong).join("\n"));
    let gone: Vec<_> = LAYERS.iter().copied().flatten().filter(|m| !seen.contains(**m)).collect();
    assert!(gone.is_empty(), "rows of modules that are not there: {gone:?}");
}

/// The first lines of the document with arrows: all layers from the highest down, then those of the engine.
#[test]
fn the_document_shows_the_same_table() {
    let text = read_to_string(source("docs/architecture.md")).unwrap();
    let mut arrows = text.lines().filter(|l| l.starts_with("    ") && l.contains(" -> "));
    let mut rows = |prefix: &str| -> Vec<Vec<String>> {
        let row = |row: &str| row.split(", ").map(|m| format!("{prefix}{m}")).collect();
        arrows.next().unwrap().rsplit(" -> ").map(str::trim).map(row).collect()
    };
    let (mut shown, engine) = (rows(""), rows("engine/"));
    let at = shown.iter().position(|row| row == &["engine"]).expect("the engine is a layer");
    shown.splice(at..=at, engine);
    shown.push(vec!["main".into()]);
    assert_eq!(shown, LAYERS);
}

/// A plan and what runs it treat all ops alike: what they must know of one it tells of itself.
#[test]
fn plan_and_sessions_name_no_op() {
    let mut all = Vec::new();
    files(&source("src"), &[], &mut all);
    let sessions = [source("src/engine/device/cpu.rs"), source("src/engine/device/cuda/session.rs")];
    all.retain(|(file, module)| row_name(module) == "engine/plan" || sessions.contains(file));
    assert!(all.len() >= 3);
    for (file, _) in all {
        let text = read_to_string(&file).unwrap();
        let named = tokens(&text).windows(2).any(|t| t == ["Op", "::"]);
        assert!(!named, "{} names an op", file.display());
    }
}

#[test]
fn every_kind_of_path_is_found() {
    let text = "
        use crate::{Error, engine::{tape::Tape, plan as p, device::{self, cpu}}};
        use super::super::plan::Plan; // and crate::cli::not
        pub(crate) fn f() { crate::cli::run::<u8>(super::g()) }
        mod inner { use super::h; mod more { use super::super::i; } fn j() { super::k() } }
        fn l() { super::m() }
        std::crate_like::x();
    ";
    let module = ["engine", "ops", "add"].map(String::from);
    let found: Vec<String> = paths(text, &module).iter().map(|p| p.join("/")).collect();
    let expected = [
        "Error",
        "engine/tape/Tape",
        "engine/plan",
        "engine/device/self",
        "engine/device/cpu",
        "engine/plan/Plan",
        "cli/run",
        "engine/ops/g",
        "engine/ops/add/h",
        "engine/ops/add/i",
        "engine/ops/add/k",
        "engine/ops/m",
    ];
    assert_eq!(found, expected);
    assert!(allowed("engine/ops", "engine/plan").unwrap_err().contains("may not know"));
    assert!(allowed("data", "metrics").is_err() && allowed("engine/tape", "engine/ops").is_ok());
    assert!(allowed("engine/ops", "error").is_ok() && allowed("unheard", "error").unwrap_err().contains("no row"));
}
