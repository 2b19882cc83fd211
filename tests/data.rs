//! Decoding, resizing and dataset folders, against Pillow and against pictures whose pixels a formula gives.

use std::fs;
use std::path::{Path, PathBuf};

use ckaad::data::image::{Picture, Samples, Source, load_mask};
use ckaad::data::layout::{Sample, TestSet, TrainSet};
use ckaad::data::resize::bilinear;
use ckaad::data::synthetic::{Defect, Spec, generate, picture as fabric};
use ckaad::engine::device::cpu;
use ckaad::engine::tape::Tape;
use ckaad::engine::tensor::{DType, Shape};
use safetensors::SafeTensors;
use sha2::{Digest, Sha256};

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(name)
}

fn picture(name: &str) -> Picture {
    Picture::read(&file("pictures").join(name)).unwrap()
}

/// The 7 x 5 picture that most files in `pictures` hold.
fn formula() -> Vec<[u8; 3]> {
    let at = |x: u32, y: u32| [(37 * x + 11 * y) as u8, (5 * x + 71 * y + 90) as u8, (13 * x * y + 7) as u8];
    (0..35).map(|i| at(i % 7, i / 7)).collect()
}

#[test]
fn every_format_gives_the_same_rgb() {
    // 16-bit files hold low bytes that rounding, unlike keeping the high byte, would carry over. The files with alpha
    // hold other colours than the opaque ones would show; the animated ones begin with this picture.
    let names = "rgb.png rgb.bmp rgb.tif rgb.webp rgba.png rgba.webp palette.png rgb16.png rgba16.png animated.png animated.webp";
    for name in names.split(' ') {
        let found = picture(name);
        assert_eq!((found.width, found.height), (7, 5), "{name}");
        assert_eq!(found.rgb.as_chunks::<3>().0, formula(), "{name}");
    }
    for name in ["gray.png", "gray_alpha.png", "gray16.png", "gray16.tif"] {
        let gray: Vec<[u8; 3]> = formula().iter().map(|p| [p[0]; 3]).collect();
        assert_eq!(picture(name).rgb.as_chunks::<3>().0, gray, "{name}");
    }
    let bilevel: Vec<[u8; 3]> = formula().iter().map(|p| if p[0] > 127 { [255; 3] } else { [0; 3] }).collect();
    assert_eq!(picture("bilevel.png").rgb.as_chunks::<3>().0, bilevel);
    assert_eq!(picture("one_pixel.png"), Picture::new(1, 1, vec![0, 90, 7]));
    assert_eq!(picture("one_pixel.png").resized(4), [0, 90, 7].repeat(16));
}

/// What a file holds, as the `png` crate reads it: samples, width and height, channels.
fn samples(name: &str) -> (Samples, (usize, usize), usize) {
    let open = std::io::BufReader::new(fs::File::open(file("pictures").join(name)).unwrap());
    let mut reader = png::Decoder::new(open).read_info().unwrap();
    let mut bytes = vec![0; reader.output_buffer_size().unwrap()];
    let info = reader.next_frame(&mut bytes).unwrap();
    let samples = match info.bit_depth {
        png::BitDepth::Eight => Samples::Bits8(bytes),
        _ => Samples::Bits16(bytes.as_chunks::<2>().0.iter().map(|b| u16::from_be_bytes(*b)).collect()),
    };
    (samples, (info.width as usize, info.height as usize), info.color_type.samples())
}

/// Pillow wrote the files.
#[test]
fn samples_in_memory_give_what_their_file_does() {
    for (name, channels, bits) in [
        ("gray.png", 1, 8),
        ("gray_alpha.png", 2, 8),
        ("rgb.png", 3, 8),
        ("rgba.png", 4, 8),
        ("gray16.png", 1, 16),
        ("rgb16.png", 3, 16),
        ("rgba16.png", 4, 16),
    ] {
        let (given, size, found) = samples(name);
        assert_eq!((found, matches!(given, Samples::Bits16(_))), (channels, bits == 16), "{name}");
        let found = Picture::of_samples(given, size, channels).unwrap();
        let right = formula().into_iter().map(|p| if channels < 3 { [p[0]; 3] } else { p });
        assert_eq!((found.width, found.height), (7, 5), "{name}");
        assert_eq!(found.rgb.as_chunks::<3>().0, right.collect::<Vec<_>>(), "{name}");
        assert_eq!(found.warnings, [""; 0], "{name}");
    }
    // Gray and alpha in 16 bits, for which there is no file: alpha is dropped, the high byte kept.
    let found = Picture::of_samples(Samples::Bits16(vec![0x12ff, 9, 0xab00, 0]), (2, 1), 2).unwrap();
    assert_eq!(found.rgb, [0x12, 0x12, 0x12, 0xab, 0xab, 0xab]);
}

#[test]
fn samples_that_are_no_picture_are_named() {
    let eight = |count: usize| Samples::Bits8(vec![0; count]);
    let wide = usize::MAX / 2;
    for (samples, size, channels, words) in [
        (eight(35), (7, 5), 0, "a picture of 0 channels: expected 1 (gray), 3 (RGB), or 2 or 4"),
        (eight(175), (7, 5), 5, "a picture of 5 channels"),
        (eight(34), (7, 5), 1, "34 samples, expected 7 x 5 x 1"),
        (eight(36), (7, 5), 1, "36 samples, expected 7 x 5 x 1"),
        (Samples::Bits16(vec![0; 104]), (7, 5), 3, "104 samples, expected 7 x 5 x 3"),
        (eight(0), (0, 5), 1, "the picture is 0 x 5 pixels"),
        (eight(3), (1 << 27, 2), 4, "more than the 134217728 allowed"),
        (eight(3), (wide, wide), 4, "more than the 134217728 allowed"),
    ] {
        let error = Picture::of_samples(samples, size, channels).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
    let dark = Picture::of_samples(Samples::Bits16(vec![900; 6]), (2, 3), 1).unwrap();
    assert!(dark.warnings.len() == 1 && dark.warnings[0].contains("use 10 bits (the highest is 900)"), "{dark:?}");
}

#[test]
fn the_camera_orientation_is_applied() {
    // Stored 24 x 16 as (10x, 15y, 128): orientation 6 shows it turned clockwise, 3 upside down.
    for (name, size, at) in [
        ("exif6.jpg", (16, 24), (|x, y| [10 * y, 15 * (15 - x), 128]) as fn(usize, usize) -> [usize; 3]),
        ("exif3.jpg", (24, 16), |x, y| [10 * (23 - x), 15 * (15 - y), 128]),
    ] {
        let found = picture(name);
        assert_eq!((found.width, found.height), size, "{name}");
        for (i, p) in found.rgb.as_chunks::<3>().0.iter().enumerate() {
            let expected = at(i % size.0, i / size.0);
            // JPEG at quality 95.
            let near = p.iter().zip(expected).all(|(&a, b)| (a as usize).abs_diff(b) <= 8);
            assert!(near, "{name} pixel {i}: {p:?} instead of {expected:?}");
        }
    }
}

#[test]
fn cmyk_becomes_rgb() {
    for name in ["cmyk.jpg", "cmyk.tif"] {
        let found = picture(name);
        for (i, p) in found.rgb.as_chunks::<3>().0.iter().enumerate() {
            let expected = [10 * (i % 24), 15 * (i / 24), 128];
            assert!(p.iter().zip(expected).all(|(&a, b)| (a as usize).abs_diff(b) <= 8), "{name} pixel {i}: {p:?}");
        }
    }
}

#[test]
fn golden_pixels() {
    let bytes = fs::read(file("golden/pixels.safetensors")).unwrap();
    let golden = SafeTensors::deserialize(&bytes).unwrap();
    let small = bilinear::<3>(golden.tensor("picture").unwrap().data(), (131, 97), (64, 64));
    assert!(small == golden.tensor("resized").unwrap().data(), "not Pillow's bytes");
    let tensor = golden.tensor("tensor").unwrap().data();
    // Resized before, or by the preprocessing itself.
    for (picture, [height, width]) in
        [(small.as_slice(), [64, 64]), (golden.tensor("picture").unwrap().data(), [97, 131])]
    {
        let mut tape = Tape::new(DType::F32);
        let pixels = tape.input(Shape([1, height, width, 3]), DType::U8).unwrap();
        let normalised = tape.preprocess(pixels, 64, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]).unwrap();
        tape.output(normalised);
        let mut session = cpu::session(tape).unwrap();
        session.write(pixels, picture).unwrap();
        session.run().unwrap();
        let found = session.read::<f32>(normalised).unwrap();
        for (i, b) in tensor.as_chunks::<4>().0.iter().enumerate() {
            let (expected, found) = (f32::from_le_bytes(*b), found[i % 4096 * 3 + i / 4096]);
            assert!((expected - found).abs() <= expected.abs() * f32::EPSILON, "{i}: {found} instead of {expected}");
        }
    }
}

#[test]
fn resize_equals_pillow() {
    // SHA-256 heads of what Pillow 13 makes of the same noise.
    for (channels, from, to, expected) in [
        (3, (512, 512), (256, 256), "6b164381643c4952"),
        (3, (131, 97), (64, 64), "298b17fc1d43bde2"),
        (3, (97, 131), (256, 256), "7c0b42252f292fbd"),
        (3, (5, 7), (64, 64), "4ea991826c5aad78"),
        (3, (1, 1), (9, 9), "50e578d24db61bef"),
        (3, (300, 2), (31, 33), "2346680f1968fa8a"),
        (3, (64, 200), (64, 50), "d94336d14bf9d4a9"),
        (3, (200, 64), (50, 64), "eb7561710ca70a70"),
        (3, (33, 65), (33, 65), "cae3b3f1968cfb66"),
        (3, (1000, 700), (17, 13), "9e1c8894aa058cdb"),
        (1, (250, 123), (128, 128), "aaa7e09f527ffaca"),
        (1, (40, 50), (128, 128), "ea20b7ccef8f8b00"),
        // Height first: wider and lower, and more than twice the rows removed; then just not.
        (3, (240, 300), (256, 256), "b7530c801d3d9f4b"),
        (3, (100, 300), (80, 259), "a1d98657802703d4"),
        (3, (100, 300), (80, 260), "b5ff2e7cbd145a33"),
        (1, (249, 351), (256, 256), "3a0c81a0b7b3eeff"),
    ] {
        let mut state = 12345u32;
        let noise: Vec<u8> = (0..channels * from.0 * from.1)
            .map(|_| {
                state = state.wrapping_mul(1664525).wrapping_add(1013904223);
                (state >> 24) as u8
            })
            .collect();
        let found = if channels == 3 { bilinear::<3>(&noise, from, to) } else { bilinear::<1>(&noise, from, to) };
        let hash: String = Sha256::digest(&found)[..8].iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(hash, expected, "{channels} channels, {from:?} to {to:?}");
    }
}

#[test]
fn damaged_pictures_are_errors_that_name_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let expect_error = |name: &str, bytes: &[u8], reason: &str| {
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        let message = Picture::read(&path).expect_err(name).to_string();
        assert!(message.contains(name) && message.contains(reason), "{name}: {message}");
    };
    expect_error("empty.png", b"", "empty");
    expect_error("text.png", b"these are not the pixels you are looking for", "not a picture");
    expect_error("gif.png", b"GIF89a\x01\x00\x01\x00\x00\x00\x00;", "damaged");
    // A header that claims 20,000 x 20,000 pixels; the length and checksum are right.
    let mut huge = fs::read(file("pictures/rgb.bmp")).unwrap();
    huge[18..22].copy_from_slice(&20_000u32.to_le_bytes());
    huge[22..26].copy_from_slice(&20_000u32.to_le_bytes());
    expect_error("huge.bmp", &huge, "20000 x 20000");
    expect_error("float.tif", &fs::read(file("pictures/float.tif")).unwrap(), "");
    let jpeg = fs::read(file("pictures/exif3.jpg")).unwrap();
    expect_error("cut.jpg", &jpeg[..jpeg.len() - 40], "damaged");
    expect_error("header.jpg", &jpeg[..4], "damaged");
    for name in ["rgb.png", "rgb.bmp", "rgb.tif", "rgb.webp", "gray16.png", "exif3.jpg", "cmyk.jpg", "palette.png"] {
        let whole = fs::read(file("pictures").join(name)).unwrap();
        // Cut at every length, and with every byte changed: an error or a picture, never a panic.
        for length in 0..whole.len() {
            let _ = Picture::decode(&whole[..length]);
            let mut changed = whole.clone();
            changed[length] ^= 0x55;
            let _ = Picture::decode(&changed);
        }
        assert!(Picture::decode(&whole[..whole.len() / 2]).is_err(), "half of {name}");
    }
    let missing = Picture::read(&folder.path().join("nowhere.png")).unwrap_err().to_string();
    assert!(missing.contains("nowhere.png"), "{missing}");
    assert!(Picture::read(folder.path()).unwrap_err().to_string().contains("folder"));
}

/// Every picture and every broken file: bytes in memory decode as their file does, and their name is in the error.
#[test]
fn bytes_are_read_as_their_files() {
    let mut files: Vec<PathBuf> = fs::read_dir(file("pictures")).unwrap().map(|f| f.unwrap().path()).collect();
    files.sort();
    assert!(files.len() > 20);
    let name = || "upload 7".to_string();
    for path in &files {
        let bytes = fs::read(path).unwrap();
        let of_bytes = |bytes: &[u8]| Source::Bytes { name: name(), bytes: bytes.into() }.read();
        match (Source::from(path.clone()).read(), of_bytes(&bytes)) {
            (Ok(of_path), Ok(of_bytes)) => assert!(of_path == of_bytes, "{}", path.display()),
            (Err(e), Err(same)) => {
                let why = |e: ckaad::Error, name: &str| e.to_string().strip_prefix(name).unwrap().to_string();
                assert_eq!(why(e, path.to_str().unwrap()), why(same, "upload 7"));
            }
            (of_path, of_bytes) => panic!("{}: {of_path:?} and {of_bytes:?}", path.display()),
        }
        let message = of_bytes(&bytes[..bytes.len().min(20)]).unwrap_err().to_string();
        assert!(message.starts_with("upload 7: "), "{message}");
    }
}

fn touch(root: &Path, names: &str) {
    for name in names.split_whitespace() {
        let path = root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, b"").unwrap();
    }
}

fn names(samples: &[Sample], root: &Path) -> String {
    let names: Vec<_> = samples.iter().map(|s| s.path().strip_prefix(root).unwrap().to_str().unwrap()).collect();
    names.join(" ")
}

#[test]
fn dataset_folders() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    touch(root, "train/good/b.PNG train/good/a.jpeg train/good/B.tiff train/good/.hidden.png train/good/notes.txt");
    touch(root, "test/good/1.png test/scratch/2.jpg test/scratch/10.webp test/a_hole/x.bmp test/readme.txt");
    touch(root, "ground_truth/scratch/2_mask.png ground_truth/a_hole/y_mask.png");
    let train = TrainSet::open(root).unwrap();
    assert_eq!(names(&train.good, root), "train/good/B.tiff train/good/a.jpeg train/good/b.PNG");
    assert!(train.anomalous.is_empty());
    touch(root, "train/anomalous/z.png");
    assert_eq!(TrainSet::open(root).unwrap().anomalous.len(), 1);

    let test = TestSet::open(root).unwrap();
    let found: Vec<_> = test.images.iter().map(|i| (i.kind.as_str(), i.anomalous, !i.masks.is_empty())).collect();
    let expected = [("a_hole", true, false), ("good", false, false), ("scratch", true, false), ("scratch", true, true)];
    assert_eq!(found, expected);
    assert!(test.has_masks());
}

/// Masks as the field's datasets and tools call them, and normal pictures as people do.
#[test]
fn masks_and_normal_folders_by_other_names() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    touch(
        root,
        "test/OK/1.png test/Normal/2.png test/bad/a.png test/bad/b.JPG test/bad/c.png test/bad/d.png test/bad/e.png",
    );
    touch(root, "test/bad/sub/f.png test/bad/g.png test/bad/h.png");
    touch(
        root,
        "ground_truth/bad/a.bmp ground_truth/bad/b_mask.PNG ground_truth/bad/c_GT.png ground_truth/bad/D_Mask.tif",
    );
    touch(
        root,
        "ground_truth/bad/e/000.png ground_truth/bad/e/001.png ground_truth/bad/sub/f_mask.jpg ground_truth/g.png",
    );
    let test = TestSet::open(root).unwrap();
    assert_eq!(test.taken_for_normal, ["Normal", "OK"]);
    let masks = |name: &str| -> Vec<String> {
        let image = test.images.iter().find(|i| i.path().ends_with(name)).unwrap();
        let below = |p: &PathBuf| p.strip_prefix(root.join("ground_truth")).unwrap().to_str().unwrap().to_string();
        image.masks.iter().map(below).collect()
    };
    for (picture, expected) in [
        ("a.png", vec!["bad/a.bmp"]),
        ("b.JPG", vec!["bad/b_mask.PNG"]),
        ("c.png", vec!["bad/c_GT.png"]),
        ("d.png", vec!["bad/D_Mask.tif"]),
        ("e.png", vec!["bad/e/000.png", "bad/e/001.png"]),
        ("f.png", vec!["bad/sub/f_mask.jpg"]),
        ("g.png", vec!["g.png"]),
        ("h.png", vec![]),
        ("1.png", vec![]),
    ] {
        assert_eq!(masks(picture), expected, "{picture}");
    }
    assert_eq!(test.images.iter().filter(|i| i.anomalous).count(), 8);

    let [good, bad, truth] = ["test/OK", "test/bad", "ground_truth/bad"].map(|p| root.join(p));
    let flat = TestSet::of_folders(Some(&good), Some(&bad), Some(&truth)).unwrap();
    let kinds: Vec<&str> = flat.images.iter().map(|i| i.kind.as_str()).collect();
    assert_eq!(kinds, [&["anomalous"; 7][..], &["sub", "good"]].concat());
    assert_eq!(flat.images.iter().filter(|i| !i.masks.is_empty()).count(), 6);
    let error = TestSet::open(&bad).unwrap_err().to_string();
    assert!(error.contains("no test in it") && error.contains("--anomalous "), "{error}");
}

#[test]
fn missing_and_empty_folders_say_what_was_expected() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let train = |reason: &str| {
        let message = TrainSet::open(root).unwrap_err().to_string();
        assert!(message.contains(reason), "{message}");
    };
    train("train/good");
    fs::create_dir_all(root.join("train/good")).unwrap();
    train("train/good: no pictures");
    assert!(TrainSet::open(&root.join("elsewhere")).unwrap_err().to_string().contains("elsewhere: not a folder"));
    assert!(TestSet::open(root).unwrap_err().to_string().contains("test: no such folder"));
    fs::create_dir_all(root.join("test/good")).unwrap();
    assert!(TestSet::open(root).unwrap_err().to_string().contains("test/good: no pictures"));
}

#[test]
fn synthetic_dataset_has_the_layout_and_known_masks() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let spec = Spec { size: 64, train_good: 3, train_anomalous: 4, test_good: 2, test_per_type: 2, seed: 5 };
    generate(root, &spec).unwrap();
    let train = TrainSet::open(root).unwrap();
    assert_eq!((train.good.len(), train.anomalous.len()), (3, 4));
    let test = TestSet::open(root).unwrap();
    assert_eq!(test.images.len(), 2 + 3 * 2);
    assert!(test.images.iter().all(|i| i.masks.len() == usize::from(i.anomalous)));
    for image in test.images.iter().flat_map(|i| &i.masks) {
        let area: usize =
            load_mask(&[image], &Picture::new(64, 64, vec![]), (64, 64)).unwrap().iter().map(|&m| usize::from(m)).sum();
        // Some pixels, and never more than a tenth of the picture.
        assert!((8..410).contains(&area), "{}: {area} pixels", image.display());
    }
    assert!(generate(root, &spec).unwrap_err().to_string().contains("already there"));
}

#[test]
fn synthetic_defects_change_pixels_where_the_mask_says() {
    for (stream, defect) in Defect::ALL.into_iter().enumerate() {
        let (rgb, mask) = fabric(128, Some(defect), 3, stream as u64);
        assert_eq!((rgb.clone(), mask.clone()), fabric(128, Some(defect), 3, stream as u64), "not repeatable");
        assert_ne!(rgb, fabric(128, Some(defect), 4, stream as u64).0, "the seed is ignored");
        let mean = |wanted: bool| {
            let pixels = rgb.as_chunks::<3>().0.iter().zip(&mask).filter(|&(_, &m)| (m != 0) == wanted);
            let (sum, count) = pixels
                .fold((0.0, 0.0), |(s, n), (p, _)| (s + p.iter().map(|&v| f64::from(v)).sum::<f64>() / 3.0, n + 1.0));
            sum / count
        };
        let contrast = (mean(true) - mean(false)).abs();
        assert!((15.0..100.0).contains(&contrast), "{defect:?}: {contrast} levels");
    }
}

/// Masks in odd places are no pictures: beside their pictures, in a folder below theirs.
#[test]
fn masks_are_not_taken_for_pictures() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    touch(root, "sm/a.jpg sm/a_mask.png sm/b.jpg sm/B_GT.png sm/b_mask.png sm/c_mask.png good/x.png good/x_mask.png");
    let [good, sm] = ["good", "sm"].map(|p| root.join(p));
    for masks in [None, Some(&*sm)] {
        let set = TestSet::of_folders(Some(&good), Some(&sm), masks).unwrap();
        let found: Vec<_> = set.images.iter().map(|i| (i.path().file_name().unwrap(), i.masks.len())).collect();
        let expected = [("a.jpg", 1), ("b.jpg", 1), ("c_mask.png", 0), ("x.png", 0)];
        assert_eq!(found, expected.map(|(name, masks)| (name.as_ref(), masks)));
        assert_eq!((set.masks_beside, set.second_masks.len()), (2, 1));
        assert_eq!(set.passed_over.to_string(), "1 file called as the mask of a picture beside it");
    }
    let train = TrainSet::of_folders(&sm, None, None).unwrap();
    assert_eq!(names(&train.good, root), "sm/a.jpg sm/b.jpg sm/c_mask.png");
    assert_eq!(train.passed_over.to_string(), "3 files called as masks of pictures beside them");

    touch(root, "fl/a.jpg fl/mk/a.png");
    let fl = root.join("fl");
    for (anomalous, masks) in [(&fl, fl.join("mk")), (&sm, root.to_path_buf())] {
        let set = TestSet::of_folders(None, Some(anomalous), Some(&masks)).unwrap();
        assert!(set.images.iter().all(|i| i.path().parent() == Some(anomalous)), "{set:?}");
    }
    let set = TestSet::of_folders(None, Some(&fl), Some(&fl.join("mk"))).unwrap();
    assert_eq!(set.images[0].masks, [fl.join("mk/a.png")]);
}

/// What lies where nothing is looked for is said.
#[test]
fn datasets_with_more_in_them() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    touch(root, "train/good/a.png train/bad/1.png train/bad/2.png train/x.png train/anomalous/a.png");
    touch(root, "train/hole/1.png test/hole/1.png train/masks/1.png");
    touch(root, "test/good/a.png test/y.png test/z.png test/notes.txt");
    let train = TrainSet::open(root).unwrap();
    let labelled: Vec<&str> = train.anomalous.iter().map(|s| s.kind.as_str()).collect();
    assert_eq!((train.good.len(), &labelled[..]), (1, &["anomalous", "hole"][..]));
    assert_eq!(train.passed_over.to_string(), "1 picture in train itself, folder train/masks (1 picture)");
    assert!(train.left_out[0].contains("train/bad: 2 pictures of a class that test has not"), "{:?}", train.left_out);
    assert_eq!(train.left_out.len(), 1);
    let test = TestSet::open(root).unwrap();
    assert_eq!(test.images.len(), 2);
    assert_eq!(test.passed_over.to_string(), "1 file that is no picture by name (1 .txt), 2 pictures in test itself");
}

/// Whoever calls them so in `test` does in `train`.
#[test]
fn normal_pictures_to_train_on_by_other_names() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    touch(
        root,
        "a/train/Good/1.png a/train/Anomalous/2.png b/train/ok/1.png b/train/normal/2.png c/train/x/1.png c/test/2.png",
    );
    for (data, good, anomalous, taken) in [("a", 1, 1, &["Good"][..]), ("b", 2, 0, &["normal", "ok"])] {
        let set = TrainSet::open(&root.join(data)).unwrap();
        assert_eq!((set.good.len(), set.anomalous.len()), (good, anomalous), "{data}");
        assert_eq!(set.taken_for_normal, taken);
    }
    let error = TrainSet::open(&root.join("c")).unwrap_err().to_string();
    assert!(error.contains("no train/good") && error.ends_with("--normal DIR"), "{error}");
    let error = TestSet::open(&root.join("a")).unwrap_err().to_string();
    assert!(error.contains("no test in it") && error.ends_with("--normal DIR"), "{error}");
}

/// Of two masks one is taken, and what is no picture's is said; neither is a mask of a normal picture.
#[test]
fn masks_too_many() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    touch(root, "test/good/0.png test/bad/a.png test/bad/b.png test/bad/c.png test/bad/c_mask.png test/bad/c_gt.png");
    touch(root, "Ground_Truth/good/0_mask.png Ground_Truth/bad/a.png Ground_Truth/bad/a_mask.png");
    touch(root, "Ground_Truth/bad/b-mask.png Ground_Truth/bad/x.png Ground_Truth/y.png");
    let set = TestSet::open(root).unwrap();
    let masks: Vec<&[PathBuf]> = set.images.iter().map(|i| &i.masks[..]).collect();
    let at = |name: &str| root.join(name);
    let (a, b) = ([at("Ground_Truth/bad/a_mask.png")], [at("Ground_Truth/bad/b-mask.png")]);
    let c = [at("test/bad/c_mask.png")];
    assert_eq!(masks, [&a[..], &b, &c, &[]]);
    let second = [(a[0].clone(), at("Ground_Truth/bad/a.png")), (c[0].clone(), at("test/bad/c_gt.png"))];
    assert_eq!(set.second_masks, second);
    assert_eq!(set.masks_of_none, ["Ground_Truth/bad/x.png", "Ground_Truth/y.png"].map(at));
    assert!(set.passed_over.is_empty());
}
