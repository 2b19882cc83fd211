//! `ckaad gradcheck` as a user meets it.

use std::process::{Command, Output};

fn gradcheck(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ckaad")).arg("gradcheck").args(args).output().unwrap()
}

#[test]
fn one_op_as_a_table() {
    let out = gradcheck(&["--op", "energy"]);
    let text = String::from_utf8(out.stdout).unwrap();
    assert_eq!(out.status.code(), Some(0), "{text}");
    assert_eq!(text.lines().count(), 21);
    assert!(text.lines().all(|l| l.starts_with("energy ") && l.ends_with("  ok")), "{text}");
}

#[test]
fn one_op_as_json() {
    let out = gradcheck(&["--op", "weighted_sum", "--format", "json"]);
    let lines: Vec<serde_json::Value> =
        String::from_utf8(out.stdout).unwrap().lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(lines.len(), 3);
    for l in lines {
        assert!(l["op"] == "weighted_sum" && l["passed"] == true && l["worst"].as_f64().unwrap() < 1e-3, "{l}");
    }
}

#[test]
fn an_unknown_op_is_a_usage_error_that_lists_the_names() {
    let out = gradcheck(&["--op", "argmax"]);
    let message = String::from_utf8(out.stderr).unwrap();
    assert_eq!(out.status.code(), Some(2), "{message}");
    for name in ["argmax", "conv2d", "instance_norm", "patch-discriminator"] {
        assert!(message.contains(name), "{message}");
    }
    assert_eq!(message.trim_end().lines().count(), 1);
}

/// On other devices the gradients are in f32 unless asked otherwise: tf32 has too few digits for this check.
#[test]
fn one_op_on_the_kernels() {
    let out = gradcheck(&["--op", "conv2d", "--device", "sim"]);
    let text = String::from_utf8(out.stdout).unwrap();
    assert_eq!(out.status.code(), Some(0), "{text}");
}
