//! `ckaad data`, and datasets in their owners' layouts given to `train` and `eval`.

use crate::support::*;
use serde_json::Value;
use std::fs;
use std::path::Path;

/// Pictures of 32 x 32, none equal to another.
fn pictures(root: &Path, names: &[&str]) {
    for name in names {
        let seed = name.bytes().fold(7u32, |h, b| h.wrapping_mul(31).wrapping_add(b.into()));
        write_png(&root.join(name), 32, 32, |x, y| [(seed >> 8) as u8, seed as u8 ^ x as u8, y as u8]);
    }
}

#[test]
fn check_says_what_a_dataset_is_and_what_is_wrong() {
    let run = ckaad(&["data", "check", text(full())]).ok();
    assert!(run.lines()[0].ends_with("layout folder (train/good, perhaps train/<type>, test/good, test/<type>, ground_truth/<type>; or folders of categories, each like that)"));
    assert!(
        run.out.contains("train      anomalous       3  anomalous")
            && run.out.contains("test       normal          3  good")
    );
    assert!(run.out.contains("6 found, 0 missing") && run.out.ends_with("nothing is wrong\n"), "{run:?}");

    let dir = folder();
    let root = dir.path();
    pictures(root, &["train/good/1.png", "train/good/2.png", "test/good/3.png", "test/bad/4.png"]);
    fs::copy(root.join("train/good/1.png"), root.join("test/good/1.png")).unwrap();
    let run = ckaad(&["data", "check", text(root), "--format", "json"]);
    assert_eq!((run.code, run.err.as_str()), (Some(1), ""));
    let object = &run.json()[0];
    let category = &object["categories"][0];
    assert_eq!((object["layout"].as_str(), category["doubled_across_splits"].as_u64()), (Some("folder"), Some(1)));
    let counts = serde_json::json!({"split": "test", "class": "good", "anomalous": false, "pictures": 2});
    assert!(category["counts"].as_array().unwrap().contains(&counts), "{category}");
    assert_eq!(category["masks"]["missing"], 1);
    assert!(category["problems"][0].as_str().unwrap().contains("1 picture in more than one split"), "{category}");
    assert!(category["notes"][0].as_str().unwrap().contains("no masks"), "{category}");

    ckaad(&["data", "check", text(&root.join("test/bad"))]).fails(2, &["there is no train/good in it"]);
    ckaad(&["data", "check", "nowhere"]).fails(2, &["nowhere"]);
    ckaad(&["data", "check", text(root), "--layout", "isic2018"]).fails(2, &["ISIC2018_Task3_Training"]);
    ckaad(&["data", "check", text(root), "--layout", "mnist"]).fails(2, &["--layout", "mnist", "isic2018"]);
}

/// What is wrong with a category, or with two together, is said with its name, and is the exit code.
#[test]
fn categories_are_checked_one_by_one_and_together() {
    let dir = folder();
    for object in ["nut", "bolt"] {
        let names = ["train/good/1.png", "train/good/2.png", "test/good/4.png", "test/bad/5.png"];
        pictures(dir.path(), &names.map(|name| format!("{object}/{name}")).each_ref().map(String::as_str));
    }
    let root = dir.path();
    let check = |more: &[&str]| ckaad(&[&["data", "check", text(root)], more].concat());
    assert!(check(&[]).ok().out.ends_with("nothing is wrong\n"));
    fs::copy(root.join("nut/train/good/1.png"), root.join("bolt/test/good/6.png")).unwrap();
    let run = check(&[]);
    assert_eq!(run.code, Some(1));
    let (_, together) = run.out.split_once("\nin several categories:\n").unwrap();
    assert!(together.contains("  doubled    1 group of equal pictures, 1 across splits\n"), "{run:?}");
    assert!(together.contains("problem: 1 picture in more than one split, by equal files: "), "{run:?}");
    let run = check(&["--format", "json"]);
    let object = &run.json()[0];
    assert_eq!((run.code, &object["in_several_categories"]["doubled_across_splits"]), (Some(1), &1.into()), "{object}");
    assert_eq!(object["categories"][0]["problems"], serde_json::json!([]));
    check(&["--category", "nut"]).ok();

    fs::remove_dir_all(root.join("bolt/test")).unwrap();
    let run = check(&[]);
    assert!(
        run.code == Some(1) && run.out.contains("problem: ") && run.out.contains("there is no test in it"),
        "{run:?}"
    );
    let model = root.join("m.safetensors");
    let run = train(root, &model, "--holdout 0 --strategy ckapatch").ok();
    assert!(run.err.contains("4 normal pictures"), "{run:?}");
    let eval = |more: &[&str]| ckaad(&[&["eval", "--model", text(&model), "--data", text(root)], more].concat());
    eval(&[])
        .fails(2, &["left out: bolt: ", "there is no test in it", "1 row or folder of the dataset could not be used"]);
    eval(&["--category", "nut"]).ok();
    eval(&["--category", "bolt"]).fails(2, &["there is no test in it"]);
}

/// What is read is said to lie a folder deeper, by every command.
#[test]
fn a_dataset_in_a_folder_of_its_archive() {
    let dir = folder();
    let root = dir.path().join("archive");
    let inside = root.join("chest_xray");
    for split in ["train", "test"] {
        let names = ["NORMAL/IM-1.png", "NORMAL/IM-2.png", "PNEUMONIA/person1_virus_1.png"];
        pictures(&inside, &names.map(|name| format!("{split}/{name}")).each_ref().map(String::as_str));
    }
    let said = format!("{}: the dataset is its folder \"chest_xray\"", root.display());
    let run = ckaad(&["data", "check", text(&root)]).ok();
    assert!(run.lines()[0].contains("layout chest_xray") && run.lines()[1] == format!("  note: {said}"), "{run:?}");
    let run = ckaad(&["data", "check", text(&root), "--format", "json"]).ok();
    assert_eq!(run.json()[0]["notes"], serde_json::json!([said]));
    let model = dir.path().join("m.safetensors");
    let run = train(&root, &model, "--holdout 0 --strategy ckapatch").ok();
    assert!(run.err.contains(&said), "{run:?}");
    assert!(run.err.contains("to train on: normal 2 NORMAL; anomalous 1 PNEUMONIA_virus"), "{run:?}");
    let run = ckaad(&["eval", "--model", text(&model), "--data", text(&root)]).ok();
    assert!(run.err.contains(&said), "{run:?}");
}

/// Masks that fit nothing are said, as are sides without pictures; a split with nothing to train on is refused.
#[test]
fn what_a_split_lacks_is_said() {
    let dir = folder();
    let root = dir.path();
    let named =
        |folder: &str, range: std::ops::Range<usize>| range.map(|i| format!("{folder}/{i}.png")).collect::<Vec<_>>();
    let all = [named("no", 0..10), named("yes", 0..10), named("masks", 8..12)].concat();
    pictures(root, &all.iter().map(String::as_str).collect::<Vec<_>>());
    let [no, yes, masks, table] = ["no", "yes", "masks", "split.csv"].map(|name| root.join(name));
    let args = ["data", "split", "--normal", text(&no), "--anomalous", text(&yes), "--out", text(&table)];
    let split = |more: &[&str]| ckaad(&[&args[..], more].concat());
    // Of the masks 8 to 11 two are of pictures, which are 0 to 9.
    let run = split(&["--masks", text(&masks)]).ok();
    assert!(run.lines().contains(&"  masks  of 2 of 10 anomalous pictures"), "{run:?}");
    assert!(run.err.contains("warning: 2 masks without a picture, as ") && run.err.contains("10.png"), "{run:?}");
    fs::remove_file(&table).unwrap();
    split(&["--test-share", "100%"]).fails(2, &["--test-share 1: no normal picture of 10 is left to train on"]);
    assert!(!table.exists());
    let run = split(&["--test-share", "0", "--labelled", "100%"]).ok();
    for kind in ["normal", "anomalous"] {
        assert!(run.err.contains(&format!("warning: {}: no {kind} pictures to test on", table.display())), "{run:?}");
    }
}

#[test]
fn two_folders_are_split_trained_on_and_evaluated() {
    let dir = folder();
    let root = dir.path();
    let [no, yes] = ["no", "yes"].map(|name| (0..10).map(|i| format!("{name}/{i}.png")).collect::<Vec<_>>());
    pictures(root, &no.iter().chain(&yes).map(String::as_str).collect::<Vec<_>>());
    let [no, yes, table, model] = ["no", "yes", "split.csv", "m.safetensors"].map(|name| root.join(name));
    let args = ["data", "split", "--normal", text(&no), "--anomalous", text(&yes), "--labelled", "30%"];
    let args = [&args[..], &["--test-share", "30%", "--out", text(&table)]].concat();
    let run = ckaad(&args).ok();
    assert_eq!(run.lines()[1..], ["  train  7 normal, 3 anomalous", "  test   3 normal, 7 anomalous"]);
    assert!(fs::read_to_string(&table).unwrap().starts_with("path,label,split,mask\nno/"));
    ckaad(&args).fails(2, &["--out", "already there; name another file"]);
    ckaad(&[&args[..8], &["--out", text(root)]].concat()).fails(2, &["--out", "expected the name of a file"]);
    ckaad(&[&args[..6], &["--labelled", "some"]].concat()).fails(2, &["expected a number, or a share as 0.1 or 10%"]);

    let run = train(&table, &model, "--strategy ckapatch --holdout 0.3").ok();
    assert!(run.err.contains("layout csv (normal: good, ok, normal, nominal or 0"), "{run:?}");
    assert!(run.err.contains("5 normal pictures, 2 held back, 3 anomalous"), "{run:?}");
    let run = ckaad(&["eval", "--model", text(&model), "--data", text(&table), "--format", "json", "--scores"]).ok();
    let pictures = &run.json()[0]["pictures"];
    assert_eq!((pictures["normal"].as_u64(), pictures["anomalous"].as_u64()), (Some(3), Some(7)));

    // A row that cannot be used is said, and what is done without it ends with an error, as it does without a folder.
    fs::write(&table, fs::read_to_string(&table).unwrap() + "gone.png,good,test,\n").unwrap();
    let run = ckaad(&["eval", "--model", text(&model), "--data", text(&table)]);
    let told = ["left out: ", "line 22: there is no file", "1 row or folder of the dataset could not be used"];
    run.fails(2, &told);
    let done = root.join("n.safetensors");
    train(&table, &done, "").fails(2, &told);
    ckaad(&["info", text(&done)]).ok();
}

/// Binary batches are trained on and evaluated like any folder.
#[test]
fn cifar10_from_its_batches() {
    let dir = folder();
    let root = dir.path().join("cifar-10-batches-bin");
    fs::create_dir_all(&root).unwrap();
    let batch = |name: &str, labels: &[u8]| {
        let record = |(i, label): (usize, &u8)| {
            let pixels = (0..3072usize).map(|p| (p * (i + 3) + name.len() * 40) as u8);
            std::iter::once(*label).chain(pixels).collect::<Vec<u8>>()
        };
        fs::write(root.join(name), labels.iter().enumerate().flat_map(record).collect::<Vec<u8>>()).unwrap();
    };
    (1..=5).for_each(|i| batch(&format!("data_batch_{i}.bin"), &[8, 8, 1]));
    batch("test_batch.bin", &[8, 1, 2]);
    let model = dir.path().join("m.safetensors");
    let run = train(&root, &model, "--normal-class ship --strategy ckapatch").ok();
    assert!(run.err.contains("layout cifar10 (normal: ship)"), "{run:?}");
    assert!(run.err.contains("to train on: normal 10 ship; anomalous 5 automobile"), "{run:?}");
    let eval = ["eval", "--model", text(&model), "--data", text(&root), "--normal-class", "ship"];
    let run = ckaad(&[&eval[..], &["--format", "json", "--scores"]].concat()).ok();
    let scores = run.json()[0]["scores"].clone();
    assert!(scores[0]["path"].as_str().unwrap().ends_with("test_batch.bin#1"), "{scores}");
    assert_eq!((&scores[0]["type"], &scores[2]["type"]), (&"automobile".into(), &"ship".into()));
    // What is normal is in the model, and another class at another time is said.
    assert!(!run.err.contains("the model was trained with"), "{run:?}");
    assert!(ckaad(&["info", text(&model)]).ok().out.contains("normal: ship"));
    let run = ckaad(&eval[..5]).ok();
    assert!(run.err.contains("normal is airplane here, and the model was trained with ship for normal"), "{run:?}");
    // Nothing is written over a batch.
    let batch = root.join("data_batch_2.bin");
    train(&root, &batch, "--normal-class ship --force").fails(2, &["--out", "data_batch_2.bin"]);
    ckaad(&["train", "--normal", text(full()), "--normal-class", "ship"]).fails(2, &["name it, too"]);
}

/// One model for all categories, or for those that are named; evaluated one by one, on average and as one set.
#[test]
fn several_categories() {
    let dir = folder();
    for object in ["nut", "bolt"] {
        let names = ["train/good/1.png", "train/good/2.png", "train/good/3.png", "test/good/4.png", "test/crack/5.png"];
        pictures(&dir.path().join(object), &names);
    }
    let model = dir.path().join("m.safetensors");
    train(dir.path(), &model, "--category screw --holdout 0").fails(2, &["category screw is not in", "bolt, nut"]);
    let run = train(dir.path(), &model, "--category nut --holdout 0").ok();
    assert!(run.err.contains("3 normal pictures"), "{run:?}");
    let run = train(dir.path(), &model, "--force --holdout 0").ok();
    assert!(run.err.contains("2 categories together: bolt, nut") && run.err.contains("6 normal pictures"), "{run:?}");
    let data = [dir.path().join("nut"), dir.path().join("bolt")];
    let data = data.each_ref().map(|d| text(d));
    let eval = |data: &[&str]| {
        let args = [&["eval", "--model", text(&model), "--format", "json", "--data"], data].concat();
        ckaad(&args).ok().json().remove(0)
    };
    let (apart, whole) = (data.map(|d| eval(&[d])), eval(&[text(dir.path())]));
    assert_eq!(whole["per_category"], eval(&data)["per_category"]);
    let auroc = |of: &Value| of["image_auroc"].as_f64().unwrap();
    assert_eq!(auroc(&whole["per_category"]["nut"]), auroc(&apart[0]));
    assert_eq!(auroc(&whole["per_category"]["bolt"]), auroc(&apart[1]));
    assert_eq!(auroc(&whole["average"]), (auroc(&apart[0]) + auroc(&apart[1])) / 2.0);
    assert_eq!(whole["per_type"]["nut/crack"]["image_auroc"], apart[0]["image_auroc"]);
    assert_eq!(whole["pictures"]["normal"], 2);
    let twice = ckaad(&["eval", "--model", text(&model), "--data", data[0], data[0]]);
    twice.fails(2, &["two of the categories are called nut"]);
    let table = ckaad(&["eval", "--model", text(&model), "--data", text(dir.path())]).ok();
    assert!(table.out.contains("\naverage ") && table.out.contains("\nnut/crack "), "{table:?}");
    let page = dir.path().join("report.html");
    ckaad(&["eval", "--model", text(&model), "--report", text(&page), "--data", text(dir.path())]).ok();
    let page = std::fs::read_to_string(page).unwrap();
    let row = format!("average of the categories</th><td>–</td><td>{:.4}</td>", auroc(&whole["average"]));
    assert!(page.contains(&row), "no {row}");
}
