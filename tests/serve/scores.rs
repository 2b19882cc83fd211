//! `POST /score`, beside what `ckaad score` says of the same pictures.

use crate::server::*;
use crate::support::*;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use std::path::PathBuf;

pub fn pictures() -> Vec<PathBuf> {
    ["good/000.png", "hole/000.png", "stain/001.png"].iter().map(|name| full().join("test").join(name)).collect()
}

/// What `ckaad score` prints.
pub fn expected(more: &[&str]) -> Vec<Value> {
    let pictures = pictures();
    let mut args = vec!["score", "--device", "cpu", "--model", text(model()), "--format", "json"];
    args.extend(more);
    args.extend(pictures.iter().map(|p| text(p)));
    ckaad(&args).ok().json()
}

pub fn bytes(picture: &PathBuf) -> Vec<u8> {
    std::fs::read(picture).unwrap()
}

/// A form with files.
pub fn form(files: &[(&str, &[u8])]) -> (String, Vec<u8>) {
    let mut body = b"--AaB\r\nContent-Disposition: form-data; name=\"note\"\r\n\r\nhello\r\n".to_vec();
    for (name, bytes) in files {
        let head = format!("--AaB\r\nContent-Disposition: form-data; name=\"f\"; filename=\"{name}\"\r\n\r\n");
        body.extend_from_slice(head.as_bytes());
        body.extend_from_slice(bytes);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(b"--AaB--\r\n");
    ("multipart/form-data; boundary=AaB".into(), body)
}

pub fn post_form(server: &Server, path: &str, files: &[(&str, &[u8])]) -> Answer {
    let (kind, body) = form(files);
    answer(server.agent.post(server.at(path)).content_type(kind).send(&body[..]).unwrap())
}

#[test]
fn the_same_bits_as_the_command_line() {
    let server = Server::new(&[]);
    let flags: [(&str, &[&str]); 2] =
        [("", &[]), ("?threshold=1e-9&pixel_threshold=0.25", &["--threshold", "1e-9", "--pixel-threshold", "0.25"])];
    for (query, flags) in flags {
        for (picture, said) in pictures().iter().zip(expected(flags)) {
            let answer = server.post(&format!("/score{query}"), &bytes(picture)).ok();
            for key in ["score", "score_normalized", "threshold", "anomalous", "regions"] {
                assert_eq!(answer[key], said[key], "{key}");
            }
            assert!(answer["score"].as_f64().unwrap().to_bits() == said["score"].as_f64().unwrap().to_bits());
            assert_eq!(
                (&answer["width"], &answer["height"], &answer["model"]),
                (&64.into(), &64.into(), &"model".into())
            );
        }
    }
}

#[test]
fn heat_maps_and_maps() {
    let (server, dir) = (Server::new(&[]), folder());
    let (heat, maps) = (dir.path().join("heat"), dir.path().join("maps"));
    for (query, flags) in
        [("png", &["--heatmaps", text(&heat)][..]), ("contours", &["--heatmaps", text(&heat), "--contours"])]
    {
        let said = expected(&[flags, &["--maps", text(&maps)]].concat());
        for (picture, said) in pictures().iter().zip(said) {
            let answer = server.post(&format!("/score?heatmap={query}&map=float32"), &bytes(picture)).ok();
            let png = STANDARD.decode(answer["heatmap"].as_str().unwrap()).unwrap();
            assert!(png == std::fs::read(said["heatmap"].as_str().unwrap()).unwrap(), "{query}");
            let (side, map) = npy(said["map"].as_str().unwrap().as_ref());
            assert_eq!(answer["map"]["shape"], json!([side, side]));
            let found = STANDARD.decode(answer["map"]["data"].as_str().unwrap()).unwrap();
            assert!(found == bytemuck::cast_slice::<f32, u8>(&map));
        }
    }
}

#[test]
fn forms_with_one_file_and_with_several() {
    let server = Server::new(&[]);
    let (pictures, said) = (pictures(), expected(&[]));
    let one = post_form(&server, "/score", &[("a.png", &bytes(&pictures[0]))]).ok();
    assert_eq!((&one["score"], &one["name"]), (&said[0]["score"], &"a.png".into()));
    let files: Vec<Vec<u8>> = pictures.iter().map(bytes).collect();
    let several = [("../a.png", &files[0][..]), ("b", b"no picture"), ("c.png", &files[1]), ("d.png", &files[2])];
    let results = post_form(&server, "/score", &several).ok();
    let results = results["results"].as_array().unwrap();
    assert_eq!(results.len(), 4);
    assert!(results[1]["error"].as_str().unwrap().contains("not a picture"), "{}", results[1]);
    assert_eq!(results[1]["status"], 422);
    for (result, said) in [(0, 0), (2, 1), (3, 2)].map(|(i, j)| (&results[i], &said[j])) {
        // Several may be computed in one batch, whose products are summed in another order.
        let (found, said) = (result["score"].as_f64().unwrap(), said["score"].as_f64().unwrap());
        assert!((found - said).abs() <= 1e-5 * said, "{found} {said}");
    }
    assert_eq!(results[0]["name"], "../a.png");
    let empty = post_form(&server, "/score", &[]);
    empty.refused(400, &["without a file"]);
}

#[test]
fn what_is_asked_for_wrongly() {
    let server = Server::new(&[]);
    let picture = bytes(&pictures()[0]);
    for (query, status, words) in [
        ("threshold=nan", 400, &["threshold", "finite"][..]),
        ("pixel_threshold=inf", 400, &["pixel_threshold", "finite"]),
        ("threshold=x", 400, &["threshold"]),
        ("heatmap=gif", 400, &["gif", "png"]),
        ("map=int8", 400, &["int8", "float32"]),
        ("colour=red", 400, &["colour"]),
        ("model=nothing", 404, &["\"nothing\"", "expected one of model"]),
        ("model=..%2f..%2fetc%2fpasswd", 404, &["etc/passwd", "expected one of model"]),
    ] {
        server.post(&format!("/score?{query}"), &picture).refused(status, words);
        server.score(&picture).ok();
    }
    server.get("/score").refused(405, &["another method"]);
    server.get("/nowhere").refused(404, &["nothing is here"]);
    server.score(b"").refused(400, &["empty", "expected a picture"]);
}

/// What a model cannot say is null, or refused where it is asked for.
#[test]
fn a_model_without_thresholds() {
    let dir = folder();
    let own = own_model(&dir);
    rewrite(
        &own,
        |_| true,
        |m| m.retain(|key, _| !["threshold", "pixel_threshold", "calibration"].contains(&&key[..])),
    );
    let server = Server::start(serving(&["--model", text(&own)]));
    let picture = bytes(&pictures()[0]);
    let answer = server.post("/score?heatmap=png", &picture).ok();
    for key in ["score_normalized", "threshold", "anomalous", "regions", "pixel_threshold"] {
        assert_eq!(answer[key], Value::Null, "{key}");
    }
    assert!(answer["score"].is_number() && answer["heatmap"].is_string());
    server.post("/score?heatmap=contours", &picture).refused(400, &["no threshold", "pixel_threshold"]);
    server.post("/score?heatmap=contours&pixel_threshold=0.1", &picture).ok();
}

/// Pictures of any shape, looked at in tiles; each is a batch by itself.
#[test]
fn a_model_of_tiles() {
    let dir = folder();
    let (tiled, wide) = (dir.path().join("tiled.safetensors"), dir.path().join("wide.png"));
    train(full(), &tiled, "--strategy ckapatch --tile 32").ok();
    write_png(&wide, 100, 60, |x, y| [(3 * x) as u8, (5 * y) as u8, if x > 70 && y > 30 { 250 } else { 90 }]);
    let server = Server::start(serving(&["--model", text(&tiled)]));
    let args = ["score", "--device", "cpu", "--model", text(&tiled), "--format", "json"];
    for path in [&wide, &pictures()[1]] {
        let said = ckaad(&[&args[..], &[text(path)]].concat()).ok().json()[0].clone();
        let answer = server.post("/score?map=float32&heatmap=png", &bytes(path)).ok();
        let (found, expected) = (answer["score"].as_f64().unwrap(), said["score"].as_f64().unwrap());
        assert!((found - expected).abs() <= 1e-5 * expected, "{found} {expected}");
        let count = |v: &Value| v["regions"].as_array().unwrap().len();
        assert_eq!((&answer["anomalous"], count(&answer)), (&said["anomalous"], count(&said)));
        let shape: Vec<u64> = answer["map"]["shape"].as_array().unwrap().iter().map(|n| n.as_u64().unwrap()).collect();
        assert_eq!(shape[0] * answer["width"].as_u64().unwrap(), shape[1] * answer["height"].as_u64().unwrap());
    }
    assert_eq!(server.metric("ckaad_held_bytes "), 0.0);
    // Maps of two shapes are no tensor.
    let files = [&wide, &pictures()[1]].map(|path| STANDARD.encode(bytes(path)));
    let input = json!({ "name": "image", "shape": [2], "datatype": "BYTES", "data": files });
    let ask = |output: &str| {
        let request = json!({ "inputs": [input], "outputs": [{ "name": output }] });
        server.post("/v2/models/tiled/infer", request.to_string().as_bytes())
    };
    ask("map").refused(400, &["\"map\"", "one size"]);
    ask("score").ok();
    // Of some ten thousand tiles the rest is not computed for whom has had its time: the next one would wait too long.
    let server = Server::start(serving(&["--model", text(&tiled), "--timeout", "3"]));
    server.score(crate::limits::slow_picture()).refused(504, &["3 s"]);
    server.score(&bytes(&wide)).ok();
}
