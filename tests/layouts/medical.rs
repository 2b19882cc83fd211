//! Medical datasets, as their owners publish them.

use super::*;

pub const ISIC: &str = "image,MEL,NV,BCC,AKIEC,BKL,DF,VASC\n";

#[test]
fn isic2018() {
    let dir = folder();
    let root = dir.path();
    let name = |part: &str, what: &str| format!("ISIC2018_Task3_{part}_{what}");
    let table = |part: &str, rows: &str| {
        let file = format!("{}/{}.csv", name(part, "GroundTruth"), name(part, "GroundTruth"));
        write(root, &file, &(ISIC.to_string() + rows));
    };
    pictures(root, &series(&format!("{}/ISIC_002430#.jpg", name("Training", "Input")), 0..5));
    pictures(root, &series(&format!("{}/ISIC_003432#.jpg", name("Validation", "Input")), 0..2));
    pictures(root, &format!("{}/ISIC_0034600.jpg", name("Test", "Input")));
    write(root, &format!("{}/LICENSE.txt", name("Training", "Input")), "CC-BY-NC");
    table(
        "Training",
        "ISIC_0024300,0.0,1.0,0.0,0.0,0.0,0.0,0.0\nISIC_0024301,1.0,0.0,0.0,0.0,0.0,0.0,0.0\n\
         ISIC_0024302,0.0,0.0,0.0,0.0,0.0,0.0,1.0\nISIC_0024303,0.0,1.0,0.0,0.0,1.0,0.0,0.0\n\
         ISIC_0024309,0.0,1.0,0.0,0.0,0.0,0.0,0.0\n",
    );
    table("Validation", "ISIC_0034320,0,1,0,0,0,0,0\nISIC_0034321,0,0,1,0,0,0,0\n");
    let category = only(open(root, "isic2018"));
    assert_eq!(summary(&category), "train NV 1, train -MEL 1, train -VASC 1, test NV 1, test -BCC 1");
    let train = category.train.as_ref().unwrap();
    // Two classes at once, pictures without a row (two), a row without a picture.
    let said = train.left_out.join("\n");
    assert_eq!(train.left_out.len(), 4, "{said}");
    assert!(
        said.contains("GroundTruth.csv: line 5: expected 1.0 in one column")
            && said.contains("ISIC_0024309: in the table")
    );
    let passed_over = train.passed_over.to_string();
    assert!(
        passed_over.contains("ISIC2018_Task3_Test_Input (1 picture)") && passed_over.contains("1 .txt"),
        "{passed_over}"
    );
    let problems = checked(&category).problems.join("\n");
    assert!(problems.contains("class MEL has 1 picture to train on and none to test on"), "{problems}");
    let other = only(open_with(root, "isic2018", &with_normal(&["mel", "VASC"])));
    assert_eq!(summary(&other), "train MEL 1, train VASC 1, train -NV 1, test -BCC 1, test -NV 1");
    assert!(error(root, &with_normal(&["XY"])).contains("--normal-class XY: not in"));
    table("Validation", "");
    let lost = root.join(format!("{0}/{0}.csv", name("Validation", "GroundTruth")));
    fs::remove_file(&lost).unwrap();
    let message = error(root, &Options::default());
    let expected = "expected the classes of the validation set, which is tested on; the archive ISIC2018_Task3_Validation_GroundTruth.zip";
    assert!(message.starts_with(&lost.display().to_string()) && message.contains(expected), "{message}");
    for part in ["Validation", "Training"] {
        fs::remove_dir_all(root.join(name(part, "GroundTruth"))).unwrap();
        let message = error(root, &Options::default());
        assert!(message.contains(&name(part, "GroundTruth.csv")) && message.contains("No such file"), "{message}");
        table(part, "");
    }
    fs::write(root.join(format!("{0}/{0}.csv", name("Training", "GroundTruth"))), "id,MEL\n").unwrap();
    assert!(error(root, &Options::default()).contains("expected image,MEL,NV"));
}

#[test]
fn chest_xray_and_oct2017() {
    let dir = folder();
    let root = dir.path().join("chest_xray");
    for split in ["train", "val", "test"] {
        pictures(&root, &series(&format!("{split}/NORMAL/IM-000#-0001.jpeg"), 1..3));
        pictures(&root, &format!("{split}/PNEUMONIA/person1_bacteria_1.jpeg {split}/PNEUMONIA/person2_virus_4.jpeg"));
    }
    pictures(&root, "chest_xray/train/NORMAL/1.jpeg");
    let category = only(open(&root, "chest_xray"));
    let kinds = |split: &str| format!("{split} NORMAL 2, {split} -PNEUMONIA_bacteria 1, {split} -PNEUMONIA_virus 1");
    assert_eq!(summary(&category), ["train", "validation", "test"].map(kinds).join(", "));
    assert!(category.train.as_ref().unwrap().passed_over.to_string().contains("folder chest_xray (1 picture)"));
    assert!(category.notes[0].contains("4 pictures for validation"), "{:?}", category.notes);
    // As at Mendeley; one that is of neither cause stays what its folder says.
    let root = dir.path().join("ZhangLabData");
    for split in ["train", "test"] {
        pictures(&root, &format!("{split}/NORMAL/NORMAL-1-0001.jpeg {split}/PNEUMONIA/BACTERIA-10-0001.jpeg"));
        pictures(&root, &format!("{split}/PNEUMONIA/VIRUS-11-0001.jpeg {split}/PNEUMONIA/antiviruses.jpeg"));
    }
    let category = only(open(&root, "chest_xray"));
    let kinds = |split: &str| {
        format!("{split} NORMAL 1, {split} -PNEUMONIA 1, {split} -PNEUMONIA_bacteria 1, {split} -PNEUMONIA_virus 1")
    };
    assert_eq!(summary(&category), ["train", "test"].map(kinds).join(", "));
    let told = "2 pictures of PNEUMONIA whose names say neither bacteria nor virus";
    assert!(category.notes.iter().any(|note| note == told), "{:?}", category.notes);

    let root = dir.path().join("OCT2017");
    for class in ["CNV", "DME", "DRUSEN", "NORMAL"] {
        pictures(&root, &series(&format!("train/{class}/{class}-1-#.jpeg"), 0..3));
        pictures(&root, &series(&format!("test/{class}/{class}-9-#.jpeg"), 0..1));
    }
    let expected = "train NORMAL 3, train -CNV 3, train -DME 3, train -DRUSEN 3, \
                    test NORMAL 1, test -CNV 1, test -DME 1, test -DRUSEN 1";
    assert_eq!(summary(&only(open(&root, "oct2017"))), expected);
}

#[test]
fn br35h_is_split_always_the_same() {
    let dir = folder();
    let root = dir.path();
    pictures(root, &series("no/no#.jpg", 0..10));
    pictures(root, &series("yes/y#.jpg", 0..5));
    pictures(root, "pred/pred0.jpg Br35H-Mask-RCNN/TRAIN/y0.jpg");
    let category = only(open(root, "br35h"));
    assert_eq!(summary(&category), "train no 8, train -yes 4, test no 2, test -yes 1");
    let passed_over = category.train.as_ref().unwrap().passed_over.to_string();
    assert_eq!(passed_over, "folder Br35H-Mask-RCNN (1 picture), folder pred (1 picture)");
    assert!(category.notes[0].contains("no split is published"));
    let names = |c: &Category| c.samples().map(|(s, p)| (s, p.path().to_path_buf())).collect::<Vec<_>>();
    assert_eq!(names(&category), names(&only(open(root, "br35h"))));

    // Where no pictures are equal the split is that of versions which did not look; so ckaad at 09e1019 had it.
    let tested = category.test.as_ref().unwrap().images.iter().filter(|s| !s.anomalous);
    assert!(tested.map(|s| s.path().file_name().unwrap()).eq(["no3.jpg", "no9.jpg"]));
    // Each picture twice.
    for (folder, copy, count) in [("no", "a", 10), ("yes", "z", 5)] {
        for i in 0..count {
            let name = |letter: &str| root.join(format!("{folder}/{letter}{i}.jpg"));
            fs::copy(name(if folder == "no" { "no" } else { "y" }), name(copy)).unwrap();
        }
    }
    let category = only(open(root, "br35h"));
    assert_eq!(summary(&category), "train no 16, train -yes 8, test no 4, test -yes 2");
    let report = checked(&category);
    assert_eq!((report.doubled.groups.len(), report.doubled.across, report.problems), (15, 0, vec![]));
}
