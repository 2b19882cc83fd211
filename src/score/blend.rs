//! One map and one score out of the maps of a picture's views.
//!
//! Views overlap; where they do, each counts the less the nearer its end is, so that no seam is left. The map of a large picture is
//! never in memory as a whole: rows that no further view reaches are looked at once, for the score, and kept in coarser cells, each
//! with the highest of its values.

use super::map::Map;
use super::scorer::Scored;
use crate::data::framing::Frame;
use crate::{Result, invalid};

/// The map of a picture in the making.
pub struct Blend {
    frame: Frame,
    /// Side of a view's map.
    size: usize,
    /// Views that have come.
    seen: usize,
    /// Rows of the grid from `top` on that views still reach.
    band: Vec<f32>,
    top: usize,
    highest: Highest,
    /// The network's own score, where all that it saw counts, and nothing else.
    own: Option<f64>,
    /// Cells of the grid along a side of one of the map's.
    coarse: usize,
    map: Map,
}

impl Blend {
    /// The score is the mean of the `highest` values of the map, of all where that is none; of a plain frame it is that of its view.
    pub fn new(frame: Frame, size: usize, highest: Option<usize>) -> Self {
        let ((columns, rows), (width, height)) = (frame.grid(), frame.map_shape());
        let map = Map { width, height, values: vec![0.0; width * height] };
        let band = vec![0.0; size.min(rows) * columns];
        let coarse = frame.coarse();
        Blend { frame, size, seen: 0, band, top: 0, highest: Highest::new(highest), own: None, coarse, map }
    }

    /// What came of the next view; views come in their order.
    pub fn add(&mut self, scored: &Scored) -> Result<()> {
        let map = &scored.map.values[..];
        self.own = self.frame.is_plain().then_some(scored.score);
        if map.iter().any(|v| !v.is_finite()) {
            invalid!("the anomaly map holds values that are not numbers: the model is broken");
        }
        let [x, y] = self.frame.place(self.seen);
        self.seen += 1;
        self.finish_rows(y.at);
        let columns = self.frame.grid().0;
        for (row, weight) in y.weights.iter().enumerate() {
            let to = &mut self.band[(y.at - self.top + row) * columns + x.at..][..x.weights.len()];
            let from = &map[(y.place + row) * self.size + x.place..][..x.weights.len()];
            for ((to, v), w) in to.iter_mut().zip(from).zip(&x.weights) {
                *to += v * (w * weight);
            }
        }
        Ok(())
    }

    /// Rows above `to` get no further values.
    fn finish_rows(&mut self, to: usize) {
        let (columns, all) = (self.frame.grid().0, self.frame.sees_all());
        let held = self.band.len() / columns;
        for y in self.top..to.min(self.top + held) {
            let row = &self.band[(y - self.top) * columns..][..columns];
            let kept = &mut self.map.values[y / self.coarse * self.map.width..][..self.map.width];
            for (x, &v) in row.iter().enumerate() {
                if all || self.frame.sees(x, y) {
                    self.highest.add(v);
                    let kept = &mut kept[x / self.coarse];
                    *kept = kept.max(v);
                }
            }
        }
        let done = to.saturating_sub(self.top).min(held) * columns;
        self.band.copy_within(done.., 0);
        let left = self.band.len() - done;
        self.band[left..].fill(0.0);
        self.top = self.top.max(to);
    }

    /// Once all views have come.
    pub fn finish(mut self) -> Scored {
        self.finish_rows(self.frame.grid().1);
        // There is a mean: every frame sees something.
        Scored { score: self.own.or_else(|| self.highest.mean()).unwrap_or_default(), map: self.map }
    }
}

/// The mean of the highest of many values.
struct Highest {
    count: Option<usize>,
    /// Those that may be among them.
    kept: Vec<f32>,
    /// Values up to this one are not.
    floor: f32,
    /// Of all values.
    sum: f64,
    values: usize,
}

impl Highest {
    fn new(count: Option<usize>) -> Self {
        Highest { count, kept: vec![], floor: f32::NEG_INFINITY, sum: 0.0, values: 0 }
    }

    fn add(&mut self, v: f32) {
        let Some(count) = self.count else {
            self.sum += f64::from(v);
            self.values += 1;
            return;
        };
        if v > self.floor || self.kept.len() < count {
            self.kept.push(v);
            if self.kept.len() >= 2 * count + 1024 {
                self.keep(count);
            }
        }
    }

    fn keep(&mut self, count: usize) {
        if self.kept.len() > count {
            let (_, lowest, _) = self.kept.select_nth_unstable_by(count - 1, |a, b| b.total_cmp(a));
            self.floor = *lowest;
            self.kept.truncate(count);
        }
    }

    /// None of no values.
    fn mean(mut self) -> Option<f64> {
        let (sum, values) = match self.count {
            None => (self.sum, self.values),
            Some(count) => {
                self.keep(count);
                (self.kept.iter().map(|v| f64::from(*v)).sum(), self.kept.len())
            }
        };
        (values > 0).then(|| sum / values as f64)
    }
}
