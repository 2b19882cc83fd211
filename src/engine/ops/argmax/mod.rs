//! Where every image's map is largest.

pub mod cases;
pub(crate) mod cuda;

use super::{Args, Backward, Gradients, Operation};
use crate::Result;
use crate::engine::real::Real;
use crate::engine::tape::{Tape, Var};
use crate::engine::tensor::Shape;
use crate::engine::toolkit::onnx::{Attr, Composer};

/// Input: (n, h, w, 1), `len` values an image. Output: (n, 1, 1, 1), positions counted through all images.
#[derive(Clone, Debug)]
pub struct ArgMax {
    pub len: usize,
}

/// Most values of all images: f32 counts as far.
const MAX_VALUES: usize = 1 << 24;

impl Tape {
    /// The position of each image's largest value in `map`, kept as [`Tape::nearest`] keeps distances: of equals the first; NaN
    /// is the largest. Counted through all images, as [`Tape::gather`] counts the rows of what belongs to the map.
    pub fn argmax(&mut self, map: Var) -> Result<Var> {
        let (s, dtype) = (self.shape(map), self.info(map).dtype);
        if s.c() != 1 || dtype != self.dtype().exact() || s.len() > MAX_VALUES {
            let what = format!(
                "needs a map of one channel of {} with at most {MAX_VALUES} values, found {s} of {dtype}",
                self.dtype().exact()
            );
            return Err(self.shape_error(ArgMax::NAME, what));
        }
        let at = self.record1(ArgMax { len: s.h() * s.w() }, vec![map], Shape([s.n(), 1, 1, 1]))?;
        Ok(self.exact(at))
    }
}

impl Operation for ArgMax {
    const NAME: &'static str = "argmax";

    fn gradient(&self, b: Backward) -> Gradients {
        b.refuse()
    }

    fn onnx(&self, c: &mut Composer) -> Result<()> {
        let x = c.input(0);
        let flat = c.node("Flatten", &[&x], &[("axis", Attr::I(1))]);
        let within = c.node("ArgMax", &[&flat], &[("axis", Attr::I(1)), ("keepdims", Attr::I(0))]);
        // Counted through all images: how many there are is known when it runs.
        let n = c.node("Shape", &[&x], &[("end", Attr::I(1))]);
        let [zero, one] = [0, 1].map(|i| c.integer(i));
        let n = c.node("Squeeze", &[&n], &[]);
        let images = c.node("Range", &[&zero, &n, &one], &[]);
        let len = c.integer(self.len as i64);
        let before = c.node("Mul", &[&images, &len], &[]);
        let at = c.node("Add", &[&within, &before], &[]);
        let y = c.reshape(&at, &[-1, 1, 1, 1]);
        c.output(0, y);
        Ok(())
    }

    fn run<T: Real>(&self, a: Args<'_, T>) {
        let ([x, ..], [y, ..]) = (a.inputs, a.outputs);
        for (image, (y, x)) in y.iter_mut().zip(x.chunks_exact(self.len)).enumerate() {
            let larger = |a: T, b: T| a > b || a.is_nan() && !b.is_nan();
            let at = (1..self.len).fold(0, |most, i| if larger(x[i], x[most]) { i } else { most });
            *y = T::of((image * self.len + at) as f64);
        }
    }
}
