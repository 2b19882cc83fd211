//! How well maps find the anomalous pixels: pixel AUROC and per-region overlap (PRO).
//!
//! PRO at a threshold is the share of a region that is found, averaged over regions (8-connected parts of the masks), so
//! small defects weigh as much as large ones. AUPRO integrates it over the false positive rate up to a limit and divides
//! by the limit. Two definitions are in use and their values cannot be compared:
//!
//! * [`PixelCurve::aupro`], exact and over the whole dataset: every distinct map value is a threshold, the false
//!   positive rate counts the normal pixels of all pictures (Bergmann et al., MVTec AD);
//! * [`aupro_paper`], the paper's: 200 thresholds per anomalous picture, its own false positive rate, rescaled.

use super::regions::Regions;
use crate::engine::real::Real;
use crate::error::Result;
use crate::invalid;

/// What was found in a picture, and what is there.
#[derive(Clone, Copy, Debug)]
pub struct Plane<'a, T> {
    /// Rows of `width` values.
    pub map: &'a [T],
    /// As long; non-zero where an anomaly is.
    pub mask: &'a [u8],
    pub width: usize,
    /// As long; false where nothing was looked for, which counts neither as normal nor as anomalous.
    pub seen: Option<&'a [bool]>,
}

impl<T> Plane<'_, T> {
    fn sees(&self, i: usize) -> bool {
        self.seen.is_none_or(|seen| seen[i])
    }

    /// Anomalous regions, so far as they are seen.
    fn regions(&self) -> Regions {
        let seen = || self.mask.iter().enumerate().map(|(i, &m)| if self.sees(i) { m } else { 0 });
        if self.seen.is_some() {
            Regions::find(&seen().collect::<Vec<u8>>(), self.width)
        } else {
            Regions::find(self.mask, self.width)
        }
    }

    /// Values of normal pixels that are seen.
    fn normal(&self) -> impl Iterator<Item = &T> {
        let pixels = self.map.iter().zip(self.mask).enumerate();
        pixels.filter(|&(i, (_, &m))| m == 0 && self.sees(i)).map(|(_, (v, _))| v)
    }
}

/// All pixels of a dataset, sorted by map value. Costs 4 bytes per pixel for `f32` maps.
pub struct PixelCurve<T> {
    /// Values of normal pixels, descending.
    normal: Vec<T>,
    /// Values of anomalous pixels, descending, with the weight each adds to PRO; the weights sum to 1.
    anomalous: Vec<(T, f64)>,
}

impl<T: Real> PixelCurve<T> {
    /// `None` unless there are both normal and anomalous pixels.
    pub fn new(pictures: &[Plane<T>]) -> Result<Option<Self>> {
        check_maps(pictures)?;
        let (mut normal, mut anomalous) = (Vec::new(), Vec::new());
        let mut regions = 0;
        for picture in pictures {
            let labels = picture.regions();
            normal.extend(picture.normal());
            anomalous.extend(labels.pixels.iter().map(|&(i, r)| (picture.map[i], 1.0 / labels.area[r] as f64)));
            regions += labels.area.len();
        }
        if normal.is_empty() || anomalous.is_empty() {
            return Ok(None);
        }
        for (_, weight) in &mut anomalous {
            *weight /= regions as f64;
        }
        // NaN was refused above, so values are totally ordered.
        let descending = |a: &T, b: &T| b.partial_cmp(a).unwrap_or(std::cmp::Ordering::Equal);
        normal.sort_unstable_by(descending);
        anomalous.sort_by(|a, b| descending(&a.0, &b.0));
        Ok(Some(Self { normal, anomalous }))
    }

    /// Calls `step(normal pixels, anomalous pixels, PRO)` with the totals at or above each distinct value, descending,
    /// until it returns `false`.
    fn walk(&self, mut step: impl FnMut(usize, usize, f64) -> bool) {
        let (mut n, mut a, mut pro) = (0, 0, 0.0);
        loop {
            let value = match (self.normal.get(n), self.anomalous.get(a)) {
                (Some(&x), Some(&(y, _))) => x.maximum(y),
                (Some(&x), None) => x,
                (None, Some(&(y, _))) => y,
                (None, None) => return,
            };
            while self.normal.get(n).is_some_and(|&v| v == value) {
                n += 1;
            }
            while let Some(&(_, weight)) = self.anomalous.get(a).filter(|p| p.0 == value) {
                pro += weight;
                a += 1;
            }
            if !step(n, a, pro) {
                return;
            }
        }
    }

    /// Area under the ROC curve of pixels.
    pub fn auroc(&self) -> f64 {
        let (mut before, mut twice_area) = ((0, 0), 0u128);
        self.walk(|n, a, _| {
            twice_area += ((n - before.0) as u128) * (before.1 + a) as u128;
            before = (n, a);
            true
        });
        twice_area as f64 / (2.0 * self.normal.len() as f64 * self.anomalous.len() as f64)
    }

    /// Calls `step(false positive rate, PRO)` for every point of the PRO curve behind (0, 0), up to `limit`, where the last one
    /// lies.
    fn walk_pro(&self, limit: f64, mut step: impl FnMut(f64, f64)) {
        let (mut fpr, mut pro) = (0.0, 0.0);
        self.walk(|n, _, next_pro| {
            let next_fpr = n as f64 / self.normal.len() as f64;
            if next_fpr > limit {
                step(limit, pro + (next_pro - pro) * (limit - fpr) / (next_fpr - fpr));
                return false;
            }
            step(next_fpr, next_pro);
            (fpr, pro) = (next_fpr, next_pro);
            true
        });
    }

    /// Exact area under the PRO curve for false positive rates up to `limit` (0 to 1, usually 0.3), divided by it.
    pub fn aupro(&self, limit: f64) -> f64 {
        let (mut fpr, mut pro, mut area) = (0.0, 0.0, 0.0);
        self.walk_pro(limit, |next_fpr, next_pro| {
            area += (next_fpr - fpr) * (pro + next_pro) / 2.0;
            (fpr, pro) = (next_fpr, next_pro);
        });
        area / limit
    }

    /// The PRO curve for drawing: (false positive rate, PRO) from (0, 0) to `limit`. Points that are nearer to the one before than
    /// 1 / `steps` of the picture, in either direction, are left out: a million pixels would make a million of them.
    pub fn pro_points(&self, limit: f64, steps: usize) -> Vec<(f64, f64)> {
        let (apart, mut points, mut left_out) = (1.0 / steps as f64, vec![(0.0, 0.0)], None);
        let mut kept = (0.0, 0.0);
        self.walk_pro(limit, |fpr, pro| {
            let near = |from: (f64, f64)| (fpr - from.0) / limit < apart && pro - from.1 < apart;
            if near(kept) {
                left_out = Some((fpr, pro));
                return;
            }
            // The line to a far point starts where the curve was last, not where a point was last kept.
            points.extend(left_out.take());
            points.push((fpr, pro));
            kept = (fpr, pro);
        });
        points.extend(left_out);
        points
    }
}

/// The authors' definition (`compute_pro` of RD4AD, called per picture): for each picture with a mask, PRO against that
/// picture's own false positive rate at 200 thresholds from the map's minimum to its maximum, points with a rate below
/// 0.3 kept, their rates divided by the largest, the area under that; then the mean over pictures. `None` without masks.
///
/// Where the original divides zero by zero (every kept rate is 0: nothing false is found before the rest of the curve),
/// the best PRO kept stands in; a map of one value, which it cannot process, counts as 0.
pub fn aupro_paper<T: Real>(pictures: &[Plane<T>]) -> Result<Option<f64>> {
    check_maps(pictures)?;
    let areas: Vec<f64> = pictures.iter().filter_map(picture_aupro).collect();
    Ok((!areas.is_empty()).then(|| areas.iter().sum::<f64>() / areas.len() as f64))
}

fn picture_aupro<T: Real>(picture: &Plane<T>) -> Option<f64> {
    const THRESHOLDS: usize = 200;
    const LIMIT: f64 = 0.3;
    let (map, regions) = (picture.map, picture.regions());
    let normal = picture.normal().count();
    if regions.pixels.is_empty() || normal == 0 {
        return None;
    }
    let seen = map.iter().enumerate().filter(|&(i, _)| picture.sees(i)).map(|(_, v)| v);
    let (low, high) = seen.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v.f64()), h.max(v.f64())));
    // The rounding of `numpy.arange`, which the original takes its thresholds from: values that lie on one are common.
    let step = (low + (high - low) / THRESHOLDS as f64) - low;
    let threshold = |i: usize| low + i as f64 * step;
    // How many thresholds a value exceeds: estimated by division, put right by comparison.
    let exceeded = |v: f64| {
        let mut count = ((v - low) / step).clamp(0.0, THRESHOLDS as f64) as usize;
        while count < THRESHOLDS && v > threshold(count) {
            count += 1;
        }
        while count > 0 && v <= threshold(count - 1) {
            count -= 1;
        }
        count
    };
    let (mut found, mut false_positives) = ([0.0; THRESHOLDS + 1], [0usize; THRESHOLDS + 1]);
    for v in picture.normal() {
        false_positives[exceeded(v.f64())] += 1;
    }
    for &(i, region) in &regions.pixels {
        found[exceeded(map[i].f64())] += 1.0 / (regions.area[region] * regions.area.len()) as f64;
    }
    // From the highest threshold down, false positive rates ascend.
    let (mut fp, mut pro) = (0, 0.0);
    let mut curve = Vec::with_capacity(THRESHOLDS);
    for i in (0..THRESHOLDS).rev() {
        fp += false_positives[i + 1];
        pro += found[i + 1];
        let fpr = fp as f64 / normal as f64;
        if fpr < LIMIT {
            curve.push((fpr, pro));
        }
    }
    let &(widest, best) = curve.last()?;
    if widest == 0.0 {
        return Some(best);
    }
    Some(curve.windows(2).map(|w| (w[1].0 - w[0].0) / widest * (w[0].1 + w[1].1) / 2.0).sum())
}

fn check_maps<T: Real>(pictures: &[Plane<T>]) -> Result<()> {
    for (i, &Plane { map, mask, width, seen }) in pictures.iter().enumerate() {
        let as_long = seen.is_none_or(|seen| seen.len() == map.len());
        if map.len() != mask.len() || !as_long || width == 0 || map.len() % width != 0 {
            invalid!(
                "picture {i} (counted from 0): {} map values, {} mask values, rows of {width}",
                map.len(),
                mask.len()
            );
        }
        if map.iter().any(|v| v.f64().is_nan()) {
            invalid!("picture {i} (counted from 0): its map holds values that are not numbers");
        }
    }
    Ok(())
}
