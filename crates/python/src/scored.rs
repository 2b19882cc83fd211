//! What is found in a picture.

use ckaad::detector::file::Config;
use ckaad::score::normalization::Normalization;
use ckaad::score::regions::{self, regions};
use ckaad::score::scorer;
use numpy::{PyArray1, PyArray2, PyArrayMethods};
use pyo3::prelude::*;

/// What a detector makes of one picture.
#[pyclass(frozen, get_all, module = "ckaad")]
pub struct Scored {
    /// The file, or "image N" of a picture that has no name.
    name: String,
    /// The higher, the more anomalous; 0 at least.
    pub score: f64,
    /// From 0 to 1 and 0.5 at the threshold, which compares between detectors; None without a threshold.
    score_normalized: Option<f64>,
    /// Whether the score reaches the threshold; None without one.
    anomalous: Option<bool>,
    /// The anomaly map, float32 of (image_size, image_size); None of a detector that was loaded with maps=False.
    map: Option<Py<PyArray2<f32>>>,
    /// The map's highest value; None without a map.
    pub peak: Option<f64>,
    /// Connected parts of the map at or above the pixel threshold, the highest first; None without that threshold or a map.
    regions: Option<Vec<Py<Region>>>,
    /// Of the picture, in pixels.
    width: usize,
    /// Of the picture, in pixels.
    height: usize,
    /// Why the picture may not look as it was meant.
    warnings: Vec<String>,
}

/// Where in a picture an anomaly is.
#[pyclass(frozen, get_all, module = "ckaad")]
pub struct Region {
    /// x and y of the upper left corner, width and height, in pixels of the picture.
    r#box: [f64; 4],
    /// Pixels of the picture.
    area: f64,
    /// Share of the picture, 0 to 1.
    share: f64,
    /// The highest value of the map.
    peak: f32,
    /// x and y of the mean of its pixels.
    centroid: [f64; 2],
}

/// A picture that was scored.
pub struct Shown {
    pub name: String,
    /// Width and height.
    pub size: (usize, usize),
    pub warnings: Vec<String>,
}

impl Scored {
    pub fn new(py: Python, config: &Config, shown: Shown, scored: scorer::Scored) -> PyResult<Self> {
        let (score, size) = (scored.score, scored.map.len().isqrt());
        let with_map = !scored.map.is_empty();
        let region = |r: regions::Region| Py::new(py, Region::from(r));
        let regions = config.pixel_threshold.filter(|_| with_map).map(|t| regions(&scored.map, size, t, shown.size));
        Ok(Scored {
            name: shown.name,
            score,
            score_normalized: Normalization::new(config.threshold, config.calibration.as_ref()).map(|n| n.of(score)),
            anomalous: config.threshold.map(|t| score >= t),
            peak: with_map.then(|| f64::from(scored.peak())),
            regions: regions.map(|all| all.into_iter().map(region).collect()).transpose()?,
            // The array takes the memory over.
            map: with_map
                .then(|| PyArray1::from_vec(py, scored.map).reshape([size, size]))
                .transpose()?
                .map(Bound::unbind),
            width: shown.size.0,
            height: shown.size.1,
            warnings: shown.warnings,
        })
    }

    /// The map's highest value, of which nothing is known without a map.
    pub fn peak(&self) -> f64 {
        self.peak.unwrap_or_default()
    }
}

#[pymethods]
impl Scored {
    fn __repr__(&self) -> String {
        let verdict = match self.anomalous {
            Some(true) => ", anomalous",
            Some(false) => ", normal",
            None => "",
        };
        format!("<ckaad.Scored {}: {:.5}{verdict}>", self.name, self.score)
    }
}

impl From<regions::Region> for Region {
    fn from(r: regions::Region) -> Self {
        Region { r#box: r.bounds, area: r.area, share: r.share, peak: r.peak, centroid: r.centroid }
    }
}

#[pymethods]
impl Region {
    fn __repr__(&self) -> String {
        let [x, y, width, height] = self.r#box;
        format!("<ckaad.Region {width:.0} x {height:.0} at ({x:.0}, {y:.0}), peak {:.4}>", self.peak)
    }
}
