//! The examples do what they say.

use std::ffi::OsString;
use std::process::Command;

fn run(name: &str) -> String {
    let mut cargo = Command::new(env!("CARGO"));
    // As `cargo test --workspace` has built it: for one package alone, libraries may have other features and are built anew. And so they
    // are where their build scripts see what cargo tells a test of its package.
    cargo.args(["build", "--quiet", "--workspace", "--example", name]).current_dir(env!("CARGO_MANIFEST_DIR"));
    let told = |(name, _): &(OsString, OsString)| {
        let name = name.to_string_lossy();
        // `OUT_DIR` is this package's own here; build scripts that look at it, `ring`'s among them, would run again.
        name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") || name == "OUT_DIR"
    };
    std::env::vars_os().filter(told).for_each(|(name, _)| {
        cargo.env_remove(name);
    });
    if !cfg!(debug_assertions) {
        cargo.arg("--release");
    }
    let built = cargo.output().unwrap();
    assert!(built.status.success(), "{name}: {}", String::from_utf8_lossy(&built.stderr));
    let here = std::env::current_exe().unwrap();
    let out = Command::new(here.ancestors().nth(2).unwrap().join("examples").join(name)).output().unwrap();
    assert!(out.status.success(), "{name}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap()
}

#[test]
fn a_small_network_learns() {
    let out = run("small_net");
    assert!(out.contains("conv2d") && out.contains("in the end: loss 0.0"), "{out}");
}

#[test]
fn a_kernel_runs_on_the_emulator() {
    let out = run("one_kernel");
    assert!(out.contains("8192 values, all as plain Rust computes them"), "{out}");
}

#[test]
fn bytes_are_scored() {
    let out = run("score_bytes");
    assert!(out.contains("score ") && out.contains("anomalous"), "{out}");
}

#[test]
fn every_family_is_drawn() {
    let out = run("formula_sheets");
    assert!(out.lines().count() >= 10 && out.lines().all(|l| l.contains(" ms")), "{out}");
}
