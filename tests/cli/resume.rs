//! Going on from a checkpoint gives the bits of a run that was never interrupted.

use crate::support::*;
use std::io::{BufRead, BufReader};
use std::path::Path;

const CASES: [(&str, &str); 4] =
    [("recon", "recon"), ("labelled", "ckapatch"), ("elastic", "ckapatch"), ("batch-norm", "reconsub --norm batch")];

fn data(case: &str) -> &'static Path {
    if case == "labelled" { full() } else { plain() }
}

#[track_caller]
fn same(a: &Path, b: &Path) {
    assert_eq!(log(a), log(b));
    assert!(std::fs::read(a).unwrap() == std::fs::read(b).unwrap(), "model files differ");
}

#[test]
fn in_parts_as_in_one_go() {
    let dir = folder();
    for (case, strategy) in CASES {
        let (whole, parts) = (
            dir.path().join(format!("{case}.whole.safetensors")),
            dir.path().join(format!("{case}.parts.safetensors")),
        );
        let flags = format!("--strategy {strategy} --seed 7");
        train(data(case), &whole, &format!("{flags} --epochs 4")).ok();
        train(data(case), &parts, &format!("{flags} --epochs 2")).ok();
        let resumed = train(data(case), &parts, &format!("{flags} --epochs 4 --resume")).ok();
        assert!(resumed.err.contains("resumed in epoch 3"), "{resumed:?}");
        same(&whole, &parts);
        // What was done is not undone, nor called by another number of epochs.
        train(data(case), &parts, &format!("{flags} --epochs 3 --resume"))
            .fails(2, &["4 epochs behind it", "--epochs 3"]);
        let again = train(data(case), &parts, &format!("{flags} --epochs 4 --resume")).ok();
        assert!(again.err.contains("all 4 epochs were done before"), "{again:?}");
        same(&whole, &parts);
    }
}

/// Runs until the line of `epoch` appears, then calls `stop` with the process.
fn stopped(
    data: &Path,
    out: &Path,
    flags: &str,
    epoch: &str,
    stop: impl Fn(&mut std::process::Child),
) -> (Option<i32>, String) {
    let mut child = training(data, out, flags).spawn().unwrap();
    let mut told = String::new();
    let mut stopped = false;
    for line in BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok) {
        if line.starts_with(epoch) && !stopped {
            stop(&mut child);
            stopped = true;
        }
        told.push_str(&line);
        told.push('\n');
    }
    assert!(stopped, "never came to {epoch}: {told}");
    (child.wait().unwrap().code(), told)
}

#[cfg(unix)]
fn interrupt(child: &mut std::process::Child) {
    let kill = format!("kill -INT {}", child.id());
    assert!(std::process::Command::new("sh").args(["-c", &kill]).status().unwrap().success());
}

/// What was trained is kept, and the way to go on told.
#[cfg(unix)]
#[test]
fn interrupted_while_quantising() {
    let dir = folder();
    let [model, bytes] = ["m", "q"].map(|name| dir.path().join(format!("{name}.safetensors")));
    let flags = format!("--epochs 1 --image-size 64 --quantize {}", bytes.display());
    let written = format!("{} written", model.display());
    let (code, told) = stopped(full(), &model, &flags, &written, interrupt);
    assert_eq!(code, Some(130), "{told}");
    assert!(told.contains("interrupted; `ckaad quantize --model") && model.exists() && !bytes.exists(), "{told}");
}

#[cfg(unix)]
#[test]
fn interrupted_in_the_middle_of_an_epoch() {
    let dir = folder();
    let (whole, parts) = (dir.path().join("whole.safetensors"), dir.path().join("parts.safetensors"));
    // Eight steps an epoch, and no checkpoint but the one that the interruption writes.
    let flags = "--strategy ckapatch --batch-size 1 --epochs 40 --checkpoint-every 0 --image-size 64";
    train(full(), &whole, flags).ok();
    let mut resume = "";
    let mut in_the_middle = 0;
    for epoch in ["epoch 2/", "epoch 5/", "epoch 8/", "epoch 11/"] {
        let (code, told) = stopped(full(), &parts, &format!("{flags} {resume}"), epoch, interrupt);
        assert_eq!(code, Some(130), "{told}");
        assert!(told.contains("interrupted; --resume") && !parts.exists(), "{told}");
        let position = metadata(&dir.path().join("parts.checkpoint.safetensors"), "train.position").unwrap();
        in_the_middle += usize::from(position.split(' ').nth(1) != Some("0"));
        resume = "--resume";
    }
    assert!(in_the_middle > 0, "every interruption fell between two epochs");
    train(full(), &parts, &format!("{flags} --resume")).ok();
    same(&whole, &parts);
}

#[test]
fn killed_without_a_word() {
    let dir = folder();
    let (whole, parts) = (dir.path().join("whole.safetensors"), dir.path().join("parts.safetensors"));
    let flags = "--strategy recon --batch-size 2 --epochs 30 --checkpoint-every 3";
    train(full(), &whole, flags).ok();
    let (code, _) = stopped(full(), &parts, flags, "epoch 8/", |child| child.kill().unwrap());
    assert_ne!(code, Some(0));
    // The log is ahead of the checkpoint; it must not tell the same epoch twice.
    train(full(), &parts, &format!("{flags} --resume")).ok();
    same(&whole, &parts);
}

#[test]
fn other_settings_or_weights_are_refused_by_name() {
    let dir = folder();
    let path = dir.path().join("m.safetensors");
    train(full(), &path, "--strategy ckapatch").ok();
    let before = (std::fs::read(&path).unwrap(), std::fs::read(path.with_extension("log.jsonl")).unwrap());
    let all = [
        ("--strategy recon", "strategy"),
        ("--strategy ckapatch --seed 1", "seed 0"),
        ("--strategy ckapatch --batch-size 2", "batch 4"),
        ("--strategy ckapatch --lr 0.5", "lr 0.001"),
        ("--strategy ckapatch --norm batch", "norm instance"),
        ("--strategy ckapatch --layers 2,3 --image-size 64", "layers [1,2]"),
        ("--strategy ckapatch --holdout 0.3", "holdout 0.1"),
        ("--strategy ckapatch --no-shuffle", "shuffle true"),
    ];
    for (flags, word) in all {
        let words = ["m.checkpoint.safetensors", "cannot resume with other settings", word];
        train(full(), &path, &format!("{flags} --epochs 2 --resume")).fails(2, &words);
    }
    // The same settings, but a backbone from somewhere else.
    let donor = dir.path().join("backbone.safetensors");
    let held: Vec<_> = tensors(&path).into_iter().filter(|t| t.0.starts_with("backbone.")).collect();
    let values: Vec<Vec<f32>> = held.iter().map(|t| t.2.iter().map(|b| 2.0 * f32::from_bits(*b)).collect()).collect();
    let renamed: Vec<_> = held
        .iter()
        .zip(&values)
        .map(|((n, s, _), v)| ckaad::weights::Tensor::new(&n["backbone.".len()..], s, v).unwrap())
        .collect();
    ckaad::weights::write_safetensors(&donor, &renamed, &Default::default()).unwrap();
    let flags = format!("--strategy ckapatch --epochs 2 --resume --weights {}", text(&donor));
    train(full(), &path, &flags).fails(2, &["m.checkpoint.safetensors", "other backbone weights", "conv1.weight"]);
    assert!(before == (std::fs::read(&path).unwrap(), std::fs::read(path.with_extension("log.jsonl")).unwrap()));
}

/// As many as before, but others: what was held back then would be trained on now.
#[test]
fn other_pictures_are_refused() {
    let dir = folder();
    let (good, path) = (dir.path().join("data/train/good"), dir.path().join("m.safetensors"));
    std::fs::create_dir_all(&good).unwrap();
    for name in ["000.png", "001.png", "002.png"] {
        std::fs::copy(full().join("train/good").join(name), good.join(name)).unwrap();
    }
    let data = dir.path().join("data");
    train(&data, &path, "").ok();
    let go_on = |data: &Path| train(data, &path, "--epochs 2 --resume");
    let refused = |what: &str| {
        let run = go_on(&data);
        assert!(run.err.contains("the checkpoint has digest of the pictures "), "{what}: {run:?}");
        assert_eq!(run.code, Some(2));
    };
    let third = std::fs::read(good.join("002.png")).unwrap();
    std::fs::copy(full().join("train/good/003.png"), good.join("002.png")).unwrap();
    refused("another content");
    std::fs::remove_file(good.join("002.png")).unwrap();
    std::fs::write(good.join("003.png"), &third).unwrap();
    refused("another name");
    // Elsewhere, but the same.
    std::fs::rename(good.join("003.png"), good.join("002.png")).unwrap();
    std::fs::rename(&data, dir.path().join("moved")).unwrap();
    go_on(&dir.path().join("moved")).ok();
}

/// Whatever the program declares, by name; without any of it there is no going on.
#[test]
fn every_state_is_in_the_checkpoint() {
    let dir = folder();
    let (whole, parts) = (dir.path().join("whole.safetensors"), dir.path().join("parts.safetensors"));
    let checkpoint = dir.path().join("parts.checkpoint.safetensors");
    let flags = "--strategy ckapatch --seed 3";
    train(full(), &whole, &format!("{flags} --epochs 4")).ok();
    train(full(), &parts, &format!("{flags} --epochs 2")).ok();
    let held = tensors(&checkpoint);
    let of = |name: &str| held.iter().find(|t| t.0 == name).unwrap_or_else(|| panic!("no {name}"));
    let position = metadata(&checkpoint, "train.position").unwrap();
    let updates: f32 = position.split(' ').nth(2).unwrap().parse().unwrap();
    for net in ["ae", "discriminator"] {
        let [m, v] = ["moment1", "moment2"].map(|s| of(&format!("train.{net}.{s}")).1.clone());
        assert!(m == v && m[0] > 1);
        let (_, shape, bits) = of(&format!("train.{net}.steps"));
        assert_eq!((&shape[..], f32::from_bits(bits[0])), (&[1][..], updates));
    }
    train(full(), &parts, &format!("{flags} --epochs 4 --resume")).ok();
    same(&whole, &parts);
    for lost in ["train.ae.moment2", "train.discriminator.steps"] {
        rewrite(&checkpoint, |name| name != lost, |_| ());
        train(full(), &parts, &format!("{flags} --epochs 6 --resume"))
            .fails(2, &["parts.checkpoint.safetensors", lost]);
    }
}

#[test]
fn nothing_to_resume_from() {
    let dir = folder();
    let path = dir.path().join("m.safetensors");
    train(full(), &path, "--resume").fails(2, &["m.checkpoint.safetensors", "no checkpoint to resume from"]);
    // A model file is no checkpoint.
    std::fs::copy(model(), dir.path().join("m.checkpoint.safetensors")).unwrap();
    train(full(), &path, "--strategy ckapatch --resume").fails(2, &["m.checkpoint.safetensors", "not a checkpoint"]);
    assert!(!path.exists());
}
