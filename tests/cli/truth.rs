//! From a PNG to its score, held against PyTorch: decoding, resizing, normalisation, both networks, map, score.
//!
//! The numbers are the reference's in f64: the picture below written as a PNG, `build("resnet18", (2, 3), 64)`, then
//! `tensor(load([png], 64)).double()`, `anomaly_maps(f, ae(f), 64)` and `image_scores`. PyTorch's own f32 score is 1.1e-7
//! away from them.

use crate::common::{fill, golden_tensor};
use crate::support::*;
use ckaad::detector::BatchSpec;
use ckaad::detector::ckaad::scoring::{self, Judgement};
use ckaad::detector::ckaad::strategy::Normalization;
use ckaad::engine::tensor::DType;
use ckaad::model::features::Feed;
use ckaad::model::{Architecture, resnet};
use ckaad::weights::{Tensor, write_safetensors};

const SCORE: f64 = 1.2695440178359008;
const MEAN: f64 = 1.1984297704565305;
const MIN: f64 = 1.0634506592228308;
const MAX: f64 = 1.2750778889255856;
/// (row, column, value)
const POINTS: [(usize, usize, f64); 5] = [
    (0, 0, 1.1835712176204374),
    (0, 63, 1.2597337462731448),
    (63, 0, 1.2392677467357136),
    (32, 32, 1.20438679888007),
    (10, 50, 1.255734378800506),
];
const TOLERANCE: f64 = 1e-4;

#[test]
fn a_picture_scores_as_in_pytorch() {
    let dir = folder();
    let (path, png) = (dir.path().join("model.safetensors"), dir.path().join("truth.png"));
    write_png(&png, 100, 80, |x, y| [(7 * x + 3 * y) as u8, (x * y / 8) as u8, (5 * y + x / 10 * 40) as u8]);

    let architecture = Architecture::new("resnet18", &[2, 3], 64).unwrap();
    let mut held: Vec<(String, Vec<usize>, Vec<f32>)> = resnet::tensors(&architecture)
        .into_iter()
        .map(|(name, shape)| (format!("backbone.{name}"), shape))
        .map(|(name, shape)| (name.clone(), shape.clone(), fill(&name, &shape, false)))
        .collect();
    let spec = BatchSpec { architecture: &architecture, batch: 1, feed: Feed::Pixels, dtype: DType::F32 };
    let recorded = scoring::record(&spec, Normalization::Instance, Judgement { sigma: 4.0, topk: Some(100) }).unwrap();
    for e in recorded.tape.parameters(recorded.network("ae").unwrap()).entries() {
        held.push((format!("ae.{}", e.name), e.file_shape.clone(), golden_tensor("ae", e)));
    }
    let tensors: Vec<Tensor> = held.iter().map(|(n, s, v)| Tensor::new(n.as_str(), s, v).unwrap()).collect();
    // As the reference's training script writes it.
    let metadata = [
        ("format", "ckaad"),
        ("version", "1"),
        ("backbone", "resnet18"),
        ("layers", "2,3"),
        ("image_size", "64"),
        ("mean", "0.485,0.456,0.406"),
        ("std", "0.229,0.224,0.225"),
        ("topk", "100"),
        ("sigma", "4"),
    ];
    let metadata = metadata.map(|(k, v)| (k.to_string(), v.to_string())).into();
    write_safetensors(&path, &tensors, &metadata).unwrap();

    let maps = dir.path().join("maps");
    let args =
        ["score", "--model", text(&path), "--device", "cpu", "--format", "json", "--maps", text(&maps), text(&png)];
    let score = ckaad(&args).ok().json()[0]["score"].as_f64().unwrap();
    assert!((score - SCORE).abs() < TOLERANCE, "{score}, expected {SCORE}");
    let (side, map) = npy(&maps.join("truth.npy"));
    assert_eq!(side, 64);
    let map: Vec<f64> = map.iter().map(|v| *v as f64).collect();
    let mean = map.iter().sum::<f64>() / map.len() as f64;
    let (min, max) = map.iter().fold((f64::MAX, f64::MIN), |(lo, hi), v| (lo.min(*v), hi.max(*v)));
    let points = POINTS.map(|(y, x, expected)| (map[y * side + x], expected));
    for (found, expected) in [(mean, MEAN), (min, MIN), (max, MAX)].into_iter().chain(points) {
        assert!((found - expected).abs() < TOLERANCE, "{found}, expected {expected}");
    }
}
