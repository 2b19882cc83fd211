//! Odd file names, and what a run says in which colour.

use crate::support::*;

fn picture_called(folder: &tempfile::TempDir, name: &std::ffi::OsStr) -> std::path::PathBuf {
    let path = folder.path().join(name);
    std::fs::copy(full().join("test/good/000.png"), &path).unwrap();
    path
}

/// People get one line a picture, and nothing that steers their terminal; programs get the name.
#[cfg(unix)]
#[test]
fn control_characters_in_names() {
    let dir = folder();
    let path = picture_called(&dir, "a\nb\u{1b}[31m.png".as_ref());
    let shown = format!(r"{}/a\nb\u{{1b}}[31m.png", dir.path().display());
    let score = |format: &str| ckaad(&["score", "--model", text(model()), "--format", format, text(dir.path())]);
    let table = score("table").ok();
    assert!(table.lines().len() == 1 && table.lines()[0].ends_with(&format!("  {shown}")), "{table:?}");
    assert_eq!(score("json").ok().json()[0]["path"], text(&path));
    assert!(score("csv").ok().out.contains(&format!("\n\"{}\",", text(&path))));
    let own = own_model(&dir);
    let named = dir.path().join("m\n.safetensors");
    std::fs::rename(own, &named).unwrap();
    let set = ckaad(&["threshold", "--model", text(&named), "--value", "1"]).ok();
    assert!(set.lines().len() == 1 && set.out.contains(r"/m\n.safetensors: threshold 1"), "{set:?}");

    std::fs::write(&path, "no picture").unwrap();
    let table = score("table").fails(2, &[]);
    assert!(
        table.lines().len() == 1 && table.out.contains(&format!("unreadable  {shown}: not a picture")),
        "{table:?}"
    );
    let eval = ckaad(&["eval", "--model", text(model()), "--normal", text(dir.path())]);
    assert!(eval.err.contains(&format!("left out: {shown}: not a picture")), "{eval:?}");
    ckaad(&["score", "--model", text(&dir.path().join("x\ny")), "x"]).fails(2, &[r"x\ny: "]);
    // Defect types are folders.
    for name in ["good", "t\u{1b}[1m"] {
        let to = dir.path().join("test").join(name).join("a.png");
        write_png(&to, 40, 40, |x, y| [x as u8, y as u8, 0]);
    }
    let eval = ckaad(&["eval", "--model", text(model()), "--data", text(dir.path())]).ok();
    assert!(eval.lines().iter().any(|l| l.starts_with(r"t\u{1b}[1m  ")), "{eval:?}");
}

/// A name that JSON cannot hold can still be opened.
#[cfg(target_os = "linux")]
#[test]
fn names_that_are_not_utf8() {
    use std::os::unix::ffi::OsStrExt;
    let dir = folder();
    let (good, heat) = (dir.path().join("good"), dir.path().join("heat"));
    std::fs::create_dir(&good).unwrap();
    let name = std::ffi::OsStr::from_bytes(b"good/a \xff%.png");
    picture_called(&dir, name);
    let args = ["score", "--model", text(model()), "--format", "json", "--heatmaps", text(&heat), text(&good)];
    let line = ckaad(&args).ok().json().remove(0);
    assert_eq!(line["path"], format!("{}/a \u{fffd}%.png", text(&good)));
    // urllib.parse.quote(b"a \xff%.png")
    for (key, folder) in [("path_bytes", &good), ("heatmap_bytes", &heat)] {
        assert_eq!(line[key], format!("{}/a%20%FF%25.png", text(folder)));
    }
    let args = ["eval", "--model", text(model()), "--normal", text(&good), "--format", "json", "--scores"];
    let scores = &ckaad(&args).ok().json()[0]["scores"];
    assert_eq!(scores[0]["path_bytes"], format!("{}/a%20%FF%25.png", text(&good)));
}

/// Warnings and errors are coloured as verdicts are.
#[test]
fn colours_of_messages() {
    let dir = folder();
    let list = dir.path().join("list");
    std::fs::write(&list, "").unwrap();
    let warned = |when| ckaad(&["score", "--model", text(model()), "--files0-from", text(&list), "--color", when]);
    let failed = |when| ckaad(&["score", "--model", "nowhere", "x", "--color", when]);
    assert!(warned("always").err.contains("ckaad: \u{1b}[1m\u{1b}[33mwarning:\u{1b}[0m the list"));
    assert!(failed("always").err.contains("ckaad: \u{1b}[1m\u{1b}[31merror:\u{1b}[0m nowhere"));
    for when in ["never", "auto"] {
        assert!(
            warned(when).err.contains("ckaad: warning: the list") && failed(when).err.contains("ckaad: error: nowhere")
        );
    }
}
