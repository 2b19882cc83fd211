//! Datasets in a folder inside the one that is named, as archives unpack, and folders of several.

use super::*;

fn chest_xray(root: &Path) {
    for split in ["train", "val", "test"] {
        pictures(root, &series(&format!("{split}/NORMAL/IM-000#-0001.jpeg"), 1..3));
        pictures(root, &format!("{split}/PNEUMONIA/person1_bacteria_1.jpeg {split}/PNEUMONIA/person2_virus_4.jpeg"));
    }
}

fn isic(root: &Path) {
    for (part, kind) in [("Training", "1.0,0.0"), ("Validation", "0.0,1.0")] {
        let name = |what: &str| format!("ISIC2018_Task3_{part}_{what}");
        pictures(root, &format!("{}/ISIC_1.jpg", name("Input")));
        let row = format!("ISIC_1,0.0,{kind},0.0,0.0,0.0,0.0\n");
        write(root, &format!("{0}/{0}.csv", name("GroundTruth")), &(ISIC.to_string() + &row));
    }
}

/// Each is what it is without the folder around it, and said to lie there.
#[test]
fn published_layouts_one_folder_deeper() {
    let dir = folder();
    let at = |name: &str| dir.path().join(format!("around_{name}")).join(name);
    chest_xray(&at("chest_xray"));
    isic(&at("ISIC2018"));
    for split in ["train", "test"] {
        // The archive's folder really ends in a blank.
        for class in ["CNV", "DME", "DRUSEN", "NORMAL"] {
            pictures(&at("OCT2017 "), &format!("{split}/{class}/{split}-{class}-1.jpeg"));
        }
    }
    pictures(&at("Br35H"), "no/no0.jpg no/no1.jpg yes/y0.jpg yes/y1.jpg pred/pred0.jpg");
    pictures(&at("KolektorSDD"), "kos01/Part0.jpg kos02/Part0.jpg");
    masks(&at("KolektorSDD"), "kos01/Part0_label.bmp kos02/Part0_label.bmp", 0);
    pictures(&at("VisA"), "candle/Data/Images/Normal/0000.JPG candle/Data/Images/Normal/0001.JPG");
    let row = |split: &str, i: usize| format!("candle,{split},normal,candle/Data/Images/Normal/000{i}.JPG,\n");
    let table = format!("object,split,label,image,mask\n{}{}", row("train", 0), row("test", 1));
    write(&at("VisA"), "split_csv/1cls.csv", &table);
    for object in ["can", "vial"] {
        pictures(&at("mvtec_ad_2"), &format!("{object}/train/good/0.png {object}/test_public/good/1.png"));
    }
    for object in ["bottle", "screw"] {
        mvtec(&at("mvtec").join(object));
    }
    batch(&at("cifar").join("cifar-10-batches-bin/data_batch_1.bin"), &[0]);
    batch(&at("cifar").join("cifar-10-batches-bin/test_batch.bin"), &[0]);
    pictures(&at("elpv-dataset"), "src/elpv_dataset/data/images/0.png src/elpv_dataset/data/images/1.png");
    let table = "images/0.png 0.0 mono\nimages/1.png 0.0 mono\n";
    write(&at("elpv-dataset"), "src/elpv_dataset/data/labels.csv", table);
    for (name, layout) in [
        ("chest_xray", "chest_xray"),
        ("ISIC2018", "isic2018"),
        ("OCT2017 ", "oct2017"),
        ("Br35H", "br35h"),
        ("KolektorSDD", "kolektor_sdd"),
        ("VisA", "visa"),
        ("mvtec_ad_2", "mvtec2"),
        ("mvtec", "folder"),
        ("cifar", "cifar10"),
        ("elpv-dataset", "elpv"),
    ] {
        let (inside, around) = (at(name), dir.path().join(format!("around_{name}")));
        write(&around, "readme.txt", "unpacked");
        write(&around, &format!("__MACOSX/{name}/._train"), "");
        let (own, found) = (open(&inside, layout), open(&around, layout));
        assert_eq!((&own.root, &own.notes), (&inside, &vec![]));
        let of =
            |dataset: &Dataset| dataset.categories.iter().map(|c| (c.name.clone(), summary(c))).collect::<Vec<_>>();
        assert_eq!(of(&found), of(&own), "{name}");
        assert_eq!(found.root, inside);
        let note = format!("{}: the dataset is its folder \"{name}\"", around.display());
        assert_eq!(found.notes, [note]);
        let asked = Dataset::open(&around, Some(Layout::find(layout).unwrap()), &Options::default()).unwrap();
        assert_eq!(of(&asked), of(&own), "{name}");
    }
}

#[test]
fn what_lies_beside_it_is_said_and_of_several_none_is_taken() {
    let dir = folder();
    let root = dir.path();
    chest_xray(&root.join("chest_xray"));
    pictures(root, "chest_xray/chest_xray/train/NORMAL/1.jpeg more/1.png more/2.png");
    let expected = "the dataset is its folder \"chest_xray\"; passed over beside it: folder more (2 pictures)";
    assert!(open(root, "chest_xray").notes[0].ends_with(expected));

    mvtec(&root.join("bottle"));
    let message = error(root, &Options::default());
    for words in ["a folder of several: name one of ", "bottle (layout folder), ", "chest_xray (layout chest_xray)"] {
        assert!(message.contains(words), "no \"{words}\" in {message}");
    }
    // Who asks for it gets it: classes that test has are labelled.
    let asked = Dataset::open(root, Some(Layout::find("mvtec").unwrap()), &Options::default()).unwrap();
    let summaries: Vec<String> = asked.categories.iter().map(summary).collect();
    assert_eq!(
        summaries,
        [
            "train good 2, test good 1, test -crack 2 (2 masks)",
            "train NORMAL 2, train -PNEUMONIA 2, validation NORMAL 2, validation -PNEUMONIA 2, test NORMAL 2, \
             test -PNEUMONIA 2"
        ]
    );
    let datasets = folder();
    for name in ["a", "b"] {
        mvtec(&datasets.path().join(name).join("screw"));
    }
    let message = error(datasets.path(), &Options::default());
    assert!(message.contains("a (layout folder), ") && message.contains("b (layout folder)"), "{message}");

    // What their owners put into a folder, beside categories of others; also one folder deeper.
    for around in ["", "around/"] {
        for (layout, named) in [("cifar10", "cifar-10-batches-bin"), ("elpv", "src")] {
            let mixed = folder();
            let at = mixed.path().join(around);
            mvtec(&mixed.path().join("bottle"));
            if layout == "elpv" {
                pictures(&at, "src/elpv_dataset/data/images/cell0001.png");
                write(&at, "src/elpv_dataset/data/labels.csv", "images/cell0001.png 0.0 mono\n");
            } else {
                batch(&at.join("cifar-10-batches-bin/data_batch_1.bin"), &[0]);
            }
            let message = error(mixed.path(), &Options::default());
            let named = if around.is_empty() { named } else { "around" };
            for words in
                ["a folder of several: name one of ", "bottle (layout folder)", &format!("{named} (layout {layout})")]
            {
                assert!(message.contains(words), "no \"{words}\" in {message}");
            }
        }
    }
    // Two datasets in one folder, as Kermany et al. publish theirs, and that in another.
    let archive = folder();
    let data = archive.path().join("CellData");
    chest_xray(&data.join("chest_xray"));
    for split in ["train", "test"] {
        pictures(
            &data,
            &format!(
                "OCT/{split}/NORMAL/1.jpeg OCT/{split}/CNV/1.jpeg OCT/{split}/DME/1.jpeg OCT/{split}/DRUSEN/1.jpeg"
            ),
        );
    }
    for root in [archive.path(), &data] {
        let message = error(root, &Options::default());
        for words in ["name one of ", "OCT (layout oct2017)", "chest_xray (layout chest_xray)"] {
            assert!(message.contains(words), "no \"{words}\" in {message}");
        }
    }
}

/// Defects in `train` that `test` has, too, are labelled, with masks or without.
#[test]
fn classes_beside_good_in_train() {
    let dir = folder();
    let root = dir.path();
    pictures(root, "train/good/1.png train/good/2.png train/scratch/1.png train/dent/1.png");
    pictures(root, "test/good/3.png test/scratch/2.png test/scratch/3.png");
    masks(root, "ground_truth/scratch/2_mask.png ground_truth/scratch/3_mask.png", 255);
    let category = only(open(root, "folder"));
    assert_eq!(summary(&category), "train good 2, train -scratch 1, test good 1, test -scratch 2 (2 masks)");
    let problems = checked(&category).problems;
    assert!(
        problems.len() == 1 && problems[0].contains("train/dent: 1 picture of a class that test has not"),
        "{problems:?}"
    );
}

/// A category that lacks its test is one, and wrong.
#[test]
fn half_a_category() {
    let dir = folder();
    let root = dir.path();
    mvtec(&root.join("bottle"));
    pictures(root, "screw/train/good/1.png tile/test/good/1.png tile/test/hole/1.png");
    let dataset = open(root, "folder");
    assert_eq!(dataset.categories.iter().map(|c| c.name.as_str()).collect::<Vec<_>>(), ["bottle", "screw", "tile"]);
    let problems: Vec<String> = dataset.categories.iter().map(|c| checked(c).problems.join("\n")).collect();
    assert_eq!(problems[0], "");
    assert!(problems[1].contains("screw: there is no test in it"), "{problems:?}");
    assert!(problems[2].contains("tile: there is no train/good in it"), "{problems:?}");
}

/// One model may be trained on all categories.
#[test]
fn equal_pictures_of_two_categories() {
    let dir = folder();
    let root = dir.path();
    for object in ["bottle", "screw"] {
        let names = "train/good/1.png train/good/2.png test/good/3.png test/crack/4.png";
        pictures(root, &names.split(' ').map(|n| format!("{object}/{n} ")).collect::<String>());
    }
    let copy = |from: &str, to: &str| fs::copy(root.join(from), root.join(to)).unwrap();
    copy("bottle/train/good/1.png", "screw/test/good/5.png");
    copy("bottle/train/good/2.png", "screw/train/good/6.png");
    copy("bottle/test/crack/4.png", "screw/test/good/7.png");
    copy("screw/train/good/1.png", "screw/train/good/8.png");
    let Checked { categories, together } = check(&open(root, "folder").categories, &|| ());
    let own: Vec<(usize, usize)> = categories.iter().map(|r| (r.doubled.groups.len(), r.problems.len())).collect();
    assert_eq!(own, [(0, 0), (1, 0)]);
    assert_eq!((together.groups.len(), together.across), (3, 1));
    assert!(together.problems[0].contains("1 picture called normal and anomalous"), "{together:?}");
    assert!(together.problems[1].contains("1 picture in more than one split, by equal files: "), "{together:?}");
    assert!(together.problems[1].contains("bottle/train/good/1.png = ") && together.problems.len() == 2);
    assert!(together.remarks[0].contains("1 picture more than once in a split"), "{together:?}");
}
