//! `ckaad train`: what it writes, and that the same run gives the same bytes.

use crate::support::*;

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
