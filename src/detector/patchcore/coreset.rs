//! Greedy k-centre coreset: of all patches as many as wanted, each the one that lies farthest from those chosen before, so that
//! the largest distance from any patch to the coreset becomes small. As anomalib's `KCenterGreedy`, on a random projection.
//!
//! The projected patches are in memory where the place given for them has room, else in a file. Beside them memory is a distance
//! and a number for each, and a copy of the chosen. The same seed gives the same coreset, whatever the number of threads and
//! wherever patches are kept.

use super::projection::{Projection, dimensions};
use crate::detector::{Features, Progress};
use crate::engine::toolkit::cpu::isa::{Isa, Vectorised, vectorised};
use crate::engine::toolkit::cpu::vector::squared_distance;
use crate::model::init::named_rng;
use crate::output::{Place, Spill};
use crate::{Error, Result};
use rand::RngExt;
use rayon::prelude::*;
use std::ops::Range;

/// Patches that a thread takes at a time.
const BLOCK: usize = 256;
/// Dimensions behind which a distance is looked at: one that is too long already need not be finished. Half of what tens of
/// thousands of patches are projected to.
const PIECE: usize = 160;
/// Pictures that a thread projects between two reports of progress.
const PICTURES: usize = 4;

/// Chooses `count` of all patches of all pictures, numbered through, in the order in which they were chosen. Fewer where
/// patches repeat: once every one is in the coreset, by itself or an equal, there is nothing left to choose.
///
/// Patches with no more channels than the projection would have dimensions are compared as they are.
pub fn choose(
    features: &dyn Features,
    count: usize,
    place: &Place,
    seed: u64,
    progress: &mut Progress,
) -> Result<Vec<usize>> {
    let shape = features.shape();
    let rows = features.len() * shape.h() * shape.w();
    if !(1..=rows).contains(&count) {
        crate::invalid!("a coreset takes between 1 and all of {rows} patches, found {count}");
    }
    let dimensions = dimensions(rows);
    let projection = (dimensions < shape.c()).then(|| Projection::random(shape.c(), dimensions, seed));
    let points = project(features, projection.as_ref(), place, progress)?;
    let first = named_rng(seed, "patchcore.first").random_range(0..rows);
    farthest_first(&points, first, count, progress)
}

/// Points to choose from, rows of as many numbers as they have dimensions.
pub struct Points {
    kept: Spill,
    dimensions: usize,
    len: usize,
}

impl Points {
    /// Room for so many.
    pub fn new(len: usize, dimensions: usize, place: &Place) -> Result<Self> {
        let kept = Spill::new(place, len.saturating_mul(dimensions * size_of::<f32>()))?;
        Ok(Points { kept, dimensions, len })
    }

    /// Sets whole points from one on.
    pub fn write(&mut self, first: usize, rows: &[f32]) -> Result<()> {
        self.kept.write(self.bytes(first..first).start, bytemuck::cast_slice(rows))
    }

    fn bytes(&self, points: Range<usize>) -> Range<usize> {
        let each = self.dimensions * size_of::<f32>();
        points.start * each..points.end * each
    }

    /// Some of them; `copy` holds them where memory does not.
    fn rows<'a>(&'a self, points: Range<usize>, copy: &'a mut Vec<f32>) -> Result<&'a [f32]> {
        let bytes = self.bytes(points.clone());
        if let Some(memory) = self.kept.memory() {
            return Ok(bytemuck::cast_slice(&memory[bytes]));
        }
        copy.resize(points.len() * self.dimensions, 0.0);
        self.kept.read(bytes, bytemuck::cast_slice_mut(copy))?;
        Ok(copy)
    }
}

/// All patches, projected, or without a projection as they are.
pub fn project(
    features: &dyn Features,
    projection: Option<&Projection>,
    place: &Place,
    progress: &mut Progress,
) -> Result<Points> {
    let (shape, pictures) = (features.shape(), features.len());
    let (channels, patches) = (shape.c(), shape.h() * shape.w());
    let dimensions = projection.map_or(channels, Projection::dimensions);
    if projection.is_some_and(|p| p.channels() != channels) {
        crate::invalid!("a projection of other than the patches' {channels} channels");
    }
    let mut points = Points::new(pictures.saturating_mul(patches), dimensions, place)?;
    let together = PICTURES * rayon::current_num_threads();
    let mut some = vec![0.0; together.min(pictures) * patches * dimensions];
    for start in (0..pictures).step_by(together) {
        progress("projecting patches", start, pictures)?;
        let some = &mut some[..together.min(pictures - start) * patches * dimensions];
        some.par_chunks_exact_mut(patches * dimensions).enumerate().try_for_each(|(i, to)| {
            let Some(projection) = projection else { return features.read(start + i, to) };
            let mut picture = vec![0.0; patches * channels];
            features.read(start + i, &mut picture)?;
            let patches = picture.chunks_exact(channels).zip(to.chunks_exact_mut(dimensions));
            patches.for_each(|(x, to)| projection.apply(x, to));
            Ok::<_, Error>(())
        })?;
        points.write(start * patches, some)?;
    }
    progress("projecting patches", pictures, pictures)?;
    Ok(points)
}

/// `count` of the points, `first` and then always the one farthest from all before; of equals the first. Ends early where every
/// point equals one that was chosen.
pub fn farthest_first(points: &Points, first: usize, count: usize, progress: &mut Progress) -> Result<Vec<usize>> {
    let (isa, dimensions) = (Isa::detect(), points.dimensions);
    let count = count.min(points.len);
    let mut distances = vec![f32::INFINITY; points.len];
    let mut nearest = vec![0u32; points.len];
    let (mut chosen, mut centres) = (vec![first], Vec::with_capacity(count * dimensions));
    let (mut between, mut copy) = (Vec::with_capacity(count), Vec::new());
    while chosen.len() < count {
        progress("choosing the coreset", chosen.len(), count)?;
        let last = chosen[chosen.len() - 1];
        let centre = points.rows(last..last + 1, &mut copy)?;
        centres.extend_from_slice(centre);
        between.resize(chosen.len(), 0.0);
        let parts = between.par_chunks_mut(BLOCK).zip(centres.par_chunks(BLOCK * dimensions));
        parts.for_each(|(to, centres)| vectorised(isa, Apart { centres, centre, to }));
        let blocks = distances.par_chunks_mut(BLOCK).zip(nearest.par_chunks_mut(BLOCK)).enumerate();
        let farthest_of = |copy: &mut Vec<f32>, (i, (distances, nearest)): (usize, (&mut [f32], &mut [u32]))| {
            let start = i * BLOCK;
            let (at, distance) = if (0..distances.len()).any(|i| may_be_nearer(&between, distances[i], nearest[i])) {
                let points = points.rows(start..start + distances.len(), copy)?;
                vectorised(isa, Update { points, centre, between: &between, distances, nearest })
            } else {
                distances.iter().copied().enumerate().fold(NONE, farther)
            };
            Ok((start + at, distance))
        };
        let farthest = blocks.map_init(Vec::new, farthest_of);
        let (farthest, distance) = farthest.try_reduce(|| NONE, |a, b| Ok::<_, Error>(farther(a, b)))?;
        if !distance.is_finite() {
            crate::invalid!(
                "patch {farthest} of those to choose from holds a number that is not finite, or the first does"
            );
        }
        if distance == 0.0 {
            break;
        }
        chosen.push(farthest);
    }
    progress("choosing the coreset", count, count)?;
    Ok(chosen)
}

/// Nearer than any point.
const NONE: (usize, f32) = (usize::MAX, f32::NEG_INFINITY);

/// Of two points with their distances the farther, or of equals the first.
fn farther(a: (usize, f32), b: (usize, f32)) -> (usize, f32) {
    if b.1 > a.1 || (b.1 == a.1 && b.0 < a.0) { b } else { a }
}

/// Squared distances of centres to one.
struct Apart<'a> {
    centres: &'a [f32],
    centre: &'a [f32],
    to: &'a mut [f32],
}

impl Vectorised for Apart<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const FUSED: bool>(self) {
        for (to, other) in self.to.iter_mut().zip(self.centres.chunks_exact(self.centre.len())) {
            *to = squared_distance::<f32, FUSED>(other, self.centre);
        }
    }
}

/// How much farther, squared, a centre lies from a point's own than twice the point does, so that the point is nearer to its own:
/// by more than rounding can take away.
const APART: f32 = 4.0 * 1.0001;

/// Whether the last centre may be nearer to a point than its own, whose number and squared distance these are: by the triangle
/// inequality most points need not be looked at.
fn may_be_nearer(between: &[f32], least: f32, nearest: u32) -> bool {
    between[nearest as usize] < least * APART
}

/// Squared distances to the nearest centre, and which it is, with one more; returns the farthest point and its distance.
struct Update<'a> {
    points: &'a [f32],
    centre: &'a [f32],
    /// Squared distances of all centres to this, the last.
    between: &'a [f32],
    distances: &'a mut [f32],
    nearest: &'a mut [u32],
}

impl Vectorised for Update<'_> {
    type Output = (usize, f32);

    #[inline(always)]
    fn run<const FUSED: bool>(self) -> Self::Output {
        let mut farthest = NONE;
        let (dimensions, own) = (self.centre.len(), self.between.len() as u32 - 1);
        for (i, (least, nearest)) in self.distances.iter_mut().zip(self.nearest).enumerate() {
            if may_be_nearer(self.between, *least, *nearest) {
                let mut distance = 0.0;
                let point = &self.points[i * dimensions..][..dimensions];
                for (point, centre) in point.chunks(PIECE).zip(self.centre.chunks(PIECE)) {
                    distance += squared_distance::<f32, FUSED>(point, centre);
                    // What is added is never negative, so neither is what the rest would add.
                    if distance >= *least {
                        break;
                    }
                }
                if distance < *least {
                    (*least, *nearest) = (distance, own);
                }
            }
            farthest = farther(farthest, (i, *least));
        }
        farthest
    }
}

/// The channels of these patches, row by row.
pub fn rows(features: &dyn Features, chosen: &[usize]) -> Result<Vec<f32>> {
    let shape = features.shape();
    let (channels, patches) = (shape.c(), shape.h() * shape.w());
    let mut order: Vec<usize> = (0..chosen.len()).collect();
    order.sort_unstable_by_key(|&i| chosen[i]);
    let mut bank = vec![0.0; chosen.len() * channels];
    let mut picture = vec![0.0; patches * channels];
    let mut held = None;
    for i in order {
        let (from, patch) = (chosen[i] / patches, chosen[i] % patches);
        if held != Some(from) {
            features.read(from, &mut picture)?;
            held = Some(from);
        }
        bank[i * channels..][..channels].copy_from_slice(&picture[patch * channels..][..channels]);
    }
    Ok(bank)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::ops::case::uniform;
    use crate::engine::tensor::Shape;

    /// Pictures of 2x2 patches.
    struct Pictures {
        channels: usize,
        rows: Vec<f32>,
    }

    impl Features for Pictures {
        fn len(&self) -> usize {
            self.rows.len() / (4 * self.channels)
        }

        fn shape(&self) -> Shape {
            Shape([1, 2, 2, self.channels])
        }

        fn read(&self, picture: usize, to: &mut [f32]) -> Result<()> {
            to.copy_from_slice(&self.rows[picture * to.len()..][..to.len()]);
            Ok(())
        }
    }

    fn pictures(count: usize, channels: usize) -> Pictures {
        Pictures { channels, rows: uniform("patches", count * 4 * channels) }
    }

    fn points(rows: &[f32], dimensions: usize, place: &Place) -> Points {
        let mut points = Points::new(rows.len() / dimensions, dimensions, place).unwrap();
        points.write(0, rows).unwrap();
        points
    }

    fn quiet() -> impl FnMut(&'static str, usize, usize) -> Result<()> {
        |_, _, _| Ok(())
    }

    /// By definition: all distances, in full.
    fn plain(points: &[f32], dimensions: usize, first: usize, count: usize) -> Vec<usize> {
        let point = |i: usize| &points[i * dimensions..][..dimensions];
        let square = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| (*a as f64 - *b as f64).powi(2)).sum::<f64>();
        let mut chosen = vec![first];
        while chosen.len() < count {
            let nearest = |i: usize| chosen.iter().map(|c| square(point(i), point(*c))).fold(f64::INFINITY, f64::min);
            let n = points.len() / dimensions;
            chosen.push((0..n).fold(0, |most, i| if nearest(i) > nearest(most) { i } else { most }));
        }
        chosen
    }

    #[test]
    fn each_is_the_farthest_from_those_before() {
        for (rows, dimensions) in [(700, 3), (300, 70), (300, 200)] {
            let rows = uniform("points", rows * dimensions);
            let expected = plain(&rows, dimensions, 5, 40);
            let folder = tempfile::tempdir().unwrap();
            for budget in [usize::MAX, 0] {
                let points = points(&rows, dimensions, &Place { budget, folder: folder.path() });
                assert_eq!(farthest_first(&points, 5, 40, &mut quiet()).unwrap(), expected, "{budget} bytes in memory");
            }
        }
    }

    #[test]
    fn any_number_of_threads_chooses_the_same() {
        let features = pictures(100, 300);
        let choose = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| choose(&features, 40, &Place::memory(), 7, &mut quiet()).unwrap())
        };
        let one = choose(1);
        assert_eq!(one.len(), 40);
        assert!([2, 3].into_iter().all(|threads| choose(threads) == one));
        assert_ne!(super::choose(&features, 40, &Place::memory(), 8, &mut quiet()).unwrap(), one);
    }

    #[test]
    fn patches_that_are_not_finite_are_refused() {
        for at in [0, 50] {
            let mut rows = uniform("points", 300);
            rows[at] = f32::NAN;
            let error =
                farthest_first(&points(&rows, 3, &Place::memory()), 0, 10, &mut quiet()).unwrap_err().to_string();
            assert!(error.contains("not finite"), "{error}");
        }
    }

    #[test]
    fn equal_patches_are_chosen_once() {
        let features = Pictures { channels: 2, rows: [1.0, 2.0, 3.0, 4.0].repeat(6) };
        let chosen = choose(&features, 24 / 2, &Place::memory(), 0, &mut quiet()).unwrap();
        assert_eq!(chosen.len(), 2);
    }

    #[test]
    fn few_patches() {
        let all = choose(&pictures(1, 8), 4, &Place::memory(), 0, &mut quiet()).unwrap();
        assert_eq!(all.iter().collect::<std::collections::BTreeSet<_>>().len(), 4);
        for count in [0, 5] {
            let error = choose(&pictures(1, 8), count, &Place::memory(), 0, &mut quiet()).unwrap_err();
            assert!(error.to_string().contains("all of 4 patches"), "{error}");
        }
    }

    #[test]
    fn progress_is_told_and_can_end_it() {
        let features = pictures(100, 300);
        let mut stages = Vec::new();
        let mut tell = |stage, done, of| {
            assert!(done <= of);
            if !stages.contains(&stage) {
                stages.push(stage);
            }
            Ok(())
        };
        choose(&features, 40, &Place::memory(), 0, &mut tell).unwrap();
        assert_eq!(stages.len(), 2);
        let mut cancel = |_, done, _| if done == 20 { Err(Error::Invalid("enough".into())) } else { Ok(()) };
        assert_eq!(choose(&features, 40, &Place::memory(), 0, &mut cancel).unwrap_err().to_string(), "enough");
    }
}
