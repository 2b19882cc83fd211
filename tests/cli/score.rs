//! `ckaad score`: its formats, order, maps and what it does with pictures it cannot read.

use crate::support::*;
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::Stdio;

fn test_pictures() -> String {
    full().join("test").to_str().unwrap().to_string()
}

#[test]
fn json_has_the_documented_keys_and_any_batch_size_gives_the_same_lines() {
    let one = ckaad(&["score", "--model", text(model()), "--device", "cpu", "--format", "json", &test_pictures()]).ok();
    let three =
        ckaad(&["score", "--model", text(model()), "--format", "json", "--batch-size", "3", &test_pictures()]).ok();
    // Another batch size may take other kernels, which round differently: f32's precision, over some dozen layers.
    assert_eq!(one.lines().len(), three.lines().len());
    for (a, b) in one.json().iter().zip(three.json()) {
        assert_eq!((&a["path"], &a["anomalous"]), (&b["path"], &b["anomalous"]));
        let (a, b) = (a["score"].as_f64().unwrap(), b["score"].as_f64().unwrap());
        assert!((a - b).abs() <= 2e-6 * a, "{a} {b}");
    }
    let threshold: f64 = metadata(model(), "threshold").unwrap().parse().unwrap();
    let lines = one.json();
    assert_eq!(lines.len(), 9);
    let mut paths = Vec::new();
    for l in &lines {
        let keys: Vec<&str> = l.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(keys, ["anomalous", "path", "regions", "score", "score_normalized", "threshold"]);
        let score = l["score"].as_f64().unwrap();
        // The threshold is the one score that was held back: there is none below it but 0.
        let (r, normalized) = (score / threshold, l["score_normalized"].as_f64().unwrap());
        let expected = if r <= 1.0 { r / 2.0 } else { 1.0 - 0.5 / r };
        assert!((normalized - expected).abs() < 1e-9, "{l}: {expected}");
        assert!(score > 0.0 && score < 4.0, "{l}");
        assert_eq!(l["threshold"].as_f64().unwrap(), threshold);
        assert_eq!(l["anomalous"].as_bool().unwrap(), score >= threshold);
        paths.push(l["path"].as_str().unwrap());
    }
    assert!(paths.is_sorted(), "{paths:?}");
    assert_eq!(one.err, "");
}

#[test]
fn unreadable_pictures_get_their_line_and_the_others_are_scored() {
    let dir = folder();
    let good = full().join("test/good/000.png");
    let bad = dir.path().join("a,b.png");
    std::fs::write(&bad, "no picture").unwrap();
    let missing = dir.path().join("missing.png");
    let paths = [text(&good), text(&bad), text(&missing), text(&good)];
    for batch in ["1", "3"] {
        let args = |format| ["score", "--model", text(model()), "--batch-size", batch, "--format", format];
        let run = |format| ckaad(&[&args(format)[..], &paths[..]].concat());

        let json = run("json");
        assert_eq!(
            (json.code, json.err.contains("1 picture and 1 path could not be scored")),
            (Some(2), true),
            "{json:?}"
        );
        let lines = json.json();
        assert_eq!(lines.iter().map(|l| l["path"].as_str().unwrap()).collect::<Vec<_>>(), paths);
        for l in &lines[1..3] {
            assert_eq!(l.as_object().unwrap().len(), 2);
            assert!(l["error"].as_str().unwrap().contains(l["path"].as_str().unwrap()), "{l}");
        }
        assert_eq!(lines[0]["score"], lines[3]["score"]);

        let csv = run("csv");
        let rows = csv.lines();
        assert_eq!(rows[0], "path,score,score_normalized,threshold,anomalous,error");
        let scored: Vec<&str> = rows[1].split(',').collect();
        assert_eq!((scored.len(), scored[0], scored[5]), (6, paths[0], ""));
        let (of_csv, of_json) = (scored[1].parse::<f64>().unwrap(), lines[0]["score"].as_f64().unwrap());
        // The JSON reader of this test rounds to one unit in the last place.
        assert!((of_csv - of_json).abs() <= 1e-15, "{of_csv} {of_json}");
        let normalized = (scored[2].parse::<f64>().unwrap(), lines[0]["score_normalized"].as_f64().unwrap());
        assert!((normalized.0 - normalized.1).abs() <= 1e-15, "{normalized:?}");
        assert!(rows[2].starts_with(&format!("\"{}\",,,,,", paths[1])), "{}", rows[2]);

        let table = run("table");
        let first: Vec<&str> = table.lines()[0].split_whitespace().collect();
        assert_eq!(first[1], format!("{:.3}", normalized.0), "{table:?}");
        assert!(table.lines()[0].ends_with(paths[0]) && table.lines()[1].contains("unreadable"), "{table:?}");
        assert_eq!((csv.code, table.code, table.lines().len()), (Some(2), Some(2), 4));
    }
}

#[test]
fn a_list_on_standard_input_is_scored_line_by_line() {
    let mut child = command(&["score", "--model", text(model()), "-"]).stdin(Stdio::piped()).spawn().unwrap();
    let mut list = child.stdin.take().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    for name in ["test/good/000.png", "test/hole/001.png"] {
        let path = full().join(name);
        writeln!(list, "{}", path.display()).unwrap();
        // Comes while the list is still open, or the test hangs.
        assert!(lines.next().unwrap().unwrap().ends_with(text(&path)));
    }
    drop(list);
    assert!(lines.next().is_none() && child.wait().unwrap().success());
}

#[test]
fn whoever_stops_reading_ends_the_program_quietly() {
    let picture = full().join("test/good/000.png");
    // More pictures than the decoder may hold ahead, then a list that never ends.
    let mut args = vec!["score", "--device", "cpu", "--model", text(model())];
    args.extend([text(&picture); 30]);
    args.push("-");
    let mut child = command(&args).stdin(Stdio::piped()).spawn().unwrap();
    let _open = child.stdin.take();
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    lines.read_line(&mut String::new()).unwrap();
    drop(lines);
    let mut err = String::new();
    child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
    assert!(child.wait().unwrap().success() && err.is_empty(), "{err}");
}

#[test]
fn maps_hold_what_the_score_is_made_of() {
    let dir = folder();
    let (maps, heat) = (dir.path().join("maps"), dir.path().join("deep/heat"));
    // Both folders have a 000.png.
    let pictures = [full().join("test/good/000.png"), full().join("test/hole/000.png")];
    let args = ["score", "--model", text(model()), "--format", "json", "--maps", text(&maps)];
    let rest = ["--heatmaps", text(&heat), text(&pictures[0]), text(&pictures[1])];
    let scored = ckaad(&[&args[..], &rest[..]].concat()).ok().json();
    for (name, line) in ["000", "000-2"].iter().zip(&scored) {
        let (side, map) = npy(&maps.join(format!("{name}.npy")));
        assert_eq!(side, 32);
        let (found, expected) = (line["score"].as_f64().unwrap(), mean_of_largest(&map, 100));
        assert!((found - expected).abs() < 1e-6 * expected, "{found} {expected}");
        let shown = image::open(heat.join(format!("{name}.png"))).unwrap();
        assert_eq!((shown.width(), shown.height()), (64, 64), "in the size of the picture");
        assert_eq!(line["heatmap"], text(&heat.join(format!("{name}.png"))));
        assert_eq!(line["map"], text(&maps.join(format!("{name}.npy"))));
    }
    assert_ne!(std::fs::read(maps.join("000.npy")).unwrap(), std::fs::read(maps.join("000-2.npy")).unwrap());

    let tiffs = dir.path().join("tiffs");
    let args = ["score", "--model", text(model()), "--maps", text(&tiffs), "--map-format", "tiff", text(&pictures[0])];
    ckaad(&args).ok();
    let mut decoder = tiff::decoder::Decoder::new(std::fs::File::open(tiffs.join("000.tiff")).unwrap()).unwrap();
    let tiff::decoder::DecodingResult::F32(values) = decoder.read_image().unwrap() else { panic!("expected f32") };
    assert_eq!(values, npy(&maps.join("000.npy")).1);
}

#[test]
fn a_map_that_cannot_be_written_ends_the_run_with_an_error() {
    let dir = folder();
    let maps = dir.path().join("maps");
    // A folder stands where the second map belongs.
    std::fs::create_dir(&maps).unwrap();
    let scored = |more: &[&str]| ckaad(&[&["score", "--model", text(model()), "--maps", text(&maps)], more].concat());
    let picture = full().join("test/good/000.png");
    scored(&[text(&picture)]).ok();
    std::fs::create_dir(maps.join("000-2.npy")).unwrap();
    let failed = scored(&[text(&picture); 20]).fails(2, &["000-2.npy"]);
    assert_eq!(failed.lines().len(), 1);
    let left: BTreeSet<_> = std::fs::read_dir(&maps).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left.len(), 3, "nothing half-written: {left:?}");
}

#[test]
fn without_a_threshold_nothing_is_called_anomalous() {
    let dir = folder();
    let path = dir.path().join("m.safetensors");
    train(full(), &path, "--holdout 0").ok();
    let picture = full().join("test/good/000.png");
    let line = &ckaad(&["score", "--model", text(&path), "--format", "json", text(&picture)]).ok().json()[0];
    assert!(line["threshold"].is_null() && line["anomalous"].is_null() && line["score"].is_f64(), "{line}");
    assert!(line["score_normalized"].is_null(), "{line}");
    let table = ckaad(&["score", "--model", text(&path), text(&picture)]).ok();
    assert!(!table.out.contains("ANOMALOUS") && !table.out.contains("normal"), "{table:?}");
}

/// A detector for real pictures; runs where the data lie beside the repository.
#[test]
fn real_pictures() {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/magnetic_tile");
    if !data.join("test").is_dir() {
        eprintln!("SKIPPED: {} is not there, so nothing was tested on real pictures", data.display());
        return;
    }
    let dir = folder();
    let small = dir.path().join("tiles/train/good");
    std::fs::create_dir_all(&small).unwrap();
    let pictures = |sub: &str, count: usize| {
        let mut all: Vec<_> = std::fs::read_dir(data.join(sub)).unwrap().map(|e| e.unwrap().path()).collect();
        all.sort();
        all.truncate(count);
        all
    };
    for p in pictures("train/good", 16) {
        std::fs::copy(&p, small.join(p.file_name().unwrap())).unwrap();
    }
    let path = dir.path().join("m.safetensors");
    train(&dir.path().join("tiles"), &path, "--image-size 64 --strategy ckapatch").ok();
    let three = pictures("test/good", 3);
    let mut args = vec!["score", "--model", text(&path), "--format", "json"];
    args.extend(three.iter().map(|p| text(p)));
    let lines = ckaad(&args).ok().json();
    assert!(lines.len() == 3 && lines.iter().all(|l| l["score"].as_f64().is_some_and(|s| s > 0.0 && s < 4.0)));
}

/// Subfolders are kept, a second run does not score its own heat maps, and nothing of the user's is replaced.
#[test]
fn outputs_beside_inputs() {
    let dir = folder();
    let photos = dir.path().join("photos");
    for name in ["a.png", "sub/a.png"] {
        let to = photos.join(name);
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::copy(full().join("test/hole/000.png"), to).unwrap();
    }
    let before = std::fs::read(photos.join("a.png")).unwrap();
    let score = |more: &[&str]| ckaad(&[&["score", "--model", text(model()), "--format", "json"], more].concat());
    score(&["--heatmaps", text(&photos), text(&photos)]).fails(2, &["--heatmaps", "did not write"]);
    score(&["--maps", text(&photos), "--map-format", "tiff", text(&photos)]).fails(2, &["--maps", "did not write"]);
    let heat = photos.join("heat");
    for _ in 0..2 {
        let run = score(&["--heatmaps", text(&heat), text(&photos)]).ok();
        let names: Vec<_> = run.json().iter().map(|l| l["heatmap"].as_str().unwrap().to_string()).collect();
        assert_eq!(names, [text(&heat.join("a.png")), text(&heat.join("sub/a.png"))]);
    }
    score(&["--heatmaps", text(&heat), text(&heat)]).fails(2, &["lies in the folder of --heatmaps"]);
    let report = dir.path().join("r.html");
    score(&["--report", text(&report), text(&photos)]).ok();
    assert!(std::fs::read_to_string(&report).unwrap().contains("All 2 pictures"));
    score(&["--report", text(&photos.join("a.png")), text(&photos)]).fails(2, &["a.png", "no report"]);
    assert!(std::fs::read(photos.join("a.png")).unwrap() == before);
}

/// What is no picture to score is passed over below a folder, and counted; a file that is named is meant.
#[test]
fn masks_and_heat_maps_below_a_folder() {
    let dir = folder();
    let (photos, heat) = (dir.path().join("photos"), dir.path().join("heat"));
    std::fs::create_dir(&photos).unwrap();
    let mask = photos.join("a_mask.png");
    for (from, to) in [("test/hole/000.png", photos.join("a.png")), ("ground_truth/hole/000_mask.png", mask.clone())] {
        std::fs::copy(full().join(from), to).unwrap();
    }
    let score = |more: &[&str]| ckaad(&[&["score", "--model", text(model())], more].concat());
    let run = score(&["--heatmaps", text(&heat), text(&photos)]).ok();
    assert_eq!(run.lines().len(), 1, "{run:?}");
    assert!(run.err.contains("passed over: 1 file called as the mask of a picture beside it"), "{run:?}");
    assert_eq!(score(&[text(&photos), text(&mask)]).ok().lines().len(), 2);

    let run = score(&[text(&heat)]).fails(2, &["1 path could not be scored"]);
    assert!(
        run.out.contains("heat: no pictures in this folder")
            && run.err.contains("passed over: 1 picture written by ckaad"),
        "{run:?}"
    );
    std::fs::copy(photos.join("a.png"), heat.join("mine.png")).unwrap();
    let run = score(&[text(&heat)]).ok();
    assert!(run.lines().len() == 1 && run.out.contains("mine.png"), "{run:?}");
    assert_eq!(score(&[text(&heat.join("a.png"))]).ok().lines().len(), 1);
}

/// A flag that would do nothing is refused.
#[test]
fn flags_that_need_another() {
    let picture = full().join("test/good/000.png");
    let args = ["score", "--model", text(model()), text(&picture)];
    for (flag, value, needs) in [
        ("--map-format", "tiff", "--maps"),
        ("--map-format", "npy", "--maps"),
        ("--pixel-threshold", "1", "--heatmaps"),
    ] {
        ckaad(&[&args[..], &[flag, value]].concat()).fails(2, &[needs]);
    }
    ckaad(&[&args[..], &["--pixel-threshold", "1", "--format", "json"]].concat()).ok();
    ckaad(&[&args[..], &["--contours"]].concat()).fails(2, &["--heatmaps"]);
}

/// Where the map is above the pixel threshold, in pixels of the picture (64, of maps of 32).
#[test]
fn regions_and_thresholds_of_a_run() {
    let dir = folder();
    let maps = dir.path().join("maps");
    let picture = full().join("test/hole/000.png");
    let args = ["score", "--model", text(model()), "--format", "json", "--maps", text(&maps), text(&picture)];
    let line =
        ckaad(&[&args[..], &["--pixel-threshold", "0.3", "--threshold", "1e-9"]].concat()).ok().json()[0].clone();
    assert_eq!((&line["anomalous"], line["threshold"].as_f64()), (&true.into(), Some(1e-9)));
    let (_, map) = npy(&maps.join("000.npy"));
    let above = map.iter().filter(|v| **v >= 0.3).count() as f64;
    let regions = line["regions"].as_array().unwrap();
    let sum = |key: &str| regions.iter().map(|r| r[key].as_f64().unwrap()).sum::<f64>();
    assert!((sum("area") - 4.0 * above).abs() < 1e-9 && (sum("share") - above / 1024.0).abs() < 1e-12, "{line}");
    let highest = map.iter().copied().fold(0.0f32, f32::max);
    assert!(above > 0.0 && regions[0]["peak"].as_f64().unwrap() == f64::from(highest), "{line}");
    let (x, y, w, h) = {
        let b: Vec<f64> = regions[0]["box"].as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect();
        (b[0], b[1], b[2], b[3])
    };
    let at = map.iter().position(|v| *v == highest).unwrap();
    let (px, py) = ((at % 32) as f64 * 2.0, (at / 32) as f64 * 2.0);
    assert!((x..x + w).contains(&px) && (y..y + h).contains(&py), "{line}");
    let centre: Vec<f64> = regions[0]["centroid"].as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect();
    assert!((x..x + w).contains(&centre[0]) && (y..y + h).contains(&centre[1]), "{line}");
}

#[test]
fn thresholds_of_a_run_are_finite() {
    let picture = full().join("test/good/000.png");
    for flag in ["--threshold", "--pixel-threshold"] {
        for value in ["nan", "inf", "-inf", "x"] {
            let given = format!("{flag}={value}");
            ckaad(&["score", "--model", text(model()), &given, text(&picture)]).fails(2, &[flag, "finite number"]);
        }
    }
}

/// Paths ended by zero bytes, in a file or on standard input.
#[test]
fn lists_of_any_names() {
    use std::io::Write;
    let dir = folder();
    let odd = dir.path().join("a\nb.png");
    std::fs::copy(full().join("test/good/000.png"), &odd).unwrap();
    let list = dir.path().join("list");
    std::fs::write(&list, format!("{}\0{}\0", odd.display(), full().join("test/good").display())).unwrap();
    let args = ["score", "--model", text(model()), "--format", "json", "--files0-from"];
    assert_eq!(ckaad(&[&args[..], &[text(&list)]].concat()).ok().lines().len(), 4);
    let mut child = command(&[&args[..], &["-"]].concat()).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(&std::fs::read(&list).unwrap()).unwrap();
    let out = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8(out.stdout).unwrap().lines().count(), 4);
    ckaad(&[&args[..], &[text(&list), text(&odd)]].concat()).fails(2, &["--files0-from"]);
}

/// A path that leads nowhere is no picture.
/// Nothing is said of the device where nothing was computed.
#[test]
fn a_list_of_nothing() {
    let dir = folder();
    let list = dir.path().join("list");
    std::fs::write(&list, "").unwrap();
    let run = ckaad(&["score", "--model", text(model()), "--files0-from", text(&list)]).ok();
    assert!(run.err.contains("names no picture") && !run.err.contains("computing"), "{run:?}");
}

#[test]
fn paths_and_pictures_are_counted_apart() {
    let dir = folder();
    let bad = dir.path().join("bad.png");
    std::fs::write(&bad, "no picture").unwrap();
    let nowhere = dir.path().join("nowhere");
    let args = ["score", "--model", text(model()), text(&nowhere)];
    ckaad(&args).fails(2, &["error: 1 path could not be scored"]);
    ckaad(&[&args[..], &[text(&bad)]].concat()).fails(2, &["1 picture and 1 path could not be scored"]);
}
