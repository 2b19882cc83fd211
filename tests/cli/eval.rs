//! `ckaad eval` and `ckaad threshold`.

use crate::support::*;
use serde_json::Value;

const METRICS: [&str; 5] = ["image_auroc", "best_f1", "accuracy", "pixel_auroc", "aupro30"];

fn evaluated(data: &std::path::Path, more: &[&str]) -> Value {
    let args = ["eval", "--model", text(model()), "--data", text(data), "--format", "json"];
    let lines = ckaad(&[&args[..], more].concat()).ok().json();
    assert_eq!(lines.len(), 1);
    lines[0].clone()
}

#[test]
fn json_has_the_documented_keys() {
    let all = evaluated(full(), &[]);
    let share = |v: &Value| v.as_f64().is_some_and(|v| (0.0..=1.0).contains(&v));
    assert!(METRICS.iter().all(|m| share(&all[m])), "{all}");
    assert!(all["ms_per_image"].as_f64().unwrap() > 0.0);
    let types: Vec<&String> = all["per_type"].as_object().unwrap().keys().collect();
    assert_eq!(types, ["hole", "scratch", "stain"]);
    for kind in types {
        let kind = &all["per_type"][kind];
        assert!(kind["images"] == 2 && METRICS.iter().all(|m| share(&kind[m])), "{kind}");
    }
    // The authors' definition is another number of the same maps.
    let paper = evaluated(full(), &["--pro", "paper", "--batch-size", "2"]);
    assert_eq!(paper["image_auroc"], all["image_auroc"]);
    assert_ne!(paper["aupro30"], all["aupro30"]);
}

#[test]
fn image_auroc_agrees_with_the_scores() {
    let scores = |sub: &str| -> Vec<f64> {
        let pictures = full().join(sub);
        let run = ckaad(&["score", "--model", text(model()), "--format", "json", text(&pictures)]).ok();
        run.json().iter().map(|l| l["score"].as_f64().unwrap()).collect()
    };
    let good = scores("test/good");
    for kind in ["hole", "scratch", "stain"] {
        let bad = scores(&format!("test/{kind}"));
        let wins = |b: &f64| good.iter().map(|g| if b > g { 1.0 } else { f64::from(u8::from(b == g)) / 2.0 }).sum();
        let expected = bad.iter().map(|b| -> f64 { wins(b) }).sum::<f64>() / (good.len() * bad.len()) as f64;
        let found = evaluated(full(), &[])["per_type"][kind]["image_auroc"].as_f64().unwrap();
        assert!((found - expected).abs() < 1e-12, "{kind}: {found}, expected {expected}");
    }
}

#[test]
fn pixel_metrics_are_null_without_masks() {
    let all = evaluated(plain(), &[]);
    assert!(all["pixel_auroc"].is_null() && all["aupro30"].is_null() && all["image_auroc"].is_f64(), "{all}");
    assert!(all["per_type"]["hole"]["aupro30"].is_null());
}

#[test]
fn a_test_picture_that_cannot_be_read_is_an_error() {
    let dir = folder();
    write_png(&dir.path().join("test/good/a.png"), 40, 40, |x, y| [x as u8, y as u8, 0]);
    std::fs::create_dir(dir.path().join("test/hole")).unwrap();
    for i in 0..30 {
        std::fs::write(dir.path().join(format!("test/hole/{i}.png")), "no picture").unwrap();
    }
    ckaad(&["eval", "--model", text(model()), "--data", text(dir.path())]).fails(2, &["test/hole/0.png"]);
    let hole = dir.path().join("test/hole");
    let own = own_model(&dir);
    let before = std::fs::read(&own).unwrap();
    ckaad(&["threshold", "--model", text(&own), text(&hole)]).fails(2, &["test/hole/0.png"]);
    assert!(before == std::fs::read(&own).unwrap());
}

#[test]
fn threshold_changes_nothing_but_itself() {
    let dir = folder();
    let own = own_model(&dir);
    ckaad(&["threshold", "--model", text(&own), "--value", "0.625"]).ok();
    assert_eq!(metadata(&own, "threshold").as_deref(), Some("0.625"));
    assert!(tensors(&own) == tensors(model()));
    for key in ["backbone", "layers", "image_size", "mean", "std", "topk", "sigma", "weights"] {
        assert_eq!(metadata(&own, key), metadata(model(), key), "{key}");
    }

    let good = full().join("test/good");
    let scored = ckaad(&["score", "--model", text(model()), "--format", "json", text(&good)]).ok().json();
    let mut scores: Vec<f64> = scored.iter().map(|l| l["score"].as_f64().unwrap()).collect();
    scores.sort_by(f64::total_cmp);
    let other = dir.path().join("other.safetensors");
    let args = ["threshold", "--model", text(&own), "--out", text(&other), "--quantile", "0.75", text(&good)];
    ckaad(&args).ok();
    // Of three scores, 0.75 lies in the middle between the second and the third.
    let (found, expected) = (metadata(&other, "threshold").unwrap(), (scores[1] + scores[2]) / 2.0);
    // `threshold` scores in batches of 8, `score` one by one, which rounds differently in f32.
    assert!((found.parse::<f64>().unwrap() - expected).abs() < 2e-6 * expected, "{found}, expected {expected}");
    assert_eq!(metadata(&own, "threshold").as_deref(), Some("0.625"), "--out leaves the old file alone");
    assert!(tensors(&other) == tensors(model()));
}
