//! Wrong use and broken files: which exit code, and a message that names what was wrong.

use crate::support::*;
use ckaad::weights::{Tensor, write_safetensors};

#[test]
fn wrong_use_exits_with_2() {
    let dir = folder();
    let out = dir.path().join("m.safetensors");
    let all: [(&str, &[&str]); 19] = [
        ("--bogus", &["--bogus"]),
        ("--layers 9", &["layers [9]", "between 1 and 4"]),
        ("--layers 1,3", &["layers [1, 3]", "consecutive"]),
        ("--image-size 31", &["image size 31", "multiple of 16"]),
        // A single position in the code, which an instance norm turns to 0.
        ("--image-size 32 --layers 2,3", &["image size 32", "between 64 and 4096"]),
        ("--image-size 100000", &["image size 100000", "4096"]),
        ("--backbone vgg", &["vgg", "wide_resnet50_2"]),
        ("--weights nosuch", &["nosuch: no such file", "resnet18"]),
        ("--device gpu", &["--device", "cuda:N"]),
        ("--device cuda:99", &["cuda:99"]),
        ("--device cpu --precision bf16", &["--precision bf16", "f32 or int8"]),
        ("--device sim --precision f16", &["--precision f16", "not scaled", "bf16"]),
        ("--epochs 0", &["--epochs", "at least 1"]),
        ("--batch-size 0", &["--batch-size", "at least 1"]),
        ("--lr nan", &["--lr", "at least 0"]),
        ("--holdout 2", &["--holdout", "0 to 1"]),
        ("--sigma 1e6", &["--sigma", "0 to 64"]),
        ("--topk 0", &["--topk", "at least 1"]),
        ("--strategy x", &["--strategy", "ckapatch"]),
    ];
    for (flags, words) in all {
        train(full(), &out, flags).fails(2, words);
    }
    train(full(), &dir.path().join("nowhere/m.safetensors"), "").fails(2, &["--out", "there is no folder"]);
    train(full(), dir.path(), "").fails(2, &["--out", "is a folder"]);
    ckaad(&["score", "--model", text(model())]).fails(2, &["no pictures given"]);
    ckaad(&["threshold", "--model", text(model())]).fails(2, &["no pictures given"]);
    ckaad(&["threshold", "--model", text(model()), "--value", "nan"]).fails(2, &["--value"]);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "nothing half-written");
}

/// What is not there is named with what was expected.
#[test]
fn what_is_not_there_was_expected_to_be_something() {
    let gone = "gone/nothing";
    for command in [
        &["score", "--model", gone, "x.png"][..],
        &["eval", "--model", gone, "--normal", "x"],
        &["threshold", "--model", gone, "x.png"],
        &["info", gone],
    ] {
        ckaad(command).fails(2, &[gone, "No such file", "expected a model file, as `ckaad train` writes it"]);
    }
    let dir = folder();
    // Opening a pipe would wait for whoever writes into it.
    let pipe = dir.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    for (path, what) in [(&*pipe, "is a pipe"), (dir.path(), "is a folder")] {
        ckaad(&["info", text(path)]).fails(2, &[text(path), what, "expected a model file, as `ckaad train` writes it"]);
    }
    let out = dir.path().join("m.safetensors");
    train(full(), &out, &format!("--weights {}", text(&pipe))).fails(2, &[text(&pipe), "expected a weights file"]);
    let out = dir.path().join("split.csv");
    let good = full().join("train/good");
    for (flag, what) in [("--normal", "normal pictures"), ("--anomalous", "anomalous pictures"), ("--masks", "masks")] {
        let mut args = vec!["data", "split", "--out", text(&out)];
        for other in ["--normal", "--anomalous", "--masks"] {
            args.extend([other, if other == flag { gone } else { text(&good) }]);
        }
        ckaad(&args).fails(2, &[gone, "No such file", &format!("expected a folder of {what}")]);
    }
    let model = dir.path().join("m.safetensors");
    ckaad(&["train", "--normal", gone, "--out", text(&model)])
        .fails(2, &[gone, "expected a folder of normal pictures"]);
    ckaad(&["experiment", gone, "--root", ".", "--out", text(&out)]).fails(2, &[gone, "expected a grid"]);
}

#[test]
fn datasets_that_cannot_be_used() {
    let dir = folder();
    let out = dir.path().join("m.safetensors");
    train(&dir.path().join("nowhere"), &out, "").fails(2, &["nowhere: No such file", "train/good"]);
    let empty = dir.path().join("empty");
    std::fs::create_dir_all(empty.join("train/good")).unwrap();
    train(&empty, &out, "").fails(2, &["train/good", "no pictures"]);

    // A picture that cannot be read stops training before anything is touched.
    let path = own_model(&dir);
    let (log, checkpoint) = (path.with_extension("log.jsonl"), path.with_extension("checkpoint.safetensors"));
    std::fs::write(&log, "{\"epoch\":1}\n").unwrap();
    std::fs::copy(&path, &checkpoint).unwrap();
    let before = std::fs::read(&path).unwrap();
    write_png(&empty.join("train/good/a.png"), 40, 40, |x, y| [x as u8, y as u8, 0]);
    std::fs::write(empty.join("train/good/b.png"), "no picture").unwrap();
    std::fs::write(empty.join("train/good/c.png"), "nor this").unwrap();
    train(&empty, &path, "").fails(2, &["own.safetensors: already there", "--force"]);
    train(&empty, &path, "--force").fails(2, &["2 pictures", "train/good/b.png: not a picture", "train/good/c.png"]);
    assert!([&path, &checkpoint].iter().all(|file| before == std::fs::read(file).unwrap()));
    assert_eq!(std::fs::read_to_string(&log).unwrap(), "{\"epoch\":1}\n");
}

#[test]
fn diverging_training_leaves_the_old_model() {
    let dir = folder();
    let path = own_model(&dir);
    let before = std::fs::read(&path).unwrap();
    let checkpoint = path.with_extension("checkpoint.safetensors");
    std::fs::copy(&path, &checkpoint).unwrap();
    train(full(), &path, "--lr 1e30 --epochs 5 --force").fails(2, &["diverged", "lower learning rate"]);
    assert!(before == std::fs::read(&path).unwrap());
    assert!(!checkpoint.exists(), "a run that has begun leaves none of another's to go on from");
}

#[test]
fn truncated_files_are_refused_by_name() {
    let dir = folder();
    let path = dir.path().join("m.safetensors");
    train(full(), &path, "").ok();
    let whole = std::fs::read(&path).unwrap();
    let picture = full().join("test/good/000.png");
    let cut = dir.path().join("cut.safetensors");
    for len in [0, 4, 100, whole.len() / 2, whole.len() - 1] {
        std::fs::write(&cut, &whole[..len]).unwrap();
        ckaad(&["score", "--model", text(&cut), text(&picture)]).fails(2, &["cut.safetensors"]);
        ckaad(&["threshold", "--model", text(&cut), "--value", "1"]).fails(2, &["cut.safetensors"]);
        assert_eq!(std::fs::read(&cut).unwrap().len(), len, "a refused file is left as it was");
    }
    let checkpoint = path.with_extension("checkpoint.safetensors");
    let bytes = std::fs::read(&checkpoint).unwrap();
    std::fs::write(&checkpoint, &bytes[..bytes.len() / 2]).unwrap();
    train(full(), &path, "--epochs 2 --resume").fails(2, &["m.checkpoint.safetensors"]);
    assert!(whole == std::fs::read(&path).unwrap());
    // Weights without metadata are no model.
    let plain = dir.path().join("plain.safetensors");
    write_safetensors(&plain, &[Tensor::new("x", &[1], &[1f32]).unwrap()], &Default::default()).unwrap();
    ckaad(&["score", "--model", text(&plain), text(&picture)]).fails(2, &["plain.safetensors", "not a model file"]);
}

#[test]
fn weights_that_do_not_fit_are_refused_by_tensor() {
    let dir = folder();
    let weights = dir.path().join("w.safetensors");
    let whole: Vec<(String, Vec<usize>, Vec<f32>)> = tensors(model())
        .into_iter()
        .filter_map(|(n, s, v)| Some((n.strip_prefix("backbone.")?.to_string(), s, v)))
        .map(|(n, s, v)| (n, s, v.into_iter().map(f32::from_bits).collect()))
        .collect();
    let name = "layer1.1.bn2.running_var";
    type Change = fn(&mut Vec<(String, Vec<usize>, Vec<f32>)>, usize);
    let changes: [(Change, &str); 4] = [
        (|all, i| drop(all.remove(i)), ""),
        (|all, i| all[i].2[5] = f32::NAN, "NaN"),
        (|all, i| all[i].2[5] = -1.0, "negative variance"),
        (|all, i| (all[i].1, all[i].2) = (vec![3], vec![1.0; 3]), "[3]"),
    ];
    for (change, word) in changes {
        let mut all = whole.clone();
        let at = all.iter().position(|t| t.0 == name).unwrap();
        change(&mut all, at);
        let views: Vec<Tensor> = all.iter().map(|(n, s, v)| Tensor::new(n.as_str(), s, v).unwrap()).collect();
        write_safetensors(&weights, &views, &Default::default()).unwrap();
        let out = dir.path().join("m.safetensors");
        let flags = format!("--weights {}", text(&weights));
        train(full(), &out, &flags).fails(2, &["w.safetensors", name, word]);
        assert!(!out.exists());
    }
}

#[cfg(target_os = "linux")]
#[test]
fn places_that_cannot_be_written() {
    use std::path::Path;
    let dir = folder();
    // Nobody, not even root, makes files in /proc; and /dev/full is always full.
    let log = dir.path().join("log.jsonl");
    let flags = format!("--log {}", text(&log));
    train(full(), Path::new("/proc/m.safetensors"), &flags).fails(2, &["--out /proc/m.safetensors", "cannot write"]);
    let out = dir.path().join("m.safetensors");
    train(full(), &out, "--log /proc/log.jsonl").fails(2, &["/proc/log.jsonl"]);
    let full_log = train(full(), &out, "--log /dev/full").ok();
    assert!(full_log.err.contains("warning: the log cannot be written"), "{full_log:?}");
    let picture = full().join("test/good/000.png");
    let args = ["score", "--model", text(&out), "--maps", "/proc/maps", text(&picture)];
    ckaad(&args).fails(2, &["/proc/maps"]);
    let args = ["threshold", "--model", text(&out), "--out", "/proc/x", "--value", "1"];
    ckaad(&args).fails(2, &["/proc/x"]);
}

#[test]
fn masks_of_another_size_are_refused() {
    let dir = folder();
    let data = dir.path().join("data");
    for (kind, name) in [("good", "000.png"), ("hole", "000.png")] {
        std::fs::create_dir_all(data.join("test").join(kind)).unwrap();
        std::fs::copy(full().join("test").join(kind).join(name), data.join("test").join(kind).join(name)).unwrap();
    }
    std::fs::create_dir_all(data.join("ground_truth/hole")).unwrap();
    image::GrayImage::new(5, 7).save(data.join("ground_truth/hole/000_mask.png")).unwrap();
    ckaad(&["eval", "--model", text(model()), "--data", text(&data)]).fails(2, &["000_mask.png", "5 x 7", "equal"]);
}

#[test]
fn a_picture_too_large_or_odd_is_one_line() {
    let dir = folder();
    let huge = dir.path().join("huge.png");
    // A header that claims 20,000 x 20,000 pixels.
    let mut png = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\x4e\x20\0\0\x4e\x20\x08\x02\0\0\0".to_vec();
    png.extend([0; 16]);
    std::fs::write(&huge, png).unwrap();
    let empty = dir.path().join("empty.png");
    std::fs::write(&empty, "").unwrap();
    let run = ckaad(&["score", "--model", text(model()), "--format", "json", text(&huge), text(&empty)]);
    assert_eq!(run.code, Some(2));
    let lines = run.json();
    assert!(lines[0]["error"].as_str().unwrap().contains("huge.png"), "{lines:?}");
    assert!(lines[1]["error"].as_str().unwrap().contains("empty"), "{lines:?}");
}

#[cfg(target_os = "linux")]
#[test]
fn nobody_hears_the_messages() {
    let dir = folder();
    let out = dir.path().join("m.safetensors");
    let mut training = training(full(), &out, "");
    training.stderr(std::fs::File::options().write(true).open("/dev/full").unwrap());
    assert_eq!(training.status().unwrap().code(), Some(0));
    assert!(out.exists());
}
