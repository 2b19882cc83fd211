//! What is too much is refused, in time and with a word; what comes after it is answered.

use crate::scores::{bytes, pictures};
use crate::server::*;
use crate::support::*;
use std::io::Write;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

/// A picture of few bytes that takes a while to decode.
pub fn slow_picture() -> &'static [u8] {
    static FILE: LazyLock<Vec<u8>> = LazyLock::new(|| {
        let mut file = std::io::Cursor::new(Vec::new());
        let picture = image::RgbImage::from_fn(6000, 4000, |x, y| image::Rgb([x as u8, y as u8, (x / 16) as u8]));
        picture.write_to(&mut file, image::ImageFormat::Png).unwrap();
        file.into_inner()
    });
    &FILE
}

#[test]
fn a_full_queue() {
    let server = Server::new(&["--queue", "2"]);
    let (slow, good) = (slow_picture(), bytes(&pictures()[0]));
    let answers: Vec<Answer> = std::thread::scope(|scope| {
        let ask = || scope.spawn(|| answer(agent().post(server.at("/score")).send(slow).unwrap()));
        let all: Vec<_> = (0..8).map(|_| ask()).collect();
        all.into_iter().map(|one| one.join().unwrap()).collect()
    });
    let refused = answers.iter().filter(|a| a.status == 503).count();
    assert!(refused > 0 && refused < 8, "{refused} of 8 were refused");
    for answer in answers.into_iter().filter(|a| a.status != 200) {
        assert!(answer.retry_after.is_some_and(|s| (1..60).contains(&s)), "{answer:?}");
        answer.refused(503, &["queue is full", "of 2 pictures"]);
    }
    server.score(&good).ok();
    assert_eq!(server.metric("ckaad_refused_total{reason=\"queue full\"}"), refused as f64);
    // More than fit at all are no matter of the moment.
    let files: Vec<(&str, &[u8])> = vec![("a", &good[..]); 3];
    crate::scores::post_form(&server, "/score", &files).refused(413, &["3 pictures", "the 2 allowed"]);
}

#[test]
fn bodies_and_pictures_that_are_too_large() {
    let server = Server::new(&["--max-body", "1", "--max-pixels", "5000"]);
    let good = bytes(&pictures()[0]);
    // All of it is sent: the answer is read nevertheless.
    server.score(&vec![7; 3_000_000]).refused(413, &["1000000 bytes"]);
    server.score(&good).ok();
    // A client that asks first is not asked for it.
    let asks = "Content-Length: 3000000\r\nExpect: 100-continue\r\n";
    let told = server.raw(&head("POST", "/score", asks));
    assert!(told.starts_with("HTTP/1.1 413 "), "{told}");
    // The same without saying so before.
    let mut chunked = head("POST", "/score", "Transfer-Encoding: chunked\r\nConnection: close\r\n");
    chunked.extend(format!("{:x}\r\n", 3_000_000).bytes());
    chunked.extend(vec![7; 3_000_000]);
    chunked.extend(b"\r\n0\r\n\r\n");
    let told = server.raw(&chunked);
    assert!(told.starts_with("HTTP/1.1 413 ") && told.contains("1000000 bytes"), "{told}");
    // A gigabyte of zeros in a megabyte, and less.
    let mut bomb = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    (0..300).for_each(|_| bomb.write_all(&vec![0; 1 << 20]).unwrap());
    let bomb = &bomb.finish().unwrap()[..900_000];
    let sent = server.agent.post(server.at("/score")).header("Content-Encoding", "gzip").send(bomb).unwrap();
    answer(sent).refused(413, &["1000000 bytes"]);
    // A file of some bytes that claims to be a picture of 90000 pixels.
    let dir = folder();
    let path = dir.path().join("wide.png");
    write_png(&path, 300, 300, |_, _| [9; 3]);
    server.score(&bytes(&path)).refused(422, &["300 x 300", "5000 allowed"]);
    server.score(&good).ok();
}

/// What all requests hold together.
#[test]
fn memory() {
    let server = Server::new(&["--max-memory", "1"]);
    let good = bytes(&pictures()[0]);
    let waiting = server.send(&[head("POST", "/score", "Content-Length: 900000\r\n"), vec![7; 800_000]].concat());
    until(|| server.metric("ckaad_held_bytes ") > 700_000.0);
    let refused = server.score(&vec![7; 400_000]).refused(503, &["1 MB"]);
    assert_eq!(refused.retry_after, Some(1));
    drop(waiting);
    until(|| server.metric("ckaad_held_bytes ") == 0.0);
    server.score(&good).ok();
    // More than can ever be had is no matter of the moment: a body, and pixels of a small one.
    server.score(&vec![7; 2_000_000]).refused(413, &["1 MB"]);
    let dir = folder();
    let [large, fits] = [600, 500].map(|side| {
        let path = dir.path().join(format!("{side}.png"));
        write_png(&path, side, side, |_, _| [9; 3]);
        bytes(&path)
    });
    server.score(&large).refused(413, &["takes 2 MB", "the 1 MB"]);
    server.score(&fits).ok();
    assert_eq!(server.metric("ckaad_held_bytes "), 0.0);
}

/// Nothing is computed for whom has gone while it waited.
#[test]
fn clients_that_go_away() {
    let server = Server::new(&[]);
    let slow = slow_picture();
    let queued = |count: f64| until(|| server.metric("ckaad_queue_pictures") == count);
    std::thread::scope(|scope| {
        let first = scope.spawn(|| answer(agent().post(server.at("/score")).send(slow).unwrap()).ok());
        queued(1.0);
        let request = [head("POST", "/score", &format!("Content-Length: {}\r\n", slow.len())), slow.to_vec()].concat();
        let second = server.send(&request);
        queued(2.0);
        drop(second);
        first.join().unwrap();
    });
    queued(0.0);
    assert_eq!(server.metric("ckaad_pictures_total"), 1.0);
    server.score(&bytes(&pictures()[0])).ok();
}

#[test]
fn slow_clients() {
    let server = Server::new(&["--header-timeout", "0.4", "--timeout", "0.8", "--max-connections", "8"]);
    let good = bytes(&pictures()[0]);
    let begun = Instant::now();
    // Those that never finish their head, those that never finish their body, those that never say anything.
    let part = head("POST", "/score", "Content-Length: 1000\r\n");
    let slow = [server.send(b"POST /score HTTP/1.1\r\nHost: x\r\nX-"), server.send(&part), server.send(b"")];
    // They keep nobody from being answered.
    server.score(&good).ok();
    let told: Vec<String> = slow.into_iter().map(rest).collect();
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert!(told[1].starts_with("HTTP/1.1 408 ") && told[1].contains("did not come within 0.8 s"), "{told:?}");
    assert!(told[0].is_empty() && told[2].is_empty(), "{told:?}");
    assert!(server.metric("ckaad_refused_total{reason=\"slow\"}") >= 2.0);
    server.score(&good).ok();
}

#[test]
fn too_many_connections() {
    let server = Server::new(&["--max-connections", "4", "--header-timeout", "1"]);
    let held: Vec<_> = (0..4).map(|_| server.send(b"GET")).collect();
    let mut told = String::new();
    until(|| {
        told = server.raw(&head("GET", "/v2/health/live", "Connection: close\r\n"));
        told.starts_with("HTTP/1.1 503 ")
    });
    assert!(told.contains("Retry-After: 1") && told.contains("4 connections are open"), "{told}");
    drop(held);
    until(|| server.raw(&head("GET", "/v2/health/live", "Connection: close\r\n")).starts_with("HTTP/1.1 200 "));
}
