//! An image's score from its most anomalous patch: the distance to the bank's nearest row, weighted by how usual that row's
//! surroundings in the bank are for the patch (PatchCore's eq. 7).

pub mod cases;
pub(crate) mod cuda;

use super::nearest::MAX_NEIGHBOURS;
use super::{Args, Backward, Gradients, Operation};
use crate::Result;
use crate::engine::real::Real;
use crate::engine::tape::{Tape, Var};
use crate::engine::toolkit::cpu::isa::wide;
use crate::engine::toolkit::cpu::vector::squared_distance;
use crate::engine::toolkit::onnx::{Attr, Composer};

/// Inputs: distances (n, 1, 1, 1), patches (n, 1, 1, c), and k rows of the bank for each, (n, k, 1, c), the nearest first.
/// Output, (n, 1, 1, 1): (1 - softmax over the k distances |patch - row|, of the first) * distance.
#[repr(C)]
#[derive(Clone, Copy, Debug, bytemuck::Pod, bytemuck::Zeroable)]
pub struct Neighbourhood {
    pub k: u32,
    pub c: u32,
}

impl Tape {
    /// `distance` (n, 1, 1, 1) of every patch (n, 1, 1, c) weighted by the patch's distances to `neighbours` (n, k, 1, c), where
    /// 2 <= k <= 16: a single one would weigh nothing.
    pub fn neighbourhood(&mut self, distance: Var, patch: Var, neighbours: Var) -> Result<Var> {
        let [d, p, b] = [distance, patch, neighbours].map(|v| self.shape(v));
        let (n, k, c) = (p.n(), b.h(), p.c());
        let kinds = [distance, patch, neighbours].map(|v| self.info(v).dtype);
        let fits = d.0 == [n, 1, 1, 1] && p.0 == [n, 1, 1, c] && b.0 == [n, k, 1, c] && kinds[1] == kinds[2];
        if !fits || kinds[0] != self.dtype().exact() || !(2..=MAX_NEIGHBOURS).contains(&k) {
            let what = format!(
                "needs distances (n, 1, 1, 1), patches (n, 1, 1, c) and 2 to {MAX_NEIGHBOURS} neighbours (n, k, 1, c), \
                 found {d} of {}, {p} of {}, {b} of {}",
                kinds[0], kinds[1], kinds[2]
            );
            return Err(self.shape_error(Neighbourhood::NAME, what));
        }
        let op = Neighbourhood { k: k as u32, c: c as u32 };
        let scores = self.record1(op, vec![distance, patch, neighbours], d)?;
        Ok(self.exact(scores))
    }
}

impl Operation for Neighbourhood {
    const NAME: &'static str = "neighbourhood";

    fn gradient(&self, b: Backward) -> Gradients {
        b.refuse()
    }

    fn onnx(&self, c: &mut Composer) -> Result<()> {
        let [distance, patch, rows] = [0, 1, 2].map(|i| c.input(i));
        let apart = c.node("Sub", &[&rows, &patch], &[]);
        let squares = c.node("Mul", &[&apart, &apart], &[]);
        let squares = c.sum(&squares, 1);
        let distances = c.node("Sqrt", &[&squares], &[]);
        let shares = c.node("Softmax", &[&distances], &[("axis", Attr::I(2))]);
        let first = c.ints(&[0]);
        let share = c.node("Gather", &[&shares, &first], &[("axis", Attr::I(2))]);
        let one = c.floats(&[], [1.0]);
        let weight = c.node("Sub", &[&one, &share], &[]);
        let y = c.node("Mul", &[&weight, &distance], &[]);
        c.output(0, y);
        Ok(())
    }

    fn run<T: Real>(&self, a: Args<'_, T>) {
        let ([distance, patch, neighbours, ..], [y, ..]) = (a.inputs, a.outputs);
        let [k, c] = [self.k, self.c].map(|v| v as usize);
        for (i, y) in y.iter_mut().enumerate() {
            let patch = &patch[i * c..][..c];
            let mut distances = [0.0; MAX_NEIGHBOURS];
            let distances = &mut distances[..k];
            for (d, row) in distances.iter_mut().zip(neighbours[i * k * c..].chunks_exact(c)) {
                *d = wide!(FUSED => squared_distance::<T, FUSED>(patch, row)).sqrt().f64();
            }
            let most = distances.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let total: f64 = distances.iter().map(|d| (d - most).exp()).sum();
            *y = T::of((1.0 - (distances[0] - most).exp() / total) * distance[i].f64());
        }
    }
}
