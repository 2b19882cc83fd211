//! `ckaad pretrain` as a user runs it: on each kind of device, and what comes of it is what `train` takes.

use crate::common::stand_in::folder as driver;
use crate::support::*;
use std::path::Path;

fn pretrain(device: &str, out: &Path) -> Run {
    let recipe = "--image-size 32 --layers 1,2 --classes-per-family 1 --batch-size 4 --steps 2 --warmup 1 --seed 3";
    let more = "--held-out 13 --log-every 1 --precision f32 --device";
    let mut args = vec!["pretrain", "--out", text(out)];
    args.extend(recipe.split(' ').chain(more.split(' ')).chain([device]));
    let mut command = command(&args);
    command.env("LD_LIBRARY_PATH", driver());
    run(command)
}

#[test]
fn every_device_learns_the_same() {
    let dir = folder();
    let logs = ["cpu", "sim", "cuda"].map(|device| {
        let out = dir.path().join(format!("{device}.safetensors"));
        pretrain(device, &out).ok();
        log(&out)
    });
    for lines in &logs {
        let steps: Vec<u64> = lines.iter().map(|l| l["step"].as_u64().unwrap()).collect();
        assert_eq!(steps, [1, 2]);
        // Only the last line has held-out pictures, 16 of them: whole batches.
        assert!(lines[0].get("held_out_loss").is_none());
        assert!((lines[1]["held_out_accuracy"].as_f64().unwrap() * 16.0).fract() == 0.0, "{lines:?}");
        // Batch norms of four pictures and a few positions amplify rounding from step to step.
        for (at, tolerance) in [(0, 1e-5), (1, 1e-3)] {
            let [here, cpu] = [lines, &logs[0]].map(|lines| lines[at]["loss"].as_f64().unwrap());
            assert!((here - cpu).abs() <= tolerance * cpu, "step {}: {here}, on the CPU {cpu}", at + 1);
        }
    }
    let cpu = dir.path().join("cpu.safetensors");
    pretrain("cpu", &cpu).fails(2, &["--out", "cpu.safetensors", "--force"]);
    let model = dir.path().join("m.safetensors");
    train(full(), &model, &format!("--weights {}", text(&cpu))).ok();
    let info = ckaad(&["info", text(&model), "--format", "json"]).ok().json();
    assert_eq!(info[0]["weights"].as_str(), Some(text(&cpu)));
}

/// The weights that nobody named.
#[test]
fn the_built_in_backbone_is_the_default() {
    let dir = folder();
    let model = dir.path().join("m.safetensors");
    let mut args = vec!["train", "--data", text(full()), "--out", text(&model)];
    args.extend("--image-size 32 --layers 1,2 --batch-size 4 --epochs 1 --strategy recon --device cpu".split(' '));
    let told = run(command(&args)).ok().err;
    assert!(told.contains("the built-in ones (--weights formula)"), "{told}");
    let info = ckaad(&["info", text(&model), "--format", "json"]).ok().json();
    let weights = info[0]["weights"].as_str().unwrap_or_default();
    assert!(weights.starts_with("formula, sha256 ") && weights.len() == 24, "{weights}");
}
