//! What is read equals what PyTorch wrote; what is written is read back by an independent reader.

use std::collections::BTreeMap;
use std::path::Path;

use ckaad::output::write_atomically;
use ckaad::weights::{Archive, Elem, Format, Tensor, write_safetensors};
use half::{bf16, f16};
use safetensors::{Dtype, SafeTensors};

use crate::{stream, torch_file};

fn decode<const N: usize>(data: &[u8], value: impl Fn([u8; N]) -> f64) -> Vec<f64> {
    data.chunks_exact(N).map(|b| value(b.try_into().unwrap())).collect()
}

/// Values by the `safetensors` crate and `from_le_bytes`; every type in these files fits f64 exactly.
fn truth(dtype: Dtype, data: &[u8]) -> Vec<f64> {
    match dtype {
        Dtype::F64 => decode(data, f64::from_le_bytes),
        Dtype::F32 => decode(data, |b| f32::from_le_bytes(b).into()),
        Dtype::F16 => decode(data, |b| f16::from_le_bytes(b).to_f64()),
        Dtype::BF16 => decode(data, |b| bf16::from_le_bytes(b).to_f64()),
        Dtype::I64 => decode(data, |b| i64::from_le_bytes(b) as f64),
        other => panic!("{other} is not in the test files"),
    }
}

fn bits(values: &[f64]) -> Vec<u64> {
    values.iter().map(|x| x.to_bits()).collect()
}

#[test]
fn every_format_equals_what_pytorch_wrote() {
    let bytes = std::fs::read(torch_file("state.safetensors")).unwrap();
    let expected = SafeTensors::deserialize(&bytes).unwrap();
    let formats = [
        ("state_zip.pth", Format::TorchZip),
        ("nested_zip.pth", Format::TorchZip),
        ("state_stream.pth", Format::TorchStream),
        // Of pickle protocol 4, which frames what it writes.
        ("state_stream4.pth", Format::TorchStream),
        ("state.safetensors", Format::Safetensors),
    ];
    for (file, format) in formats {
        let archive = Archive::open(torch_file(file)).unwrap();
        assert_eq!(archive.format(), format, "{file}");
        assert_eq!(archive.names().len(), 10, "{file}");
        for (name, tensor) in expected.iter() {
            let view = archive.get(name).unwrap();
            assert_eq!(view.shape, tensor.shape(), "{file} {name}");
            assert_eq!(view.elem.name(), tensor.dtype().to_string(), "{file} {name}");
            let values = truth(tensor.dtype(), tensor.data());
            assert_eq!(bits(&view.to_f64()), bits(&values), "{file} {name}");
            let singles: Vec<u32> = values.iter().map(|&x| (x as f32).to_bits()).collect();
            assert_eq!(view.to_f32().iter().map(|x| x.to_bits()).collect::<Vec<_>>(), singles, "{file} {name}");
            assert_eq!(archive.f32(name, tensor.shape()).unwrap().len(), values.len(), "{file} {name}");
        }
    }
    let zip = Archive::open(torch_file("state_zip.pth")).unwrap();
    assert!(!zip.get("shared.transposed").unwrap().is_contiguous());
    assert_eq!(zip.names().next(), Some("conv1.weight"), "file order");
    let borrowed = zip.f32("conv1.weight", &[8, 3, 7, 7]).unwrap();
    assert!(matches!(borrowed, std::borrow::Cow::Borrowed(_)), "aligned f32 is read in place");
}

#[test]
fn any_folder_name_and_zip64_are_fine() {
    // What PyTorch wrote, copied entry by entry into zips with other folder names.
    let bytes = std::fs::read(torch_file("state_zip.pth")).unwrap();
    for (prefix, zip64) in [("", false), ("archive/", true), ("a/b c/", true)] {
        let mut source = zip::ZipArchive::new(std::io::Cursor::new(&bytes)).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("renamed");
        let mut out = zip::ZipWriter::new(std::fs::File::create(&path).unwrap());
        let options = zip::write::SimpleFileOptions::default()
            .compression_method(zip::CompressionMethod::Stored)
            .large_file(zip64);
        for i in 0..source.len() {
            let mut entry = source.by_index(i).unwrap();
            let name = entry.name().unwrap().replacen("state_zip/", prefix, 1);
            out.start_file(name, options).unwrap();
            std::io::copy(&mut entry, &mut out).unwrap();
        }
        out.finish().unwrap();
        let archive = Archive::open(&path).unwrap();
        let original = Archive::open(torch_file("state_zip.pth")).unwrap();
        for name in original.names() {
            let (a, b) = (archive.get(name).unwrap(), original.get(name).unwrap());
            assert_eq!(bits(&a.to_f64()), bits(&b.to_f64()), "{prefix} {name}");
        }
    }
}

fn open_stream(pickle: &[u8], storage: &[f32]) -> Archive {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("stream.pth");
    std::fs::write(&path, stream::file(pickle, storage)).unwrap();
    Archive::open(path).unwrap()
}

#[test]
fn names_of_nested_dicts() {
    let t = || stream::tensor(2, 0, &[2], &[1]);
    let names = |pickle: Vec<u8>| {
        let archive = open_stream(&pickle, &[1.0, 2.0]);
        archive.names().map(str::to_string).collect::<Vec<_>>()
    };
    let dict = stream::dict;
    // Two networks keep their names; one wrapper is dropped, also beside an optimizer; DataParallel's prefix too.
    assert_eq!(names(dict(&[("ae", dict(&[("w", t())])), ("d", dict(&[("w", t())]))])), ["ae.w", "d.w"]);
    assert_eq!(names(dict(&[("model", dict(&[("module.a.w", t()), ("module.b", t())]))])), ["a.w", "b"]);
    let optimizer = dict(&[("state", [b"}".to_vec(), stream::int(7), t(), b"s".to_vec()].concat())]);
    assert_eq!(
        names(dict(&[("state_dict", dict(&[("w", t())])), ("optimizer", optimizer)])),
        ["w", "optimizer.state.7"]
    );
    // A wrapper is kept if dropping it would make two tensors one.
    assert_eq!(names(dict(&[("net", dict(&[("w", t())])), ("w", t())])), ["net.w", "w"]);
    // Lists count; `_metadata`, which state_dict() attaches with BUILD, is skipped.
    assert_eq!(names([b"]".to_vec(), t(), b"a".to_vec()].concat()), ["0"]);
    let state = b"ccollections\nOrderedDict\n)R(".to_vec();
    let metadata = [b"u}".to_vec(), stream::text("_metadata"), b"}sb".to_vec()].concat();
    assert_eq!(names([state, stream::text("w"), t(), metadata].concat()), ["w"]);
}

#[test]
fn a_view_of_a_storage_in_the_stream_format() {
    // The view "1" is elements 1 to 3 of the storage; the tensor begins one element into it.
    let view = [b"(".to_vec(), stream::text("1"), stream::int(1), stream::int(3), b"t".to_vec()].concat();
    let pickle = stream::dict(&[("w", stream::tensor_of(5, &view, 1, &[2], &[1]))]);
    assert_eq!(open_stream(&pickle, &[0.0, 1.0, 2.0, 3.0, 4.0]).get("w").unwrap().to_f32(), [2.0, 3.0]);
}

#[test]
fn strides_of_every_kind() {
    let data: Vec<f32> = (0..24).map(|i| i as f32).collect();
    let read = |offset, shape: &[i32], strides: &[i32]| {
        let pickle = stream::dict(&[("w", stream::tensor(24, offset, shape, strides))]);
        open_stream(&pickle, &data).get("w").unwrap().to_f32()
    };
    assert_eq!(read(0, &[2, 3], &[12, 4]), [0.0, 4.0, 8.0, 12.0, 16.0, 20.0]);
    assert_eq!(read(1, &[2, 1, 2], &[1, 99, 12]), [1.0, 13.0, 2.0, 14.0]);
    assert_eq!(read(3, &[4], &[5]), [3.0, 8.0, 13.0, 18.0]);
    assert_eq!(read(5, &[2, 2], &[0, 1]), [5.0, 6.0, 5.0, 6.0]);
    assert_eq!(read(23, &[], &[]), [23.0]);
}

#[test]
fn errors_name_the_tensor_and_what_is_near() {
    let archive = Archive::open(torch_file("state_zip.pth")).unwrap();
    let missing = archive.get("conv1.wieght").unwrap_err().to_string();
    assert!(missing.contains("conv1.wieght") && missing.contains("did you mean \"conv1.weight\""), "{missing}");
    assert!(missing.contains("state_zip.pth"), "{missing}");
    let shape = archive.f32("conv1.weight", &[64, 3, 7, 7]).unwrap_err().to_string();
    assert!(shape.starts_with("conv1.weight: expected [64, 3, 7, 7], found [8, 3, 7, 7] in "), "{shape}");

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("nan.safetensors");
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let values = [1.0, bad, 2.0];
        let tensor = Tensor::new("layer1.bias", &[3], &values).unwrap();
        write_safetensors(&path, &[tensor], &BTreeMap::new()).unwrap();
        let error = Archive::open(&path).unwrap().f32("layer1.bias", &[3]).unwrap_err().to_string();
        assert!(error.starts_with("layer1.bias: 1 of 3 values are NaN or infinite in "), "{error}");
    }
}

#[test]
fn written_safetensors_are_read_by_the_reference_reader() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let singles = [1.5f32, -2.0, 3.25, f32::MIN_POSITIVE, 0.0, -0.0];
    let halves = [f16::from_f32(0.5), f16::from_f32(-65504.0), f16::from_f32(1.0)];
    let wide = [std::f64::consts::PI];
    let bytes = [7u8; 5];
    let tensors = [
        Tensor::new("bytes", &[5], &bytes).unwrap(),
        Tensor::new("half", &[3, 1], &halves).unwrap(),
        Tensor::new("weight", &[2, 3], &singles).unwrap(),
        Tensor::new("empty", &[0, 4], &[0f32; 0]).unwrap(),
        Tensor::new("wide", &[], &wide).unwrap(),
    ];
    let metadata = BTreeMap::from([("format".to_string(), "ckaad".to_string()), ("ключ \"q\"".into(), "a\nb".into())]);
    write_safetensors(&path, &tensors, &metadata).unwrap();
    let file = std::fs::read(&path).unwrap();
    let header = u64::from_le_bytes(file[..8].try_into().unwrap());
    assert_eq!(header % 8, 0, "data is aligned");

    let (_, read_metadata) = SafeTensors::read_metadata(&file).unwrap();
    let expected: std::collections::HashMap<_, _> = metadata.clone().into_iter().collect();
    assert_eq!(read_metadata.metadata().as_ref().unwrap(), &expected);
    let read = SafeTensors::deserialize(&file).unwrap();
    assert_eq!(read.len(), tensors.len());
    let weight = read.tensor("weight").unwrap();
    assert_eq!((weight.dtype(), weight.shape()), (Dtype::F32, &[2, 3][..]));
    assert_eq!(bits(&truth(Dtype::F32, weight.data())), bits(&singles.map(f64::from)));
    let half = read.tensor("half").unwrap();
    assert_eq!((half.dtype(), half.shape()), (Dtype::F16, &[3, 1][..]));
    assert_eq!(truth(Dtype::F16, half.data()), [0.5, -65504.0, 1.0]);
    assert_eq!(truth(Dtype::F64, read.tensor("wide").unwrap().data()), wide);
    assert_eq!(read.tensor("bytes").unwrap().data(), bytes);
    assert_eq!(read.tensor("empty").unwrap().shape(), [0, 4]);

    let ours = Archive::open(&path).unwrap();
    assert_eq!(ours.metadata(), &metadata);
    assert_eq!(ours.get("half").unwrap().elem, Elem::F16);
    assert_eq!(ours.f32("weight", &[2, 3]).unwrap()[..], singles);

    let again = folder.path().join("again.safetensors");
    write_safetensors(&again, &tensors, &metadata).unwrap();
    assert_eq!(std::fs::read(&again).unwrap(), file, "equal arguments give equal bytes");
    let twice = [tensors[0].clone(), tensors[0].clone()];
    assert!(write_safetensors(&again, &twice, &metadata).unwrap_err().to_string().contains("\"bytes\" is used twice"));
    assert!(Tensor::new("x", &[2, 2], &singles).is_err());
}

fn entries(folder: &Path) -> usize {
    std::fs::read_dir(folder).unwrap().count()
}

#[test]
fn a_failed_write_leaves_the_old_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    write_atomically(&path, |f| f.write_all(b"old")).unwrap();
    let failed = write_atomically(&path, |f| {
        f.write_all(&vec![1; 3 << 20])?;
        Err(std::io::Error::other("disk full"))
    });
    let message = failed.unwrap_err().to_string();
    assert!(message.contains("disk full") && message.contains(path.to_str().unwrap()), "{message}");
    assert_eq!(std::fs::read(&path).unwrap(), b"old");
    assert_eq!(entries(folder.path()), 1, "the temporary file is gone");
    write_atomically(&path, |f| f.write_all(b"new")).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), b"new");
    assert_eq!(entries(folder.path()), 1);
    assert!(write_atomically(&folder.path().join("no/folder"), |_| Ok(())).is_err());
}
