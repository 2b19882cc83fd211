//! Datasets as their owners lay them out, made small: what each is taken for, and what is said of broken ones. Real excerpts
//! beside them, where there are any.

mod inside;
mod lost;
mod medical;
mod own;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use ckaad::data::layout::check::{Checked, Masks, Report, check};
use ckaad::data::layout::split::{Amount, Plan, csv, split};
use ckaad::data::layout::{Category, Dataset, LAYOUTS, Layout, Options, Split, TestSet};
use medical::ISIC;
use tempfile::TempDir;

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

/// Writes pictures of which no two are equal, in the formats of their names.
fn pictures(root: &Path, names: &str) {
    for name in names.split_whitespace() {
        let path = root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let seed = name.bytes().fold(7u32, |h, b| h.wrapping_mul(31).wrapping_add(b.into()));
        let pixel = |x, y| image::Rgb([(seed >> 16) as u8, (seed >> 8) as u8 ^ x as u8, seed as u8 ^ y as u8]);
        image::RgbImage::from_fn(8, 8, pixel).save(&path).unwrap();
    }
}

/// Writes masks of the size of pictures; `mark` in one pixel.
fn masks(root: &Path, names: &str, mark: u8) {
    for name in names.split_whitespace() {
        let path = root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let at = |x, y| image::Luma([if (x, y) == (3, 5) { mark } else { 0 }]);
        image::GrayImage::from_fn(8, 8, at).save(&path).unwrap();
    }
}

fn write(root: &Path, name: &str, text: &str) -> PathBuf {
    let path = root.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, text).unwrap();
    path
}

/// Names in a series, as `a/3.png`.
fn series(pattern: &str, numbers: impl IntoIterator<Item = usize>) -> String {
    numbers.into_iter().map(|i| pattern.replace('#', &i.to_string())).collect::<Vec<_>>().join(" ")
}

fn with_normal(classes: &[&str]) -> Options {
    Options { normal: classes.iter().map(|c| c.to_string()).collect() }
}

/// The dataset, which is recognised as `layout`.
#[track_caller]
fn open(root: &Path, layout: &str) -> Dataset {
    open_with(root, layout, &Options::default())
}

#[track_caller]
fn open_with(root: &Path, layout: &str, options: &Options) -> Dataset {
    let dataset = Dataset::open(root, None, options).unwrap();
    assert_eq!(dataset.layout.name, layout);
    dataset
}

fn error(root: &Path, options: &Options) -> String {
    Dataset::open(root, None, options).map(|d| d.layout.name).unwrap_err().to_string()
}

/// `train good 3, test -bad 1 of 2`: numbers of pictures by split and class, anomalous ones with a minus, and how many of
/// them have masks, where some do.
fn summary(category: &Category) -> String {
    let mut counts: BTreeMap<(Split, bool, &str), [usize; 2]> = BTreeMap::new();
    for (split, sample) in category.samples() {
        let count = counts.entry((split, sample.anomalous, &sample.kind)).or_default();
        count[0] += 1;
        count[1] += usize::from(!sample.masks.is_empty());
    }
    let one = |((split, anomalous, kind), [count, masks]): (&(Split, bool, &str), &[usize; 2])| {
        let minus = if *anomalous { "-" } else { "" };
        let masks = if *masks > 0 { format!(" ({masks} masks)") } else { String::new() };
        format!("{} {minus}{kind} {count}{masks}", split.name())
    };
    counts.iter().map(one).collect::<Vec<_>>().join(", ")
}

#[track_caller]
fn only(dataset: Dataset) -> Category {
    let [only] = dataset.categories.try_into().unwrap();
    only
}

fn checked(category: &Category) -> Report {
    let Checked { mut categories, together } = check(std::slice::from_ref(category), &|| ());
    assert!(together.groups.is_empty());
    categories.remove(0)
}

fn mvtec(root: &Path) {
    pictures(root, "train/good/000.png train/good/001.png test/good/002.png test/crack/000.png test/crack/001.png");
    masks(root, "ground_truth/crack/000_mask.png ground_truth/crack/001_mask.png", 255);
}

#[test]
fn mvtec_ad_as_a_whole_and_one_of_it() {
    let dir = folder();
    let root = dir.path();
    mvtec(&root.join("bottle"));
    mvtec(&root.join("screw"));
    pictures(root, "extra/1.png");
    fs::create_dir_all(root.join("empty/train/good")).unwrap();
    fs::create_dir_all(root.join("__MACOSX/train/good")).unwrap();
    fs::write(root.join("license.txt"), "CC").unwrap();
    let expected = "train good 2, test good 1, test -crack 2 (2 masks)";
    let dataset = open(root, "folder");
    let names: Vec<&str> = dataset.categories.iter().map(|c| c.name.as_str()).collect();
    assert_eq!(names, ["bottle", "screw"]);
    let screw = dataset.categories(&["screw".into()]).unwrap();
    assert_eq!((screw.len(), summary(&screw[0]).as_str()), (1, expected));
    assert_eq!(summary(&only(open(&root.join("screw"), "folder"))), expected);
    let notes = &open(root, "folder").categories[0].notes;
    assert_eq!(notes, &["no categories, as there are no pictures in train/good or test/good: empty, extra"]);
    assert_eq!(open(root, "folder").categories(&[]).unwrap().len(), 2);
    let unknown = |root: &Path| open(root, "folder").categories(&["nut".into()]).unwrap_err().to_string();
    assert!(unknown(root).contains("category nut is not in") && unknown(root).contains("holds bottle, screw"));
    assert!(unknown(&root.join("screw")).contains("is one category, without a name"));
    let report = checked(&open(root, "folder").categories[0]);
    assert_eq!((report.masks, report.problems), (Masks { found: 2, ..Masks::default() }, vec![]));
    // What is normal there is not for anybody to say.
    assert!(error(root, &with_normal(&["crack"])).contains("--normal-class: what is normal is fixed in layout folder"));
    for name in ["folder", "mvtec", "mpdd", "btad"] {
        assert_eq!(Layout::find(name).unwrap().name, "folder");
    }
    // MPDD calls several defects of one object by two words, and has as many normal pictures to test on as it likes.
    let mpdd = folder();
    let part = mpdd.path().join("MPDD/metal_plate");
    pictures(&part, "train/good/000.png test/good/000.png test/major_rust/000.png test/total_rust/000.png");
    masks(&part, "ground_truth/major_rust/000_mask.png ground_truth/total_rust/000_mask.png", 255);
    let found = only(
        Dataset::open(&mpdd.path().join("MPDD"), Some(Layout::find("mpdd").unwrap()), &Options::default()).unwrap(),
    );
    let expected = "train good 1, test good 1, test -major_rust 1 (1 masks), test -total_rust 1 (1 masks)";
    assert_eq!((found.name.as_str(), summary(&found).as_str()), ("metal_plate", expected));
    assert!(Layout::find("mvtec3").unwrap_err().to_string().contains("expected one of visa, csv, isic2018"));
}

/// The document's table has the layouts in the order in which they are tried.
#[test]
fn the_document_has_a_row_for_each_layout() {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/datasets.md")).unwrap();
    let rows = text.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    assert_eq!(rows.collect::<Vec<_>>(), LAYOUTS.iter().map(|l| l.name).collect::<Vec<_>>());
}

#[test]
fn btad() {
    let dir = folder();
    let root = dir.path().join("BTech_Dataset_transformed");
    pictures(
        &root,
        "01/train/ok/0000.bmp 01/test/ok/0001.bmp 01/test/ko/0000.bmp 02/train/ok/0000.png 02/test/ok/0001.png",
    );
    pictures(&root, "02/test/ko/0002.png");
    masks(&root, "01/ground_truth/ko/0000.png 02/ground_truth/ko/0002.png", 255);
    let dataset = open(&root, "folder");
    for category in &dataset.categories {
        assert_eq!(summary(category), "train ok 1, test ok 1, test -ko 1 (1 masks)", "{}", category.name);
    }
    assert_eq!(dataset.categories.len(), 2);
}

#[test]
fn mvtec_ad_2() {
    let dir = folder();
    let root = dir.path();
    for object in ["can", "vial"].map(|object| root.join(object)) {
        pictures(&object, "train/good/000_regular.png train/good/001_regular.png validation/good/000_regular.png");
        pictures(
            &object,
            "test_public/good/000_regular.png test_public/bad/000_regular.png test_public/bad/001_shift_1.png",
        );
        pictures(
            &object,
            "test_private/000_regular.png test_private_mixed/000_mixed.png test_private_mixed/001_mixed.png",
        );
        masks(&object, "test_public/ground_truth/bad/000_regular_mask.png", 255);
        masks(&object, "test_public/ground_truth/bad/001_shift_1_mask.png", 255);
    }
    let expected = "train good 2, validation good 1, test good 1, test -bad 2 (2 masks)";
    let dataset = open(root, "mvtec2");
    assert_eq!(dataset.categories.iter().map(summary).collect::<Vec<_>>(), [expected; 2]);
    let vial = only(open(&root.join("vial"), "mvtec2"));
    assert_eq!(summary(&vial), expected);
    let passed_over = vial.passed_over.to_string();
    assert_eq!(passed_over, "folder test_private (1 picture), folder test_private_mixed (2 pictures)");
    assert_eq!(checked(&vial).problems, [""; 0]);
}

#[test]
fn visa() {
    let dir = folder();
    let root = dir.path();
    let mut table = String::from("object,split,label,image,mask\n");
    for object in ["candle", "pcb1"] {
        let data = format!("{object}/Data");
        pictures(root, &series(&format!("{data}/Images/Normal/000#.JPG"), 0..3));
        pictures(root, &series(&format!("{data}/Images/Anomaly/00#.JPG"), 0..2));
        // The values of VisA's masks are numbers of defects.
        masks(root, &series(&format!("{data}/Masks/Anomaly/00#.png"), 0..2), 1);
        for (i, split) in ["train", "train", "test"].iter().enumerate() {
            table += &format!("{object},{split},normal,{data}/Images/Normal/000{i}.JPG,\n");
        }
        for i in 0..2 {
            table += &format!("{object},test,anomaly,{data}/Images/Anomaly/00{i}.JPG,{data}/Masks/Anomaly/00{i}.png\n");
        }
    }
    write(root, "split_csv/1cls.csv", &table);
    let expected = "train normal 2, test normal 1, test -anomaly 2 (2 masks)";
    let dataset = open(root, "visa");
    assert_eq!(dataset.categories.iter().map(|c| c.name.as_str()).collect::<Vec<_>>(), ["candle", "pcb1"]);
    let candle = dataset.categories(&["candle".into()]).unwrap().remove(0);
    assert_eq!(summary(&candle), expected);
    assert_eq!(checked(&candle).masks, Masks { found: 2, ..Masks::default() });
    let one = open(&root.join("pcb1"), "visa");
    assert_eq!(one.categories[0].name, "pcb1");
    assert_eq!(summary(&only(one)), expected);

    // The owners' other tables, by their names: an anomaly of each object is labelled.
    let two = table.replacen("candle,test,anomaly", "candle,train,anomaly", 1);
    let two = write(root, "split_csv/2cls_highshot.csv", &two.replacen("pcb1,test,anomaly", "pcb1,train,anomaly", 1));
    let expected = "train normal 2, train -anomaly 1 (1 masks), test normal 1, test -anomaly 1 (1 masks)";
    assert_eq!(open(&two, "visa").categories.iter().map(summary).collect::<Vec<_>>(), [expected; 2]);
    // Somebody's own there is like any other.
    let own = write(root, "split_csv/own.csv", "path,label\n../candle/Data/Images/Normal/0000.JPG,good\n");
    assert_eq!(summary(&only(open(&own, "csv"))), "train good 1");

    // Pictures of which the table says nothing.
    pictures(root, "candle/Data/Images/Normal/0007.JPG candle/Data/Images/Normal/0008.JPG");
    let [candle, pcb1] = open(root, "visa").categories.try_into().unwrap();
    assert!(candle.notes[0].starts_with("2 pictures below ") && candle.notes[0].ends_with("0007.JPG, for one"));
    assert_eq!(pcb1.notes, [""; 0]);

    // What an object lacks is told of it alone.
    fs::remove_file(root.join("candle/Data/Images/Normal/0001.JPG")).unwrap();
    fs::remove_dir_all(root.join("pcb1")).unwrap();
    let [candle, pcb1] = open(root, "visa").categories.try_into().unwrap();
    let problems = [&candle, &pcb1].map(|category| checked(category).problems);
    assert_eq!(problems[0].len(), 1, "{problems:?}");
    assert!(problems[0][0].contains("1cls.csv: line 3: there is no file") && problems[0][0].ends_with("0001.JPG"));
    assert_eq!(problems[1].len(), 2, "{problems:?}");
    assert!(
        problems[1][0].contains("no normal pictures to train on; left out: ") && !problems[1][0].contains("candle")
    );
    assert!(problems[1][1].contains("no pictures to test on; left out: "), "{problems:?}");
}

/// Records of CIFAR-10: red is the number of the record, green 100 more, blue the column.
fn batch(file: &Path, labels: &[u8]) {
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    let record = |(i, label): (usize, &u8)| {
        let planes = [vec![i as u8; 1024], vec![100 + i as u8; 1024], (0..1024).map(|p| (p % 32) as u8).collect()];
        [vec![*label], planes.concat()].concat()
    };
    fs::write(file, labels.iter().enumerate().flat_map(record).collect::<Vec<u8>>()).unwrap();
}

#[test]
fn cifar10_in_batches() {
    let dir = folder();
    let root = dir.path();
    let inside = root.join("cifar-10-batches-bin");
    for i in 1..=5 {
        batch(&inside.join(format!("data_batch_{i}.bin")), &[0, 3, 9]);
    }
    batch(&inside.join("test_batch.bin"), &[0, 0, 8]);
    fs::write(inside.join("batches.meta.txt"), "airplane\n").unwrap();
    let category = only(open(root, "cifar10"));
    assert_eq!(summary(&category), "train airplane 5, train -cat 5, train -truck 5, test airplane 2, test -ship 1");
    assert_eq!(summary(&only(open(&inside, "cifar10"))), summary(&category));
    let ship = only(open_with(root, "cifar10", &with_normal(&["ship", "cat"])));
    assert_eq!(summary(&ship), "train cat 5, train -airplane 5, train -truck 5, test ship 1, test -airplane 2");
    // The third record of the second batch.
    let truck = &category.train.as_ref().unwrap().anomalous[3];
    assert_eq!((truck.kind.as_str(), truck.path()), ("truck", inside.join("data_batch_2.bin#2").as_path()));
    let picture = truck.source.read().unwrap();
    assert_eq!((picture.width, picture.height), (32, 32));
    for (i, pixel) in picture.rgb.as_chunks::<3>().0.iter().enumerate() {
        assert_eq!(*pixel, [2, 102, (i % 32) as u8]);
    }
    // Records of one number are equal in these batches.
    assert_eq!(checked(&category).doubled.across, 3);

    batch(&inside.join("data_batch_3.bin"), &[0, 3]);
    fs::remove_file(inside.join("data_batch_5.bin")).unwrap();
    let category = only(open(root, "cifar10"));
    let here = "data_batch_1.bin 3, data_batch_2.bin 3, data_batch_3.bin 2, data_batch_4.bin 3, test_batch.bin 3";
    let problem = format!("a batch has 10000 records as published, here {here}: cut short?");
    assert!(category.problems.len() == 1 && category.problems[0].ends_with(&problem), "{:?}", category.problems);
    let left_out = category.train.unwrap().left_out;
    assert!(left_out.len() == 1 && left_out[0].contains("data_batch_5.bin: there is no such batch"), "{left_out:?}");
    let whole = fs::read(inside.join("data_batch_2.bin")).unwrap();
    fs::write(inside.join("data_batch_2.bin"), &whole[..whole.len() - 1]).unwrap();
    let error_of = || error(root, &Options::default());
    assert!(
        error_of().contains("data_batch_2.bin: 9218 bytes are no whole number of records of 3073"),
        "{}",
        error_of()
    );
    batch(&inside.join("data_batch_2.bin"), &[]);
    assert!(error_of().contains("data_batch_2.bin: is empty, expected records of 3073 bytes"), "{}", error_of());
    batch(&inside.join("data_batch_2.bin"), &[0, 3, 10]);
    assert!(error_of().contains("record 2 has class 10, expected 0 to 9"), "{}", error_of());
    batch(&inside.join("data_batch_2.bin"), &[0, 3, 9]);
    // The file shrinks once its records were counted.
    let last = only(open(root, "cifar10")).train.unwrap().anomalous;
    fs::write(inside.join("data_batch_2.bin"), &whole[..5000]).unwrap();
    let gone = last.iter().find(|s| s.path().ends_with("data_batch_2.bin#2")).unwrap();
    assert!(gone.source.read().unwrap_err().to_string().contains("data_batch_2.bin#2: "));
    fs::remove_file(inside.join("test_batch.bin")).unwrap();
    batch(&inside.join("data_batch_2.bin"), &[0]);
    let pickled = write(root, "py/data_batch_1", "").parent().unwrap().to_path_buf();
    assert!(error(&pickled, &Options::default()).contains("expected the binary one"));
    // A batch that is not there is told; the others are read.
    let category = only(open(root, "cifar10"));
    let why = category.test.unwrap_err().to_string();
    assert!(why.contains("no pictures to test on; left out: "), "{why}");
    let train = category.train.unwrap();
    let told = train.left_out.iter().any(|t| t.contains("test_batch.bin: there is no such batch"));
    assert!(told && !train.good.is_empty(), "{:?}", train.left_out);
}

#[test]
fn cifar10_in_folders() {
    let dir = folder();
    let names = "airplane automobile bird cat deer dog frog horse ship truck";
    for class in names.split(' ') {
        pictures(dir.path(), &format!("train/{class}/0001.png train/{class}/0002.png test/{class}/0001.png"));
    }
    let category = only(open_with(dir.path(), "cifar10", &with_normal(&["dog"])));
    let train = category.train.as_ref().unwrap();
    assert_eq!((train.good.len(), train.anomalous.len()), (2, 18));
    assert_eq!(category.test.as_ref().unwrap().images.iter().filter(|i| !i.anomalous).count(), 1);
    assert_eq!(only(open(dir.path(), "cifar10")).train.unwrap().good[0].kind, "airplane");
}

#[test]
fn kolektor() {
    let dir = folder();
    let root = dir.path().join("KolektorSDD");
    for item in 1..=10 {
        pictures(&root, &series(&format!("kos{item:02}/Part#.jpg"), 0..3));
        masks(&root, &series(&format!("kos{item:02}/Part#_label.bmp"), 0..2), 0);
        masks(&root, &format!("kos{item:02}/Part2_label.bmp"), 255);
    }
    let category = only(open(&root, "kolektor_sdd"));
    assert_eq!(
        summary(&category),
        "train good 16, train -anomalous 8 (8 masks), test good 4, test -anomalous 2 (2 masks)"
    );
    // No item is on both sides.
    let items = |category: &Category, split| {
        let of =
            category.samples().filter(move |(s, _)| *s == split).map(|(_, p)| p.path().parent().unwrap().to_path_buf());
        of.collect::<BTreeSet<_>>()
    };
    assert!(items(&category, Split::Train).is_disjoint(&items(&category, Split::Test)));
    // Nor are two of which one has a picture of the other; 9 items are left, and two of them are tested.
    let tested = items(&category, Split::Test);
    let [one, other] = [Split::Train, Split::Test].map(|split| items(&category, split).pop_first().unwrap());
    fs::copy(one.join("Part0.jpg"), other.join("Part1.jpg")).unwrap();
    let category = only(open(&root, "kolektor_sdd"));
    assert!(items(&category, Split::Train).is_disjoint(&items(&category, Split::Test)));
    assert_eq!(items(&category, Split::Train).contains(&one), items(&category, Split::Train).contains(&other));
    assert_eq!((tested.len(), checked(&category).doubled.across), (2, 0));

    let root = dir.path().join("KolektorSDD2");
    pictures(&root, "train/10000.png train/10001.png test/20000.png test/20001.png test/20002.png");
    masks(&root, "train/10000_GT.png test/20000_GT.png", 0);
    masks(&root, "train/10001_GT.png test/20001_GT.png", 255);
    let category = only(open(&root, "kolektor_sdd2"));
    let expected = "train good 1, train -anomalous 1 (1 masks), test good 1, test -anomalous 1 (1 masks)";
    assert_eq!(summary(&category), expected);
    assert!(category.test.unwrap().left_out[0].contains("20002.png: no mask beside it"));
}

#[test]
fn elpv() {
    let dir = folder();
    let root = dir.path();
    pictures(root, &series("images/cell000#.png", 1..10));
    pictures(root, "images/cell0011.png");
    let mut table = String::new();
    for i in 1..=5 {
        table += &format!("images/cell000{i}.png  0.0                mono\n");
    }
    table += "images/cell0006.png  0.3333333333333333 mono\nimages/cell0007.png  1.0  mono\nimages/cell0008.png  1.0  poly\n";
    table += "images/cell0009.png  many  poly\nimages/cell0099.png  1.0  poly\n";
    write(root, "labels.csv", &table);
    let category = only(open(root, "elpv"));
    // Of a class of one, nothing can be kept for testing.
    let expected = "train functional 4, train -defective_mono 1, train -defective_poly 1, test functional 1";
    assert_eq!(summary(&category), expected);
    assert!(category.notes[0].contains("1 cell of which the experts were not sure"), "{:?}", category.notes);
    assert!(category.notes.iter().any(|n| n.starts_with("1 picture below ") && n.contains("cell0011.png")));
    let left_out = category.train.unwrap().left_out.join("\n");
    assert!(
        left_out.contains("line 9: expected a probability") && left_out.contains("line 10: there is no file"),
        "{left_out}"
    );

    // As the repository has it.
    let repository = folder();
    let inside = repository.path().join("src/elpv_dataset/data");
    pictures(&inside, "images/cell0001.png images/cell0002.png");
    write(&inside, "labels.csv", "images/cell0001.png 0.0 mono\nimages/cell0002.png 0.0 mono\n");
    write(repository.path(), "README.md", "ELPV");
    assert_eq!(summary(&only(open(repository.path(), "elpv"))), "train functional 1, test functional 1");
}

#[test]
fn any_folders_by_class() {
    let dir = folder();
    let root = dir.path();
    pictures(root, &series("photos/OK/#.png", 0..5));
    pictures(root, &series("photos/rust/#.png", 0..5));
    masks(root, "photos/ground_truth/rust/0.png", 1);
    fs::create_dir_all(root.join("photos/dent")).unwrap();
    let category = only(open(&root.join("photos"), "classes"));
    assert_eq!(summary(&category), "train OK 4, train -rust 4, test OK 1, test -rust 1");
    let train = category.train.unwrap();
    assert!(train.left_out[0].contains("dent: no pictures") && train.passed_over.to_string().contains("ground_truth"));

    pictures(root, "split/train/a/1.png split/train/b/1.png split/valid/a/1.png split/test/a/2.png split/test/b/2.png");
    let split = root.join("split");
    assert!(error(&split, &Options::default()).contains("which of its classes are normal? --normal-class one of a, b"));
    let category = only(open_with(&split, "classes", &with_normal(&["b"])));
    assert_eq!(summary(&category), "train b 1, train -a 1, validation -a 1, test b 1, test -a 1");
}

/// A real excerpt, if it is there.
fn excerpt(name: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data").join(name);
    if !path.is_dir() {
        eprintln!("SKIPPED: {} is not there", path.display());
        return None;
    }
    Some(path)
}

#[test]
fn real_excerpts() {
    if let Some(root) = excerpt("mvtec") {
        let dataset = open(&root, "folder");
        assert_eq!(dataset.categories.iter().map(|c| c.name.as_str()).collect::<Vec<_>>(), ["screw"]);
        let expected = "train good 320, test good 41, test -manipulated_front 24 (24 masks), test -scratch_head 24 (24 masks), \
                        test -scratch_neck 25 (25 masks), test -thread_side 23 (23 masks), test -thread_top 23 (23 masks)";
        assert_eq!(summary(&only(dataset)), expected);
    }
    if let Some(root) = excerpt("magnetic_tile") {
        let expected = "train good 752, train -anomalous 39, test good 200, test -blowhole 102 (102 masks), \
                        test -break 72 (72 masks), test -crack 44 (44 masks), test -fray 32 (32 masks), test -uneven 99 (99 masks)";
        assert_eq!(summary(&only(open(&root, "folder"))), expected);
    }
    if let Some(root) = excerpt("hazelnut") {
        let category = only(open(&root, "folder"));
        assert_eq!(summary(&category), "train good 28, test good 6, test -colour 17 (17 masks)");
        assert_eq!(checked(&category).masks, Masks { found: 17, ..Masks::default() });
    }
    if let Some(root) = excerpt("brain_mri") {
        let category = only(open(&root, "br35h"));
        assert_eq!(summary(&category), "train no 70, train -yes 113, test no 17, test -yes 28");
        // Its makers removed what was there twice.
        let report = checked(&category);
        assert_eq!((report.doubled.groups.len(), report.problems), (0, vec![]));
    }
}
