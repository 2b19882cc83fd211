//! Heat maps, map files and the HTML report.

use ckaad::data::image::Picture;
use ckaad::report::heatmap::{heatmap, png_gray, png_rgb};
use ckaad::report::html::{MetricsRow, Report, Shot, choose};
use ckaad::report::maps::{write_npy, write_tiff};

const MAP: [f32; 6] = [0.0, 0.5, 1.0, -2.5, 3.25, f32::MIN_POSITIVE];

#[test]
fn npy_is_numpys() {
    let mut found = Vec::new();
    write_npy(&mut found, &MAP, 3, 2).unwrap();
    // `numpy.save` writes this header, padded so that data starts at byte 128.
    let mut expected = b"\x93NUMPY\x01\x00\x76\x00{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }".to_vec();
    expected.resize(127, b' ');
    expected.push(b'\n');
    expected.extend(MAP.iter().flat_map(|v| v.to_le_bytes()));
    assert_eq!(found, expected);
    assert!(write_npy(&mut Vec::new(), &MAP, 4, 2).is_err());
}

#[test]
fn tiff_reads_back() {
    let mut bytes = Vec::new();
    write_tiff(&mut bytes, &MAP, 3, 2).unwrap();
    let mut decoder = tiff::decoder::Decoder::new(std::io::Cursor::new(bytes)).unwrap();
    assert_eq!(decoder.dimensions().unwrap(), (3, 2));
    assert_eq!(decoder.colortype().unwrap(), tiff::ColorType::Gray(32));
    let tiff::decoder::DecodingResult::F32(found) = decoder.read_image().unwrap() else { panic!("not floats") };
    assert_eq!(found, MAP);
}

#[test]
fn heat_runs_from_blue_to_red() {
    let gray = [128u8; 4 * 3];
    let heat = heatmap(&gray, &[-1.0, 0.0, 2.0, f32::NAN], 0.0, 1.0);
    let [below, low, high, nan] = *heat.as_chunks::<3>().0 else { panic!("four pixels") };
    assert_eq!((below, nan), (low, low));
    assert!(low[2] > low[0] && high[0] > high[2], "{low:?} {high:?}");
    // The published polynomial at 0.08, 0.515 and 0.95 in f64, blended over 128 at 32.5, 48.75 and 65 %.
    let middle = heatmap(&gray[..3], &[0.5], 0.0, 1.0);
    for (found, expected) in
        [(low, [111u8, 111, 151]), (middle.as_chunks::<3>().0[0], [145, 186, 102]), (high, [145, 54, 45])]
    {
        assert!(found.iter().zip(expected).all(|(a, b)| a.abs_diff(b) <= 1), "{found:?} instead of {expected:?}");
    }
    // A range of nothing is cold everywhere.
    assert_eq!(heatmap(&gray[..3], &[7.0], 7.0, 7.0), low);
}

#[test]
fn pictures_encode_without_loss() {
    let rgb: Vec<u8> = (0..2 * 3 * 3).map(|i| i * 13).collect();
    assert_eq!(Picture::decode(&png_rgb(&rgb, 3, 2).unwrap()).unwrap(), Picture::new(3, 2, rgb));
    assert_eq!(Picture::decode(&png_gray(&[9, 200], 2, 1).unwrap()).unwrap().rgb, [9, 9, 9, 200, 200, 200]);
    assert!(png_rgb(&[0; 5], 2, 1).is_err());
}

#[test]
fn worst_are_chosen_first() {
    let pictures =
        [("good", false, 0.1), ("hole", true, 0.9), ("good", false, 0.6), ("hole", true, 0.2), ("hole", true, 0.5)];
    assert_eq!(choose(&pictures, 2), [2, 0, 3, 4]);
    assert_eq!(choose(&[], 2), [0usize; 0]);
}

fn sample() -> Report {
    let shot = |name: &str, anomalous, score| Shot {
        name: name.into(),
        kind: if anomalous { "hole" } else { "good" }.into(),
        anomalous,
        score,
        size: 2,
        rgb: vec![120; 12],
        mask: vec![0, 1, 0, 0],
        map: vec![0.0, 1.0, 0.2, 0.3],
    };
    Report {
        title: "Fabric <demo>".into(),
        note: "A random backbone & nothing else".into(),
        command: "ckaad demo --out \"my folder\"".into(),
        settings: vec![("backbone".into(), "resnet18".into())],
        metrics: vec![
            MetricsRow { name: "all".into(), pictures: 4, image_auroc: Some(0.98765), ..Default::default() },
            MetricsRow { name: "hole".into(), pictures: 2, aupro: Some(0.43219), ..Default::default() },
        ],
        pro_definition: "exact".into(),
        roc: vec![(0.0, 0.0), (0.0, 0.5), (1.0, 1.0)],
        scores: vec![(0.1, false), (0.2, false), (0.7, true), (f64::INFINITY, true)],
        threshold: Some(0.4567),
        gallery: vec![shot("<b>&\"x\".png", true, 0.1234), shot("fine\n.png", false, 0.2)],
        heat_range: (0.0, 1.0),
    }
}

/// A strict reading of the markup: every tag closes in order, attributes are quoted, text holds no bare `<`.
/// Returns the text, its entities left as they are.
fn check_well_formed(html: &str) -> String {
    let (mut open, mut text, mut rest) = (Vec::new(), String::new(), html);
    while let Some((before, after)) = rest.split_once('<') {
        text.push_str(before);
        // Quoted values may hold anything but a quote.
        let mut quoted = false;
        let end = after
            .find(|c| {
                quoted ^= c == '"';
                c == '>' && !quoted
            })
            .expect("a tag ends");
        let tag = &after[..end];
        rest = &after[end + 1..];
        assert!(!tag.contains('<'), "bare < in {tag}");
        let name = tag.trim_start_matches('/').split([' ', '\n', '/']).next().unwrap();
        if tag.starts_with('/') {
            assert_eq!(open.pop(), Some(name), "closed out of order");
        } else if !tag.starts_with('!') && !tag.ends_with('/') {
            open.push(name);
        }
    }
    text.push_str(rest);
    assert!(open.is_empty(), "left open: {open:?}");
    for entity in text.split('&').skip(1) {
        assert!(["amp;", "lt;", "gt;", "quot;"].iter().any(|e| entity.starts_with(e)), "bare & before {entity:.20}");
    }
    text
}

#[test]
fn report_is_well_formed_and_holds_its_numbers() {
    let html = sample().html().unwrap();
    let text = check_well_formed(&html);
    for part in
        ["Fabric &lt;demo&gt;", "0.9877", "0.4322", "0.4567", "score 0.1234", "normal: missed", "my folder&quot;"]
    {
        assert!(text.contains(part), "{part} is missing");
    }
    assert!(html.contains("alt=\"heat map of &lt;b&gt;&amp;&quot;x&quot;.png\""));
    assert!(!html.contains("<b>&"), "a file name became markup");
    assert!(!text.contains("fine\n"), "a control character survived");
    assert_eq!(html.matches("<svg").count(), 2);
    assert_eq!(html.matches("data:image/").count(), 6);
    for outside in ["src=\"http", "href=", "url(", "@import"] {
        assert!(!html.contains(outside), "{outside}");
    }
}

#[test]
fn an_empty_report_and_equal_scores_render() {
    check_well_formed(&Report::default().html().unwrap());
    let scores = vec![(f64::NAN, true), (1.0, false), (1.0, true)];
    check_well_formed(&Report { scores, threshold: Some(1.0), ..Default::default() }.html().unwrap());
    check_well_formed(&Report { scores: vec![(f64::NAN, true)], ..Default::default() }.html().unwrap());
}

#[test]
fn a_picture_of_the_wrong_length_is_named() {
    let mut report = sample();
    report.gallery[0].rgb.pop();
    report.gallery[0].map.clear();
    assert!(report.html().unwrap_err().to_string().contains("x"));
}
