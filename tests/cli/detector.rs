//! Which method: options that belong to it, and what a model file says of it.

use crate::support::*;
use std::path::Path;

fn score(model: &Path) -> Run {
    ckaad(&["score", "--model", text(model), "--format", "json", text(&full().join("test/good"))])
}

/// Version 1 names no detector, and writes no mark for options at their defaults.
#[test]
fn files_of_version_1_are_read_as_before() {
    let dir = folder();
    let own = own_model(&dir);
    let expected = score(&own).ok().out;
    rewrite(
        &own,
        |_| true,
        |m| {
            assert_eq!(m.insert("version".into(), "1".into()).as_deref(), Some("2"));
            assert_eq!(m.remove("detector").as_deref(), Some("ckaad"));
            assert_eq!([m.remove("topk").as_deref(), m.remove("sigma").as_deref()], [Some("100"), Some("4")]);
        },
    );
    assert_eq!(score(&own).ok().out, expected);
    // 0 once stood for all values.
    let of = |topk: &str| {
        rewrite(&own, |_| true, |m| drop(m.insert("topk".into(), topk.into())));
        score(&own).ok().out
    };
    let all = of("all");
    assert!(all != expected && of("0") == all);
    // What changes a file writes it as of today.
    ckaad(&["threshold", "--model", text(&own), "--value", "0.5"]).ok();
    assert_eq!(metadata(&own, "version").as_deref(), Some("2"));
    assert_eq!(metadata(&own, "detector").as_deref(), Some("ckaad"));
}

#[test]
fn wrong_metadata_is_named() {
    let dir = folder();
    let broken = |key: &str, value: Option<&str>, words: &[&str]| {
        let own = own_model(&dir);
        rewrite(
            &own,
            |_| true,
            |m| match value {
                Some(v) => drop(m.insert(key.into(), v.into())),
                None => drop(m.remove(key)),
            },
        );
        score(&own).fails(2, &[&["own.safetensors"], words].concat());
    };
    broken("detector", None, &["lacks `detector`"]);
    broken("detector", Some("yolo"), &["`detector`", "unknown detector 'yolo'", "ckaad"]);
    broken("version", Some("3"), &["version 3", "versions 1 and 2"]);
    broken("sigma", Some("-1"), &["sigma -1", "from 0 to 64"]);
    broken("topk", Some("0"), &["topk 0", "at least 1, or all"]);
}
