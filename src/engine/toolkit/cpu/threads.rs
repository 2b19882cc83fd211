//! Static work partition over rayon's threads. Nothing here allocates, and which part computes what never depends on
//! timing, so results are the same from run to run for the same number of threads.

use std::ops::Range;

/// Runs `job(part, its scratch)` for `parts` parts in parallel; each part gets its own `scratch_each` elements.
pub fn for_parts<T: Send>(
    parts: usize,
    scratch: &mut [T],
    scratch_each: usize,
    job: &(impl Fn(usize, &mut [T]) + Sync),
) {
    fn go<T: Send>(parts: Range<usize>, scratch: &mut [T], each: usize, job: &(impl Fn(usize, &mut [T]) + Sync)) {
        if parts.len() <= 1 {
            for part in parts {
                job(part, &mut scratch[..each]);
            }
            return;
        }
        let middle = parts.start + parts.len() / 2;
        let (left, right) = scratch.split_at_mut((middle - parts.start) * each);
        rayon::join(|| go(parts.start..middle, left, each, job), || go(middle..parts.end, right, each, job));
    }
    go(0..parts, scratch, scratch_each, job);
}

/// The `part`-th of `parts` nearly equal, contiguous pieces of `0..len`.
pub fn piece(len: usize, part: usize, parts: usize) -> Range<usize> {
    len * part / parts..len * (part + 1) / parts
}

/// Ranges of nearly equal length, none longer than `most`, that cover `range` in order.
pub fn blocks(range: Range<usize>, most: usize) -> impl Iterator<Item = Range<usize>> {
    let (start, len) = (range.start, range.len());
    let count = len.div_ceil(most);
    (0..count).map(move |i| {
        let p = piece(len, i, count);
        start + p.start..start + p.end
    })
}
