//! Cosine distances between feature maps and their reconstructions.
//!
//! [`Loss`], the paper's eq. (2): mean over some images of 1 - cos(flattened map, flattened reconstruction).
//! [`Map`], eq. (14): 1 - cos over channels at every position. Both as PyTorch's `cosine_similarity` (lengths at least 1e-8).

pub mod cases;
pub(crate) mod cuda;

use super::{Args, Backward, Gradients, MAX_OPERANDS, Operation};
use crate::Result;
use crate::engine::real::Real;
use crate::engine::tape::{Tape, Var};
use crate::engine::tensor::Shape;
use crate::engine::toolkit::cpu::isa::wide;
use crate::engine::toolkit::cpu::vector::{dot, dot_f64};
use crate::engine::toolkit::onnx::Composer;
use rayon::prelude::*;
use std::ops::Range;

const EPS: f64 = 1e-8;

/// Inputs: a, b (n, h, w, c). Outputs: the loss over `images` of the batch, then |a|, |b| and a.b of each of these.
#[derive(Clone, Debug)]
pub struct Loss {
    pub images: Range<usize>,
    /// Elements of one image.
    pub len: usize,
}

/// Gradient for b. Inputs: dy, a, b, the saved lengths; `swapped` when b is the loss's first input.
#[derive(Clone, Debug)]
pub struct LossBwd {
    pub forward: Loss,
    pub swapped: bool,
}

/// Inputs: a0, b0, a1, b1, ... of 1 to [`MAX_LAYERS`] layers, each pair (n, h, w, c). Output: (n, h, w, 1) of each layer.
#[derive(Clone, Debug)]
pub struct Map {
    /// Positions and channels of each layer.
    pub layers: Vec<(usize, usize)>,
}

/// Most layers whose maps one record computes.
pub const MAX_LAYERS: usize = MAX_OPERANDS / 2;

/// Values saved per image.
const SAVED: usize = 3;

impl Tape {
    fn same_shape(&self, op: &str, a: Var, b: Var) -> Result<Shape> {
        let (sa, sb) = (self.shape(a), self.shape(b));
        if sa == sb { Ok(sa) } else { Err(self.shape_error(op, format!("shapes differ: {sa} and {sb}"))) }
    }

    /// Mean over the images `images` of 1 - cos(a, b), each image flattened to one vector.
    pub fn cosine_loss(&mut self, a: Var, b: Var, images: Range<usize>) -> Result<Var> {
        let s = self.same_shape(Loss::NAME, a, b)?;
        if images.is_empty() || images.end > s.n() {
            return Err(self.shape_error(Loss::NAME, format!("images {images:?} of a batch of {}", s.n())));
        }
        let saved = Shape([images.len(), 1, 1, SAVED]);
        let op = Loss { images, len: s.len() / s.n() };
        let outputs = self.record(op, vec![a, b], &[Shape::SCALAR, saved])?;
        self.exact(outputs[1]);
        Ok(self.exact(outputs[0]))
    }

    /// 1 - cos over channels at every position, for each of 1 to 4 layers' pairs (feature map, reconstruction).
    pub fn cosine_map(&mut self, pairs: &[(Var, Var)]) -> Result<Vec<Var>> {
        if pairs.is_empty() || pairs.len() > MAX_LAYERS {
            return Err(self.shape_error(Map::NAME, format!("needs 1 to {MAX_LAYERS} layers, found {}", pairs.len())));
        }
        let shapes: Vec<Shape> =
            pairs.iter().map(|(a, b)| self.same_shape(Map::NAME, *a, *b)).collect::<Result<_>>()?;
        let layers = shapes.iter().map(|s| (s.len() / s.c(), s.c())).collect();
        let outputs: Vec<Shape> = shapes.iter().map(|s| Shape([s.n(), s.h(), s.w(), 1])).collect();
        let inputs = pairs.iter().flat_map(|(a, b)| [*a, *b]).collect();
        let maps = self.record(Map { layers }, inputs, &outputs)?;
        Ok(maps.into_iter().map(|v| self.exact(v)).collect())
    }
}

impl Operation for Loss {
    const NAME: &'static str = "cosine_loss";

    fn gradient(&self, back: Backward) -> Gradients {
        let Some(dy) = back.given(0) else { return back.none() };
        let (a, b, saved) = (back.input(0), back.input(1), back.output(1));
        let shape = back.tape.shape(a);
        let mut grads = back.none()?;
        for (i, [other, own]) in [[b, a], [a, b]].into_iter().enumerate() {
            if back.wanted(i) {
                let op = LossBwd { forward: self.clone(), swapped: i == 0 };
                grads[i] = Some(back.tape.record1(op, vec![dy, other, own, saved], shape)?);
            }
        }
        Ok(grads)
    }

    fn run<T: Real>(&self, args: Args<'_, T>) {
        let ([a, b, ..], [loss, saved, ..]) = (args.inputs, args.outputs);
        let Loss { images, len } = self;
        saved.par_chunks_mut(SAVED).enumerate().for_each(|(i, saved)| {
            let at = (images.start + i) * len;
            let (a, b) = (&a[at..][..*len], &b[at..][..*len]);
            let [aa, bb, ab] =
                wide!(FUSED => [dot_f64::<T, FUSED>(a, a), dot_f64::<T, FUSED>(b, b), dot_f64::<T, FUSED>(a, b)]);
            saved[0] = T::of(aa.sqrt().max(EPS));
            saved[1] = T::of(bb.sqrt().max(EPS));
            saved[2] = T::of(ab);
        });
        let distance = |s: &[T]| 1.0 - s[2].f64() / (s[0].f64() * s[1].f64());
        loss[0] = T::of(saved.chunks_exact(SAVED).map(distance).sum::<f64>() / images.len() as f64);
    }
}

impl Operation for LossBwd {
    const NAME: &'static str = "cosine_loss_bwd";

    fn gradient(&self, b: Backward) -> Gradients {
        b.refuse()
    }

    /// d(1 - cos)/db = -(a / (|a| |b|) - cos * b / |b|^2)
    fn run<T: Real>(&self, args: Args<'_, T>) {
        let ([dy, a, b, saved, ..], [db, ..]) = (args.inputs, args.outputs);
        let Loss { images, len } = &self.forward;
        let scale = dy[0].f64() / images.len() as f64;
        db.par_chunks_mut(*len).enumerate().for_each(|(i, db)| {
            if !images.contains(&i) {
                db.fill(T::ZERO);
                return;
            }
            let s = &saved[(i - images.start) * SAVED..][..SAVED];
            let (mut length_a, mut length_b, product) = (s[0].f64(), s[1].f64(), s[2].f64());
            if self.swapped {
                std::mem::swap(&mut length_a, &mut length_b);
            }
            let by_a = T::of(-scale / (length_a * length_b));
            let by_b = T::of(scale * product / (length_a * length_b.powi(3)));
            wide!({
                for ((db, a), b) in db.iter_mut().zip(&a[i * len..]).zip(&b[i * len..]) {
                    *db = *a * by_a + *b * by_b;
                }
            });
        });
    }
}

impl Operation for Map {
    const NAME: &'static str = "cosine_map";

    fn gradient(&self, b: Backward) -> Gradients {
        b.refuse()
    }

    fn onnx(&self, c: &mut Composer) -> Result<()> {
        for i in 0..self.layers.len() {
            let [a, b] = [c.input(2 * i), c.input(2 * i + 1)];
            let products = c.node("Mul", &[&a, &b], &[]);
            let product = c.sum(&products, 1);
            let [a, b] = [a, b].map(|x| c.length(&x, EPS));
            let lengths = c.node("Mul", &[&a, &b], &[]);
            let cosine = c.node("Div", &[&product, &lengths], &[]);
            let one = c.floats(&[], [1.0]);
            let distance = c.node("Sub", &[&one, &cosine], &[]);
            c.output(i, distance);
        }
        Ok(())
    }

    fn run<T: Real>(&self, args: Args<'_, T>) {
        let (pairs, _) = args.inputs.as_chunks::<2>();
        for (([a, b], y), &(_, c)) in pairs.iter().zip(args.outputs).zip(&self.layers) {
            y.par_iter_mut().with_min_len(64).enumerate().for_each(|(i, y)| {
                let (a, b) = (&a[i * c..][..c], &b[i * c..][..c]);
                let [aa, bb, ab] =
                    wide!(FUSED => [dot::<T, FUSED>(a, a), dot::<T, FUSED>(b, b), dot::<T, FUSED>(a, b)]);
                let length = |squares: T| squares.sqrt().maximum(T::of(EPS));
                *y = T::ONE - ab / (length(aa) * length(bb));
            });
        }
    }
}
