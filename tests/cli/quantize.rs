//! `ckaad quantize`, and what reads the models that it writes.

use crate::support::*;
use ckaad::weights::{Archive, Elem, Tensor, write_safetensors};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

fn quantize(model: &Path, out: &Path, more: &[&str]) -> Run {
    ckaad(&[&["quantize", "--model", text(model), "--out", text(out)], more].concat())
}

/// [`model`] with layers of 8 bits, by its own training pictures.
fn quantized(dir: &Path) -> PathBuf {
    let out = dir.join("q.safetensors");
    quantize(model(), &out, &["--data", text(full()), "--tolerance", "5%"]).ok();
    out
}

/// Scores of the test pictures of [`full`].
fn scores(model: &Path, more: &[&str]) -> Vec<f64> {
    let args = ["score", "--model", text(model), "--format", "json", "--device", "cpu", text(full())];
    let run = ckaad(&[&args, more].concat()).ok();
    run.json().iter().map(|line| line["score"].as_f64().unwrap()).collect()
}

/// Most that one of the scores moved, relative.
fn moved(found: &[f64], expected: &[f64]) -> f64 {
    assert_eq!(found.len(), expected.len());
    found.iter().zip(expected).map(|(a, b)| (a - b).abs() / b).fold(0.0, f64::max)
}

/// Writes a model again with some of its tensors as `change` makes them.
fn with(model: &Path, change: impl Fn(&str, Vec<f32>) -> Option<Vec<f32>>) {
    let archive = Archive::open(model).unwrap();
    let (mut real, mut eight) = (Vec::new(), Vec::new());
    for t in archive.tensors() {
        if t.elem == Elem::I8 {
            eight.push((t.name, t.shape.to_vec(), bytemuck::cast_slice::<u8, i8>(t.data).to_vec()));
        } else if let Some(values) = change(t.name, t.to_f32()) {
            let shape = if values.len() == t.len() { t.shape.to_vec() } else { vec![values.len()] };
            real.push((t.name, shape, values));
        }
    }
    let mut tensors: Vec<Tensor> = real.iter().map(|(n, s, v)| Tensor::new(*n, s, v).unwrap()).collect();
    tensors.extend(eight.iter().map(|(n, s, v)| Tensor::new(*n, s, v).unwrap()));
    write_safetensors(model, &tensors, archive.metadata()).unwrap();
}

#[test]
fn a_quarter_of_the_size_with_scores_close_to_those_of_f32() {
    let dir = folder();
    let q = quantized(dir.path());
    let bytes = |path: &Path| fs::metadata(path).unwrap().len() as f64;
    assert!(bytes(&q) < 0.3 * bytes(model()), "{} of {}", bytes(&q), bytes(model()));
    let expected = scores(model(), &[]);
    // As far as the median may move by the `--tolerance` that `quantized` gives.
    let found = scores(&q, &[]);
    assert!(moved(&found, &expected) < 0.05, "{found:?}, expected {expected:?}");
    assert_eq!(scores(&q, &["--precision", "int8"]), found, "what it was made for is the default");
    assert_eq!(scores(&q, &["--batch-size", "5"]), found, "whole numbers do not depend on the batch");
    let dequantised = scores(&q, &["--precision", "f32"]);
    assert!(dequantised != found && moved(&dequantised, &expected) < 0.05, "{dequantised:?}");

    // Others read it as well.
    let eval =
        ckaad(&["eval", "--model", text(&q), "--data", text(full()), "--device", "cpu", "--format", "json"]).ok();
    assert!(eval.json()[0].is_object(), "{eval:?}");
    let plan = ckaad(&["plan", "score", "--model", text(&q), "--device", "cpu", "--program"]).ok();
    assert!(plan.out.contains("conv2d_int8(") && plan.out.contains(" u8 "), "{plan:?}");
    let bench = ckaad(&["bench", "score", "--model", text(&q), "--device", "cpu", "--format", "json"]).ok();
    assert!(bench.out.contains("int8"), "{bench:?}");
    // A threshold changes nothing else.
    let t = dir.path().join("t.safetensors");
    ckaad(&["threshold", "--model", text(&q), "--value", "0.5", "--out", text(&t)]).ok();
    assert_eq!(scores(&t, &[]), found);
    assert_eq!(tensors(&t), tensors(&q));
}

#[test]
fn the_table_says_what_was_tried() {
    let dir = folder();
    let out = dir.path().join("q.safetensors");
    let normal = full().join("train/good");
    let args = ["--normal", text(&normal), "--scales", "percentile", "--format", "json"];
    let run = quantize(model(), &out, &args).ok();
    let told: &Value = &run.json()[0];
    let layers = told["layers"].as_array().unwrap();
    let share: f64 = layers.iter().map(|l| l["products"].as_f64().unwrap()).sum();
    assert!((share - 1.0).abs() < 1e-9 && layers[0]["int8"] == false, "{told}");
    assert!(layers.iter().all(|l| l["maps_moved"].as_f64().unwrap() > 0.0), "{told}");
    assert!(run.err.contains("layers in 8 bits"), "{run:?}");
    // As many layers are left as the tolerance asks for.
    let strict = quantize(model(), &out, &[&args[..], &["--tolerance", "0%", "--force"]].concat()).ok();
    let strict: &Value = &strict.json()[0];
    assert!(strict["layers"].as_array().unwrap().iter().all(|l| l["int8"] == false), "{strict}");
    assert_eq!(strict["scores_moved"], 0.0);
}

#[test]
fn what_cannot_be_quantised_is_told() {
    let dir = folder();
    let (out, empty) = (dir.path().join("q.safetensors"), dir.path().join("empty"));
    fs::create_dir(&empty).unwrap();
    let normal = full().join("train/good");
    quantize(model(), &out, &[]).fails(2, &["--data", "--normal"]);
    quantize(model(), &out, &["--normal", text(&empty)]).fails(2, &["empty"]);
    quantize(Path::new("nowhere.safetensors"), &out, &["--normal", text(&normal)]).fails(2, &["nowhere.safetensors"]);
    quantize(model(), &out, &["--normal", text(&normal), "--scales", "median"]).fails(2, &["--scales", "mse"]);
    quantize(model(), model(), &["--normal", text(&normal), "--force"]).fails(2, &["--out"]);
    assert!(!out.exists());
    // One picture, and one that is the same everywhere.
    let few = quantize(model(), &out, &["--normal", text(&full().join("test/good")), "-q"]).ok();
    assert!(few.err.contains("3 different pictures"), "{few:?}");
    let flat = dir.path().join("flat");
    write_png(&flat.join("a.png"), 64, 64, |_, _| [90; 3]);
    let one = quantize(model(), &out, &["--normal", text(&flat), "--force", "--tolerance", "100%"]).ok();
    assert!(one.err.contains("1 different picture"), "{one:?}");
    assert!(scores(&out, &[]).iter().all(|s| s.is_finite()));
    // What is there is not replaced, and what has 8 bits not quantised again.
    let before = fs::read(&out).unwrap();
    quantize(model(), &out, &["--normal", text(&normal)]).fails(2, &["--out", "--force"]);
    quantize(&out, &dir.path().join("r.safetensors"), &["--normal", text(&normal)]).fails(2, &["8 bits already"]);
    assert!(fs::read(&out).unwrap() == before);
}

/// What is left in f32 is summed in another order there, so that a number here and there is rounded to the next byte.
#[test]
fn a_gpu_scores_as_the_cpu_does() {
    let dir = folder();
    let q = quantized(dir.path());
    let picture = full().join("test/good/000.png");
    let score = |device: &str| {
        let args = ["score", "--model", text(&q), "--format", "json", "--precision", "int8", "--device", device];
        ckaad(&[&args[..], &[text(&picture)]].concat()).ok().json()[0]["score"].as_f64().unwrap()
    };
    let [found, expected] = ["sim", "cpu"].map(score);
    assert!(moved(&[found], &[expected]) < 1e-3, "{found}, expected {expected}");
}

#[test]
fn precision_and_files_that_do_not_fit_are_refused() {
    let dir = folder();
    let picture = full().join("test/good/000.png");
    let score = |model: &Path, more: &[&str]| {
        ckaad(&[&["score", "--model", text(model), text(&picture), "--device", "cpu"], more].concat())
    };
    score(model(), &["--precision", "int8"]).fails(2, &["--precision int8", "ckaad quantize --model"]);
    score(model(), &["--precision", "bf16"]).fails(2, &["--precision bf16", "f32 or int8"]);
    train(full(), &dir.path().join("m.safetensors"), "--precision int8 --device cpu").fails(2, &["--precision int8"]);
    let q = quantized(dir.path());
    let whole = fs::read(&q).unwrap();
    let name = "backbone.layer1.0.conv1.weight_scale";
    let activation = "scale.backbone.layer1.0.conv1.conv2d";
    for (broken, words) in [(0.0, "0"), (-1.0, "-1"), (f32::NAN, "NaN"), (f32::INFINITY, "infinite")] {
        for name in [name, activation] {
            fs::write(&q, &whole).unwrap();
            with(&q, |n, mut values| {
                if n == name {
                    values[0] = broken;
                }
                Some(values)
            });
            score(&q, &[]).fails(2, &[name, words]);
        }
    }
    // Numbers that make infinities on the way, which bytes would hide.
    let smallest = f32::from_bits(1);
    for (name, extreme, words) in [
        (name, 3e38, "too large"),
        (activation, 3e38, "expected a positive number"),
        (activation, smallest, "expected a positive number"),
        ("backbone.conv1.weight", 3e38, "too large"),
        ("backbone.conv1.bias", f32::INFINITY, "infinite"),
    ] {
        fs::write(&q, &whole).unwrap();
        with(&q, |n, mut values| {
            if n == name {
                values[0] = extreme;
            }
            Some(values)
        });
        score(&q, &[]).fails(2, &[words]);
    }
    fs::write(&q, &whole).unwrap();
    with(&q, |n, values| Some(if n == name { values[1..].to_vec() } else { values }));
    score(&q, &[]).fails(2, &[name, "expected [64]"]);
    for missing in [name, activation] {
        fs::write(&q, &whole).unwrap();
        with(&q, |n, values| (n != missing).then_some(values));
        score(&q, &[]).fails(2, &[missing.trim_start_matches("scale.")]);
    }
    // Weights that are cut off.
    fs::write(&q, &whole[..whole.len() - 7]).unwrap();
    score(&q, &[]).fails(2, &["q.safetensors"]);
}

#[test]
fn training_can_end_with_it() {
    let dir = folder();
    let [m, q, again] = ["m", "q", "again"].map(|name| dir.path().join(format!("{name}.safetensors")));
    train(full(), &m, &format!("--quantize {}", text(&q))).ok();
    quantize(&m, &again, &["--data", text(full())]).ok();
    assert!(fs::read(&q).unwrap() == fs::read(&again).unwrap(), "the same as by the command");
    // Of a detector that is fitted at once the backbone alone has convolutions.
    let bank = dir.path().join("bank.safetensors");
    let fitted = dir.path().join("p.safetensors");
    let small = ["--weights", "random", "--image-size", "64", "--layers", "1,2", "--detector", "patchcore"];
    let args = ["train", "--data", text(full()), "--out", text(&fitted), "--quantize", text(&bank)];
    let run = ckaad(&[&args[..], &small].concat()).ok();
    assert!(run.err.contains("layers in 8 bits"), "{run:?}");
    let held = Archive::open(&bank).unwrap();
    assert!(held.get("memory.bank").unwrap().elem == Elem::F32);
    assert!(scores(&bank, &[]).iter().all(|s| *s > 0.0));
}
