//! Cases: small programs of one op each, as data. Every op folder lists its own in `cases.rs`; gradient checks, parity
//! tests of every device walk the same list, [`super::cases`].

use crate::Result;
use crate::engine::hash::fnv1a;
use crate::engine::tape::{Tape, Var};
use crate::engine::tensor::{DType, Shape};

/// How an op is recorded over inputs.
type Build = dyn Fn(&mut Tape, &[Var]) -> Result<Var> + Send + Sync;

/// One way to use an op: the shapes of its inputs, and how it is recorded over them.
pub struct Case {
    pub op: &'static str,
    pub name: String,
    pub inputs: Vec<Shape>,
    /// Whether the op has a gradient for every input.
    pub differentiable: bool,
    /// The inputs are f32 where the program keeps its tensors in 16 bits.
    exact: bool,
    numbers: Numbers,
    build: Box<Build>,
}

/// What the inputs are filled with.
#[derive(Clone, Copy)]
enum Numbers {
    /// [-1, 1)
    Uniform,
    /// [-1, 1), but at least [`OFF_KINK`] away from each of these, where the op has no derivative.
    OffKinks(&'static [f64]),
    /// Bytes
    Pixels,
    /// The first inputs whole numbers of these types, the others odd sixteenths between -1 and 1.
    Whole(&'static [DType]),
}

const OFF_KINK: f64 = 0.01;

/// A recorded case.
pub struct Recorded {
    pub tape: Tape,
    pub inputs: Vec<Var>,
    /// Declared an output of the program.
    pub output: Var,
}

impl Case {
    /// A differentiable case over inputs in [-1, 1).
    pub fn new(
        op: &'static str,
        name: impl Into<String>,
        inputs: &[[usize; 4]],
        build: impl Fn(&mut Tape, &[Var]) -> Result<Var> + Send + Sync + 'static,
    ) -> Self {
        Case {
            op,
            name: name.into(),
            inputs: inputs.iter().map(|s| Shape(*s)).collect(),
            differentiable: true,
            exact: false,
            numbers: Numbers::Uniform,
            build: Box::new(build),
        }
    }

    /// The op has no gradient, or none that finite differences could confirm here.
    pub fn forward_only(mut self) -> Self {
        self.differentiable = false;
        self
    }

    /// The op takes what other ops keep in f32 even in 16-bit programs.
    pub fn exact(mut self) -> Self {
        self.exact = true;
        self
    }

    /// Keeps inputs away from points where the derivative jumps. (Inside a fused op values fall anywhere; that one of
    /// these few falls within a step of 1e-6 around a kink is unlikely, and they are the same in every run.)
    pub fn off_kinks(mut self, kinks: &'static [f64]) -> Self {
        self.numbers = Numbers::OffKinks(kinks);
        self
    }

    /// The inputs are pixels of type u8.
    pub fn pixels(mut self) -> Self {
        self.numbers = Numbers::Pixels;
        self.forward_only()
    }

    /// The first inputs are whole numbers of these types. The others are sixteenths, of whose products with whole numbers f32 loses nothing: what
    /// is rounded to bytes at the end is the same in every type.
    pub fn whole(mut self, types: &'static [DType]) -> Self {
        self.numbers = Numbers::Whole(types);
        self.forward_only()
    }

    /// Records the case onto a fresh tape.
    pub fn record(&self, dtype: DType) -> Result<Recorded> {
        let mut tape = Tape::new(dtype);
        let dtype = match dtype {
            _ if matches!(self.numbers, Numbers::Pixels) => DType::U8,
            DType::Bf16 | DType::F16 if self.exact => DType::F32,
            dtype => dtype,
        };
        let of_input = |i| self.whole_of(i).unwrap_or(dtype);
        let inputs = self.inputs.iter().enumerate().map(|(i, s)| tape.input(*s, of_input(i)));
        let inputs: Vec<Var> = inputs.collect::<Result<_>>()?;
        let output = (self.build)(&mut tape, &inputs)?;
        tape.output(output);
        Ok(Recorded { tape, inputs, output })
    }

    /// The type of an input of whole numbers, whatever others have.
    fn whole_of(&self, input: usize) -> Option<DType> {
        match self.numbers {
            Numbers::Whole(types) => types.get(input).copied(),
            _ => None,
        }
    }

    /// Values for every input, a function of the op, the case and the input's position.
    pub fn values(&self) -> Vec<Vec<f64>> {
        let of = |(i, shape): (usize, &Shape)| {
            let u = uniform(&format!("{}.{}.{i}", self.op, self.name), shape.len());
            let value = |u: f32| match self.numbers {
                Numbers::Uniform => u as f64,
                Numbers::OffKinks(kinks) => kinks.iter().fold(u as f64, |x, k| keep_off(x, *k)),
                Numbers::Pixels => ((u as f64 + 1.0) * 128.0).floor(),
                Numbers::Whole(_) => match self.whole_of(i) {
                    Some(DType::I8) => (u as f64 * 128.0).floor(),
                    // More than a byte, and few enough bits for sums that f32 holds.
                    Some(DType::I16) => (u as f64 * 4096.0).floor(),
                    Some(_) => ((u as f64 + 1.0) * 128.0).floor(),
                    None => ((u as f64 * 8.0).floor() + 0.5) / 8.0,
                },
            };
            u.into_iter().map(value).collect()
        };
        self.inputs.iter().enumerate().map(of).collect()
    }
}

fn keep_off(x: f64, kink: f64) -> f64 {
    if (x - kink).abs() >= OFF_KINK { x } else { kink + OFF_KINK.copysign(x - kink) }
}

/// n numbers in [-1, 1), a function of `name` alone: splitmix64 of (FNV-1a of the name) + index, top 24 bits.
/// The same as `uniform` in the PyTorch reference that wrote the golden files.
pub fn uniform(name: &str, n: usize) -> Vec<f32> {
    let seed = fnv1a(name);
    let number = |i: u64| {
        let mut x = seed.wrapping_add(i).wrapping_add(0x9e37_79b9_7f4a_7c15);
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^= x >> 31;
        (x >> 40) as f32 / (1u32 << 23) as f32 - 1.0
    };
    (0..n as u64).map(number).collect()
}
