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
    let exported = ckaad(&["export", "--model", text(&out), "--out", text(&onnx)]).ok();
    assert!(exported.err.contains("warning: the model's pictures are scaled until they fit"), "{exported:?}");
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

/// Of a mask that is finer than the map nothing is missed; and where nothing of it is in the picture's square, there is no score.
#[test]
fn a_thin_region_is_seen() {
    let folder = folder();
    let (mask, wide) = (folder.path().join("mask.png"), folder.path().join("wide.png"));
    let write = |x: u32, y: u32| {
        let mut dot = image::GrayImage::new(700, 350);
        dot.put_pixel(x, y, image::Luma([255]));
        dot.save(&mask).unwrap();
    };
    image::RgbImage::from_fn(128, 64, |x, y| image::Rgb([(x * 2) as u8, (y * 4) as u8, 90])).save(&wide).unwrap();
    let look = |more: &[&str]| {
        let args = ["score", "--model", text(model()), "--format", "json", "--roi", text(&mask), text(&wide)];
        ckaad(&[&args[..], more].concat())
    };
    for (x, y) in [(0, 0), (351, 174), (699, 349)] {
        write(x, y);
        for more in [&[][..], &["--resize", "pad"], &["--tile", "32"]] {
            let found = look(more).ok().json().remove(0);
            assert!(found["score"].as_f64().is_some_and(f64::is_finite), "{x}, {y}, {more:?}: {found}");
        }
    }
    assert!(look(&["--resize", "crop"]).fails(2, &[]).out.contains("lies in the region of interest"));
}

/// Scoring a large picture takes, beside what a small one takes, three bytes a pixel, its file, and 0.1 GB, as `train --help` says.
#[cfg(target_os = "linux")]
#[test]
fn a_large_picture_takes_its_pixels_and_little_more() {
    let folder = folder();
    let peak = |width: u32, height: u32| -> u64 {
        let picture = folder.path().join(format!("{width}.png"));
        image::RgbImage::from_fn(width, height, |x, y| image::Rgb([(x / 9) as u8, (y / 7) as u8, 90]))
            .save(&picture)
            .unwrap();
        let args = ["score", "--model", text(model()), "--format", "json", "--tile", "512", "--overlap", "128"];
        let mut child = command(&[&args[..], &[text(&picture)]].concat()).spawn().unwrap();
        let mut highest = 0;
        while child.try_wait().unwrap().is_none() {
            let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
            let kb = status.lines().find_map(|l| l.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse().ok());
            highest = kb.unwrap_or(highest);
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        assert!(child.wait().unwrap().success());
        1024 * highest
    };
    let (small, large) = (peak(64, 64), peak(8000, 6000));
    let file = std::fs::metadata(folder.path().join("8000.png")).unwrap().len();
    assert!(small > 10_000_000 && large > small + 100_000_000, "{small}, {large}");
    assert!(large - small < 3 * 8000 * 6000 + file + 100_000_000, "{small}, {large}, file {file}");
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
