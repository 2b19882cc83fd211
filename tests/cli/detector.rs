//! Which method: options that belong to it, and what a model file says of it.

use crate::support::*;
use std::path::Path;

fn score(model: &Path) -> Run {
    ckaad(&["score", "--model", text(model), "--format", "json", text(&full().join("test/good"))])
}

/// Version 1 names no detector, and writes no mark for options at their defaults.
#[test]
fn files_of_version_1_are_read_as_before() {
    let dir = folder();
    let own = own_model(&dir);
    let expected = score(&own).ok().out;
    rewrite(
        &own,
        |_| true,
        |m| {
            assert_eq!(m.insert("version".into(), "1".into()).as_deref(), Some("2"));
            assert_eq!(m.remove("detector").as_deref(), Some("ckaad"));
            assert_eq!([m.remove("topk").as_deref(), m.remove("sigma").as_deref()], [Some("100"), Some("4")]);
        },
    );
    assert_eq!(score(&own).ok().out, expected);
    // 0 once stood for all values.
    let of = |topk: &str| {
        rewrite(&own, |_| true, |m| drop(m.insert("topk".into(), topk.into())));
        score(&own).ok().out
    };
    let all = of("all");
    assert!(all != expected && of("0") == all);
    // What changes a file writes it as of today.
    ckaad(&["threshold", "--model", text(&own), "--value", "0.5"]).ok();
    assert_eq!(metadata(&own, "version").as_deref(), Some("2"));
    assert_eq!(metadata(&own, "detector").as_deref(), Some("ckaad"));
}

#[test]
fn wrong_metadata_is_named() {
    let dir = folder();
    let broken = |key: &str, value: Option<&str>, words: &[&str]| {
        let own = own_model(&dir);
        rewrite(
            &own,
            |_| true,
            |m| match value {
                Some(v) => drop(m.insert(key.into(), v.into())),
                None => drop(m.remove(key)),
            },
        );
        score(&own).fails(2, &[&["own.safetensors"], words].concat());
    };
    broken("detector", None, &["lacks `detector`"]);
    broken("detector", Some("yolo"), &["`detector`", "unknown detector 'yolo'", "ckaad"]);
    broken("version", Some("5"), &["version 5", "versions 1 to 4"]);
    broken("sigma", Some("-1"), &["sigma -1", "from 0 to 64"]);
    broken("topk", Some("0"), &["topk 0", "at least 1, or all"]);
}

/// Trains with everything that only learning by steps knows left out.
fn fit(out: &Path, more: &str) -> Run {
    let more: Vec<&str> = more.split_whitespace().collect();
    let small = ["--weights", "random", "--image-size", "64", "--layers", "1,2", "--batch-size", "4"];
    let args = ["train", "--data", text(full()), "--out", text(out), "--detector", "patchcore"];
    ckaad(&[&args[..], &small[..], &more[..]].concat())
}

/// Every command works with a method of the other kind.
#[test]
fn a_memory_bank_from_training_to_report() {
    let dir = folder();
    let path = dir.path().join("bank.safetensors");
    let run = fit(&path, "--coreset 0.25 --seed 1 --holdout 0.1").ok();
    assert!(run.err.contains("8 normal pictures, 1 held back, 0 anomalous"), "{run:?}");
    assert!(!dir.path().join("bank.log.jsonl").exists() && !dir.path().join("bank.checkpoint.safetensors").exists());
    // 8 pictures of 16 x 16 patches, a quarter of them; layers of 64 and 128 channels.
    let expected =
        [("version", "2"), ("detector", "patchcore"), ("bank_rows", "512"), ("neighbours", "9"), ("sigma", "4")];
    for (key, value) in expected {
        assert_eq!(metadata(&path, key).as_deref(), Some(value), "{key}");
    }
    let held = tensors(&path);
    let bank = held.iter().find(|t| t.0 == "memory.bank").unwrap();
    assert_eq!(bank.1, [512, 192]);
    let others: Vec<&str> = held.iter().map(|t| t.0.as_str()).filter(|n| !n.starts_with("backbone.")).collect();
    assert_eq!(others, ["memory.bank"]);

    // The same seed gives the same bits; another one another bank.
    let again = dir.path().join("again.safetensors");
    fit(&again, "--coreset 0.25 --seed 1 --holdout 0.1").ok();
    assert!(std::fs::read(&path).unwrap() == std::fs::read(&again).unwrap());
    // In the place of a model that was learned in steps: what these could be gone on from goes with it.
    let checkpoint = again.with_extension("checkpoint.safetensors");
    std::fs::copy(&again, &checkpoint).unwrap();
    fit(&again, "--coreset 0.25 --seed 2 --holdout 0.1 --force").ok();
    assert!(tensors(&path) != tensors(&again) && !checkpoint.exists());

    let scored = score(&path).ok().json();
    assert!(scored.len() == 3 && scored.iter().all(|l| l["score"].as_f64().is_some_and(|s| s > 0.0)), "{scored:?}");
    let report = dir.path().join("report.html");
    let args = ["eval", "--model", text(&path), "--data", text(full()), "--report", text(&report), "--format", "json"];
    let found = ckaad(&args).ok().json();
    assert!(found[0]["image_auroc"].as_f64().unwrap() > 0.5 && found[0]["aupro30"].is_number(), "{found:?}");
    assert!(report.exists());
    ckaad(&["threshold", "--model", text(&path), "--quantile", "0.5", text(&full().join("test/good"))]).ok();
    let bench = ["bench", "score", "--model", text(&path), "--device", "cpu", "--format", "json"];
    assert!(ckaad(&bench).ok().json()[0]["images_per_s"].as_f64().unwrap() > 0.0);
}

#[test]
fn a_memory_bank_is_planned_and_measured() {
    let networks = ["--detector", "patchcore", "--layers", "1,2", "--image-size", "64"];
    let plan = |what: &str, more: &[&str]| {
        ckaad(&[&["plan", what, "--device", "cpu", "--program", "--format", "json"], &networks[..], more].concat()).ok()
    };
    let program = |run: &Run| run.json()[0]["program"].to_string();
    // 200 pictures of 256 patches, a tenth.
    let score = program(&plan("score", &[]));
    assert!(score.contains("memory.bank") && score.contains("nearest"), "{score}");
    let bytes = |run: Run| run.json()[0]["parameter_bytes"].as_u64().unwrap();
    let more = bytes(plan("score", &["--bank-rows", "1000"])) - bytes(plan("score", &["--bank-rows", "936"]));
    assert_eq!(more, 64 * 192 * 4);
    let run = plan("train", &[]);
    // Of one picture, in f32: 3x3 means of layer 1 at 16 x 16 with 64 channels and layer 2, enlarged, with 128.
    assert!(run.err.contains("those of all pictures, 0.20 MB each"), "{run:?}");
    let train = program(&run);
    assert!(train.contains("mean_pool") && !train.contains("memory.bank"), "{train}");
    ckaad(&[&["bench", "train", "--batch-size", "2", "--device", "cpu"], &networks[..]].concat()).ok();
    let sim = ["plan", "score", "--device", "sim", "--launch-trace", "--bank-rows", "500"];
    assert!(ckaad(&[&sim[..], &networks].concat()).ok().out.contains("nearest"));
}

/// An option of another method, or one without a meaning here, is refused, not passed over.
#[test]
fn options_belong_to_their_method() {
    let dir = folder();
    let path = dir.path().join("m.safetensors");
    for (flags, words) in [
        ("--adv 0.1", ["--adv", "an option of ckaad"]),
        ("--epochs 3", ["--epochs", "fitted in one go"]),
        ("--resume", ["--resume", "fitted in one go"]),
        ("--no-shuffle", ["--no-shuffle", "fitted in one go"]),
        ("--checkpoint-every 1", ["--checkpoint-every", "fitted in one go"]),
        ("--log l.jsonl", ["--log", "fitted in one go"]),
        ("--feature-cache off", ["features of all pictures", "kept somewhere"]),
        ("--neighbours 17", ["--neighbours", "from 1 to 16"]),
        ("--coreset 1.5", ["--coreset", "from 0 to 1"]),
    ] {
        fit(&path, flags).fails(2, &words);
    }
    train(full(), &path, "--coreset 0.5").fails(2, &["--coreset", "an option of patchcore, not of --detector ckaad"]);
    train(full(), &path, "--detector yolo").fails(2, &["yolo", "ckaad, patchcore"]);
    assert!(!path.exists());
}

/// A flag of one strategy beside another: the run is the same without it, and says so.
#[test]
fn options_that_change_nothing_are_named() {
    let dir = folder();
    let warnings = |flags: &str| {
        let out = dir.path().join("m.safetensors");
        let run = train(plain(), &out, &format!("--holdout 0 --force {flags}")).ok();
        let lines = run.err.lines().filter_map(|l| l.split_once("changes nothing").map(|(flag, _)| flag.to_string()));
        lines.map(|l| l.trim_start_matches("ckaad: warning: ").trim().to_string()).collect::<Vec<_>>()
    };
    assert_eq!(warnings("--strategy recon --margin 4 --sub 0.1 --lr 0.002"), ["--margin", "--sub"]);
    assert_eq!(warnings("--strategy reconsub --adv 0.1 --sub 0.1"), ["--adv"]);
    assert_eq!(warnings("--strategy gan --gamma 0.4 --d-lr 0.001"), ["--gamma"]);
    assert_eq!(warnings("--strategy ckapatch --margin 4 --gamma 0.4"), [""; 0]);
}
