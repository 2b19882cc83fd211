//! `ckaad train`: what it writes, and that the same run gives the same bytes.

use crate::support::*;
use std::path::Path;

#[test]
fn writes_a_model_with_a_threshold_and_a_line_per_epoch() {
    let dir = folder();
    let path = dir.path().join("m.safetensors");
    let run = train(full(), &path, "--epochs 3 --strategy ckapatch --holdout 0.25 --topk 50 --sigma 2").ok();
    assert_eq!(run.out, "");
    assert!(run.err.contains("7 normal pictures, 2 held back, 3 anomalous"), "{run:?}");
    let log = std::fs::read_to_string(path.with_extension("log.jsonl")).unwrap();
    for (i, line) in log.lines().enumerate() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        let keys: Vec<&str> = line.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(keys, ["adv", "d_loss", "epoch", "loss", "recon", "seconds"]);
        let value = |k: &str| line[k].as_f64().unwrap();
        assert_eq!(value("epoch"), i as f64 + 1.0);
        assert!((value("loss") - value("recon") - 0.02 * value("adv")).abs() < 1e-5, "{line}");
    }
    assert_eq!(log.lines().count(), 3);
    let expected =
        [("format", "ckaad"), ("version", "2"), ("detector", "ckaad"), ("backbone", "resnet18"), ("layers", "1,2")];
    let more = [("image_size", "32"), ("topk", "50"), ("sigma", "2"), ("weights", "random, seed 0")];
    for (key, value) in expected.into_iter().chain(more) {
        assert_eq!(metadata(&path, key).as_deref(), Some(value), "{key}");
    }
    assert!(metadata(&path, "threshold").unwrap().parse::<f64>().unwrap() > 0.0);
}

#[test]
fn the_seed_decides_everything() {
    let dir = folder();
    let bytes = |name: &str, more: &str| {
        let path = dir.path().join(name);
        train(plain(), &path, &format!("--strategy ckapatch --epochs 2 {more}")).ok();
        (log(&path), std::fs::read(&path).unwrap())
    };
    let first = bytes("a.safetensors", "--seed 3");
    assert!(first == bytes("b.safetensors", "--seed 3"));
    assert!(first != bytes("c.safetensors", "--seed 4"));
}

/// Exactly, not just nearly: the backbone computes the same bits wherever they are kept.
#[test]
fn the_feature_cache_changes_no_bit() {
    for (name, data) in [("labelled", full()), ("elastic", plain())] {
        let dir = folder();
        let trained = |kind: &str| {
            let path = dir.path().join(format!("{kind}.safetensors"));
            train(data, &path, &format!("--strategy ckapatch --epochs 2 --feature-cache {kind}")).ok();
            (log(&path), tensors(&path))
        };
        let memory = trained("memory");
        for kind in ["disk", "off"] {
            let other = trained(kind);
            assert_eq!(memory.0, other.0, "{name}, {kind}");
            assert!(memory.1 == other.1, "{name}, {kind}");
        }
        let files = std::fs::read_dir(dir.path()).unwrap().count();
        assert_eq!(files, 9, "three models with log and checkpoint, and no cache left behind");
    }
}

#[test]
fn odd_pictures_give_finite_losses_and_scores() {
    let gray16 = |path: &std::path::Path| {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        image::ImageBuffer::from_fn(40, 50, |x, y| image::Luma([(x * 1000 + y) as u16])).save(path).unwrap();
    };
    let rgba = |path: &std::path::Path| image::RgbaImage::from_pixel(30, 20, image::Rgba([9, 90, 200, 7])).save(path);
    let dir = folder();
    let one = dir.path().join("one");
    write_png(&one.join("train/good/a.png"), 64, 64, |x, y| [x as u8, y as u8, 7]);
    let flat = dir.path().join("flat");
    for (name, level) in [("a", 0), ("b", 0), ("c", 255)] {
        write_png(&flat.join(format!("train/good/{name}.png")), 64, 64, |_, _| [level; 3]);
    }
    let mixed = dir.path().join("mixed");
    gray16(&mixed.join("train/good/gray16.png"));
    rgba(&mixed.join("train/good/rgba.png")).unwrap();
    write_png(&mixed.join("train/good/pixel.png"), 1, 1, |_, _| [5, 6, 7]);
    for data in [&one, &flat, &mixed] {
        for strategy in ["recon", "ckapatch", "ckaimg"] {
            let path = dir.path().join("m.safetensors");
            // A batch larger than the dataset, and nothing left to hold back in the smallest one.
            train(data, &path, &format!("--strategy {strategy} --epochs 3 --batch-size 50 --force")).ok();
            assert!(log(&path).iter().all(|l| l["loss"].as_f64().is_some_and(f64::is_finite)), "{data:?} {strategy}");
            let scored = ckaad(&["score", "--model", text(&path), "--format", "json", text(data)]).ok().json();
            assert!(scored.iter().all(|l| l["score"].as_f64().is_some_and(f64::is_finite)), "{scored:?}");
        }
    }
}

/// Good pictures alone, in a flat folder, and what the file tells of it afterwards.
#[test]
fn good_pictures_alone() {
    let dir = folder();
    let path = dir.path().join("m.safetensors");
    let good = full().join("train/good");
    let small = ["--weights", "random", "--image-size", "64", "--layers", "1,2", "--detector", "patchcore"];
    let args = ["train", "--normal", text(&good), "--out", text(&path), "--max-false-alarms", "1"];
    ckaad(&args).fails(2, &["--max-false-alarms", "1% or 100%"]);
    let args = ["train", "--normal", text(&good), "--out", text(&path), "--max-false-alarms", "25%"];
    let run = ckaad(&[&args[..], &small].concat()).ok();
    // Nine pictures are too few to hold some back: all of them are scored by banks that did not see them.
    assert!(run.err.contains("9 normal pictures, 0 held back, 0 anomalous"), "{run:?}");
    assert!(run.err.contains("0.75-quantile of 9 normal pictures by 5-fold cross-validation"), "{run:?}");
    assert!(run.err.contains("warning: 9 scores say little"), "{run:?}");
    let info = &ckaad(&["info", "--format", "json", text(&path)]).ok().json()[0];
    let scores: Vec<f64> =
        info["calibration"]["scores"].as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect();
    assert_eq!(scores.len(), 9);
    assert!(scores.is_sorted());
    // numpy.quantile: 0.75 of nine scores is the seventh; no more than two of nine may reach the threshold.
    let halfway = (scores[6] + scores[7]) / 2.0;
    assert!((info["threshold"].as_f64().unwrap() - halfway).abs() < 1e-12 * halfway);
    assert_eq!(info["calibration"]["origin"]["cross-validation"]["folds"], 5);
    let training = &info["training"];
    assert_eq!(
        (&training["normal"], &training["held_back"], &training["anomalous"]),
        (&9.into(), &0.into(), &0.into())
    );
    assert_eq!(training["date"], "1970-01-01T00:00:00Z");
    assert_eq!(training["options"]["coreset"], "0.1");
    let table = ckaad(&["info", text(&path)]).ok();
    for word in ["patchcore", "resnet18, layers 1, 2", "random, seed 0", "9 normal", "cross-validation"] {
        assert!(table.out.contains(word), "no {word} in {table:?}");
    }

    // The pictures were seen by the final bank, so their scores are lower than those they were calibrated with.
    let mean = |v: &[f64]| v.iter().sum::<f64>() / v.len() as f64;
    let scored = ckaad(&["score", "--model", text(&path), "--format", "json", text(&good)]).ok().json();
    let seen: Vec<f64> = scored.iter().map(|l| l["score"].as_f64().unwrap()).collect();
    assert!(mean(&seen) < mean(&scores), "{seen:?} {scores:?}");

    // A picture's copy is no other picture, whatever it is called.
    let (copies, bad) = (dir.path().join("copies"), dir.path().join("bad"));
    for folder in [&copies, &bad] {
        std::fs::create_dir(folder).unwrap();
    }
    for (from, to) in [("000", "a"), ("000", "b"), ("000", "c"), ("001", "d"), ("002", "e")] {
        std::fs::copy(good.join(from).with_extension("png"), copies.join(to).with_extension("png")).unwrap();
    }
    std::fs::copy(good.join("001.png"), bad.join("001.png")).unwrap();
    let args = ["train", "--normal", text(&copies), "--out", text(&path), "--force"];
    let run = ckaad(&[&args[..], &small, &["--folds", "3"]].concat()).ok();
    assert!(run.err.contains("warning: 2 normal pictures are copies of others"), "{run:?}");
    assert!(run.err.contains("of 3 normal pictures by 3-fold") && run.err.contains("3 scores say little"), "{run:?}");
    let threshold = ckaad(&["threshold", "--model", text(&path), text(&copies), text(&copies)]).ok();
    assert!(
        threshold.err.contains("warning: 7 pictures are copies of others: of equal ones one counts"),
        "{threshold:?}"
    );
    assert!(threshold.err.contains("of 3 normal pictures given"), "{threshold:?}");
    ckaad(&[&args[..], &small, &["--folds", "4"]].concat()).fails(2, &["4 folds of 3 different normal pictures"]);
    let steps = ["--weights", "random", "--image-size", "32", "--layers", "1,2", "--epochs", "1", "--batch-size", "1"];
    let run = ckaad(&[&args[..], &steps, &["--anomalous", text(&bad)]].concat()).ok();
    assert!(run.err.contains("warning: 1 picture is among the normal and the anomalous ones"), "{run:?}");

    ckaad(&["train", "--data", text(&good), "--out", "x"]).fails(2, &["--normal "]);
    ckaad(&["train", "--normal", text(&good), "--data", "x"]).fails(2, &["--data", "--normal"]);
    ckaad(&["train", "--out", "x"]).fails(2, &["--normal DIR", "--data DIR"]);
}

/// With as many parts as pictures every one is scored by a detector that learned from all others: training by hand gives
/// the same scores.
#[test]
fn cross_validation_leaves_each_picture_out() {
    let dir = folder();
    let good = dir.path().join("good");
    std::fs::create_dir(&good).unwrap();
    for name in ["000.png", "001.png", "002.png"] {
        std::fs::copy(full().join("train/good").join(name), good.join(name)).unwrap();
    }
    let small = "--weights random --image-size 32 --layers 1,2 --strategy recon --epochs 2 --batch-size 1";
    let small: Vec<&str> = small.split(' ').collect();
    let trained = |folder: &std::path::Path, out: &std::path::Path, more: &[&str]| {
        ckaad(&[&["train", "--normal", text(folder), "--out", text(out)], &small[..], more].concat()).ok()
    };
    let whole = dir.path().join("whole.safetensors");
    let run = trained(&good, &whole, &["--folds", "3"]);
    assert!(run.err.contains("without part 3 of 3"), "{run:?}");
    let info = &ckaad(&["info", "--format", "json", text(&whole)]).ok().json()[0];
    let found: Vec<f64> =
        info["calibration"]["scores"].as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect();
    let mut expected = Vec::new();
    for name in ["000.png", "001.png", "002.png"] {
        let (rest, picture) = (dir.path().join(format!("without-{name}")), good.join(name));
        std::fs::create_dir(&rest).unwrap();
        for other in std::fs::read_dir(&good).unwrap().map(|e| e.unwrap().path()).filter(|p| *p != picture) {
            std::fs::copy(&other, rest.join(other.file_name().unwrap())).unwrap();
        }
        let out = dir.path().join(format!("{name}.safetensors"));
        trained(&rest, &out, &["--holdout", "0"]);
        let line = &ckaad(&["score", "--model", text(&out), "--format", "json", text(&picture)]).ok().json()[0];
        expected.push(line["score"].as_f64().unwrap());
    }
    expected.sort_by(f64::total_cmp);
    // The order of the pictures in an epoch is drawn by their number among those trained on: the same in both.
    assert_eq!(found, expected);
    // The detector itself learned from all of them, as one without a threshold does.
    let plain = dir.path().join("plain.safetensors");
    trained(&good, &plain, &["--holdout", "0"]);
    assert!(tensors(&plain) == tensors(&whole));
    let never = dir.path().join("never.safetensors");
    ckaad(&[&["train", "--normal", text(&good), "--out", text(&never), "--folds", "4"], &small[..]].concat())
        .fails(2, &["4 folds of 3 normal pictures"]);
    // One is one in words, too.
    let one = dir.path().join("one");
    std::fs::create_dir(&one).unwrap();
    std::fs::copy(full().join("train/good/000.png"), one.join("a.png")).unwrap();
    ckaad(&[&["train", "--normal", text(&one), "--out", text(&never), "--folds", "1"], &small[..]].concat())
        .fails(2, &["1 fold of 1 normal picture:"]);
    let run = trained(&one, &never, &["--holdout", "0"]);
    assert!(run.err.contains("1 normal picture, 0 held back"), "{run:?}");
}

#[test]
fn nothing_is_replaced_unasked() {
    let dir = folder();
    let at = |name: &str| dir.path().join(name);
    std::fs::copy(model(), at("w.safetensors")).unwrap();
    let w = at("w.safetensors");
    let before = std::fs::read(&w).unwrap();
    // Weights, a picture, an earlier model.
    let flags = format!("--weights {} --force", text(&w));
    train(full(), &w, &flags).fails(2, &["w.safetensors", "--out would replace it"]);
    let run = train(full(), &w, "");
    assert!(!run.err.contains("--resume"), "there is no checkpoint to go on from: {run:?}");
    run.fails(2, &["--out", "w.safetensors", "already there", "--force"]);
    assert!(std::fs::read(&w).unwrap() == before);
    std::fs::create_dir(at("p")).unwrap();
    let picture = at("p/a.png");
    std::fs::copy(full().join("train/good/000.png"), &picture).unwrap();
    let flags = ["--force", "--weights", "random", "--detector", "patchcore"];
    let args = ["train", "--normal", text(dir.path()), "--out", text(&picture)];
    ckaad(&[&args[..], &flags].concat()).fails(2, &["a.png", "already there, and no model file"]);
    ckaad(&["threshold", "--model", text(&w), "--out", text(&picture), "--force", text(&picture)])
        .fails(2, &["a.png", "already there, and no model file"]);
    ckaad(&["threshold", "--model", text(&w), "--out", text(&picture), "--value", "1"]).fails(2, &["already there"]);
    // One that is listed below a folder, too.
    ckaad(&["threshold", "--model", text(&w), "--out", text(&picture), "--force", text(&at("p"))])
        .fails(2, &["a.png", "already there, and no model file"]);
    assert_eq!(std::fs::read(&picture).unwrap(), std::fs::read(full().join("train/good/000.png")).unwrap());
    // Weights of a backbone are no model, and what is read-only is to stay, whoever runs this and whatever is forced.
    let backbone = at("resnet18.safetensors");
    std::fs::copy(&w, &backbone).unwrap();
    rewrite(&backbone, |name| name.starts_with("backbone."), |metadata| metadata.clear());
    let threshold = |out: &std::path::Path| {
        ckaad(&["threshold", "--model", text(&w), "--out", text(out), "--force", "--value", "1"])
    };
    let weights = std::fs::read(&backbone).unwrap();
    threshold(&backbone).fails(2, &["resnet18.safetensors", "already there, and no model file of this program"]);
    assert!(std::fs::read(&backbone).unwrap() == weights);
    let kept = at("kept.safetensors");
    std::fs::copy(&w, &kept).unwrap();
    let mut mode = std::fs::metadata(&kept).unwrap().permissions();
    mode.set_readonly(true);
    std::fs::set_permissions(&kept, mode).unwrap();
    threshold(&kept).fails(2, &["kept.safetensors", "is read-only"]);
    assert!(std::fs::read(&kept).unwrap() == before);
    // Leftovers of an interrupted run are an unfinished model.
    std::fs::copy(model(), at("m.checkpoint.safetensors")).unwrap();
    train(full(), &at("m.safetensors"), "").fails(2, &["m.checkpoint.safetensors", "already there", "--resume"]);
    let run = train(full(), &at("m.safetensors"), "--force").ok();
    assert!(run.err.contains("m.checkpoint.safetensors (") && run.err.contains("MB) is for --resume"), "{run:?}");
}

/// A category's own settings, also where its folder is named and it has no other name.
#[test]
fn the_papers_settings_of_a_category_by_its_folder() {
    let dir = folder();
    let data = dir.path().join("mv/transistor");
    crate::experiment::copy(full(), &data);
    let small = "--backbone resnet18 --layout mvtec --holdout 0";
    let said = |data: &Path, more: &str| {
        let run = train(data, &dir.path().join("m.safetensors"), &format!("{small} --force {more}")).ok();
        let said = run.err.lines().find(|l| l.contains("trained as in the paper")).unwrap().to_string();
        ["0.001", "0.005"].map(|lr| said.contains(&format!("--lr {lr}")))
    };
    assert_eq!(said(&data, ""), [true, false]);
    assert_eq!(said(&dir.path().join("mv"), "--category transistor"), [true, false]);
    // Of a folder of another name it is the dataset's.
    std::fs::rename(&data, dir.path().join("mv/zipper")).unwrap();
    assert_eq!(said(&dir.path().join("mv/zipper"), ""), [false, true]);
}
