//! Files that are cut, corrupt or made to hurt: an error, never a panic, an endless loop or a huge allocation.

use ckaad::weights::Archive;

use crate::{open_error, stream, torch_file};

const FILES: [&str; 4] = ["state_zip.pth", "state_stream.pth", "nested_zip.pth", "state.safetensors"];

/// Opens `bytes` and reads every tensor; only that this returns matters.
fn exercise(path: &std::path::Path, bytes: &[u8]) -> bool {
    // A new file each time: some file systems flush to disk when one is truncated and written again.
    let _ = std::fs::remove_file(path);
    std::fs::write(path, bytes).unwrap();
    let Ok(archive) = Archive::open(path) else { return false };
    for tensor in archive.tensors() {
        assert_eq!(tensor.to_f64().len(), tensor.len());
        let _ = archive.f32(tensor.name, tensor.shape);
    }
    true
}

#[test]
fn what_would_be_called_is_named() {
    // Beside a tensor, which is read.
    for file in ["hostile_zip.pth", "hostile_stream.pth"] {
        let archive = Archive::open(torch_file(file)).unwrap();
        assert_eq!(archive.get("conv1.weight").unwrap().len(), 8 * 3 * 7 * 7);
        let error = archive.get("x").err().unwrap().to_string();
        assert!(error.contains(file) && error.contains("made by __builtin__.print, which was not called"), "{error}");
    }
    let text = stream::text;
    let cases: [(Vec<u8>, &str); 8] = [
        (b"cos\nsystem\n".to_vec(), "os.system"),
        (b"cposix\nsystem\n(U\x04evilt\x85R".to_vec(), "posix.system"),
        (b"(ios\nsystem\n".to_vec(), "os.system"),
        ([text("os"), text("system"), b"\x93".to_vec()].concat(), "os.system"),
        (b"ctorch\nload\n".to_vec(), "torch.load"),
        (b"ctorch\nStorage\n".to_vec(), "torch.Storage"),
        (b"ccollections\nOrderedDict\n)b".to_vec(), "BUILD"),
        (b"\x82\x01".to_vec(), "EXT"),
    ];
    for (pickle, name) in cases {
        let error = open_error(&stream::file(&pickle, &[]));
        assert!(error.contains("refused") && error.contains(name), "{name}: {error}");
    }
    // Nothing may be called but by its name, and known names only with arguments that describe data.
    for pickle in [&b"X\x01\0\0\0a)R"[..], b"ccollections\nOrderedDict\nK\x01\x85R", b"ctorch\nFloatStorage\n)R"] {
        assert!(open_error(&stream::file(pickle, &[])).contains("corrupt pickle"));
    }
}

#[test]
fn every_truncation_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cut.pth");
    for file in FILES {
        let bytes = std::fs::read(torch_file(file)).unwrap();
        for length in (0..bytes.len()).step_by(3) {
            assert!(!exercise(&path, &bytes[..length]), "{file} cut to {length} of {} bytes was accepted", bytes.len());
        }
    }
}

#[test]
fn mutations_do_not_panic() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mutated.pth");
    let mut state = 0x5eed_u64;
    // SplitMix64, so that a failure can be repeated.
    let mut random = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) as usize
    };
    for file in FILES {
        let bytes = std::fs::read(torch_file(file)).unwrap();
        for round in 0..2000 {
            let mut mutated = bytes.clone();
            // Two thirds of the changes hit the index at the front or (zip) at the back, where they matter.
            let at = match round % 3 {
                0 => random() % bytes.len(),
                1 => random() % 1500,
                _ => bytes.len() - 1 - random() % 1500,
            };
            mutated[at] = if round % 2 == 0 { random() as u8 } else { mutated[at] ^ (1 << (random() % 8)) };
            exercise(&path, &mutated);
        }
    }
}

#[test]
fn tensors_stay_inside_their_storage() {
    let refused = |offset, shape: &[i32], strides: &[i32], expected: &str| {
        let pickle = stream::dict(&[("w", stream::tensor(4, offset, shape, strides))]);
        let error = open_error(&stream::file(&pickle, &[1.0; 4]));
        assert!(error.contains(expected), "{error}");
    };
    refused(0, &[5], &[1], "\"w\": shape [5] needs 5 elements, its storage has 4");
    refused(1, &[4], &[1], "\"w\": shape [4], strides [1] and offset 1 reach outside its storage of 4 elements");
    refused(0, &[2, 2], &[3, 1], "reach outside");
    refused(i32::MAX, &[1], &[1], "reach outside");
    refused(0, &[i32::MAX, i32::MAX, i32::MAX], &[0, 0, 0], "is too large");
    refused(-1, &[1], &[1], "expected offset, size and stride");
    refused(0, &[-1], &[1], "expected offset, size and stride");
    refused(0, &[1, 1], &[1], "2 sizes but 1 strides");
    refused(0, &[1; 17], &[1; 17], "expected offset, size and stride");
    // More elements than there are, all of them the same one: nobody has to want it.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("expanded.pth");
    let pickle =
        stream::dict(&[("w", stream::tensor(4, 0, &[i32::MAX], &[0])), ("x", stream::tensor(4, 0, &[4], &[1]))]);
    assert!(exercise(&path, &stream::file(&pickle, &[1.0; 4])));
    assert!(Archive::open(&path).unwrap().get("w").err().unwrap().to_string().contains("expanded view"));
    // The pickle claims more elements than the storage has.
    let pickle = stream::dict(&[("w", stream::tensor(4, 0, &[4], &[1]))]);
    assert!(open_error(&stream::file(&pickle, &[1.0; 3])).contains("elements 0+4 of storage 0, which holds 3"));
    // A zero size makes the others meaningless, whatever their product is.
    let pickle = stream::dict(&[("w", stream::tensor(4, 0, &[0, i32::MAX, i32::MAX, i32::MAX], &[1; 4]))]);
    assert!(exercise(&folder.path().join("empty.pth"), &stream::file(&pickle, &[1.0; 4])));
}

#[test]
fn nesting_cannot_exhaust_stack_or_memory() {
    // Tuples in tuples, and a dict that contains itself.
    let nested = [b"(".repeat(400_000), b"t".repeat(400_000)].concat();
    assert!(open_error(&stream::file(&nested, &[])).contains("nested deeper"));
    let cyclic = [b"}q\x00".to_vec(), stream::text("a"), b"h\x00s".to_vec()].concat();
    assert!(open_error(&stream::file(&cyclic, &[])).contains("nested deeper"));
    // Each dict holds the previous one twice: 2^30 names.
    let mut doubling = b"}q\x00".to_vec();
    for _ in 0..30 {
        doubling.extend([b"}".to_vec(), stream::text("a"), b"h\x00s".to_vec()].concat());
        doubling.extend([stream::text("b"), b"h\x00sq\x00".to_vec()].concat());
    }
    assert!(open_error(&stream::file(&doubling, &[])).contains("more than 200000 values"));
    // Names that would grow without bound, and two tensors of one name.
    let mut long = stream::tensor(0, 0, &[0], &[1]);
    for _ in 0..20 {
        long = stream::dict(&[(&"n".repeat(100), long)]);
    }
    assert!(open_error(&stream::file(&long, &[])).contains("name is longer than"));
    let t = || stream::tensor(0, 0, &[0], &[1]);
    let twice = stream::dict(&[("a.b", t()), ("a", stream::dict(&[("b", t())]))]);
    assert!(open_error(&stream::file(&twice, &[])).contains("two tensors have the same name"));
    assert!(open_error(&stream::file(&t(), &[])).contains("holds no named tensors"));
    // Lengths that the file does not have.
    assert!(open_error(&stream::file(b"X\xff\xff\xff\xffabc", &[])).contains("truncated"));
    assert!(open_error(&stream::file(&b"N".repeat(5 << 20), &[])).contains("longer than"));
}

#[test]
fn broken_safetensors_are_refused() {
    let file = |header: &str, data: usize| {
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend(header.as_bytes());
        bytes.resize(bytes.len() + data, 0);
        bytes
    };
    let cases = [
        // Past the end; overlapping; a size that does not fit; an overflowing shape; a cut header.
        (r#"{"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#, 4),
        (
            r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],"data_offsets":[2,6]}}"#,
            6,
        ),
        (r#"{"w":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}}"#, 8),
        (r#"{"w":{"dtype":"F32","shape":[4294967296,4294967296,16],"data_offsets":[0,4]}}"#, 4),
        (r#"{"w":{"dtype":"F32","shape":[1]"#, 8),
    ];
    for (header, data) in cases {
        open_error(&file(header, data));
    }
    // A type that we do not have: who asks for it hears so.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("complex.safetensors");
    std::fs::write(&path, file(r#"{"w":{"dtype":"C64","shape":[1],"data_offsets":[0,8]}}"#, 8)).unwrap();
    let error = Archive::open(&path).unwrap().get("w").err().unwrap().to_string();
    assert!(error.contains("\"w\" cannot be read: type C64 is not supported"), "{error}");
    let mut lying = file(cases[0].0, 8);
    lying[..8].copy_from_slice(&u64::MAX.to_le_bytes());
    assert!(open_error(&lying).contains("safetensors"));
}

#[test]
fn other_files_are_recognised_as_such() {
    assert!(open_error(b"").contains("is empty"));
    assert!(open_error(b"<html>404</html>").contains("web page"));
    assert!(open_error(b"version https://git-lfs.github.com/spec/v1\n").contains("Git LFS"));
    assert!(open_error(b"PK\x05\x06 and so on").contains("not a weights file"));
    let folder = tempfile::tempdir().unwrap();
    assert!(Archive::open(folder.path()).err().unwrap().to_string().contains("is a folder"));
    assert!(Archive::open(folder.path().join("none")).err().unwrap().to_string().contains("none"));
    // A zip without data.pkl, one of big-endian data, one whose dict is empty.
    let zip = |entries: &[(&str, &[u8])]| {
        let mut out = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
        let options = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
        for (name, data) in entries {
            out.start_file(*name, options).unwrap();
            std::io::Write::write_all(&mut out, data).unwrap();
        }
        out.finish().unwrap().into_inner()
    };
    assert!(open_error(&zip(&[("notes.txt", b"hello")])).contains("not one that torch.save wrote"));
    let big = zip(&[("x/data.pkl", b"\x80\x02}."), ("x/byteorder", b"big")]);
    assert!(open_error(&big).contains("byte order \"big\" is not supported"));
    assert!(open_error(&zip(&[("x/data.pkl", b"\x80\x02}.")])).contains("holds no named tensors"));
}
