//! Heat maps, map files and the HTML report.

use ckaad::data::image::Picture;
use ckaad::metrics::confusion::Confusion;
use ckaad::metrics::f1::BestF1;
use ckaad::report::encode::{png_gray, png_rgb};
use ckaad::report::heatmap::{Scale, TRUTH, heatmap, outline, with_legend};
use ckaad::report::html::{MetricsRow, Rank, Report, Row, Shot, choose};
use ckaad::report::maps::{write_npy, write_tiff};
use ckaad::score::evaluate::ProCurve;
use ckaad::score::map::Map;
use ckaad::score::normalization::Normalization;

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
    let scale = Scale { from: 0.0, to: 1.0, contour: false, filled: true };
    let heat = heatmap(&gray, (2, 2), &Map::square(vec![-1.0, 0.0, 2.0, f32::NAN]), &scale);
    let [below, low, high, nan] = *heat.as_chunks::<3>().0 else { panic!("four pixels") };
    // What is below the scale is left as it is, and so is what is not a number.
    assert_eq!((below, nan), ([128; 3], [128; 3]));
    assert!(low[2] > low[0] && high[0] > high[2], "{low:?} {high:?}");
    // The published polynomial at 0.08, 0.515 and 0.95 in f64, blended over 128 at 30, 47.5 and 65 %.
    let middle = heatmap(&gray[..3], (1, 1), &Map::square(vec![0.5]), &scale);
    for (found, expected) in
        [(low, [112u8, 112, 149]), (middle.as_chunks::<3>().0[0], [144, 184, 103]), (high, [145, 54, 45])]
    {
        assert!(found.iter().zip(expected).all(|(a, b)| a.abs_diff(b) <= 1), "{found:?} instead of {expected:?}");
    }
    // A range of nothing is cold everywhere.
    let flat = Scale { from: 7.0, to: 7.0, ..scale };
    assert_eq!(heatmap(&gray[..3], (1, 1), &Map::square(vec![7.0]), &flat), low);
}

/// A square of a map over a picture twice as wide as high: coloured inside, outlined, and as it was outside.
#[test]
fn what_is_above_the_threshold_is_outlined() {
    let (width, height) = (64, 32);
    let mut map = [0.0f32; 64];
    for (x, y) in [(2, 2), (3, 2), (4, 2), (2, 3), (3, 3), (4, 3), (2, 4), (3, 4), (4, 4)] {
        map[y * 8 + x] = 2.0;
    }
    let gray = vec![90u8; width * height * 3];
    let at = |rgb: &[u8], x: usize, y: usize| rgb.as_chunks::<3>().0[y * width + x];
    let drawn = heatmap(&gray, (width, height), &Map::square(map.into()), &Scale::above(1.0));
    let only = heatmap(&gray, (width, height), &Map::square(map.into()), &Scale { filled: false, ..Scale::above(1.0) });
    // Halfway between the map's values lies the threshold: from 2 of 8 to 5 of 8, of 64 and of 32 pixels.
    let inside = |x: usize, y: usize| (16..40).contains(&x) && (8..20).contains(&y);
    let mut outlined = 0;
    for y in 0..height {
        for x in 0..width {
            let corner = [16, 39].iter().any(|c| x.abs_diff(*c) <= 4) && [8, 19].iter().any(|c| y.abs_diff(*c) <= 2);
            if corner {
                continue; // Linear interpolation rounds the corners.
            }
            let line = [(x.wrapping_sub(1), y), (x + 1, y), (x, y.wrapping_sub(1)), (x, y + 1)]
                .iter()
                .any(|&(a, b)| a < width && b < height && inside(a, b) != inside(x, y));
            outlined += usize::from(line);
            let expected = match (line, inside(x, y)) {
                (true, true) => [255; 3],
                (true, false) => [20; 3],
                (false, false) => [90; 3],
                (false, true) => {
                    assert_ne!(at(&drawn, x, y), [90; 3], "{x} {y}");
                    at(&drawn, x, y)
                }
            };
            assert_eq!(at(&drawn, x, y), expected, "{x} {y}");
            assert_eq!(at(&only, x, y), if inside(x, y) && !line { [90; 3] } else { expected }, "{x} {y}");
        }
    }
    assert!(outlined > 60);
}

#[test]
fn a_legend_lies_below_where_there_is_room() {
    let scale = Scale::above(0.25);
    let picture = |w: usize, h: usize| vec![9u8; w * h * 3];
    let (pixels, height) = with_legend(picture(300, 20), (300, 20), &scale);
    assert_eq!((height, pixels.len()), (36, 300 * 36 * 3));
    assert!(pixels[..300 * 20 * 3].iter().all(|v| *v == 9), "the picture itself is not touched");
    let colors: std::collections::HashSet<[u8; 3]> =
        pixels[300 * 20 * 3..].as_chunks::<3>().0.iter().copied().collect();
    assert!(colors.len() > 50, "a bar of colours: {}", colors.len());
    // No room, and nothing to explain.
    assert_eq!(with_legend(picture(16, 16), (16, 16), &scale).1, 16);
    assert_eq!(with_legend(picture(300, 20), (300, 20), &Scale { filled: false, ..scale }).1, 20);
    // A large picture has a large legend, but none that is higher than a very wide picture.
    assert_eq!(with_legend(picture(2400, 600), (2400, 600), &scale).1, 600 + 6 * 16);
    assert_eq!(with_legend(picture(2400, 200), (2400, 200), &scale).1, 200 + 2 * 16);
    assert_eq!(with_legend(picture(2400, 10), (2400, 10), &scale).1, 10 + 16);
}

/// Where the bar of colours begins, and the strip's pixels, of a picture 600 wide.
fn strip(scale: &Scale) -> (usize, Vec<u8>) {
    let (pixels, height) = with_legend(vec![9; 600 * 8 * 3], (600, 8), scale);
    let middle = &pixels.as_chunks::<3>().0[600 * (8 + (height - 8) / 2)..][..600];
    let bar = middle.iter().position(|[r, g, b]| r.abs_diff(*g).max(g.abs_diff(*b)) > 20).unwrap();
    (bar, pixels[600 * 8 * 3..].to_vec())
}

#[test]
fn a_legend_names_the_threshold_and_tells_small_ones_apart() {
    let scale = Scale::above(0.25);
    // The word and a space: ten letters of eight pixels. A map's lowest value is no threshold.
    assert_eq!(strip(&scale).0, strip(&Scale { contour: false, ..scale }).0 + 80);
    assert_ne!(strip(&Scale::above(0.0004)).1, strip(&Scale::above(0.00041)).1);
}

/// Of a tiny picture only the outer line is drawn: the inner would hide most of what it surrounds.
#[test]
fn a_tiny_anomaly_is_still_seen() {
    let mut map = [0.0f32; 16 * 16];
    (6..10).for_each(|y| map[y * 16 + 6..y * 16 + 10].fill(2.0));
    let gray = vec![90u8; 16 * 16 * 3];
    let count = |scale: &Scale, color: [u8; 3]| {
        heatmap(&gray, (16, 16), &Map::square(map.into()), scale)
            .as_chunks::<3>()
            .0
            .iter()
            .filter(|p| **p == color)
            .count()
    };
    let scale = Scale::above(1.0);
    // Four by four pixels; sixteen more touch a side of theirs, and twelve of their own lie at a border.
    assert_eq!((count(&scale, [20; 3]), count(&scale, [255; 3]), count(&scale, [90; 3])), (16, 0, 256 - 32));
    let only = Scale { filled: false, ..scale };
    assert_eq!((count(&only, [20; 3]), count(&only, [255; 3])), (16, 12));
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
    let (doubtful, clear) = (Rank::Doubtful, Rank::Clear);
    assert_eq!(choose(&pictures, 2), [(2, doubtful), (0, clear), (3, doubtful), (1, clear)]);
    assert_eq!(choose(&pictures, 9)[2..], [(3, doubtful), (4, doubtful), (1, clear)]);
    assert_eq!(choose(&pictures, 1), [(2, doubtful), (3, doubtful)]);
    assert_eq!(choose(&[], 2), []);
}

/// Around a block in a corner: beside it, and along the edge of the picture.
#[test]
fn a_mask_is_outlined() {
    #[rustfmt::skip]
    let mask = [1, 1, 0, 0, 0,
                1, 1, 0, 0, 0,
                0, 0, 0, 0, 0,
                0, 0, 0, 0, 0];
    let mut rgb = vec![90u8; 5 * 4 * 3];
    outline(&mut rgb, (5, 4), &mask);
    #[rustfmt::skip]
    let expected = [1, 1, 1, 0, 0,
                    1, 0, 1, 0, 0,
                    1, 1, 0, 0, 0,
                    0, 0, 0, 0, 0];
    let found: Vec<i32> = rgb.as_chunks::<3>().0.iter().map(|p| i32::from(*p == TRUTH)).collect();
    assert_eq!(found, expected);
    // Neither the contour of what is found nor a colour of heat: those are never both red and blue.
    let heat = Scale { from: 0.0, to: 1.0, contour: false, filled: true };
    let colors = heatmap(&[255; 300], (10, 10), &Map::square((0..100).map(|i| i as f32 / 99.0).collect()), &heat);
    let far = |c: &[u8; 3]| c.iter().zip(TRUTH).map(|(a, b)| u32::from(a.abs_diff(b))).sum::<u32>() > 120;
    assert!(colors.as_chunks::<3>().0.iter().all(far));
}

fn row(name: &str, anomalous: Option<bool>, score: f64) -> Row {
    let kind = if anomalous == Some(true) { "hole" } else { "good" };
    Row { name: name.into(), kind: kind.into(), anomalous, score, truth: "no mask".into() }
}

fn sample() -> Report {
    let shot = |row: Row, mask: Option<Vec<u8>>| Shot {
        row,
        rank: Some(Rank::Clear),
        shown: (30, 20),
        rgb: vec![120; 12],
        mask,
        map: Map::square(vec![0.0, 1.0, 0.2, 0.3]),
    };
    let missed = row("<b>&\"x\".png", Some(true), 0.1234);
    let best = BestF1 { f1: 0.91827, threshold: 0.5432, accuracy: 0.9 };
    Report {
        title: "Fabric <demo>".into(),
        note: "A random backbone & nothing else".into(),
        command: "ckaad demo --out \"my folder\"".into(),
        settings: vec![("backbone".into(), "resnet18".into())],
        threshold: Some(0.4567),
        normalization: Some(Normalization::Ratio { threshold: 0.4567, lowest: 0.0 }),
        threshold_origin: "0.98-quantile of 6 normal pictures".into(),
        operating: Some(Confusion { true_positives: 1, false_negatives: 3, false_positives: 1, true_negatives: 7 }),
        left_out: vec!["<c>.png: damaged".into()],
        warnings: vec!["<d>.png: odd".into()],
        metrics: vec![
            MetricsRow {
                name: "all".into(),
                anomalous: Some(4),
                recall: Some(0.25),
                image_auroc: Some(0.98765),
                best_f1: Some(best.f1),
                best_threshold: Some(best.threshold),
                ..Default::default()
            },
            MetricsRow { name: "hole".into(), anomalous: Some(2), aupro: Some(0.43219), ..Default::default() },
        ],
        pro_definition: "exact".into(),
        roc: vec![(0.0, 0.0), (0.0, 0.5), (1.0, 1.0)],
        pro: Some(ProCurve { points: vec![(0.0, 0.0), (0.1, 0.5), (0.3, 0.8)], aupro: 0.71828 }),
        precision_recall: vec![(0.0, 1.0), (1.0, 0.5)],
        pictures: vec![
            missed.clone(),
            row("fine\n.png", Some(false), 0.2),
            row("c.png", Some(true), 0.7),
            row("d.png", Some(true), f64::INFINITY),
        ],
        gallery: vec![shot(missed, Some(vec![0, 1, 0, 0])), shot(row("e.png", Some(true), 0.5), None)],
        chosen: "those judged worst".into(),
        scale: Some(Scale::above(0.25)),
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
    for part in [
        "Fabric &lt;demo&gt;",
        "0.9877",
        "0.4322",
        "At the model's threshold, 0.4567",
        "0.98-quantile of 6 normal",
        // 1 of 4 found, 1 of 8 false alarms, 1 of 2 right, 8 of 12 in all.
        "25.0 %",
        "12.5 %",
        "50.0 %",
        "66.7 %",
        "0.9183",
        "0.5432",
        // 0.1234 / 0.4567 / 2, and beyond the threshold 1 - 0.4567 / 0.7 / 2.
        "score 0.1234 (normalised 0.14)",
        "0.674",
        "Normalised scores run from 0,",
        "PRO curve (area 0.7183): per-region overlap",
        "false positive rate of pixels",
        "what the model finds, the mask.",
        "normal: missed",
        "my folder&quot;",
        "&lt;c&gt;.png: damaged",
        "&lt;d&gt;.png: odd",
    ] {
        assert!(text.contains(part), "{part} is missing");
    }
    assert!(text.find("At the model's threshold") < text.find("AUROC"), "the operating point comes first");
    assert!(html.contains("alt=\"heat map of &lt;b&gt;&amp;&quot;x&quot;.png\""));
    assert!(!html.contains("<b>&"), "a file name became markup");
    assert!(!text.contains("fine\n"), "a control character survived");
    assert_eq!(html.matches("<svg").count(), 4);
    // The first picture is judged wrongly, the second rightly.
    assert_eq!(text.matches(" · clearest").count(), 1);
    // Two pictures of three and of two planes: where the truth is not known, nothing is drawn.
    assert_eq!(html.matches("data:image/").count(), 5);
    assert_eq!(html.matches("class=\"none\"").count(), 1);
    assert!(html.contains(">no mask</div>") && html.contains("aspect-ratio: 30 / 20"));
    for outside in ["src=\"http", "href=", "url(", "@import"] {
        assert!(!html.contains(outside), "{outside}");
    }
}

/// 320 pixels are less than a telephone's screen of 360 or one of three columns leaves a chart: none is shrunk.
#[test]
fn text_of_charts_can_be_read() {
    let html = sample().html().unwrap();
    assert_eq!(html.matches("viewBox=\"0 0 320 ").count(), 4);
    let sizes: Vec<f64> =
        html.split("font-size=\"").skip(1).map(|s| s.split('"').next().unwrap().parse().unwrap()).collect();
    assert!(sizes.len() > 30 && sizes.iter().all(|s| *s >= 12.0), "{sizes:?}");
}

/// Of one class there is neither precision nor accuracy, only the rate of that class.
#[test]
fn tiles_of_one_class() {
    for (counts, tiles) in [([0, 0, 1, 7], ["false alarms", "12.5 %"]), ([1, 3, 0, 0], ["recall", "25.0 %"])] {
        let [true_positives, false_negatives, false_positives, true_negatives] = counts;
        let c = Confusion { true_positives, false_negatives, false_positives, true_negatives };
        let html = Report { threshold: Some(1.0), operating: Some(c), ..Default::default() }.html().unwrap();
        let text = check_well_formed(&html);
        assert!(tiles.iter().all(|t| text.contains(t)), "{text}");
        assert!(!text.contains("precision") && !text.contains("accuracy"), "{text}");
        assert_eq!((html.matches("<dd>").count(), html.matches("scope=\"row\"").count()), (1, 1));
    }
}

/// A report of good pictures alone has nothing to say of anomalous ones, and no columns of dashes.
#[test]
fn of_one_class_only_what_there_is() {
    let pictures = vec![row("a.png", Some(false), 0.2), row("b.png", Some(false), 0.7)];
    let metrics = vec![MetricsRow { name: "overall".into(), ..Default::default() }];
    let shot = Shot { shown: (1, 1), rgb: vec![9; 3], map: Map::square(vec![0.0]), ..Default::default() };
    let good = Shot { row: pictures[0].clone(), ..shot.clone() };
    let mut report = Report { pictures, metrics, gallery: vec![good], scale: Some(Scale::above(1.0)), ..sample() };
    report.operating = None;
    let html = report.html().unwrap();
    let text = check_well_formed(&html);
    assert!(!html.contains("ground truth") && html.contains("--columns: 2"), "{text}");
    // Beside anomalous pictures a good one is as large as these.
    report.gallery.push(Shot { row: row("c.png", Some(true), 0.1), ..shot });
    let mixed = report.html().unwrap();
    assert_eq!((mixed.matches("ground truth").count(), mixed.matches("--columns: 3").count()), (1, 2));
    assert!(!html.contains("Metrics") && !html.contains("--anomalous)"), "{text}");
    assert!(html.contains("var(--normal)\"></i>normal"));
    let html = sample().html().unwrap();
    assert!(html.contains(">AUPRO@0.3</th>") && !html.contains(">pixel AUROC</th>"));
    assert!(html.contains("var(--normal)\"></i>normal") && html.contains("var(--anomalous)\"></i>anomalous"));
}

#[test]
fn empty_reports_and_equal_scores_render() {
    check_well_formed(&Report::default().html().unwrap());
    for scores in [&[f64::NAN, 1.0, 1.0][..], &[f64::NAN]] {
        let pictures = scores.iter().map(|s| row("a", None, *s)).collect();
        let html = Report { pictures, threshold: Some(1.0), ..Default::default() }.html().unwrap();
        check_well_formed(&html);
        assert!(!html.contains(">truth<"), "nothing is known of these");
    }
}

#[test]
fn a_picture_of_the_wrong_length_is_named() {
    let mut report = sample();
    report.gallery[1].mask = Some(vec![0; 3]);
    assert!(report.html().unwrap_err().to_string().contains("e.png"));
}
