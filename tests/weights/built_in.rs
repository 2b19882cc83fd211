//! The backbone that is part of the program: what its file says and holds, read with the `safetensors` crate, and whom it is for.

use ckaad::model::pretrained::{Pretrained, usual_weights};
use ckaad::model::{Architecture, TensorSource, resnet};
use ckaad::weights::registry::{self, FORMULA, FORMULA_FILE};
use half::f16;
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::process::{Command, Output};

fn metadata() -> std::collections::HashMap<String, String> {
    let (_, header) = SafeTensors::read_metadata(FORMULA_FILE).unwrap();
    header.metadata().clone().unwrap()
}

#[test]
fn the_file_is_small_whole_and_says_how_it_was_made() {
    assert!(FORMULA_FILE.len() <= 6_000_000, "{} bytes", FORMULA_FILE.len());
    let said = metadata();
    let recipe: Value = serde_json::from_str(&said["recipe"]).unwrap();
    assert_eq!((&*said["kind"], &*said["backbone"], &*said["batch_norm"]), ("backbone", "resnet18", "folded"));
    assert_eq!(recipe["layers"], serde_json::json!([2, 3]));
    // Trained to the end.
    assert_eq!(said["steps"], recipe["steps"].to_string());
    assert_eq!(said["seed"], recipe["seed"].to_string());
    assert!(said["commit"].len() >= 7 && said["commit"].chars().all(|c| c.is_ascii_hexdigit()), "{}", said["commit"]);

    let tensors = SafeTensors::deserialize(FORMULA_FILE).unwrap();
    let mut names: Vec<&str> = tensors.names();
    names.sort_unstable();
    // Of torchvision's 20 convolutions the stem's and 4 or 5 in each of three layers, each with its norm's bias.
    assert_eq!(names.len(), 2 * 15);
    let mut digest = Sha256::new();
    for name in names {
        let view = tensors.tensor(name).unwrap();
        let values: Vec<f32> = match view.dtype() {
            Dtype::F16 => view.data().chunks_exact(2).map(|b| f16::from_le_bytes([b[0], b[1]]).to_f32()).collect(),
            Dtype::F32 => view.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect(),
            other => panic!("{name}: {other:?}"),
        };
        assert!(values.iter().all(|v| v.is_finite()) && values.iter().any(|v| *v != 0.0), "{name}");
        digest.update(view.data());
    }
    let hex: String = digest.finalize().iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!(hex, said["sha256"]);
}

#[test]
fn it_is_usual_where_it_fits_and_refused_where_it_does_not() {
    for layers in [&[1][..], &[1, 2], &[2, 3], &[1, 2, 3]] {
        let a = Architecture::new("resnet18", layers, 128).unwrap();
        assert_eq!(usual_weights(&a), FORMULA);
        let weights = Pretrained::open(FORMULA, &a, 0).unwrap();
        resnet::load::<f32>(&a, &weights).unwrap();
        assert_eq!(weights.describe(), format!("formula, sha256 {}", &metadata()["sha256"][..8]));
        assert!(weights.file().is_none());
    }
    for (backbone, layers) in [("resnet18", &[3, 4][..]), ("resnet34", &[2, 3]), ("wide_resnet50_2", &[1, 2, 3])] {
        let a = Architecture::new(backbone, layers, 128).unwrap();
        assert_eq!(usual_weights(&a), "imagenet");
        let error = Pretrained::open(FORMULA, &a, 0).err().unwrap().to_string();
        let last = layers.last().unwrap();
        let found = format!("not of {backbone} up to layer {last}");
        for part in ["resnet18 up to layer 3", &found, "imagenet"] {
            assert!(error.contains(part), "no {part} in {error}");
        }
    }
    // A file of the name is a path.
    assert!(registry::open("./formula").is_err());
}

fn ckaad(args: &[&str]) -> Output {
    let none = tempfile::tempdir().unwrap();
    Command::new(env!("CARGO_BIN_EXE_ckaad")).args(args).env("CKAAD_CACHE", none.path()).output().unwrap()
}

#[test]
fn the_command_line_knows_it() {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let list = text(&ckaad(&["weights", "list"]).stdout);
    assert!(list.lines().any(|l| l.starts_with("formula ") && l.ends_with("built in")), "{list}");
    let shown = text(&ckaad(&["weights", "inspect", FORMULA]).stdout);
    assert!(shown.contains("resnet18, up to layer 3") && shown.contains(&metadata()["sha256"]), "{shown}");
    let fetched = ckaad(&["weights", "fetch", FORMULA]);
    assert_eq!(fetched.status.code(), Some(2));
    assert!(text(&fetched.stderr).contains("\"formula\", which are built in"), "{}", text(&fetched.stderr));
    // The download goes by the backbone's name, which the error asks for.
    let args = [
        "train",
        "--normal",
        concat!(env!("CARGO_MANIFEST_DIR"), "/tests/pictures"),
        "--backbone",
        "resnet50",
        "--weights",
        "imagenet",
    ];
    for args in [&args[..], &args[..5]] {
        let missing = ckaad(args);
        assert_eq!(missing.status.code(), Some(2));
        assert!(text(&missing.stderr).contains("ckaad weights fetch resnet50"), "{}", text(&missing.stderr));
    }
}
