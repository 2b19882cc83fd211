//! How it ends, and what it tells.

use crate::limits::slow_picture;
use crate::scores::{bytes, pictures};
use crate::server::*;
use serde_json::Value;
use std::time::{Duration, Instant};

/// Everything begun is finished, and nothing else is begun.
#[test]
fn stopped_in_the_middle_of_a_request() {
    for signal in ["TERM", "INT"] {
        let mut server = Server::new(&[]);
        let slow = slow_picture();
        let good = bytes(&pictures()[0]);
        let (url, before) = (server.at("/score"), agent());
        answer(before.post(&url).send(&good[..]).unwrap()).ok();
        let asked = std::thread::spawn(move || answer(agent().post(url).send(slow).unwrap()));
        until(|| server.metric("ckaad_queue_pictures") == 1.0);
        server.signal(signal);
        server.until_told("stopping");
        until(|| std::net::TcpStream::connect(server.host()).is_err());
        assert!(asked.join().unwrap().ok()["score"].is_number());
        assert_eq!(server.ended(), Some(0));
    }
}

/// Twice: at once.
#[test]
fn stopped_twice() {
    let mut server = Server::new(&[]);
    let _waiting = server.send(&head("POST", "/score", "Content-Length: 10\r\n"));
    until(|| server.metric("ckaad_connections ") >= 2.0);
    let begun = Instant::now();
    server.signal("INT");
    server.until_told("stopping");
    server.signal("INT");
    assert_eq!(server.ended(), Some(130));
    assert!(begun.elapsed() < Duration::from_secs(5));
}

/// No longer than that is waited for.
#[test]
fn a_client_that_never_ends() {
    let mut server = Server::new(&["--grace", "0.3"]);
    let _waiting = server.send(&head("POST", "/score", "Content-Length: 10\r\n"));
    until(|| server.metric("ckaad_connections ") >= 2.0);
    server.signal("TERM");
    let begun = Instant::now();
    assert_eq!(server.ended(), Some(0));
    assert!(begun.elapsed() < Duration::from_secs(5));
    server.until_told("0.3 s were not enough");
}

#[test]
fn a_line_for_each_request() {
    let picture = bytes(&pictures()[0]);
    let server = Server::new(&["--log-format", "json"]);
    server.score(&picture).ok();
    server.post("/score?model=secret-name", &picture).refused(404, &[]);
    server.until_told("404");
    let lines: Vec<Value> = server.log().lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    let requests: Vec<&Value> = lines.iter().filter(|l| l["message"] == "request").collect();
    assert_eq!(requests.len(), 2, "{lines:?}");
    assert_eq!(
        (&requests[0]["path"], &requests[0]["status"], &requests[0]["method"]),
        (&"/score".into(), &200.into(), &"POST".into())
    );
    assert!(
        requests[0]["ms"].as_f64().unwrap() > 0.0 && requests[0]["peer"].as_str().unwrap().starts_with("127.0.0.1:")
    );
    let quiet = Server::new(&["-q"]);
    quiet.score(&picture).ok();
    assert_eq!(quiet.log(), "");
}

/// Every line of the metrics is one of Prometheus' format, and says what happened.
#[test]
fn metrics() {
    let server = Server::new(&[]);
    let picture = bytes(&pictures()[0]);
    for _ in 0..3 {
        server.score(&picture).ok();
    }
    server.score(b"no picture").refused(422, &[]);
    let all = server.get("/metrics");
    let text = all.json.as_str().unwrap();
    assert!(text.ends_with("# EOF\n"));
    for line in text.lines().filter(|l| !l.starts_with('#')) {
        let (name, value) = line.rsplit_once(' ').unwrap();
        assert!(name.starts_with("ckaad_") && value.parse::<f64>().is_ok(), "{line}");
    }
    for (line, expected) in [
        ("ckaad_requests_total{route=\"/score\",status=\"200\"}", 3.0),
        ("ckaad_requests_total{route=\"/score\",status=\"422\"}", 1.0),
        ("ckaad_request_seconds_count{route=\"/score\"}", 4.0),
        ("ckaad_pictures_total{model=\"model\"}", 3.0),
        ("ckaad_batch_pictures_count{model=\"model\"}", 3.0),
        ("ckaad_refused_total{reason=\"data\"}", 1.0),
        ("ckaad_queue_pictures{model=\"model\"}", 0.0),
        ("ckaad_models ", 1.0),
    ] {
        assert_eq!(server.metric(line), expected, "{line}");
    }
    assert!(server.metric("ckaad_resident_memory_bytes ") > 1e7);
}
