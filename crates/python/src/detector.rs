//! A detector that is ready to score.

use super::errors::{UsageError, exception};
use super::pictures::{self, Given};
use super::process::expect_own_threads;
use super::scored::{Scored, Shown};
use super::threshold::Threshold;
use super::{evaluate, fit};
use ckaad::Error;
use ckaad::backend::{self, Request};
use ckaad::data::image::Source;
use ckaad::detector::file::{Config, ModelFile};
use ckaad::engine::toolkit::cuda::Number;
use ckaad::output::{FileKind, Outputs, expect_new};
use ckaad::score::scorer::{Gives, Scorer};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList};
use rayon::prelude::*;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

/// Finds anomalies in pictures. Threads may share one: they wait for each other while the engine computes, not while they decode.
#[pyclass(frozen, module = "ckaad")]
pub struct Detector {
    file: Arc<ModelFile>,
    /// The file's, but for the threshold.
    pub config: Config,
    scorer: Arc<Mutex<Scorer>>,
    asked: Asked,
}

/// What a detector was loaded with.
#[derive(Clone)]
pub struct Asked {
    pub device: String,
    pub precision: Option<String>,
    pub batch_size: usize,
    pub maps: bool,
}

impl Asked {
    /// Where to compute.
    pub fn request(&self) -> PyResult<Request> {
        let device = backend::device(&self.device).map_err(exception)?;
        let number = self.precision.as_deref().map(Number::find).transpose().map_err(exception)?;
        Ok(Request { device, number, ..Request::default() })
    }
}

impl Detector {
    pub fn open(py: Python, path: &Path, asked: Asked) -> PyResult<Self> {
        expect_own_threads()?;
        if asked.batch_size == 0 {
            return Err(UsageError::new_err("batch_size: expected 1 or more"));
        }
        let request = asked.request()?;
        let opened = py.detach(|| {
            let file = ModelFile::open(path)?;
            let backend = request.choose()?.backend;
            let gives = if asked.maps { Gives::ScoresAndMaps } else { Gives::Scores };
            let scorer = Scorer::from_file(&file, asked.batch_size, &backend, gives)?;
            Ok((file, scorer))
        });
        let (file, scorer) = opened.map_err(exception)?;
        let (config, file) = (file.config.clone(), Arc::new(file));
        Ok(Detector { file, config, scorer: Arc::new(Mutex::new(scorer)), asked })
    }

    /// The engine, once no other thread computes with it.
    pub fn scorer(&self) -> ckaad::Result<MutexGuard<'_, Scorer>> {
        let failed = |_| Error::Device("the engine failed in another thread: load the detector again".into());
        self.scorer.lock().map_err(failed)
    }

    pub fn gives_maps(&self) -> bool {
        self.asked.maps
    }
}

/// A picture as the network sees it, and what is told of it.
fn decoded(source: &Source, size: usize) -> ckaad::Result<(Vec<u8>, Shown)> {
    let picture = source.read()?;
    let shown = Shown {
        name: source.path().display().to_string(),
        size: (picture.width, picture.height),
        warnings: picture.warnings.clone(),
    };
    Ok((picture.resized(size), shown))
}

#[pymethods]
impl Detector {
    /// Opens a model file.
    #[staticmethod]
    #[pyo3(signature = (path, device = "auto", precision = None, *, batch_size = 1, maps = true))]
    fn load(
        py: Python,
        path: PathBuf,
        device: &str,
        precision: Option<String>,
        batch_size: usize,
        maps: bool,
    ) -> PyResult<Self> {
        Self::open(py, &path, Asked { device: device.into(), precision, batch_size, maps })
    }

    /// Scores one picture, or several.
    #[pyo3(signature = (images, *, errors = "raise"))]
    fn score<'py>(&self, py: Python<'py>, images: &Bound<'py, PyAny>, errors: &str) -> PyResult<Bound<'py, PyAny>> {
        expect_own_threads()?;
        let raises = match errors {
            "raise" => true,
            "return" => false,
            _ => return Err(UsageError::new_err(format!("errors='{errors}': expected 'raise' or 'return'"))),
        };
        let Given { mut sources, several } = pictures::given(images)?;
        let all = PyList::empty(py);
        while !sources.is_empty() {
            let batch: Vec<PyResult<Source>> = sources.drain(..self.asked.batch_size.min(sources.len())).collect();
            for outcome in self.score_batch(py, batch)? {
                match outcome {
                    Ok(scored) => all.append(scored)?,
                    Err(e) if raises => return Err(e),
                    Err(e) => all.append(e.into_value(py))?,
                }
            }
            // Ctrl-C is heard between batches.
            py.check_signals()?;
        }
        if several { Ok(all.into_any()) } else { all.get_item(0) }
    }

    /// Evaluates on pictures that are known to be normal or anomalous.
    #[pyo3(signature = (data = None, *, normal = None, anomalous = None, masks = None, category = None, layout = None, normal_class = None, pro = "exact", scores = false))]
    #[expect(clippy::too_many_arguments)]
    fn evaluate<'py>(
        &self,
        py: Python<'py>,
        data: Option<PathBuf>,
        normal: Option<Bound<'py, PyAny>>,
        anomalous: Option<Bound<'py, PyAny>>,
        masks: Option<PathBuf>,
        category: Option<String>,
        layout: Option<&str>,
        normal_class: Option<String>,
        pro: &str,
        scores: bool,
    ) -> PyResult<Bound<'py, PyAny>> {
        expect_own_threads()?;
        let pictures = evaluate::Pictures { data, normal, anomalous, masks, category, layout, normal_class };
        evaluate::run(py, self, &pictures, pro, scores)
    }

    /// Trains a detector.
    #[staticmethod]
    #[pyo3(signature = (normal, anomalous = None, *, out = None, overwrite = false, resume = false, progress = None, device = "auto", precision = None, **settings))]
    #[expect(clippy::too_many_arguments)]
    fn fit<'py>(
        py: Python<'py>,
        normal: Bound<'py, PyAny>,
        anomalous: Option<Bound<'py, PyAny>>,
        out: Option<PathBuf>,
        overwrite: bool,
        resume: bool,
        progress: Option<Bound<'py, PyAny>>,
        device: &str,
        precision: Option<String>,
        settings: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Self> {
        expect_own_threads()?;
        let asked = Asked { device: device.into(), precision, batch_size: 1, maps: true };
        let place = fit::Place { out, overwrite, resume };
        fit::run(py, (&normal, anomalous.as_ref()), place, progress.as_ref(), asked, settings)
    }

    /// The same detector with another threshold; both share the engine's memory.
    fn with_threshold(&self, threshold: &Bound<PyAny>) -> PyResult<Self> {
        let mut config = self.config.clone();
        config.calibrated_on = Default::default();
        let by_hand;
        let threshold = match threshold.cast::<Threshold>() {
            Ok(threshold) => threshold.get(),
            Err(_) => {
                by_hand = Threshold::by_hand(threshold.extract()?, config.pixel_threshold)?;
                &by_hand
            }
        };
        config.threshold = Some(threshold.value);
        config.pixel_threshold = threshold.pixel.or(config.pixel_threshold);
        config.calibration = Some(threshold.calibration.clone());
        let (file, scorer) = (self.file.clone(), self.scorer.clone());
        Ok(Detector { file, config, scorer, asked: self.asked.clone() })
    }

    /// Writes the model file.
    #[pyo3(signature = (path, *, overwrite = false))]
    fn save(&self, py: Python, path: PathBuf, overwrite: bool) -> PyResult<()> {
        let saved = py.detach(|| {
            Outputs::default().file("save", &path, FileKind::Tensors)?;
            if !overwrite {
                expect_new("save", &path, "overwrite=True replaces it")?;
            }
            self.file.rewrite(&path, &self.config)
        });
        saved.map_err(exception)
    }

    /// From which score on pictures are anomalous; None without a threshold.
    #[getter]
    fn threshold(&self) -> Option<Threshold> {
        Threshold::of_model(&self.config)
    }

    /// Side in pixels of what pictures are resized to, and of maps.
    #[getter]
    fn image_size(&self) -> usize {
        self.config.architecture.image_size
    }

    /// The backbone's name.
    #[getter]
    fn backbone(&self) -> &str {
        self.config.architecture.backbone.name
    }

    /// Backbone layers whose features are used.
    #[getter]
    fn layers(&self) -> Vec<usize> {
        self.config.architecture.layers.clone()
    }

    /// The method's name.
    #[getter]
    fn method(&self) -> &str {
        self.config.detector.method().name
    }

    /// What it was trained on and with; None where the file does not tell.
    #[getter]
    fn training<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let Some(training) = &self.config.training else { return Ok(None) };
        let text = serde_json::to_string(training).map_err(|e| UsageError::new_err(e.to_string()))?;
        evaluate::object(py, &text).map(Some)
    }

    fn __repr__(&self) -> String {
        let threshold = self.config.threshold.map_or("no threshold".into(), |t| format!("threshold {t:.5}"));
        format!("<ckaad.Detector {}, {}, {} px, {threshold}>", self.method(), self.backbone(), self.image_size())
    }

    fn __reduce__<'py>(&self, py: Python<'py>) -> PyResult<(Bound<'py, PyAny>, Restored<'py>)> {
        let bytes = py.detach(|| {
            let folder = tempfile::tempdir().map_err(|e| Error::io(std::env::temp_dir(), e))?;
            let path = folder.path().join("model.safetensors");
            self.file.rewrite(&path, &self.config)?;
            std::fs::read(&path).map_err(|e| Error::io(&path, e))
        });
        let bytes = PyBytes::new(py, &bytes.map_err(exception)?);
        let Asked { device, precision, batch_size, maps } = self.asked.clone();
        Ok((py.import("ckaad._ckaad")?.getattr("restore")?, (bytes, device, precision, batch_size, maps)))
    }
}

type Restored<'py> = (Bound<'py, PyBytes>, String, Option<String>, usize, bool);

/// A detector from the bytes of a model file, as it was pickled.
#[pyfunction]
pub fn restore(
    py: Python,
    bytes: &[u8],
    device: String,
    precision: Option<String>,
    batch_size: usize,
    maps: bool,
) -> PyResult<Detector> {
    let written = || {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("model.safetensors");
        std::fs::write(&path, bytes)?;
        Ok((folder, path))
    };
    // The file may go once it is mapped.
    let (_folder, path) = written().map_err(|e| exception(Error::io(std::env::temp_dir(), e)))?;
    Detector::open(py, &path, Asked { device, precision, batch_size, maps })
}

impl Detector {
    /// Of as many pictures as one pass takes, in their order.
    fn score_batch(&self, py: Python, batch: Vec<PyResult<Source>>) -> PyResult<Vec<PyResult<Scored>>> {
        let size = self.config.architecture.image_size;
        let computed = py.detach(|| {
            let read = |one: PyResult<Source>| decoded(&one?, size).map_err(exception);
            // One picture is decoded by the thread that asks, which takes less time than to wake another.
            let read: Vec<PyResult<(Vec<u8>, Shown)>> = match batch.len() {
                1 => batch.into_iter().map(read).collect(),
                _ => batch.into_par_iter().map(read).collect(),
            };
            let pixels: Vec<&[u8]> = read.iter().flatten().map(|(pixels, _)| pixels.as_slice()).collect();
            let scored = if pixels.is_empty() { vec![] } else { self.scorer()?.score(&pixels)? };
            Ok((read, scored))
        });
        let (read, scored) = computed.map_err(exception)?;
        let mut scored = scored.into_iter();
        let outcome = |read: PyResult<(Vec<u8>, Shown)>| {
            let (_, shown) = read?;
            match scored.next() {
                Some(scored) => Scored::new(py, &self.config, shown, scored),
                None => Err(exception(Error::Device(format!("{}: the engine returned no score", shown.name)))),
            }
        };
        Ok(read.into_iter().map(outcome).collect())
    }
}
