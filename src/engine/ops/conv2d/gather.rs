//! The im2col view of an image: row = output pixel, depth = (filter row, filter column, channel). Blocks of it are
//! packed for the matrix products; padding appears as zeros.

use crate::engine::toolkit::cpu::gemm::{LeftRows, RightPanels};
use crate::engine::toolkit::cpu::isa::wide;
use crate::engine::toolkit::cpu::microkernel::PANEL;
use std::ops::Range;

/// Runs up to this length are copied as if they had it: 7 pixels of 3 channels are 21.
const SHORT: usize = 32;

/// Of `taps` positions starting `pad` before `start`, those inside an axis of `len`, and where the first of them lies.
#[inline(always)]
pub fn clip(start: usize, pad: usize, taps: usize, len: usize) -> (Range<usize>, usize) {
    let first = pad.saturating_sub(start).min(taps);
    let end = (len + pad).saturating_sub(start).clamp(first, taps);
    (first..end, (start + first).saturating_sub(pad))
}

/// Row `(image, i, j)` of `rows_h x rows_w` per image, depth `(u, v, channel)` of `taps_h x taps_w x c`, is
/// `from[image, i * step_h + first_h + u, j * step_w + first_w + v, channel]`, `zero` outside the image.
#[derive(Clone, Copy)]
pub struct Gather<'a, T> {
    pub from: &'a [T],
    pub zero: T,
    pub h: usize,
    pub w: usize,
    pub c: usize,
    pub rows_h: usize,
    pub rows_w: usize,
    pub step_h: usize,
    pub step_w: usize,
    pub first_h: isize,
    pub first_w: isize,
    pub taps_h: usize,
    pub taps_w: usize,
}

impl<T: Copy + Sync> Gather<'_, T> {
    pub fn depth(&self) -> usize {
        self.taps_h * self.taps_w * self.c
    }

    /// The part of depths `e` of one filter row (`taps_w * c` of them) that lies inside an image `w` pixels wide.
    #[inline(always)]
    fn inside(&self, left: isize, e: &Range<usize>) -> Range<usize> {
        let first = (-left).max(0) as usize * self.c;
        let end = (self.w as isize - left).max(0) as usize * self.c;
        let first = first.clamp(e.start, e.end);
        first..end.clamp(first, e.end)
    }

    /// Calls `each(row - rows.start, run)` for every row and every filter row that `depths` touches.
    #[inline(always)]
    fn for_runs(&self, rows: &Range<usize>, depths: &Range<usize>, mut each: impl FnMut(usize, Run)) {
        let (mut j, line) = (rows.start % self.rows_w, rows.start / self.rows_w);
        let (mut i, mut image) = (line % self.rows_h, line / self.rows_h);
        for row in 0..rows.len() {
            // The position of the row's first tap.
            let top = (i * self.step_h) as isize + self.first_h;
            let left = (j * self.step_w) as isize + self.first_w;
            let run = self.taps_w * self.c;
            let (mut u, mut e) = (depths.start / run, depths.start % run);
            let mut k = depths.start;
            while k < depths.end {
                let len = (run - e).min(depths.end - k);
                let (y, at, e_now) = (top + u as isize, k - depths.start, e..e + len);
                let (inside, source) = if (0..self.h as isize).contains(&y) {
                    let inside = self.inside(left, &e_now);
                    let line = ((image * self.h + y as usize) * self.w) as isize;
                    let first = (line + left) * self.c as isize + inside.start as isize;
                    let source = if inside.is_empty() { 0 } else { first as usize };
                    (inside, source)
                } else {
                    (e..e, 0)
                };
                each(row, Run { at, e: e_now, inside, source });
                (k, u, e) = (k + len, u + 1, 0);
            }
            j += 1;
            if j == self.rows_w {
                (i, j) = (i + 1, 0);
                if i == self.rows_h {
                    (image, i) = (image + 1, 0);
                }
            }
        }
    }
}

/// Depths of one row that lie in one filter row.
struct Run {
    /// The first of them, counted from the first depth wanted.
    at: usize,
    /// They, counted within the filter row, and those inside the image, which start at `from[source]`.
    e: Range<usize>,
    inside: Range<usize>,
    source: usize,
}

impl<T: Copy + Sync> LeftRows<T> for Gather<'_, T> {
    fn fill(&self, rows: Range<usize>, depths: Range<usize>, to: &mut [T], stride: usize) {
        if !depths.is_empty() {
            wide!(self.fill_rows(&rows, &depths, to, stride));
        }
    }
}

impl<T: Copy + Sync> RightPanels<T> for Gather<'_, T> {
    fn fill(&self, pixels: Range<usize>, panels: Range<usize>, to: &mut [T]) {
        wide!(self.fill_panels(&pixels, &panels, to));
    }
}

/// All of it is inlined into what [`wide!`] compiles for the machine's registers.
impl<T: Copy + Sync> Gather<'_, T> {
    #[inline(always)]
    fn fill_rows(&self, rows: &Range<usize>, depths: &Range<usize>, to: &mut [T], stride: usize) {
        self.for_runs(
            rows,
            depths,
            #[inline(always)]
            |row, run| self.copy_run(&run, &mut to[row * stride..][..stride][run.at..]),
        );
    }

    #[inline(always)]
    fn copy_run(&self, run: &Run, to: &mut [T]) {
        let Run { e, inside, source, .. } = run;
        if inside.len() == e.len() {
            // Few channels make short runs. Copying a fixed length needs no call; what it brings past the run is
            // overwritten by the next one or never read.
            if e.len() <= SHORT
                && let (Some(to), Some(from)) = (to.get_mut(..SHORT), self.from.get(*source..source + SHORT))
            {
                to.copy_from_slice(from);
            } else {
                to[..e.len()].copy_from_slice(&self.from[*source..source + e.len()]);
            }
            return;
        }
        to[..inside.start - e.start].fill(self.zero);
        to[inside.start - e.start..inside.end - e.start].copy_from_slice(&self.from[*source..source + inside.len()]);
        to[inside.end - e.start..e.len()].fill(self.zero);
    }

    #[inline(always)]
    fn fill_panels(&self, pixels: &Range<usize>, panels: &Range<usize>, to: &mut [T]) {
        let columns = panels.start * PANEL..(panels.end * PANEL).min(self.depth());
        let panel_len = pixels.len() * PANEL;
        self.for_runs(
            pixels,
            &columns,
            #[inline(always)]
            |row, run| self.spread_run(&run, &mut to[row * PANEL..], panel_len),
        );
    }

    /// One pixel's depths `run`, over panels `panel_len` elements apart.
    #[inline(always)]
    fn spread_run(&self, Run { at, e, inside, source }: &Run, to: &mut [T], panel_len: usize) {
        let mut done = 0;
        while done < e.len() {
            let (panel, lane) = ((at + done) / PANEL, (at + done) % PANEL);
            let len = (PANEL - lane).min(e.len() - done);
            let to = &mut to[panel * panel_len + lane..][..len];
            let now = e.start + done..e.start + done + len;
            let first = inside.start.clamp(now.start, now.end);
            let end = inside.end.clamp(first, now.end);
            if first == now.start && end == now.end {
                let from = &self.from[source + first - inside.start..][..len];
                // A fixed length is copied without a call.
                match (<&mut [T; PANEL]>::try_from(&mut *to), <&[T; PANEL]>::try_from(from)) {
                    (Ok(to), Ok(from)) => *to = *from,
                    _ => to.copy_from_slice(from),
                }
            } else {
                to.fill(self.zero);
                if first < end {
                    to[first - now.start..end - now.start]
                        .copy_from_slice(&self.from[source + first - inside.start..][..end - first]);
                }
            }
            done += len;
        }
    }
}
