//! Odd pictures and masks, against what Pillow makes of them (`odd/make.py`).

use ckaad::data::image::{Picture, Source, load_mask};
use ckaad::data::resize::bilinear;
use image::metadata::Orientation;
use image::{GrayImage, Luma};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/odd").join(name)
}

/// Width, height, mean and hash by Pillow.
type Expected = BTreeMap<String, (usize, usize, f64, String)>;

fn expected() -> Expected {
    serde_json::from_str(&std::fs::read_to_string(file("expected.json")).unwrap()).unwrap()
}

fn mean(picture: &Picture) -> f64 {
    picture.rgb.iter().map(|&v| f64::from(v)).sum::<f64>() / picture.rgb.len() as f64
}

#[test]
fn pixels_are_those_of_pillow() {
    let expected = expected();
    assert!(expected.len() > 35);
    for (name, (width, height, level, hash)) in &expected {
        // Pillow cuts 16-bit gray, here its high byte is kept, as everywhere.
        if name.contains("16.png") || name.contains("16bit") {
            continue;
        }
        let found = Picture::read(&file(name)).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!((found.width, found.height), (*width, *height), "{name}");
        let head: String = Sha256::digest(&found.rgb)[..8].iter().map(|b| format!("{b:02x}")).collect();
        // Other decoders of lossy data than Pillow's round in another way.
        if ["ycbcr.tif", "exif6_prefix.webp"].contains(&name.as_str()) {
            assert!((mean(&found) - level).abs() < 0.5, "{name}: {} instead of {level}", mean(&found));
        } else {
            assert_eq!(head, *hash, "{name}: mean {} instead of {level}", mean(&found));
        }
    }
}

#[test]
fn turned_as_the_camera_was_held() {
    // The same picture, once as WebP.
    let (found, right) = (
        Picture::read(&file("exif6_prefix.webp")).unwrap(),
        Picture::read(&file("exif6_prefix_expected.png")).unwrap(),
    );
    assert_eq!((found.width, found.height, found.orientation), (120, 160, Orientation::Rotate90));
    let off = found.rgb.iter().zip(&right.rgb).map(|(a, b)| a.abs_diff(*b)).max();
    assert!(off <= Some(8), "{off:?} levels");
}

#[test]
fn what_may_not_look_as_it_was_meant_comes_with_a_warning() {
    for (name, word) in [
        ("gray8in16.png", "use 8 bits (the highest is 238)"),
        ("signed16.tif", "outside of 0 to 255"),
        ("signed32.tif", "outside of 0 to 255"),
        ("extraneous.jpg", "7 extraneous bytes"),
        ("mask_16bit_255.png", "use 8 bits"),
    ] {
        let warnings = Picture::read(&file(name)).unwrap().warnings;
        assert!(warnings.len() == 1 && warnings[0].contains(word), "{name}: {warnings:?}");
    }
    for name in ["rgb.gif", "cmyk.jpg", "palette.tif", "mask_255.png"] {
        assert_eq!(Picture::read(&file(name)).unwrap().warnings, [""; 0], "{name}");
    }
}

/// Of several frames or pages one is taken, which is said.
#[test]
fn animations_and_pages() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let frames =
        |count: u8| (0..count).map(|i| image::Frame::new(image::RgbaImage::from_pixel(5, 4, [i, 0, 9, 255].into())));
    for count in [1, 2, 3] {
        let file = std::fs::File::create(at(&format!("{count}.gif"))).unwrap();
        image::codecs::gif::GifEncoder::new(file).encode_frames(frames(count)).unwrap();
        let mut pages =
            tiff::encoder::TiffEncoder::new(std::fs::File::create(at(&format!("{count}.tif"))).unwrap()).unwrap();
        for _ in 0..count {
            pages.write_image::<tiff::encoder::colortype::Gray8>(5, 4, &[7; 20]).unwrap();
        }
    }
    let animated = |name: &str| Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pictures").join(name);
    for (path, words) in [
        (at("1.gif"), None),
        (at("2.gif"), Some("has 2 frames; the first is taken")),
        (at("3.gif"), Some("has 3 frames; the first is taken")),
        (at("1.tif"), None),
        (at("3.tif"), Some("has 3 pages; the first is taken")),
        (animated("animated.png"), Some("has 2 frames; the first is taken")),
        (animated("animated.webp"), Some("has 2 frames; the first is taken")),
        (animated("rgb.webp"), None),
        (animated("rgb.png"), None),
    ] {
        let found = Picture::read(&path).unwrap().warnings;
        assert_eq!(found.first().map(String::as_str), words, "{}", path.display());
    }
}

/// libjpeg fills a hole with gray and goes on.
#[test]
fn damage_in_the_middle_of_a_jpeg_is_an_error() {
    let error = Picture::read(&file("hole.jpg")).unwrap_err().to_string();
    assert!(error.contains("hole.jpg: damaged: "), "{error}");
    // The rest of the thread's pictures do not suffer.
    Picture::read(&file("cmyk.jpg")).unwrap();
    assert_eq!(Picture::read(&file("extraneous.jpg")).unwrap().warnings.len(), 1);
}

/// Twelve bits a sample and a float are said to be what they are.
#[test]
fn what_cannot_be_read_is_named() {
    let mut gray = std::fs::read(file("gray8.tif")).unwrap();
    let at = gray.windows(8).position(|w| w == [2, 1, 3, 0, 1, 0, 0, 0]).unwrap() + 8;
    gray[at] = 12;
    let error = Source::Bytes { name: "twelve".into(), bytes: gray.into() }.read().unwrap_err().to_string();
    assert!(error.starts_with("twelve: ") && error.contains("TIFF"), "{error}");
}

/// A picture of the masks' shape.
fn shown(width: usize, height: usize) -> Picture {
    Picture::new(width, height, vec![0; width * height * 3])
}

#[test]
fn masks_mark_whatever_is_not_zero() {
    let square = |width: usize, height: usize, (x0, y0, x1, y1): (usize, usize, usize, usize)| {
        let at = |i: usize| (x0..x1).contains(&(i % width)) && (y0..y1).contains(&(i / width));
        (0..width * height).map(|i| if at(i) { 255 } else { 0 }).collect::<Vec<u8>>()
    };
    let small = square(37, 29, (8, 5, 20, 15));
    for name in [
        "mask_255.png",
        "mask.jpg",
        "mask_16bit_255.png",
        "mask_alpha_of_black.png",
        "mask_alpha_of_white.png",
        "mask_blue_opaque.png",
        "mask_black_palette.png",
    ] {
        for size in [16, 64] {
            let found = load_mask(&[file(name)], &shown(37, 29), (size, size)).unwrap();
            let right: Vec<u8> =
                bilinear::<1>(&small, (37, 29), (size, size)).into_iter().map(|v| u8::from(v > 127)).collect();
            assert!(found == right, "{name} at {size}");
        }
    }
    // 900 of 160 x 120 pixels are marked, by the files' makers.
    for name in ["mask_values_0_1.png", "mask_values_0_3.png", "mask_palette_index1.png"] {
        let found = load_mask(&[file(name)], &shown(160, 120), (240, 240)).unwrap();
        let share = found.iter().map(|&v| f64::from(v)).sum::<f64>() / found.len() as f64;
        assert!((share - 900.0 / 19200.0).abs() < 0.002, "{name}: {share}");
    }
}

/// Of a palette the colours count: what is white is marked, also where its number is 0.
#[test]
fn a_palette_mask_whose_colour_0_is_white() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mask.png");
    let mut encoder = png::Encoder::new(std::fs::File::create(&path).unwrap(), 2, 2);
    encoder.set_color(png::ColorType::Indexed);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_palette(&[255, 255, 255, 0, 0, 0][..]);
    encoder.write_header().unwrap().write_image_data(&[0, 1, 1, 1]).unwrap();
    assert_eq!(load_mask(&[path], &shown(2, 2), (2, 2)).unwrap(), [1, 0, 0, 0]);
}

#[test]
fn masks_are_turned_with_their_pictures() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, width: u32, height: u32, at: (u32, u32)| {
        let path = folder.path().join(name);
        image::GrayImage::from_fn(width, height, |x, y| image::Luma([if (x, y) == at { 255 } else { 0 }]))
            .save(&path)
            .unwrap();
        path
    };
    let marked = |mask: &Path, picture: &Picture| {
        let found = load_mask(&[mask], picture, (8, 8)).unwrap();
        found.iter().enumerate().filter(|(_, v)| **v != 0).map(|(i, _)| (i % 8, i / 8)).collect::<Vec<_>>()
    };
    // Stored 4 wide and 2 high, shown 2 wide and 4 high: turned clockwise, the left column becomes the upper row.
    let turned = Picture { orientation: Orientation::Rotate90, ..shown(2, 4) };
    let as_stored = write("stored.png", 4, 2, (0, 0));
    let right = [(4, 0), (5, 0), (6, 0), (7, 0), (4, 1), (5, 1), (6, 1), (7, 1)];
    let upper_right = |found: &[(usize, usize)]| !found.is_empty() && found.iter().all(|p| right.contains(p));
    assert!(upper_right(&marked(&as_stored, &turned)));
    // Drawn over the picture as it is shown.
    let as_shown = write("shown.png", 2, 4, (1, 0));
    assert!(upper_right(&marked(&as_shown, &turned)));
    // Of a square nobody can tell: it is taken for stored as its picture is.
    let square = Picture { orientation: Orientation::Rotate180, ..shown(8, 8) };
    assert_eq!(marked(&write("square.png", 8, 8, (0, 1)), &square), [(7, 6)]);
    let error = load_mask(&[write("other.png", 3, 5, (0, 0))], &turned, (8, 8)).unwrap_err().to_string();
    assert!(error.contains("other.png") && error.contains("3 x 5") && error.contains("2 x 4"), "{error}");
}

/// Half a pixel from either file is a whole one.
#[test]
fn masks_in_several_files_are_those_in_one() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, marked: fn(u32, u32) -> bool| {
        let path = folder.path().join(name);
        let value = |x, y| image::Luma([if marked(x, y) { 255 } else { 0 }]);
        image::GrayImage::from_fn(50, 40, value).save(&path).unwrap();
        path
    };
    let one = write("one.png", |x, y| x + y < 30);
    let (even, odd) =
        (write("even.png", |x, y| x + y < 30 && x % 2 == 0), write("odd.png", |x, y| x + y < 30 && x % 2 == 1));
    // One pixel of 50 x 40 is less than half of any of 4 x 4, and still an anomaly: 30 of 50 falls into the third, 9 of 40 into the first.
    let speck = file("speck.png");
    GrayImage::from_fn(50, 40, |x, y| Luma([if (x, y) == (30, 9) { 255 } else { 0 }])).save(&speck).unwrap();
    let mut expected = [0; 16];
    expected[2] = 1;
    assert_eq!(load_mask(&[&speck], &shown(50, 40), (4, 4)).unwrap(), expected);
    let together = load_mask(&[even, odd], &shown(50, 40), (16, 16)).unwrap();
    assert!(together.contains(&1) && together == load_mask(&[&one], &shown(50, 40), (16, 16)).unwrap());
}
