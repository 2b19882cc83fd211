//! Shared by the tests: golden files, and the numbers that both sides generate from names.
#![allow(dead_code)] // every test binary uses its own part

pub mod stand_in;

use ckaad::Result;
use ckaad::engine::device::cuda::gpu::GpuDriver;
use ckaad::engine::device::cuda::{Driver, SimDriver};
use ckaad::engine::ops::Activation;
pub use ckaad::engine::ops::case::uniform;
use ckaad::engine::ops::conv2d::Options;
use ckaad::engine::params::{Init, Parameter, Parameters, Values};
use ckaad::engine::real::Real;
use ckaad::engine::tape::{NetId, Tape, Var};
use ckaad::model::TensorSource;
use safetensors::SafeTensors;
use std::borrow::Cow;
use std::path::PathBuf;
use std::sync::Arc;

/// A file under `tests/`, or under `CKAAD_TEST_DATA` where a test runs without its sources.
pub fn path(name: &str) -> PathBuf {
    let sources = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests");
    std::env::var_os("CKAAD_TEST_DATA").map_or_else(sources, PathBuf::from).join(name)
}

/// A golden file in memory.
pub struct Golden(Vec<u8>);

impl Golden {
    pub fn open(name: &str) -> Self {
        let path = path(name);
        Golden(std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display())))
    }

    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.tensors().names().into_iter().map(str::to_string).collect();
        names.sort();
        names
    }

    pub fn tensors(&self) -> SafeTensors<'_> {
        SafeTensors::deserialize(&self.0).expect("a golden file is a safetensors file")
    }

    pub fn metadata(&self, key: &str) -> String {
        self.find_metadata(key).unwrap_or_else(|| panic!("no metadata {key}"))
    }

    pub fn find_metadata(&self, key: &str) -> Option<String> {
        let (_, meta) = SafeTensors::read_metadata(&self.0).expect("a golden file has a header");
        meta.metadata().as_ref().and_then(|m| m.get(key)).cloned()
    }

    /// The values of a tensor as f64, whatever they are stored as.
    pub fn get(&self, name: &str) -> Vec<f64> {
        use safetensors::Dtype;
        let tensors = self.tensors();
        let t = tensors.tensor(name).unwrap_or_else(|e| panic!("{name}: {e}"));
        match t.dtype() {
            Dtype::F64 => t.data().as_chunks().0.iter().map(|b| f64::from_le_bytes(*b)).collect(),
            Dtype::F32 => t.data().as_chunks().0.iter().map(|b| f32::from_le_bytes(*b) as f64).collect(),
            Dtype::I64 => t.data().as_chunks().0.iter().map(|b| i64::from_le_bytes(*b) as f64).collect(),
            Dtype::U8 => t.data().iter().map(|b| *b as f64).collect(),
            other => panic!("{name}: unexpected type {other:?}"),
        }
    }

    pub fn shape(&self, name: &str) -> Vec<usize> {
        self.tensors().tensor(name).unwrap_or_else(|e| panic!("{name}: {e}")).shape().to_vec()
    }
}

/// The value the reference's `fill` gives a tensor, from its full name and shape (`transposed`: of a transposed convolution).
pub fn fill(full_name: &str, shape: &[usize], transposed: bool) -> Vec<f32> {
    let n = shape.iter().product();
    let u = uniform(full_name, n);
    if shape.len() >= 2 {
        let fan = n / shape[transposed as usize];
        let scale = (3.0 / fan as f64).sqrt() as f32;
        return u.into_iter().map(|u| u * scale).collect();
    }
    let scale = full_name.ends_with("weight") || full_name.ends_with("running_var");
    u.into_iter().map(|u| if scale { 1.0 + 0.2f32 * u } else { 0.1f32 * u }).collect()
}

/// The reference's reproducible backbone.
pub struct GoldenBackbone;

impl TensorSource for GoldenBackbone {
    fn tensor(&self, name: &str, shape: &[usize]) -> Result<Cow<'_, [f32]>> {
        Ok(fill(&format!("backbone.{name}"), shape, false).into())
    }

    fn names(&self) -> Vec<&str> {
        vec![]
    }

    fn describe(&self) -> String {
        "the golden backbone".into()
    }
}

/// The reference's reproducible parameters of a network.
pub fn golden_values<T: Real>(parameters: &Parameters) -> Values<T> {
    let mut values = Values::zeros(Arc::new(parameters.clone()));
    for e in parameters.entries() {
        let v: Vec<T> = golden_tensor(&parameters.network, e).into_iter().map(|x| T::of(x as f64)).collect();
        values.set_from_file(&e.name, &v).unwrap();
    }
    values
}

/// The reference's reproducible values of one tensor, in PyTorch's layout.
pub fn golden_tensor(network: &str, e: &Parameter) -> Vec<f32> {
    let transposed = e.name.contains("upsample.0") || (network == "ae" && is_doubling(e));
    fill(&format!("{network}.{}", e.name), &e.file_shape, transposed)
}

/// Transposed convolutions are the decoder's 2x2 ones.
fn is_doubling(e: &Parameter) -> bool {
    e.name.starts_with("decoder.") && e.file_shape.len() == 4 && e.file_shape[2..] == [2, 2]
}

/// Golden pictures, (n, 3, s, s) in the reference, as NHWC: 2u.
pub fn pictures(tag: &str, n: usize, size: usize) -> Vec<f64> {
    let u: Vec<f64> =
        uniform(&format!("input.{tag}"), n * 3 * size * size).into_iter().map(|u| 2.0 * u as f64).collect();
    to_nhwc(&u, n, 3, size)
}

/// (n, c, s, s) to (n, s, s, c)
pub fn to_nhwc<T: Copy>(x: &[T], n: usize, c: usize, size: usize) -> Vec<T> {
    let area = size * size;
    let at = |i: usize| {
        let (image, p, channel) = (i / (area * c), i / c % area, i % c);
        x[(image * c + channel) * area + p]
    };
    (0..n * area * c).map(at).collect()
}

/// |a - b| / |b| in the Euclidean norm.
pub fn relative_error(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    let norm = |x: &mut dyn Iterator<Item = f64>| x.map(|v| v * v).sum::<f64>().sqrt();
    let difference = norm(&mut a.iter().zip(b).map(|(a, b)| a - b));
    let size = norm(&mut b.iter().copied());
    // A NaN anywhere is an infinite error, not a comparison that is silently false.
    let e = difference / size.max(f64::MIN_POSITIVE);
    if e.is_nan() { f64::INFINITY } else { e }
}

pub fn as_f64<T: Real>(x: &[T]) -> Vec<f64> {
    x.iter().map(|v| v.f64()).collect()
}

/// The device that tests of kernels run on: the emulator, or a GPU with `CKAAD_TEST_DEVICE=cuda`.
pub fn driver() -> Box<dyn Driver> {
    match std::env::var("CKAAD_TEST_DEVICE").as_deref() {
        Ok("cuda") => Box::new(GpuDriver::open(0).unwrap()),
        Ok("sim") | Err(_) => Box::new(SimDriver::default()),
        Ok(other) => panic!("CKAAD_TEST_DEVICE={other}: expected sim or cuda"),
    }
}

/// A convolution of `[k, c, side]` with bias and ReLU, padded so that only the stride changes the size; its parameters are
/// `<name>.weight` and `<name>.bias`.
pub fn conv_relu(
    t: &mut Tape,
    net: NetId,
    x: Var,
    name: &str,
    [k, c, side]: [usize; 3],
    stride: usize,
    residual: Option<Var>,
) -> Var {
    let w = t.param(net, &format!("{name}.weight"), &[k, c, side, side], Init::Zeros).unwrap();
    let bias = Some(t.param(net, &format!("{name}.bias"), &[k], Init::Zeros).unwrap());
    t.set_label(format!("n.{name}"));
    let o = Options { bias, residual, act: Activation::Relu, ..Options::square(stride, side / 2) };
    t.conv2d(x, w, o).unwrap()
}
