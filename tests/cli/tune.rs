//! `ckaad tune` on the emulator, and what later commands make of its file.

use crate::support::*;
use serde_json::Value;
use std::path::Path;

/// Tunes the networks that `training` uses, scoring, with two candidates each.
fn tune(file: &Path) -> Value {
    let small = ["--device", "sim", "--image-size", "32", "--layers", "1,2", "--candidates", "3", "--format", "json"];
    let run = ckaad(&[&["tune", "--tuning", text(file)], &small[..]].concat()).ok();
    run.json().remove(0)
}

#[test]
fn measures_once_and_then_finds_nothing_better() {
    let dir = folder();
    let file = dir.path().join("new folder/tuning.json");
    let first = tune(&file);
    assert_eq!(first["unit"], "warp instructions");
    assert_eq!(first["number"], "tf32");
    let products = first["products"].as_array().unwrap();
    assert!(products.len() > 5);
    for p in products {
        let cost = |when: &str| p[when]["cost"].as_f64().unwrap();
        assert!(cost("now") <= cost("before") && (1..=3).contains(&p["measured"].as_u64().unwrap()), "{p}");
    }
    assert!(products.iter().any(|p| p["gain"].as_f64().unwrap() > 0.02), "{first}");
    let kept: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    assert_eq!(kept["products"].as_array().unwrap().len(), products.len());

    let second = tune(&file);
    let [now, before] = [("now", &first), ("before", &second)].map(|(when, run)| {
        let of = |p: &Value| (p["product"].clone(), p[when].clone());
        run["products"].as_array().unwrap().iter().map(of).collect::<Vec<_>>()
    });
    assert_eq!(before, now, "what was measured is in use");
    assert_eq!(std::fs::read_dir(file.parent().unwrap()).unwrap().count(), 1, "nothing else is left there");
}

#[test]
fn scores_stay_and_training_does_not_resume_with_another_tuning() {
    let dir = folder();
    let (file, out) = (dir.path().join("tuning.json"), dir.path().join("model.safetensors"));
    tune(&file);
    let pictures = full().join("test/good");
    let scores = |tuning: &str| -> Vec<f64> {
        let args = ["score", "--model", text(model()), "--device", "sim", "--format", "json", "--tuning", tuning];
        let run = ckaad(&[&args[..], &[text(&pictures)]].concat()).ok();
        assert_eq!(run.err, "");
        run.json().iter().map(|l| l["score"].as_f64().unwrap()).collect()
    };
    let (with, without) = (scores(text(&file)), scores("off"));
    assert!(!with.is_empty() && with.len() == without.len());
    for (a, b) in with.iter().zip(&without) {
        // tf32 products rounded once more where a sum comes out the other way.
        assert!((a - b).abs() <= 1e-3 * b.abs(), "{a} with, {b} without");
    }
    let with = format!("--device sim --tuning {}", text(&file));
    train(full(), &out, &with).ok();
    train(full(), &out, "--device sim --epochs 2 --resume").fails(2, &[", tuning "]);
    train(full(), &out, &format!("{with} --epochs 2 --resume")).ok();
}

/// Whatever is wrong with a file, one line says it and the model decides.
#[test]
fn files_of_no_use() {
    let dir = folder();
    let file = dir.path().join("tuning.json");
    let refused = |word: &str| {
        let run = ckaad(&["plan", "score", "--device", "sim", "--tuning", text(&file)]).ok();
        assert!(run.err.lines().count() == 1 && run.err.contains(text(&file)) && run.err.contains(word), "{run:?}");
    };
    refused("No such file");
    std::fs::write(&file, "{\"format\": 1").unwrap();
    refused("not a tuning file");
    std::fs::write(&file, [0xff, 0xfe, 0]).unwrap();
    refused("UTF-8");
    let other = "{\"format\": 1, \"card\": \"NVIDIA H200\", \"multiprocessors\": 132, \"driver\": \"CUDA 12.4\", \
                 \"kernels\": \"\", \"products\": []}";
    std::fs::write(&file, other).unwrap();
    refused("NVIDIA H200");
}

#[test]
fn goes_to_the_cache_where_no_file_is_named() {
    let dir = folder();
    let args = "tune --device sim --image-size 32 --layers 1 --candidates 1 --precision f32";
    let mut tuning = command(&args.split(' ').collect::<Vec<_>>());
    tuning.env_remove("CKAAD_CACHE").env("XDG_CACHE_HOME", dir.path());
    let run = run(tuning).ok();
    let files: Vec<_> =
        std::fs::read_dir(dir.path().join("ckaad/tuning")).unwrap().map(|f| f.unwrap().path()).collect();
    let [file] = &files[..] else { panic!("{files:?}") };
    let name = file.file_name().unwrap().to_str().unwrap();
    assert!(name.starts_with("sim-ckaad-") && name.ends_with(".json"), "{name}");
    assert!(run.lines().last().unwrap().ends_with(text(file)), "{run:?}");
}

#[test]
fn what_has_no_kernels_or_no_file() {
    ckaad(&["tune", "--device", "cpu"]).fails(2, &["cpu", "GPU"]);
    ckaad(&["tune", "--device", "sim", "--tuning", "off"]).fails(2, &["--tuning off"]);
    ckaad(&["tune", "--device", "sim", "--train=0"]).fails(2, &["--train"]);
}
