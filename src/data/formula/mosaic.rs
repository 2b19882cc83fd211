//! Several classes in one picture, with the class of every cell, for objectives that look at places and not at pictures.

use rand::RngExt;
use rand::seq::index;

use super::augment::View;
use super::canvas::{Canvas, Frame};
use super::maths::turn;
use super::noise::Noise;
use super::random::{Stream, stream};
use super::{Formula, Scratch};

/// How much of each pixel every region has: `regions` times as many numbers as pixels, 1 in all at each pixel.
#[derive(Default)]
pub struct Outlines {
    shares: Vec<f32>,
}

/// The pixels of a region: left, top, width, height.
struct Window {
    left: usize,
    top: usize,
    width: usize,
    height: usize,
}

/// Which class covers most of each cell of so many pixels along a side, row by row.
pub struct Cells<'a> {
    pub side: usize,
    pub labels: &'a mut [u32],
}

impl Formula {
    /// Cells along a side of a mosaic; the last one is cut where the side is no multiple of `cell` pixels.
    pub fn cells(&self, cell: usize) -> usize {
        self.size.div_ceil(cell)
    }

    /// Draws two to five regions with soft random outlines, each of a class of its own, into `out` (`size * size` RGB pixels), and
    /// tells for each cell of `cell` x `cell` pixels, row by row, which class covers most of it, for each of `labels`.
    pub fn mosaic(&self, instance: u64, out: &mut [u8], labels: &mut [Cells], scratch: &mut Scratch) {
        assert_eq!(out.len(), self.size * self.size * 3, "bytes of a picture of {0} x {0} pixels", self.size);
        let mut rng = stream(self.seed, "mosaic", instance, 0);
        let view = View::draw(&mut rng).unhidden();
        self.compose(&mut rng, labels, scratch, Self::fill);
        view.finish(&mut scratch.canvas, &mut scratch.spare, out);
    }

    /// Draws a class into the window of `part` that a region needs.
    fn fill(&self, class: usize, window: &Window, rng: &mut Stream, part: &mut Canvas, scratch: &mut super::Fields) {
        let (family, _) = self.place(class);
        let view = View::draw(rng);
        // Things have their region's size, surfaces that of the picture.
        let frame =
            if family.objects { Frame::new(window.width, window.height) } else { Frame::new(self.size, self.size) };
        self.paint(class, stream(self.seed, "region", rng.random(), 0), view.frame(frame), part, scratch);
        part.expose();
    }

    /// The mosaic before it is augmented, with `fill` drawing each region's class.
    fn compose(
        &self,
        rng: &mut Stream,
        labels: &mut [Cells],
        scratch: &mut Scratch,
        fill: impl Fn(&Self, usize, &Window, &mut Stream, &mut Canvas, &mut super::Fields),
    ) {
        let size = self.size;
        let Scratch { canvas, part, fields, mosaic: Outlines { shares }, .. } = scratch;
        let regions = rng.random_range(2..=5usize);
        let classes: [usize; 5] = index::sample_array(rng, self.classes()).unwrap_or_default();
        outlines(regions, size, rng, shares);
        canvas.reset(size, size, [0.0; 3]);
        for (class, shares) in classes.iter().zip(shares.chunks_exact(size * size)) {
            let Some(window) = window(shares, size) else { continue };
            part.reset(window.width, window.height, [0.0; 3]);
            fill(self, *class, &window, rng, part, fields);
            for y in 0..window.height {
                let at = (window.top + y) * size + window.left;
                let (row, shares) = (&mut canvas.color[at..at + window.width], &shares[at..at + window.width]);
                for ((to, from), share) in row.iter_mut().zip(&part.color[y * window.width..]).zip(shares) {
                    *to = [0, 1, 2].map(|c| to[c] + share * from[c]);
                }
            }
        }
        for Cells { side: cell, labels } in labels {
            let (cell, cells) = (*cell, self.cells(*cell));
            assert_eq!(labels.len(), cells * cells, "labels of {cells} x {cells} cells");
            for (i, label) in labels.iter_mut().enumerate() {
                let (left, top) = (i % cells * cell, i / cells * cell);
                let covered = |region: usize| -> f32 {
                    let rows = (top..(top + cell).min(size)).map(|y| (region * size + y) * size);
                    rows.map(|row| shares[row + left..row + (left + cell).min(size)].iter().sum::<f32>()).sum()
                };
                // Of equals the last.
                let most = (1..regions).fold((covered(0), 0), |most, region| match covered(region) {
                    share if share.total_cmp(&most.0).is_ge() => (share, region),
                    _ => most,
                });
                *label = classes[most.1] as u32;
            }
        }
    }
}

/// Each region is what lies nearest to its centre, by a distance that noise bends.
fn outlines(regions: usize, size: usize, rng: &mut Stream, shares: &mut Vec<f32>) {
    shares.clear();
    shares.resize(regions * size * size, 0.0);
    let frame = Frame::new(size, size);
    let start = rng.random_range(0.0..1.0f32);
    let ragged = rng.random_range(0.03..0.2f32);
    let speed = rng.random_range(2.0..6.0f32);
    // Between one pixel and a twentieth of the side.
    let soft = rng.random_range(1.0 / size as f32..0.05);
    for (i, scores) in shares.chunks_exact_mut(size * size).enumerate() {
        let (s, c) = turn(start + (i as f32 + rng.random_range(-0.3..0.3f32)) / regions as f32);
        let reach = rng.random_range(0.1..0.45f32);
        let bonus = rng.random_range(-0.06..0.06f32);
        Noise::new(rng.random()).fill(&frame.scaled(speed, speed), size, scores);
        for (k, score) in scores.iter_mut().enumerate() {
            let p = frame.at((k % size) as f32, (k / size) as f32);
            let (dx, dy) = (p[0] - c * reach, p[1] - s * reach);
            *score = ragged * *score + bonus - (dx * dx + dy * dy).sqrt();
        }
    }
    for k in 0..size * size {
        let of = |region: usize| region * size * size + k;
        let best = (0..regions).map(|r| shares[of(r)]).fold(f32::MIN, f32::max);
        let mut all = 0.0;
        for r in 0..regions {
            shares[of(r)] = (1.0 - (best - shares[of(r)]) / soft).max(0.0);
            all += shares[of(r)];
        }
        (0..regions).for_each(|r| shares[of(r)] /= all);
    }
}

fn window(shares: &[f32], size: usize) -> Option<Window> {
    let row = |y: &usize| shares[y * size..(y + 1) * size].iter().any(|s| *s > 0.0);
    let column = |x: &usize| shares[*x..].iter().step_by(size).any(|s| *s > 0.0);
    let (top, bottom) = ((0..size).find(row)?, (0..size).rfind(row)?);
    let (left, right) = ((0..size).find(column)?, (0..size).rfind(column)?);
    Some(Window { left, top, width: right + 1 - left, height: bottom + 1 - top })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With every class in a gray of its own, and nothing augmented, the pixels tell which class covers a cell.
    #[test]
    fn a_label_is_the_class_that_covers_most() {
        let formula = Formula { size: 50, classes_per_family: 3, seed: 5 };
        let (cell, cells) = (8, 7);
        let mut scratch = Scratch::default();
        let (mut seen, mut regions) = (0, [0; 6]);
        for instance in 0..40 {
            let mut labels = vec![0; cells * cells];
            let mut rng = stream(formula.seed, "mosaic", instance, 0);
            let gray = |class: usize| (class + 1) as f32 / 64.0;
            formula.compose(
                &mut rng,
                &mut [Cells { side: cell, labels: &mut labels }],
                &mut scratch,
                |_, class, _, _, part, _| {
                    part.color.fill([gray(class); 3]);
                },
            );
            let mut classes = labels.clone();
            classes.sort();
            classes.dedup();
            regions[classes.len()] += 1;
            for (i, label) in labels.iter().enumerate() {
                let pixels = (0..cell * cell).filter_map(|k| {
                    let (x, y) = (i % cells * cell + k % cell, i / cells * cell + k / cell);
                    (x < 50 && y < 50).then(|| scratch.canvas.color[y * 50 + x][0])
                });
                let pixels: Vec<f32> = pixels.collect();
                let pure = pixels.iter().filter(|v| (**v - gray(*label as usize)).abs() < 1e-4).count();
                let other = classes.iter().filter(|c| *c != label).any(|c| {
                    pixels.iter().filter(|v| (**v - gray(*c as usize)).abs() < 1e-4).count() * 2 > pixels.len()
                });
                assert!(!other, "mosaic {instance}, cell {i}: another class than {label} has more than half");
                seen += usize::from(pure * 2 > pixels.len());
            }
        }
        assert!(seen > 40 * cells * cells / 2, "only {seen} cells with a clear majority");
        assert!(regions[2..].iter().all(|n| *n > 0), "regions in 40 mosaics: {regions:?}");
    }
}
