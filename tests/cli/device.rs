//! `--device` and `--precision`: the same work on the kernels, run by the emulator, as on the CPU.

use crate::support::*;
use ckaad::engine::device::cuda::card;
use safetensors::SafeTensors;
use std::collections::BTreeMap;

/// Scores of the test pictures by path.
fn scores(flags: &[&str]) -> BTreeMap<String, f64> {
    let pictures = full().join("test");
    let mut args = vec!["score", "--model", text(model()), "--format", "json"];
    args.extend(flags);
    args.push(text(&pictures));
    let of = |l: &serde_json::Value| (l["path"].as_str().unwrap().to_string(), l["score"].as_f64().unwrap());
    ckaad(&args).ok().json().iter().map(of).collect()
}

#[test]
fn kernels_give_the_cpus_scores() {
    let expected = scores(&["--device", "cpu"]);
    assert_eq!(expected.len(), 9);
    // f32 as between batch sizes on the CPU; the others as issued: what keeps the order of pictures.
    for (precision, tolerance) in [("f32", 2e-6), ("tf32", 1e-3), ("bf16", 1e-2), ("f16", 1e-2)] {
        let found = scores(&["--device", "sim", "--precision", precision, "--batch-size", "2"]);
        assert_eq!(found.len(), expected.len());
        for (path, e) in &expected {
            let error = (found[path] - e).abs() / e;
            assert!(error <= tolerance, "{path} in {precision}: {} instead of {e} ({error:.1e})", found[path]);
        }
    }
}

#[test]
fn training_on_the_kernels_learns_what_the_cpu_learns_and_resumes_with_the_same_bits() {
    let dir = folder();
    let at = |name: &str| dir.path().join(format!("{name}.safetensors"));
    let flags = "--strategy ckapatch --seed 7";
    train(full(), &at("cpu"), &format!("{flags} --device cpu --epochs 1")).ok();
    let sim = format!("{flags} --device sim --precision f32");
    train(full(), &at("whole"), &format!("{sim} --epochs 2")).ok();
    // Features from a file first, then from the device's memory, as the whole run has them.
    train(full(), &at("parts"), &format!("{sim} --epochs 1 --feature-cache disk")).ok();
    // The first epoch's losses; Adam's first step is a sign, so rounding shows from the second step on.
    for key in ["recon", "d_loss", "adv"] {
        let [cpu, sim] = ["cpu", "parts"].map(|name| log(&at(name))[0][key].as_f64().unwrap());
        assert!((cpu - sim).abs() <= 2e-2 * cpu.abs(), "{key}: {cpu} on the CPU, {sim} on the kernels");
    }
    train(full(), &at("parts"), &format!("{sim} --epochs 2 --resume")).ok();
    assert_eq!(log(&at("whole")), log(&at("parts")));
    assert!(std::fs::read(at("whole")).unwrap() == std::fs::read(at("parts")).unwrap(), "model files differ");
    // Another device computes other bits: it does not go on where this one stopped.
    train(full(), &at("parts"), &format!("{flags} --device cpu --epochs 3 --resume")).fails(2, &["device sim"]);
}

/// The model file keeps f32 weights, and a checkpoint all that the next step needs.
#[test]
fn training_in_bf16_resumes_with_the_same_bits() {
    let dir = folder();
    let at = |name: &str| dir.path().join(format!("{name}.safetensors"));
    let flags = "--strategy ckapatch --seed 7 --device sim --precision bf16";
    train(full(), &at("whole"), &format!("{flags} --epochs 2")).ok();
    train(full(), &at("parts"), &format!("{flags} --epochs 1")).ok();
    train(full(), &at("parts"), &format!("{flags} --epochs 2 --resume")).ok();
    assert_eq!(log(&at("whole")), log(&at("parts")));
    assert!(std::fs::read(at("whole")).unwrap() == std::fs::read(at("parts")).unwrap(), "model files differ");
    // The first epoch's losses of the same run on the CPU, rounded to 2^-9 at every layer.
    train(full(), &at("cpu"), "--strategy ckapatch --seed 7 --device cpu --epochs 1").ok();
    for (key, tolerance) in [("recon", 2e-2), ("d_loss", 2e-2), ("adv", 0.3)] {
        let [cpu, sim] = ["cpu", "whole"].map(|name| log(&at(name))[0][key].as_f64().unwrap());
        assert!((cpu - sim).abs() <= tolerance * cpu.abs(), "{key}: {cpu} on the CPU, {sim} in bf16");
    }
    // Weights that a rounding to bf16 would change.
    let bytes = std::fs::read(at("whole")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let trained = file.tensors().into_iter().filter(|(name, _)| name.starts_with("ae."));
    let low = trained.flat_map(|(_, t)| t.data().chunks_exact(4).map(|b| b[0] | b[1]).collect::<Vec<u8>>());
    assert!(low.filter(|b| *b != 0).count() > 1_000_000);
}

#[test]
fn devices_are_listed() {
    let table = ckaad(&["devices"]).ok();
    for name in ["cpu ", "cuda", "sim "] {
        assert!(table.lines().iter().any(|l| l.starts_with(name)), "{table:?}");
    }
    let json = &ckaad(&["devices", "--format", "json"]).ok().json()[0];
    assert_eq!(json["cpu"]["threads"], 1);
    assert_eq!(json["cuda"].as_array().unwrap().is_empty(), json["no_cuda"].is_string());
}

/// Without a usable GPU, `auto` says why and computes on the CPU.
#[test]
fn auto_falls_back_to_the_cpu() {
    let run = ckaad(&["plan", "score", "--device", "auto"]).ok();
    let usable = card::gpus().is_ok_and(|all| all.iter().any(|g| g.unusable.is_none()));
    assert_eq!(run.err.contains("computing on the CPU: "), !usable, "{run:?}");
}
