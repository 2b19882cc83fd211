//! Which pictures are meant by what is given: folders with odd things in them, lists, and what must not be read.

use ckaad::data::layout::TrainSet;
use ckaad::data::listing::{Given, Refused, below, each};
use ckaad::output::{FileKind, OurFolder, Outputs};
use std::fs;
use std::path::Path;

fn touch(root: &Path, names: &str) {
    for name in names.split_whitespace() {
        let path = root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "").unwrap();
    }
}

fn list(bytes: &'static [u8], end: u8) -> Given {
    Given::List { name: "list".into(), from: Box::new(bytes), end }
}

/// What is listed, relative to `root`; refused ones as their error in brackets. And what was passed over.
fn listed(given: Vec<Given>, outputs: &Outputs, root: &Path) -> (Vec<String>, String) {
    let mut all = Vec::new();
    let name = |p: &Path| p.strip_prefix(root).unwrap_or(p).to_str().unwrap().replace('\\', "/");
    let passed_over = each(given, outputs, &mut |item| {
        all.push(match item {
            Ok(meant) => name(meant.source.path()),
            Err(Refused { path, error }) => format!("[{}: {error}]", name(&path)),
        });
        true
    });
    (all, passed_over.unwrap().to_string())
}

fn paths(root: &Path, names: &str) -> Vec<Given> {
    names.split_whitespace().map(|n| Given::Path(root.join(n))).collect()
}

#[test]
fn one_bad_item_does_not_end_a_list() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    touch(root, "in/b/2.png in/b/1.jpg in/a.png in/c.txt in/.d/3.png single.dat empty/x.txt in/z.JFIF in/y.gif");
    touch(root, "in/.DS_Store in/Thumbs.db in/._a.png in/b/.4.png");
    let lines = format!("\u{feff}{0}/single.dat\r\n\n{0}/in/b\n{0}/missing.png", root.display());
    let mut given = paths(root, "single.dat empty in");
    given.push(list(lines.leak().as_bytes(), b'\n'));
    let (found, passed_over) = listed(given, &Outputs::default(), root);
    assert!(found[1].starts_with("[empty: ") && found[1].contains("no pictures"), "{found:?}");
    let rest: Vec<&str> = found.iter().map(String::as_str).filter(|n| !n.starts_with('[')).collect();
    let expected =
        "single.dat in/a.png in/b/1.jpg in/b/2.png in/y.gif in/z.JFIF single.dat in/b/1.jpg in/b/2.png missing.png";
    assert_eq!(rest.join(" "), expected);
    // The hidden file twice: its folder was given twice.
    assert_eq!(passed_over, "2 files that are no pictures by name (2 .txt), 3 hidden files and folders");
}

#[test]
fn lists_end_their_paths_as_they_say() {
    let nowhere = Path::new("/");
    let (found, _) = listed(vec![list(b"a b\nc.png\0d\r\0", 0)], &Outputs::default(), nowhere);
    assert_eq!(found, ["a b\nc.png", "d\r"]);
    let (found, _) = listed(vec![list(b"a\r\nb\n", b'\n')], &Outputs::default(), nowhere);
    assert_eq!(found, ["a", "b"]);
}

#[cfg(unix)]
#[test]
fn names_that_are_not_utf8_are_names() {
    use std::os::unix::ffi::OsStrExt;
    let mut found = Vec::new();
    each(vec![list(b"ok.png\n\xff\xfe.png\n", b'\n')], &Outputs::default(), &mut |item| {
        found.push(item.unwrap().source.path().as_os_str().as_bytes().to_vec());
        true
    })
    .unwrap();
    assert_eq!(found, [&b"ok.png"[..], b"\xff\xfe.png"]);
}

#[cfg(unix)]
#[test]
fn pipes_links_and_locked_folders() {
    use std::os::unix::fs::symlink;
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    touch(root, "in/a.png in/sub/b.png elsewhere/c.png");
    assert!(std::process::Command::new("mkfifo").arg(root.join("in/pipe.png")).status().unwrap().success());
    symlink(root.join("in"), root.join("in/sub/loop")).unwrap();
    symlink(root.join("in/sub"), root.join("in/again")).unwrap();
    symlink(root.join("elsewhere"), root.join("in/linked")).unwrap();
    symlink(root.join("nowhere"), root.join("in/lost.png")).unwrap();
    symlink(root.join("elsewhere/c.png"), root.join("in/d.png")).unwrap();
    let (found, passed_over) = listed(paths(root, "in"), &Outputs::default(), root);
    assert_eq!(found, ["in/a.png", "in/d.png", "in/linked/c.png", "in/sub/b.png"]);
    assert_eq!(passed_over, "1 pipe or device, 3 links that lead nowhere or to folders read already");
    // A pipe that is named has its writer, as that of `<(...)`; one in a list may wait for ever.
    let (found, _) = listed(paths(root, "in/pipe.png"), &Outputs::default(), root);
    assert_eq!(found, ["in/pipe.png"]);
    let lines = format!("{0}/in/pipe.png\n{0}/in/a.png\n", root.display());
    let (found, _) = listed(vec![list(lines.leak().as_bytes(), b'\n')], &Outputs::default(), root);
    assert!(found[0].starts_with("[in/pipe.png: ") && found[0].contains("a pipe, a socket or a device"), "{found:?}");
    assert_eq!(found[1..], ["in/a.png"]);
}

#[test]
fn outputs_are_not_read() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    touch(root, "in/a.png report.html");
    let outputs = Outputs::default().folder("--heatmaps", &root.join("in/heat")).unwrap();
    touch(root, "in/heat/a.png");
    let (found, passed_over) = listed(paths(root, "in in/heat/a.png in/heat"), &outputs, root);
    assert_eq!(found[0], "in/a.png");
    assert!(found[1..].iter().all(|f| f.starts_with('[') && f.contains("--heatmaps")), "{found:?}");
    assert_eq!(passed_over, "1 folder of maps written by ckaad");
    // Another command, another day.
    let (found, _) = listed(paths(root, "in"), &Outputs::default(), root);
    assert_eq!(found, ["in/a.png"]);
    assert_eq!(below(&root.join("in")).unwrap().pictures, [root.join("in/a.png")]);
    // Somebody's own pictures are no place for ours.
    let error = Outputs::default().folder("--maps", &root.join("in")).err().unwrap().to_string();
    assert!(error.contains("--maps") && error.contains("empty or a new folder"), "{error}");
    // A file by another name.
    let outputs = Outputs::default().file("--out", &root.join("in/../report.html"), FileKind::Page).unwrap();
    assert!(outputs.expect_apart(&root.join("report.html")).unwrap_err().to_string().contains("--out"));
    outputs.expect_apart(&root.join("in/a.png")).unwrap();
}

/// Of a folder of maps that is named itself, or one in it, what was written there is passed over: the mark knows its names.
#[test]
fn what_ckaad_wrote_is_not_read() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let heat = root.join("heat");
    Outputs::default().folder("--heatmaps", &heat).unwrap();
    let mut ours = OurFolder::open(heat.clone()).unwrap();
    for name in ["a.png", "sub/b.png", "sub/b.npy"] {
        ours.write(Path::new(name), |f| f.write_all(b"1")).unwrap();
    }
    touch(root, "heat/mine.png heat/sub/mine.png");
    let (found, passed_over) = listed(paths(root, "heat"), &Outputs::default(), root);
    assert_eq!(found, ["heat/mine.png", "heat/sub/mine.png"]);
    assert_eq!(passed_over, "1 file that is no picture by name (1 .npy), 2 pictures written by ckaad");
    let (found, passed_over) = listed(paths(root, "heat/../heat/sub/"), &Outputs::default(), root);
    assert!(
        found.len() == 1 && found[0].ends_with("sub/mine.png") && passed_over.contains("1 picture written by ckaad")
    );
    assert_eq!(below(&heat).unwrap().pictures.len(), 2);
    // A file that is named is meant.
    let (found, _) = listed(paths(root, "heat/a.png"), &Outputs::default(), root);
    assert_eq!(found, ["heat/a.png"]);
}

#[test]
fn masks_beside_pictures_are_not_scored() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    touch(root, "in/a.jpg in/a_mask.png in/A_GT.png in/b-mask.png in/sub/b.png");
    let (found, passed_over) = listed(paths(root, "in in/a_mask.png"), &Outputs::default(), root);
    // Beside b-mask.png there is no b.
    assert_eq!(found, ["in/a.jpg", "in/b-mask.png", "in/sub/b.png", "in/a_mask.png"]);
    assert_eq!(passed_over, "2 files called as masks of pictures beside them");
    // A dataset as a whole.
    touch(root, "d/test/bad/a.png d/Ground_Truth/bad/a_mask.png e/ground_truth/a.png");
    let (found, passed_over) = listed(paths(root, "d e d/Ground_Truth"), &Outputs::default(), root);
    assert_eq!(found, ["d/test/bad/a.png", "e/ground_truth/a.png", "d/Ground_Truth/bad/a_mask.png"]);
    assert_eq!(passed_over, "1 folder of masks beside a folder test");
}

#[cfg(unix)]
#[test]
fn links_do_not_hide_that_it_is_the_same_file() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    touch(root, "w.pth");
    std::os::unix::fs::symlink(root.join("w.pth"), root.join("soft")).unwrap();
    fs::hard_link(root.join("w.pth"), root.join("hard")).unwrap();
    for name in ["soft", "hard", "w.pth"] {
        let outputs = Outputs::default().file("--out", &root.join(name), FileKind::Page).unwrap();
        assert!(outputs.expect_apart(&root.join("w.pth")).is_err(), "{name}");
        assert!(outputs.file("--log", &root.join("w.pth"), FileKind::Page).is_err(), "{name}");
    }
}

#[test]
fn where_nothing_can_be_written() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    fs::write(root.join("picture.png"), b"\x89PNG\r\n\x1a\n and more than sixteen bytes").unwrap();
    #[cfg(unix)]
    std::os::unix::fs::symlink("nowhere/model", root.join("link")).unwrap();
    for (path, word) in [
        ("no/such/model", "no folder"),
        ("", "is a folder"),
        ("model/", "name of a folder"),
        ("picture.png", "already there, and no model file"),
        #[cfg(unix)]
        ("link", "no folder"),
    ] {
        let path = if path.is_empty() { root.to_path_buf() } else { root.join(path) };
        let error = Outputs::default().file("--out", &path, FileKind::Tensors).err().unwrap();
        assert_eq!(error.kind(), ckaad::error::Kind::Usage);
        assert!(error.to_string().contains(word), "{error}");
    }
}

#[test]
fn two_outputs_in_one_place() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    fs::create_dir(root.join("in")).unwrap();
    let outputs = || Outputs::default().file("--out", &root.join("m"), FileKind::Tensors).unwrap();
    let error = outputs().file("--log", &root.join("in/../m"), FileKind::JsonLines).err().unwrap().to_string();
    assert!(error.contains("--log") && error.contains("is the same as --out"), "{error}");
    outputs().file("--log", &root.join("m.log"), FileKind::JsonLines).unwrap();
    let maps = || Outputs::default().folder("--heatmaps", &root.join("h")).unwrap();
    let error = maps().file("--report", &root.join("h/a.html"), FileKind::Page).err().unwrap().to_string();
    assert!(error.contains("lies in the folder of --heatmaps"), "{error}");
    let report = Outputs::default().file("--report", &root.join("g/a.html"), FileKind::Page);
    assert!(report.is_err());
    // Folders may be shared.
    maps().folder("--maps", &root.join("h")).unwrap();
}

#[test]
fn somebody_elses_file_in_a_folder_of_ours_stays() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("maps");
    Outputs::default().folder("--maps", &root).unwrap();
    let open = || OurFolder::open(root.clone()).unwrap();
    open().write(Path::new("a.b/x.png"), |f| f.write_all(b"1")).unwrap();
    // By a later run, ours is replaced.
    fs::write(root.join("user.png"), "own").unwrap();
    let mut again = open();
    again.write(Path::new("a.b/x.png"), |f| f.write_all(b"2")).unwrap();
    let error = again.write(Path::new("user.png"), |f| f.write_all(b"3")).unwrap_err().to_string();
    assert!(error.contains("user.png") && error.contains("not written by ckaad"), "{error}");
    assert_eq!(fs::read(root.join("a.b/x.png")).unwrap(), b"2");
    assert_eq!(fs::read(root.join("user.png")).unwrap(), b"own");
    // A mark of an earlier version names nothing yet.
    fs::write(root.join(".ckaad-output"), "Another line.\n").unwrap();
    assert!(open().write(Path::new("a.b/x.png"), |f| f.write_all(b"4")).is_err());
    for content in [b"5", b"6"] {
        open().write(Path::new("y.png"), |f| f.write_all(content)).unwrap();
    }
}

#[test]
fn only_its_own_kind_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x");
    let of_header = |header: &str| [&(header.len() as u64).to_le_bytes()[..], header.as_bytes()].concat();
    let model = of_header("{\"__metadata__\":{\"format\":\"ckaad\"}}");
    let weights = of_header("{\"__metadata__\":{\"format\":\"pt\"}}");
    let kinds = [FileKind::Page, FileKind::Tensors, FileKind::JsonLines];
    let list = b"a list of pictures\n";
    let contents: [&[u8]; 6] = [b"", b"<!DOCTYPE html><html>", &model, b"{\"epoch\":1}\n", list, &weights];
    let mut taken = Vec::new();
    for content in contents {
        fs::write(&path, content).unwrap();
        taken.push(kinds.map(|kind| Outputs::default().file("--out", &path, kind).is_ok()));
    }
    let [no, yes] = [false, true];
    assert_eq!(taken, [[yes; 3], [yes, no, no], [no, yes, no], [no, no, yes], [no; 3], [no; 3]]);
}

#[test]
fn training_folders() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    touch(root, "photos/1.png photos/day2/2.jpg photos/notes.md bad/x.png");
    let set = TrainSet::of_folders(&root.join("photos"), Some(&root.join("bad")), None).unwrap();
    assert_eq!((set.good.len(), set.anomalous.len()), (2, 1));
    assert_eq!(set.passed_over.to_string(), "1 file that is no picture by name (1 .md)");
    // A flat folder is answered with the flag that takes it.
    let error = TrainSet::open(&root.join("photos")).unwrap_err().to_string();
    assert!(error.contains("no train/good") && error.contains("--normal ") && error.contains("(2)"), "{error}");
    let error = TrainSet::of_folders(root, Some(&root.join("bad")), None).unwrap_err().to_string();
    assert!(error.contains("x.png") && error.contains("as an anomalous one"), "{error}");
    // Masks among the pictures are no pictures.
    touch(root, "bad/masks/x.png");
    let masks = root.join("bad/masks");
    let set = TrainSet::of_folders(&root.join("photos"), Some(&root.join("bad")), Some(&masks)).unwrap();
    assert_eq!((set.good.len(), set.anomalous.len()), (2, 1));
    let error = TrainSet::of_folders(&root.join("nowhere"), None, None).unwrap_err().to_string();
    assert!(error.contains("nowhere"), "{error}");
}

/// What `write_atomically` leaves of what was there.
#[cfg(unix)]
#[test]
fn links_modes_and_devices_stay_what_they_are() {
    use ckaad::output::write_atomically;
    use std::os::unix::fs::{PermissionsExt, symlink};
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let mode = |name: &str| fs::metadata(at(name)).unwrap().permissions().mode() & 0o777;
    let write = |name: &str, text: &'static str| write_atomically(&at(name), |f| f.write_all(text.as_bytes()));
    fs::write(at("target"), "old").unwrap();
    fs::set_permissions(at("target"), fs::Permissions::from_mode(0o600)).unwrap();
    symlink("target", at("link")).unwrap();
    symlink("later", at("early")).unwrap();
    write("link", "new").unwrap();
    write("early", "first").unwrap();
    assert!(at("link").is_symlink() && at("early").is_symlink());
    assert_eq!(fs::read_to_string(at("target")).unwrap(), "new");
    assert_eq!(fs::read_to_string(at("later")).unwrap(), "first");
    assert_eq!(mode("target"), 0o600);
    // As any new file.
    fs::write(at("usual"), "").unwrap();
    assert_eq!(mode("later"), mode("usual"));
    write_atomically(Path::new("/dev/null"), |f| f.write_all(b"gone")).unwrap();
    assert!(!fs::metadata("/dev/null").unwrap().is_file());
    assert!(std::process::Command::new("mkfifo").arg(at("pipe")).status().unwrap().success());
    let reader = std::thread::spawn({
        let pipe = at("pipe");
        move || fs::read_to_string(pipe).unwrap()
    });
    write("pipe", "through").unwrap();
    assert_eq!(reader.join().unwrap(), "through");
    assert!(!fs::metadata(at("pipe")).unwrap().is_file());
}
