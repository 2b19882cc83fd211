//! `ckaad experiment`: a grid, its results and its table.

use crate::support::*;
use serde_json::Value;
use std::path::Path;
use std::time::{Duration, Instant};

pub const SETTINGS: &str = "image-size = 32\nlayers = [1, 2]\nbatch-size = 2";

pub fn file(folder: &Path, grid: &str, epochs: usize) -> std::path::PathBuf {
    let path = folder.join("grid.toml");
    // A figure of no row would be refused.
    let printed = "[[printed]]\ndataset = \"fabric\"\nstrategy = \"recon\"\nimage_auroc = 50.0";
    let printed = if grid.contains("\"recon\"") { printed } else { "" };
    let data = full().display();
    let text = format!(
        "title = \"Small\"\nsource = \"a page\"\n[grid]\n{grid}\n[settings]\nepochs = {epochs}\n{SETTINGS}\n\
         [[dataset]]\nname = \"fabric\"\npath = '{data}'\n{printed}\n"
    );
    std::fs::write(&path, text).unwrap();
    path
}

pub fn args<'a>(file: &'a Path, out: &'a Path) -> Vec<&'a str> {
    vec!["experiment", text(file), "--out", text(out), "--weights", "random", "--device", "cpu"]
}

pub fn results(out: &Path) -> Vec<Value> {
    let lines = std::fs::read_to_string(out.join("results.jsonl")).unwrap();
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

pub fn auroc(line: &Value) -> f64 {
    line["results"][0]["metrics"]["image_auroc"].as_f64().unwrap()
}

#[test]
fn cells_are_what_train_and_eval_make_of_the_same_settings() {
    let dir = folder();
    let out = dir.path().join("out");
    let grid = "strategy = [\"recon\", \"ckapatch\"]\nratio = [\"all\"]\nseeds = [1, 2]";
    let file = file(dir.path(), grid, 2);
    let listed = ckaad(&[&args(&file, &out)[..], &["--list"]].concat()).ok();
    let names = ["recon, instance, 0 labelled", "ckapatch, instance, all anomalies"];
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
    let behind = checkpoint().expect("killed in the middle of the cell");
    assert!(!parts.join("results.jsonl").exists(), "killed in the middle of the cell");
    let seconds: f64 = metadata(&behind, "train.seconds").unwrap().parse().unwrap();
    assert!(0.0 < seconds && seconds < started.elapsed().as_secs_f64(), "{seconds}");
    // As if that part had taken longer than any test does.
    rewrite(&behind, |_| true, |m| drop(m.insert("train.seconds".into(), "1e6".into())));
    ckaad(&args(&file, &parts)).ok();
    let (whole, parts) = (results(&whole), results(&parts));
    assert_eq!(whole[0]["results"], parts[0]["results"]);
    let seconds = |lines: &[Value]| lines[0]["seconds"].as_f64().unwrap();
    assert!(seconds(&whole) < 1e5 && seconds(&parts) > 1e6, "the time of both parts");
}

/// A copy of a dataset.
pub fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let (path, name) = entry.map(|e| (e.path(), e.file_name())).unwrap();
        if path.is_dir() {
            copy(&path, &to.join(name));
        } else {
            std::fs::copy(path, to.join(name)).unwrap();
        }
    }
}

/// The experiment's file with another dataset in it.
pub fn of_data(file: &Path, data: &Path) {
    let text_of = std::fs::read_to_string(file).unwrap();
    std::fs::write(file, text_of.replace("path = ", &format!("path = '{}' # ", data.display()))).unwrap();
}

/// What is a mean over less than the file asks for says so, and stands beside no difference.
#[test]
fn a_part_is_not_compared_with_the_whole() {
    let dir = folder();
    let (out, data) = (dir.path().join("out"), dir.path().join("data"));
    let file = file(dir.path(), "strategy = [\"recon\"]\nseeds = [1]", 1);
    of_data(&file, &data);
    // A category that defines no AUROC.
    copy(full(), &data.join("bolt"));
    copy(full(), &data.join("cloth"));
    for kind in ["hole", "scratch", "stain"] {
        std::fs::remove_dir_all(data.join("cloth/test").join(kind)).unwrap();
    }
    let run = ckaad(&args(&file, &out)).ok();
    assert!(
        run.err
            .contains("cloth, recon, instance, 0 labelled, seed 1: image AUROC - (cloth: no anomalous test picture)"),
        "{run:?}"
    );
    assert!(run.out.contains("| recon | – (printed 50.0) |"), "{run:?}");
    assert!(run.out.contains("No image AUROC in 1 of 2 results (cloth: no anomalous test picture)."), "{run:?}");
    assert!(run.out.contains("| cloth | – |"), "{run:?}");
    let whole = 100.0 * auroc(results(&out).iter().find(|l| l["categories"][0] == "bolt").unwrap());
    assert!(run.out.contains(&format!("| bolt | {whole:.1} |")), "{run:?}");

    // One whose cell fails, and one that is none as there is nothing to test on.
    for entry in std::fs::read_dir(data.join("cloth/train/good")).unwrap() {
        std::fs::write(entry.unwrap().path(), "no picture").unwrap();
    }
    copy(&full().join("train"), &data.join("tile/train"));
    let run =
        ckaad(&args(&file, &dir.path().join("parts"))).fails(2, &["1 cell failed", "no train/good or no test: tile"]);
    assert!(run.out.contains(&format!("| recon | {whole:.1} (1 of 3) (printed 50.0) |")), "{run:?}");
    for words in
        ["Missing: 1 of 2 results", "| cloth | – |", "Averages lack 1 category", "(n of m): a mean over n of the m"]
    {
        assert!(run.out.contains(words), "no {words} in {run:?}");
    }
    let page = std::fs::read_to_string(dir.path().join("parts/table.html")).unwrap();
    assert!(page.contains("(1 of 3)") && page.contains("Missing: 1 of 2 results"));
}

/// Where nothing can be labelled all ratios are one training; and a dataset may do without the grid's validation pictures.
#[test]
fn nothing_to_label_is_one_row() {
    let dir = folder();
    let out = dir.path().join("out");
    let grid = "strategy = [\"recon\", \"ckapatch\"]\nratio = [0.05, 0.1, \"all\"]\nclasses = [1]\nvalidation = 0.3\nseeds = [1]";
    let file = file(dir.path(), grid, 1);
    of_data(&file, plain());
    let run = ckaad(&args(&file, &out)).ok();
    assert!(run.err.contains("dataset fabric: no training picture is anomalous, so none is labelled"), "{run:?}");
    assert_eq!(results(&out).len(), 2);
    // Of 9 pictures 30 % are 2.7, half of them of either kind.
    assert!(results(&out).iter().all(|l| l["labelled"] == 0 && l["validated"] == 1));
    assert_eq!(run.out.matches("\n| recon, 0 labelled |").count(), 2, "{run:?}");
    assert_eq!(run.out.matches("\n| ckapatch, 0 labelled |").count(), 2, "{run:?}");
    assert!(!run.out.contains('%') && run.out.contains("No training picture is anomalous"), "{run:?}");
    let text_of = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text_of.replace("name = \"fabric\"", "name = \"fabric\"\nvalidation = 0")).unwrap();
    ckaad(&args(&file, &dir.path().join("own"))).ok();
    assert!(results(&dir.path().join("own")).iter().all(|l| l["validated"] == 0 && l["normal"] == 9));
}

/// Three classes of one training picture each, as a table.
fn three_classes(folder: &Path) -> std::path::PathBuf {
    let mut rows = "path,label,split\n".to_string();
    let mut add = |of: &str, split: &str, labels: &[&str]| {
        let mut pictures: Vec<_> = std::fs::read_dir(full().join(of)).unwrap().map(|e| e.unwrap().path()).collect();
        pictures.sort();
        for (picture, label) in pictures.iter().zip(labels.iter().cycle()) {
            rows += &format!("{},{label},{split}\n", picture.display());
        }
    };
    add("train/good", "train", &["good"]);
    add("train/anomalous", "train", &["hole", "scratch", "stain"]);
    add("test/good", "test", &["good"]);
    add("test/hole", "test", &["hole"]);
    let path = folder.join("three.csv");
    std::fs::write(&path, rows).unwrap();
    path
}

/// Of three classes there are three pairs, and one choice of all: each is trained once, and a deviation is that over them.
#[test]
fn draws_are_different_and_deviate() {
    let dir = folder();
    let out = dir.path().join("out");
    let grid = "strategy = [\"ckapatch\"]\nclasses = [2, 3]\ndraws = 5\nseeds = [1]";
    let file = file(dir.path(), grid, 2);
    of_data(&file, &three_classes(dir.path()));
    let printed = "[[printed]]\ndataset = \"fabric\"\nstrategy = \"ckapatch\"\nclasses = 3\nimage_auroc = [97.20, 0.10]\n\
                   [[printed]]\nstrategy = \"ckapatch\"\nclasses = 2\nimage_auroc = 88.32\n";
    let text_of = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, format!("metrics = [\"image_auroc\"]\n{text_of}{printed}")).unwrap();
    let run = ckaad(&args(&file, &out)).ok();
    let lines = results(&out);
    let of = |count: usize| lines.iter().filter(move |l| l["of_classes"] == count);
    let choices: std::collections::BTreeSet<String> = of(2).map(|l| l["classes"].to_string()).collect();
    assert_eq!((lines.len(), choices.len(), of(3).count()), (4, 3, 1));
    let values: Vec<f64> = of(2).map(|l| 100.0 * auroc(l)).collect();
    let mean = values.iter().sum::<f64>() / 3.0;
    let deviation = (values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / 2.0).sqrt();
    let all = 100.0 * auroc(of(3).next().unwrap());
    for expected in [
        "mean and deviation over choices of labelled classes, 1 seed".to_string(),
        format!("| ckapatch, classes labelled: 2 | {mean:.1} ± {deviation:.1} |"),
        format!("| ckapatch, classes labelled: 3 | {all:.1} (printed 97.20 ± 0.10, {:+.1}) |", all - 97.2),
        "Mean over 1 dataset".to_string(),
        format!("| ckapatch, classes labelled: 2 | {mean:.1} (printed 88.32, {:+.1}) |", mean - 88.32),
    ] {
        assert!(run.out.contains(&expected), "no {expected} in {run:?}");
    }

    // More than there are, found before anything is trained, with the file and the dataset.
    let fails = |from: &str, to: &str, words: &[&str]| {
        let text_of = std::fs::read_to_string(&file).unwrap();
        // Figures of rows that are changed here would be refused first.
        let text_of = text_of.split("[[printed]]").next().unwrap();
        let other = dir.path().join("other.toml");
        assert!(text_of.contains(from));
        std::fs::write(&other, text_of.replace(from, to)).unwrap();
        let run = ckaad(&[&args(&other, &out)[..], &["--list"]].concat());
        run.fails(2, &[&["other.toml"], words].concat());
    };
    let classes = "classes = [2, 3]";
    fails(
        classes,
        "classes = [2, 9]",
        &["dataset fabric: [grid] classes: 9 classes", "there are 3: hole, scratch, stain"],
    );
    fails(classes, "classes = [0]", &["[grid] classes: 0: expected at least 1"]);
    fails("name = ", "categories = [\"zip\"]\nname = ", &["dataset fabric: category zip is not in"]);
    fails(
        "name = ",
        "layout = \"foldr\"\nname = ",
        &["layout of dataset fabric: 'foldr' is not known; did you mean 'folder'"],
    );
    fails("image-size = 32", "image-size = 65", &["dataset fabric: image size 65: with layers"]);
    fails(
        "seeds = [1]",
        "seeds = [\"1\"]",
        &["line 8: [grid] seeds: expected a list of whole numbers, such as [1, 2], found [\"1\"]"],
    );
    fails(
        "[[dataset]]",
        "[dataset]",
        &["dataset: expected tables, each headed by its name in double brackets, found a table"],
    );
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
    fails("strategy = [\"recon\"]\nseeds = []", &["line 5: [grid] seeds: expected a list", "found an empty list"]);
    let file = file(dir.path(), "strategy = [\"recon\"]\nseeds = [1]", 1);
    let text_of = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text_of.replace("path = ", "path = 'nowhere' # ")).unwrap();
    ckaad(&args(&file, &out)).fails(2, &["dataset fabric: not below", "none of its datasets", "--root"]);
    std::fs::write(&file, text_of.replace("epochs", "epcohs")).unwrap();
    ckaad(&args(&file, &out)).fails(2, &["[settings]: 'epcohs' is not known; did you mean 'epochs'"]);
    std::fs::write(&file, format!("metrics = [\"image_aucro\"]\n{text_of}")).unwrap();
    ckaad(&args(&file, &out)).fails(2, &["metrics: 'image_aucro' is not known; did you mean 'image_auroc'"]);
    std::fs::write(&file, format!("pro = \"exakt\"\n{text_of}")).unwrap();
    ckaad(&args(&file, &out)).fails(2, &["pro: 'exakt' is not known; did you mean 'exact'"]);
    std::fs::write(&file, text_of.replace("[settings]", "[settings]\nbackbone = \"resnet19\"")).unwrap();
    ckaad(&args(&file, &out)).fails(2, &["[settings] backbone: 'resnet19' is not known; did you mean 'resnet18'"]);
    std::fs::write(&file, text_of.replace("[settings]", "[settings]\nlr = 0.1\nlr = 0.2")).unwrap();
    ckaad(&args(&file, &out)).fails(2, &["duplicate key lr"]);
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
    of_data(&file, &data);
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
    let args = ["demo", "theorems", "--seed", "3", "--seeds", "2", "--steps", "20"];
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

/// What the paper prints, with its decimals, where it prints it; and no validation pictures but in the medical protocol.
#[test]
fn the_papers_figures_are_data() {
    use ckaad::experiment::file::Experiment;
    let open =
        |name: &str| Experiment::open(&Path::new(env!("CARGO_MANIFEST_DIR")).join("experiments").join(name)).unwrap();
    let printed =
        |name: &str, dataset: Option<&str>, category: Option<&str>, strategy: &str, ratio: f64, metric: &str| {
            let of = |r: ckaad::data::protocol::Labelled| r == ckaad::data::protocol::Labelled::Share(ratio);
            let file = open(name);
            let found = file.printed.iter().find(|p| {
                p.dataset.as_deref() == dataset
                    && p.category.as_deref() == category
                    && p.strategy == strategy
                    && p.ratio.is_none_or(of)
            });
            found.unwrap().figures[metric].to_string()
        };
    let main = |dataset, strategy, ratio, metric| printed("main.toml", Some(dataset), None, strategy, ratio, metric);
    assert_eq!(main("oct2017", "ckapatch", 0.05, "image_auroc"), "99.93 ± 0.04");
    assert_eq!(main("isic2018", "recon", 0.0, "best_f1"), "79.50 ± 0.68");
    assert_eq!(main("chest_xray", "recon", 0.0, "accuracy"), "78.04 ± 1.19");
    assert_eq!(main("br35h", "ckapatch", 0.01, "accuracy"), "97.83 ± 0.08");
    for (strategy, mean) in [("recon", "88.32"), ("ckapatch", "92.14")] {
        assert_eq!(printed("cifar10.toml", None, None, strategy, 0.05, "image_auroc"), mean);
    }
    let visa = |category, metric| printed("industrial.toml", Some("visa"), category, "ckapatch", 0.0, metric);
    assert_eq!(visa(None, "aupro30"), "94.0 ± 0.03");
    assert_eq!(visa(Some("macaroni2"), "image_auroc"), "89.8 ± 0.09");
    for name in ["main.toml", "ablation.toml", "normalisation.toml", "anomaly-types.toml", "score-distributions.toml"] {
        let file = open(name);
        for dataset in &file.datasets {
            let own = dataset.validation.unwrap_or(file.grid.validation);
            assert_eq!(own, if dataset.name == "mvtec" { 0.0 } else { 0.05 }, "{name}: {}", dataset.name);
        }
    }
}
