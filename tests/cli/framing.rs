//! `--resize`, `--tile`, `--overlap` and `--roi` through training, scoring, evaluation and thresholds, and in the model file. What they
//! come to is held against Pillow and numpy in `crates/python/tests/test_framing.py`.

use crate::support::*;
use serde_json::{Value, json};
use std::path::Path;

/// Shape of a map file, as its header tells.
fn shape(file: &Value) -> String {
    let bytes = std::fs::read(file.as_str().unwrap()).unwrap();
    let header = String::from_utf8_lossy(&bytes[10..128]).into_owned();
    header.split("'shape': ").nth(1).unwrap().split(')').next().unwrap().to_string() + ")"
}

fn score(model: &Path, more: &[&str]) -> Vec<Value> {
    let picture = full().join("test/hole/000.png");
    ckaad(&[&["score", "--model", text(model), "--format", "json", text(&picture)], more].concat()).ok().json()
}

#[test]
fn a_model_of_tiles_is_one_everywhere() {
    let folder = folder();
    let (model, maps) = (folder.path().join("tiled.safetensors"), folder.path().join("maps"));
    train(full(), &model, "--tile 48 --overlap 12").ok();
    let info = ckaad(&["info", text(&model), "--format", "json"]).ok().json().remove(0);
    assert_eq!(info["framing"], json!({"tile": 48, "overlap": 12}));
    let told = ckaad(&["info", text(&model)]).ok().out;
    assert!(told.contains("tiles of 48 x 48 pixels, scaled to 32 x 32; neighbours share at least 12"), "{told}");
    // 64 pixels of the picture, two thirds of which are the network's.
    let found = score(&model, &["--maps", text(&maps)]).remove(0);
    assert_eq!(shape(&found["map"]), "(43, 43)");
    // Whoever scores in other tiles is told that the threshold is not meant for them.
    let other = ckaad(&["score", "--model", text(&model), "--tile", "32", text(full())]);
    assert!(other.err.contains("thresholds rest on pictures otherwise looked at (tiles of 48"), "{other:?}");
    let same = ckaad(&["score", "--model", text(&model), "--tile", "48", "--overlap", "12", text(full())]).ok();
    assert!(!same.err.contains("otherwise"), "{same:?}");
    let e = ckaad(&["eval", "--model", text(&model), "--data", text(full()), "--format", "json"]).ok().json().remove(0);
    assert!(e["pixel_auroc"].as_f64().is_some_and(|v| (0.0..=1.0).contains(&v)), "{e}");
}

#[test]
fn thresholds_are_set_for_what_is_looked_at() {
    let folder = folder();
    let (model, out) = (own_model(&folder), folder.path().join("padded.safetensors"));
    let good = full().join("test/good");
    let args = ["threshold", "--model", text(&model), "--out", text(&out), "--resize", "pad", text(&good)];
    let done = ckaad(&args).ok();
    assert!(!done.err.contains("otherwise looked at"), "{done:?}");
    let info = ckaad(&["info", text(&out), "--format", "json"]).ok().json().remove(0);
    assert_eq!(info["framing"], json!({"resize": "pad"}));
    // Of square pictures nothing is padded.
    assert_eq!(score(&out, &[])[0]["score"], score(&model, &[])[0]["score"]);
    // An exported network knows nothing of it, and says so.
    let onnx = folder.path().join("m.onnx");
    ckaad(&["export", "--model", text(&out), "--out", text(&onnx)]).ok();
    let bytes = std::fs::read(&onnx).unwrap();
    let told = b"scaled until they fit into 32 x 32, and padded";
    assert!(bytes.windows(told.len()).any(|w| w == told));
    // Quantised, it still is what it was.
    let small = folder.path().join("q.safetensors");
    ckaad(&["quantize", "--model", text(&out), "--data", text(full()), "--out", text(&small)]).ok();
    let info = ckaad(&["info", text(&small), "--format", "json"]).ok().json().remove(0);
    assert!(
        info["framing"] == json!({"resize": "pad"}) && info["int8"].as_array().is_some_and(|l| !l.is_empty()),
        "{info}"
    );
    score(&small, &[]);
}

/// Maps are not square, and reports draw them.
#[test]
fn reports_show_what_is_not_square() {
    let folder = folder();
    let picture = folder.path().join("wide.png");
    image::RgbImage::from_fn(90, 40, |x, y| image::Rgb([(x * 7 % 256) as u8, (y * 5) as u8, 90]))
        .save(&picture)
        .unwrap();
    for more in [&["--resize", "crop"][..], &["--resize", "pad"], &["--tile", "32", "--overlap", "8"]] {
        let report = folder.path().join(format!("{}.html", more[1]));
        let heat = folder.path().join(format!("heat-{}", more[1]));
        let args =
            ["score", "--model", text(model()), "--report", text(&report), "--heatmaps", text(&heat), text(&picture)];
        ckaad(&[&args[..], more].concat()).ok();
        let html = std::fs::read_to_string(&report).unwrap();
        assert!(html.contains("aspect-ratio: 90 / 40"), "{more:?}");
        assert_eq!(image::image_dimensions(heat.join("wide.png")).unwrap().0, 90);
    }
}

#[test]
fn damaged_framings_are_told() {
    let folder = folder();
    let archive = ckaad::weights::Archive::open(model()).unwrap();
    let tensors: Vec<_> = archive.tensors().map(|t| (t.name.to_string(), t.shape.to_vec(), t.to_f32())).collect();
    let write = |more: &[(&str, &str)]| {
        let mut metadata = archive.metadata().clone();
        metadata.insert("version".into(), "4".into());
        metadata.extend(more.iter().map(|(k, v)| (k.to_string(), v.to_string())));
        let path = folder.path().join("odd.safetensors");
        let all: Vec<_> =
            tensors.iter().map(|(n, s, v)| ckaad::weights::Tensor::new(n.as_str(), s, v).unwrap()).collect();
        ckaad::weights::write_safetensors(&path, &all, &metadata).unwrap();
        path
    };
    for (more, words) in [
        (&[("tile", "x")][..], &["tile", "not a valid number"][..]),
        (&[("tile", "0")], &["--tile 0", "8 to 512"]),
        (&[("tile", "32"), ("overlap", "99")], &["--overlap 99"]),
        (&[("overlap", "1")], &["--overlap"]),
        (&[("resize", "twist")], &["twist"]),
        (&[("roi", "?!")], &["roi", "not base64"]),
        (&[("roi", "AAAA")], &["roi"]),
    ] {
        let path = write(more);
        ckaad(&["info", text(&path)]).fails(2, &[&["odd.safetensors"], words].concat());
    }
    ckaad(&["info", text(&write(&[]))]).ok();
}
