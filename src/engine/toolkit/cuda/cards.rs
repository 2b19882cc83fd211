//! What cards can do, from data sheets and published measurements: the one place for such numbers.

use super::Number;

/// What decides what a multiprocessor does in a clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chip {
    /// Compute capability.
    pub capability: (i32, i32),
    /// Whether its tensor cores sum in f32 at half their rate, as those of all GeForce cards here and of the A10G do.
    pub halved: bool,
}

impl Chip {
    /// By compute capability and the name that the driver gives the card, as `NVIDIA GeForce RTX 4090`.
    pub fn of(capability: (i32, i32), name: &str) -> Self {
        Chip { capability, halved: name.contains("GeForce") || name.contains("A10G") }
    }

    /// Operations of a multiprocessor in a clock, an addition and a multiplication being two: in f32, and of tensor cores, dense,
    /// on tf32 and 16-bit numbers, summed in f32, and on bytes, summed in 32 bits. From NVIDIA's architecture papers.
    fn operations(self) -> [f64; 4] {
        let [f32, tf32, half] = match self.capability {
            (8, 0) => [128.0, 1024.0, 2048.0],
            (8, _) => [256.0, 512.0, 1024.0],
            // Those after these, for data centres; and any other, until it is known better.
            (9 | 10, _) => [256.0, 2048.0, 4096.0],
            _ => [256.0, 512.0, 1024.0],
        };
        let bytes = 2.0 * half;
        if self.halved { [f32, tf32 / 2.0, half / 2.0, bytes] } else { [f32, tf32, half, bytes] }
    }
}

/// Limits of a card, from its data sheet or from what its driver says. Tensor cores count dense products, sums in f32.
#[derive(Clone, Debug, PartialEq)]
pub struct Card {
    pub name: String,
    pub multiprocessors: u32,
    pub chip: Chip,
    /// Multiplications and additions per second in f32, tf32, 16-bit numbers and bytes.
    pub flops: [f64; 4],
    /// Bytes per second of its memory.
    pub bandwidth: f64,
}

/// Name, multiprocessors, compute capability, whether it is a GeForce, clock in GHz under load, memory in GB/s.
type Sheet = (&'static str, u32, (i32, i32), bool, f64, f64);
const SHEETS: [Sheet; 9] = [
    ("a100", 108, (8, 0), false, 1.41, 2039.0),
    ("a40", 84, (8, 6), false, 1.74, 696.0),
    ("h100", 132, (9, 0), false, 1.83, 3350.0),
    ("h200", 132, (9, 0), false, 1.83, 4800.0),
    ("l4", 58, (8, 9), false, 2.04, 300.0),
    ("l40s", 142, (8, 9), false, 2.52, 864.0),
    ("rtx3090", 82, (8, 6), true, 1.70, 936.0),
    ("rtx4090", 128, (8, 9), true, 2.52, 1008.0),
    ("rtx5090", 170, (12, 0), true, 2.41, 1792.0),
];

impl Card {
    /// Names that [`Card::named`] knows.
    pub fn names() -> Vec<&'static str> {
        SHEETS.iter().map(|s| s.0).collect()
    }

    /// By its data sheet.
    pub fn named(name: &str) -> Option<Card> {
        let (name, multiprocessors, capability, halved, ghz, bandwidth) = *SHEETS.iter().find(|s| s.0 == name)?;
        Some(Card::of(name, multiprocessors, Chip { capability, halved }, ghz * 1e9, bandwidth * 1e9))
    }

    /// Of a card by what its driver says, with the clock in hertz.
    pub fn of(name: &str, multiprocessors: u32, chip: Chip, clock: f64, bandwidth: f64) -> Card {
        let flops = chip.operations().map(|n| n * f64::from(multiprocessors) * clock);
        Card { name: name.into(), multiprocessors, chip, flops, bandwidth }
    }

    /// Least seconds for so many multiply-adds on numbers of this kind and bytes moved once.
    pub fn least_seconds(&self, number: Number, multiply_adds: u64, bytes: u64) -> f64 {
        let [f32, tf32, half, int8] = self.flops;
        let flops = match number {
            Number::F32 => f32,
            Number::Tf32 => tf32,
            Number::Bf16 | Number::F16 => half,
            Number::Int8 => int8,
        };
        (2.0 * multiply_adds as f64 / flops).max(bytes as f64 / self.bandwidth)
    }
}

/// What a multiprocessor does per cycle, and what it holds.
pub struct Multiprocessor {
    /// Products of f32, tf32, 16-bit numbers, bytes per cycle.
    pub products: [f64; 4],
    /// Bytes from L2 per cycle, while all multiprocessors read.
    pub l2: f64,
    pub shared: usize,
    pub threads: usize,
}

impl Multiprocessor {
    /// Memory is that of NVIDIA's architecture papers; sm_90 and what follows it reach 5/8 of their tensor cores' rate with
    /// `mma.sync`; the L2 cache's bytes are published measurements.
    pub fn of(chip: Chip) -> Self {
        let [f32, tf32, half, bytes] = chip.operations().map(|n| n / 2.0);
        let (reached, l2, shared, threads) = match chip.capability {
            (8, 0) => (1.0, 40.0, 164 << 10, 2048),
            (9 | 10, _) => (0.625, 28.0, 228 << 10, 2048),
            _ => (1.0, 32.0, 100 << 10, 1536),
        };
        Multiprocessor { products: [f32, tf32 * reached, half * reached, bytes * reached], l2, shared, threads }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// TFLOP/s of f32, and of tensor cores on tf32 and 16-bit numbers, dense and summed in f32, and on bytes, in NVIDIA's data
    /// sheets and architecture papers (GA102, AD102, GB202).
    #[test]
    fn cards_by_their_data_sheets() {
        for (name, sheet) in [
            ("a100", [19.5, 156.0, 312.0, 624.0]),
            ("a40", [37.4, 74.8, 149.7, 299.3]),
            ("h200", [67.0, 494.0, 989.0, 1979.0]),
            ("l4", [30.3, 60.0, 121.0, 242.0]),
            ("l40s", [91.6, 183.0, 362.0, 733.0]),
            ("rtx3090", [35.6, 35.6, 71.0, 284.0]),
            ("rtx4090", [82.6, 82.6, 165.2, 660.6]),
            ("rtx5090", [104.8, 104.8, 209.5, 838.0]),
        ] {
            for (ours, sheet) in Card::named(name).unwrap().flops.iter().zip(sheet) {
                assert!((ours / (sheet * 1e12) - 1.0).abs() < 0.1, "{name}: {ours} {sheet}");
            }
        }
    }

    #[test]
    fn what_takes_longer_counts() {
        let card = Card::named("h200").unwrap();
        // 989 GFLOP of products take a millisecond, 4.8 GB of memory take one, too: the longer counts.
        let ms = |macs, bytes| card.least_seconds(Number::Bf16, macs, bytes) * 1e3;
        assert!((ms(495_000_000_000, 0) - 1.0).abs() < 0.01 && (ms(0, 4_800_000_000) - 1.0).abs() < 0.01);
        assert!((ms(495_000_000_000, 9_600_000_000) - 2.0).abs() < 0.01);
    }
}
