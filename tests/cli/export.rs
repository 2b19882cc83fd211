//! `ckaad export`: what is written where. What other engines make of it is tested beside the Python package.

use crate::support::*;
use std::fs;

#[test]
fn nothing_is_replaced_unasked() {
    let dir = folder();
    let out = dir.path().join("m.onnx");
    let export = |more: &[&str]| ckaad(&[&["export", "--model", text(model()), "--out", text(&out)], more].concat());
    let told = export(&["--format", "onnx"]).ok();
    assert!(told.out.is_empty(), "{told:?}");
    assert!(told.err.contains("opset 17: pixels u8 nx") && told.err.contains("-> score n, map nx"), "{told:?}");
    let written = fs::read(&out).unwrap();
    export(&["--input", "normalized"]).fails(2, &["--out", "already there", "--force"]);
    assert!(fs::read(&out).unwrap() == written);
    let told = export(&["--input", "normalized", "--batch-size", "3", "--force"]).ok();
    assert!(told.err.contains("input f32 3x3x") && told.err.contains("-> score 3, map 3x"), "{told:?}");
    assert!(fs::read(&out).unwrap() != written);
    assert_eq!(export(&["--force", "-q"]).ok().err, "");
    assert!(fs::read(&out).unwrap() == written, "the same model is the same file");
    // What is no ONNX model of this program stays, whatever is asked.
    for other in ["a diary", "\u{8}\u{8}\u{12}\u{7}pytorch"] {
        fs::write(&out, other).unwrap();
        export(&["--force"]).fails(2, &["--out", "no ONNX model of this program"]);
        assert_eq!(fs::read_to_string(&out).unwrap(), other);
    }
}

#[test]
fn what_cannot_be_exported_is_told() {
    let dir = folder();
    let (own, out) = (own_model(&dir), dir.path().join("m.onnx"));
    let export =
        |model: &str, more: &[&str]| ckaad(&[&["export", "--model", model, "--out", text(&out)], more].concat());
    export("nowhere.safetensors", &[]).fails(2, &["nowhere.safetensors", "model file"]);
    export(text(dir.path()), &[]).fails(2, &[text(dir.path())]);
    export(text(&own), &["--batch-size", "0"]).fails(2, &["--batch-size", "at least 1"]);
    export(text(&own), &["--batch-size", "99999999"]).fails(2, &[text(&own), "--batch-size 99999999"]);
    export(text(&own), &["--format", "tflite"]).fails(2, &["--format", "onnx"]);
    ckaad(&["export", "--model", text(&own), "--out", "-"])
        .fails(2, &["--out -: is not written to standard output", "./-"]);
    export(text(&own), &["--input", "png"]).fails(2, &["--input", "normalized"]);
    let over = ckaad(&["export", "--force", "--model", text(&own), "--out", text(&own)]);
    over.fails(2, &["--out", "no ONNX model"]);
    rewrite(&own, |name| !name.contains("encoder"), |_| ());
    export(text(&own), &[]).fails(2, &[text(&own), "encoder"]);
    assert!(!out.exists());
}
