//! From integer sums to what is kept of them: scaled, with bias, residual and activation, as real numbers or as bytes again.

use crate::engine::real::Real;
use crate::engine::toolkit::Quantization;
use crate::engine::toolkit::cpu::microkernel::PANEL;

/// What a panel of columns is made of sums with: `act(sum * scale + bias + residual)`.
#[derive(Clone, Copy)]
pub struct Finish<'a, T> {
    /// What a sum of 1 is worth, one value per column.
    pub scale: &'a [T],
    /// By which all of `scale` are multiplied.
    pub factor: T,
    /// One value per column.
    pub bias: Option<&'a [T]>,
    /// Addressed like the output.
    pub residual: Option<Residual<'a, T>>,
    /// Factor for negative values; none: identity.
    pub slope: Option<T>,
}

#[derive(Clone, Copy)]
pub enum Residual<'a, T> {
    Real(&'a [T]),
    Bytes(&'a [u8], Quantization),
}

/// Of one panel, what [`Finish`] has of all.
pub struct Panel<T> {
    scale: [T; PANEL],
    bias: [T; PANEL],
    excess: [i32; PANEL],
    slope: T,
}

fn lanes<E: Copy>(from: Option<&[E]>, column: usize, rest: E) -> [E; PANEL] {
    let mut out = [rest; PANEL];
    if let Some(from) = from {
        let from = &from[column..from.len().min(column + PANEL)];
        out[..from.len()].copy_from_slice(from);
    }
    out
}

impl<T: Real> Finish<'_, T> {
    /// From `column` on; `excess` is subtracted from each column's sums.
    pub fn panel(&self, column: usize, excess: Option<&[i32]>) -> Panel<T> {
        let mut scale = lanes(Some(self.scale), column, T::ZERO);
        scale.iter_mut().for_each(|s| *s *= self.factor);
        let (bias, excess) = (lanes(self.bias, column, T::ZERO), lanes(excess, column, 0));
        Panel { scale, bias, excess, slope: self.slope.unwrap_or(T::ONE) }
    }

    /// Finishes the sums of a row's columns, of which the first is `at` in the output, into `to`, one value for each.
    #[inline(always)]
    pub fn row<S: Store<T>>(&self, panel: &Panel<T>, sums: &[i32; PANEL], at: usize, store: S, to: &mut [S::Kept]) {
        let mut added = [T::ZERO; PANEL];
        match self.residual {
            None => {}
            Some(Residual::Real(r)) => added = lanes(Some(&r[at..at + to.len()]), 0, T::ZERO),
            Some(Residual::Bytes(r, q)) => {
                let (r, scale, zero) =
                    (lanes(Some(&r[at..at + to.len()]), 0, 0), T::of(q.scale.into()), i32::from(q.zero));
                for i in 0..PANEL {
                    added[i] = T::of_i32(i32::from(r[i]) - zero) * scale;
                }
            }
        }
        // One loop from sums to where they are kept: of several the compiler makes detours through memory.
        let fill = |to: &mut [S::Kept; PANEL]| {
            for i in 0..PANEL {
                let value =
                    T::of_i32(sums[i].wrapping_sub(panel.excess[i])) * panel.scale[i] + panel.bias[i] + added[i];
                let scaled = value * panel.slope;
                to[i] = store.keep(if value < T::ZERO { scaled } else { value });
            }
        };
        match <&mut [S::Kept; PANEL]>::try_from(&mut *to) {
            Ok(to) => fill(to),
            Err(_) => {
                let mut kept = [store.keep(T::ZERO); PANEL];
                fill(&mut kept);
                to.copy_from_slice(&kept[..to.len()]);
            }
        }
    }
}

/// How finished values are kept.
pub trait Store<T>: Copy + Sync {
    type Kept: Copy + Send;
    fn keep(self, value: T) -> Self::Kept;
}

/// As they are.
#[derive(Clone, Copy)]
pub struct AsReal;

impl<T: Real> Store<T> for AsReal {
    type Kept = T;

    #[inline(always)]
    fn keep(self, value: T) -> T {
        value
    }
}

/// As bytes, by a [`Quantization`].
#[derive(Clone, Copy)]
pub struct AsBytes<T> {
    steps: T,
    least: T,
    most: T,
    zero: i32,
}

impl<T: Real> AsBytes<T> {
    pub fn new(q: Quantization) -> Self {
        let [least, most] = q.range().map(T::of_i32);
        AsBytes { steps: T::ONE / T::of(q.scale.into()), least, most, zero: q.zero.into() }
    }
}

impl<T: Real> Store<T> for AsBytes<T> {
    type Kept = u8;

    /// NaN becomes the least.
    #[inline(always)]
    fn keep(self, value: T) -> u8 {
        let steps = value * self.steps;
        let steps = if steps > self.least { steps } else { self.least };
        let steps = if steps < self.most { steps } else { self.most };
        (steps.round_even() + self.zero) as u8
    }
}
