//! Pictures as Python has them.

use super::errors::{DataError, exception};
use ckaad::Error;
use ckaad::data::image::{Picture, Samples, Source};
use ckaad::data::layout::TrainSet;
use numpy::{PyReadonlyArrayDyn, PyUntypedArray, PyUntypedArrayMethods};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyIterator, PyString};
use std::path::PathBuf;
use std::sync::Arc;

/// One picture or several, taken one after the other, so that no more of them than one pass needs are in memory.
pub struct Given<'py> {
    plain: Bound<'py, PyIterator>,
    taken: usize,
    pub several: bool,
}

/// What `ckaad._pictures` makes of `images`: paths, bytes and arrays of uint8 or uint16.
pub fn given<'py>(images: &Bound<'py, PyAny>) -> PyResult<Given<'py>> {
    let plain = images.py().import("ckaad._pictures")?.call_method1("plain", (images,))?;
    let (plain, several): (Bound<PyAny>, bool) = plain.extract()?;
    Ok(Given { plain: plain.try_iter()?, taken: 0, several })
}

/// Of each where it comes from, or why it is none; the outer error is one of going through them, such as Ctrl-C.
impl Iterator for Given<'_> {
    type Item = PyResult<PyResult<Source>>;

    fn next(&mut self) -> Option<Self::Item> {
        let one = self.plain.next()?;
        let name = format!("image {}", self.taken);
        self.taken += 1;
        Some(one.map(|one| source(name, &one)))
    }
}

fn source(name: String, one: &Bound<PyAny>) -> PyResult<Source> {
    if one.is_instance_of::<PyString>() {
        Ok(Source::Path(one.extract()?))
    } else if let Ok(bytes) = one.cast::<PyBytes>() {
        Ok(Source::Bytes { name, bytes: bytes.as_bytes().into() })
    } else if let Ok(array) = one.cast::<PyUntypedArray>() {
        let picture = picture(array).map_err(|e| named(one.py(), &name, e))?;
        Ok(Source::Decoded { name, picture: Arc::new(picture) })
    } else {
        // An exception in the place of a picture.
        Err(PyErr::from_value(one.clone()))
    }
}

fn named(py: Python, name: &str, error: PyErr) -> PyErr {
    DataError::new_err(format!("{name}: {}", error.value(py)))
}

fn picture(array: &Bound<PyUntypedArray>) -> PyResult<Picture> {
    let [height, width, channels] = array.shape() else {
        return Err(DataError::new_err("expected an array of three dimensions"));
    };
    let samples = if let Ok(bytes) = array.extract::<PyReadonlyArrayDyn<u8>>() {
        Samples::Bits8(values(&bytes))
    } else if let Ok(words) = array.extract::<PyReadonlyArrayDyn<u16>>() {
        Samples::Bits16(values(&words))
    } else {
        return Err(PyTypeError::new_err("expected an array of uint8 or uint16"));
    };
    let (size, channels) = ((*width, *height), *channels);
    array.py().detach(|| Picture::of_samples(samples, size, channels)).map_err(exception)
}

/// Rows first, whatever the order in memory.
fn values<T: numpy::Element + Copy>(array: &PyReadonlyArrayDyn<T>) -> Vec<T> {
    // A slice is there of columns first, too.
    match array.as_slice() {
        Ok(slice) if array.is_c_contiguous() => slice.to_vec(),
        _ => array.as_array().iter().copied().collect(),
    }
}

/// The folder that is named, if one is. A path that leads nowhere is an error: nobody can tell a mistyped folder from a picture.
pub fn folder(given: &Bound<PyAny>) -> PyResult<Option<PathBuf>> {
    let Ok(path) = given.extract::<PathBuf>() else { return Ok(None) };
    let found = std::fs::metadata(&path).map_err(|e| Error::unread(&path, e, "a folder of pictures, or a picture"));
    Ok(found.map_err(exception)?.is_dir().then_some(path))
}

/// The pictures in a folder, or of a list; the first that is none is an error.
pub fn all(given: &Bound<PyAny>) -> PyResult<Vec<Source>> {
    match folder(given)? {
        Some(folder) => Ok(list_pictures(given.py(), folder)?.into_iter().map(Source::Path).collect()),
        None => self::given(given)?.map(|one| one?).collect(),
    }
}

/// The pictures in a folder and the folders below it, sorted by name, as `ckaad score` takes them: without hidden
/// files, masks, and heat maps that ckaad wrote.
///
/// Parameters
/// ----------
/// folder: str or PathLike
///
/// Returns
/// -------
/// list of pathlib.Path
///
/// Raises
/// ------
/// OSError
///     It is not there, is no folder, or may not be read.
/// CkaadError
///     It holds no pictures.
#[pyfunction]
pub fn list_pictures(py: Python, folder: PathBuf) -> PyResult<Vec<PathBuf>> {
    let set = py.detach(|| TrainSet::of_folders(&folder, None, None)).map_err(exception)?;
    Ok(set.good.into_iter().map(|sample| sample.path().to_path_buf()).collect())
}
