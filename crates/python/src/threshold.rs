//! Thresholds, from scores or by hand.

use super::errors::{UsageError, exception};
use super::scored::Scored;
use ckaad::detector::file::Config;
use ckaad::detector::provenance::{Calibration, Origin};
use pyo3::prelude::*;

/// Share of normal pictures' peaks that may reach the pixel threshold, where nobody says.
const FALSE_ALARMS: f64 = 0.02;

/// From which score on a picture is anomalous, and from which value of the map on a pixel is.
#[pyclass(frozen, module = "ckaad")]
pub struct Threshold {
    pub calibration: Calibration,
    /// Scores of at least this are anomalous.
    #[pyo3(get)]
    pub value: f64,
    /// Map values of at least this are anomalous; None where maps are not known.
    #[pyo3(get)]
    pub pixel: Option<f64>,
}

#[pymethods]
impl Threshold {
    #[new]
    #[pyo3(signature = (value, pixel = None))]
    pub fn by_hand(value: f64, pixel: Option<f64>) -> PyResult<Self> {
        if !value.is_finite() || pixel.is_some_and(|p| !p.is_finite()) {
            return Err(UsageError::new_err("expected finite numbers for a threshold"));
        }
        Ok(Threshold { calibration: Calibration::new(Origin::Value, 0.0, &[]), value, pixel })
    }

    /// The threshold that at most a share of these normal pictures reaches.
    #[staticmethod]
    #[pyo3(signature = (normal, share = FALSE_ALARMS))]
    fn max_false_alarms(normal: Vec<PyRef<Scored>>, share: f64) -> PyResult<Self> {
        expect_share(share)?;
        if normal.is_empty() {
            return Err(UsageError::new_err("no picture was given: a threshold needs normal ones"));
        }
        let outcomes: Vec<(f64, f64)> = normal.iter().map(|s| (s.score, s.peak())).collect();
        Self::of(Calibration::new(Origin::Pictures, 1.0 - share, &outcomes), &normal)
    }

    /// The threshold with the best F1 on pictures of both kinds.
    #[staticmethod]
    fn best_f1(normal: Vec<PyRef<Scored>>, anomalous: Vec<PyRef<Scored>>) -> PyResult<Self> {
        let of = |kind: bool| move |s: &PyRef<Scored>| (s.score, s.peak(), kind);
        let outcomes: Vec<_> = normal.iter().map(of(false)).chain(anomalous.iter().map(of(true))).collect();
        Self::of(Calibration::best_f1(1.0 - FALSE_ALARMS, &outcomes).map_err(exception)?, &normal)
    }

    /// What the threshold rests on, in a sentence.
    fn describe(&self) -> PyResult<String> {
        self.calibration.describe(self.value).map_err(exception)
    }

    /// Why it means less than it seems to; None if it does not.
    fn doubt(&self) -> Option<String> {
        self.calibration.doubt()
    }

    fn __float__(&self) -> f64 {
        self.value
    }

    fn __repr__(&self) -> String {
        let pixel = self.pixel.map_or("None".into(), |p| p.to_string());
        format!("Threshold({}, pixel={pixel})", self.value)
    }
}

impl Threshold {
    fn of(calibration: Calibration, normal: &[PyRef<Scored>]) -> PyResult<Self> {
        let (value, pixel) = calibration.thresholds().map_err(exception)?;
        let maps = normal.iter().all(|s| s.peak.is_some());
        Ok(Threshold { calibration, value, pixel: maps.then_some(pixel) })
    }

    /// A model's own.
    pub fn of_model(config: &Config) -> Option<Self> {
        let by_hand = || Calibration::new(Origin::Value, 0.0, &[]);
        let calibration = config.calibration.clone().unwrap_or_else(by_hand);
        Some(Threshold { calibration, value: config.threshold?, pixel: config.pixel_threshold })
    }
}

pub fn expect_share(share: f64) -> PyResult<()> {
    match (0.0..=1.0).contains(&share) {
        true => Ok(()),
        false => Err(UsageError::new_err(format!("{share}: expected a share from 0 to 1"))),
    }
}
