//! Pictures that a model was trained on are told by their contents, whatever they are called.

use crate::support::*;
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::path::Path;

/// The first 16 digits that sha256sum prints of each picture in a folder.
fn digests(folder: &Path) -> BTreeSet<String> {
    let of = |path| Sha256::digest(std::fs::read(path).unwrap())[..8].iter().map(|b| format!("{b:02x}")).collect();
    std::fs::read_dir(folder).unwrap().map(|e| of(e.unwrap().path())).collect()
}

/// What a model file holds under a key.
fn told(model: &Path, key: &str) -> BTreeSet<String> {
    let text = metadata(model, key).unwrap_or_default();
    text.as_bytes().chunks(16).map(|d| String::from_utf8(d.to_vec()).unwrap()).collect()
}

#[test]
fn model_files_hold_the_digests_of_what_they_learned_from() {
    let (good, bad) = (digests(&full().join("train/good")), digests(&full().join("train/anomalous")));
    let (trained, calibrated) = (told(model(), "trained_on"), told(model(), "calibrated_on"));
    // One of nine is held back to set the threshold.
    assert_eq!((good.len(), bad.len(), trained.len(), calibrated.len()), (9, 3, 11, 1));
    assert!(trained.is_disjoint(&calibrated));
    assert_eq!(trained.union(&calibrated).cloned().collect::<BTreeSet<_>>(), good.union(&bad).cloned().collect());

    // A detector that uses no anomalous ones; all normal ones are trained on, and scored by others of its kind.
    let dir = folder();
    let bank = dir.path().join("bank.safetensors");
    let flags = ["--weights", "random", "--image-size", "32", "--layers", "1", "--detector", "patchcore"];
    let run = ckaad(&[&["train", "--data", text(full()), "--out", text(&bank)], &flags[..]].concat()).ok();
    assert!(run.err.contains("3 anomalous pictures not used"), "{run:?}");
    assert_eq!((told(&bank, "trained_on"), told(&bank, "calibrated_on")), (good.clone(), good.clone()));
    let folders = [full().join("train/good"), full().join("train/anomalous")];
    let args =
        ["train", "--normal", text(&folders[0]), "--anomalous", text(&folders[1]), "--out", text(&bank), "--force"];
    let run = ckaad(&[&args[..], &flags].concat()).ok();
    assert!(run.err.contains("warning: --anomalous: 3 anomalous pictures not used"), "{run:?}");
    // `info` does not print them.
    for format in ["table", "json"] {
        let info = ckaad(&["info", "--format", format, text(&bank)]).ok().out;
        assert!(!good.iter().any(|digest| info.contains(digest)), "{info}");
    }
}

#[test]
fn an_evaluation_on_known_pictures_says_so() {
    let dir = folder();
    let (own, good) = (own_model(&dir), dir.path().join("good"));
    std::fs::create_dir(&good).unwrap();
    for i in 0..9 {
        std::fs::copy(full().join(format!("train/good/00{i}.png")), good.join(format!("x{i}.png"))).unwrap();
    }
    for i in 0..3 {
        std::fs::copy(full().join(format!("test/good/00{i}.png")), good.join(format!("00{i}.png"))).unwrap();
    }
    let report = dir.path().join("r.html");
    let bad = full().join("train/anomalous");
    let args = ["eval", "--model", text(&own), "--normal", text(&good), "--format", "json", "--anomalous", text(&bad)];
    let run = ckaad(&[&args[..], &["--report", text(&report)]].concat()).ok();
    let trained = "the model was trained on 11 of 15 pictures, as ";
    let calibrated = "the model's threshold was taken from 1 of 15 pictures, as ";
    assert!(run.err.contains(&format!("warning: {trained}")) && run.err.contains(calibrated), "{run:?}");
    let lists = |run: &Run| ["trained_on", "calibrated_on"].map(|key| run.json()[0][key].as_array().unwrap().clone());
    let [t, c] = lists(&run);
    let of_good = |p: &serde_json::Value| p["path"].as_str().unwrap().contains("/good/x");
    assert_eq!((t.len(), t.iter().filter(|p| of_good(p)).count(), c.len()), (11, 8, 1));
    assert!(of_good(&c[0]) && !t.contains(&c[0]));
    let html = std::fs::read_to_string(&report).unwrap();
    assert!(html.contains(&format!("<li>{trained}")) && html.contains("threshold was taken from 1 of 15"), "{html}");

    // Other pictures, and a model by an earlier version.
    let fresh = ckaad(&["eval", "--model", text(&own), "--data", text(full()), "--format", "json"]).ok();
    assert!(!fresh.err.contains("warning") && lists(&fresh).iter().all(Vec::is_empty), "{fresh:?}");
    rewrite(&own, |_| true, |m| m.retain(|key, _| !["trained_on", "calibrated_on"].contains(&&**key)));
    let old = ckaad(&args).ok();
    assert!(!old.err.contains("warning") && lists(&old).iter().all(Vec::is_empty), "{old:?}");
}

#[test]
fn a_threshold_from_known_pictures_says_so() {
    let dir = folder();
    let own = own_model(&dir);
    let (seen, fresh) = (full().join("train/good"), full().join("test/good"));
    let run = ckaad(&["threshold", "--model", text(&own), text(&seen)]).ok();
    assert!(run.err.contains("warning: the model was trained on 8 of 9 pictures, as "), "{run:?}");
    assert_eq!(told(&own, "calibrated_on"), digests(&seen));
    let run = ckaad(&["threshold", "--model", text(&own), text(&fresh)]).ok();
    assert!(!run.err.contains("was trained on"), "{run:?}");
    assert_eq!(told(&own, "calibrated_on"), digests(&fresh));
    let run = ckaad(&["eval", "--model", text(&own), "--data", text(full()), "--format", "json"]).ok();
    assert!(run.err.contains("threshold was taken from 3 of 9 pictures"), "{run:?}");
    ckaad(&["threshold", "--model", text(&own), "--value", "1"]).ok();
    assert_eq!((metadata(&own, "calibrated_on"), told(&own, "trained_on").len()), (None, 11));
}

/// The same picture to learn from and to test on, under another name; and an anomalous one that only some strategies learn from.
#[test]
fn training_on_test_pictures_says_so() {
    let dir = folder();
    let mut table = String::from("path,label,split\n");
    for (from, label, split) in [
        ("train/good/000.png", "good", "train"),
        ("train/good/001.png", "good", "train"),
        ("train/anomalous/000.png", "bad", "train"),
        ("train/good/001.png", "good", "test"),
        ("train/anomalous/000.png", "bad", "test"),
        ("test/good/000.png", "good", "test"),
    ] {
        let name = format!("{split}-{}", from.replace('/', "-"));
        std::fs::copy(full().join(from), dir.path().join(&name)).unwrap();
        table += &format!("{name},{label},{split}\n");
    }
    let csv = dir.path().join("parts.csv");
    std::fs::write(&csv, table).unwrap();
    let warned = |more: &str| {
        let run =
            train(&csv, &dir.path().join("m.safetensors"), &format!("--holdout 0 --batch-size 2 --force {more}")).ok();
        run.err.lines().find(|line| line.contains("trained on as well")).unwrap_or_default().to_string()
    };
    assert!(warned("--strategy ckapatch").contains("warning: 2 of 3 test pictures are trained on as well, as "));
    let alone = warned("--strategy recon");
    assert!(alone.contains("1 of 3") && alone.contains("test-train-good-001.png"), "{alone}");
}
