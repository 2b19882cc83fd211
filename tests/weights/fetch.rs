//! Downloading, against a small HTTP server on the loopback interface; and the command line around it.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::mpsc;

use ckaad::weights::fetch::{Fetched, fetch};
use ckaad::weights::registry::{self, Listed};
use sha2::{Digest, Sha256};

use crate::torch_file;

/// What the server does with one connection.
#[derive(Clone, Copy)]
enum Answer {
    /// Serves ranges.
    Normal,
    /// Sends everything with status 200, whatever was asked for.
    IgnoreRange,
    /// Announces everything, sends this many bytes, closes.
    CutAfter(usize),
    NotFound,
}

/// Serves `content` once per answer; yields the address and, as they come, the `Range` headers (or "").
fn serve(content: Vec<u8>, answers: Vec<Answer>) -> (String, mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/file.pth", listener.local_addr().unwrap());
    let (sender, ranges) = mpsc::channel();
    std::thread::spawn(move || {
        for answer in answers {
            let (mut stream, _) = listener.accept().unwrap();
            let mut range = String::new();
            for line in BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok) {
                if line.is_empty() {
                    break;
                }
                if let Some((_, value)) = line.split_once(':').filter(|(k, _)| k.eq_ignore_ascii_case("range")) {
                    range = value.trim().to_string();
                }
            }
            let start = range.strip_prefix("bytes=").and_then(|r| r.strip_suffix('-')).map(|r| r.parse().unwrap());
            sender.send(range).unwrap();
            let (total, mut body) = (content.len(), &content[..]);
            let status = match (answer, start) {
                (Answer::NotFound, _) => {
                    body = b"no such file";
                    "404 Not Found".to_string()
                }
                (Answer::IgnoreRange, _) | (_, None) => "200 OK".into(),
                (_, Some(start)) if start >= total => {
                    body = b"";
                    format!("416 Range Not Satisfiable\r\nContent-Range: bytes */{total}")
                }
                (_, Some(start)) => {
                    body = &content[start..];
                    format!("206 Partial Content\r\nContent-Range: bytes {start}-{}/{total}", total - 1)
                }
            };
            let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
            if let Answer::CutAfter(count) = answer {
                body = &body[..count];
            }
            stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body)).unwrap();
        }
    });
    (url, ranges)
}

fn content() -> Vec<u8> {
    (0..300_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

fn entry(content: &[u8]) -> Listed {
    let digest = Sha256::digest(content);
    Listed {
        name: "test".into(),
        backbone: "resnet18".into(),
        version: "V1".into(),
        file: "test.pth".into(),
        sha256: digest[..4].iter().map(|b| format!("{b:02x}")).collect(),
        mib: 0.3,
    }
}

fn names(folder: &Path) -> Vec<String> {
    let names = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    names.collect()
}

/// One fetch of [`content`] into `folder`; the outcome, and the ranges that the server was asked for.
fn fetch_from(folder: &Path, answers: Vec<Answer>) -> (Result<Fetched, String>, Vec<String>) {
    let content = content();
    let count = answers.len();
    let (url, ranges) = serve(content.clone(), answers);
    let mut last = 0;
    let outcome = fetch(&entry(&content), &url, folder, &mut |done, total| {
        assert!(total.is_none_or(|t| done <= t));
        last = done;
    });
    if let Ok(Fetched::Downloaded(path)) = &outcome {
        assert!(std::fs::read(path).unwrap() == content);
        assert_eq!(last, content.len() as u64, "progress reaches the end");
        assert_eq!(names(folder), ["test.pth"], "no part is left");
    }
    let ranges: Vec<String> = ranges.try_iter().collect();
    assert!(ranges.len() <= count);
    (outcome.map_err(|e| e.to_string()), ranges)
}

#[test]
fn a_file_is_downloaded_once() {
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path().join("made/on/demand");
    let (outcome, ranges) = fetch_from(&cache, vec![Answer::Normal]);
    assert_eq!(outcome, Ok(Fetched::Downloaded(cache.join("test.pth"))));
    assert_eq!(ranges, [""]);
    let (outcome, ranges) = fetch_from(&cache, vec![]);
    assert_eq!(outcome, Ok(Fetched::Present(cache.join("test.pth"))));
    assert!(ranges.is_empty());
    // A damaged file is not trusted.
    std::fs::write(cache.join("test.pth"), b"damaged").unwrap();
    let (outcome, _) = fetch_from(&cache, vec![Answer::Normal]);
    assert_eq!(outcome, Ok(Fetched::Downloaded(cache.join("test.pth"))));
}

#[test]
fn a_part_is_resumed() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("test.pth.part"), &content()[..100_000]).unwrap();
    let (outcome, ranges) = fetch_from(folder.path(), vec![Answer::Normal]);
    assert!(outcome.is_ok(), "{outcome:?}");
    assert_eq!(ranges, ["bytes=100000-"]);
}

#[test]
fn a_server_without_ranges_sends_everything() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("test.pth.part"), b"something else").unwrap();
    let (outcome, ranges) = fetch_from(folder.path(), vec![Answer::IgnoreRange]);
    assert!(outcome.is_ok(), "{outcome:?}");
    assert_eq!(ranges, ["bytes=14-"]);
}

#[test]
fn a_part_that_is_too_long_is_dropped() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("test.pth.part"), vec![0; 400_000]).unwrap();
    let (outcome, ranges) = fetch_from(folder.path(), vec![Answer::Normal, Answer::Normal]);
    assert!(outcome.is_ok(), "{outcome:?}");
    assert_eq!(ranges, ["bytes=400000-", ""]);
}

#[test]
fn a_cut_connection_is_an_error_and_can_be_resumed() {
    let folder = tempfile::tempdir().unwrap();
    let (outcome, _) = fetch_from(folder.path(), vec![Answer::CutAfter(123_456)]);
    let error = outcome.unwrap_err();
    assert!(error.contains("cut off after 123456 of 300000 bytes"), "{error}");
    assert_eq!(names(folder.path()), ["test.pth.part"]);
    let (outcome, ranges) = fetch_from(folder.path(), vec![Answer::Normal]);
    assert!(outcome.is_ok(), "{outcome:?}");
    assert_eq!(ranges, ["bytes=123456-"]);
}

#[test]
fn a_wrong_hash_removes_the_part() {
    let folder = tempfile::tempdir().unwrap();
    let mut damaged = content();
    damaged[1000] ^= 1;
    let (url, _ranges) = serve(damaged, vec![Answer::Normal]);
    let wanted = entry(&content());
    let error = fetch(&wanted, &url, folder.path(), &mut |_, _| {}).unwrap_err().to_string();
    assert!(error.contains(&format!("expected {}", wanted.sha256)) && error.contains(&url), "{error}");
    assert!(names(folder.path()).is_empty());
}

#[test]
fn the_address_is_named_when_it_fails() {
    let folder = tempfile::tempdir().unwrap();
    let (outcome, _) = fetch_from(folder.path(), vec![Answer::NotFound]);
    let error = outcome.unwrap_err();
    assert!(error.contains("404") && error.contains("http://127.0.0.1"), "{error}");
    // A part from before survives a failure of the server.
    std::fs::write(folder.path().join("test.pth.part"), &content()[..5000]).unwrap();
    assert!(fetch_from(folder.path(), vec![Answer::NotFound]).0.is_err());
    assert!(std::fs::read(folder.path().join("test.pth.part")).unwrap() == content()[..5000]);
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error = fetch(&entry(b""), &format!("http://{closed}/x"), folder.path(), &mut |_, _| {}).unwrap_err();
    assert!(error.to_string().contains("cannot download http://127.0.0.1"), "{error}");
}

fn ckaad(cache: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ckaad"));
    command.arg("weights").args(args).env("CKAAD_CACHE", cache).env_remove("CKAAD_WEIGHTS_URL").output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn the_command_reports_a_wrong_hash_and_unknown_names() {
    let folder = tempfile::tempdir().unwrap();
    let (url, _ranges) = serve(content(), vec![Answer::Normal]);
    let output = ckaad(folder.path(), &["fetch", "resnet18", "--url", &url]);
    assert!(!output.status.success());
    assert!(text(&output.stderr).starts_with("ckaad: error: http://127.0.0.1"), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("expected f37072fd"), "{}", text(&output.stderr));
    assert!(names(folder.path()).is_empty());

    let output = ckaad(folder.path(), &["fetch", "resnet19"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("resnet19") && text(&output.stderr).contains("wide_resnet50_2"));
}

#[test]
fn a_name_means_its_cached_file() {
    let folder = tempfile::tempdir().unwrap();
    let output = ckaad(folder.path(), &["inspect", "resnet18"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("ckaad weights fetch resnet18"), "{}", text(&output.stderr));
    std::fs::copy(torch_file("state_zip.pth"), folder.path().join("resnet18-f37072fd.pth")).unwrap();
    let output = ckaad(folder.path(), &["inspect", "resnet18", "--format", "json"]);
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["totals"]["tensors"], 10);
    // bn1.num_batches_tracked is the one number 12345.
    let counter = report["tensors"].as_array().unwrap().iter().find(|t| t["type"] == "I64").unwrap();
    assert_eq!((&counter["min"], &counter["mean"], &counter["std"]), (&12345.0.into(), &12345.0.into(), &0.0.into()));
}

#[test]
fn a_closed_pipe_is_not_an_error() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let file = torch_file("state_zip.pth");
    let mut command = Command::new(env!("CARGO_BIN_EXE_ckaad"));
    let output = command.args(["weights", "inspect"]).arg(file).stdout(writer).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(output.stderr.is_empty());
}

#[test]
fn the_manifest_covers_all_backbones() {
    let manifest = registry::manifest();
    let backbones =
        ["resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "wide_resnet50_2", "wide_resnet101_2"];
    for backbone in backbones {
        assert_eq!(registry::find(backbone).unwrap().version, "IMAGENET1K_V1");
    }
    for entry in &manifest.weights {
        assert!(backbones.contains(&entry.backbone.as_str()));
        assert!(entry.sha256.len() == 8 && entry.sha256.chars().all(|c| c.is_ascii_hexdigit()));
        // torchvision's rule: the file name ends with the first eight digits of the hash.
        assert!(entry.file.ends_with(&format!("-{}.pth", entry.sha256)), "{}", entry.file);
        assert!(entry.file.starts_with(&entry.backbone));
    }
    assert_eq!(manifest.licence, "BSD-3-Clause");
}
