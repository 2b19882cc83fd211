//! Several models, which come, change and go while the server runs.

use crate::scores::{bytes, expected, pictures};
use crate::server::*;
use crate::support::*;
use std::path::Path;

/// Puts a file in a place at once.
fn put(from: &Path, to: &Path) {
    let beside = to.with_extension("new");
    std::fs::copy(from, &beside).unwrap();
    std::fs::rename(beside, to).unwrap();
}

fn threshold(server: &Server, model: &str) -> Option<f64> {
    let answer = server.post(&format!("/score?model={model}"), &bytes(&pictures()[0]));
    if answer.status == 200 { answer.json["threshold"].as_f64() } else { None }
}

#[test]
fn a_folder_that_changes() {
    let dir = folder();
    let models = dir.path().join("models");
    std::fs::create_dir(&models).unwrap();
    let at = |name: &str| models.join(format!("{name}.safetensors"));
    let other = own_model(&dir);
    rewrite(&other, |_| true, |m| drop(m.insert("threshold".into(), "0.125".into())));
    put(model(), &at("a"));
    std::fs::write(at("broken"), "no model").unwrap();
    std::fs::write(at("wrong name"), "no model").unwrap();
    std::os::unix::fs::symlink(dir.path().join("nowhere"), at("early")).unwrap();
    std::fs::write(models.join("a.checkpoint.safetensors"), "passed over").unwrap();
    let mut server = Server::start(serving(&["--models", text(&models)]));
    let picture = bytes(&pictures()[0]);
    let said = expected(&[])[0]["threshold"].as_f64();
    assert_eq!(threshold(&server, "a"), said);
    server.post("/score?model=broken", &picture).refused(503, &["broken", "not a weights file"]);
    server.post("/score?model=early", &picture).refused(503, &["early", "No such file"]);
    std::os::unix::fs::symlink(dir.path().join("nowhere"), at("late")).unwrap();
    let why = |answer: Answer| answer.json["error"].as_str().unwrap().to_string();
    until(|| why(server.post("/score?model=late", &picture)).contains("No such file"));
    server.until_told("wrong name");
    assert!(!server.log().contains("checkpoint"), "{}", server.log());
    // One that is usable is the only one: it need not be named.
    server.score(&picture).ok();

    // New.
    put(&other, &at("b"));
    until(|| threshold(&server, "b") == Some(0.125));
    server.score(&picture).refused(400, &["say which", "a, b"]);
    // Replaced; nobody is refused meanwhile.
    put(&other, &at("a"));
    until(|| threshold(&server, "a").unwrap() == 0.125);
    // Written in place and in parts, as by a copy over a network: the one before stays until it is whole.
    let whole = std::fs::read(model()).unwrap();
    std::fs::write(at("a"), &whole[..whole.len() / 2]).unwrap();
    server.until_told("the one before stays in service");
    assert_eq!(threshold(&server, "a"), Some(0.125));
    std::fs::write(at("a"), &whole).unwrap();
    until(|| threshold(&server, "a").unwrap() != 0.125);
    assert_eq!(threshold(&server, "a"), said);
    // Broken, in place: what is served does not depend on the file.
    std::fs::write(at("a"), "").unwrap();
    assert_eq!(threshold(&server, "a"), said);
    // Gone.
    std::fs::remove_file(at("b")).unwrap();
    until(|| threshold(&server, "b").is_none());
    server.post("/score?model=b", &picture).refused(404, &["\"b\"", "expected one of a"]);
    // All of it.
    std::fs::remove_dir_all(&models).unwrap();
    server.until_told("the models stay in service");
    assert_eq!(threshold(&server, "a"), said);
    assert!(server.metric("ckaad_model_loads_total{outcome=\"failed\"}") >= 2.0);
    assert_eq!(server.metric("ckaad_models "), 1.0);
    server.signal("TERM");
    assert_eq!(server.ended(), Some(0));
}

#[test]
fn loaded_and_unloaded_by_name() {
    let dir = folder();
    let own = own_model(&dir);
    let named = format!("other={}", text(&own));
    let server = Server::new(&["--model", &named, "--allow-load"]);
    let picture = bytes(&pictures()[0]);
    let names = |ready: bool| -> Vec<String> {
        let index = server.post("/v2/repository/index", b"").ok();
        let state = if ready { "READY" } else { "UNAVAILABLE" };
        let all = index.as_array().unwrap().iter().filter(|m| m["state"] == state);
        all.map(|m| m["name"].as_str().unwrap().to_string()).collect()
    };
    assert_eq!(names(true), ["model", "other"]);
    server.post("/v2/repository/models/other/unload", b"{}").ok();
    assert_eq!((names(true), names(false)), (vec!["model".into()], vec!["other".into()]));
    server.post("/score?model=other", &picture).refused(404, &["other"]);
    // It stays out, whatever becomes of its file.
    rewrite(&own, |_| true, |m| drop(m.insert("threshold".into(), "0.5".into())));
    std::thread::sleep(std::time::Duration::from_millis(2500));
    assert_eq!(names(false), ["other"]);
    server.post("/v2/repository/models/other/load", b"").ok();
    assert_eq!(threshold(&server, "other"), Some(0.5));
    // A file that is named when the server starts stays in service without it, and cannot be loaded again.
    std::fs::remove_file(&own).unwrap();
    server.until_told("is gone; the model stays in service");
    assert_eq!(threshold(&server, "other"), Some(0.5));
    server.post("/v2/repository/models/other/load", b"").refused(400, &["other", "cannot be loaded"]);
    assert_eq!(threshold(&server, "other"), Some(0.5));
    for name in ["nothing", "..", "..%2fmodel", "%2fetc%2fpasswd"] {
        let answer = server.post(&format!("/v2/repository/models/{name}/load"), b"");
        assert_eq!(answer.status, 404, "{answer:?}");
    }
}

#[test]
fn what_cannot_be_served() {
    let dir = folder();
    let missing = dir.path().join("missing.safetensors");
    let broken = dir.path().join("broken.safetensors");
    std::fs::write(&broken, "no model").unwrap();
    let twice = ["--model", text(model()), "--model", text(model())];
    let spaced = format!("a b={}", text(model()));
    for (args, words) in [
        (&["--model", text(&missing)][..], &["missing.safetensors", "No such file"][..]),
        (&["--model", text(&broken)], &["broken.safetensors", "not a weights file"]),
        (&["--models", text(&missing)], &["missing.safetensors", "folder of model files"]),
        (&twice, &["two models are called model", "NAME=FILE"]),
        (&["--model", &spaced], &["a b", "letters"]),
        (&[], &["--model"]),
        (&["--model", text(model()), "--listen", "nowhere"], &["--listen", "127.0.0.1:8080"]),
        (&["--model", text(model()), "--listen", "192.0.2.1:80", "--insecure"], &["192.0.2.1:80"]),
    ] {
        ckaad(&[&["serve", "--device", "cpu"], args].concat()).fails(2, words);
    }
}
