//! Connected parts of a mask.

/// The 8-connected regions of one mask.
pub struct Regions {
    /// (index, region) of every anomalous pixel.
    pub pixels: Vec<(usize, usize)>,
    /// Pixels per region.
    pub area: Vec<usize>,
}

impl Regions {
    /// `mask`: rows of `width` pixels, non-zero where something is. Regions come in the order of their first pixels.
    pub fn find(mask: &[u8], width: usize) -> Self {
        let mut found = Self { pixels: Vec::new(), area: Vec::new() };
        let height = mask.len() / width;
        let mut seen = vec![false; mask.len()];
        for start in 0..mask.len() {
            if mask[start] == 0 || seen[start] {
                continue;
            }
            let region = found.area.len();
            let first = found.pixels.len();
            let mut next = first;
            seen[start] = true;
            found.pixels.push((start, region));
            // The pixels found so far are also the queue of the flood fill.
            while let Some(&(at, _)) = found.pixels.get(next) {
                let (y, x) = (at / width, at % width);
                for ny in y.saturating_sub(1)..(y + 2).min(height) {
                    for i in ny * width + x.saturating_sub(1)..ny * width + (x + 2).min(width) {
                        if mask[i] != 0 && !seen[i] {
                            seen[i] = true;
                            found.pixels.push((i, region));
                        }
                    }
                }
                next += 1;
            }
            found.area.push(found.pixels.len() - first);
        }
        found
    }
}
