//! Thresholds, from scores or by hand.

use super::errors::{DataError, UsageError, exception};
use super::numbers::{number, number_or_none};
use super::scored::Scored;
use ckaad::detector::file::Config;
use ckaad::detector::provenance::{Calibration, Origin};
use pyo3::prelude::*;

/// Share of normal pictures that may reach a threshold, where nobody says.
pub const FALSE_ALARMS: f64 = 0.02;

/// From which score on a picture is anomalous, and from which value of the map on a pixel is. It can be pickled.
///
/// Parameters
/// ----------
/// value: float
///     Finite.
/// pixel: float, optional
///     Finite. Without it a detector keeps its own.
///
/// Raises
/// ------
/// UsageError
///     A number that is not finite.
#[pyclass(frozen, module = "ckaad")]
pub struct Threshold {
    pub calibration: Calibration,
    /// float: scores of at least this are anomalous.
    #[pyo3(get)]
    pub value: f64,
    /// float or None: map values of at least this are anomalous; None where no maps were there to set it from.
    #[pyo3(get)]
    pub pixel: Option<f64>,
}

#[pymethods]
impl Threshold {
    #[new]
    #[pyo3(signature = (value, pixel = None))]
    pub fn by_hand(
        #[pyo3(from_py_with = number)] value: f64,
        #[pyo3(from_py_with = number_or_none)] pixel: Option<f64>,
    ) -> PyResult<Self> {
        if !value.is_finite() || pixel.is_some_and(|p| !p.is_finite()) {
            return Err(UsageError::new_err(format!(
                "a threshold of {value}{}: expected finite numbers",
                pixel.map_or(String::new(), |p| format!(" and {p} for pixels"))
            )));
        }
        Ok(Threshold { calibration: Calibration::new(Origin::Value, 0.0, &[]), value, pixel })
    }

    /// The threshold that at most a share of normal pictures reaches. It lies between the scores that may reach it and
    /// the others.
    ///
    /// Parameters
    /// ----------
    /// normal: sequence of Scored
    ///     Normal pictures that nothing was learned from, as the detector scored them. Fewer than 30 say little, see
    ///     ``doubt``.
    /// share: float
    ///     0 to 1. The pixel threshold is set by the same share, of the pictures' highest map values.
    ///
    /// Returns
    /// -------
    /// Threshold
    ///
    /// Raises
    /// ------
    /// UsageError
    ///     No picture; a share out of range.
    #[staticmethod]
    #[pyo3(signature = (normal, share = FALSE_ALARMS), text_signature = "(normal, share=0.02)")]
    fn max_false_alarms(normal: Vec<PyRef<Scored>>, #[pyo3(from_py_with = number)] share: f64) -> PyResult<Self> {
        expect_share(share)?;
        if normal.is_empty() {
            return Err(UsageError::new_err("no picture was given: a threshold needs normal ones"));
        }
        let outcomes: Vec<(f64, f64)> = normal.iter().map(|s| (s.score, s.peak())).collect();
        Self::of(Calibration::new(Origin::Pictures, 1.0 - share, &outcomes), &normal)
    }

    /// The threshold with the best F1 on pictures of both kinds. That of pixels lets 2 % of the normal pictures'
    /// highest map values reach it.
    ///
    /// Parameters
    /// ----------
    /// normal, anomalous: sequence of Scored
    ///     Pictures that nothing was learned from, at least one of each kind.
    ///
    /// Returns
    /// -------
    /// Threshold
    ///
    /// Raises
    /// ------
    /// CkaadError
    ///     No picture of one kind.
    #[staticmethod]
    fn best_f1(normal: Vec<PyRef<Scored>>, anomalous: Vec<PyRef<Scored>>) -> PyResult<Self> {
        let of = |kind: bool| move |s: &PyRef<Scored>| (s.score, s.peak(), kind);
        let outcomes: Vec<_> = normal.iter().map(of(false)).chain(anomalous.iter().map(of(true))).collect();
        Self::of(Calibration::best_f1(1.0 - FALSE_ALARMS, &outcomes).map_err(exception)?, &normal)
    }

    /// What the threshold rests on, in a sentence: str.
    fn describe(&self) -> PyResult<String> {
        self.calibration.describe(self.value).map_err(exception)
    }

    /// Why it means less than it seems to, as of few pictures: str; None if it does not.
    fn doubt(&self) -> Option<String> {
        self.calibration.doubt()
    }

    fn __float__(&self) -> f64 {
        self.value
    }

    /// Of equal numbers that rest on the same.
    fn __eq__(&self, other: &Self) -> bool {
        (self.value, self.pixel) == (other.value, other.pixel) && self.calibration == other.calibration
    }

    fn __hash__(&self) -> u64 {
        // Of both zeros the same, as they are equal.
        (self.value + 0.0).to_bits()
    }

    fn __repr__(&self) -> String {
        let pixel = self.pixel.map_or("None".into(), |p| p.to_string());
        format!("Threshold({}, pixel={pixel})", self.value)
    }

    /// Its numbers, and as JSON what they rest on.
    fn __reduce__<'py>(&self, py: Python<'py>) -> PyResult<(Bound<'py, PyAny>, Numbers)> {
        let calibration = serde_json::to_string(&self.calibration).map_err(|e| UsageError::new_err(e.to_string()))?;
        let restore = py.import("ckaad._ckaad")?.getattr("restore_threshold")?;
        Ok((restore, (self.value, self.pixel, calibration)))
    }
}

type Numbers = (f64, Option<f64>, String);

/// As it was pickled.
#[pyfunction]
pub fn restore_threshold(value: f64, pixel: Option<f64>, calibration: &str) -> PyResult<Threshold> {
    let calibration = serde_json::from_str(calibration);
    let calibration = calibration.map_err(|e| DataError::new_err(format!("a pickled threshold is damaged: {e}")))?;
    Ok(Threshold { calibration, value, pixel })
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

fn expect_share(share: f64) -> PyResult<()> {
    match (0.0..=1.0).contains(&share) {
        true => Ok(()),
        false => Err(UsageError::new_err(format!("{share}: expected a share from 0 to 1"))),
    }
}
