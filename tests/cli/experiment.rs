//! `ckaad experiment`: a grid, its results and its table.

use crate::support::*;
use serde_json::Value;
use std::path::Path;
use std::time::{Duration, Instant};

const SETTINGS: &str = "image-size = 32\nlayers = [1, 2]\nbatch-size = 2";

fn file(folder: &Path, grid: &str, epochs: usize) -> std::path::PathBuf {
    let path = folder.join("grid.toml");
    let printed = "[[printed]]\ndataset = \"fabric\"\nstrategy = \"recon\"\nimage_auroc = 50.0";
    let data = full().display();
    let text = format!(
        "title = \"Small\"\nsource = \"a page\"\n[grid]\n{grid}\n[settings]\nepochs = {epochs}\n{SETTINGS}\n\
         [[dataset]]\nname = \"fabric\"\npath = '{data}'\n{printed}\n"
    );
    std::fs::write(&path, text).unwrap();
    path
}

fn args<'a>(file: &'a Path, out: &'a Path) -> Vec<&'a str> {
    vec!["experiment", text(file), "--out", text(out), "--weights", "random", "--device", "cpu"]
}

fn results(out: &Path) -> Vec<Value> {
    let lines = std::fs::read_to_string(out.join("results.jsonl")).unwrap();
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn auroc(line: &Value) -> f64 {
    line["results"][0]["metrics"]["image_auroc"].as_f64().unwrap()
}

#[test]
fn cells_are_what_train_and_eval_make_of_the_same_settings() {
    let dir = folder();
    let out = dir.path().join("out");
    let grid = "strategy = [\"recon\", \"ckapatch\"]\nratio = [\"all\"]\nseeds = [1, 2]";
    let file = file(dir.path(), grid, 2);
    let listed = ckaad(&[&args(&file, &out)[..], &["--list"]].concat()).ok();
    let names = ["recon, instance, 0 %", "ckapatch, instance, all anomalies"];
    let expected: Vec<String> =
        [1, 2].iter().flat_map(|seed| names.map(|n| format!("fabric, {n}, seed {seed}"))).collect();
    assert_eq!(listed.lines(), expected);
    assert!(!out.exists(), "a list makes nothing");

    let run = ckaad(&args(&file, &out)).ok();
    let lines = results(&out);
    assert_eq!(lines.len(), 4);
    for (strategy, labelled) in [("recon", 0), ("ckapatch", 3)] {
        let own: Vec<&Value> = lines.iter().filter(|l| l["strategy"] == strategy).collect();
        assert!(own.len() == 2 && own.iter().all(|l| l["labelled"] == labelled), "{own:?}");
        let model = dir.path().join(format!("{strategy}.safetensors"));
        let flags = format!("--strategy {strategy} --seed 2 --epochs 2 --image-size 32 --layers 1,2 --batch-size 2");
        train(full(), &model, &format!("{flags} --holdout 0")).ok();
        let eval = ["eval", "--model", text(&model), "--data", text(full()), "--format", "json", "--device", "cpu"];
        let found = ckaad(&eval).ok().json().remove(0);
        let cell = own.iter().find(|l| l["seed"] == 2).unwrap();
        for metric in ["image_auroc", "best_f1", "pixel_auroc", "aupro30"] {
            assert_eq!(cell["results"][0]["metrics"][metric], found[metric], "{strategy}: {metric}");
        }
    }
    let of = |seed: u64| {
        let line = lines.iter().find(|l| l["strategy"] == "recon" && l["seed"] == seed);
        100.0 * auroc(line.unwrap())
    };
    let (mean, deviation) = ((of(1) + of(2)) / 2.0, (of(1) - of(2)).abs() / 2f64.sqrt());
    let expected = format!("| recon | {mean:.1} ± {deviation:.1} (printed 50.0, {:+.1}) |", mean - 50.0);
    assert!(run.out.contains(&expected), "{expected} in {run:?}");
    assert_eq!(std::fs::read_to_string(out.join("table.md")).unwrap(), run.out);
    let page = std::fs::read_to_string(out.join("table.html")).unwrap();
    assert!(page.contains("printed 50.0") && page.matches("<svg").count() == 2);
    assert_eq!(std::fs::read_dir(out.join("cells")).unwrap().count(), 0, "models are not kept unless asked");

    // What is done is done.
    let before = std::fs::read(out.join("results.jsonl")).unwrap();
    let again = ckaad(&args(&file, &out)).ok();
    assert_eq!((again.out.as_str(), again.err.contains("image AUROC")), (run.out.as_str(), false));
    assert!(std::fs::read(out.join("results.jsonl")).unwrap() == before);

    // A line that is none, of another version or edited by hand, is not dropped with what it stands for.
    let spoilt = dir.path().join("spoilt");
    ckaad(&args(&file, &spoilt)).ok();
    let text = std::fs::read_to_string(spoilt.join("results.jsonl")).unwrap().replacen("\"normal\":", "\"usual\":", 1);
    std::fs::write(spoilt.join("results.jsonl"), &text).unwrap();
    ckaad(&args(&file, &spoilt)).fails(2, &["results.jsonl", "line 1 is no result of a cell (missing field `normal`"]);
    assert_eq!(std::fs::read_to_string(spoilt.join("results.jsonl")).unwrap(), text);

    // Two at a time, each on the one thread that all tests run with: the same numbers.
    let both = dir.path().join("both");
    assert_eq!(ckaad(&[&args(&file, &both)[..], &["--jobs", "2"]].concat()).ok().out, run.out);
}

/// A grid killed in the middle of a cell goes on in it, and gives what one that was let alone does.
#[test]
fn a_killed_grid_goes_on() {
    let dir = folder();
    let (whole, parts) = (dir.path().join("whole"), dir.path().join("parts"));
    let file = file(dir.path(), "strategy = [\"ckapatch\"]\nseeds = [3]", 60);
    ckaad(&args(&file, &whole)).ok();
    let mut child = command(&args(&file, &parts)).spawn().unwrap();
    let checkpoint = || {
        let cells = std::fs::read_dir(parts.join("cells")).ok()?;
        cells.flatten().map(|f| f.path()).find(|p| text(p).ends_with(".checkpoint.safetensors"))
    };
    let started = Instant::now();
    while checkpoint().is_none() && started.elapsed() < Duration::from_secs(120) {
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(checkpoint().is_some() && !parts.join("results.jsonl").exists(), "killed in the middle of the cell");
    ckaad(&args(&file, &parts)).ok();
    let (whole, parts) = (results(&whole), results(&parts));
    assert_eq!(whole[0]["results"], parts[0]["results"]);
}

#[test]
fn what_a_file_cannot_say_is_told() {
    let dir = folder();
    let out = dir.path().join("out");
    let fails = |grid: &str, words: &[&str]| {
        let file = file(dir.path(), grid, 1);
        ckaad(&args(&file, &out)).fails(2, words);
    };
    fails(
        "strategy = [\"recon\"]\nseed = [1]",
        &["grid.toml", "[grid]", "'seed' is not known", "did you mean 'seeds'"],
    );
    fails("strategy = [\"recno\"]\nseeds = [1]", &["is not known", "'recno'", "'recon'"]);
    fails("strategy = [\"ckapatch\"]\nratio = [1.5]\nseeds = [1]", &["ratio", "1.5", "below 1"]);
    fails("strategy = [\"ckapatch\"]\nratio = [0.9]\nseeds = [1]", &["1 cell failed", "labelled ones; there are 3"]);
    fails("strategy = [\"recon\"]\nseeds = []", &["at least one"]);
    let file = file(dir.path(), "strategy = [\"recon\"]\nseeds = [1]", 1);
    let text_of = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text_of.replace("path = ", "path = 'nowhere' # ")).unwrap();
    ckaad(&args(&file, &out)).fails(2, &["dataset fabric: not below", "none of its datasets", "--root"]);
    std::fs::write(&file, text_of.replace("epochs", "epcohs")).unwrap();
    ckaad(&args(&file, &out)).fails(2, &["[settings]: 'epcohs' is not known; did you mean 'epochs'"]);
    std::fs::write(&file, format!("metrics = [\"image_aucro\"]\n{text_of}")).unwrap();
    ckaad(&args(&file, &out)).fails(2, &["metrics: 'image_aucro' is not known; did you mean 'image_auroc'"]);
}

/// The cell has its numbers, of the other pictures; that one is missing is said, and in the exit code.
#[test]
fn an_unreadable_test_picture_is_counted() {
    let dir = folder();
    let (out, data) = (dir.path().join("out"), dir.path().join("data"));
    for folder in ["train/good", "test/good", "test/hole"] {
        std::fs::create_dir_all(data.join(folder)).unwrap();
        for picture in std::fs::read_dir(full().join(folder)).unwrap() {
            let picture = picture.unwrap();
            std::fs::copy(picture.path(), data.join(folder).join(picture.file_name())).unwrap();
        }
    }
    std::fs::write(data.join("test/hole/broken.png"), "no picture").unwrap();
    let file = file(dir.path(), "strategy = [\"recon\"]\nseeds = [1]", 1);
    let text_of = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text_of.replace("path = ", &format!("path = '{}' # ", data.display()))).unwrap();
    let run = ckaad(&args(&file, &out)).fails(2, &["broken.png", "error: 1 test picture could not be read"]);
    assert!(run.out.contains("| recon"), "{run:?}");
    let lines = results(&out);
    assert_eq!(lines[0]["results"][0]["unreadable"], 1);
    assert!(auroc(&lines[0]).is_finite());
}

/// A short run of the points of the plane: the table, the page, and the same numbers for the same seed.
#[test]
fn the_theorems_as_a_command() {
    let dir = folder();
    let page = dir.path().join("theorems.html");
    let args = ["demo", "theorems", "--seed", "3", "--steps", "20"];
    let run = ckaad(&[&args[..], &["--out", text(&page)]].concat()).ok();
    for word in ["ckapatch ", "gan ", "reproduced", "between two normal samples", "theorems.html"] {
        assert!(run.out.contains(word), "no {word} in {run:?}");
    }
    assert!(run.out.starts_with(&ckaad(&args).ok().out));
    assert!(std::fs::read_to_string(&page).unwrap().contains("20 steps with the paper"));
    ckaad(&["demo", "theorems", "--steps", "0"]).fails(2, &["--steps"]);
    ckaad(&["demo", "theorems", "--out", text(&full().join("test/hole/000.png"))]).fails(2, &["--out", "000.png"]);
}

/// The files of the paper's tables are read, and name what is missing.
#[test]
fn the_papers_experiments_are_read() {
    let dir = folder();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("experiments");
    let mut count = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|e| e != "toml") {
            continue;
        }
        count += 1;
        let root = text(dir.path());
        let run = ckaad(&["experiment", text(&path), "--root", root, "--out", root, "--list"]).ok();
        assert!(run.err.contains("not below") && run.out.is_empty(), "{run:?}");
    }
    assert!(count >= 7, "{count} files");
}
