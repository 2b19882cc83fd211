//! A made-up dataset for the demo and for tests: woven fabric with scratches, holes and stains whose masks are known.
//!
//! Every picture differs in thread period, phase, angle, colour, light and noise, so that a detector has to learn what
//! is common. Defects are blended with the fabric, so that they are visible but not saturated.

use std::f32::consts::{PI, TAU};
use std::fs;
use std::path::Path;

use image::{ExtendedColorType, ImageEncoder, codecs::png::PngEncoder};
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};

use crate::error::{Error, Result};
use crate::invalid;

/// How many pictures of what size.
#[derive(Clone, Copy, Debug)]
pub struct Spec {
    /// Side in pixels; 64 or more keeps threads and defects apart.
    pub size: usize,
    pub train_good: usize,
    /// Anomalous training pictures, the defect types in turn. None makes no `train/anomalous`.
    pub train_anomalous: usize,
    pub test_good: usize,
    /// Test pictures of each of the three defect types.
    pub test_per_type: usize,
    pub seed: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Defect {
    Scratch,
    Hole,
    Stain,
}

impl Defect {
    pub const ALL: [Defect; 3] = [Defect::Scratch, Defect::Hole, Defect::Stain];

    /// The name of its folder.
    pub fn name(self) -> &'static str {
        match self {
            Defect::Scratch => "scratch",
            Defect::Hole => "hole",
            Defect::Stain => "stain",
        }
    }
}

/// Writes the dataset into `dir` in the layout of [`super::folder`]. A `dir` that already holds one is an error, since
/// old pictures would mix with new ones.
pub fn generate(dir: &Path, spec: &Spec) -> Result<()> {
    for taken in ["train", "test", "ground_truth"].map(|f| dir.join(f)) {
        if taken.exists() {
            invalid!("{}: already there, expected a folder to write a new dataset into", taken.display());
        }
    }
    let mut stream = 0;
    let mut write = |folder: &str, count: usize, defect: &dyn Fn(usize) -> Option<Defect>, masks: Option<&str>| {
        for i in 0..count {
            let (rgb, mask) = picture(spec.size, defect(i), spec.seed, stream);
            stream += 1;
            write_png(&dir.join(folder), &format!("{i:03}.png"), spec.size, &rgb, ExtendedColorType::Rgb8)?;
            if let Some(masks) = masks {
                write_png(&dir.join(masks), &format!("{i:03}_mask.png"), spec.size, &mask, ExtendedColorType::L8)?;
            }
        }
        Ok::<(), Error>(())
    };
    write("train/good", spec.train_good, &|_| None, None)?;
    write("train/anomalous", spec.train_anomalous, &|i| Some(Defect::ALL[i % 3]), None)?;
    write("test/good", spec.test_good, &|_| None, None)?;
    for defect in Defect::ALL {
        let masks = format!("ground_truth/{}", defect.name());
        write(&format!("test/{}", defect.name()), spec.test_per_type, &|_| Some(defect), Some(&masks))?;
    }
    Ok(())
}

fn write_png(folder: &Path, name: &str, size: usize, pixels: &[u8], color: ExtendedColorType) -> Result<()> {
    fs::create_dir_all(folder).map_err(|e| Error::io(folder, e))?;
    let path = folder.join(name);
    let mut bytes = Vec::new();
    PngEncoder::new(&mut bytes)
        .write_image(pixels, size as u32, size as u32, color)
        .map_err(|e| Error::Invalid(format!("{}: {e}", path.display())))?;
    fs::write(&path, bytes).map_err(|e| Error::io(path, e))
}

/// One picture (`size * size * 3` bytes) and its mask (`size * size`, 0 or 255). `stream` tells pictures of a seed apart.
pub fn picture(size: usize, defect: Option<Defect>, seed: u64, stream: u64) -> (Vec<u8>, Vec<u8>) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(stream);
    let mut fabric = Fabric::weave(size, &mut rng);
    let mut mask = vec![0; size * size];
    match defect {
        Some(Defect::Scratch) => fabric.scratch(&mut mask, &mut rng),
        Some(Defect::Hole) => fabric.hole(&mut mask, &mut rng),
        Some(Defect::Stain) => fabric.stain(&mut mask, &mut rng),
        None => {}
    }
    let noise = rng.random_range(2.0..3.0f32);
    let mut grain = || -> f32 { StandardNormal.sample(&mut rng) };
    let rgb =
        fabric.rgb.iter().flat_map(|p| p.map(|v| (v + noise * grain()).round().clamp(0.0, 255.0) as u8)).collect();
    (rgb, mask)
}

/// A picture in the making, 0 to 255 per channel.
struct Fabric {
    size: usize,
    rgb: Vec<[f32; 3]>,
}

impl Fabric {
    /// A plain weave: warp and weft pass over each other in turn.
    fn weave(size: usize, rng: &mut impl Rng) -> Self {
        let unit = size as f32 / 128.0;
        let period = [rng.random_range(5.9..6.3) * unit, rng.random_range(5.9..6.3) * unit];
        let phase = [rng.random_range(0.0..8.0), rng.random_range(0.0..8.0)];
        let (sin, cos) = rng.random_range(-0.03..0.03f32).sin_cos();
        let light = rng.random_range(0.94..1.06f32);
        let slope = [rng.random_range(-0.05..0.05f32), rng.random_range(-0.05..0.05f32)];
        let warp = [168.0, 156.0, 132.0].map(|v: f32| v * light + rng.random_range(-2.0..2.0f32));
        let weft = [118.0, 128.0, 142.0].map(|v: f32| v * light + rng.random_range(-2.0..2.0f32));
        // No two threads are equally bright.
        let threads = [(); 2].map(|()| (0..256).map(|_| rng.random_range(0.97..1.03)).collect::<Vec<f32>>());
        let mut rgb = Vec::with_capacity(size * size);
        for i in 0..size * size {
            let (x, y) = ((i % size) as f32 / size as f32 - 0.5, (i / size) as f32 / size as f32 - 0.5);
            let across = [(x * cos - y * sin) * size as f32, (x * sin + y * cos) * size as f32];
            let at = [0, 1].map(|a| across[a] / period[a] + phase[a] + 100.0);
            let cell = at.map(|a| a as usize);
            // Position across the thread and along its bow, both -1 to 1.
            let [u, v] = at.map(|a| 2.0 * a.fract() - 1.0);
            let (color, thread, over, along) = if (cell[0] + cell[1]) % 2 == 0 {
                (warp, threads[0][cell[0] % 256], u, v)
            } else {
                (weft, threads[1][cell[1] % 256], v, u)
            };
            let shade = 0.62 + 0.38 * (over * PI / 2.0).cos().max(0.0).sqrt() * (1.0 - 0.3 * along * along);
            let light = thread * shade * (1.0 + slope[0] * x + slope[1] * y);
            rgb.push(color.map(|c| c * light));
        }
        Self { size, rgb }
    }

    /// Calls `change(pixel, strength)` where `strength(x, y)` is above 0, and marks those above one half in the mask.
    fn apply(
        &mut self,
        mask: &mut [u8],
        strength: impl Fn(f32, f32) -> f32,
        change: impl Fn([f32; 3], f32) -> [f32; 3],
    ) {
        for (i, (pixel, mask)) in self.rgb.iter_mut().zip(mask).enumerate() {
            let s = strength((i % self.size) as f32, (i / self.size) as f32).clamp(0.0, 1.0);
            if s > 0.0 {
                *pixel = change(*pixel, s);
            }
            if s > 0.5 {
                *mask = 255;
            }
        }
    }

    /// A point at least `margin` (a share of the side) inside.
    fn place(&self, margin: f32, rng: &mut impl Rng) -> (f32, f32) {
        let mut along = || rng.random_range(margin..1.0 - margin) * self.size as f32;
        (along(), along())
    }

    /// A thin bowed line where the surface is rubbed lighter or darker.
    fn scratch(&mut self, mask: &mut [u8], rng: &mut impl Rng) {
        let size = self.size as f32;
        let (x0, y0) = self.place(0.3, rng);
        let (sin, cos) = rng.random_range(0.0..PI).sin_cos();
        let half = rng.random_range(0.15..0.3) * size;
        let bow = rng.random_range(-0.15..0.15f32) * half;
        let width = rng.random_range(0.009..0.014) * size;
        let target = if rng.random_bool(0.5) { [215.0, 212.0, 205.0] } else { [52.0, 50.0, 52.0] };
        let strength = |x: f32, y: f32| {
            let (dx, dy) = (x - x0, y - y0);
            let t = (dx * cos + dy * sin) / half;
            let off = (dy * cos - dx * sin - bow * (1.0 - t * t)).abs();
            // Soft over one pixel at the sides, tapering towards the ends.
            if t.abs() < 1.0 { width * (1.0 - t.powi(4)) + 0.5 - off } else { 0.0 }
        };
        self.apply(mask, strength, |p, s| mix(p, target, 0.65 * s));
    }

    /// Threads missing in a ragged patch, the dark ground showing.
    fn hole(&mut self, mask: &mut [u8], rng: &mut impl Rng) {
        let radius = rng.random_range(0.045..0.085) * self.size as f32;
        let blob = Blob::new(self.place(0.15, rng), radius, 0.12, rng);
        self.apply(
            mask,
            |x, y| (blob.inside(x, y) * radius + 0.5).min(1.0),
            |p, s| mix(p, [48.0, 44.0, 42.0], 0.7 * s),
        );
    }

    /// A spot soaked with something: darker and browner, the weave still visible, soft edges.
    fn stain(&mut self, mask: &mut [u8], rng: &mut impl Rng) {
        let radius = rng.random_range(0.08..0.15) * self.size as f32;
        let blob = Blob::new(self.place(0.2, rng), radius, 0.2, rng);
        let depth = rng.random_range(0.8..1.1f32);
        let absorbed = [0.28, 0.38, 0.52].map(|a| a * depth);
        let soak = |p: [f32; 3], s: f32| std::array::from_fn(|c| p[c] * (1.0 - absorbed[c] * s));
        self.apply(mask, |x, y| blob.inside(x, y) * 4.0 + 0.5, soak);
    }
}

/// A round shape whose radius varies with the angle.
struct Blob {
    center: (f32, f32),
    radius: f32,
    /// Share of the radius and phase of the waves with 2, 3, 4 and 5 periods.
    waves: [(f32, f32); 4],
}

impl Blob {
    fn new(center: (f32, f32), radius: f32, ragged: f32, rng: &mut impl Rng) -> Self {
        Self { center, radius, waves: [(); 4].map(|()| (rng.random_range(0.0..ragged), rng.random_range(0.0..TAU))) }
    }

    /// 1 at the centre, 0 on the edge, negative outside.
    fn inside(&self, x: f32, y: f32) -> f32 {
        let (dx, dy) = (x - self.center.0, y - self.center.1);
        let angle = dy.atan2(dx);
        let wave = |(n, (share, phase)): (usize, &(f32, f32))| share * ((n + 2) as f32 * angle + phase).sin();
        1.0 - dx.hypot(dy) / (self.radius * (1.0 + self.waves.iter().enumerate().map(wave).sum::<f32>()))
    }
}

fn mix(from: [f32; 3], to: [f32; 3], share: f32) -> [f32; 3] {
    std::array::from_fn(|c| from[c] + share * (to[c] - from[c]))
}
