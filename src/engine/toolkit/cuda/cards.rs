//! What cards can do, from data sheets and published measurements: the one place for such numbers.

use super::Number;

/// Limits of a card, from its data sheet or from what its driver says. Tensor cores count dense products, sums in f32.
#[derive(Clone, Debug, PartialEq)]
pub struct Card {
    pub name: String,
    pub multiprocessors: u32,
    /// Compute capability.
    pub capability: (i32, i32),
    /// Multiplications and additions per second in f32, tf32 and 16-bit numbers.
    pub flops: [f64; 3],
    /// Bytes per second of its memory.
    pub bandwidth: f64,
}

/// Name, multiprocessors, compute capability, clock in GHz under load, operations of a multiprocessor in a clock, memory in GB/s.
type Sheet = (&'static str, u32, (i32, i32), f64, [u32; 3], f64);
const SHEETS: [Sheet; 7] = [
    ("a100", 108, (8, 0), 1.41, [128, 1024, 2048], 2039.0),
    ("h100", 132, (9, 0), 1.83, [256, 2048, 4096], 3350.0),
    ("h200", 132, (9, 0), 1.83, [256, 2048, 4096], 4800.0),
    ("l4", 58, (8, 9), 2.04, [256, 512, 1024], 300.0),
    ("l40s", 142, (8, 9), 2.52, [256, 512, 1024], 864.0),
    ("rtx3090", 82, (8, 6), 1.70, [256, 256, 512], 936.0),
    ("rtx4090", 128, (8, 9), 2.52, [256, 256, 512], 1008.0),
];

impl Card {
    /// Names that [`Card::named`] knows.
    pub fn names() -> Vec<&'static str> {
        SHEETS.iter().map(|s| s.0).collect()
    }

    /// By its data sheet.
    pub fn named(name: &str) -> Option<Card> {
        let (name, multiprocessors, capability, ghz, each, bandwidth) = SHEETS.iter().find(|s| s.0 == name)?;
        let flops = each.map(|n| f64::from(n) * f64::from(*multiprocessors) * ghz * 1e9);
        Some(Card {
            name: (*name).into(),
            multiprocessors: *multiprocessors,
            capability: *capability,
            flops,
            bandwidth: bandwidth * 1e9,
        })
    }

    /// Of a card by its compute capability, what its driver says, and the clock in hertz.
    pub fn of(name: &str, multiprocessors: u32, capability: (i32, i32), clock: f64, bandwidth: f64) -> Card {
        let each = match capability {
            (8, 0) => [128, 1024, 2048],
            (8, 9) => [256, 512, 1024],
            (8, _) => [256, 256, 512],
            _ => [256, 2048, 4096],
        };
        let flops = each.map(|n| f64::from(n) * f64::from(multiprocessors) * clock);
        Card { name: name.into(), multiprocessors, capability, flops, bandwidth }
    }

    /// Least seconds for so many multiply-adds on numbers of this kind and bytes moved once.
    pub fn least_seconds(&self, number: Number, multiply_adds: u64, bytes: u64) -> f64 {
        let [f32, tf32, half] = self.flops;
        let flops = match number {
            Number::F32 => f32,
            Number::Tf32 => tf32,
            Number::Bf16 | Number::F16 => half,
        };
        (2.0 * multiply_adds as f64 / flops).max(bytes as f64 / self.bandwidth)
    }
}

/// What a multiprocessor does per cycle, and what it holds.
pub struct Multiprocessor {
    /// Products of f32, tf32, 16-bit numbers per cycle.
    pub products: [f64; 3],
    /// Bytes from L2 per cycle, while all multiprocessors read.
    pub l2: f64,
    pub shared: usize,
    pub threads: usize,
}

impl Multiprocessor {
    /// Products and memory are those of NVIDIA's architecture papers; sm_90 reaches 5/8 of its tensor cores' rate with
    /// `mma.sync`; the L2 cache's bytes are published measurements.
    pub fn of(capability: (i32, i32)) -> Self {
        match capability {
            (8, 0) => Multiprocessor { products: [64.0, 512.0, 1024.0], l2: 40.0, shared: 164 << 10, threads: 2048 },
            (8, _) => Multiprocessor { products: [128.0, 256.0, 512.0], l2: 32.0, shared: 100 << 10, threads: 1536 },
            (9, _) => Multiprocessor { products: [128.0, 640.0, 1280.0], l2: 28.0, shared: 228 << 10, threads: 2048 },
            // Taken for one of these until it is known better: the next card for data centres, then any other.
            (10, _) => Multiprocessor { products: [128.0, 640.0, 1280.0], l2: 28.0, shared: 228 << 10, threads: 2048 },
            _ => Multiprocessor { products: [128.0, 256.0, 512.0], l2: 32.0, shared: 100 << 10, threads: 1536 },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_h200_by_its_data_sheet() {
        let card = Card::named("h200").unwrap();
        // 67, 494 and 989 TFLOP/s dense in NVIDIA's data sheet.
        for (ours, sheet) in card.flops.iter().zip([67e12, 494e12, 989e12]) {
            assert!((ours / sheet - 1.0).abs() < 0.1, "{ours} {sheet}");
        }
        // 989 GFLOP of products take a millisecond, 4.8 GB of memory take one, too: the longer counts.
        let ms = |macs, bytes| card.least_seconds(Number::Bf16, macs, bytes) * 1e3;
        assert!((ms(495_000_000_000, 0) - 1.0).abs() < 0.01 && (ms(0, 4_800_000_000) - 1.0).abs() < 0.01);
        assert!((ms(495_000_000_000, 9_600_000_000) - 2.0).abs() < 0.01);
    }
}
