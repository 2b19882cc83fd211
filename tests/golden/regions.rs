//! Connected areas of maps against scipy's labels and scikit-image's measures, which `golden/regions.py` wrote.

use crate::common::Golden;
use ckaad::score::map::Map;
use ckaad::score::regions::{Region, regions};

const CASES: usize = 7;

/// What the file holds of an area: box, area, share, peak, centroid.
fn row(r: &Region) -> [f64; 9] {
    let ([x, y, w, h], [cx, cy]) = (r.bounds, r.centroid);
    [x, y, w, h, r.area, r.share, f64::from(r.peak), cx, cy]
}

/// By peak, as they come, and where peaks are equal by box.
fn in_order(rows: &mut [[f64; 9]]) {
    rows.sort_by(|a, b| b[6].total_cmp(&a[6]).then(a.partial_cmp(b).expect("numbers")));
}

#[test]
fn areas_are_scipys_and_scikit_images() {
    let golden = Golden::open("golden/regions.safetensors");
    let mut areas = 0;
    for case in 0..CASES {
        let get = |name: &str| golden.get(&format!("{case}.{name}"));
        let map: Vec<f32> = get("map").into_iter().map(|v| v as f32).collect();
        let picture = get("picture");
        let found = regions(&Map::square(map), get("threshold")[0], (picture[0] as usize, picture[1] as usize));
        assert!(found.is_sorted_by(|a, b| a.peak >= b.peak), "{case}: the highest comes first");
        let mut found: Vec<[f64; 9]> = found.iter().map(row).collect();
        let mut right = get("regions").as_chunks::<9>().0.to_vec();
        in_order(&mut found);
        in_order(&mut right);
        assert_eq!(found.len(), right.len(), "case {case}");
        for (found, right) in found.iter().zip(&right) {
            // Sums of up to 4096 whole numbers are exact, a handful of products and quotients is not.
            let close = |(a, b): (&f64, &f64)| (a - b).abs() <= 16.0 * f64::EPSILON * b.abs();
            assert!(found.iter().zip(right).all(close), "case {case}: {found:?} instead of {right:?}");
        }
        areas += right.len();
    }
    assert!(areas > 40, "{areas} areas say little");
}
