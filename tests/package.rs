//! What `cargo package` would publish: all that building needs, and nothing that is only for the tests.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};
use std::process::Command;

/// crates.io takes 10 MB; PTX and sources are packed to a sixth, weights not at all.
const LARGEST: u64 = 18_000_000;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The files of a package.
fn listed(package: &str) -> BTreeSet<PathBuf> {
    let args = ["package", "--list", "--allow-dirty", "--offline", "--package", package];
    let out = Command::new(env!("CARGO")).args(args).current_dir(root()).output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap().lines().map(PathBuf::from).collect()
}

/// All files below a folder, from the root.
fn below(folder: &str, extension: &str) -> BTreeSet<PathBuf> {
    let (mut open, mut all) = (vec![root().join(folder)], BTreeSet::new());
    while let Some(next) = open.pop() {
        for entry in std::fs::read_dir(next).unwrap().map(|e| e.unwrap().path()) {
            if entry.is_dir() {
                open.push(entry);
            } else if entry.extension().is_some_and(|e| e == extension) {
                all.insert(entry.strip_prefix(root()).unwrap().to_path_buf());
            }
        }
    }
    all
}

/// Files that sources have compiled in, from the root.
fn compiled_in() -> BTreeSet<PathBuf> {
    let mut all = BTreeSet::new();
    for source in below("src", "rs") {
        let text = std::fs::read_to_string(root().join(&source)).unwrap();
        for call in ["include_str!(\"", "include_bytes!(\""] {
            for after in text.split(call).skip(1) {
                let name = after.split('"').next().unwrap();
                let mut path = PathBuf::new();
                for part in source.parent().unwrap().join(name).components() {
                    if part == Component::ParentDir {
                        path.pop();
                    } else {
                        path.push(part);
                    }
                }
                all.insert(path);
            }
        }
    }
    all
}

#[test]
fn the_package_has_what_building_needs_and_no_more() {
    let listed = listed("ckaad");
    let fixed =
        ["Cargo.toml", "Cargo.lock", "build.rs", "README.md", "LICENSE-MIT", "LICENSE-APACHE", "kernels/README.md"];
    let (sources, ptx) = (below("src", "rs"), below("kernels/ptx", "ptx"));
    let all =
        [sources, ptx, below("kernels", "cu"), below("kernels", "cuh"), below("weights", "safetensors"), compiled_in()];
    assert!(all.iter().all(|part| !part.is_empty()));
    let needed: BTreeSet<PathBuf> = all.into_iter().flatten().chain(fixed.map(PathBuf::from)).collect();
    let missing: Vec<_> = needed.difference(&listed).collect();
    assert!(missing.is_empty(), "the package lacks {missing:?}; see `include` in Cargo.toml");
    for folder in ["tests", "bench", "experiments", "scripts", "crates", ".ci", ".github"] {
        let surplus = listed.iter().find(|f| f.starts_with(folder));
        assert_eq!(surplus, None, "the package has what building it does not need");
    }
    let size = |f: &PathBuf| std::fs::metadata(root().join(f)).map_or(0, |m| m.len());
    let bytes: u64 = listed.iter().map(size).sum();
    assert!(bytes < LARGEST, "{bytes} bytes");
}

#[test]
fn the_emulator_is_a_package_of_its_own() {
    let listed = listed("ptxsim");
    for file in ["README.md", "LICENSE-MIT", "LICENSE-APACHE", "src/lib.rs"] {
        assert!(listed.contains(Path::new(file)), "{file}: {listed:?}");
    }
    assert!(!listed.iter().any(|f| f.starts_with("tests") || f.starts_with("fuzz")), "{listed:?}");
}
