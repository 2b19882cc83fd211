//! `ckaad watch`: pictures that come in every way, once each, also when the process is killed between.

use crate::support::*;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A folder to watch with what belongs to it.
struct Watched {
    dir: TempDir,
}

impl Watched {
    fn new() -> Self {
        let dir = folder();
        fs::create_dir(dir.path().join("in")).unwrap();
        Watched { dir }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// `good`, `bad` and so on stand for folders beside the one that is watched.
    fn command(&self, flags: &str) -> Command {
        let (input, out) = (self.at("in"), self.at("lines.jsonl"));
        let mut args: Vec<String> = [
            "watch",
            "--model",
            text(model()),
            "--device",
            "cpu",
            "--settle",
            "0.1",
            "--out",
            text(&out),
            text(&input),
        ]
        .map(String::from)
        .into();
        let own = |flag: &str| if flag.starts_with("./") { text(&self.at(flag)).to_string() } else { flag.into() };
        args.extend(flags.split_whitespace().map(own));
        command(&args.iter().map(String::as_str).collect::<Vec<_>>())
    }

    fn once(&self, flags: &str) -> Run {
        run(self.command(&format!("--once {flags}")))
    }

    fn lines(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.at("lines.jsonl")).unwrap_or_default();
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole.lines().map(|l| serde_json::from_str(l).unwrap_or_else(|e| panic!("{e}: {l}"))).collect()
    }

    /// Waits until there are so many lines.
    #[track_caller]
    fn wait(&self, count: usize) -> Vec<Value> {
        let begun = Instant::now();
        loop {
            let lines = self.lines();
            assert!(begun.elapsed() < Duration::from_secs(30), "{count} lines never came: {lines:?}");
            if lines.len() >= count {
                return lines;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Names of the files in a folder beside.
    fn names(&self, folder: &str) -> BTreeSet<String> {
        let entries = fs::read_dir(self.at(folder)).into_iter().flatten();
        entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect()
    }
}

fn signal(child: &Child, name: &str) {
    let kill = format!("kill -{name} {}", child.id());
    assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
}

#[track_caller]
fn ends(child: Child, with: &str, code: i32) -> Run {
    signal(&child, with);
    let out = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let run = Run { code: out.status.code(), out: text(out.stdout), err: text(out.stderr) };
    assert_eq!(run.code, Some(code), "{run:?}");
    run
}

/// Different pictures, as the bytes of PNG files.
fn picture(number: u32) -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    let pixel =
        |x: u32, y: u32| image::Rgb([x * (number % 7), y * (number % 5), number * 3 + x * y / 9].map(|v| v as u8));
    image::RgbImage::from_fn(40, 40, pixel).write_to(&mut bytes, image::ImageFormat::Png).unwrap();
    bytes.into_inner()
}

/// What `ckaad score` says of files, by their names.
fn scored(folder: &Path, flags: &[&str]) -> BTreeMap<String, Value> {
    let args = ["score", "--model", text(model()), "--device", "cpu", "--format", "json", text(folder)];
    let run = ckaad(&[&args, flags].concat());
    let of = |v: Value| (Path::new(v["path"].as_str().unwrap()).file_name().unwrap().to_str().unwrap().to_string(), v);
    run.json().into_iter().map(of).collect()
}

/// Every name has one line, which is `ckaad score`'s but for what only one of them says.
#[track_caller]
fn same_as_score(lines: &[Value], expected: &BTreeMap<String, Value>) {
    let found: BTreeMap<&str, &Value> = lines.iter().map(|l| (l["name"].as_str().unwrap(), l)).collect();
    assert_eq!(found.len(), lines.len(), "a picture has several lines: {lines:?}");
    assert_eq!(found.keys().copied().collect::<Vec<_>>(), expected.keys().map(String::as_str).collect::<Vec<_>>());
    for (name, line) in found {
        for key in ["score", "score_normalized", "threshold", "anomalous", "regions"] {
            assert_eq!(line[key], expected[name][key], "{name}: {key}");
        }
        assert!(line["score"].is_f64(), "{line}");
    }
}

/// Pictures that were there, that are written in pieces, renamed into place, linked, and what is none.
fn every_way(flags: &str) {
    let w = Watched::new();
    let input = w.at("in");
    fs::write(input.join("early-1.png"), picture(1)).unwrap();
    fs::write(input.join("early-2.png"), picture(2)).unwrap();
    let child = w.command(flags).spawn().unwrap();
    w.wait(2);
    // In pieces, with a pause longer than what makes a file count as written where nobody tells of its end.
    use std::io::Write;
    let (bytes, slow) = (picture(3), input.join("slow.png"));
    let mut file = fs::File::create(&slow).unwrap();
    for piece in bytes.chunks(bytes.len() / 2 + 1) {
        file.write_all(piece).unwrap();
        file.sync_all().unwrap();
        std::thread::sleep(Duration::from_millis(250));
    }
    drop(file);
    for (temporary, number) in [("renamed.png.part", 4), (".renamed.png", 5), ("renamed.png~", 6)] {
        let temporary = input.join(temporary);
        fs::write(&temporary, picture(number)).unwrap();
        std::thread::sleep(Duration::from_millis(150));
        fs::rename(temporary, input.join(format!("renamed-{number}.png"))).unwrap();
    }
    fs::write(w.at("elsewhere.png"), picture(7)).unwrap();
    fs::hard_link(w.at("elsewhere.png"), input.join("linked.png")).unwrap();
    fs::write(input.join("notes.txt"), "no picture").unwrap();
    fs::create_dir(input.join("folder.png")).unwrap();
    assert!(Command::new("mkfifo").arg(input.join("pipe.png")).status().unwrap().success());
    let lines = w.wait(7);
    // A date of its own makes it another picture; so does another content.
    fs::write(&slow, picture(8)).unwrap();
    let again = w.wait(8);
    let run = ends(child, "TERM", 0);
    assert!(run.err.contains("8 scored") && run.out.is_empty(), "{run:?}");
    fs::write(&slow, &bytes).unwrap();
    fs::remove_file(input.join("pipe.png")).unwrap();
    let expected = scored(&input, &[]);
    same_as_score(&lines, &expected);
    assert_eq!(lines[0]["path"], expected["early-1.png"]["path"]);
    assert!(again[7]["name"] == "slow.png" && again[7]["score"] != expected["slow.png"]["score"]);
}

#[test]
fn every_way_of_writing_is_one_line() {
    every_way("");
}

#[test]
fn every_way_of_writing_is_one_line_by_polling() {
    every_way("--poll 0.1 --batch-size 1");
}

/// Killed 24 times while pictures come: each has its line, and is in one place.
#[test]
fn killed_again_and_again() {
    const PICTURES: u32 = 120;
    let w = Watched::new();
    let input = w.at("in");
    let middle = {
        fs::create_dir(w.at("some")).unwrap();
        (0..9).for_each(|i| fs::write(w.at("some").join(format!("{i}.png")), picture(i)).unwrap());
        let mut scores: Vec<f64> = scored(&w.at("some"), &[]).values().map(|v| v["score"].as_f64().unwrap()).collect();
        scores.sort_by(f64::total_cmp);
        scores[4]
    };
    let flags =
        format!("--threshold {middle} --normal-to ./good --anomalous-to ./bad --failed-to ./failed --batch-size 3");
    let writer = std::thread::spawn({
        let input = input.clone();
        move || {
            for i in 0..PICTURES {
                let bytes = picture(i);
                let end = if i % 20 == 7 { bytes.len() / 2 } else { bytes.len() };
                let path = input.join(format!("{i}.png"));
                if i % 2 == 0 {
                    fs::write(&path, &bytes[..end]).unwrap();
                } else {
                    fs::write(path.with_extension("part"), &bytes[..end]).unwrap();
                    fs::rename(path.with_extension("part"), path).unwrap();
                }
                std::thread::sleep(Duration::from_millis(25));
            }
        }
    });
    let mut progress = BTreeSet::new();
    for round in 0..24u64 {
        let mut child = w.command(&flags).spawn().unwrap();
        // In all phases: of a start, whatever that takes here, and of work.
        let (begun, before) = (Instant::now(), w.lines().len());
        while round % 2 == 1 && w.lines().len() == before && begun.elapsed() < Duration::from_secs(2) {
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(Duration::from_millis(if round % 2 == 1 { round * 7 % 30 } else { 20 + round * 97 % 180 }));
        child.kill().unwrap();
        child.wait().unwrap();
        progress.insert(w.lines().len());
    }
    writer.join().unwrap();
    assert!(progress.len() > 4, "it was never killed at work: {progress:?}");
    let run = w.once(&flags);
    // The last ones may be among those that cannot be read.
    assert!(matches!(run.code, Some(0 | 2)), "{run:?}");
    assert!(w.names("in").is_empty(), "{:?}", w.names("in"));
    let lines: Vec<Value> = w.lines().into_iter().filter(|l| l["score"].is_f64() || l["error"].is_string()).collect();
    let names: BTreeSet<String> = lines.iter().map(|l| l["name"].as_str().unwrap().to_string()).collect();
    let all: BTreeSet<String> = (0..PICTURES).map(|i| format!("{i}.png")).collect();
    assert_eq!((lines.len(), &names), (PICTURES as usize, &all));
    let placed = ["good", "bad", "failed"].map(|folder| w.names(folder));
    assert_eq!(placed.iter().map(BTreeSet::len).sum::<usize>(), PICTURES as usize);
    assert_eq!(placed.iter().flatten().cloned().collect::<BTreeSet<_>>(), all);
    assert!(placed.iter().all(|folder| folder.len() >= 6), "{placed:?}");
    for line in &lines {
        let (name, i): (_, u32) = (
            line["name"].as_str().unwrap(),
            line["name"].as_str().unwrap()[..].trim_end_matches(".png").parse().unwrap(),
        );
        let folder = match line["anomalous"].as_bool() {
            Some(true) => "bad",
            Some(false) => "good",
            None => "failed",
        };
        let place = w.at(folder).join(name);
        assert_eq!(line["moved_to"].as_str(), place.to_str());
        let (bytes, whole) = (fs::read(place).unwrap(), picture(i));
        assert!(bytes == whole[..if folder == "failed" { whole.len() / 2 } else { whole.len() }], "{line}");
    }
    // There is nothing left to do, and it is not done again.
    let before = w.lines();
    w.once(&flags).ok();
    assert_eq!(w.lines(), before);
}

#[test]
fn what_cannot_be_read_gets_one_line_and_the_next_is_scored() {
    let w = Watched::new();
    let input = w.at("in");
    let whole = picture(3);
    fs::write(input.join("cut.png"), &whole[..whole.len() / 2]).unwrap();
    fs::write(input.join("empty.png"), "").unwrap();
    fs::write(input.join("text.jpg"), "no picture at all").unwrap();
    // A header that claims 30,000 x 30,000 pixels, and the beginning of some.
    let mut huge = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\x75\x30\0\0\x75\x30\x08\x02\0\0\0".to_vec();
    huge.extend(b"\xe9\x45\x6f\xed\0\0\0\x10IDAT");
    huge.extend([0; 20]);
    fs::write(input.join("huge.png"), huge).unwrap();
    fs::write(input.join("good.png"), &whole).unwrap();
    let child = w.command("").spawn().unwrap();
    let lines = w.wait(5);
    let of = |name: &str| lines.iter().find(|l| l["name"] == name).unwrap();
    assert!(of("good.png")["score"].is_f64());
    for (name, word) in
        [("cut.png", "damaged"), ("empty.png", "empty"), ("text.jpg", "not a picture"), ("huge.png", "30000 x 30000")]
    {
        let error = of(name)["error"].as_str().unwrap();
        assert!(error.contains(name) && error.contains(word), "{error}");
    }
    // Mended, it is scored.
    fs::write(input.join("cut.png"), &whole).unwrap();
    assert_eq!(w.wait(6)[5]["score"], of("good.png")["score"]);
    ends(child, "INT", 130);
    // Once each, whatever is started later; and they can be had out of the way.
    let run = w.once("").ok();
    assert!(!run.err.contains("warning"), "{run:?}");
    assert_eq!(w.lines().len(), 6);
    fs::write(input.join("later.png"), "no picture").unwrap();
    w.once("--failed-to ./failed").fails(2, &["1 picture could not be read", "lines.jsonl"]);
    assert_eq!(w.names("failed"), BTreeSet::from(["later.png".to_string()]));
}

/// Two programs write the same name, in turns and at once: what is there in the end has its line.
#[test]
fn two_writers_of_one_name() {
    let w = Watched::new();
    let path = w.at("in").join("same.png");
    let child = w.command("").spawn().unwrap();
    let write = |numbers: [u32; 8], path: PathBuf, rename: bool| {
        std::thread::spawn(move || {
            for number in numbers {
                let to = if rename { path.with_extension(format!("{number}.tmp")) } else { path.clone() };
                fs::write(&to, picture(number)).unwrap();
                if rename {
                    fs::rename(&to, &path).unwrap();
                }
                std::thread::sleep(Duration::from_millis(u64::from(number % 7) * 9));
            }
        })
    };
    let writers = [write(std::array::from_fn(|i| i as u32), path.clone(), true), write([20; 8], path.clone(), false)];
    writers.into_iter().for_each(|w| w.join().unwrap());
    fs::write(&path, picture(9)).unwrap();
    let expected = scored(&w.at("in"), &[])["same.png"]["score"].clone();
    let size = fs::metadata(&path).unwrap().len();
    let begun = Instant::now();
    while w.lines().last().is_none_or(|l| l["score"] != expected) {
        assert!(begun.elapsed() < Duration::from_secs(20), "{expected}: {:?}", w.lines());
        std::thread::sleep(Duration::from_millis(20));
    }
    ends(child, "TERM", 0);
    let states: Vec<String> =
        w.lines().iter().map(|l| format!("{} {} {}", l["size"], l["mtime_ns"], l["inode"])).collect();
    assert_eq!(states.iter().collect::<BTreeSet<_>>().len(), states.len(), "a state was scored twice: {states:?}");
    assert_eq!(w.lines().last().unwrap()["size"], size);
}

#[test]
fn nothing_is_written_over_and_cut_off_moves_are_finished() {
    let w = Watched::new();
    fs::create_dir(w.at("good")).unwrap();
    fs::write(w.at("good/a.png"), "somebody's").unwrap();
    fs::write(w.at("in/a.png"), picture(1)).unwrap();
    fs::write(w.at("in/b.png"), picture(2)).unwrap();
    let flags = "--threshold 99 --normal-to ./good --anomalous-to ./good --heatmaps ./heat";
    w.once(flags).ok();
    assert_eq!(w.names("good"), ["a-2.png", "a.png", "b.png"].map(String::from).into());
    assert_eq!(fs::read(w.at("good/a.png")).unwrap(), b"somebody's");
    let lines = w.lines();
    for line in &lines {
        let heat = line["heatmap"].as_str().unwrap();
        assert!(image::open(heat).unwrap().width() == 40, "{heat}");
    }
    // As a kill between the line and the move leaves it.
    fs::rename(w.at("good/a-2.png"), w.at("in/a.png")).unwrap();
    w.once(flags).ok();
    assert_eq!((fs::read(w.at("good/a-2.png")).unwrap(), w.lines()), (picture(1), lines.clone()));
    // Or with something else in its place since.
    fs::rename(w.at("good/b.png"), w.at("in/b.png")).unwrap();
    fs::write(w.at("good/b.png"), "somebody's").unwrap();
    w.once(flags).ok();
    assert_eq!(fs::read(w.at("good/b-2.png")).unwrap(), picture(2));
    let last = w.lines().pop().unwrap();
    assert!(last["moved_to"].as_str().unwrap().ends_with("/good/b-2.png") && last["score"].is_null(), "{last}");
    // Or copied to another file system, and not removed yet.
    let modified = fs::metadata(w.at("good/a-2.png")).unwrap().modified().unwrap();
    fs::copy(w.at("good/a-2.png"), w.at("copy.png")).unwrap();
    fs::rename(w.at("good/a-2.png"), w.at("in/a.png")).unwrap();
    fs::rename(w.at("copy.png"), w.at("good/a-2.png")).unwrap();
    fs::File::options().write(true).open(w.at("good/a-2.png")).unwrap().set_modified(modified).unwrap();
    w.once(flags).ok();
    assert!(w.names("in").is_empty() && w.names("good").len() == 4, "{:?}", w.names("good"));
}

#[test]
fn links_leave_pictures_where_they_are() {
    for kind in ["hard", "symbolic"] {
        let w = Watched::new();
        fs::create_dir_all(w.at("in/below")).unwrap();
        fs::write(w.at("in/a.png"), picture(1)).unwrap();
        fs::write(w.at("in/below/a.png"), picture(2)).unwrap();
        // Within what is watched, and yet not what comes.
        let flags = format!("--recursive --threshold 0 --anomalous-to ./in/bad --link {kind}");
        w.once(&flags).ok();
        w.once(&flags).ok();
        assert_eq!(w.lines().len(), 2);
        for (name, number) in [("a.png", 1), ("below/a.png", 2)] {
            let link = w.at("in/bad").join(name);
            assert_eq!(fs::read(&link).unwrap(), picture(number));
            assert_eq!(link.is_symlink(), kind == "symbolic");
            assert!(w.at("in").join(name).exists());
        }
        // As a kill between the link and its line leaves it.
        fs::remove_file(w.at("lines.jsonl")).unwrap();
        w.once(&flags).ok();
        assert_eq!((w.lines().len(), w.names("in/bad").len(), w.names("in/bad/below").len()), (2, 2, 1));
    }
}

#[test]
fn the_journal_is_kept_by_one_and_mended() {
    let w = Watched::new();
    fs::write(w.at("in/a.png"), picture(1)).unwrap();
    fs::write(w.at("in/b.png"), picture(2)).unwrap();
    w.once("").ok();
    let whole = fs::read(w.at("lines.jsonl")).unwrap();
    let torn = whole.len() - 30;
    fs::write(w.at("lines.jsonl"), &whole[..torn]).unwrap();
    let run = w.once("").ok();
    assert!(run.err.contains("the journal's last line was not whole") && run.err.contains("1 scored"), "{run:?}");
    assert_eq!(fs::read(w.at("lines.jsonl")).unwrap(), whole);
    let child = w.command("").spawn().unwrap();
    fs::write(w.at("in/c.png"), picture(3)).unwrap();
    w.wait(3);
    w.once("").fails(2, &["lines.jsonl", "another `ckaad watch`"]);
    // As a program does that rotates logs.
    fs::rename(w.at("lines.jsonl"), w.at("lines.jsonl.1")).unwrap();
    fs::write(w.at("in/d.png"), picture(4)).unwrap();
    w.wait(4);
    fs::File::create(w.at("lines.jsonl")).unwrap();
    fs::write(w.at("in/e.png"), picture(5)).unwrap();
    let lines = w.wait(5);
    let scores: Vec<_> = lines.iter().filter(|l| l["score"].is_f64()).map(|l| &l["name"]).collect();
    assert_eq!(scores, ["e.png"]);
    let run = ends(child, "TERM", 0);
    assert!(run.err.contains("a new one is begun"), "{run:?}");
    w.once("").ok();
    assert_eq!(w.lines(), lines);
    // Lines of something else are left alone.
    let other = ckaad(&["score", "--model", text(model()), "--format", "json", text(&w.at("in"))]).ok().out;
    fs::write(w.at("lines.jsonl"), &other).unwrap();
    w.once("").fails(2, &["line 1 is none that `ckaad watch` wrote"]);
    assert_eq!(fs::read_to_string(w.at("lines.jsonl")).unwrap(), other);
}

/// Nobody tells of its end, and it is not given ten times as long for that.
#[test]
fn once_waits_for_a_fresh_file_as_long_as_it_has_to_settle() {
    let w = Watched::new();
    fs::write(w.at("in/a.png"), picture(1)).unwrap();
    let (lines, begun) = (w.at("lines.jsonl"), Instant::now());
    let args =
        ["watch", "--once", "--settle", "1.5", "--model", text(model()), "--device", "cpu", "--out", text(&lines)];
    ckaad(&[&args[..], &[text(&w.at("in"))]].concat()).ok();
    assert_eq!(w.lines().len(), 1);
    let took = begun.elapsed();
    assert!(took > Duration::from_secs(1) && took < Duration::from_secs(12), "{took:?}");
}

/// A picture whose place cannot be made stays, and is counted, whichever way it was to get there.
#[test]
fn what_cannot_be_moved_is_counted() {
    for (link, warning) in [("", "stays where it is"), ("--link hard", "no link to it")] {
        let w = Watched::new();
        fs::create_dir_all(w.at("in/below")).unwrap();
        fs::write(w.at("in/a.png"), picture(1)).unwrap();
        fs::write(w.at("in/below/b.png"), picture(2)).unwrap();
        fs::create_dir(w.at("good")).unwrap();
        fs::write(w.at("good/below"), "somebody's").unwrap();
        let flags = format!("--recursive --threshold 99 --normal-to ./good {link}");
        w.once(&flags).fails(2, &["1 picture could not be moved", warning, "2 scored"]);
        assert_eq!((w.names("in/below").len(), w.lines().len()), (1, 2));
        assert!(w.at("good/a.png").exists());
        assert_eq!(fs::read(w.at("good/below")).unwrap(), b"somebody's");
    }
}

#[test]
fn a_folder_made_anew_is_watched_on() {
    let w = Watched::new();
    fs::write(w.at("in/a.png"), picture(1)).unwrap();
    let child = w.command("").spawn().unwrap();
    w.wait(1);
    let soon = |lines: usize| {
        let begun = Instant::now();
        w.wait(lines);
        assert!(begun.elapsed() < Duration::from_secs(10), "only looking at the folder found it");
    };
    fs::rename(w.at("in"), w.at("old")).unwrap();
    fs::create_dir(w.at("in")).unwrap();
    fs::write(w.at("in/b.png"), picture(2)).unwrap();
    soon(2);
    // Now that it is watched, and not only looked at: what is written later is told of, too.
    fs::write(w.at("in/c.png"), picture(3)).unwrap();
    soon(3);
    // Not what comes into the one that was moved away. The new one may get the number of one that was removed.
    fs::write(w.at("old/other.png"), picture(4)).unwrap();
    fs::remove_dir_all(w.at("in")).unwrap();
    fs::create_dir(w.at("in")).unwrap();
    fs::write(w.at("in/d.png"), picture(5)).unwrap();
    soon(4);
    fs::remove_dir_all(w.at("in")).unwrap();
    let out = child.wait_with_output().unwrap();
    let err = String::from_utf8(out.stderr).unwrap();
    assert_eq!(out.status.code(), Some(2), "{err}");
    assert_eq!(err.matches("the one that has its name now is watched").count(), 2, "{err}");
    assert!(err.contains("No such file"), "{err}");
    let names: Vec<_> = w.lines().iter().map(|l| l["name"].as_str().unwrap().to_string()).collect();
    assert_eq!(names, ["a.png", "b.png", "c.png", "d.png"]);
}

/// What has no end is not read, and nothing waits for who reads a pipe.
#[test]
fn lines_go_to_files_alone() {
    let w = Watched::new();
    let refused = |out: &Path, words: &[&str]| {
        let args = ["watch", "--once", "--model", text(model()), "--device", "cpu", "--out", text(out)];
        ckaad(&[&args[..], &[text(&w.at("in"))]].concat()).fails(2, &[&[text(out)][..], words].concat());
    };
    assert!(Command::new("mkfifo").arg(w.at("pipe")).status().unwrap().success());
    refused(&w.at("pipe"), &["--out", "is no regular file"]);
    refused(&w.at("in"), &["--out", "is a folder"]);
    for device in ["/dev/full", "/dev/zero", "/dev/null"].map(Path::new).into_iter().filter(|d| d.exists()) {
        refused(device, &["--out", "is no regular file"]);
    }
    // It takes no room.
    let long = w.at("long.jsonl");
    fs::write(&long, "{").unwrap();
    fs::File::options().write(true).open(&long).unwrap().set_len(65 << 20).unwrap();
    refused(&long, &["line 1 is longer than 64 MiB"]);
    assert_eq!(fs::metadata(&long).unwrap().len(), 65 << 20);
}

#[test]
fn only_what_is_new() {
    let w = Watched::new();
    fs::write(w.at("in/old.png"), picture(1)).unwrap();
    w.once("--new-only").ok();
    // Though new since, it came while a journal was kept.
    fs::write(w.at("in/new.png"), picture(2)).unwrap();
    w.once("--new-only").ok();
    let lines = w.lines();
    assert_eq!(lines.len(), 2);
    assert!(lines[0]["name"] == "old.png" && lines[0]["score"].is_null(), "{lines:?}");
    assert!(lines[1]["name"] == "new.png" && lines[1]["score"].is_f64(), "{lines:?}");
}

#[test]
fn wrong_use() {
    let w = Watched::new();
    w.once("--normal-to ./in").fails(2, &["--normal-to", "is the folder that is watched"]);
    w.once("--link hard").fails(2, &["--link", "--normal-to"]);
    w.once("--poll 0").fails(2, &["--poll", "expected seconds"]);
    w.once("--heatmaps ./in/heat").ok();
    w.once("--heatmaps ./in").fails(2, &["--heatmaps"]);
    let (own, lines) = (own_model(&w.dir), w.at("lines.jsonl"));
    let file = w.at("file");
    fs::write(&file, "x").unwrap();
    for (folder, words) in [("gone/nothing", "No such file"), (text(&file), "is no folder")] {
        ckaad(&["watch", "--model", text(&own), "--out", text(&lines), folder]).fails(2, &[folder, words]);
    }
    rewrite(&own, |_| true, |metadata| drop(metadata.remove("threshold")));
    let good = w.at("good");
    ckaad(&["watch", "--model", text(&own), "--out", text(&lines), text(&w.at("in")), "--normal-to", text(&good)])
        .fails(2, &["--normal-to", "no threshold"]);
}
