//! Weights with other things beside them, and backbones under other names: what is needed is read, nothing is executed, and
//! what cannot be had is refused when it is asked for.

use crate::torch_file;
use ckaad::model::pretrained::Pretrained;
use ckaad::model::{Architecture, TensorSource, resnet};
use ckaad::weights::{Archive, Tensor, write_safetensors};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

fn open(name: &str) -> Archive {
    Archive::open(torch_file(&format!("beside/{name}.pth"))).unwrap_or_else(|e| panic!("{e}"))
}

#[test]
fn weights_are_read_whatever_lies_beside_them() {
    let mut files = 0;
    for entry in std::fs::read_dir(torch_file("beside")).unwrap() {
        let path = entry.unwrap().path();
        let archive = Archive::open(&path).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(*archive.f32("w", &[3]).unwrap(), [1.0, 2.0, 3.0], "{}", path.display());
        assert_eq!(*archive.f32("x", &[3]).unwrap(), [2.0, 4.0, 6.0], "{}", path.display());
        files += 1;
    }
    assert!(files > 20);
}

#[test]
fn what_cannot_be_had_says_why_when_it_is_asked_for() {
    for (file, name, why) in [
        ("uint16", "uint16", "type that is not supported"),
        ("complex", "complex", "type that is not supported"),
        ("expanded", "expanded", "expanded view"),
        ("sparse", "sparse", "which was not called"),
        ("module", "module", "Thing, which was not called"),
        ("numpy_array", "numpy_array", "which was not called"),
        ("protocol4", "uint16", "type that is not supported"),
    ] {
        let error = open(file).get(name).err().unwrap().to_string();
        assert!(error.contains(&format!("\"{name}\" cannot be read")) && error.contains(why), "{file}: {error}");
    }
}

/// What a zip says of its sizes is not believed, and a bomb stays small.
#[test]
fn a_compressed_zip_is_read_into_memory() {
    let bytes = std::fs::read(torch_file("beside/deflated.pth")).unwrap();
    assert_eq!(open("deflated").get("w").unwrap().to_f32(), [1.0, 2.0, 3.0]);
    let folder = tempfile::tempdir().unwrap();
    for at in (0..bytes.len()).step_by(2) {
        let mut changed = bytes.clone();
        changed[at] ^= 0x41;
        let path = folder.path().join(format!("{at}.pth"));
        std::fs::write(&path, &changed).unwrap();
        if let Ok(archive) = Archive::open(&path) {
            archive.tensors().for_each(|t| drop(t.to_f64()));
        }
    }
}

type Held = Vec<(String, Vec<usize>)>;

/// A file of zeros (variances of one) with these tensors' names and shapes.
fn written(folder: &Path, name: &str, tensors: &Held) -> PathBuf {
    let path = folder.join(name);
    let of = |(name, shape): &(String, Vec<usize>)| {
        let value = if name.ends_with("running_var") { 1.0f32 } else { 0.0 };
        vec![value; shape.iter().product()]
    };
    let values: Vec<Vec<f32>> = tensors.iter().map(of).collect();
    let views: Vec<Tensor> =
        tensors.iter().zip(&values).map(|((n, s), v)| Tensor::new(n.as_str(), s, v).unwrap()).collect();
    write_safetensors(&path, &views, &BTreeMap::new()).unwrap();
    path
}

fn architecture(backbone: &str) -> Architecture {
    Architecture::new(backbone, &[1, 2], 64).unwrap()
}

/// All tensors of layers 1 and 2, with a prefix.
fn tensors(backbone: &str, prefix: &str) -> Held {
    resnet::tensors(&architecture(backbone)).into_iter().map(|(n, s)| (format!("{prefix}{n}"), s)).collect()
}

fn load(path: &Path, backbone: &str) -> Result<(), String> {
    let source = Pretrained::open(path.to_str().unwrap(), &architecture(backbone), 0).map_err(|e| e.to_string())?;
    resnet::load::<f32>(&architecture(backbone), &source).map(drop).map_err(|e| e.to_string())
}

#[test]
fn one_prefix_is_understood() {
    let folder = tempfile::tempdir().unwrap();
    for prefix in ["", "model.", "_orig_mod.", "module.encoder_q.", "backbone.", "module.", "a.b.c."] {
        let path = written(folder.path(), "w.safetensors", &tensors("resnet18", prefix));
        load(&path, "resnet18").unwrap_or_else(|e| panic!("{prefix}: {e}"));
        let opened = Pretrained::open(path.to_str().unwrap(), &architecture("resnet18"), 0).unwrap();
        let Pretrained::File(file) = opened else { panic!("a file") };
        assert_eq!(file.prefix(), prefix);
    }
    // Two networks: which is meant, nobody can know; unless one has no prefix.
    let both = [tensors("resnet18", "encoder_q."), tensors("resnet18", "encoder_k.")].concat();
    let error = load(&written(folder.path(), "w.safetensors", &both), "resnet18").unwrap_err();
    assert!(error.contains("several networks") && error.contains("encoder_q.* and encoder_k.*"), "{error}");
    let both = [tensors("resnet18", ""), tensors("resnet18", "ema.")].concat();
    load(&written(folder.path(), "w.safetensors", &both), "resnet18").unwrap();
    // A prefix that not all of them share.
    let mut torn = tensors("resnet18", "model.");
    let (name, _) = torn.iter_mut().find(|t| t.0 == "model.layer2.1.bn2.weight").unwrap();
    *name = "layer2.1.bn2.weight".into();
    let error = load(&written(folder.path(), "w.safetensors", &torn), "resnet18").unwrap_err();
    assert!(error.contains("no tensor \"model.layer2.1.bn2.weight\""), "{error}");
}

#[test]
fn another_depth_is_refused_with_every_layer_that_is_too_many() {
    let folder = tempfile::tempdir().unwrap();
    let path = |backbone: &str| {
        // With the layers that are not used, as torchvision's files have them.
        let a = Architecture::new(backbone, &[3, 4], 128).unwrap();
        written(folder.path(), &format!("{backbone}.safetensors"), &resnet::tensors(&a))
    };
    let error = load(&path("resnet34"), "resnet18").unwrap_err();
    for part in ["resnet34.safetensors", "holds resnet34's weights", "expected resnet18's", "--backbone"] {
        assert!(error.contains(part), "no {part} in {error}");
    }
    assert!(error.contains("too many: layer1.2, layer2.2, layer2.3"), "{error}");
    let error = load(&path("resnet18"), "resnet34").unwrap_err();
    assert!(error.contains("missing: layer1.2, layer2.2, layer2.3"), "{error}");
    let error = load(&path("resnet50"), "resnet34").unwrap_err();
    assert!(error.contains("resnet50") && error.contains("blocks of another kind"), "{error}");
    // The same in the layers that are used: nothing is cut.
    load(&path("resnet101"), "resnet50").unwrap();
    let error = load(&path("wide_resnet50_2"), "resnet50").unwrap_err();
    for part in ["layer1.0.conv1.weight", "[128, 64, 1, 1]", "[64, 64, 1, 1]"] {
        assert!(error.contains(part), "no {part} in {error}");
    }
    let Pretrained::Random(random) = Pretrained::open("random", &architecture("resnet18"), 0).unwrap() else {
        panic!("random")
    };
    assert!(random.names().is_empty());
}

#[test]
fn layers_that_a_network_does_not_have_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let with = |more: &[(&str, &[usize])], name: &str| {
        let more: Held = more.iter().map(|(n, s)| (n.to_string(), s.to_vec())).collect();
        load(&written(folder.path(), name, &[tensors("resnet18", ""), more].concat()), "resnet18")
    };
    let error = with(&[("layer2.0.se.fc.weight", &[8, 128]), ("layer1.1.conv3.weight", &[8])], "se").unwrap_err();
    assert!(
        error.contains("more than resnet18") && error.contains(": layer1.1.conv3.weight, layer2.0.se.fc.weight"),
        "{error}"
    );
    // A bias that the network has no place for would be lost, too.
    assert!(with(&[("layer1.0.conv1.bias", &[64])], "bias").unwrap_err().contains("layer1.0.conv1.bias"));
    // What lies behind the layers in use, or counts batches, is no matter.
    with(&[("layer4.0.se.weight", &[8]), ("layer1.0.bn1.num_batches_tracked", &[1]), ("head.weight", &[8])], "rest")
        .unwrap();
}
