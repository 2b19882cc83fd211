//! What is found in a picture.

use ckaad::detector::file::Config;
use ckaad::score::map::Map;
use ckaad::score::regions;
use ckaad::score::scorer;
use ckaad::score::verdict::{Judge, Verdict};
use numpy::{PyArray1, PyArray2, PyArrayMethods};
use pyo3::prelude::*;
use pyo3::types::PyTuple;
use std::ffi::OsString;

/// What a detector makes of one picture. It can be pickled.
#[pyclass(frozen, get_all, module = "ckaad")]
pub struct Scored {
    /// str: the file, as os.fsdecode has its name, or "image N" of the N-th picture that has no name, from 0.
    name: OsString,
    /// float: the anomaly score; from about 0 on, of no fixed scale; the higher, the more anomalous.
    pub score: f64,
    /// float or None: the score brought to 0 to 1, with 0.5 at the threshold, which compares between detectors; None
    /// without a threshold.
    score_normalized: Option<f64>,
    /// bool or None: whether the score reaches the threshold; None without one.
    anomalous: Option<bool>,
    /// numpy.ndarray or None: the anomaly map, float32 of shape (image_size, image_size), or what a model in
    /// tiles, with padding or a crop makes of the picture's shape, from about 0 on; None of a
    /// detector that was loaded with maps=False. Every time the same array, which owns what the engine wrote.
    map: Option<Py<PyArray2<f32>>>,
    /// float or None: the map's highest value; None without a map.
    pub peak: Option<f64>,
    /// list of Region, or None: connected parts of the map at or above the pixel threshold, the highest peak first;
    /// None without that threshold or a map.
    regions: Option<Vec<Py<Region>>>,
    /// int: of the picture, in pixels.
    width: usize,
    /// int: of the picture, in pixels.
    height: usize,
    /// list of str: why the picture may not look as it was meant, as of an animation's first frame.
    warnings: Vec<String>,
}

/// Where in a picture an anomaly is. It can be pickled.
#[pyclass(frozen, get_all, module = "ckaad")]
pub struct Region {
    /// tuple of 4 floats: x and y of the upper left corner, width and height, in pixels of the picture.
    r#box: (f64, f64, f64, f64),
    /// float: pixels of the picture.
    area: f64,
    /// float: share of the picture, 0 to 1.
    share: f64,
    /// float: the highest value of the map.
    peak: f32,
    /// tuple of 2 floats: x and y of the mean of its pixels, in pixels of the picture.
    centroid: (f64, f64),
}

/// A picture that was scored.
pub struct Shown {
    pub name: OsString,
    /// Width and height.
    pub size: (usize, usize),
    pub warnings: Vec<String>,
}

/// All that is computed of a picture, before Python sees it.
pub struct Found {
    shown: Shown,
    verdict: Verdict,
    map: Map,
}

impl Found {
    pub fn new(config: &Config, shown: Shown, scored: scorer::Scored) -> Self {
        let verdict = Judge::new(config, None, None).verdict(&scored, shown.size);
        Found { shown, verdict, map: scored.map }
    }
}

impl Scored {
    pub fn new(py: Python, found: Found) -> PyResult<Self> {
        let Found { shown, verdict, map } = found;
        let region = |r: regions::Region| Py::new(py, Region::from(r));
        Ok(Scored {
            name: shown.name,
            score: verdict.score,
            score_normalized: verdict.score_normalized,
            anomalous: verdict.anomalous,
            peak: (!map.is_empty()).then(|| f64::from(map.peak())),
            regions: verdict.regions.map(|all| all.into_iter().map(region).collect()).transpose()?,
            // The array takes the memory over.
            map: (!map.is_empty())
                .then(|| PyArray1::from_vec(py, map.values).reshape([map.height, map.width]))
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
        format!("<ckaad.Scored {}: {:.5}{verdict}>", self.name.display(), self.score)
    }

    /// Every property, in their order.
    fn __reduce__<'py>(&self, py: Python<'py>) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyTuple>)> {
        let regions = self.regions.as_ref().map(|all| all.iter().map(|r| r.clone_ref(py)).collect::<Vec<_>>());
        let verdict = (&self.name, self.score, self.score_normalized, self.anomalous);
        let place = (self.map.as_ref(), self.peak, regions);
        let picture = (self.width, self.height, &self.warnings);
        let restore = py.import("ckaad._ckaad")?.getattr("restore_scored")?;
        Ok((restore, (verdict, place, picture).into_pyobject(py)?))
    }
}

type Judged = (OsString, f64, Option<f64>, Option<bool>);
type Place = (Option<Py<PyArray2<f32>>>, Option<f64>, Option<Vec<Py<Region>>>);

/// As it was pickled.
#[pyfunction]
pub fn restore_scored(verdict: Judged, place: Place, picture: (usize, usize, Vec<String>)) -> Scored {
    let (name, score, score_normalized, anomalous) = verdict;
    let (map, peak, regions) = place;
    let (width, height, warnings) = picture;
    Scored { name, score, score_normalized, anomalous, map, peak, regions, width, height, warnings }
}

impl From<regions::Region> for Region {
    fn from(r: regions::Region) -> Self {
        Region { r#box: r.bounds.into(), area: r.area, share: r.share, peak: r.peak, centroid: r.centroid.into() }
    }
}

#[pymethods]
impl Region {
    fn __repr__(&self) -> String {
        let (x, y, width, height) = self.r#box;
        format!("<ckaad.Region {width:.0} x {height:.0} at ({x:.0}, {y:.0}), peak {:.4}>", self.peak)
    }

    /// Every property, in their order.
    fn __reduce__<'py>(&self, py: Python<'py>) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyTuple>)> {
        let restore = py.import("ckaad._ckaad")?.getattr("restore_region")?;
        let Region { r#box, area, share, peak, centroid } = *self;
        Ok((restore, (r#box, area, share, peak, centroid).into_pyobject(py)?))
    }
}

/// As it was pickled.
#[pyfunction]
pub fn restore_region(r#box: (f64, f64, f64, f64), area: f64, share: f64, peak: f32, centroid: (f64, f64)) -> Region {
    Region { r#box, area, share, peak, centroid }
}
