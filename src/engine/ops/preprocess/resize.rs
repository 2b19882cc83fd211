//! Bilinear resize of 8-bit pictures, bit for bit as Pillow does it.
//!
//! Pillow's filter is a triangle whose width grows with the reduction (so it averages when shrinking), applied
//! along one axis and then the other with weights in fixed point and an 8-bit picture in between. The arithmetic follows
//! `src/libImaging/Resample.c` (`precompute_coeffs`, `normalize_coeffs_8bpc`, `ImagingResampleHorizontal_8bpc`).
//! Other libraries round differently, and features of a network trained behind Pillow would shift by that.

/// Fractional bits of a weight: 32 minus 8 for the pixel minus 2 for the sign and a weight sum slightly above one.
const PRECISION_BITS: u32 = 32 - 8 - 2;

/// For every output position its first input position, and the weights of the inputs from there on.
#[derive(Clone, Debug)]
struct Taps {
    /// (first input, number of inputs) per output.
    span: Vec<(usize, usize)>,
    /// `stride` fixed-point weights per output; those past the number of inputs are zero.
    weight: Vec<i32>,
    stride: usize,
}

/// Most inputs that one output of an axis is computed from.
pub fn taps(input: usize, output: usize) -> usize {
    (input as f64 / output as f64).max(1.0).ceil() as usize * 2 + 1
}

impl Taps {
    fn new(input: usize, output: usize) -> Self {
        let scale = input as f64 / output as f64;
        let support = scale.max(1.0);
        let stride = taps(input, output);
        let mut span = Vec::with_capacity(output);
        let mut weight = vec![0i32; output * stride];
        let mut real = vec![0f64; stride];
        for (x, w) in weight.chunks_exact_mut(stride).enumerate() {
            let center = (x as f64 + 0.5) * scale;
            let first = (center - support + 0.5).max(0.0) as usize;
            let count = ((center + support + 0.5) as usize).min(input) - first;
            let mut sum = 0.0;
            for (i, r) in real[..count].iter_mut().enumerate() {
                let distance = ((i + first) as f64 - center + 0.5) * (1.0 / support);
                *r = (1.0 - distance.abs()).max(0.0);
                sum += *r;
            }
            for (w, r) in w.iter_mut().zip(&real[..count]) {
                let r = if sum != 0.0 { r / sum } else { *r };
                *w = (0.5 + r * f64::from(1u32 << PRECISION_BITS)) as i32;
            }
            span.push((first, count));
        }
        Self { span, weight, stride }
    }

    fn of(&self, x: usize) -> (usize, &[i32]) {
        let (first, count) = self.span[x];
        (first, &self.weight[x * self.stride..x * self.stride + count])
    }
}

/// What a sum starts from, so that the shift back rounds.
const HALF: i32 = 1 << (PRECISION_BITS - 1);

#[inline(always)]
fn clip8(sum: i32) -> u8 {
    (sum >> PRECISION_BITS).clamp(0, 255) as u8
}

/// Which axis is resized first: each pass rounds to 8 bits, so their order shows. Sizes are (width, height).
///
/// Pillow 13 shrinks the height first when that removes more than twice the rows that the other pass removes columns
/// (found by comparing results over 800 pairs of sizes; the C source of earlier versions always goes along the rows first,
/// which differs by one level at most).
pub fn rows_first((width, height): (usize, usize), (out_width, out_height): (usize, usize)) -> bool {
    out_height < height && height - out_height + 2 * out_width > 2 * width
}

/// A resize of pictures of one size to another, its weights computed.
#[derive(Clone, Debug)]
pub struct Resize {
    from: (usize, usize),
    to: (usize, usize),
    /// Absent where the axis keeps its length.
    columns: Option<Taps>,
    rows: Option<Taps>,
}

impl Resize {
    /// Sizes are (width, height), all at least 1.
    pub fn new(from: (usize, usize), to: (usize, usize)) -> Self {
        let weights = |from, to| (from != to).then(|| Taps::new(from, to));
        Resize { from, to, columns: weights(from.0, to.0), rows: weights(from.1, to.1) }
    }

    /// Pixels of the picture between the two axes; 0 if at most one axis changes.
    pub fn between(&self) -> usize {
        match (&self.columns, &self.rows) {
            (Some(_), Some(_)) if rows_first(self.from, self.to) => self.from.0 * self.to.1,
            (Some(_), Some(_)) => self.to.0 * self.from.1,
            _ => 0,
        }
    }

    /// Resizes `src` (height x width x `C`, rows first, channels innermost) into `dst`; `between` holds
    /// [`Resize::between`] pixels.
    pub fn run<const C: usize>(&self, src: &[u8], between: &mut [u8], dst: &mut [u8]) {
        let (width, out_width) = (self.from.0, self.to.0);
        // The widest instructions of this processor, chosen at run time.
        pulp::Arch::new().dispatch(|| match (&self.columns, &self.rows) {
            (None, None) => dst.copy_from_slice(src),
            (Some(columns), None) => horizontal::<C>(columns, src, width, dst),
            (None, Some(rows)) => vertical(rows, src, width * C, dst),
            (Some(columns), Some(rows)) if rows_first(self.from, self.to) => {
                vertical(rows, src, width * C, between);
                horizontal::<C>(columns, between, width, dst)
            }
            (Some(columns), Some(rows)) => {
                horizontal::<C>(columns, src, width, between);
                vertical(rows, between, out_width * C, dst)
            }
        })
    }
}

#[inline(always)]
fn horizontal<const C: usize>(weights: &Taps, src: &[u8], width: usize, dst: &mut [u8]) {
    for (row, out) in src.chunks_exact(width * C).zip(dst.chunks_exact_mut(weights.span.len() * C)) {
        let (row, out) = (row.as_chunks::<C>().0, out.as_chunks_mut::<C>().0);
        for (x, out) in out.iter_mut().enumerate() {
            let (first, weight) = weights.of(x);
            let mut sum = [HALF; C];
            for (pixel, &w) in row[first..first + weight.len()].iter().zip(weight) {
                for (s, &p) in sum.iter_mut().zip(pixel) {
                    *s += i32::from(p) * w;
                }
            }
            *out = sum.map(clip8);
        }
    }
}

/// `stride` is a row's length in bytes.
#[inline(always)]
fn vertical(weights: &Taps, src: &[u8], stride: usize, dst: &mut [u8]) {
    // As many sums as stay in the first cache level beside the rows they add up.
    const PART: usize = 1024;
    let mut sums = [0i32; PART];
    for (y, out) in dst.chunks_exact_mut(stride).enumerate() {
        let (first, weight) = weights.of(y);
        for (part, out) in out.chunks_mut(PART).enumerate() {
            let sums = &mut sums[..out.len()];
            sums.fill(HALF);
            for (i, &w) in weight.iter().enumerate() {
                let row = &src[(first + i) * stride + part * PART..][..out.len()];
                for (s, &p) in sums.iter_mut().zip(row) {
                    *s += i32::from(p) * w;
                }
            }
            for (out, &s) in out.iter_mut().zip(&*sums) {
                *out = clip8(s);
            }
        }
    }
}
