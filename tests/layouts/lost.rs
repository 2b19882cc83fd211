//! What is missing in a dataset, is there twice, or lies where nothing is looked for: none of it goes without a word.

use super::*;

fn names(dataset: &Dataset) -> Vec<&str> {
    dataset.categories.iter().map(|c| c.name.as_str()).collect()
}

#[track_caller]
fn has(text: &str, words: &[&str]) {
    for words in words {
        assert!(text.contains(words), "no \"{words}\" in {text}");
    }
}

/// An object that lacks its test or its training is one, and wrong; what else lies in it is counted.
#[test]
fn objects_of_mvtec_ad_2() {
    let dir = folder();
    let root = dir.path();
    pictures(
        root,
        "can/train/good/1.png can/validation/good/2.png can/test_public/good/3.png can/test_public/bad/4.png",
    );
    masks(root, "can/test_public/ground_truth/bad/4_mask.png can/test_public/ground_truth/ugly/5_mask.png", 255);
    pictures(root, "can/test_public/ugly/5.png can/test_public/ugly/6.png can/test_public/7.png can/more/8.png");
    pictures(
        root,
        "fabric/train/good/1.png fabric/test_private/2.png vial/test_public/good/1.png rice/test_private/1.png",
    );
    pictures(root, "nuts/train/good/1.png nuts/test_public/odd/2.png");
    let dataset = open(root, "mvtec2");
    assert_eq!(names(&dataset), ["can", "fabric", "nuts", "vial"]);
    let reports: Vec<Report> = dataset.categories.iter().map(checked).collect();
    assert_eq!(reports[0].problems, [""; 0]);
    let notes = ["1 picture for validation: for a threshold alone, neither to train nor to test on"];
    assert_eq!(reports[0].remarks[0], notes[0]);
    assert!(reports[0].remarks[1].ends_with("no pictures in train/good or test_public/good: rice"), "{reports:?}");
    let passed_over = [
        "1 picture in test_public itself",
        "folder test_public/ugly (2 pictures)",
        "folder test_public/ground_truth/ugly (1 picture)",
        "folder more (1 picture)",
    ];
    assert_eq!(reports[0].passed_over, passed_over.join(", "));
    let problems: Vec<String> = reports.iter().map(|r| r.problems.join("\n")).collect();
    has(&problems[1], &["fabric: there is no test_public/good or test_public/bad in it"]);
    has(&problems[2], &["nuts: there is no test_public/good or test_public/bad in it"]);
    has(&problems[3], &["vial: there is no train/good in it", "no anomalous pictures to test on"]);
    // One of them alone is no other.
    has(&checked(&only(open(&root.join("vial"), "mvtec2"))).problems[0], &["there is no train/good in it"]);
}

/// An object of VisA that the table does not name is told.
#[test]
fn objects_of_visa() {
    let dir = folder();
    let root = dir.path();
    pictures(root, "candle/Data/Images/Normal/1.JPG candle/Data/Images/Normal/2.JPG pcb4/Data/Images/Normal/1.JPG");
    let row = |split: &str, i: usize| format!("candle,{split},normal,candle/Data/Images/Normal/{i}.JPG,\n");
    let table = format!("object,split,label,image,mask\n{}{}", row("train", 1), row("test", 2));
    let table = write(root, "split_csv/1cls.csv", &table);
    for path in [root, &table] {
        let candle = only(open(path, "visa"));
        assert!(
            candle.notes.len() == 1 && candle.notes[0].ends_with("1cls.csv has no rows of them: pcb4"),
            "{candle:?}"
        );
    }
}

/// What lies beside `train` and `test`: pictures for validation are taken, others are counted.
#[test]
fn beside_train_and_test() {
    let dir = folder();
    let root = dir.path();
    mvtec(root);
    pictures(root, "val/good/1.png val/crack/2.png val/crack/3.png val/4.png validation/ok/5.png val/masks/2.png");
    pictures(root, "extra/6.png extra/more/7.png");
    fs::create_dir_all(root.join("val/hole")).unwrap();
    write(root, "notes/todo.txt", "none are pictures");
    let category = only(open(root, "folder"));
    let own =
        "train good 2, validation good 1, validation ok 1, validation -crack 2, test good 1, test -crack 2 (2 masks)";
    assert_eq!(summary(&category), own);
    let report = checked(&category);
    let passed_over = "1 picture in val itself, folder extra (2 pictures), folder val/masks (1 picture)";
    assert_eq!(report.passed_over.split(", ").collect::<BTreeSet<_>>(), passed_over.split(", ").collect());
    assert_eq!(report.remarks, ["4 pictures for validation: for a threshold alone, neither to train nor to test on"]);
    assert!(report.problems.len() == 1 && report.problems[0].contains("val/hole: no pictures"), "{report:?}");
    // As MVTec LOCO has it, an object of several.
    let several = folder();
    for object in ["juice", "pins"].map(|object| several.path().join(object)) {
        mvtec(&object);
        pictures(&object, "validation/good/1.png");
    }
    let dataset = open(several.path(), "folder");
    assert_eq!(dataset.categories[1].validation.len(), 1);
    assert!(dataset.categories[1].notes[0].starts_with("1 picture for validation: "));
}

/// A dataset of known classes that lacks one is itself and says so, and does not lose its other folders.
#[test]
fn classes_that_are_lost() {
    let dir = folder();
    let root = dir.path();
    let fill = |root: &Path, splits: &[&str], classes: &str| {
        for (split, class) in splits.iter().flat_map(|split| classes.split(' ').map(move |class| (split, class))) {
            pictures(root, &format!("{split}/{class}/{split}-1.jpeg {split}/{class}/{split}-2.jpeg"));
        }
    };
    let of = |root: &Path, layout: &str| {
        let category = only(open(root, layout));
        (summary(&category), checked(&category).problems.join("\n"))
    };
    let oct = root.join("OCT2017");
    fill(&oct, &["train", "val", "test"], "CNV DME DRUSEN NORMAL");
    assert_eq!(of(&oct, "oct2017").1, "");
    fs::remove_dir_all(oct.join("train/DME")).unwrap();
    let (found, problems) = of(&oct, "oct2017");
    assert!(found.contains("train -DRUSEN 2, validation NORMAL 2, validation -CNV 2, validation -DME 2"), "{found}");
    assert!(
        problems.ends_with("OCT2017/train: there is no DME in it; the classes are CNV, DME, DRUSEN, NORMAL"),
        "{problems}"
    );
    // In all splits.
    fs::remove_dir_all(oct.join("val/DME")).unwrap();
    fs::remove_dir_all(oct.join("test/DME")).unwrap();
    has(&of(&oct, "oct2017").1, &["there is no DME in it"]);
    // Without the normal ones there is nothing to learn, which a user has to hear.
    fs::remove_dir_all(oct.join("train/NORMAL")).unwrap();
    has(&of(&oct, "oct2017").1, &["no normal pictures to train on", "there is no DME, NORMAL in it"]);
    let xray = root.join("chest_xray");
    fill(&xray, &["train"], "NORMAL");
    fill(&xray, &["val", "test"], "NORMAL PNEUMONIA");
    has(
        &of(&xray, "chest_xray").1,
        &["chest_xray/train: there is no PNEUMONIA in it; the classes are NORMAL, PNEUMONIA"],
    );
    // With masks it is somebody's own.
    masks(&xray, "ground_truth/PNEUMONIA/test-1_mask.png", 255);
    assert!(of(&xray, "folder").0.contains("test -PNEUMONIA 2 (1 masks)"));
    let cifar = root.join("cifar10");
    fill(&cifar, &["train"], "airplane automobile bird cat deer dog frog horse ship");
    fill(&cifar, &["test"], "airplane automobile bird cat deer dog frog horse ship truck");
    has(&of(&cifar, "cifar10").1, &["cifar10/train: there is no truck in it"]);
    // Two of them are no CIFAR-10.
    fill(&root.join("pets"), &["train", "test"], "cat dog");
    assert!(error(&root.join("pets"), &Options::default()).contains("--normal-class one of cat, dog"));
    // Case is no loss.
    pictures(root, "Br35H/no/1.jpg Br35H/no/2.jpg Br35H/Yes/3.jpg Br35H/Yes/4.jpg");
    assert_eq!(of(&root.join("Br35H"), "br35h").0, "train no 1, train -Yes 1, test no 1, test -Yes 1");
}

/// A picture has one class, whatever table says it.
#[test]
fn rows_that_contradict_each_other() {
    let dir = folder();
    let root = dir.path();
    let name = |part: &str, what: &str| format!("ISIC2018_Task3_{part}_{what}");
    let (nv, mel) = ("0,1,0,0,0,0,0", "1,0,0,0,0,0,0");
    let table = |part: &str, rows: &[(usize, &str)]| {
        let rows: String = rows.iter().map(|(i, class)| format!("ISIC_{i},{class}\n")).collect();
        write(root, &format!("{0}/{0}.csv", name(part, "GroundTruth")), &(ISIC.to_string() + &rows));
    };
    pictures(root, &series(&format!("{}/ISIC_#.jpg", name("Training", "Input")), 1..3));
    pictures(root, &series(&format!("{}/ISIC_#.jpg", name("Validation", "Input")), 3..5));
    table("Validation", &[(3, nv), (4, mel)]);
    table("Training", &[(1, nv), (2, mel), (1, nv), (2, mel), (1, nv)]);
    let category = only(open(root, "isic2018"));
    assert_eq!(summary(&category), "train NV 1, train -MEL 1, test NV 1, test -MEL 1");
    assert!(category.notes[0].starts_with("3 rows of the table of Training not needed"), "{:?}", category.notes);
    assert!(checked(&category).problems.is_empty());
    table("Training", &[(1, nv), (2, mel), (2, nv)]);
    let message = error(root, &Options::default());
    has(&message, &["Training_GroundTruth.csv: line 4: ISIC_2 is \"NV\" here and \"MEL\" in line 3"]);
    write(root, &format!("{0}/{0}.csv", name("Training", "GroundTruth")), &format!("NV,{ISIC}"));
    has(&error(root, &Options::default()), &["columns 1 (\"NV\") and 4 (\"NV\") are both read as the NV"]);

    let cells = folder();
    pictures(cells.path(), &series("images/cell#.png", 1..6));
    let table = |rows: &str| write(cells.path(), "labels.csv", rows);
    let rows =
        "images/cell1.png 0.0 mono\nimages/cell2.png 0 mono\nimages/cell3.png 1.0 poly\nimages/cell4.png 1 poly\n";
    table(&format!("{rows}images/cell1.png 0 mono\n"));
    let category = only(open(cells.path(), "elpv"));
    assert_eq!(category.samples().count(), 4);
    assert!(category.notes[0].starts_with("1 line not needed"), "{:?}", category.notes);
    for (row, called) in [("1.0 mono", "1, mono"), ("0.333 mono", "0.333, mono"), ("0.0 poly", "0, poly")] {
        table(&format!("{rows}images/cell1.png {row}\n"));
        let expected = format!("labels.csv: line 5: {}", cells.path().join("images/cell1.png").display());
        let message = error(cells.path(), &Options::default());
        has(&message, &[&expected, &format!("is \"{called}\" here and \"0, mono\" in line 1")]);
    }
}

/// A mask of a normal picture contradicts it, in a table and in folders, unless it is black.
#[test]
fn masks_of_normal_pictures() {
    let dir = folder();
    let root = dir.path();
    pictures(root, &series("#.png", 1..6));
    masks(root, "black.png", 0);
    masks(root, "white.png", 255);
    let rows = "1.png,good,train,white.png\n2.png,good,test,black.png\n3.png,good,test,black.png|white.png\n\
                4.png,bad,test,white.png\n5.png,good,train,nothing.txt\n";
    write(root, "nothing.txt", "no picture");
    let file = write(root, "list.csv", &format!("path,label,split,mask\n{rows}"));
    let category = only(open(&file, "csv"));
    assert_eq!(summary(&category), "train good 2, test good 2, test -bad 1 (1 masks)");
    let mut problems = checked(&category).problems;
    problems.sort_by_key(|problem| problem.split("list.csv: line ").nth(1).map(str::to_string));
    assert_eq!(problems.len(), 3, "{problems:?}");
    // Those of pictures to train on concern nobody who trains, or tests.
    assert_eq!(problems.iter().map(|p| p.starts_with("left out: ")).collect::<Vec<_>>(), [false, true, false]);
    for (problem, line) in problems.iter().zip([2, 4, 6]) {
        has(problem, &[&format!("list.csv: line {line}: "), "its picture is taken for normal, without that mask"]);
    }
    has(&problems[1], &["its label is of normal pictures, and its mask", "white.png marks something"]);

    let mvtec_like = folder();
    let root = mvtec_like.path();
    mvtec(root);
    masks(root, "ground_truth/good/002_mask.png", 0);
    assert!(checked(&only(open(root, "folder"))).problems.is_empty());
    masks(root, "ground_truth/good/002_mask.png", 255);
    let problems = checked(&only(open(root, "folder"))).problems;
    assert_eq!(problems.len(), 1, "{problems:?}");
    has(&problems[0], &["1 mask of normal pictures not taken, but not empty: ", "ground_truth/good/002_mask.png"]);
}

#[test]
fn columns_of_one_name() {
    let dir = folder();
    pictures(dir.path(), "a.png b.png");
    let fails = |header: &str, words: &str| {
        let file = write(dir.path(), "list.csv", &format!("{header}\na.png,good,b.png\n"));
        has(
            &error(&file, &Options::default()),
            &["list.csv: its columns ", words, "rename one of them, or leave it out"],
        );
    };
    fails("path,label,path", "1 (\"path\") and 3 (\"path\") are both read as the path");
    fails("Path,label,FileName", "1 (\"Path\") and 3 (\"FileName\") are both read as the path");
    fails("path,label,class", "2 (\"label\") and 3 (\"class\") are both read as the label");
}

/// Masks of pictures that are gone, in both of Kolektor's layouts; and what else lies there.
#[test]
fn masks_of_no_picture() {
    let dir = folder();
    let root = dir.path().join("KolektorSDD");
    for item in 1..=5 {
        pictures(&root, &series(&format!("kos{item:02}/Part#.jpg"), 0..2));
        masks(&root, &format!("kos{item:02}/Part0_label.bmp"), 0);
        masks(&root, &format!("kos{item:02}/Part1_label.bmp"), 255);
    }
    assert_eq!(checked(&only(open(&root, "kolektor_sdd"))).problems, [""; 0]);
    fs::remove_file(root.join("kos03/Part1.jpg")).unwrap();
    masks(&root, "kos06/Part0_label.bmp", 255);
    let problems = checked(&only(open(&root, "kolektor_sdd"))).problems;
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert!(
        problems[0].starts_with("2 masks without a picture, as ") && problems[0].ends_with("kos03/Part1_label.bmp")
    );

    let root = dir.path().join("KolektorSDD2");
    pictures(&root, "train/1.png train/2.png test/3.png test/4.png valid/5.png");
    masks(&root, "train/1_GT.png test/3_GT.png test/9_GT.png", 0);
    masks(&root, "train/2_GT.png test/4_GT.png train/8_GT.png", 255);
    let report = checked(&only(open(&root, "kolektor_sdd2")));
    assert_eq!(report.problems.len(), 1, "{report:?}");
    assert!(
        report.problems[0].starts_with("2 masks without a picture, as ") && report.problems[0].ends_with("8_GT.png")
    );
    assert_eq!(report.passed_over, "folder valid (1 picture)");
}

/// Batches that are all cut alike, or only that to test on.
#[test]
fn batches_cut_between_records() {
    let dir = folder();
    let name = |i: usize| dir.path().join(format!("data_batch_{i}.bin"));
    let labels: Vec<u8> = (0..10_000).map(|i| (i % 10) as u8).collect();
    (1..=5).for_each(|i| batch(&name(i), &labels));
    let test = dir.path().join("test_batch.bin");
    batch(&test, &labels);
    assert_eq!(only(open(dir.path(), "cifar10")).problems, [""; 0]);
    batch(&test, &labels[..4_321]);
    let category = only(open(dir.path(), "cifar10"));
    has(&category.problems[0], &["10000 records as published, here test_batch.bin 4321: cut short?"]);
    // What is there can be used.
    assert_eq!(category.test.unwrap().images.len(), 4_321);
}

/// Whoever asks for a layout that the folder does not have learns what it looks like.
#[test]
fn a_layout_that_is_not_there() {
    let dir = folder();
    pictures(dir.path(), "a/1.png b/1.png");
    let mut refused = 0;
    for layout in LAYOUTS.iter().filter(|l| !["folder", "classes"].contains(&l.name)) {
        // Two of them take any folders, whose names say nothing.
        let Err(error) = Dataset::open(dir.path(), Some(layout), &Options::default()) else { continue };
        let expected =
            format!("{}: not of layout {}, which is recognised by this: ", dir.path().display(), layout.name);
        assert!(error.to_string().starts_with(&(expected + layout.looks)), "{error}");
        refused += 1;
    }
    assert!(refused >= LAYOUTS.len() - 4, "{refused}");
    let gone = dir.path().join("gone.csv");
    let error = error(&gone, &Options::default());
    assert!(error.starts_with(&format!("{}: No such file", gone.display())), "{error}");
    // Its folders are classes, if somebody says so.
    let normal = Options { normal: vec!["a".into()] };
    let error = Dataset::open(dir.path(), None, &normal).map(|_| ()).unwrap_err().to_string();
    assert!(
        error.contains("fixed in layout folder") && error.contains("--layout classes takes every folder"),
        "{error}"
    );
}
