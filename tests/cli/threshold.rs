//! Thresholds by the best F1 on labelled pictures, in `ckaad threshold` and `ckaad train`, and what is said of them.

use crate::support::*;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

/// The best F1, by trying all scores as thresholds, and the threshold: halfway from the lowest score that has it to the next lower one.
fn best(scores: &[(f64, bool)]) -> (f64, f64) {
    let f1 = |t: f64| {
        let count =
            |bad: bool, called: bool| scores.iter().filter(|s| s.1 == bad && (s.0 >= t) == called).count() as f64;
        let (tp, wrong) = (count(true, true), count(true, false) + count(false, true));
        2.0 * tp / (2.0 * tp + wrong)
    };
    let all = scores.iter().map(|s| (f1(s.0), s.0));
    let (f1, lowest) = all.max_by(|a, b| a.0.total_cmp(&b.0).then(b.1.total_cmp(&a.1))).unwrap();
    let lower =
        scores.iter().map(|s| s.0).filter(|s| *s < lowest).reduce(f64::max).expect("not all are called anomalous");
    (f1, (lower + lowest) / 2.0)
}

/// Scores of the test pictures of [`full`], as a batch of 8 gives them, and which are anomalous.
fn scores(model: &Path) -> Vec<(f64, bool)> {
    let args = ["score", "--model", text(model), "--batch-size", "8", "--format", "json"];
    let of = |folder: &str| ckaad(&[&args[..], &[text(&full().join("test").join(folder))]].concat()).ok().json();
    let all =
        ["good", "hole", "scratch", "stain"].into_iter().flat_map(|f| of(f).into_iter().map(move |l| (l, f != "good")));
    all.map(|(l, bad)| (l["score"].as_f64().unwrap(), bad)).collect()
}

fn info(model: &Path) -> Value {
    ckaad(&["info", "--format", "json", text(model)]).ok().json()[0].clone()
}

#[track_caller]
fn close(found: &Value, expected: f64) {
    let found = found.as_f64().unwrap();
    assert!((found - expected).abs() <= 1e-5 * expected, "{found} instead of {expected}");
}

/// The test pictures of [`full`] in a folder for each kind.
fn folders(dir: &Path) -> (PathBuf, PathBuf) {
    let bad = dir.join("bad");
    fs::create_dir(&bad).unwrap();
    for kind in ["hole", "scratch", "stain"] {
        for picture in fs::read_dir(full().join("test").join(kind)).unwrap().map(|e| e.unwrap().path()) {
            fs::copy(&picture, bad.join(format!("{kind}-{}", text(Path::new(picture.file_name().unwrap()))))).unwrap();
        }
    }
    (full().join("test/good"), bad)
}

#[test]
fn the_best_f1_of_two_folders() {
    let dir = folder();
    let (good, bad) = folders(dir.path());
    let own = own_model(&dir);
    let scores = scores(&own);
    let (f1, threshold) = best(&scores);
    let args = ["threshold", "--model", text(&own), "--normal", text(&good), "--anomalous", text(&bad)];
    let run = ckaad(&[&args[..], &["--best-f1"]].concat()).ok();
    let said = format!("best-F1 threshold (F1 {f1:.4}) of 3 normal pictures (scores ");
    assert!(run.err.contains(&said), "{run:?}");
    assert!(run.err.contains("3 normal and 6 anomalous scores say little about F1"), "{run:?}");
    let told = info(&own);
    close(&told["threshold"], threshold);
    let calibration = &told["calibration"];
    close(&calibration["origin"]["best-f1"]["f1"], f1);
    let of = |key: &str| calibration[key].as_array().unwrap().len();
    assert_eq!((of("scores"), of("anomalous"), of("peaks")), (3, 6, 3));
    // Of pixels at most one in fifty of the normal pictures' peaks may reach it: of three none.
    let peaks: Vec<f64> = calibration["peaks"].as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect();
    close(&told["pixel_threshold"], peaks[2] + (peaks[2] - peaks[0]) / 1000.0);
    assert!(ckaad(&["info", text(&own)]).ok().out.contains(&said));

    // What is evaluated on these very pictures says the same, and normalises as anomalib: by all scores' ends.
    let report = dir.path().join("r.html");
    let args = ["eval", "--model", text(&own), "--data", text(full()), "--report", text(&report)];
    assert!(ckaad(&args).ok().out.contains(&format!("it is the {said}")));
    let html = fs::read_to_string(&report).unwrap();
    assert!(html.contains(&said) && html.contains("(min-max)") && html.contains("PRO curve (area "), "{html:.2000}");
    let all = &ckaad(&[&args[..5], &["--format", "json", "--scores"]].concat()).ok().json()[0];
    let [low, high] = [f64::min, f64::max].map(|f| scores.iter().map(|s| s.0).reduce(f).unwrap());
    for one in all["scores"].as_array().unwrap() {
        let score = one["score"].as_f64().unwrap();
        let expected = ((score - threshold) / (high - low) + 0.5).clamp(0.0, 1.0);
        let found = one["score_normalized"].as_f64().unwrap();
        assert!((found - expected).abs() < 1e-4, "{one} instead of {expected}");
        assert_eq!(found >= 0.5, one["called_anomalous"].as_bool().unwrap());
    }
}

#[test]
fn a_target_false_positive_rate_of_a_folder() {
    let dir = folder();
    let (good, bad) = folders(dir.path());
    let own = own_model(&dir);
    let args = ["threshold", "--model", text(&own)];
    let run = |more: &[&str]| ckaad(&[&args[..], more].concat());
    let of_folder = run(&["--max-false-alarms", "25%", "--normal", text(&good)]).ok();
    assert!(of_folder.err.contains("0.75-quantile of 3 normal pictures given to ckaad threshold"), "{of_folder:?}");
    let before = info(&own);
    run(&["--max-false-alarms", "25%", text(&good)]).ok();
    assert_eq!(before, info(&own));
    run(&["--normal", text(&good), "--anomalous", text(&bad)]).fails(2, &["--best-f1"]);
    run(&["--best-f1", "--normal", text(&good)]).fails(2, &["--best-f1", "3 normal and 0 anomalous"]);
    run(&["--best-f1", text(&good)]).fails(2, &["--best-f1", "--anomalous DIR"]);
    run(&["--best-f1", "--max-false-alarms", "3%", "--data", text(full())]).fails(2, &["--best-f1"]);
    run(&["--best-f1", "--data", text(full())]).fails(2, &["no validation pictures", "--split"]);
    run(&["--best-f1", "--data", text(full()), "--split", "some"]).fails(2, &["train, validation or test"]);
    run(&["--data", text(full()), "--split", "test", text(&good)]).fails(2, &["leave one of them out"]);
    run(&["--value", "1", "--data", text(full())]).fails(2, &["--value", "leave the pictures out"]);
    let of_split = run(&["--max-false-alarms", "25%", "--data", text(full()), "--split", "test"]).ok();
    assert!(of_split.err.contains("6 anomalous pictures not used"), "{of_split:?}");
    assert_eq!(before, info(&own));
}

/// A validation split in a table: training takes its threshold there, as `ckaad threshold` does afterwards.
#[test]
fn training_takes_the_best_f1_of_a_validation_split() {
    let dir = folder();
    let table = dir.path().join("parts.csv");
    let mut rows = String::from("path,label,split\n");
    for (split, kind) in [("train", "good"), ("test", "good"), ("test", "hole"), ("test", "scratch"), ("test", "stain")]
    {
        let mut pictures: Vec<PathBuf> =
            fs::read_dir(full().join(split).join(kind)).unwrap().map(|e| e.unwrap().path()).collect();
        pictures.sort();
        for picture in pictures {
            let split = if split == "test" { "validation" } else { split };
            rows += &format!("{},{kind},{split}\n", text(&picture));
        }
    }
    fs::write(&table, &rows).unwrap();
    let at = |name: &str| dir.path().join(name);
    let small = ["--weights", "random", "--image-size", "64", "--layers", "1,2", "--detector", "patchcore"];
    let trained = |data: &Path, out: &Path, more: &[&str]| {
        ckaad(&[&["train", "--data", text(data), "--out", text(out), "--batch-size", "8"], &small[..], more].concat())
    };
    let own = at("m.safetensors");
    let run = trained(&table, &own, &["--best-f1"]).ok();
    assert!(run.err.contains("9 normal pictures, 0 held back"), "{run:?}");
    let (f1, threshold) = best(&scores(&own));
    assert!(run.err.contains(&format!("best-F1 threshold (F1 {f1:.4}) of 3 normal pictures")), "{run:?}");
    let told = info(&own);
    close(&told["threshold"], threshold);
    close(&told["calibration"]["origin"]["best-f1"]["f1"], f1);
    // Nothing is learned from validation pictures: the same bank as without them.
    let other = at("other.safetensors");
    trained(full(), &other, &["--holdout", "0"]).ok();
    assert!(tensors(&own) == tensors(&other));
    assert_eq!(metadata(&own, "trained_on"), metadata(&other, "trained_on"));
    assert_eq!(told["training"]["data"], info(&other)["training"]["data"]);
    let set = ckaad(&["threshold", "--model", text(&other), "--best-f1", "--data", text(&table)]).ok();
    assert!(!set.err.contains("was trained on"), "{set:?}");
    let same = info(&other);
    close(&same["threshold"], threshold);
    close(&same["calibration"]["origin"]["best-f1"]["f1"], f1);
    assert_eq!(metadata(&own, "calibrated_on"), metadata(&other, "calibrated_on"));

    // Of one kind there is no F1, which is said before anything is learned.
    let good: String =
        rows.lines().filter(|l| !l.contains("test") || l.contains("good")).map(|l| format!("{l}\n")).collect();
    fs::write(&table, good).unwrap();
    trained(&table, &at("x.safetensors"), &["--best-f1"]).fails(2, &["3 normal and 0 anomalous"]);
    trained(full(), &at("x.safetensors"), &["--best-f1"]).fails(2, &["0 normal and 0 anomalous", "ckaad threshold"]);
    trained(full(), &at("x.safetensors"), &["--best-f1", "--folds", "3"]).fails(2, &["--best-f1", "--folds"]);
    assert!(!at("x.safetensors").exists());
}

/// A folder by any of its names is normal or anomalous, not both.
#[test]
fn one_folder_cannot_be_both() {
    let dir = folder();
    let (good, bad) = folders(dir.path());
    let own = own_model(&dir);
    let before = info(&own);
    let roundabout = bad.join("../bad/.");
    for (normal, anomalous) in [(&bad, &bad), (&bad, &roundabout), (&dir.path().to_path_buf(), &bad)] {
        let given = ["--normal", text(normal), "--anomalous", text(anomalous)];
        let words = ["given as a normal picture and as an anomalous one"];
        let threshold = ["threshold", "--model", text(&own), "--best-f1"];
        ckaad(&[&threshold[..], &given].concat()).fails(2, &words);
        let run = ckaad(&[&["eval", "--model", text(&own)][..], &given].concat());
        assert_eq!(run.fails(2, &words).out, "");
        let out = dir.path().join("x.safetensors");
        ckaad(&[&["train", "--out", text(&out), "--weights", "random"][..], &given].concat()).fails(2, &words);
    }
    assert_eq!(before, info(&own));
    ckaad(&["eval", "--model", text(&own), "--normal", text(&good), "--anomalous", text(&bad)]).ok();
}

/// Of several categories those without the pictures that are asked for are named, and those for validation by their category.
#[test]
fn categories_without_validation_pictures_are_named() {
    let dir = folder();
    let table = dir.path().join("parts.csv");
    let of = |folder: &str| {
        let mut pictures: Vec<PathBuf> =
            fs::read_dir(full().join(folder)).unwrap().map(|e| e.unwrap().path()).collect();
        pictures.sort();
        pictures
    };
    let (trained, good, bad) = (of("train/good"), of("test/good"), of("test/hole"));
    let row = |picture: &Path, label: &str, split: &str, category: &str| {
        format!("{},{label},{split},{category}\n", text(picture))
    };
    let rows = [
        row(&trained[0], "good", "train", "nut"),
        row(&trained[1], "good", "train", "bolt"),
        row(&trained[2], "good", "train", "screw"),
        row(&good[0], "good", "validation", "nut"),
        row(&good[1], "good", "validation", "nut"),
        row(&bad[0], "hole", "validation", "bolt"),
    ];
    fs::write(&table, format!("path,label,split,category\n{}", rows.concat())).unwrap();
    let own = own_model(&dir);
    let args = ["threshold", "--model", text(&own), "--data", text(&table)];
    let others = "the threshold is that of the other categories";
    let run = ckaad(&args).ok();
    assert!(run.err.contains(&format!("warning: no normal validation pictures of bolt, screw: {others}")), "{run:?}");
    let run = ckaad(&[&args[..], &["--best-f1"]].concat()).ok();
    assert!(run.err.contains(&format!("warning: no validation pictures of screw: {others}")), "{run:?}");
    assert!(run.err.contains("nut: 2 pictures for validation: for a threshold alone"), "{run:?}");
    assert!(run.err.contains("bolt: 1 picture for validation: "), "{run:?}");
    let run = ckaad(&[&args[..], &["--category", "nut"]].concat()).ok();
    assert!(!run.err.contains("warning: no "), "{run:?}");
    let run = ckaad(&[&args[..], &["--split", "train"]].concat()).ok();
    assert!(!run.err.contains("warning: no "), "{run:?}");
}

/// As folders have them: taken by `threshold` and by training, and what else lies there is said.
#[test]
fn a_folder_for_validation() {
    let dir = folder();
    let data = dir.path().join("parts");
    let copy = |from: &str, to: &str| {
        fs::create_dir_all(data.join(to)).unwrap();
        for picture in fs::read_dir(full().join(from)).unwrap().map(|e| e.unwrap().path()) {
            fs::copy(&picture, data.join(to).join(picture.file_name().unwrap())).unwrap();
        }
    };
    copy("train/good", "train/good");
    copy("test/good", "val/good");
    copy("test/hole", "val/hole");
    copy("test/stain", "test/stain");
    copy("test/scratch", "extra");
    let model = dir.path().join("m.safetensors");
    let run = train(&data, &model, "--strategy ckapatch --best-f1").ok();
    assert!(run.err.contains("9 normal pictures, 0 held back"), "{run:?}");
    assert!(
        run.err.contains("of 3 normal pictures (scores ") && run.err.contains(" and 2 anomalous pictures"),
        "{run:?}"
    );
    assert!(run.err.contains("passed over: folder extra (2 pictures)"), "{run:?}");
    assert!(run.err.contains("5 pictures for validation: for a threshold alone"), "{run:?}");
    let threshold = info(&model)["threshold"].clone();
    ckaad(&["threshold", "--model", text(&model), "--data", text(&data), "--best-f1"]).ok();
    close(&info(&model)["threshold"], threshold.as_f64().unwrap());
}
