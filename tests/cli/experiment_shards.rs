//! `ckaad experiment --shard` and `--merge`: what shards make is what one run makes, and what they do not make is named.

use crate::experiment::{args, auroc, copy, file, of_data, results};
use crate::support::*;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const GRID: &str = "strategy = [\"recon\", \"ckapatch\"]\nratio = [\"all\"]\nseeds = [1, 2]";

fn experiment(file: &Path, out: &Path, more: &[&str]) -> Run {
    ckaad(&[&args(file, out)[..], more].concat())
}

fn shard(file: &Path, out: &Path, shard: &str) -> Run {
    experiment(file, out, &["--shard", shard])
}

fn text_of(out: &Path) -> String {
    fs::read_to_string(out.join("results.jsonl")).unwrap()
}

/// The bytes of a file of results without its times and threads.
fn untimed(out: &Path) -> String {
    let line = |line: &str| {
        let (before, rest) = line.split_once("\"seconds\":").unwrap();
        let (_, after) = rest.split_once("\"results\":").unwrap();
        format!("{before}{after}\n")
    };
    text_of(out).lines().map(line).collect()
}

/// The page without the command line.
fn page(out: &Path) -> String {
    let page = fs::read_to_string(out.join("table.html")).unwrap();
    let (before, rest) = page.split_once("<h2>What was run</h2>").unwrap();
    before.to_string() + rest.split_once("</pre>").unwrap().1
}

fn table(out: &Path) -> String {
    fs::read_to_string(out.join("table.md")).unwrap()
}

/// Changes lines of a folder's results.
fn change(out: &Path, change: impl Fn(&mut Value)) {
    let mut lines = results(out);
    lines.iter_mut().for_each(change);
    fs::write(out.join("results.jsonl"), lines.iter().map(|l| format!("{l}\n")).collect::<String>()).unwrap();
}

/// Two categories of one epoch: 8 cells.
fn two_categories(folder: &Path) -> PathBuf {
    let file = file(folder, GRID, 1);
    for category in ["bolt", "cloth"] {
        copy(full(), &folder.join("data").join(category));
    }
    of_data(&file, &folder.join("data"));
    file
}

#[test]
fn shards_make_what_one_run_makes() {
    let dir = folder();
    let (whole, out) = (dir.path().join("whole"), dir.path().join("out"));
    let file = two_categories(dir.path());
    let listed = |more: &[&str]| experiment(&file, &out, &[&["--list"], more].concat()).ok().out;
    let all = listed(&[]);
    let lists = ["1/3", "2/3", "3/3"].map(|shard| listed(&["--shard", shard]));
    let parts: Vec<&str> = lists.iter().flat_map(|list| list.lines()).collect();
    assert_eq!(
        (parts.len(), parts.iter().collect::<BTreeSet<_>>()),
        (8, all.lines().collect::<Vec<_>>().iter().collect())
    );
    // ckapatch takes twice the steps of recon: 4 of 2 and 4 of 1 are 12, so 4 for each.
    for list in &lists {
        assert_eq!(2 * list.matches("ckapatch").count() + list.matches("recon").count(), 4, "{lists:?}");
    }

    let run = experiment(&file, &whole, &[]).ok();
    // Two at the same time, in a folder that neither finds there.
    let start = |shard: &str| command(&[&args(&file, &out)[..], &["--shard", shard]].concat()).spawn().unwrap();
    let both = ["1/3", "2/3"].map(start);
    for child in both {
        let ended = child.wait_with_output().unwrap();
        assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    }
    let third = shard(&file, &out, "3/3").ok();
    assert!(
        third.err.contains(&format!("ckaad: shard 3 of 3 has {} of 8 cells", lists[2].lines().count())),
        "{third:?}"
    );
    for (number, list) in (1..).zip(&lists) {
        assert_eq!(*list, listed(&["--shard", &format!("{number}/3")]), "whatever has results");
        let own = out.join(format!("shard-{number}-of-3"));
        assert_eq!(results(&own).len(), list.lines().count());
        let says = format!("Shard {number} of 3: what the other shards make is missing here.");
        assert!(table(&own).contains(&says) && page(&own).contains(&says), "{}", table(&own));
        let missing = format!("Missing: {} of 8 results", 8 - list.lines().count());
        assert!(table(&own).contains(&missing), "a part is no whole: {}", table(&own));
    }
    assert!(!out.join("results.jsonl").exists());

    let is_whole = |out: &Path, merged: &Run| {
        assert_eq!(untimed(out), untimed(&whole));
        assert_eq!((merged.out.as_str(), table(out)), (run.out.as_str(), table(&whole)));
        assert_eq!(page(out), page(&whole));
    };
    let merged = experiment(&file, &out, &["--merge"]).ok();
    assert!(
        merged.err.contains("ckaad: 8 of 8 cells have results, from 3 files; 0 there more than once, 0"),
        "{merged:?}"
    );
    is_whole(&out, &merged);
    // What is merged is none of the shards', and stays as it is.
    let before = text_of(&out);
    let again = experiment(&file, &out, &["--merge"]).ok();
    assert_eq!((again.err, text_of(&out)), (merged.err, before));
    // A whole run finds all done.
    assert!(!experiment(&file, &out, &[]).ok().err.contains("image AUROC"));

    // Without a shared disk: copied together, by folder, by shard and by file, one of them named twice.
    let gathered = dir.path().join("gathered");
    copy(&out.join("shard-1-of-3"), &gathered.join("node1/shard-1-of-3"));
    copy(&out.join("shard-2-of-3"), &gathered.join("shard-2-of-3"));
    fs::copy(out.join("shard-3-of-3/results.jsonl"), gathered.join("third.jsonl")).unwrap();
    let places = ["node1", "shard-2-of-3", "third.jsonl", "node1/shard-1-of-3"].map(|p| gathered.join(p));
    let more: Vec<&str> = std::iter::once("--merge").chain(places.iter().map(|p| text(p))).collect();
    let other = dir.path().join("other");
    let merged = experiment(&file, &other, &more).ok();
    assert!(merged.err.contains("from 3 files; 0 there more than once"), "{merged:?}");
    is_whole(&other, &merged);
    // In a new folder, which nothing marks as ours but what lies in it.
    let fresh = dir.path().join("fresh");
    for name in ["shard-1-of-3", "shard-2-of-3", "shard-3-of-3"] {
        copy(&out.join(name), &fresh.join(name));
    }
    is_whole(&fresh, &experiment(&file, &fresh, &["--merge"]).ok());
    let json = experiment(&file, &other, &["--merge", text(&out), "--format", "json"]).ok();
    assert_eq!(json.json(), results(&other));
}

/// What has no result is named with its shard, and is there once that has run.
#[test]
fn what_is_missing_is_named() {
    let dir = folder();
    let out = dir.path().join("out");
    let file = file(dir.path(), GRID, 1);
    shard(&file, &out, "1/3").ok();
    shard(&file, &out, "3/3").ok();
    // As a shard leaves it that was killed early.
    fs::create_dir(out.join("shard-2-of-3")).unwrap();
    fs::write(out.join("shard-2-of-3/.ckaad-output"), "").unwrap();
    let gone = experiment(&file, &out, &["--list", "--shard", "2/3"]).ok().out;
    let lacking = gone.lines().count();
    assert!((1..4).contains(&lacking), "{gone}");
    let merged = experiment(&file, &out, &["--merge"]);
    let error = format!("{lacking} of 4 cells without a result: start --shard 2/3 again, then merge again");
    let merged = merged.fails(2, &["shard-2-of-3: no results there", &error]);
    let named: Vec<&str> = merged.err.lines().filter_map(|l| l.strip_suffix(": no result (--shard 2/3)")).collect();
    assert_eq!(named, gone.lines().collect::<Vec<_>>());
    assert!(
        merged.out.contains(&format!("Missing: {lacking} of 4 results")) && merged.out == table(&out),
        "{merged:?}"
    );
    assert_eq!(results(&out).len(), 4 - lacking);
    shard(&file, &out, "2/3").ok();
    experiment(&file, &out, &["--merge"]).ok();
    assert_eq!(results(&out).len(), 4);

    // Of another split nothing was asked, and either would do; files whose folder says nothing leave it open.
    fs::remove_dir_all(out.join("shard-2-of-3")).unwrap();
    shard(&file, &out, "1/4").ok();
    let other = dir.path().join("other");
    let merged =
        experiment(&file, &other, &["--merge", text(&out.join("shard-3-of-3")), text(&out.join("shard-1-of-4"))]);
    let merged = merged.fails(2, &["without a result"]);
    assert!(merged.err.contains("/3 or --shard ") && !merged.err.contains("again"), "{merged:?}");
    let plain = dir.path().join("plain.jsonl");
    fs::copy(out.join("shard-1-of-3/results.jsonl"), &plain).unwrap();
    let merged =
        experiment(&file, &dir.path().join("third"), &["--merge", text(&plain)]).fails(2, &["without a result"]);
    assert!(merged.err.contains("seed 2: no result\n") && !merged.err.contains("--shard"), "{merged:?}");
}

/// More shards than cells: the last ones have none, and that is no failure.
#[test]
fn a_shard_may_have_no_cells() {
    let dir = folder();
    let out = dir.path().join("out");
    let file = file(dir.path(), "strategy = [\"recon\"]\nseeds = [1, 2]", 1);
    for number in 1..=4 {
        let run = shard(&file, &out, &format!("{number}/4")).ok();
        let has = if number <= 2 { 1 } else { 0 };
        assert!(run.err.contains(&format!("shard {number} of 4 has {has} of 2 cells")), "{run:?}");
    }
    let merged = experiment(&file, &out, &["--merge"]).ok();
    assert!(merged.err.contains("shard-4-of-4: no results there"), "{merged:?}");
    assert_eq!(results(&out).len(), 2);
    // Far more than anybody has.
    shard(&file, &dir.path().join("many"), &format!("{0}/{0}", usize::MAX)).ok();
}

/// A cell has one result: equal ones are counted, different ones are refused with both files, and neither what is there nor what is
/// merged is lost.
#[test]
fn results_that_are_there_twice() {
    let dir = folder();
    let (out, copied) = (dir.path().join("out"), dir.path().join("copied"));
    let file = file(dir.path(), GRID, 1);
    shard(&file, &out, "1/2").ok();
    shard(&file, &out, "2/2").ok();
    copy(&out.join("shard-1-of-2"), &copied);
    let (first, second) = (out.join("shard-1-of-2"), out.join("shard-2-of-2"));
    // That it took another time on other threads is no difference.
    change(&copied, |line| (line["seconds"], line["threads"]) = (77.5.into(), 64.into()));
    let merge = |places: &[&Path]| {
        let more: Vec<&str> = std::iter::once("--merge").chain(places.iter().map(|p| text(p))).collect();
        experiment(&file, &out, &more)
    };
    let merged = merge(&[&first, &second, &copied]).ok();
    let twice = results(&copied).len();
    assert!(merged.err.contains(&format!("from 3 files; {twice} there more than once")), "{merged:?}");
    let both = format!("the same result in {} and in {}", text(&first), text(&copied));
    assert_eq!(merged.err.replace("/results.jsonl", "").matches(&both).count(), twice, "{merged:?}");
    let before = text_of(&out);
    change(&copied, |line| line["results"][0]["metrics"]["image_auroc"] = 0.125.into());
    let merged = merge(&[&first, &second, &copied]);
    let files = [&out, &copied].map(|f| f.join("results.jsonl"));
    let files = format!("different results in {} and in {}", text(&files[0]), text(&files[1]));
    let merged = merged.fails(2, &[&files, &format!("{twice} cells with different results, so nothing is merged")]);
    assert_eq!(merged.err.matches("different results in").count(), twice);
    assert_eq!((text_of(&out), merged.out.as_str()), (before, ""));

    // Into a folder of its own, where the two shards' own files are what differs.
    let other = dir.path().join("other");
    let merged = experiment(&file, &other, &["--merge", text(&first), text(&second), text(&copied)]);
    let files = [&first, &copied].map(|f| f.join("results.jsonl"));
    merged.fails(2, &[&format!("different results in {} and in {}", text(&files[0]), text(&files[1]))]);
    assert!(!other.join("results.jsonl").exists());
}

/// Each result that is none of the grid's is named with what it is of; those in --out stay there.
#[test]
fn results_of_other_things_are_passed_over() {
    let dir = folder();
    let (out, data) = (dir.path().join("out"), dir.path().join("data"));
    copy(full(), &data);
    let file = file(dir.path(), "strategy = [\"recon\"]\nseeds = [1, 2]", 1);
    of_data(&file, &data);
    experiment(&file, &out, &[]).ok();
    let old = text_of(&out);
    // A run of other settings of one shard.
    let grid = fs::read_to_string(&file).unwrap();
    fs::write(&file, grid.replace("epochs = 1", "epochs = 2")).unwrap();
    shard(&file, &out, "1/2").ok();
    fs::write(&file, &grid).unwrap();
    shard(&file, &out, "2/2").ok();
    let fresh = dir.path().join("fresh");
    let settings = |seed| format!("passed over: fabric, recon, instance, 0 labelled, seed {seed}: of other settings");
    let shards = [1, 2].map(|number| out.join(format!("shard-{number}-of-2")));
    let shards = ["--merge", text(&shards[0]), text(&shards[1])];
    let merged = experiment(&file, &fresh, &shards);
    let merged =
        merged.fails(2, &[&settings(1), "1 of 2 cells without a result", "1 of 2 cells have results, from 2 files"]);
    assert!(
        merged.err.contains("1 result passed over") && merged.err.contains("seed 1: no result (--shard 1/2)"),
        "{merged:?}"
    );

    // Other contents under the same name, other weights, another seed.
    let lines = results(&fresh);
    write_png(&data.join("test/good/000.png"), 64, 64, |x, y| [x as u8, y as u8, 9]);
    let merged = experiment(&file, &fresh, &shards).fails(2, &["seed 2: of other pictures", "2 of 2 cells without"]);
    // --out had it as well, where it stays.
    assert!(merged.err.contains("3 results passed over"), "{merged:?}");
    assert_eq!(results(&fresh), lines);
    fs::copy(full().join("test/good/000.png"), data.join("test/good/000.png")).unwrap();
    let formula = ["experiment", text(&file), "--out", text(&fresh), "--weights", "formula"];
    ckaad(&[&formula[..], &shards].concat()).fails(2, &["seed 2: of other weights", "2 of 2 cells without"]);
    fs::write(&file, grid.replace("seeds = [1, 2]", "seeds = [3, 2]")).unwrap();
    experiment(&file, &out, &["--merge"]).fails(2, &["seed 1: no cell of this grid", "seed 3: no result"]);
    let kept = results(&out);
    let old: Vec<Value> = old.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(kept, old, "seed 1 first, which is another grid's, then what is this one's");
}

/// Who merges needs no GPU: the device is that of the results, whichever of a machine's GPUs it was.
#[test]
fn the_device_is_that_of_the_results() {
    let dir = folder();
    let out = dir.path().join("out");
    let file = file(dir.path(), "strategy = [\"recon\"]\nseeds = [1, 2]", 1);
    let shards = [1, 2].map(|number| {
        shard(&file, &out, &format!("{number}/2")).ok();
        out.join(format!("shard-{number}-of-2"))
    });
    let of = |at: usize, device: &str| change(&shards[at], |line| line["inputs"]["device"] = device.into());
    let merge = |more: &[&str]| {
        let args = ["experiment", text(&file), "--out", text(&out), "--weights", "random", "--merge"];
        ckaad(&[&args[..], more].concat())
    };
    of(0, "cuda:0 in tf32");
    of(1, "cuda:7 in tf32");
    merge(&[]).ok();
    assert_eq!(results(&out).len(), 2);
    fs::remove_file(out.join("results.jsonl")).unwrap();
    of(0, "cpu in f32");
    let both = "different devices (1 of cpu in f32, 1 of cuda in tf32); say with --device and --precision";
    merge(&[]).fails(2, &[both]);
    assert!(!out.join("results.jsonl").exists());
    let merged = merge(&["--device", "cuda:3"]).fails(2, &["1 of 2 cells without a result"]);
    assert!(merged.err.contains("seed 1: made on another device, cpu in f32"), "{merged:?}");
    fs::remove_file(out.join("results.jsonl")).unwrap();
    merge(&["--precision", "f32"]).fails(2, &["seed 2: made on another device, cuda in tf32"]);
}

/// What results are of cannot be told without their dataset.
#[test]
fn a_dataset_that_is_not_there_is_not_complete() {
    let dir = folder();
    let (out, data) = (dir.path().join("out"), dir.path().join("more"));
    copy(full(), &data);
    let file = file(dir.path(), "strategy = [\"recon\"]\nseeds = [1]", 1);
    let grid = fs::read_to_string(&file).unwrap();
    let more = format!("[[dataset]]\nname = \"more\"\npath = '{}'\n[[printed]]", data.display());
    fs::write(&file, grid.replace("[[printed]]", &more)).unwrap();
    shard(&file, &out, "1/1").ok();
    fs::rename(&data, dir.path().join("moved")).unwrap();
    let merged = experiment(&file, &out, &["--merge"]);
    merged.fails(
        2,
        &["more, recon", "its dataset is not there", "error: 1 result of datasets that are not below --root"],
    );
    // It was passed over, and is where it was.
    fs::rename(dir.path().join("moved"), &data).unwrap();
    experiment(&file, &out, &["--merge"]).ok();
    assert_eq!(results(&out).len(), 2);
}

/// A shard killed in the middle of a cell goes on in it, also while another one works beside it; the same one twice is refused.
#[test]
fn a_killed_shard_goes_on() {
    let dir = folder();
    let (whole, out) = (dir.path().join("whole"), dir.path().join("out"));
    let file = file(dir.path(), "strategy = [\"ckapatch\"]\nseeds = [3, 4]", 30);
    let mut child = command(&[&args(&file, &out)[..], &["--shard", "1/2"]].concat()).spawn().unwrap();
    let first = out.join("shard-1-of-2");
    let checkpoint = || {
        let cells = fs::read_dir(first.join("cells")).ok()?;
        cells.flatten().map(|f| f.path()).find(|p| text(p).ends_with(".checkpoint.safetensors"))
    };
    let started = Instant::now();
    while checkpoint().is_none() && started.elapsed() < Duration::from_secs(120) {
        std::thread::sleep(Duration::from_millis(5));
    }
    let mark = || fs::File::open(first.join(".ckaad-output")).unwrap();
    let is_held = matches!(mark().try_lock(), Err(fs::TryLockError::WouldBlock));
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(is_held, "a run has its folder for itself");
    let held = mark();
    held.lock().unwrap();
    shard(&file, &out, "1/2").fails(2, &["shard-1-of-2: another run writes into it; wait for it"]);
    drop(held);
    let behind = checkpoint().expect("killed in the middle of the cell");
    assert!(!first.join("results.jsonl").exists(), "killed in the middle of the cell");
    shard(&file, &out, "2/2").ok();
    assert_eq!(checkpoint().as_ref(), Some(&behind), "no matter of the other shard");
    let merged = experiment(&file, &out, &["--merge"]);
    merged.fails(2, &["seed 3: no result (--shard 1/2)", "1 of 2 cells without a result"]);
    // As if that part had taken longer than any test does.
    rewrite(&behind, |_| true, |m| drop(m.insert("train.seconds".into(), "1e6".into())));
    shard(&file, &out, "1/2").ok();
    assert!(results(&first)[0]["seconds"].as_f64().unwrap() > 1e6, "the time of both parts");
    experiment(&file, &out, &["--merge"]).ok();
    experiment(&file, &whole, &[]).ok();
    assert_eq!(untimed(&out), untimed(&whole));
}

#[test]
fn shards_and_merges_of_nothing() {
    let dir = folder();
    let out = dir.path().join("out");
    let file = file(dir.path(), "strategy = [\"recon\"]\nseeds = [1, 2]", 1);
    for (given, words) in [
        ("0/3", "shards are counted from 1: expected 1/3 to 3/3"),
        ("4/3", "shards are counted from 1: expected 1/3 to 3/3"),
        ("1/0", "there are no shards; expected I/N with N at least 1"),
        ("a/b", "expected I/N in whole numbers, as 2/8 for the second of eight"),
        ("2", "expected I/N in whole numbers"),
        ("1/2/3", "expected I/N in whole numbers"),
        ("-1/2", "expected I/N in whole numbers"),
        ("", "expected I/N in whole numbers"),
        ("1/99999999999999999999", "expected I/N in whole numbers"),
    ] {
        let given = format!("--shard={given}");
        experiment(&file, &out, &[&given]).fails(2, &["--shard", words]);
    }
    shard(&file, &out, "1/2").ok();
    for other in [&["--shard", "1/2"][..], &["--list"], &["--jobs", "2"], &["--keep-models"]] {
        experiment(&file, &out, &[&["--merge"], other].concat()).fails(2, &["--merge", other[0]]);
    }
    let nowhere = dir.path().join("nowhere");
    let merge = |out: &Path, place: &Path, words: &[&str]| {
        experiment(&file, out, &["--merge", text(place)]).fails(2, words);
        assert!(!nowhere.exists(), "nothing is made of nothing");
    };
    experiment(&file, &nowhere, &["--merge"]).fails(2, &["nowhere", "expected a folder that `ckaad experiment` wrote"]);
    merge(&out, &nowhere, &["nowhere", "expected a folder that `ckaad experiment` wrote"]);
    let empty = dir.path().join("empty");
    fs::create_dir(&empty).unwrap();
    merge(&nowhere, &empty, &["empty: no results there", "error: --merge: nothing to merge; expected folders"]);

    // Cut off in the middle of its last line, as a copy may be; of something else; no text.
    let spoilt = dir.path().join("shard-1-of-2/results.jsonl");
    fs::create_dir(spoilt.parent().unwrap()).unwrap();
    let line = text_of(&out.join("shard-1-of-2"));
    for (bytes, words) in [
        (format!("{line}{}", &line[..line.len() / 2]).into_bytes(), "line 2 is no result of a cell (EOF while parsing"),
        (b"{\"epoch\": 1}\n".to_vec(), "line 1 is no result of a cell (missing field"),
        (b"# A table\n".to_vec(), "line 1 is no result of a cell (expected value"),
        (vec![0xff, 0xfe, 0], "expected results of `ckaad experiment`, a line per cell"),
    ] {
        fs::write(&spoilt, &bytes).unwrap();
        merge(&nowhere, spoilt.parent().unwrap(), &["shard-1-of-2/results.jsonl", words]);
        assert_eq!(fs::read(&spoilt).unwrap(), bytes);
    }
    // The folder of a run that is somebody else's is not written into.
    let theirs = dir.path().join("theirs");
    fs::create_dir(&theirs).unwrap();
    fs::write(theirs.join("results.jsonl"), "mine\n").unwrap();
    shard(&file, &theirs, "1/2").fails(2, &["--out", "theirs: holds files that ckaad did not write"]);
    merge(&theirs, &out, &["--out", "theirs: holds files that ckaad did not write"]);
    assert_eq!(fs::read_to_string(theirs.join("results.jsonl")).unwrap(), "mine\n");
    assert!(auroc(&results(&out.join("shard-1-of-2"))[0]).is_finite());
}
