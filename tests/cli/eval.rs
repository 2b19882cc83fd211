//! `ckaad eval` and `ckaad threshold`.

use crate::support::*;
use serde_json::Value;

const METRICS: [&str; 5] = ["image_auroc", "best_f1", "best_f1_accuracy", "pixel_auroc", "aupro30"];

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

/// Of three normal and 30 anomalous pictures, 30 cannot be read: the rest is evaluated.
#[test]
fn pictures_that_cannot_be_read_are_left_out_and_counted() {
    let dir = folder();
    let data = dir.path().join("data");
    for name in ["test/good/000.png", "test/good/001.png", "test/stain/000.png", "ground_truth/stain/000_mask.png"] {
        let to = data.join(name);
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::copy(full().join(name), to).unwrap();
    }
    let clean = evaluated(&data, &[]);
    for name in ["test/good/bad.png", "test/stain/bad.png"] {
        std::fs::write(data.join(name), "no picture").unwrap();
    }
    let report = dir.path().join("r.html");
    let args = ["eval", "--model", text(model()), "--data", text(&data), "--report", text(&report)];
    let run = ckaad(&[&args[..], &["--format", "json"]].concat());
    assert_eq!(run.code, Some(2));
    assert!(run.err.contains("left out: ") && run.err.contains("test/stain/bad.png: not a picture"), "{run:?}");
    assert!(run.err.contains("2 pictures could not be read"), "{run:?}");
    let mut found = run.json()[0].clone();
    assert_eq!(found["pictures"]["unreadable"], 2);
    assert_eq!(found["left_out"].as_array().unwrap().len(), 2);
    let mut clean = clean;
    for object in [&mut found, &mut clean] {
        for key in ["ms_per_image", "left_out", "pictures"] {
            object.as_object_mut().unwrap().remove(key);
        }
    }
    assert_eq!(found, clean);
    assert!(std::fs::read_to_string(&report).unwrap().contains("test/good/bad.png: not a picture"));

    // A threshold is that of the pictures which can be read.
    let own = own_model(&dir);
    let good = data.join("test/good");
    ckaad(&["threshold", "--model", text(&own), text(&good)]).fails(2, &["bad.png", "1 picture could not be read"]);
    let scores = &ckaad(&["info", "--format", "json", text(&own)]).ok().json()[0]["calibration"]["scores"];
    assert_eq!(scores.as_array().unwrap().len(), 2);
    let hole = dir.path().join("hole");
    std::fs::create_dir(&hole).unwrap();
    std::fs::write(hole.join("x.png"), "no picture").unwrap();
    let before = std::fs::read(&own).unwrap();
    ckaad(&["threshold", "--model", text(&own), text(&hole)]).fails(2, &["x.png"]);
    assert!(before == std::fs::read(&own).unwrap());
}

/// Whoever reads the results reads there what standard error said while they were made.
#[test]
fn warnings_reach_the_results() {
    let dir = folder();
    let (good, report) = (dir.path().join("good"), dir.path().join("r.html"));
    std::fs::create_dir(&good).unwrap();
    let odd = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/odd/extraneous.jpg");
    std::fs::copy(odd, good.join("<odd>.jpg")).unwrap();
    let args =
        ["eval", "--model", text(model()), "--normal", text(&good), "--format", "json", "--report", text(&report)];
    let run = ckaad(&args).ok();
    let found = run.json()[0]["warnings"].clone();
    let warning = &found[0];
    assert_eq!(found.as_array().unwrap().len(), 1, "{run:?}");
    assert!(warning["path"] == text(&good.join("<odd>.jpg")) && run.err.contains("<odd>.jpg: "), "{run:?}");
    let reason = warning["warning"].as_str().unwrap();
    assert!(reason.contains("7 extraneous bytes"), "{warning}");
    let html = std::fs::read_to_string(&report).unwrap();
    assert!(html.contains("<h2>Warnings</h2>") && html.contains(&format!("&lt;odd&gt;.jpg: {reason}</li>")));
    assert_eq!(evaluated(full(), &[])["warnings"], serde_json::json!([]));
}

/// One empty folder among several does not keep the others from being evaluated.
#[test]
fn an_empty_defect_folder() {
    let dir = folder();
    for name in ["test/good/000.png", "test/stain/000.png"] {
        let to = dir.path().join(name);
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::copy(full().join(name), to).unwrap();
    }
    std::fs::create_dir(dir.path().join("test/crack")).unwrap();
    let run = ckaad(&["eval", "--model", text(model()), "--data", text(dir.path()), "--format", "json"]);
    assert_eq!((run.code, &run.json()[0]["pictures"]["anomalous"]), (Some(2), &1.into()), "{run:?}");
    assert!(run.err.contains("left out: ") && run.err.contains("crack: no pictures"), "{run:?}");
    assert!(run.err.contains("1 row or folder of the dataset could not be used"), "{run:?}");
    assert!(run.json()[0]["left_out"][0].as_str().unwrap().contains("crack: no pictures"), "{run:?}");
    let bad = dir.path().join("test");
    let run = ckaad(&["eval", "--model", text(model()), "--anomalous", text(&bad)]);
    assert_eq!((run.code, run.err.matches("crack: no pictures").count()), (Some(2), 1), "{run:?}");
    assert!(run.out.contains("of 2 anomalous pictures found"), "{run:?}");
    // What is not there at all is no part of a set.
    let run = ckaad(&["eval", "--model", text(model()), "--normal", text(&bad), "--anomalous", text(&bad.join("x"))]);
    assert_eq!(run.fails(2, &["test/x: "]).out, "");
}

/// Nor does one that cannot be read, of pictures or of masks.
#[cfg(unix)]
#[test]
fn a_folder_that_cannot_be_read() {
    use std::fs::{Permissions, copy, create_dir_all, read_dir, set_permissions};
    use std::os::unix::{fs::PermissionsExt, process::CommandExt};
    let dir = folder();
    let root = dir.path();
    set_permissions(root, Permissions::from_mode(0o755)).unwrap();
    for name in ["test/good/000.png", "test/hole/000.png", "test/stain/000.png", "ground_truth/hole/000_mask.png"] {
        let to = root.join(name);
        create_dir_all(to.parent().unwrap()).unwrap();
        copy(full().join(name), to).unwrap();
    }
    // The superuser reads everything: somebody else has to run the program, who may not reach where it was built.
    let [program, own, stain, masks] =
        ["ckaad", "m.safetensors", "test/stain", "ground_truth/hole"].map(|p| root.join(p));
    copy(env!("CARGO_BIN_EXE_ckaad"), &program).unwrap();
    copy(model(), &own).unwrap();
    let lock = |mode| [&stain, &masks].map(|f| set_permissions(f, Permissions::from_mode(mode)).unwrap());
    lock(0);
    let eval = |args: &[&str]| {
        let mut command = std::process::Command::new(&program);
        if read_dir(&stain).is_ok() {
            command.uid(65534);
        }
        command.args(["eval", "--format", "json", "--model", text(&own)]).args(args);
        command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
        run(command)
    };
    // A folder that lies in the other one would be both.
    let [good, bad] = ["fine", "test"].map(|p| root.join(p));
    create_dir_all(&good).unwrap();
    copy(full().join("test/good/001.png"), good.join("001.png")).unwrap();
    let of_dataset = eval(&["--data", text(root)]);
    let of_folders = eval(&["--normal", text(&good), "--anomalous", text(&bad)]);
    // What was named is what somebody wants.
    let refused = [
        (&stain, vec!["--normal", text(&good), "--anomalous", text(&stain)]),
        (&masks, vec!["--anomalous", text(&bad), "--masks", text(&masks)]),
    ];
    for (folder, args) in refused {
        eval(&args).fails(2, &[text(folder), "Permission denied", "expected a folder of "]);
    }
    lock(0o755);
    for (run, anomalous, folders) in
        [(of_dataset, 1, &["ground_truth/hole", "test/stain"][..]), (of_folders, 2, &["test/stain"])]
    {
        assert_eq!((run.code, &run.json()[0]["pictures"]["anomalous"]), (Some(2), &anomalous.into()), "{run:?}");
        for name in folders {
            let line = format!("left out: {}: Permission denied (os error 13)\n", text(&root.join(name)));
            assert_eq!(run.err.matches(&line).count(), 1, "{run:?}");
        }
    }
}

/// AUPRO and pixel AUROC are those of the pictures whose anomalies are known.
#[test]
fn masks_that_are_missing_or_say_nothing() {
    let dir = folder();
    let data = dir.path().join("data");
    let copy = |name: &str| {
        let to = data.join(name);
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::copy(full().join(name), &to).unwrap();
        to
    };
    for i in 0..3 {
        copy(&format!("test/good/00{i}.png"));
    }
    copy("test/hole/000.png");
    copy("ground_truth/hole/000_mask.png");
    let known = evaluated(&data, &[]);
    copy("test/stain/000.png");
    copy("test/stain/001.png");
    let empty = copy("ground_truth/stain/001_mask.png");
    write_png(&empty, 64, 64, |_, _| [0; 3]);
    let report = dir.path().join("r.html");
    let found = evaluated(&data, &["--scores", "--report", text(&report)]);
    for key in ["pixel_auroc", "aupro30"] {
        assert_eq!(found[key], known[key], "{key}");
    }
    assert_eq!((&found["pictures"]["without_mask"], &found["pictures"]["empty_mask"]), (&1.into(), &1.into()));
    assert_eq!(found["pictures"]["anomalous"], 3);
    let truths: Vec<&str> = found["scores"].as_array().unwrap().iter().map(|s| s["truth"].as_str().unwrap()).collect();
    assert_eq!(truths, ["normal", "normal", "normal", "mask", "no mask", "empty mask"]);
    let html = std::fs::read_to_string(&report).unwrap();
    assert!(html.contains(">no mask</div>") && html.contains(">empty mask</div>"));
    // One that cannot be read is an error of that picture.
    std::fs::write(&empty, "no picture").unwrap();
    let run = ckaad(&["eval", "--model", text(model()), "--data", text(&data)]);
    assert_eq!(run.code, Some(2));
    assert!(run.err.contains("001_mask.png: not a picture"), "{run:?}");
    assert!(run.out.contains("2 anomalous pictures without a usable mask"), "{run:?}");
    // Where no picture has one, none is missed.
    std::fs::remove_dir_all(data.join("ground_truth")).unwrap();
    let run = ckaad(&["eval", "--model", text(model()), "--data", text(&data)]).ok();
    assert!(!run.err.contains("mask"), "{run:?}");
}

/// What the shipped threshold makes of the pictures comes first; it is not the one that fits them best.
#[test]
fn the_operating_point() {
    let all = evaluated(full(), &["--scores"]);
    let point = &all["operating_point"];
    let threshold = all["threshold"].as_f64().unwrap();
    let scores = all["scores"].as_array().unwrap();
    let count = |anomalous: bool, called: bool| {
        let is = |s: &&Value| s["anomalous"] == anomalous && (s["score"].as_f64().unwrap() >= threshold) == called;
        scores.iter().filter(is).count() as u64
    };
    for (key, anomalous, called) in [
        ("true_positives", true, true),
        ("false_negatives", true, false),
        ("false_positives", false, true),
        ("true_negatives", false, false),
    ] {
        assert_eq!(point[key].as_u64().unwrap(), count(anomalous, called), "{key}");
    }
    assert_eq!(scores.len(), 9);
    let table = ckaad(&["eval", "--model", text(model()), "--data", text(full())]).ok();
    let lines = table.lines();
    assert!(lines[0].starts_with("At the model's threshold, "), "{table:?}");
    assert!(table.out.contains(&format!("{} of 6 anomalous pictures found", count(true, true))), "{table:?}");
    assert!(table.out.contains("held back from training"), "{table:?}");
    // The table and the report count the same pictures, and say which.
    let dir = folder();
    let report = dir.path().join("r.html");
    evaluated(full(), &["--report", text(&report)]);
    let html = std::fs::read_to_string(&report).unwrap();
    assert!(html.contains(">anomalous</th>") && html.contains(">overall</th><td>6</td>"));
    let overall = lines.iter().find(|l| l.starts_with("overall")).unwrap();
    assert!(table.out.contains("type    anomalous ") && overall.split_whitespace().nth(1) == Some("6"), "{table:?}");
}

#[test]
fn one_class_has_no_auroc() {
    let good = full().join("test/good");
    let args = ["eval", "--model", text(model()), "--normal", text(&good)];
    let run = ckaad(&args).ok();
    assert!(run.out.contains("among 3 normal pictures") && !run.out.contains("AUROC"), "{run:?}");
    assert!(run.err.contains("there are no anomalous pictures"), "{run:?}");
    let all = &ckaad(&[&args[..], &["--format", "json"]].concat()).ok().json()[0];
    assert!(all["image_auroc"].is_null() && all["best_f1"].is_null() && all["operating_point"]["recall"].is_null());
    let point = &all["operating_point"];
    assert!(point["false_alarm_rate"].is_f64() && point["accuracy"].is_null() && point["precision"].is_null(), "{all}");
    let hole = full().join("test/hole");
    let args = ["eval", "--model", text(model()), "--anomalous", text(&hole), "--format", "json"];
    let point = &ckaad(&args).ok().json()[0]["operating_point"];
    assert!(point["recall"].is_f64() && point["accuracy"].is_null() && point["precision"].is_null(), "{point}");

    // Normal pictures that nobody can tell from defects.
    let dir = folder();
    let to = dir.path().join("test/passt");
    std::fs::create_dir_all(&to).unwrap();
    std::fs::copy(good.join("000.png"), to.join("a.png")).unwrap();
    let run = ckaad(&["eval", "--model", text(model()), "--data", text(dir.path()), "--format", "json"]).ok();
    assert!(run.err.contains("none of the folders in test is one of normal pictures (called good, ok,"), "{run:?}");
    assert!(run.json()[0]["best_f1"].is_null());
    std::fs::rename(&to, dir.path().join("test/OK")).unwrap();
    let run = ckaad(&["eval", "--model", text(model()), "--data", text(dir.path()), "--format", "json"]).ok();
    assert!(run.err.contains("test/OK is taken for the normal pictures"), "{run:?}");
    assert_eq!(run.json()[0]["pictures"]["normal"], 1);

    ckaad(&["eval", "--model", text(model()), "--data", text(&good)]).fails(2, &["no test in it", "--normal "]);
    ckaad(&["eval", "--model", text(model())]).fails(2, &["--data"]);
}

/// Before any work, not after it.
#[test]
fn a_report_that_cannot_be_written() {
    let dir = folder();
    let args = ["eval", "--model", text(model()), "--data", text(full()), "--report"];
    let nowhere = dir.path().join("no/r.html");
    let run = ckaad(&[&args[..], &[text(&nowhere)]].concat()).fails(2, &["--report", "there is no folder"]);
    assert_eq!(run.out, "");
    let notes = dir.path().join("notes.txt");
    std::fs::write(&notes, "do not lose these notes").unwrap();
    ckaad(&[&args[..], &[text(&notes)]].concat()).fails(2, &["notes.txt: already there, and no report"]);
    let picture = full().join("test/good/000.png");
    ckaad(&[&args[..], &[text(&picture)]].concat()).fails(2, &["000.png"]);
    // An earlier report may go.
    let report = dir.path().join("r.html");
    for _ in 0..2 {
        ckaad(&[&args[..], &[text(&report)]].concat()).ok();
    }
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
    // Of three scores none may reach the threshold, since each is more than a quarter of them: a thousandth of what they span above.
    let expected = scores[2] + (scores[2] - scores[0]) / 1000.0;
    let found = metadata(&other, "threshold").unwrap();
    // `threshold` scores in batches of 8, `score` one by one, which rounds differently in f32.
    assert!((found.parse::<f64>().unwrap() - expected).abs() < 2e-6 * expected, "{found}, expected {expected}");
    assert_eq!(metadata(&own, "threshold").as_deref(), Some("0.625"), "--out leaves the old file alone");
    assert!(tensors(&other) == tensors(model()));
}

/// The other name of a file that is replaced leads to the old one, which is said.
#[cfg(unix)]
#[test]
fn hard_links_keep_the_old_model() {
    let dir = folder();
    let (own, other) = (own_model(&dir), dir.path().join("other.safetensors"));
    let set = || ckaad(&["threshold", "--model", text(&own), "--value", "0.625"]).ok();
    assert_eq!(set().err, "");
    std::fs::hard_link(&own, &other).unwrap();
    let before = std::fs::read(&other).unwrap();
    let set = ckaad(&["threshold", "--model", text(&own), "--value", "0.25"]).ok();
    assert!(set.err.contains("own.safetensors: 1 hard link to the same file will keep what it holds now"), "{set:?}");
    assert_eq!(metadata(&own, "threshold").as_deref(), Some("0.25"));
    assert!(std::fs::read(&other).unwrap() == before);
}

/// Masks are no pictures; what becomes of odd ones is said, and of pictures in odd places.
#[test]
fn what_is_not_taken_is_said() {
    let dir = folder();
    let copy = |from: &str, to: &str| {
        let to = dir.path().join(to);
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::copy(full().join(from), to).unwrap();
    };
    copy("test/good/000.png", "test/good/000.png");
    copy("test/good/001.png", "test/001.png");
    copy("test/hole/000.png", "test/hole/000.png");
    for to in ["test/hole/000_mask.png", "test/hole/000_GT.png", "ground_truth/hole/x_mask.png"] {
        copy("ground_truth/hole/000_mask.png", to);
    }
    let run = ckaad(&["eval", "--model", text(model()), "--data", text(dir.path()), "--format", "json"]).ok();
    let found = &run.json()[0];
    assert_eq!((&found["pictures"]["normal"], &found["pictures"]["anomalous"]), (&1.into(), &1.into()), "{run:?}");
    assert!(found["pixel_auroc"].is_f64());
    for words in [
        "passed over: 1 picture in test itself",
        "1 mask taken for that of the picture beside it",
        "warning: 1 mask not taken, as there is another of the same picture: ",
        "warning: 1 mask without a picture, as ",
    ] {
        assert!(run.err.contains(words), "no \"{words}\" in {run:?}");
    }
}
