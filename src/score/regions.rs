//! Where in a picture the anomalies are: connected parts of its map.

use super::map::Map;
use crate::metrics::regions::Regions;
use serde::Serialize;

/// A connected part of a map at or above a threshold, in pixels of the picture as it is shown.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Region {
    /// x and y of the upper left corner, width and height.
    #[serde(rename = "box")]
    pub bounds: [f64; 4],
    /// Pixels of the picture.
    pub area: f64,
    /// Share of the picture, 0 to 1.
    pub share: f64,
    /// The highest value of the map.
    pub peak: f32,
    /// x and y of the mean of its pixels.
    pub centroid: [f64; 2],
}

/// The 8-connected parts of a map whose values are at least `threshold`, the highest peak first; the map covers a picture of
/// `shown` (width, height).
pub fn regions(map: &Map, threshold: f64, shown: (usize, usize)) -> Vec<Region> {
    let (width, height) = map.shape();
    let mask: Vec<u8> = map.values.iter().map(|&v| u8::from(f64::from(v) >= threshold)).collect();
    let found = Regions::find(&mask, width);
    let (sx, sy) = (shown.0 as f64 / width as f64, shown.1 as f64 / height as f64);
    let mut all: Vec<Region> = Vec::with_capacity(found.area.len());
    // The pixels of a region lie one behind the other.
    for pixels in found.pixels.chunk_by(|a, b| a.1 == b.1) {
        let (mut left, mut top, mut right, mut bottom) = (width, height, 0, 0);
        let (mut x_sum, mut y_sum, mut peak) = (0.0, 0.0, f32::NEG_INFINITY);
        for &(i, _) in pixels {
            let (x, y) = (i % width, i / width);
            (left, right) = (left.min(x), right.max(x + 1));
            (top, bottom) = (top.min(y), bottom.max(y + 1));
            x_sum += x as f64 + 0.5;
            y_sum += y as f64 + 0.5;
            peak = peak.max(map.values[i]);
        }
        let n = pixels.len() as f64;
        all.push(Region {
            bounds: [left as f64 * sx, top as f64 * sy, (right - left) as f64 * sx, (bottom - top) as f64 * sy],
            area: n * sx * sy,
            share: n / (width * height) as f64,
            peak,
            centroid: [x_sum / n * sx, y_sum / n * sy],
        });
    }
    all.sort_by(|a, b| b.peak.total_cmp(&a.peak));
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two parts, one of which hangs together by a corner only; numbers by hand.
    #[test]
    fn boxes_areas_and_centroids() {
        #[rustfmt::skip]
        let map = [
            0.0, 0.9, 0.0, 0.0,
            0.7, 0.0, 0.0, 0.0,
            0.0, 0.0, 0.0, 0.5,
            0.0, 0.0, 0.0, 0.5,
        ];
        let map = Map::square(map.into());
        let found = regions(&map, 0.5, (40, 80));
        let right = [
            Region { bounds: [0.0, 0.0, 20.0, 40.0], area: 400.0, share: 0.125, peak: 0.9, centroid: [10.0, 20.0] },
            Region { bounds: [30.0, 40.0, 10.0, 40.0], area: 400.0, share: 0.125, peak: 0.5, centroid: [35.0, 60.0] },
        ];
        assert_eq!(found, right);
        assert!(regions(&map, 1.0, (4, 4)).is_empty());
        let json = serde_json::to_value(&found[1]).unwrap();
        assert_eq!(json["box"], serde_json::json!([30.0, 40.0, 10.0, 40.0]));
    }
}
