//! `ckaad pretrain` as a user runs it: on each kind of device, and what comes of it is what `train` takes.

use crate::common::stand_in::folder as driver;
use crate::support::*;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Command;

fn pretraining(out: &Path, more: &str) -> Command {
    let recipe = "--image-size 32 --layers 1,2 --classes-per-family 1 --batch-size 4 --warmup 1 --seed 3";
    let mut args = vec!["pretrain", "--out", text(out)];
    args.extend(
        recipe.split(' ').chain("--held-out 13 --log-every 1 --precision f32".split(' ')).chain(more.split(' ')),
    );
    let mut command = command(&args);
    command.env("LD_LIBRARY_PATH", driver());
    command
}

fn pretrain(out: &Path, more: &str) -> Run {
    run(pretraining(out, more))
}

#[test]
fn every_device_learns_the_same() {
    let dir = folder();
    let logs = ["cpu", "sim", "cuda"].map(|device| {
        let out = dir.path().join(format!("{device}.safetensors"));
        pretrain(&out, &format!("--steps 2 --device {device}")).ok();
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
    pretrain(&cpu, "--steps 2 --device cpu").fails(2, &["--out", "cpu.safetensors", "--force"]);
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

/// Backbones that are kept on the way replace nothing that is somebody else's, whatever is asked, and nothing of ours unasked.
#[test]
fn what_is_kept_replaces_nothing() {
    let dir = folder();
    let (out, kept) = (dir.path().join("b.safetensors"), dir.path().join("b.step-2.safetensors"));
    let flags = "--steps 4 --keep-every 2 --device cpu";
    std::fs::write(&kept, "mine").unwrap();
    for more in ["", " --force"] {
        let run = pretrain(&out, &format!("{flags}{more}"));
        run.fails(2, &["--keep-every", "b.step-2.safetensors: already there, and no model file of this program"]);
        assert_eq!(std::fs::read_to_string(&kept).unwrap(), "mine");
    }
    std::fs::remove_file(&kept).unwrap();
    pretrain(&out, flags).ok();
    assert_eq!([&kept, &out].map(|file| metadata(file, "steps").unwrap()), ["2", "4"]);
    std::fs::remove_file(&out).unwrap();
    std::fs::remove_file(dir.path().join("b.log.jsonl")).unwrap();
    std::fs::remove_file(dir.path().join("b.checkpoint.safetensors")).unwrap();
    pretrain(&out, flags).fails(2, &["--keep-every", "b.step-2.safetensors: already there", "--force"]);
    pretrain(&out, &format!("{flags} --force")).ok();
}

/// Killed and gone on with, it has the bits and the log of a run in one go.
#[test]
fn a_killed_run_is_gone_on_with() {
    let dir = folder();
    let (whole, parts) = (dir.path().join("whole.safetensors"), dir.path().join("parts.safetensors"));
    let flags = "--steps 30 --checkpoint-every 4 --keep-every 20 --device cpu";
    pretrain(&whole, flags).ok();
    let mut child = pretraining(&parts, flags).stderr(std::process::Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
    lines.take_while(|line| !line.starts_with("step 6/")).for_each(drop);
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!parts.exists(), "it was done before it could be killed");
    let told = pretrain(&parts, &format!("{flags} --resume")).ok().err;
    assert!(told.contains("resumed after step "), "{told}");
    let losses = |out: &Path| -> Vec<(u64, f64)> {
        log(out).iter().map(|l| (l["step"].as_u64().unwrap(), l["loss"].as_f64().unwrap())).collect()
    };
    assert_eq!(losses(&parts), losses(&whole));
    for file in ["safetensors", "step-20.safetensors"] {
        let [whole, parts] = [&whole, &parts].map(|out| std::fs::read(out.with_extension(file)).unwrap());
        assert!(whole == parts, "{file}: other bits");
    }
}

/// A run that has lost all numbers says so, and leaves nothing to go on from; nor is what it replaced gone on from.
#[test]
fn a_diverged_run_leaves_no_checkpoint() {
    let dir = folder();
    let out = dir.path().join("b.safetensors");
    pretrain(&out, "--steps 2 --device cpu").ok();
    assert!(dir.path().join("b.checkpoint.safetensors").exists());
    for every in [1, 1000] {
        let run = pretrain(&out, &format!("--steps 4 --lr 1e30 --checkpoint-every {every} --device cpu --force"));
        run.fails(2, &["training diverged in step ", "Try a lower --lr than"]);
        pretrain(&out, "--steps 4 --lr 1e30 --device cpu --resume").fails(2, &["--resume: there is no checkpoint"]);
    }
}

/// A sheet of every family, ten pictures wide; what would change nothing is refused or named.
#[test]
fn previews() {
    let dir = folder();
    let sheets = dir.path().join("sheets");
    let args =
        ["pretrain", "--classes-per-family", "3", "--image-size", "64", "--steps", "3", "--preview", text(&sheets)];
    ckaad(&args).ok();
    let mut count = 0;
    for entry in std::fs::read_dir(&sheets).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|e| e == "png") {
            let picture = image::open(&path).unwrap().to_rgb8();
            assert!(picture.width() >= 640 && picture.height() >= 192, "{}", path.display());
            let first = picture.pixels().next().unwrap();
            assert!(picture.pixels().any(|p| p != first), "{}: one colour", path.display());
            count += 1;
        }
    }
    assert_eq!(count, ckaad::data::formula::FAMILIES.len());
    ckaad(&[&args[..], &["--out", "b.safetensors"]].concat()).fails(2, &["--preview", "--out"]);
    let told =
        pretrain(&dir.path().join("b.safetensors"), "--steps 2 --optimizer adam --momentum 0.5 --device cpu").ok();
    assert!(told.err.contains("--momentum changes nothing with --optimizer adam"), "{told:?}");
}
