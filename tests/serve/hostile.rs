//! Requests that no honest client sends. Each gets one clear error, the next good one is answered, and nothing is left of it.

use crate::scores::{bytes, form, pictures};
use crate::server::*;
use serde_json::json;

/// A request of bytes, and what comes back of it: the beginning of the answer, and a word of it. Nothing, where the connection ends
/// without one.
fn cases(good: &[u8]) -> Vec<(&'static str, Vec<u8>, &'static str, &'static str)> {
    let close = "Connection: close\r\n";
    let post = |path: &str, headers: &str, body: &[u8]| {
        let headers = format!("{close}{headers}Content-Length: {}\r\n", body.len());
        [head("POST", path, &headers), body.to_vec()].concat()
    };
    let infer = |value: serde_json::Value| post("/v2/models/model/infer", "", value.to_string().as_bytes());
    let pixels = |shape: serde_json::Value, datatype: &str, data: serde_json::Value| {
        infer(json!({ "inputs": [{ "name": "pixels", "shape": shape, "datatype": datatype, "data": data }] }))
    };
    let binary = |length: &str, size: usize, body: &[u8]| {
        let inputs = json!([{
            "name": "pixels", "shape": [1, 2, 2, 3], "datatype": "UINT8", "parameters": { "binary_data_size": size }
        }]);
        let json = json!({ "inputs": inputs }).to_string();
        let length = if length.is_empty() { json.len().to_string() } else { length.into() };
        let headers = format!("Inference-Header-Content-Length: {length}\r\n");
        post("/v2/models/model/infer", &headers, &[json.as_bytes(), body].concat())
    };
    let elements = |data: &[u8]| {
        let json = json!({ "inputs": [{
            "name": "image", "shape": [1], "datatype": "BYTES", "parameters": { "binary_data_size": data.len() }
        }] })
        .to_string();
        let headers = format!("Inference-Header-Content-Length: {}\r\n", json.len());
        post("/v2/models/model/infer", &headers, &[json.as_bytes(), data].concat())
    };
    let (kind, mut broken) = form(&[("a.png", good)]);
    broken.truncate(broken.len() - 40);
    let multipart = format!("Content-Type: {kind}\r\n");
    let mut cut = post("/score", "", good);
    cut.truncate(cut.len() - 100);
    let huge = "1".repeat(40);
    vec![
        ("truncated", post("/score", "", &good[..good.len() / 2]), "422", "damaged"),
        ("of a wrong type", post("/score", "", b"%PDF-1.7 hello"), "422", "not a picture"),
        ("an empty body", post("/score", "", b""), "400", "empty"),
        ("a form that breaks off", post("/score", &multipart, &broken), "400", "multipart"),
        ("a form without a boundary", post("/score", "Content-Type: multipart/form-data\r\n", good), "400", "boundary"),
        ("gzip that is none", post("/score", "Content-Encoding: gzip\r\n", good), "400", "broke off"),
        ("an unknown encoding", post("/score", "Content-Encoding: br\r\n", good), "415", "gzip"),
        ("a body shorter than it says, and gone", cut, "", ""),
        ("a body longer than it says", [post("/score", "", good), b"GARBAGE".to_vec()].concat(), "200", "score"),
        ("a length that is no number", head("POST", "/score", "Content-Length: -5\r\n"), "400", ""),
        ("a length beyond all", head("POST", "/score", &format!("Content-Length: {huge}\r\n")), "400", ""),
        (
            "a terabyte",
            head("POST", "/score", "Content-Length: 1000000000000\r\nConnection: close\r\n"),
            "413",
            "larger",
        ),
        ("two lengths", head("POST", "/score", "Content-Length: 5\r\nContent-Length: 6\r\n"), "400", ""),
        (
            "chunks that are none",
            [head("POST", "/score", "Transfer-Encoding: chunked\r\n"), b"zz\r\n".to_vec()].concat(),
            "400",
            "broke off",
        ),
        ("no HTTP", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(), "400", ""),
        ("a head without end", [b"GET / HTTP/1.1\r\nX: ".to_vec(), vec![b'a'; 100_000]].concat(), "431", ""),
        ("a path upwards", head("GET", "/../../etc/passwd", close), "404", "nothing is here"),
        ("a model upwards", post("/v2/models/..%2f..%2fetc%2fpasswd/infer", "", b"{}"), "404", "no model"),
        ("a model that is no text", post("/v2/models/%ff/infer", "", b"{}"), "400", "error"),
        ("a version", post("/v2/models/model/versions/9/infer", "", b"{}"), "404", "version"),
        ("no JSON", post("/v2/models/model/infer", "", b"\x89PNG"), "400", "Open Inference Protocol"),
        ("no inputs", infer(json!({})), "400", "inputs"),
        ("an empty list of inputs", infer(json!({ "inputs": [] })), "400", "expected one input"),
        ("lists a thousand deep", post("/v2/models/model/infer", "", &[b'['; 1000]), "400", "Open Inference Protocol"),
        (
            "numbers a thousand deep",
            {
                let nested = format!("{}1{}", "[".repeat(1000), "]".repeat(1000));
                let inputs = format!(
                    r#"{{"inputs":[{{"name":"pixels","shape":[1,1,1,1],"datatype":"UINT8","data":{nested}}}]}}"#
                );
                post("/v2/models/model/infer", "", inputs.as_bytes())
            },
            "400",
            "recursion",
        ),
        (
            "NaN in JSON",
            {
                let inputs = r#"{"inputs":[{"name":"pixels","shape":[1,1,1,1],"datatype":"FP32","data":[NaN]}]}"#;
                post("/v2/models/model/infer", "", inputs.as_bytes())
            },
            "400",
            "expected value",
        ),
        ("infinity", pixels(json!([1, 1, 1, 1]), "FP32", json!([1e300])), "400", "holds inf"),
        ("a negative pixel", pixels(json!([1, 1, 1, 1]), "UINT8", json!([-1])), "400", "0 to 255"),
        ("too large a pixel", pixels(json!([1, 1, 1, 1]), "UINT8", json!([256])), "400", "0 to 255"),
        ("text for a pixel", pixels(json!([1, 1, 1, 1]), "UINT8", json!(["1"])), "400", "0 to 255"),
        ("a number for a list", pixels(json!([1, 1, 1, 1]), "UINT8", json!(7)), "400", "a list"),
        ("too few values", pixels(json!([1, 2, 2, 3]), "UINT8", json!([1, 2])), "400", "2 values, expected 12"),
        (
            "too many values",
            pixels(json!([1, 1, 1, 1]), "UINT8", json!([[1, 2], [3]])),
            "400",
            "more than the 1 values",
        ),
        ("a negative size", pixels(json!([-1, 1, 1, 1]), "UINT8", json!([1])), "400", "-1"),
        ("a product beyond all", pixels(json!([3, u64::MAX, u64::MAX, 3]), "UINT8", json!([1])), "413", "allowed"),
        ("a batch beyond all", pixels(json!([u64::MAX, 1, 1, 1]), "UINT8", json!([1])), "413", "allowed"),
        ("an empty batch", pixels(json!([0, 4, 4, 3]), "UINT8", json!([])), "400", "empty batch"),
        ("no pixels", pixels(json!([1, 0, 4, 3]), "UINT8", json!([])), "400", "holds no pixels"),
        ("channels first", pixels(json!([1, 3, 8, 8]), "UINT8", json!([])), "400", "NCHW"),
        ("a shape of many numbers", pixels(json!(vec![1; 9]), "UINT8", json!([1])), "400", "more than 8 numbers"),
        (
            "more elements than its shape",
            infer(json!({ "inputs": [{ "name": "image", "shape": [1], "datatype": "BYTES", "data": ["", ""] }] })),
            "400",
            "more than the 1 values",
        ),
        ("more bytes than its shape", elements(&[0; 4000]), "400", "more than the 1 elements"),
        ("a datatype", pixels(json!([1, 1, 1, 1]), "FP64", json!([1])), "400", "FP64"),
        ("a layout", pixels(json!([4, 4]), "UINT8", json!([])), "400", "[pictures, height, width, channels]"),
        ("binary data too short", binary("", 12, &[0; 11]), "400", "11 bytes are left"),
        ("binary data too long", binary("", 12, &[0; 13]), "400", "1 bytes of binary data are left over"),
        ("binary data of another size", binary("", 11, &[0; 11]), "400", "expected 12 values"),
        ("a header beyond the body", binary("99999", 12, &[0; 12]), "400", "inference-header-content-length"),
        ("a header that cuts JSON", binary("10", 12, &[0; 12]), "400", "Open Inference Protocol"),
        ("a header that is no number", binary("x", 12, &[0; 12]), "400", "inference-header-content-length"),
        (
            "shared memory",
            infer(json!({ "inputs": [{
            "name": "pixels", "shape": [1, 1, 1, 1], "datatype": "UINT8", "parameters": { "shared_memory_region": "a" }
        }] })),
            "400",
            "shared memory",
        ),
        ("an element beyond the data", elements(&[255, 255, 255, 255, 1, 2, 3, 4]), "400", "leads beyond the data"),
        ("loading what nobody allowed", post("/v2/repository/models/model/unload", "", b""), "403", "--allow-load"),
        ("another site's page", post("/score", "Sec-Fetch-Site: cross-site\r\n", good), "403", "another site"),
    ]
}

#[test]
fn one_clear_error_each() {
    let server = Server::new(&["--header-timeout", "1", "--timeout", "5"]);
    let good = bytes(&pictures()[0]);
    let said = server.score(&good).ok();
    for (name, request, status, word) in cases(&good) {
        let stream = server.send(&request);
        if status.is_empty() {
            stream.shutdown(std::net::Shutdown::Write).unwrap();
        }
        let told = rest(stream);
        let answers = told.matches("HTTP/1.1 ").count();
        if status.is_empty() {
            assert!(!told.contains(" 200 "), "{name}: {told}");
        } else {
            assert!(told.starts_with(&format!("HTTP/1.1 {status} ")) && told.contains(word), "{name}: {told}");
            assert_eq!(answers, 1, "{name}: {told}");
            // What cannot even be read as a request is refused without a body.
            if status != "200" && !word.is_empty() {
                let body = told.rsplit_once("\r\n\r\n").unwrap().1;
                let json: serde_json::Value =
                    serde_json::from_str(body).unwrap_or_else(|e| panic!("{name}: {e}: {told}"));
                assert!(json["error"].is_string(), "{name}: {told}");
            }
        }
        assert_eq!(server.score(&good).ok(), said, "after {name}");
    }
    let log = server.log();
    assert!(!log.contains("ERROR") && !log.contains("panicked"), "{log}");
}

/// Of what a client sends an error holds no more than a part.
#[test]
fn errors_stay_short() {
    let server = Server::new(&[]);
    let long = "é".repeat(50_000);
    let input = |name: &str, datatype: &str| json!({ "name": name, "shape": [1], "datatype": datatype, "data": [""] });
    for request in [
        json!({ "inputs": [input(&long, "BYTES")] }),
        json!({ "inputs": [input("image", &long)] }),
        json!({ "inputs": [input("image", "BYTES")], "outputs": [{ "name": long }] }),
        json!({ "inputs": vec![input(&long, "BYTES"); 20] }),
        json!({ "inputs": long }),
    ] {
        let answer = server.post("/v2/models/model/infer", request.to_string().as_bytes()).refused(400, &[]);
        let said = answer.json["error"].as_str().unwrap();
        assert!((10..1100).contains(&said.len()), "{} bytes", said.len());
    }
}

/// Memory after as before, within 5 %.
#[cfg(target_os = "linux")]
#[test]
fn nothing_is_left_of_it() {
    let server = Server::new(&["--header-timeout", "1", "--timeout", "2", "-q"]);
    let good = bytes(&pictures()[0]);
    let cases: Vec<Vec<u8>> =
        cases(&good).into_iter().filter(|c| !c.2.is_empty() && c.0 != "a terabyte").map(|c| c.1).collect();
    let all = |times: usize| {
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..times {
                        cases.iter().for_each(|request| drop(server.raw(request)));
                        answer(agent().post(server.at("/score")).send(&good[..]).unwrap()).ok();
                    }
                });
            }
        });
    };
    // What allocators and threads keep for later is there after some of it.
    all(5);
    let before = server.memory();
    all(12);
    let after = server.memory();
    assert!(after <= 1.05 * before, "{:.1} MB became {:.1} MB", before / 1e6, after / 1e6);
    assert_eq!(server.metric("ckaad_held_bytes "), 0.0);
    assert_eq!(server.metric("ckaad_queue_pictures"), 0.0);
}

/// Ten thousand, as fast as they can be sent: each is answered or told to come again.
#[test]
fn ten_thousand_at_once() {
    let server = Server::new(&["--queue", "16", "-q"]);
    let good = bytes(&pictures()[0]);
    let mut request = head("POST", "/score", &format!("Content-Length: {}\r\n", good.len()));
    request.extend_from_slice(&good);
    // On each connection many behind each other, none waiting for an answer.
    let (connections, each) = (100, 100);
    let (done, refused) = std::thread::scope(|scope| {
        let ask = || {
            let mut sent = request.repeat(each - 1);
            let last = format!("Connection: close\r\nContent-Length: {}\r\n", good.len());
            sent.extend([head("POST", "/score", &last), good.clone()].concat());
            let stream = std::net::TcpStream::connect(server.host()).unwrap();
            let mut writer = stream.try_clone().unwrap();
            let writes = scope.spawn(move || std::io::Write::write_all(&mut writer, &sent).unwrap());
            let told = rest(stream);
            writes.join().unwrap();
            (told.matches("HTTP/1.1 200 ").count(), told.matches("HTTP/1.1 503 ").count())
        };
        let all: Vec<_> = (0..connections).map(|_| scope.spawn(ask)).collect();
        all.into_iter().map(|one| one.join().unwrap()).fold((0, 0), |a, b| (a.0 + b.0, a.1 + b.1))
    });
    assert_eq!(done + refused, connections * each, "{done} {refused}");
    assert!(done > 0);
    server.score(&good).ok();
}
