//! A detector that is ready to score.

use super::errors::{UsageError, exception};
use super::pictures;
use super::process::expect_own_threads;
use super::scored::{Found, Scored, Shown};
use super::threshold::Threshold;
use super::{evaluate, fit, numbers};
use ckaad::Error;
use ckaad::backend::{self, Request};
use ckaad::data::framing::Framer;
use ckaad::data::image::Source;
use ckaad::detector::file::{Config, ModelFile};
use ckaad::engine::device::Backend;
use ckaad::engine::toolkit::Number;
use ckaad::output::{FileKind, Outputs, expect_new};
use ckaad::score::pipeline::{self, Loaded, Wanted};
use ckaad::score::scorer::{Gives, Scorer};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList};
use rayon::prelude::*;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

/// Finds anomalies in pictures. Made by ``Detector.load`` and ``Detector.fit``.
///
/// Threads may share one: they wait for each other while the engine computes, not while they decode, and Python runs on
/// meanwhile. It can be pickled, with its model, and opens on the same device where it is unpickled. A process that was
/// forked after ckaad had begun to compute cannot compute (``DeviceError``): start processes with the method 'spawn'.
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

/// Where a model is computed, and in which numbers: those that it was made for where none are asked for.
fn backend_of(request: &Request, model: &ModelFile) -> ckaad::Result<Backend> {
    Ok(Request { quantized: model.config.quantized.is_some(), ..request.clone() }.choose()?.backend)
}

impl Detector {
    pub fn open(py: Python, path: &Path, asked: Asked) -> PyResult<Self> {
        expect_own_threads()?;
        let request = asked.request()?;
        let opened = py.detach(|| {
            let file = ModelFile::open(path)?;
            let backend = backend_of(&request, &file)?;
            let gives = if asked.maps { Gives::ScoresAndMaps } else { Gives::Scores };
            // What one picture cannot be scored for is no matter of the batch.
            file.config.scoring(1, backend.number)?;
            let scorer = Scorer::from_file(&file, asked.batch_size, &backend, gives).map_err(|e| match e {
                e @ Error::Usage(_) => e.within(format!("batch_size={}", asked.batch_size)),
                e => e,
            })?;
            Ok((file, scorer))
        });
        let (file, scorer) = opened.map_err(exception)?;
        let (config, file) = (file.config.clone(), Arc::new(file));
        Ok(Detector { file, config, scorer: Arc::new(Mutex::new(scorer)), asked })
    }

    /// The engine, once no other thread computes with it.
    fn scorer(&self) -> ckaad::Result<MutexGuard<'_, Scorer>> {
        let failed = |_| Error::Device("the engine failed in another thread: load the detector again".into());
        self.scorer.lock().map_err(failed)
    }

    /// Another engine with the same model.
    pub fn another_scorer(&self, request: &Request) -> ckaad::Result<Scorer> {
        Scorer::from_file(&self.file, self.asked.batch_size, &backend_of(request, &self.file)?, Gives::ScoresAndMaps)
    }

    /// Where it computes.
    pub fn request(&self) -> PyResult<Request> {
        self.asked.request()
    }
}

/// A picture as the network sees it, and what is told of it.
fn decoded(source: &Source, framer: &Framer) -> ckaad::Result<(Loaded, Shown)> {
    let loaded = pipeline::load(source, framer, Wanted::default())?;
    let picture = &loaded.shown;
    let shown =
        Shown { name: source.path().into(), size: (picture.width, picture.height), warnings: picture.warnings.clone() };
    Ok((loaded, shown))
}

#[pymethods]
impl Detector {
    /// Opens a model file.
    ///
    /// Parameters
    /// ----------
    /// path: str or PathLike
    ///     What ``fit``, ``save`` or ``ckaad train`` wrote.
    /// device: str
    ///     'auto' (the first GPU that can be used, else the CPU), 'cpu', 'cuda', 'cuda:N', or 'sim' (a GPU emulated;
    ///     slow).
    /// precision: str, optional
    ///     What is computed in: 'f32' on the CPU; 'f32', 'tf32' (the default), 'bf16' or 'f16' elsewhere; of a model that
    ///     ``ckaad quantize`` made 'int8' on all of them (its default on the CPU).
    /// batch_size: int
    ///     Pictures in one pass, 1 or more. A larger batch takes more memory, and on a GPU less time for each of many
    ///     pictures.
    /// maps: bool
    ///     False leaves maps where they are computed: scores alone come back.
    ///
    /// Returns
    /// -------
    /// Detector
    ///
    /// Raises
    /// ------
    /// OSError
    ///     The file is not there, or may not be read.
    /// DataError
    ///     It is no model file, or a damaged one.
    /// UsageError
    ///     The device or precision is not known, or they do not fit each other; a batch size below 1, or of more pictures
    ///     than one pass can have.
    /// DeviceError
    ///     The device is not there, or has too little memory.
    #[staticmethod]
    #[pyo3(signature = (path, device = "auto", precision = None, *, batch_size = 1, maps = true))]
    fn load(
        py: Python,
        path: PathBuf,
        device: &str,
        precision: Option<String>,
        #[pyo3(from_py_with = numbers::batch_size)] batch_size: usize,
        maps: bool,
    ) -> PyResult<Self> {
        Self::open(py, &path, Asked { device: device.into(), precision, batch_size, maps })
    }

    /// Scores one picture, or several.
    ///
    /// Parameters
    /// ----------
    /// images: one picture, or an iterable of pictures
    ///     A picture is a path, the bytes of a file, a numpy array, a PIL image or a torch tensor, see ``help(ckaad)``.
    ///     An array of four dimensions is several. Pictures are taken from an iterator as they are needed,
    ///     ``batch_size`` at a time.
    /// errors: str
    ///     'raise': the first picture that cannot be scored ends the call with its exception. 'return': its exception
    ///     stands in the place of its result, and the others are scored.
    ///
    /// Returns
    /// -------
    /// Scored, or a list of them
    ///     In the order of the pictures; a list if several were given, even of one or none. Scores are equal to those
    ///     of ``ckaad score`` to the last bit, on the same device and in the same precision.
    ///
    /// Raises
    /// ------
    /// OSError
    ///     A file is not there, or may not be read.
    /// DataError
    ///     A picture that cannot be decoded, is damaged or has over 2^27 pixels; an array of a wrong shape or range.
    /// TypeError
    ///     An array of a wrong dtype; something that is no picture.
    /// DeviceError
    ///     The device failed.
    /// KeyboardInterrupt
    ///     Ctrl-C, which is heard between batches.
    #[pyo3(signature = (images, *, errors = "raise"))]
    fn score<'py>(&self, py: Python<'py>, images: &Bound<'py, PyAny>, errors: &str) -> PyResult<Bound<'py, PyAny>> {
        expect_own_threads()?;
        let raises = match errors {
            "raise" => true,
            "return" => false,
            _ => return Err(UsageError::new_err(format!("errors='{errors}': expected 'raise' or 'return'"))),
        };
        let mut given = pictures::given(images)?;
        let all = PyList::empty(py);
        loop {
            let batch: Vec<_> = given.by_ref().take(self.asked.batch_size).collect::<PyResult<_>>()?;
            if batch.is_empty() {
                break;
            }
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
        if given.several { Ok(all.into_any()) } else { all.get_item(0) }
    }

    /// Evaluates on pictures that are known to be normal or anomalous: of a dataset (``data``), or of ``normal`` and
    /// ``anomalous``. That is done by an engine of its own, with as much memory again: other threads score meanwhile.
    ///
    /// Parameters
    /// ----------
    /// data: str or PathLike, optional
    ///     A dataset in a layout that ``ckaad eval`` knows, for instance test/good, test/<defect> and
    ///     ground_truth/<defect>.
    /// normal, anomalous: folder, or iterable of pictures, optional
    ///     Pictures of either kind, in place of a dataset.
    /// masks: str or PathLike, optional
    ///     Folder of masks of the anomalous pictures, where these are a folder, too.
    /// category: str, optional
    ///     Of a dataset with several the only one to take; without it all are taken, and averaged.
    /// layout: str, optional
    ///     How the dataset lies in its folder, where its files do not tell.
    /// normal_class: str, optional
    ///     The class that is normal, in place of the layout's.
    /// pro: str
    ///     How the per-region overlap is integrated: 'exact', or 'paper' as published code does.
    /// scores: bool
    ///     True adds ``scores``, a list with every picture's score and label.
    ///
    /// Returns
    /// -------
    /// dict
    ///     As ``ckaad eval --format json`` prints it: ``image_auroc``, ``pixel_auroc``, ``aupro30``, ``best_f1`` (0 to
    ///     1; None where they are not defined, as those of pixels without masks), ``operating_point`` (counts and rates
    ///     at the threshold; None without one), ``per_type``, ``pictures`` (how many of which kind), ``left_out``,
    ///     ``warnings`` and more.
    ///
    /// Raises
    /// ------
    /// OSError
    ///     A folder or file is not there, or may not be read.
    /// DataError
    ///     A dataset that does not hold what it should; an array of a wrong shape or range.
    /// UsageError
    ///     Both or neither of a dataset and pictures were given, or none of either kind; a layout or category that is not
    ///     known; what says nothing of the pictures that were given, as ``layout`` without ``data``.
    /// KeyboardInterrupt
    ///     Ctrl-C, which is heard between pictures.
    ///
    /// Warns
    /// -----
    /// UserWarning
    ///     Files that cannot be read are left out.
    #[pyo3(signature = (
        data = None, *, normal = None, anomalous = None, masks = None, category = None, layout = None,
        normal_class = None, pro = "exact", scores = false
    ))]
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

    /// Trains a detector, and opens it.
    ///
    /// Parameters
    /// ----------
    /// normal: folder, or iterable of pictures
    ///     What is normal. Pictures other than paths are kept in memory, each as width * height * 3 bytes.
    /// anomalous: the same, optional
    ///     Pictures known to be anomalous somewhere, which the default method learns from, too.
    /// out: str or PathLike, optional
    ///     Model file to write, with checkpoints beside it while it trains; without it the model is kept with the
    ///     detector.
    /// overwrite, resume: bool
    ///     Replace a model that is already there; go on from its checkpoint. Without either it is left alone
    ///     (``UsageError``).
    /// progress: callable, optional
    ///     Called as ``progress(stage, done, of, losses)`` on the calling thread: stage is 'pictures', 'features',
    ///     'training', 'validation' or a stage of the method's fit, done counts up to of, losses (str to float) are
    ///     those of a training step. What it raises ends the training, and is raised by fit.
    /// device, precision: str
    ///     As of ``load``; trains in f32, tf32 or bf16.
    /// detector: str
    ///     The method: 'ckaad' (default) or 'patchcore'.
    /// backbone: str
    ///     'resnet18' (default), 'resnet34', 'resnet50', 'resnet101', 'resnet152', 'wide_resnet50_2' or
    ///     'wide_resnet101_2'.
    /// layers: sequence of int
    ///     Consecutive backbone layers whose features are used, finest first; (2, 3) by default.
    /// image_size: int
    ///     Side in pixels of the square that the network sees; a multiple of 32, 64 to 4096, 256 by default (with layers up
    ///     to 2: of 16, from 32; with layer 4: of 64, from 128).
    /// resize: str
    ///     How a picture becomes the square that the network sees: 'stretch' (default), 'pad', or 'crop' to its middle.
    /// tile, overlap: int
    ///     Look at pictures in tiles of so many pixels, each scaled to ``image_size``; neighbours share ``overlap`` of them,
    ///     at most half, a quarter by default. For pictures much larger than ``image_size``, up to 2^29 pixels.
    /// roi: str or PathLike
    ///     A mask's file: look only where it is not black. It is stretched to every picture.
    /// epochs: int
    ///     Passes over the normal pictures, of a method that learns step by step; 100 by default.
    /// batch_size: int
    ///     Normal pictures in a step, 1 or more; 16 by default.
    /// weights: str or PathLike
    ///     The backbone's: 'formula' (built in, of resnet18 up to layer 3), 'imagenet' (a download), 'random', or a
    ///     file. By default 'formula' where these fit, else 'imagenet'.
    /// seed: int
    ///     Equal settings and seeds give equal models; 0 by default.
    /// holdout: float
    ///     Share of the normal pictures, 0 to 1, that is held back to set the threshold; 0.1 by default.
    /// folds: int
    ///     In place of ``holdout``: set the threshold by cross-validation with so many folds, 2 or more. The default of
    ///     a method that is fitted at once where few pictures would be held back.
    /// max_false_alarms: float
    ///     Share of normal pictures, 0 to 1, that may reach the threshold; 0.02 by default.
    /// **settings
    ///     The method's own, as ``strategy`` or ``coreset``: the flags of ``ckaad train --help`` with underscores.
    ///
    /// Returns
    /// -------
    /// Detector
    ///     Without a threshold (None) if there were too few pictures to set one from.
    ///
    /// Raises
    /// ------
    /// TypeError
    ///     A setting that is not known.
    /// UsageError
    ///     A setting of a wrong type or out of its range; no picture; a model that is already there.
    /// OSError, DataError
    ///     As of ``score``: pictures that cannot be read, of which up to ten are named.
    /// DeviceError
    ///     The device is not there, has too little memory, or failed.
    /// KeyboardInterrupt
    ///     Ctrl-C. With ``out``, a checkpoint to resume from is written first.
    ///
    /// Warns
    /// -----
    /// UserWarning
    ///     What is odd of a picture or the threshold, or was given in vain.
    #[staticmethod]
    #[pyo3(signature = (
        normal, anomalous = None, *, out = None, overwrite = false, resume = false, progress = None, device = "auto",
        precision = None, **settings
    ))]
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

    /// The same detector with another threshold; both share the engine and its memory.
    ///
    /// Parameters
    /// ----------
    /// threshold: Threshold or float
    ///     A number moves the threshold of scores and leaves that of pixels where it is.
    ///
    /// Returns
    /// -------
    /// Detector
    ///
    /// Raises
    /// ------
    /// UsageError
    ///     A number that is not finite.
    fn with_threshold(&self, threshold: &Bound<PyAny>) -> PyResult<Self> {
        let mut config = self.config.clone();
        config.calibrated_on = Default::default();
        let by_hand;
        let threshold = match threshold.cast::<Threshold>() {
            Ok(threshold) => threshold.get(),
            Err(_) => {
                let expected = |_| PyTypeError::new_err("threshold: expected a ckaad.Threshold or a number");
                by_hand = Threshold::by_hand(numbers::number(threshold).map_err(expected)?, config.pixel_threshold)?;
                &by_hand
            }
        };
        config.threshold = Some(threshold.value);
        config.pixel_threshold = threshold.pixel.or(config.pixel_threshold);
        config.calibration = Some(threshold.calibration.clone());
        let (file, scorer) = (self.file.clone(), self.scorer.clone());
        Ok(Detector { file, config, scorer, asked: self.asked.clone() })
    }

    /// Writes the model file, with its threshold, for ``load`` and the command line.
    ///
    /// Parameters
    /// ----------
    /// path: str or PathLike
    ///     Written whole or not at all.
    /// overwrite: bool
    ///     Replace a model file that is already there.
    ///
    /// Raises
    /// ------
    /// UsageError
    ///     It is already there, is no model file, or its folder is not there.
    /// OSError
    ///     It cannot be written.
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

    /// Threshold or None: from which score on pictures are anomalous; None if there is none.
    #[getter]
    fn threshold(&self) -> Option<Threshold> {
        Threshold::of_model(&self.config)
    }

    /// int: side in pixels of what pictures are resized to, and of maps.
    #[getter]
    fn image_size(&self) -> usize {
        self.config.architecture.image_size
    }

    /// str: the backbone's name, as 'resnet18'.
    #[getter]
    fn backbone(&self) -> &str {
        self.config.architecture.backbone.name
    }

    /// list of int: backbone layers whose features are used, 1 to 4, finest first.
    #[getter]
    fn layers(&self) -> Vec<usize> {
        self.config.architecture.layers.clone()
    }

    /// str: the method's name, 'ckaad' or 'patchcore'.
    #[getter]
    fn method(&self) -> &str {
        self.config.detector.method().name
    }

    /// dict or None: what it was trained on and with (date, seed, epochs, numbers of pictures, ...); None where the
    /// file does not tell.
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

    /// Its model file, and what it was loaded with.
    fn __reduce__<'py>(&self, py: Python<'py>) -> PyResult<(Bound<'py, PyAny>, Restored<'py>)> {
        let bytes = py.detach(|| {
            let folder = tempfile::tempdir().map_err(|e| Error::io(std::env::temp_dir(), e))?;
            let path = folder.path().join("model.safetensors");
            self.file.rewrite(&path, &self.config)?;
            std::fs::read(&path).map_err(|e| Error::io(&path, e))
        });
        let bytes = PyBytes::new(py, &bytes.map_err(exception)?);
        let Asked { device, precision, batch_size, maps } = self.asked.clone();
        Ok((py.import("ckaad._ckaad")?.getattr("restore_detector")?, (bytes, device, precision, batch_size, maps)))
    }
}

type Restored<'py> = (Bound<'py, PyBytes>, String, Option<String>, usize, bool);

/// A detector from the bytes of a model file, as it was pickled.
#[pyfunction]
pub fn restore_detector(
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
        let framer = self.config.framer();
        let computed = py.detach(|| {
            let read = |one: PyResult<Source>| decoded(&one?, &framer).map_err(exception);
            // One picture is decoded by the thread that asks, which takes less time than to wake another.
            let read: Vec<PyResult<(Loaded, Shown)>> = match batch.len() {
                1 => batch.into_iter().map(read).collect(),
                _ => batch.into_par_iter().map(read).collect(),
            };
            let (mut pictures, mut told) = (Vec::new(), Vec::new());
            for one in read {
                told.push(one.map(|(loaded, shown)| {
                    pictures.push(loaded);
                    shown
                }));
            }
            let scored = if pictures.is_empty() { vec![] } else { pipeline::score(&mut *self.scorer()?, pictures)? };
            let mut scored = scored.into_iter();
            let found = |shown: PyResult<Shown>| {
                let shown = shown?;
                match scored.next() {
                    Some((_, scored)) => Ok(Found::new(&self.config, shown, scored)),
                    None => {
                        Err(exception(Error::Device(format!("{}: the engine returned no score", shown.name.display()))))
                    }
                }
            };
            Ok(told.into_iter().map(found).collect::<Vec<PyResult<Found>>>())
        });
        let found = computed.map_err(exception)?;
        Ok(found.into_iter().map(|found| found.and_then(|found| Scored::new(py, found))).collect())
    }
}
