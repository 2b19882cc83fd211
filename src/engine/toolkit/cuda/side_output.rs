//! What a record leaves for the one right behind it, beside its results: a convolution for an instance norm, so that the norm
//! reads its input once.
//!
//! The tape says nothing of it: a convolution and a norm are records of their own, and the convolution's result, which the
//! backward pass reads, is written in any case. One op offers, the next takes it or not, and the plan finds the memory.

use super::tiling::Tiling;

/// What a record leaves for the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SideOutput {
    /// The sums that the splits of the depth came to, `count` numbers each. The norm adds them up and also writes the
    /// convolution's result: one launch and one reading less than with a launch that only adds.
    Parts { splits: usize, count: usize },
    /// Mean and sum of squared deviations of every channel of groups of positions: the norm needs no launch for those.
    Moments(Moments),
}

/// Groups of positions that a convolution's tiles fall into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moments {
    pub n: usize,
    pub c: usize,
    /// Groups of one image.
    pub groups: usize,
    /// Positions of a group.
    pub rows: usize,
    /// Every so many positions the last group is cut short: rows of the product that belong to one image.
    pub map: usize,
}

impl Moments {
    /// Of a product with `map` rows an image and the channels `c` of `taps` pixels as columns.
    pub fn new(tiling: &Tiling, [n, map, taps, c]: [u32; 4]) -> Self {
        let [n, map, taps, c] = [n, map, taps, c].map(|v| v as usize);
        let rows = tiling.rows;
        Moments { n, c, groups: taps * map.div_ceil(rows), rows, map }
    }

    /// Tiles of the product that hold no rows of two images.
    pub fn tiles(&self) -> usize {
        self.n * self.map.div_ceil(self.rows)
    }
}

impl SideOutput {
    pub fn bytes(&self) -> usize {
        let numbers = match self {
            SideOutput::Parts { splits, count } => splits * count,
            SideOutput::Moments(m) => 2 * m.n * m.groups * m.c,
        };
        numbers * size_of::<f32>()
    }
}
