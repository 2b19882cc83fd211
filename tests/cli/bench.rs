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
    assert!(table.out.contains(", 1 picture, on "), "{}", table.out);
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
    let fit = ["bench", "train", "--device", "cpu", "--batch-size", "1", "--detector", "patchcore"];
    let table = ckaad(&[&fit, &SMALL[..]].concat()).ok();
    assert!(table.out.contains("features of one batch") && !table.out.contains("step"), "{}", table.out);
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
    assert!(number(&timed["median_s"]) > 0.0 && number(&timed["least_s"]) > 0.0 && timed["instructions"].is_null());
    assert!(
        cpu.iter().any(|p| p["name"] == "concat" && p["least_s"].is_null()),
        "only products have a least time on a CPU"
    );
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
    ckaad(&["bench", "score", "--model", "m", "--detector", "patchcore"]).fails(2, &["--model", "--detector"]);
    ckaad(&["bench", "score", "--model", "m", "--sigma", "2"]).fails(2, &["--model", "--sigma"]);
    ckaad(&["bench", "score", "--device", "cpu", "--pictures", "nowhere"]).fails(2, &["nowhere"]);
    ckaad(&["bench", "score", "--batch-size", "0"]).fails(2, &["--batch-size"]);
    let against = ["bench", "kernels", "--against", "cudnn", "--device", "cpu"];
    let why = if cfg!(feature = "cudnn") { "no GPU" } else { "--features cudnn" };
    ckaad(&against).fails(2, &["--against cudnn", why]);
}

/// A changed kernel runs without building the program anew; what does not fit it is refused with what to do.
#[test]
fn ptx_from_a_folder() {
    let dir = folder();
    let kernels = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("kernels");
    let ptx = |name: &str| std::fs::read_to_string(kernels.join("ptx").join(name)).unwrap();
    let picture = full().join("test/good/000.png");
    let run = |folder: &std::path::Path| {
        let mut command =
            command(&["score", "--model", text(model()), "--device", "sim", "--format", "json", text(&picture)]);
        command.env("CKAAD_PTX", folder);
        run(command)
    };
    let score = |run: &Run| number(&run.json()[0]["score"]);
    let built_in = run(&kernels.join("ptx")).ok();
    assert!(built_in.err.contains("all as built in"), "{built_in:?}");
    let changed = dir.path().join("anomaly_map.ptx");
    // Sums become differences; no source lies beside it to be held against.
    std::fs::write(&changed, ptx("anomaly_map.ptx").replace("add.f32", "sub.f32")).unwrap();
    let other = run(dir.path()).ok();
    assert!(other.err.contains("changed: anomaly_map"), "{other:?}");
    assert_ne!(score(&other), score(&built_in));

    // Made from another source than the one beside it.
    std::fs::copy(kernels.join("anomaly_map.cu"), dir.path().join("anomaly_map.cu")).unwrap();
    for header in std::fs::read_dir(&kernels).unwrap().map(|e| e.unwrap().path()) {
        if header.extension().is_some_and(|e| e == "cuh") {
            std::fs::copy(&header, dir.path().join(header.file_name().unwrap())).unwrap();
        }
    }
    run(dir.path()).ok();
    std::fs::write(dir.path().join("anomaly_map.cu"), "// changed\n").unwrap();
    let refused = ["anomaly_map.ptx", "another version of", "scripts/compile-kernels anomaly_map"];
    run(dir.path()).fails(2, &refused);
    std::fs::remove_file(dir.path().join("anomaly_map.cu")).unwrap();
    // Other parameters, a kernel that is not there, nothing of use.
    let text_of = ptx("anomaly_map.ptx");
    let first = text_of.find(".param .u64").unwrap();
    let wider = format!("{}{}{}", &text_of[..first], ".param .u32", &text_of[first + ".param .u64".len()..]);
    std::fs::write(&changed, wider).unwrap();
    run(dir.path()).fails(2, &["anomaly_map.ptx", "parameters of", "cargo build"]);
    std::fs::write(&changed, text_of.replacen(".visible .entry ", ".visible .entry other_", 1)).unwrap();
    run(dir.path()).fails(2, &["anomaly_map.ptx", "has no kernel"]);
    std::fs::remove_file(&changed).unwrap();
    run(dir.path()).fails(2, &["CKAAD_PTX", "holds none of"]);
    run(&dir.path().join("nowhere")).fails(2, &["CKAAD_PTX", "is no folder"]);
}

/// Ratios and shares of the numbers that the rows show.
#[test]
fn kernels_beside_a_baseline() {
    let dir = folder();
    let args = [&["bench", "kernels", "--device", "sim"], &SMALL[..]].concat();
    let old = ckaad(&[&args[..], &["--format", "json"]].concat()).ok();
    // As if every kernel had done twice as much.
    let doubled: String = old
        .json()
        .into_iter()
        .map(|mut part| {
            part["instructions"] = (2 * part["instructions"].as_u64().unwrap()).into();
            format!("{part}\n")
        })
        .collect();
    let baseline = dir.path().join("old.json");
    std::fs::write(&baseline, doubled).unwrap();
    let new = ckaad(&[&args[..], &["--format", "json", "--sort", "time", "--baseline", text(&baseline)]].concat())
        .ok()
        .json();
    assert_eq!(new.len(), old.lines().len());
    assert!(new.iter().all(|p| number(&p["ratio"]) == 0.5), "the counts are the same in every run");
    let shares: Vec<f64> = new.iter().map(|p| number(&p["share"])).collect();
    assert!(shares.is_sorted_by(|a, b| a >= b) && (shares.iter().sum::<f64>() - 1.0).abs() < 1e-9);
    let all: f64 = new.iter().map(|p| number(&p["instructions"])).sum();
    assert!((shares[0] - number(&new[0]["instructions"]) / all).abs() < 1e-12);
    let table = ckaad(&[&args[..], &["--baseline", text(&baseline)]].concat()).ok();
    assert!(table.out.contains("0.500 of the baseline"), "{}", table.out);
    let other = ckaad(&[&args[..], &["--batch-size", "2", "--baseline", text(&baseline)]].concat());
    other.fails(2, &["--baseline", "of another program", "--batch-size"]);
    std::fs::write(&baseline, "{}\n").unwrap();
    ckaad(&[&args[..], &["--baseline", text(&baseline)]].concat()).fails(2, &["--baseline", "line 1", "instructions"]);
    ckaad(&[&args[..], &["--sort", "ratio"]].concat()).fails(2, &["--baseline"]);
}
