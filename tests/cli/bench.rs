//! `ckaad bench` and `ckaad plan --launch-trace`: what they print, and what they refuse. No time is judged.

use crate::support::*;
use serde_json::Value;

const SMALL: [&str; 4] = ["--image-size", "32", "--layers", "1,2"];

fn json(args: &[&str]) -> Vec<Value> {
    ckaad(&[args, &["--format", "json"][..]].concat()).ok().json()
}

fn number(v: &Value) -> f64 {
    v.as_f64().unwrap_or_else(|| panic!("{v}"))
}

/// Stages are there and add up to about the total; percentiles are in order.
fn check_stages(line: &Value, names: &[&str]) {
    for name in names {
        let s = &line["stages"][name];
        let [min, median, p95, p99] = ["min_s", "median_s", "p95_s", "p99_s"].map(|k| number(&s[k]));
        assert!(0.0 < min && min <= median && median <= p95 && p95 <= p99, "{name}: {s}");
    }
    assert!(line["repetitions"].as_u64().unwrap() >= 3, "{line}");
    assert!(line["noisy"].is_boolean() && line["implementation"] == "ckaad", "{line}");
    assert!(number(&line["images_per_s"]) > 0.0);
}

#[test]
fn scoring_is_measured_stage_by_stage() {
    let line = json(&[&["bench", "score", "--device", "cpu", "--batch-size", "2"], &SMALL[..]].concat()).remove(0);
    check_stages(&line, &["total", "write", "compute", "read"]);
    assert_eq!((&line["backbone"], &line["batch_size"]), (&"resnet18".into(), &2.into()));
    assert!((0.0..1.0).contains(&number(&line["post_processing_share"])), "{line}");

    let pictures = full().join("test");
    let real = ["bench", "score", "--device", "cpu", "--model", text(model()), "--pictures", text(&pictures)];
    check_stages(&json(&real).remove(0), &["total", "decode"]);
    let table = ckaad(&real).ok();
    assert!(table.lines().iter().any(|l| l.starts_with("decode")) && table.out.contains("pictures/s"), "{}", table.out);
}

#[test]
fn a_training_step_is_measured_with_and_without_cached_features() {
    for features in ["computed", "cached"] {
        let args = [&["bench", "train", "--device", "cpu", "--batch-size", "1", "--features", features], &SMALL[..]];
        let line = json(&args.concat()).remove(0);
        check_stages(&line, &["total", "write", "compute", "read"]);
        let [median, images] = [&line["stages"]["total"]["median_s"], &line["images_per_s"]].map(number);
        assert!((images * median - 2.0).abs() < 1e-9, "one normal and one anomalous picture a step: {line}");
        assert_eq!(line["features"], features);
    }
}

#[test]
fn kernels_are_counted_on_the_emulator_and_timed_on_the_cpu() {
    let of = |device: &str| json(&[&["bench", "kernels", "--device", device], &SMALL[..]].concat());
    let (sim, cpu) = (of("sim"), of("cpu"));
    let convolution = |parts: &[Value]| {
        let found = parts.iter().find(|p| p["layer"] == "conv2d in backbone.layer1.0.conv1").unwrap();
        assert_eq!(found["multiply_adds"], 8 * 8 * 64 * 9 * 64, "{found}");
        found.clone()
    };
    let counted = convolution(&sim);
    assert!(counted["name"].as_str().unwrap().starts_with("conv2d_fwd") && number(&counted["mma_share"]) > 0.0);
    assert!(number(&counted["sectors"]) >= number(&counted["ideal_sectors"]) && number(&counted["least_s"]) > 0.0);
    let timed = convolution(&cpu);
    assert!(number(&timed["median_s"]) > 0.0 && timed["least_s"].is_null() && timed["instructions"].is_null());
    // Another number of multiprocessors: work is cut otherwise.
    let trace = |card: &str| {
        let args = ["plan", "score", "--device", "sim", "--launch-trace", "--card", card];
        json(&args).remove(0)["launches"].as_array().unwrap().clone()
    };
    let (small, large) = (trace("l4"), trace("h200"));
    assert_ne!(
        small.iter().map(|l| &l["grid"]).collect::<Vec<_>>(),
        large.iter().map(|l| &l["grid"]).collect::<Vec<_>>()
    );
    let least = |launches: &[Value]| launches.iter().map(|l| number(&l["least_s"])).sum::<f64>();
    assert!(least(&small) > 5.0 * least(&large), "300 GB/s against 4800");
    let table = ckaad(&["plan", "train", "--device", "sim", "--batch-size", "2", "--launch-trace"]).ok();
    assert!(table.out.contains("adam_step") && table.out.contains(" launches"), "{}", table.out);
}

#[test]
fn what_cannot_be_measured_is_refused() {
    ckaad(&["bench", "score", "--device", "sim"]).fails(2, &["no GPU's", "ckaad bench kernels --work score"]);
    ckaad(&["bench", "train", "--device", "sim"]).fails(2, &["--work train"]);
    ckaad(&["bench", "train", "--device", "sim", "--precision", "f16"]).fails(2, &["f16"]);
    ckaad(&["bench", "kernels", "--device", "cpu", "--card", "h200"]).fails(2, &["--card", "--device sim"]);
    ckaad(&["bench", "kernels", "--device", "sim", "--card", "voodoo"]).fails(2, &["voodoo", "h200", "rtx4090"]);
    ckaad(&["plan", "score", "--device", "cpu", "--launch-trace"]).fails(2, &["--launch-trace", "sim"]);
    ckaad(&["bench", "score", "--model", "none.safetensors"]).fails(2, &["none.safetensors"]);
    ckaad(&["bench", "score", "--model", "m", "--image-size", "64"]).fails(2, &["--model", "--image-size"]);
    ckaad(&["bench", "score", "--device", "cpu", "--pictures", "nowhere"]).fails(2, &["nowhere"]);
    ckaad(&["bench", "score", "--batch-size", "0"]).fails(2, &["--batch-size"]);
}
