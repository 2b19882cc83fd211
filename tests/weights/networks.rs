//! `ckaad weights inspect` says which network a file holds.

use ckaad::model::resnet::{nearest, tensors};
use ckaad::model::{Architecture, BACKBONES};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

/// Parameters of torchvision's models, as its documentation lists them, and how many of them are of the last, linear layer.
const PARAMETERS: [(&str, usize, usize); 7] = [
    ("resnet18", 11_689_512, 513_000),
    ("resnet34", 21_797_672, 513_000),
    ("resnet50", 25_557_032, 2_049_000),
    ("resnet101", 44_549_160, 2_049_000),
    ("resnet152", 60_192_808, 2_049_000),
    ("wide_resnet50_2", 68_883_240, 2_049_000),
    ("wide_resnet101_2", 126_886_696, 2_049_000),
];
/// Convolutions: the number in the name, less the linear layer, and 3 or 4 in shortcuts.
const LAYERS: [usize; 7] = [20, 36, 53, 104, 155, 53, 104];

fn all(name: &str) -> BTreeMap<String, Vec<usize>> {
    tensors(&Architecture::new(name, &[1, 2, 3, 4], 128).unwrap()).into_iter().collect()
}

/// Names, last whole layer, numbers missing and too many of those that are nearest.
fn found(tensors: &BTreeMap<String, Vec<usize>>) -> Vec<(&'static str, Option<usize>, usize, usize)> {
    let views = tensors.iter().map(|(name, shape)| (&**name, &**shape)).collect();
    let fits = nearest(&views).unwrap();
    fits.iter().map(|f| (f.backbone.name, f.up_to, f.missing.len(), f.surplus.len())).collect()
}

#[test]
fn every_resnet_is_told_from_the_others() {
    for ((name, parameters, linear), layers) in PARAMETERS.into_iter().zip(LAYERS) {
        let mut tensors = all(name);
        let trained = tensors.iter().filter(|(name, _)| !name.contains("running_"));
        assert_eq!(trained.map(|(_, shape)| shape.iter().product::<usize>()).sum::<usize>(), parameters - linear);
        tensors.insert("fc.weight".into(), vec![1000, 512]);
        tensors.insert("bn1.num_batches_tracked".into(), vec![]);
        assert_eq!(found(&tensors), [(name, Some(4), 0, 0)]);
        let views = tensors.iter().map(|(name, shape)| (&**name, &**shape)).collect();
        assert_eq!(nearest(&views).unwrap()[0].layers, layers);
    }
    assert_eq!(BACKBONES.len(), PARAMETERS.len());
}

#[test]
fn what_is_none_is_said_to_be_near_to_one() {
    let mut cut = all("resnet18");
    cut.remove("layer4.1.bn2.bias");
    assert_eq!(found(&cut), [("resnet18", Some(3), 1, 0)]);
    let mut wider = all("resnet18");
    wider.insert("layer1.0.conv2.weight".into(), vec![128, 64, 3, 3]);
    wider.insert("layer1.0.se.weight".into(), vec![64]);
    assert_eq!(found(&wider), [("resnet18", None, 1, 1)]);
    // The first two layers of these are the same: 3 blocks of 3 and 4 of 3, two shortcuts and the stem are there.
    let mut begun = all("resnet50");
    begun.retain(|name, _| !name.starts_with("layer3.") && !name.starts_with("layer4."));
    assert_eq!(found(&begun), [("resnet50", Some(2), 53 - 24, 0), ("resnet101", Some(2), 104 - 24, 0)]);
    assert_eq!(found(&[("encoder.weight".to_string(), vec![3])].into()), []);
}

#[test]
fn a_real_file() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/weights/resnet18_imagenet.safetensors");
    if !file.is_file() {
        eprintln!("SKIPPED: {} is not there, so no real weights were recognised", file.display());
        return;
    }
    // Torchvision's own file has its last layer under this name; whatever else lies there is not what is described.
    if !ckaad::weights::Archive::open(&file).unwrap().contains("fc.weight") {
        eprintln!(
            "SKIPPED: {} is not the file that its description says, so no real weights were recognised",
            file.display()
        );
        return;
    }
    let inspect = |more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ckaad"));
        String::from_utf8(command.args(["weights", "inspect"]).arg(&file).args(more).output().unwrap().stdout).unwrap()
    };
    // As its description says: torchvision's, without the 3x3 convolutions of layer 4.
    let network = "network: resnet18, up to layer 3: 4 of 20 layers missing or of another shape, as layer4.0.conv1";
    assert_eq!(inspect(&[]).lines().nth(1), Some(network));
    let json: serde_json::Value = serde_json::from_str(&inspect(&["--format", "json"])).unwrap();
    let missing = ["layer4.0.conv1", "layer4.0.conv2", "layer4.1.conv1", "layer4.1.conv2"];
    let network = serde_json::json!({"nearest": ["resnet18"], "up_to_layer": 3, "missing": missing, "surplus": []});
    assert_eq!(json["network"], network);
}
