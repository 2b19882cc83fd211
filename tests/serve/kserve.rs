//! The Open Inference Protocol by hand. `tests/http` has it with a client of others.

use crate::scores::{bytes, expected, pictures};
use crate::server::*;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

fn infer(server: &Server, request: &Value) -> Answer {
    server.post("/v2/models/model/versions/1/infer", request.to_string().as_bytes())
}

/// RGB samples of a picture, as numbers.
fn samples(picture: &std::path::Path) -> (Vec<u8>, [usize; 4]) {
    let rgb = image::open(picture).unwrap().into_rgb8();
    let shape = [1, rgb.height() as usize, rgb.width() as usize, 3];
    (rgb.into_raw(), shape)
}

#[test]
fn files_and_samples_in_json() {
    let server = Server::new(&[]);
    for (picture, said) in pictures().iter().zip(expected(&[])) {
        let image =
            json!({ "name": "image", "shape": [1], "datatype": "BYTES", "data": [STANDARD.encode(bytes(picture))] });
        let (flat, shape) = samples(picture);
        let flat_samples = json!({ "name": "pixels", "shape": shape, "datatype": "UINT8", "data": flat });
        let rows: Vec<Vec<[u8; 3]>> = flat.chunks(3 * shape[2]).map(|row| row.as_chunks::<3>().0.to_vec()).collect();
        let nested = json!({ "name": "pixels", "shape": shape, "datatype": "UINT8", "data": [rows] });
        let floats: Vec<f32> = flat.iter().map(|v| f32::from(*v) / 255.0).collect();
        let floats = json!({ "name": "pixels", "shape": shape, "datatype": "FP32", "data": floats });
        for input in [image, flat_samples, nested, floats] {
            let answer = infer(&server, &json!({ "id": "x-1", "inputs": [input] })).ok();
            let outputs = json!([
                { "name": "score", "datatype": "FP64", "shape": [1], "data": [said["score"]] },
                { "name": "score_normalized", "datatype": "FP64", "shape": [1], "data": [said["score_normalized"]] },
                { "name": "anomalous", "datatype": "BOOL", "shape": [1], "data": [said["anomalous"]] },
            ]);
            let whole = json!({ "id": "x-1", "model_name": "model", "model_version": "1", "outputs": outputs });
            assert_eq!(answer, whole);
        }
    }
}

/// Both ways as bytes behind JSON, compressed both ways.
#[test]
fn binary_tensors() {
    let server = Server::new(&[]);
    let said = &expected(&[])[1];
    let (flat, shape) = samples(&pictures()[1]);
    let asked = json!({
        "inputs": [{ "name": "pixels", "shape": shape, "datatype": "UINT8", "parameters": { "binary_data_size": flat.len() } }],
        "outputs": [{ "name": "regions" }, { "name": "score", "parameters": { "binary_data": false } }, { "name": "map" }],
        "parameters": { "binary_data_output": true },
    })
    .to_string();
    let body = [asked.as_bytes(), &flat].concat();
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut packed, &body).unwrap();
    let packed = packed.finish().unwrap();
    for (body, encoding) in [(&body, None), (&packed, Some("gzip"))] {
        let mut request = server.agent.post(server.at("/v2/models/model/infer"));
        request = request.header("Inference-Header-Content-Length", asked.len());
        if let Some(encoding) = encoding {
            request = request.header("Content-Encoding", encoding);
        }
        let response = request.send(&body[..]).unwrap();
        assert_eq!(response.status(), 200);
        let length: usize = response.headers()["inference-header-content-length"].to_str().unwrap().parse().unwrap();
        let body = response.into_body().read_to_vec().unwrap();
        let (json, data) = body.split_at(length);
        let json: Value = serde_json::from_slice(json).unwrap();
        let outputs = json["outputs"].as_array().unwrap();
        assert_eq!(outputs[1]["data"], json!([said["score"]]));
        let sizes: Vec<usize> =
            [0, 2].map(|i| outputs[i]["parameters"]["binary_data_size"].as_u64().unwrap() as usize).into();
        assert_eq!((sizes[0] + sizes[1], &outputs[2]["shape"]), (data.len(), &json!([1, 32, 32])));
        let (regions, map) = data.split_at(sizes[0]);
        assert_eq!(regions[..4], (regions.len() as u32 - 4).to_le_bytes());
        assert_eq!(serde_json::from_slice::<Value>(&regions[4..]).unwrap(), said["regions"]);
        let highest = map.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).fold(0.0, f32::max);
        assert_eq!(f64::from(highest), said["regions"][0]["peak"].as_f64().unwrap());
    }
}

/// More than one pass of the engine holds, in the order of the request.
#[test]
fn large_batches_keep_their_order() {
    let server = Server::new(&["--batch-size", "3"]);
    let (pictures, said) = (pictures(), expected(&[]));
    let order = [0, 1, 2, 2, 1, 0, 1, 1, 0, 2, 0];
    let files: Vec<String> = order.iter().map(|i| STANDARD.encode(bytes(&pictures[*i]))).collect();
    let input = json!({ "name": "image", "shape": [order.len()], "datatype": "BYTES", "data": files });
    let answer = infer(&server, &json!({ "inputs": [input], "outputs": [{ "name": "score" }] })).ok();
    let scores = answer["outputs"][0]["data"].as_array().unwrap();
    assert_eq!(scores.len(), order.len());
    for (score, i) in scores.iter().zip(order) {
        let (found, said) = (score.as_f64().unwrap(), said[i]["score"].as_f64().unwrap());
        assert!((found - said).abs() <= 1e-5 * said, "{found} {said}");
    }
    // One of them that cannot be read is named.
    let input = json!({ "name": "image", "shape": [2], "datatype": "BYTES", "data": [files[0], "AAAA"] });
    infer(&server, &json!({ "inputs": [input] })).refused(422, &["image", "picture 1", "not a picture"]);
    assert_eq!(server.metric("ckaad_pictures_total{model=\"model\"}"), (order.len() + 1) as f64);
}

#[test]
fn what_there_is() {
    let server = Server::new(&[]);
    assert_eq!(server.get("/v2").ok()["name"], "ckaad");
    for path in ["/v2/health/live", "/v2/health/ready", "/v2/models/model/ready", "/v2/models/model/versions/1/ready"] {
        assert_eq!(server.get(path).status, 200, "{path}");
    }
    let metadata = server.get("/v2/models/model").ok();
    assert_eq!(metadata, server.get("/v2/models/model/versions/1").ok());
    let names: Vec<&str> =
        metadata["outputs"].as_array().unwrap().iter().map(|o| o["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["score", "score_normalized", "anomalous", "map", "regions"]);
    server.get("/v2/models/nothing").refused(404, &["nothing"]);
    server.get("/v2/models/model/versions/2").refused(404, &["version"]);
}
