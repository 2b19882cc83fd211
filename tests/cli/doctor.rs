//! `ckaad doctor`: what is as it should be, and what is told of what is not.

use crate::common::stand_in;
use crate::support::*;
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::Command;

/// With a cache of its own, and nothing else in the environment that counts.
fn doctor(cache: &Path, variables: &[(&str, &str)]) -> Command {
    let mut command = command(&["doctor", "--format", "json"]);
    command.env("CKAAD_CACHE", cache).envs(variables.iter().copied());
    command
}

/// The checks of this name, and the exit code.
fn checks(command: Command, name: &str) -> (Vec<Value>, Option<i32>) {
    let run = run(command);
    let report = run.json().remove(0);
    assert_eq!(report["works"], run.code == Some(0), "{report}");
    let all = report["checks"].as_array().unwrap();
    assert!(all.iter().all(|c| (c["state"] == "ok") == c["advice"].is_null()), "{report}");
    (all.iter().filter(|c| c["check"] == name).cloned().collect(), run.code)
}

#[track_caller]
fn is(check: &Value, state: &str, words: &[&str]) {
    assert_eq!(check["state"], state, "{check}");
    let text = check.to_string();
    words.iter().for_each(|word| assert!(text.contains(word), "no {word} in {check}"));
}

#[test]
fn a_machine_that_works() {
    let dir = folder();
    for name in
        ["program", "processor", "threads", "memory", "cache", "weights", "computing on cpu", "computing on sim"]
    {
        let (found, code) = checks(doctor(dir.path(), &[]), name);
        assert_eq!((found.len(), code), (1, Some(0)), "{name}: {found:?}");
        // Others may be using the memory.
        assert!(found[0]["state"] == "ok" || name == "memory" || cfg!(debug_assertions), "{found:?}");
    }
    let mut table = command(&["doctor"]);
    table.env("CKAAD_CACHE", dir.path().join("to be made"));
    let table = run(table).ok();
    assert!(table.out.contains("made when it is needed") && !dir.path().join("to be made").exists(), "{table:?}");
    assert!(table.lines().iter().all(|l| ["ok  ", "warn", "    "].contains(&&l[..4])), "{table:?}");
}

#[test]
fn caches_that_are_of_no_use() {
    let dir = folder();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    // Not even root makes files in /proc.
    for cache in [&file, Path::new("/proc/cache")] {
        let (found, code) = checks(doctor(cache, &[]), "cache");
        assert_eq!(code, Some(1));
        is(&found[0], "fail", &[text(cache), "cannot be written", "set CKAAD_CACHE"]);
    }
    // Unasked, it is no more than a warning: the built-in weights need no cache.
    let mut unasked = command(&["doctor", "--format", "json"]);
    unasked.env_remove("CKAAD_CACHE").env("XDG_CACHE_HOME", "/proc");
    let (found, code) = checks(unasked, "cache");
    assert_eq!(code, Some(0));
    is(&found[0], "warn", &["/proc/ckaad"]);
}

#[test]
fn weights_that_are_not_what_they_are_called() {
    let dir = folder();
    let listed = ckaad::weights::registry::find("resnet18").unwrap();
    fs::write(dir.path().join(&listed.file), "cut off").unwrap();
    let (found, code) = checks(doctor(dir.path(), &[]), "weights");
    assert_eq!((found.len(), code), (2, Some(1)));
    is(&found[1], "fail", &[&listed.file, "ckaad weights fetch resnet18"]);
}

#[test]
fn what_the_environment_says() {
    let dir = folder();
    let variables = [
        ("CKAAD_CACHES", "typo"),
        ("HTTPS_PROXY", "http://somebody:secret@proxy:3128"),
        ("RAYON_NUM_THREADS", "many"),
        ("CUDA_VISIBLE_DEVICES", "1"),
        ("SOURCE_DATE_EPOCH", "yesterday"),
    ];
    let (found, code) = checks(doctor(dir.path(), &variables), "environment");
    assert_eq!(code, Some(1));
    let of = |name: &str| found.iter().find(|c| c["found"].as_str().unwrap().starts_with(name)).unwrap();
    is(of("CKAAD_CACHES"), "warn", &["not a variable of this program", "CKAAD_CACHE"]);
    is(of("CKAAD_CACHE="), "ok", &[text(dir.path())]);
    is(of("HTTPS_PROXY"), "ok", &["ckaad weights fetch"]);
    is(of("RAYON_NUM_THREADS"), "warn", &["many"]);
    is(of("CUDA_VISIBLE_DEVICES"), "ok", &["=1"]);
    is(of("SOURCE_DATE_EPOCH"), "fail", &["yesterday"]);
    assert!(!found.iter().any(|c| c.to_string().contains("secret")), "{found:?}");
}

/// The stand-in for libcuda: the driver, a card that computes, and a driver that is too old.
#[test]
fn cards_and_drivers() {
    let dir = folder();
    let with = |card, version, name: &str| {
        let mut command = doctor(dir.path(), &[("PTXSIM_CARD", card), ("PTXSIM_DRIVER", version)]);
        command.env("LD_LIBRARY_PATH", stand_in::folder());
        checks(command, name)
    };
    let (found, code) = with("h200", "12.9", "cuda:0");
    assert_eq!(code, Some(0));
    is(&found[0], "ok", &["NVIDIA H200 (ptxsim), compute capability 9.0"]);
    is(&with("h200", "12.9", "driver").0[0], "ok", &["CUDA 12.9"]);
    is(&with("h200", "12.9", "computing on cuda:0").0[0], "ok", &["a convolution is right"]);
    let (found, code) = with("a100", "11.8", "GPU");
    assert_eq!(code, Some(0));
    is(&found[0], "warn", &["CUDA 11.8", "install driver 530", "on the CPU"]);
}
