//! Datasets that are the user's own: CSV files, what is wrong with a dataset, splits of two folders.

use super::*;

#[test]
fn csv_with_everything() {
    let dir = folder();
    let root = dir.path();
    pictures(root, "a,b.png c.png d.png e.png f.png far/g.png");
    masks(root, "m1.png m2.png", 255);
    let far = root.join("far/g.png");
    let text = format!(
        "\u{feff}Split,IMAGE,Mask,Label\r\ntrain,\"a,b.png\",,good\r\nTrain,c.png,,OK\r\ntest,{},,0\r\n\
         TEST,d.png,m1.png|m2.png,\"crack, deep\"\r\nval,e.png,,good\r\ntraining,f.png,,1\r\n",
        far.display()
    );
    let file = write(root, "list.csv", &text);
    let category = only(open(&file, "csv"));
    let expected =
        "train OK 1, train good 1, train -anomalous 1, validation good 1, test good 1, test -crack, deep 1 (1 masks)";
    assert_eq!(summary(&category), expected);
    let test = category.test.unwrap();
    assert_eq!(test.images[0].masks, [root.join("m1.png"), root.join("m2.png")]);
    assert_eq!(test.images[1].path(), far);
    assert!(test.left_out.is_empty() && test.passed_over.is_empty());

    // Semicolons, as some countries' spreadsheets write them; no split.
    let rows = "c.png;good\nd.png;good\ne.png;bad\nf.png;bad\n";
    let file = write(root, "unsplit.csv", &format!("path;label\n{rows}"));
    assert_eq!(summary(&only(open(&file, "csv"))), "train good 1, train -bad 1, test good 1, test -bad 1");
    // Categories.
    let rows = "c.png,good,train,x\nd.png,good,test,x\ne.png,good,train,y\nf.png,bad,test,y\n";
    let file = write(root, "two.csv", &format!("path,label,split,category\n{rows}"));
    let summaries: Vec<String> = open(&file, "csv").categories.iter().map(summary).collect();
    assert_eq!(summaries, ["train good 1, test good 1", "train good 1, test -bad 1"]);
}

#[test]
fn csv_rows_of_no_use_are_named() {
    let dir = folder();
    let root = dir.path();
    pictures(root, "a.png b.png c.png");
    let rows = "a.png,good,train,\nb.png,bad,test,gone.png\nnowhere.png,good,train,\nc.png,good,elsewhere,\nc.png,good\n\
                ,good,train,\na.png,good,train,\n";
    let file = write(root, "list.csv", &format!("path,label,split,mask\n{rows}c.png,,test,\n"));
    let category = only(open(&file, "csv"));
    assert_eq!(summary(&category), "train good 1, test -bad 1");
    let left_out = category.train.as_ref().unwrap().left_out.join("\n");
    // A test picture's mask is nothing to training.
    let of_masks = |left_out: &[String]| left_out.iter().any(|line| line.contains("line 3: there is no file"));
    let [train, test] = [&category.train.as_ref().unwrap().left_out, &category.test.as_ref().unwrap().left_out];
    assert!(!of_masks(train) && of_masks(test) && test.len() == train.len() + 1, "{train:?} {test:?}");
    for words in [
        "line 4: there is no file",
        "line 5: unknown split \"elsewhere\"",
        "line 6: 2 fields, expected 4 as in the first line",
        "line 7: no path",
        "line 8: ",
    ] {
        assert!(left_out.contains(words), "no \"{words}\" in {left_out}");
    }
    let many: String = (0..30).map(|i| format!("gone{i}.png,good,train\n")).collect();
    let file = write(root, "many.csv", &format!("path,label,split\na.png,good,train\n{many}"));
    let left_out = only(open(&file, "csv")).train.unwrap().left_out;
    assert_eq!((left_out.len(), left_out[10].as_str()), (11, "20 more rows or folders, for reasons like these"));

    let fails = |text: &str, words: &str| {
        let message = error(&write(root, "bad.csv", text), &Options::default());
        assert!(message.contains("bad.csv") && message.contains(words), "{message}");
    };
    fails("path,label,split\na.png,good,train\na.png,good,test\n", "\"good, test\" here and \"good, train\" in line 2");
    fails("path,label\na.png,good\na.png,bad\n", "a picture has one label");
    fails("a.png,good\n", "expected the names of columns: path, label");
    fails("path,label\n", "bad.csv: no row can be used: it has no rows");
    fails("path,label\na.png,\n", "bad.csv: no row can be used: ");
    let unclosed = "path,label,split\na.png,\"good,train\nb.png,bad,test\n";
    fails(
        unclosed,
        "bad.csv: line 2: 2 fields, expected 3 as in the first line; is a quote before a line break never closed?",
    );
    fails("path,label\na.png,x\n", "--normal-class one of x");
    fails("", "expected the names of columns");
    fails("path,label\nnowhere.png,good\n", "no row can be used: ");
    fs::write(root.join("bad.csv"), b"\xFF\xFEp\0a\0").unwrap();
    assert!(error(&root.join("bad.csv"), &Options::default()).contains("UTF-16"));
    // Bytes that are no UTF-8 cost their row.
    fs::write(root.join("bad.csv"), b"path,label,split\na.png,good,train\n\xE4.png,good,train\nb.png,bad,test\n")
        .unwrap();
    assert_eq!(summary(&only(open(&root.join("bad.csv"), "csv"))), "train good 1, test -bad 1");
}

/// Lines are counted as an editor does, whatever ends them; the truth is written into each row's path.
#[test]
fn rows_are_named_by_the_lines_of_an_editor() {
    let dir = folder();
    let root = dir.path();
    pictures(root, "a.png b.png");
    let lines = ["path,label,split", "", "a.png,good,train", "4,good,train", "", "", "7,good,train", "b.png,bad,test"];
    // The quoted field goes from line 9 to line 11, an empty one among them.
    let quoted = ["\"gone", "", "9\",good,train", "12,good,train", "13,one,two,many", "", "15,good,train"];
    for end in ["\n", "\r\n", "\r"] {
        let mut text = [&lines[..], &quoted[..]].concat().join(end);
        for last in ["", end] {
            text += last;
            let file = write(root, "list.csv", &text);
            let left_out = only(open(&file, "csv")).train.unwrap().left_out;
            let found: Vec<&str> = left_out.iter().map(|l| l.split("line ").nth(1).unwrap()).collect();
            let number = |line: &&str| line.split(':').next().unwrap().parse::<usize>().unwrap();
            let mut numbers: Vec<usize> = found.iter().map(number).collect();
            numbers.sort_unstable();
            assert_eq!(numbers, [4, 7, 9, 12, 13, 15], "{end:?}: {left_out:?}");
            for path in ["4", "7", "12", "15"] {
                assert!(found.iter().any(|l| l.starts_with(path) && l.ends_with(&format!("/{path}"))), "{left_out:?}");
            }
        }
    }
}

/// Neither the split that the program makes nor the categories take equal pictures apart.
#[test]
fn equal_pictures_without_a_split_stay_together() {
    let dir = folder();
    let root = dir.path();
    pictures(root, &series("good/#.png", 0..20));
    pictures(root, &series("bad/#.png", 0..10));
    for kind in ["good", "bad"] {
        for i in 0..10 {
            fs::copy(root.join(format!("{kind}/{i}.png")), root.join(format!("{kind}/copy{i}.png"))).unwrap();
        }
    }
    let report = checked(&only(open(root, "classes")));
    assert_eq!((report.doubled.groups.len(), report.doubled.across, report.problems), (20, 0, vec![]));
    // As a table; of two categories each has one of every two.
    let row = |kind: &str, name: &str, category: &str| format!("{kind}/{name}.png,{kind},{category}\n");
    let rows = |kind: &str| {
        let of = |i: usize| row(kind, &i.to_string(), "x") + &row(kind, &format!("copy{i}"), "y");
        (0..10).map(of).collect::<String>()
    };
    let file = write(root, "list.csv", &format!("path,label,category\n{}{}", rows("good"), rows("bad")));
    let Checked { categories, together } = check(&open(&file, "csv").categories, &|| ());
    assert_eq!(categories.iter().map(|r| r.doubled.groups.len()).collect::<Vec<_>>(), [0, 0]);
    assert_eq!((together.groups.len(), together.across, together.problems), (20, 0, vec![]));
}

/// A table's rows are told of the categories that they name.
#[test]
fn rows_of_no_use_are_their_categories() {
    let dir = folder();
    let root = dir.path();
    pictures(root, "a.png b.png c.png d.png");
    let rows = "a.png,good,train,x\nb.png,bad,test,x\nc.png,good,train,y\nd.png,bad,test,y\n\
                gone.png,good,train,y\na2.png,,train,x\n,good,train,x\na.png,good\n";
    let file = write(root, "list.csv", &format!("path,label,split,category\n{rows}"));
    let of = |category: &Category| {
        let lines = category.train.as_ref().unwrap().left_out.iter();
        lines.map(|l| l.split("line ").nth(1).unwrap()[..1].parse::<usize>().unwrap()).collect::<BTreeSet<_>>()
    };
    // Nobody knows of what line 9 is.
    let left_out: Vec<_> = open(&file, "csv").categories.iter().map(of).collect();
    assert_eq!(left_out, [BTreeSet::from([7, 8, 9]), BTreeSet::from([6, 9])]);
}

#[test]
fn what_is_wrong_is_found() {
    let dir = folder();
    let root = dir.path();
    mvtec(root);
    pictures(root, "test/crack/002.png test/crack/003.png test/hole/1.png train/good/4.png train/good/5.png");
    // Missing (hole, 003), empty (002), of another size (001).
    masks(root, "ground_truth/crack/002_mask.png", 0);
    image::GrayImage::from_pixel(5, 8, image::Luma([255])).save(root.join("ground_truth/crack/001_mask.png")).unwrap();
    fs::copy(root.join("train/good/000.png"), root.join("test/good/9.png")).unwrap();
    fs::copy(root.join("train/good/001.png"), root.join("test/hole/9.png")).unwrap();
    fs::copy(root.join("train/good/4.png"), root.join("train/good/44.png")).unwrap();
    fs::write(root.join("train/good/5.png"), "no picture").unwrap();
    fs::create_dir_all(root.join("test/empty")).unwrap();
    let report = checked(&only(open(root, "folder")));
    assert_eq!(report.masks, Masks { found: 1, missing: 3, empty: 1, unusable: 1 });
    assert_eq!((report.doubled.groups.len(), report.doubled.across), (3, 2));
    let text = report.problems.join("\n");
    for words in [
        "left out: ",
        "1 picture cannot be read: ",
        "1 picture called normal and anomalous, by equal files: ",
        "2 pictures in more than one split, by equal files: ",
        "3 anomalous test pictures without a mask, while others have one: ",
        "1 anomalous test picture whose mask marks nothing: ",
        "the mask is 5 x 8 pixels, its picture 8 x 8",
    ] {
        assert!(text.contains(words), "no \"{words}\" in {text}");
    }
    assert_eq!(report.problems.len(), 7, "{text}");
    assert!(report.remarks[0].contains("1 picture more than once in a split"), "{:?}", report.remarks);
}

#[test]
fn splits_keep_equal_pictures_together() {
    let dir = folder();
    let root = dir.path();
    pictures(root, &series("no/#.png", 10..30));
    pictures(root, &series("yes/a/#.png", 0..6));
    pictures(root, &series("yes/b/#.png", 0..4));
    masks(root, "masks/a/2.png", 255);
    for copy in 0..5 {
        fs::copy(root.join("no/10.png"), root.join(format!("no/copy{copy}.png"))).unwrap();
    }
    let [normal, anomalous, mask] = ["no", "yes", "masks"].map(|f| root.join(f));
    let set = || TestSet::of_folders(Some(&normal), Some(&anomalous), Some(&mask)).unwrap();
    let plan = |seed| Plan { tested: 0.4, labelled: Amount::Count(3), seed };
    let mut first = None;
    for seed in 0..8 {
        let made = split(set(), &plan(seed), &mut |_| ()).unwrap();
        assert_eq!(made.equal, 5);
        let count =
            |split, anomalous| made.samples.iter().filter(|(s, p)| (*s, p.anomalous) == (split, anomalous)).count();
        let counts = [(Split::Train, true), (Split::Test, true), (Split::Test, false)].map(|(s, a)| count(s, a));
        assert_eq!(counts, [3, 7, 10], "seed {seed}");
        let sides = made.samples.iter().filter(|(_, p)| {
            let name = p.path().file_name().unwrap().to_string_lossy();
            name.starts_with("copy") || name == "10.png" && !p.anomalous
        });
        let sides: std::collections::BTreeSet<Split> = sides.map(|(s, _)| *s).collect();
        assert_eq!(sides.len(), 1, "seed {seed}");
        let file = root.join("split.csv");
        let bytes = csv(&made, &file).unwrap();
        assert_eq!(bytes, csv(&split(set(), &plan(seed), &mut |_| ()).unwrap(), &file).unwrap());
        assert_ne!(first.replace(bytes.clone()), Some(bytes.clone()), "the seed is ignored");
        // What was written is read as it was meant.
        fs::write(&file, &bytes).unwrap();
        let category = only(open(&file, "csv"));
        assert_eq!(category.samples().count(), 35);
        assert_eq!(category.train.as_ref().unwrap().anomalous.len(), 3);
        let report = checked(&category);
        assert_eq!((report.doubled.groups.len(), report.doubled.across), (1, 0));
        assert_eq!(category.samples().filter(|(_, p)| !p.masks.is_empty()).count(), 1);
    }
    fs::rename(root.join("yes/a"), root.join("yes/ok")).unwrap();
    let message = csv(&split(set(), &plan(0), &mut |_| ()).unwrap(), &root.join("x.csv")).unwrap_err().to_string();
    assert!(message.contains("a type of anomalies called ok"), "{message}");
    fs::rename(root.join("yes/ok"), root.join("yes/a")).unwrap();
    let all = split(set(), &Plan { tested: 1.0, ..plan(0) }, &mut |_| ()).map(|_| ()).unwrap_err().to_string();
    assert!(all.contains("--test-share 1: no normal picture of 25 is left to train on"), "{all}");
    let too_many = Plan { labelled: Amount::Count(11), ..plan(0) };
    let message = split(set(), &too_many, &mut |_| ()).map(|_| ()).unwrap_err().to_string();
    assert!(message.contains("--labelled 11: there are 10 anomalous pictures"), "{message}");
    fs::copy(root.join("no/12.png"), root.join("yes/a/same.png")).unwrap();
    let message = split(set(), &plan(0), &mut |_| ()).map(|_| ()).unwrap_err().to_string();
    assert!(
        message.contains("12.png") && message.contains("same.png") && message.contains("which is it?"),
        "{message}"
    );
}
