//! The views of a picture of one shape: which squares are cut out of it, and where they lie on its map.

use super::{Framer, Resize, Tiling};
use crate::data::image::Picture;
use crate::data::resize::bilinear;
use crate::{Result, invalid};

/// Cells of the largest grid of a whole picture: one that is thousands of times as wide as high has no square in its middle.
const MAX_GRID: usize = 1 << 28;

/// Values of the largest map that is kept of a picture.
const MAX_VALUES: usize = 1 << 22;

/// One side of a view.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Span {
    /// First pixel of the picture that is seen, and how many are.
    from: usize,
    len: usize,
    /// First pixel of the square that shows them, and how many do; the others are ground.
    place: usize,
    side: usize,
    /// The cell of the grid that the first of these belongs to.
    at: usize,
}

/// The views of a picture. They lie on a grid of cells, one for every pixel of a square.
#[derive(Clone, Debug)]
pub struct Frame {
    framer: Framer,
    shown: (usize, usize),
    grid: (usize, usize),
    columns: Vec<Span>,
    rows: Vec<Span>,
    /// Column and row of each view, rows first; without those that nothing is looked at in.
    views: Vec<(usize, usize)>,
}

impl Frame {
    pub(super) fn new(framer: &Framer, shown: (usize, usize)) -> Result<Self> {
        let (size, framing, (width, height)) = (framer.size, &framer.framing, shown);
        let scaled = |v: usize, to: usize, of: usize| ((v * to) as f64 / of as f64).round() as usize;
        let (longer, shorter) = (width.max(height), width.min(height));
        let side = |length: usize| match (framing.tiling, framing.resize) {
            (Some(Tiling { size: tile, overlap }), _) if length > tile => tiles(length, tile, overlap, size),
            (Some(Tiling { size: tile, .. }), _) => padded(length, scaled(length, size, tile), size),
            (None, Resize::Stretch) => (vec![Span { from: 0, len: length, place: 0, side: size, at: 0 }], size),
            (None, Resize::Pad) => padded(length, scaled(length, size, longer), size),
            (None, Resize::Crop) => {
                let (from, grid) = ((length - shorter) / 2, scaled(length, size, shorter).max(size));
                let at = scaled(from, size, shorter).min(grid - size);
                (vec![Span { from, len: shorter, place: 0, side: size, at }], grid)
            }
        };
        let ((columns, across), (rows, down)) = (side(width), side(height));
        if framing.tiling.is_none() && across.saturating_mul(down) > MAX_GRID {
            invalid!("the picture is {width} x {height} pixels: too little of it is the square in its middle");
        }
        let mut frame = Frame { framer: framer.clone(), shown, grid: (across, down), columns, rows, views: vec![] };
        let all = (0..frame.rows.len()).flat_map(|row| (0..frame.columns.len()).map(move |column| (column, row)));
        frame.views = all.filter(|&view| frame.is_looked_at(view)).collect();
        let sees_any = || (0..down).any(|y| (0..across).any(|x| frame.sees(x, y)));
        if frame.views.is_empty() || !frame.sees_all() && !sees_any() {
            invalid!("nothing of the picture, {width} x {height} pixels, lies in the region of interest");
        }
        Ok(frame)
    }

    /// How many squares are to be scored, 1 or more.
    pub fn views(&self) -> usize {
        self.views.len()
    }

    /// Columns and rows of the grid.
    pub fn grid(&self) -> (usize, usize) {
        self.grid
    }

    /// Cells along a side of one of the map's: those of a large grid are kept several in one.
    pub fn coarse(&self) -> usize {
        let cells = |coarse: &usize| self.grid.0.div_ceil(*coarse) * self.grid.1.div_ceil(*coarse);
        (1..).find(|coarse| cells(coarse) <= MAX_VALUES).unwrap_or(1)
    }

    /// Width and height of the map.
    pub fn map_shape(&self) -> (usize, usize) {
        let coarse = self.coarse();
        (self.grid.0.div_ceil(coarse), self.grid.1.div_ceil(coarse))
    }

    /// Which values of the map are looked at; none where all are.
    pub fn seen(&self) -> Option<Vec<bool>> {
        if self.sees_all() {
            return None;
        }
        let (width, height) = self.map_shape();
        // Of several cells in one, the one in the middle.
        let middle = |at: usize, values: usize, cells: usize| (2 * at + 1) * cells / (2 * values);
        let value = |i: usize| self.sees(middle(i % width, width, self.grid.0), middle(i / width, height, self.grid.1));
        Some((0..width * height).map(value).collect())
    }

    /// Whether the grid is the only square, all of which counts: then what a network says of it is said of the picture.
    pub fn is_plain(&self) -> bool {
        let whole = |spans: &[Span]| matches!(spans, [only] if only.side == self.framer.size);
        self.framer.framing.roi.is_none() && whole(&self.columns) && whole(&self.rows)
    }

    /// Whether the only square is all of the picture.
    pub fn is_stretched(&self) -> bool {
        self.is_plain() && self.grid == (self.framer.size, self.framer.size)
    }

    fn is_looked_at(&self, (column, row): (usize, usize)) -> bool {
        let Some(roi) = &self.framer.framing.roi else { return true };
        let (columns, rows, (width, height)) = (self.columns[column], self.rows[row], self.shown);
        let in_row = |y: usize| (columns.from..columns.from + columns.len).any(|x| roi.has((x, width), (y, height)));
        (rows.from..rows.from + rows.len).any(in_row)
    }

    /// Whether a cell of the grid is looked at.
    pub fn sees(&self, x: usize, y: usize) -> bool {
        let covered = |spans: &[Span], at: usize| match spans {
            [only] => (only.at..only.at + only.side).contains(&at),
            _ => true,
        };
        let (columns, rows) = self.grid;
        let in_roi = || self.framer.framing.roi.as_ref().is_none_or(|roi| roi.has((x, columns), (y, rows)));
        covered(&self.columns, x) && covered(&self.rows, y) && in_roi()
    }

    /// Whether all cells are.
    pub fn sees_all(&self) -> bool {
        let covered = |spans: &[Span], grid: usize| !matches!(spans, [only] if only.side < grid);
        self.framer.framing.roi.is_none() && covered(&self.columns, self.grid.0) && covered(&self.rows, self.grid.1)
    }

    /// The pixels of a view, size x size x 3 bytes.
    ///
    /// # Panics
    /// If `picture` has another shape than the frame's: both are the caller's.
    pub fn cut(&self, picture: &Picture, view: usize) -> Vec<u8> {
        assert_eq!((picture.width, picture.height), self.shown, "a picture of the frame's shape");
        let size = self.framer.size;
        if self.is_stretched() {
            return bilinear::<3>(&picture.rgb, self.shown, (size, size));
        }
        let (column, row) = self.views[view];
        let (x, y) = (self.columns[column], self.rows[row]);
        let window = self.window(picture, x, y);
        let scaled = if (x.len, y.len) == (x.side, y.side) {
            window
        } else {
            bilinear::<3>(&window, (x.len, y.len), (x.side, y.side))
        };
        if (x.side, y.side) == (size, size) {
            return scaled;
        }
        let mut square = self.framer.ground.repeat(size * size);
        for (line, to) in scaled.chunks_exact(3 * x.side).zip(square.chunks_exact_mut(3 * size).skip(y.place)) {
            to[3 * x.place..][..line.len()].copy_from_slice(line);
        }
        square
    }

    /// Pixels of a picture; those that are not looked at have the colour of the ground.
    fn window(&self, picture: &Picture, x: Span, y: Span) -> Vec<u8> {
        let mut window = Vec::with_capacity(3 * x.len * y.len);
        for row in y.from..y.from + y.len {
            window.extend(&picture.rgb[3 * (row * picture.width + x.from)..][..3 * x.len]);
        }
        if let Some(roi) = &self.framer.framing.roi {
            let (width, height) = self.shown;
            for (i, pixel) in window.as_chunks_mut::<3>().0.iter_mut().enumerate() {
                if !roi.has((x.from + i % x.len, width), (y.from + i / x.len, height)) {
                    *pixel = self.framer.ground;
                }
            }
        }
        window
    }

    /// Where a view lies on the grid, and what each of its cells counts there beside those of other views.
    pub fn place(&self, view: usize) -> [Side; 2] {
        let (column, row) = self.views[view];
        [(&self.columns, column), (&self.rows, row)].map(|(spans, i)| {
            let Span { place, side, at, .. } = spans[i];
            Side { place, at, weights: weights(spans, i, side) }
        })
    }
}

/// One side of a view, x or y: from `place` on the square has cells of the picture, the first of which is cell `at` of the grid.
pub struct Side {
    pub place: usize,
    pub at: usize,
    /// Of each; with those of other views over the same cell they sum to 1.
    pub weights: Vec<f32>,
}

/// A side that is no longer than the square's, in its middle.
fn padded(length: usize, side: usize, size: usize) -> (Vec<Span>, usize) {
    let side = side.clamp(1, size);
    (vec![Span { from: 0, len: length, place: (size - side) / 2, side, at: 0 }], side)
}

/// As few tiles as have the overlap, evenly spaced, so that the last one ends where the picture does.
fn tiles(length: usize, tile: usize, overlap: usize, size: usize) -> (Vec<Span>, usize) {
    let count = (length - overlap).div_ceil(tile - overlap);
    let grid = ((length * size) as f64 / tile as f64).round() as usize;
    let span = |i: usize| {
        let from = (i * (length - tile) + (count - 1) / 2) / (count - 1);
        let at = ((from * size) as f64 / tile as f64).round() as usize;
        Span { from, len: tile, place: 0, side: size, at: at.min(grid - size) }
    };
    ((0..count).map(span).collect(), grid)
}

/// Weights of the cells of span `i`: they rise from its neighbours' ends and fall towards their beginnings.
fn weights(spans: &[Span], i: usize, side: usize) -> Vec<f32> {
    let ramp = |i: usize, cell: usize| -> f64 {
        let Span { at, side, .. } = spans[i];
        let before = i.checked_sub(1).map_or(0, |b| (spans[b].at + spans[b].side).saturating_sub(at));
        let after = spans.get(i + 1).map_or(0, |n| (at + side).saturating_sub(n.at));
        let rising = if before > 0 { ((cell - at) as f64 + 0.5) / before as f64 } else { 1.0 };
        let falling = if after > 0 { ((at + side - cell) as f64 - 0.5) / after as f64 } else { 1.0 };
        rising.min(falling).min(1.0)
    };
    let over = |cell: usize| {
        // Spans that lie over a cell are neighbours.
        let lies = |j: &usize| (spans[*j].at..spans[*j].at + spans[*j].side).contains(&cell);
        let (first, last) = (i.saturating_sub(3), (i + 4).min(spans.len()));
        (first..last).filter(lies).map(|j| ramp(j, cell)).sum::<f64>()
    };
    (0..side).map(|c| spans[i].at + c).map(|cell| (ramp(i, cell) / over(cell)) as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::framing::Framing;

    fn framer(framing: Framing, size: usize) -> Framer {
        Framer { framing, size, ground: [1, 2, 3] }
    }

    /// Whatever the shape, every cell is covered, by weights that sum to 1; tiles lie in the picture, and share what was asked for.
    #[test]
    fn views_cover_the_grid_once() {
        for (shape, tile, overlap, size) in [
            ((300, 200), 64, 16, 64),
            ((65, 64), 64, 32, 64),
            ((129, 385), 256, 128, 128),
            ((1000, 3), 50, 0, 32),
            ((33, 40), 64, 16, 64),
            ((777, 555), 100, 49, 64),
            ((2000, 90), 128, 1, 256),
        ] {
            let framing = Framing::new(None, Some(tile), Some(overlap), None).unwrap();
            let frame = framer(framing, size).frame(shape).unwrap();
            let (columns, rows) = frame.grid();
            let mut sums = vec![0.0; columns * rows];
            for view in 0..frame.views() {
                let [x, y] = frame.place(view);
                assert!(x.place + x.weights.len() <= size && y.place + y.weights.len() <= size);
                for (j, down) in y.weights.iter().enumerate() {
                    for (i, across) in x.weights.iter().enumerate() {
                        sums[(y.at + j) * columns + x.at + i] += f64::from(*down) * f64::from(*across);
                    }
                }
            }
            // Up to nine weights in f32, each a product of two.
            assert!(sums.iter().all(|s| (s - 1.0).abs() < 1e-6), "{shape:?} in tiles of {tile}");
            for (spans, length) in [(&frame.columns, shape.0), (&frame.rows, shape.1)] {
                assert!(spans.iter().all(|s| s.from + s.len <= length));
                assert!(spans.windows(2).all(|s| s[0].from + tile >= s[1].from + overlap));
                assert_eq!(spans.last().map(|s| s.from + s.len), Some(length));
            }
        }
    }

    /// Of 20,000 x 20,000 pixels the map is kept in cells of ten by ten, and no larger thing is in memory.
    #[test]
    fn a_large_map_is_kept_coarse() {
        let framing = Framing::new(None, Some(256), None, None).unwrap();
        let frame = framer(framing, 256).frame((20_000, 20_000)).unwrap();
        assert_eq!((frame.grid(), frame.coarse(), frame.map_shape()), ((20_000, 20_000), 10, (2000, 2000)));
    }

    #[test]
    fn shapes_that_leave_nothing_are_errors() {
        let crop = Framing::new(Some(Resize::Crop), None, None, None).unwrap();
        let error = framer(crop.clone(), 256).frame((1, 1_000_000)).unwrap_err().to_string();
        assert!(error.contains("1 x 1000000") && error.contains("square"), "{error}");
        // At most one cell of a padded picture's shorter side.
        let pad = Framing::new(Some(Resize::Pad), None, None, None).unwrap();
        assert_eq!(framer(pad, 256).frame((1, 1_000_000)).unwrap().grid(), (1, 256));
        assert!(framer(crop, 64).frame((3, 2)).unwrap().grid() == (96, 64));
    }
}
