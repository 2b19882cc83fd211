//! `ckaad experiment`: what it says of its figures, and what they depend on.

use crate::experiment::{args, auroc, copy, file, of_data, results};
use crate::support::*;
use ckaad::data::image::Source;
use ckaad::data::layout::{Sample, TrainSet};
use ckaad::data::protocol::{Labelled, choices};
use ckaad::experiment::file::Experiment;
use ckaad::experiment::grid::{Cell, rows};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

const RECON: &str = "strategy = [\"recon\"]\nseeds = [1]";

fn table(out: &Path) -> String {
    fs::read_to_string(out.join("table.md")).unwrap()
}

/// A dataset, its normal pictures, and its anomalous ones by class.
type Published = (&'static str, usize, &'static [(&'static str, usize)]);

/// Training pictures of the paper's medical datasets as their owners count them: normal ones, and anomalous ones by class (of Br35H
/// four fifths, as our split leaves them).
const PUBLISHED: [Published; 4] = [
    ("isic2018", 6705, &[("MEL", 1113), ("BCC", 514), ("AKIEC", 327), ("BKL", 1099), ("DF", 115), ("VASC", 142)]),
    ("chest_xray", 1341, &[("PNEUMONIA_bacteria", 2530), ("PNEUMONIA_virus", 1345)]),
    ("br35h", 1200, &[("yes", 1200)]),
    ("oct2017", 26315, &[("CNV", 37205), ("DME", 11348), ("DRUSEN", 8616)]),
];

/// Of contents that differ, and no files.
fn published(name: &str) -> Option<TrainSet> {
    let (_, normal, classes) = PUBLISHED.into_iter().find(|(own, ..)| *own == name)?;
    let mut count = 0u32;
    let mut sample = |kind: &str, bad: bool| {
        count += 1;
        let source = Source::Bytes { name: format!("{kind}/{count}"), bytes: count.to_le_bytes().to_vec().into() };
        Sample::new(source, kind, bad)
    };
    let good = (0..normal).map(|_| sample("NV", false)).collect();
    let mut anomalous = Vec::new();
    for (kind, count) in classes {
        anomalous.extend((0..*count).map(|_| sample(kind, true)));
    }
    Some(TrainSet { good, anomalous, ..TrainSet::default() })
}

/// Every cell of the paper's tables can be drawn of as many pictures as there are: the share that is asked for, or all of a class that
/// has fewer; validation has what is left, up to as many as of normal ones.
#[test]
fn the_papers_cells_can_be_drawn() {
    let (mut drawn, mut less) = (0, BTreeSet::new());
    for name in ["main", "ablation", "normalisation", "score-distributions", "anomaly-types"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("experiments/{name}.toml"));
        let e = Experiment::open(&path).unwrap();
        let mut rows = rows(&e, true).unwrap();
        // What is drawn depends on neither.
        rows.iter_mut().for_each(|row| (row.strategy, row.norm) = ("ckapatch".into(), "instance".into()));
        let mut seen = Vec::new();
        rows.retain(|row| {
            !seen.contains(row) && {
                seen.push(row.clone());
                true
            }
        });
        for spec in &e.datasets {
            let Some(set) = published(&spec.name) else { continue };
            let classes: BTreeSet<String> = set.anomalous.iter().map(|s| s.kind.clone()).collect();
            let classes = Vec::from_iter(classes);
            for row in &rows {
                for chosen in choices(&classes, row.of_classes, e.grid.draws, e.grid.seeds[0]).unwrap() {
                    let cell = Cell {
                        dataset: spec.name.clone(),
                        categories: vec!["".into()],
                        row: row.clone(),
                        classes: chosen.clone(),
                        seed: e.grid.seeds[0],
                        settings: Default::default(),
                        validation: 0.05,
                        inputs: Default::default(),
                    };
                    let draw = cell.protocol().draw(set.clone()).unwrap();
                    drawn += 1;
                    let Labelled::Share(share) = row.ratio else { panic!("{name}: a share is asked for") };
                    let there = set.anomalous.iter().filter(|s| chosen.is_empty() || chosen.contains(&s.kind)).count();
                    let each = (set.good.len() as f64 * 0.025).round() as usize;
                    let normal = set.good.len() - each;
                    let asked = (normal as f64 * share / (1.0 - share)).round() as usize;
                    let kept = |bad: bool| draw.validation.iter().filter(|s| s.anomalous == bad).count();
                    assert_eq!((draw.train.good.len(), kept(false)), (normal, each), "{name}: {cell:?}");
                    assert_eq!(draw.train.anomalous.len(), asked.min(there), "{name}: {cell:?}");
                    assert_eq!(kept(true), each.min(there.saturating_sub(asked)), "{name}: {cell:?}");
                    less.extend(cell.labelled_less(normal, draw.train.anomalous.len()));
                }
            }
        }
    }
    assert!(drawn > 60, "{drawn}");
    // 5 and 2 % of the 6537 normal pictures that validation leaves and of labelled ones are 344 and 133.
    for expected in [
        "DF: 115 labelled pictures instead of 344, and none for validation",
        "DF: 115 labelled pictures instead of 133, and none for validation",
        "VASC: 142 labelled pictures instead of 344, and none for validation",
        "AKIEC: 327 labelled pictures instead of 344, and none for validation",
        "DF+VASC: 257 labelled pictures instead of 344, and none for validation",
    ] {
        let rare = expected.starts_with("DF+") && !less.iter().any(|l| l.starts_with("DF+VASC"));
        assert!(rare || less.contains(expected), "no {expected} in {less:?}");
    }
    assert!(less.iter().all(|l| !l.contains("MEL")), "{less:?}");
}

/// Three are labelled where 81 would be nine tenths, and that is said.
#[test]
fn fewer_labelled_pictures_than_asked_for() {
    let dir = folder();
    let out = dir.path().join("out");
    let file = file(dir.path(), "strategy = [\"ckapatch\"]\nratio = [0.9]\nseeds = [1]", 1);
    let run = ckaad(&args(&file, &out)).ok();
    assert!(run.err.contains("seed 1: 3 labelled pictures instead of 81, which is all there are"), "{run:?}");
    let note =
        "Fewer are labelled than the ratio asks for, which is all there are: 90 %, 3 labelled pictures instead of 81.";
    assert!(table(&out).contains(note), "{run:?}");
    assert_eq!(results(&out)[0]["labelled"], 3);
}

/// Equal pictures on both sides of the split: `eval` warns, and so does this.
#[test]
fn test_pictures_that_were_trained_on_are_told() {
    let dir = folder();
    let (out, data) = (dir.path().join("out"), dir.path().join("data"));
    copy(full(), &data);
    for (from, to) in [("000", "copy"), ("001", "other")] {
        let from = data.join("train/good").join(from).with_extension("png");
        fs::copy(from, data.join("test/good").join(to).with_extension("png")).unwrap();
    }
    let file = file(dir.path(), RECON, 1);
    of_data(&file, &data);
    let run = ckaad(&args(&file, &out)).ok();
    assert!(run.err.contains("seed 1: the model was trained on 2 of 11 pictures, as "), "{run:?}");
    let note = "2 of 11 test pictures were trained on; new ones would be told apart less well.";
    assert!(table(&out).contains(note), "{run:?}");
    assert!(fs::read_to_string(out.join("table.html")).unwrap().contains(note));
    assert_eq!(results(&out)[0]["results"][0]["trained_on"], 2);
    // What is done says it again.
    assert!(ckaad(&args(&file, &out)).ok().out.contains(note));
}

/// Counted among the test pictures, not among masks, of which there are fewer.
#[test]
fn masks_that_cannot_be_read_are_counted() {
    let dir = folder();
    let (out, data) = (dir.path().join("out"), dir.path().join("data"));
    copy(full(), &data);
    let mask = fs::read_dir(data.join("ground_truth/hole")).unwrap().next().unwrap().unwrap().path();
    fs::write(mask, "no picture").unwrap();
    let file = file(dir.path(), RECON, 1);
    of_data(&file, &data);
    ckaad(&args(&file, &out)).fails(2, &["1 mask could not be read, counted in every cell"]);
    let note = "1 of 9 test pictures have a mask that could not be read; they count in image metrics only.";
    assert!(table(&out).contains(note), "{}", table(&out));
}

/// A picture of a size in bytes that its colours do not change, and of one time.
fn bmp(path: &Path, red: u8) {
    image::RgbImage::from_fn(64, 64, |x, y| image::Rgb([red, x as u8, y as u8])).save(path).unwrap();
    let time = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
    fs::File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
}

/// Pictures and weights are known by what their files hold: others under the same name, of the same size and time, give other results;
/// the same elsewhere give none anew.
#[test]
fn what_was_replaced_is_trained_again() {
    let dir = folder();
    let (out, data) = (dir.path().join("out"), dir.path().join("data"));
    copy(full(), &data);
    let picture = data.join("test/hole/extra.bmp");
    bmp(&picture, 250);
    let file = file(dir.path(), RECON, 1);
    of_data(&file, &data);
    let weights = dir.path().join("weights.safetensors");
    let weights_of = |seed: &str| {
        let model = dir.path().join(format!("{seed}.safetensors"));
        train(full(), &model, &format!("--seed {seed} --holdout 0")).ok();
        fs::copy(model, &weights).unwrap();
    };
    weights_of("1");
    let run = || {
        let args = ["experiment", text(&file), "--out", text(&out), "--weights", text(&weights), "--device", "cpu"];
        ckaad(&args).ok()
    };
    run();
    let first = results(&out);
    bmp(&picture, 3);
    let again = run();
    let told = "1 result is of other settings, pictures, weights or devices, or by an earlier version";
    assert!(again.err.contains(told), "{again:?}");
    let second = results(&out);
    assert_eq!(second.len(), 2);
    let scores = |line: &Value| line["results"][0]["anomalous_scores"].as_array().unwrap().clone();
    assert_ne!(scores(&second[0]), scores(&second[1]));
    assert_eq!(scores(&first[0]), scores(&second[0]));
    weights_of("2");
    assert!(run().err.contains("2 results are of other settings"));
    assert_eq!(results(&out).len(), 3);
    assert_ne!(scores(&results(&out)[1]), scores(&results(&out)[2]));

    // Moved, with other times: the same.
    let moved = dir.path().join("moved");
    copy(&data, &moved);
    of_data(&file, &moved);
    assert!(run().err.contains("2 results are of other settings"));
    assert_eq!(results(&out).len(), 3);
}

/// Pixel metrics of some of the anomalous pictures alone look like those of all: the table says so, also in a
/// second run, and of results that were made before they were counted.
#[test]
fn pictures_without_masks_are_noted() {
    let dir = folder();
    let (out, data) = (dir.path().join("out"), dir.path().join("data"));
    let file = file(dir.path(), RECON, 1);
    copy(full(), &data);
    of_data(&file, &data);
    let note = "test pictures are anomalous and have no mask, or an empty one; they count in image metrics only";
    ckaad(&args(&file, &out)).ok();
    assert!(!table(&out).contains(note));
    let mut marks: Vec<PathBuf> =
        fs::read_dir(data.join("ground_truth/hole")).unwrap().map(|e| e.unwrap().path()).collect();
    marks.sort();
    fs::remove_file(&marks[0]).unwrap();
    write_png(&marks[1], 64, 64, |_, _| [0; 3]);
    for _ in 0..2 {
        ckaad(&args(&file, &out)).ok();
        assert!(table(&out).contains(&format!("2 of 9 {note}")), "{}", table(&out));
    }
    let mut lines = results(&out);
    for line in &mut lines {
        line["results"][0].as_object_mut().unwrap().remove("unmarked").expect("counted");
    }
    fs::write(out.join("results.jsonl"), lines.iter().map(|l| format!("{l}\n")).collect::<String>()).unwrap();
    ckaad(&args(&file, &out)).ok();
    let told = "by an earlier version, which did not count anomalous pictures without a mask";
    assert!(table(&out).contains(told) && !table(&out).contains(note), "{}", table(&out));
}

/// Lines of earlier versions, with digests of names and sizes and without what is counted now, are others' and stay.
#[test]
fn results_of_earlier_versions_stay() {
    let dir = folder();
    let out = dir.path().join("out");
    let file = file(dir.path(), RECON, 1);
    ckaad(&args(&file, &out)).ok();
    let mut line = results(&out).remove(0);
    line["inputs"]["pictures"] = "0123456789abcdef".into();
    for key in ["unreadable_masks", "unmarked", "trained_on", "calibrated_on"] {
        line["results"][0].as_object_mut().unwrap().remove(key).expect("counted");
    }
    fs::write(out.join("results.jsonl"), format!("{line}\n")).unwrap();
    let run = ckaad(&args(&file, &out)).ok();
    assert!(run.err.contains("by an earlier version, which did not look at what files hold; not shown"), "{run:?}");
    let lines = results(&out);
    assert_eq!((lines.len(), &lines[0]["inputs"]), (2, &line["inputs"]));
    assert_eq!(lines[0]["results"][0]["metrics"], line["results"][0]["metrics"]);
    assert_eq!(auroc(&lines[1]), auroc(&line));
}

/// The pictures of a folder of [`full`], sorted.
fn pictures(of: &str) -> Vec<PathBuf> {
    let mut all: Vec<PathBuf> = fs::read_dir(full().join(of)).unwrap().map(|e| e.unwrap().path()).collect();
    all.sort();
    all
}

/// Rows that name no file: the others have results, and table and exit code say what these lack.
#[test]
fn rows_left_out_are_noted() {
    let dir = folder();
    let (out, csv) = (dir.path().join("out"), dir.path().join("parts.csv"));
    let mut text_of = "path,label,split\n".to_string();
    for (of, label, split) in
        [("train/good", "good", "train"), ("test/good", "good", "test"), ("test/hole", "hole", "test")]
    {
        for picture in pictures(of) {
            text_of += &format!("{},{label},{split}\n", picture.display());
        }
    }
    fs::write(&csv, text_of + "gone.png,good,train\nlost.png,hole,test\n").unwrap();
    let file = file(dir.path(), RECON, 1);
    of_data(&file, &csv);
    let run = ckaad(&args(&file, &out)).fails(2, &["error: 2 rows or folders of the datasets could not be used"]);
    for words in ["2 rows or folders left out: ", "gone.png", "lost.png"] {
        assert!(table(&out).contains(words) && run.err.contains(words), "no {words} in {run:?}");
    }
    assert_eq!(run.err.matches("gone.png").count(), 1, "{run:?}");
    assert!(auroc(&results(&out)[0]).is_finite());
    // A list trains nothing, and fails at nothing.
    ckaad(&[&args(&file, &out)[..], &["--list"]].concat()).ok();
}

/// What a layout says of categories stands there once, with their names.
#[test]
fn notes_name_their_categories() {
    let dir = folder();
    let (out, csv) = (dir.path().join("out"), dir.path().join("parts.csv"));
    let mut text_of = "path,label,split,category\n".to_string();
    for (category, apart) in [("bolt", 1), ("cloth", 1), ("nut", 2)] {
        // Of each its own: a picture is on one side.
        copy(full(), &dir.path().join(category));
        for (of, label, split) in
            [("train/good", "good", "train"), ("test/good", "good", "test"), ("test/hole", "hole", "test")]
        {
            for (i, picture) in pictures(of).iter().enumerate() {
                let split = if split == "train" && i < apart { "validation" } else { split };
                let name = picture.strip_prefix(full()).unwrap().display();
                text_of += &format!("{category}/{name},{label},{split},{category}\n");
            }
        }
    }
    fs::write(&csv, text_of).unwrap();
    let file = file(dir.path(), RECON, 1);
    of_data(&file, &csv);
    let run = ckaad(&args(&file, &out)).ok();
    let notes: Vec<String> = table(&out).lines().filter(|l| l.contains("for validation")).map(str::to_string).collect();
    assert_eq!(notes.len(), 2, "{notes:?}");
    assert!(notes[0].starts_with("Bolt, cloth: 1 picture for validation"), "{notes:?}");
    assert!(notes[1].starts_with("Nut: 2 pictures for validation"), "{notes:?}");
    assert!(run.err.contains("dataset fabric: bolt, cloth: 1 picture for validation"), "{run:?}");
    assert!(table(&out).contains("\n## fabric: mean"), "{}", table(&out));

    // An average that is printed over more categories is no average of these.
    let text_of = fs::read_to_string(&file).unwrap();
    let text_of = text_of.replacen("[[dataset]]", "[[dataset]]\naverage_of = 5\ncategories = [\"bolt\", \"nut\"]", 1);
    fs::write(&file, text_of).unwrap();
    ckaad(&args(&file, &out)).ok();
    let table = table(&out);
    assert!(table.contains("(2 of 5) (printed 50.0) |"), "{table}");
    assert!(table.contains("\n## fabric, bolt, nut: mean"), "{table}");
    assert!(table.contains("Averages lack 3 of the 5 categories that printed ones are over"), "{table}");
}

/// A detector without strategies is refused where the file is read, by --list, too.
#[test]
fn a_detector_without_strategies_is_refused() {
    let dir = folder();
    let file = file(dir.path(), RECON, 1);
    let text_of = fs::read_to_string(&file).unwrap().replace("[settings]", "[settings]\ndetector = \"patchcore\"");
    fs::write(&file, text_of).unwrap();
    let run = ckaad(&[&args(&file, dir.path())[..], &["--list"]].concat());
    run.fails(2, &["grid.toml: line 7: [settings] detector: rows are strategies, and patchcore has none"]);
}

/// Settings that no row uses are named: those of strategies that are not in the grid.
#[test]
fn settings_that_change_nothing_are_named() {
    let dir = folder();
    let list = |grid: &str, settings: &str| {
        let file = file(dir.path(), grid, 1);
        let text_of = fs::read_to_string(&file).unwrap();
        fs::write(&file, text_of.replace("[settings]", &format!("[settings]\n{settings}"))).unwrap();
        ckaad(&[&args(&file, dir.path())[..], &["--list"]].concat()).ok().err
    };
    let settings = "d-lr = 0.001\nsub = 0.1";
    let told = list(RECON, settings);
    assert!(told.contains("dataset fabric: settings that change nothing in any row: d-lr, sub"), "{told}");
    let told = list("strategy = [\"recon\", \"ckapatch\"]\nseeds = [1]", settings);
    assert!(told.contains("settings that change nothing in any row: sub"), "{told}");
    assert!(!list(RECON, "").contains("change nothing"));
}
