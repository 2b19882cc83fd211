//! Greedy k-centre coreset: of all patches as many as wanted, each the one that lies farthest from those chosen before, so that
//! the largest distance from any patch to the coreset becomes small. As anomalib's `KCenterGreedy`, on a random projection.
//!
//! Beside the projected patches memory is a distance and a number for each, and a copy of the chosen. The same seed gives the
//! same coreset, whatever the number of threads.

use super::projection::{Projection, dimensions};
use crate::Result;
use crate::detector::{Features, Progress};
use crate::engine::toolkit::cpu::isa::{Isa, Vectorised, vectorised};
use crate::engine::toolkit::cpu::vector::squared_distance;
use crate::model::init::named_rng;
use rand::RngExt;
use rayon::prelude::*;

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
pub fn choose(features: &dyn Features, count: usize, seed: u64, progress: &mut Progress) -> Result<Vec<usize>> {
    let shape = features.shape();
    let rows = features.len() * shape.h() * shape.w();
    if !(1..=rows).contains(&count) {
        crate::invalid!("a coreset takes between 1 and all of {rows} patches, found {count}");
    }
    let dimensions = dimensions(rows);
    let projection = (dimensions < shape.c()).then(|| Projection::random(shape.c(), dimensions, seed));
    let (points, dimensions) = project(features, projection.as_ref(), progress)?;
    let first = named_rng(seed, "patchcore.first").random_range(0..rows);
    farthest_first(&points, dimensions, first, count, progress)
}

/// All patches, projected (as they are without a projection), and their dimensions.
pub fn project(
    features: &dyn Features,
    projection: Option<&Projection>,
    progress: &mut Progress,
) -> Result<(Vec<f32>, usize)> {
    let (shape, pictures) = (features.shape(), features.len());
    let (channels, patches) = (shape.c(), shape.h() * shape.w());
    let dimensions = projection.map_or(channels, Projection::dimensions);
    if projection.is_some_and(|p| p.channels() != channels) {
        crate::invalid!("a projection of other than the patches' {channels} channels");
    }
    let len = pictures.saturating_mul(patches * dimensions);
    let mut points: Vec<f32> = Vec::new();
    if points.try_reserve_exact(len).is_err() {
        crate::invalid!(
            "out of memory: the patches of {pictures} pictures take {:.1} GB to choose from",
            len as f64 * 4e-9
        );
    }
    points.resize(len, 0.0);
    let together = PICTURES * rayon::current_num_threads();
    for (i, points) in points.chunks_mut(together * patches * dimensions).enumerate() {
        progress("projecting patches", i * together, pictures)?;
        points.par_chunks_exact_mut(patches * dimensions).enumerate().try_for_each(|(j, to)| {
            let Some(projection) = projection else { return features.read(i * together + j, to) };
            let mut picture = vec![0.0; patches * channels];
            features.read(i * together + j, &mut picture)?;
            let patches = picture.chunks_exact(channels).zip(to.chunks_exact_mut(dimensions));
            patches.for_each(|(x, to)| projection.apply(x, to));
            Ok(())
        })?;
    }
    progress("projecting patches", pictures, pictures)?;
    Ok((points, dimensions))
}

/// `count` of the points (rows of `dimensions`), `first` and then always the one farthest from all before; of equals the first.
/// Ends early where every point equals one that was chosen.
pub fn farthest_first(
    points: &[f32],
    dimensions: usize,
    first: usize,
    count: usize,
    progress: &mut Progress,
) -> Result<Vec<usize>> {
    let isa = Isa::detect();
    let count = count.min(points.len() / dimensions);
    let mut distances = vec![f32::INFINITY; points.len() / dimensions];
    let mut nearest = vec![0u32; distances.len()];
    let (mut chosen, mut centres) = (vec![first], Vec::with_capacity(count * dimensions));
    let mut between = Vec::with_capacity(count);
    while chosen.len() < count {
        progress("choosing the coreset", chosen.len(), count)?;
        let centre = &points[chosen[chosen.len() - 1] * dimensions..][..dimensions];
        centres.extend_from_slice(centre);
        between.resize(chosen.len(), 0.0);
        let parts = between.par_chunks_mut(BLOCK).zip(centres.par_chunks(BLOCK * dimensions));
        parts.for_each(|(to, centres)| vectorised(isa, Apart { centres, centre, to }));
        let (farthest, distance) = points
            .par_chunks(BLOCK * dimensions)
            .zip(distances.par_chunks_mut(BLOCK))
            .zip(nearest.par_chunks_mut(BLOCK))
            .enumerate()
            .map(|(i, ((points, distances), nearest))| {
                let (at, distance) = vectorised(isa, Update { points, centre, between: &between, distances, nearest });
                (i * BLOCK + at, distance)
            })
            .reduce(|| (usize::MAX, f32::NEG_INFINITY), farther);
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
        let mut farthest = (usize::MAX, f32::NEG_INFINITY);
        let (dimensions, own) = (self.centre.len(), self.between.len() as u32 - 1);
        for (i, (least, nearest)) in self.distances.iter_mut().zip(self.nearest).enumerate() {
            // By the triangle inequality most points need not be looked at.
            if self.between[*nearest as usize] < *least * APART {
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
    use crate::Error;
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
            let points = uniform("points", rows * dimensions);
            let found = farthest_first(&points, dimensions, 5, 40, &mut quiet()).unwrap();
            assert_eq!(found, plain(&points, dimensions, 5, 40));
        }
    }

    #[test]
    fn any_number_of_threads_chooses_the_same() {
        let features = pictures(100, 300);
        let choose = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| choose(&features, 40, 7, &mut quiet()).unwrap())
        };
        let one = choose(1);
        assert_eq!(one.len(), 40);
        assert!([2, 3].into_iter().all(|threads| choose(threads) == one));
        assert_ne!(super::choose(&features, 40, 8, &mut quiet()).unwrap(), one);
    }

    #[test]
    fn patches_that_are_not_finite_are_refused() {
        for at in [0, 50] {
            let mut points = uniform("points", 300);
            points[at] = f32::NAN;
            let error = farthest_first(&points, 3, 0, 10, &mut quiet()).unwrap_err().to_string();
            assert!(error.contains("not finite"), "{error}");
        }
    }

    #[test]
    fn equal_patches_are_chosen_once() {
        let features = Pictures { channels: 2, rows: [1.0, 2.0, 3.0, 4.0].repeat(6) };
        let chosen = choose(&features, 24 / 2, 0, &mut quiet()).unwrap();
        assert_eq!(chosen.len(), 2);
    }

    #[test]
    fn few_patches() {
        let all = choose(&pictures(1, 8), 4, 0, &mut quiet()).unwrap();
        assert_eq!(all.iter().collect::<std::collections::BTreeSet<_>>().len(), 4);
        for count in [0, 5] {
            let error = choose(&pictures(1, 8), count, 0, &mut quiet()).unwrap_err();
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
        choose(&features, 40, 0, &mut tell).unwrap();
        assert_eq!(stages.len(), 2);
        let mut cancel = |_, done, _| if done == 20 { Err(Error::Invalid("enough".into())) } else { Ok(()) };
        assert_eq!(choose(&features, 40, 0, &mut cancel).unwrap_err().to_string(), "enough");
    }
}
