//! How the matrix products behind convolutions are cut: into tiles of one of four sizes, and their depth into splits.
//!
//! What to choose is known from a [`Tuning`](super::Tuning) measured on the card, or guessed by a
//! model of it. The model's constants are from data sheets, published micro-benchmarks and ptxas, not from our own timings.

use super::cards::Multiprocessor;
use crate::engine::toolkit::cuda::{Moments, Number, SideOutput, Target};
use serde::{Deserialize, Serialize};

/// What a product computes. Decides how its operands lie in shared memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pass {
    Forward,
    /// Also of transposed convolutions whose taps overlap.
    InputGradient,
    WeightGradient,
    /// A transposed convolution whose taps do not overlap.
    Transposed,
}

/// The matrix product that one launch computes, cut into tiles and its depth into splits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Product {
    pub pass: Pass,
    /// Rows and columns of the result, of each phase.
    pub rows: usize,
    pub columns: usize,
    pub depth: usize,
    /// Products of this kind in one launch.
    pub phases: usize,
    /// Elements of the result of all phases.
    pub count: usize,
}

/// Which of the kernels for a pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Variant {
    /// Tiles of 32x32.
    Small,
    /// 64x64.
    Medium,
    /// 128x64, for weights 64x128.
    Long,
    /// 128x128, on tensor cores only.
    Large,
}

// The tiles, and `SLICE`: made by build.rs from kernels/conv_gemm.cuh and the registers in kernels/README.md.
include!(concat!(env!("OUT_DIR"), "/tiles.rs"));

/// Sizes of a variant's tile.
#[derive(Clone, Copy, Debug)]
pub struct Tile {
    pub rows: usize,
    pub columns: usize,
    pub threads: usize,
    /// Slices of the depth in shared memory at once.
    stages: usize,
    /// Rows and columns that one warp multiplies on tensor cores.
    warp: [usize; 2],
    /// Rows and columns that one thread multiplies without.
    thread: [usize; 2],
    /// Most registers a thread takes in any pass: f32, tf32, 16-bit, bytes (ptxas, sm_90).
    registers: [usize; 4],
}

impl Variant {
    pub const ALL: [Variant; 4] = [Variant::Small, Variant::Medium, Variant::Long, Variant::Large];

    pub fn exists(self, number: Number) -> bool {
        self != Variant::Large || number != Number::F32
    }

    pub fn tile(self, pass: Pass) -> Tile {
        match (self, pass) {
            (Variant::Small, _) => SMALL,
            (Variant::Medium, _) => MEDIUM,
            (Variant::Long, Pass::WeightGradient) => WIDE,
            (Variant::Long, _) => TALL,
            (Variant::Large, _) => LARGE,
        }
    }
}

/// Most shared memory that a kernel has without being given it by its launch.
const FIXED_SHARED: usize = 48 << 10;

impl Tile {
    /// Bytes of shared memory a block takes.
    pub fn shared(&self, pass: Pass, number: Number) -> usize {
        let size = operand(number);
        // [row][depth], or [depth][row] with padding, unless rows are as short as a slice.
        let inner = |rows: usize| rows * SLICE;
        let padding = |rows: usize| match size {
            _ if rows * size <= SLICE => 0,
            4 => 32,
            _ => 16,
        };
        let outer = |rows: usize| SLICE / size * (rows * size + padding(rows));
        let stage = match pass {
            Pass::Forward => inner(self.rows) + inner(self.columns),
            Pass::InputGradient | Pass::Transposed => inner(self.rows) + outer(self.columns),
            Pass::WeightGradient => outer(self.rows) + outer(self.columns),
        };
        // As the kernels keep sums apart, so that no two of a warp's share a bank.
        let apart = if number == Number::Int8 && pass != Pass::Forward { 16 } else { 8 };
        let result = self.rows * (self.columns + apart) * size_of::<f32>() + self.rows.max(self.threads) * 4;
        result.max(self.stages * stage)
    }
}

/// How a product is to be cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Choice {
    pub variant: Variant,
    /// Parts of the depth, each summed by blocks of its own.
    pub splits: usize,
}

/// How a product is launched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tiling {
    pub variant: Variant,
    /// Parts of the depth, each summed by blocks of its own.
    pub splits: usize,
    /// Of a tile.
    pub rows: usize,
    pub threads: usize,
    /// Along rows and columns of the product.
    pub tiles: [usize; 2],
    pub phases: usize,
    pub count: usize,
    /// Bytes of shared memory to launch with.
    pub shared: usize,
}

impl Tiling {
    /// What the product leaves for the record behind it, which would otherwise read the result: sums that it has yet to add up,
    /// or else these moments, if it can have any.
    pub fn side_output(&self, moments: Option<Moments>) -> Option<SideOutput> {
        match self.splits {
            1 => moments.map(SideOutput::Moments),
            splits => Some(SideOutput::Parts { splits, count: self.count }),
        }
    }

    /// Bytes of the splits' partial sums.
    pub fn workspace(&self) -> usize {
        if self.splits > 1 { self.splits * self.count * size_of::<f32>() } else { 0 }
    }
}

/// Longest sum of one block: with more, rounding of f32 sums would show in the last of the five digits promised.
const LONGEST_SUM: usize = 8192;
/// Most splits worth trying.
const MOST_SPLITS: usize = 64;
/// Fewest slices worth a block of their own.
const FEWEST_SLICES: usize = 4;

impl Product {
    /// The tiling that `t` has for it: measured, or the model's.
    pub fn tiling(&self, t: &Target) -> Tiling {
        let known = t.choices.of(t.number, self).filter(|c| self.allows(t.number, *c));
        let Choice { variant, splits } = known.unwrap_or_else(|| self.model(t));
        let tile = variant.tile(self.pass);
        let shared = tile.shared(self.pass, t.number);
        Tiling {
            variant,
            splits,
            rows: tile.rows,
            threads: tile.threads,
            tiles: self.tiles(&tile),
            phases: self.phases,
            count: self.count,
            shared: if shared > FIXED_SHARED { shared } else { 0 },
        }
    }

    /// What can be launched and keeps sums short enough.
    pub fn allows(&self, number: Number, c: Choice) -> bool {
        c.variant.exists(number) && self.splits(number).contains(&c.splits)
    }

    /// What can be launched, the model's favourite first, each with the cycles that the model expects.
    pub fn candidates(&self, t: &Target) -> Vec<(Choice, f64)> {
        let variants = Variant::ALL.into_iter().filter(|v| v.exists(t.number));
        let choices = variants.flat_map(|variant| self.splits(t.number).map(move |splits| Choice { variant, splits }));
        let mut all: Vec<(Choice, f64)> = choices.map(|c| (c, self.cycles(t, c))).collect();
        all.sort_by(|a, b| a.1.total_cmp(&b.1));
        all
    }

    fn model(&self, t: &Target) -> Choice {
        let first = self.candidates(t).first().map(|(choice, _)| *choice);
        first.unwrap_or(Choice { variant: Variant::Small, splits: *self.splits(t.number).start() })
    }

    fn slices(&self, number: Number) -> usize {
        self.depth.div_ceil(SLICE / operand(number)).max(1)
    }

    fn splits(&self, number: Number) -> std::ops::RangeInclusive<usize> {
        // Sums of bytes are exact however long.
        if number == Number::Int8 {
            return 1..=1;
        }
        let slices = self.slices(number);
        let fewest = self.depth.div_ceil(LONGEST_SUM).clamp(1, slices);
        fewest..=MOST_SPLITS.min(slices / FEWEST_SLICES).max(fewest)
    }

    fn tiles(&self, tile: &Tile) -> [usize; 2] {
        [self.rows.div_ceil(tile.rows).max(1), self.columns.div_ceil(tile.columns).max(1)]
    }

    /// Clock cycles of the product and the addition of its splits.
    fn cycles(&self, t: &Target, c: Choice) -> f64 {
        let (card, tile) = (Multiprocessor::of(t.chip), c.variant.tile(self.pass));
        let multiprocessors = t.multiprocessors.max(1) as usize;
        let blocks = self.tiles(&tile).iter().product::<usize>() * self.phases * c.splits;
        let resident = card.resident(&tile, self.pass, t.number);
        let slices = self.slices(t.number).div_ceil(c.splits) as f64;
        let (work, alone) = card.slice(&tile, t.number);
        // The multiprocessor with most blocks: as many at once as fit, then what is left.
        let each = blocks.div_ceil(multiprocessors);
        let wave = |blocks: usize| if blocks > 0 { slices * alone.max(blocks as f64 * work) + ENDS } else { 0.0 };
        let product = (each / resident) as f64 * wave(resident) + wave(each % resident);
        let partial_bytes = (2 * size_of::<f32>() * c.splits * self.count) as f64;
        let sum = if c.splits > 1 { LAUNCH + partial_bytes / (card.l2 * multiprocessors as f64) } else { 0.0 };
        product + sum
    }
}

/// Cycles of one more launch in a graph, which ends what ran before: about 3.5 us.
const LAUNCH: f64 = 6000.0;
/// Cycles in which a block sets up its loaders, waits for its first slice and stores its result.
const ENDS: f64 = 1500.0;
/// Cycles until what was asked of global memory arrives.
const LATENCY: f64 = 700.0;
/// Cycles of a slice that one block alone cannot fill with products: the barrier, and the way from shared memory.
const GAP: f64 = 120.0;

impl Multiprocessor {
    /// Blocks that share a multiprocessor.
    fn resident(&self, tile: &Tile, pass: Pass, number: Number) -> usize {
        const REGISTERS: usize = 64 << 10;
        /// Shared memory that every block takes besides its own.
        const RESERVED: usize = 1 << 10;
        let registers = tile.registers[kind(number)].next_multiple_of(8) * tile.threads;
        let by_shared = self.shared / (tile.shared(pass, number) + RESERVED);
        (REGISTERS / registers).min(by_shared).min(self.threads / tile.threads).clamp(1, 16)
    }

    /// Cycles of a slice's products of one tile: its share of a full multiprocessor, and how long they take at least.
    fn slice(&self, tile: &Tile, number: Number) -> (f64, f64) {
        let area = |[rows, columns]: [usize; 2]| (rows * columns) as f64;
        let side = |[rows, columns]: [usize; 2]| (rows + columns) as f64;
        let whole = [tile.rows, tile.columns];
        let depth = (SLICE / operand(number)) as f64;
        let slice = SLICE as f64;
        // Bytes that shared memory moves per cycle.
        const SHARED: f64 = 128.0;
        let arithmetic = area(whole) * depth / self.products[kind(number)];
        let (arithmetic, shared) = if number == Number::F32 {
            // Each load takes the slots of two FFMA, and brings four numbers.
            (arithmetic * (1.0 + side(tile.thread) / 2.0 / area(tile.thread)), 0.0)
        } else {
            let warps = (tile.threads / 32) as f64;
            (arithmetic, (side(tile.warp) * warps + side(whole)) * slice / SHARED)
        };
        let work = arithmetic.max(shared).max(side(whole) * slice / self.l2);
        (work, (work + GAP).max(LATENCY / (tile.stages - 1) as f64))
    }
}

/// Bytes of what is multiplied.
fn operand(number: Number) -> usize {
    if number == Number::Int8 { 1 } else { number.storage().size() }
}

fn kind(number: Number) -> usize {
    match number {
        Number::F32 => 0,
        Number::Tf32 => 1,
        Number::Bf16 | Number::F16 => 2,
        Number::Int8 => 3,
    }
}

#[cfg(test)]
mod tests {
    use super::super::cards::Chip;
    use super::*;
    use crate::engine::toolkit::cuda::Choices;

    /// What a tile is said to take of shared memory is what ptxas found that its kernel takes.
    #[test]
    fn shared_memory_is_that_of_the_kernels() {
        let table = include_str!("../../../../kernels/README.md");
        let passes = [
            (Pass::Forward, "conv2d_fwd"),
            (Pass::InputGradient, "conv2d_bwd_input"),
            (Pass::WeightGradient, "conv2d_bwd_weight"),
            (Pass::Transposed, "conv_transpose2d_fwd"),
        ];
        let variants =
            [(Variant::Small, "_small"), (Variant::Medium, "_medium"), (Variant::Long, ""), (Variant::Large, "_large")];
        let shared = |entry: &str| {
            let row = table.lines().find(|l| l.starts_with(entry)).unwrap_or_else(|| panic!("no {entry}"));
            row.split('|').nth(4).unwrap().trim().split(',').next().unwrap()
        };
        let mut compared = 0;
        for (pass, name) in passes {
            for (variant, suffix) in variants {
                for number in [Number::F32, Number::Tf32, Number::Bf16, Number::F16] {
                    if !variant.exists(number) {
                        continue;
                    }
                    let entry = format!("| `{name}{suffix}_{number}` |");
                    assert_eq!(variant.tile(pass).shared(pass, number).to_string(), shared(&entry), "{entry}");
                    compared += 1;
                }
            }
        }
        for (pass, name) in [(Pass::Forward, "conv2d_int8_fwd"), (Pass::InputGradient, "conv_transpose2d_int8_fwd")] {
            for (variant, suffix) in variants {
                for number in ["u8", "s8"] {
                    let entry = format!("| `{name}{suffix}_{number}` |");
                    assert_eq!(variant.tile(pass).shared(pass, Number::Int8).to_string(), shared(&entry), "{entry}");
                    compared += 1;
                }
            }
        }
        assert_eq!(compared, 76);
    }

    fn product(rows: usize, columns: usize, depth: usize) -> Product {
        Product { pass: Pass::Forward, rows, columns, depth, phases: 1, count: rows * columns }
    }

    fn target(number: Number, capability: (i32, i32), multiprocessors: u32) -> Target {
        Target { number, multiprocessors, chip: Chip { capability, halved: false }, choices: Choices::Model }
    }

    const NUMBERS: [Number; 4] = [Number::F32, Number::Tf32, Number::Bf16, Number::F16];

    #[test]
    fn the_model_takes_large_tiles_for_large_products_and_splits_deep_ones() {
        for number in NUMBERS {
            for (capability, multiprocessors) in [((8, 0), 108), ((8, 9), 142), ((9, 0), 132)] {
                let t = target(number, capability, multiprocessors);
                let large = product(1 << 17, 256, 512).tiling(&t);
                // One block of the largest fills the shared memory of sm_89.
                let largest = number != Number::F32 && capability != (8, 9);
                let largest = if largest { Variant::Large } else { Variant::Long };
                assert_eq!((large.variant, large.splits), (largest, 1), "{t:?}");
                // A single tile of any size: without splits one multiprocessor works and all others wait.
                let deep = product(16, 32, 8192).tiling(&t);
                assert!(deep.splits >= 8, "{t:?}: {deep:?}");
                // Nothing to split, and one more launch to lose.
                assert_eq!(product(16, 32, 64).tiling(&t).splits, 1, "{t:?}");
            }
        }
    }

    #[test]
    fn no_block_sums_more_than_keeps_five_digits() {
        for number in NUMBERS {
            let t = target(number, (9, 0), 132);
            let deep = product(1 << 16, 512, 100_000);
            let forced = |splits| {
                let choices = Choices::Forced(Choice { variant: Variant::Medium, splits });
                deep.tiling(&Target { choices, ..t }).splits
            };
            assert!(deep.tiling(&t).splits >= 13 && forced(1) >= 13, "{number}");
            assert_eq!(forced(14), 14, "{number}");
        }
    }

    #[test]
    fn all_candidates_can_be_launched_and_the_first_is_chosen() {
        for number in NUMBERS {
            for capability in [(8, 0), (8, 6), (9, 0), (10, 0), (12, 0)] {
                let t = target(number, capability, 100);
                for p in [product(1, 1, 1), product(100, 70, 4608), product(1 << 20, 3, 27)] {
                    let candidates = p.candidates(&t);
                    assert!(candidates.iter().all(|(c, cycles)| p.allows(number, *c) && *cycles > 0.0));
                    assert!(candidates.is_sorted_by(|a, b| a.1 <= b.1));
                    let tiling = p.tiling(&t);
                    assert_eq!(candidates[0].0, Choice { variant: tiling.variant, splits: tiling.splits });
                }
            }
        }
    }
}
