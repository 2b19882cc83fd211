//! Arithmetic of one value: sums, products and square roots alone, so that pictures have the same bits on every machine.

/// sin(2 pi t) within 0.0011, which no eye tells from the sine.
#[inline(always)]
pub fn sine(t: f32) -> f32 {
    let t = t - (t + 0.5).floor();
    // A parabola per half wave, and a second one that takes most of its error away.
    let y = 8.0 * t - 16.0 * t * t.abs();
    y + 0.225 * (y * y.abs() - y)
}

#[inline(always)]
pub fn cosine(t: f32) -> f32 {
    sine(t + 0.25)
}

/// (sine, cosine) of an angle in turns, exact: for axes, not for pixels.
pub fn turn(t: f32) -> (f32, f32) {
    libm::sincosf(t * std::f32::consts::TAU)
}

/// 0 below `from`, 1 above `to`, smooth between. `from` may be the larger one.
#[inline(always)]
pub fn smooth(from: f32, to: f32, x: f32) -> f32 {
    let t = ((x - from) / (to - from)).clamp(0.0, 1.0);
    t * t * (3.0 - 2.0 * t)
}

#[inline(always)]
pub fn mix(from: f32, to: f32, share: f32) -> f32 {
    from + share * (to - from)
}

/// Within (-1, 1), about the identity near 0.
#[inline(always)]
pub fn squash(x: f32) -> f32 {
    x / (1.0 + x.abs())
}

#[inline(always)]
pub fn fract(x: f32) -> f32 {
    x - x.floor()
}

/// 0 to 1 and back with period 1.
#[inline(always)]
pub fn triangle(t: f32) -> f32 {
    1.0 - (2.0 * fract(t) - 1.0).abs()
}

/// Schlick's stand-in for `x.powf(n)`, for highlights. `x` in 0..=1.
#[inline(always)]
pub fn highlight(x: f32, n: f32) -> f32 {
    x / (n - n * x + x)
}

/// A hash of a place on a grid.
#[inline(always)]
pub fn hash(x: i32, y: i32, seed: u32) -> u32 {
    let mut h = seed ^ (x as u32).wrapping_mul(0x9e37_79b1) ^ (y as u32).wrapping_mul(0x85eb_ca77).rotate_left(13);
    h = (h ^ (h >> 15)).wrapping_mul(0x2c1b_3c6d);
    h = (h ^ (h >> 12)).wrapping_mul(0x297a_2d39);
    h ^ (h >> 15)
}

/// 24 bits of a hash as a number in [0, 1).
#[inline(always)]
pub fn unit(hash: u32) -> f32 {
    (hash >> 8) as f32 * (1.0 / (1 << 24) as f32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sine_is_one() {
        for i in -4000..4000 {
            let t = i as f32 / 997.0;
            let exact = (f64::from(t) * std::f64::consts::TAU).sin() as f32;
            assert!((sine(t) - exact).abs() < 1.1e-3, "{t}: {} for {exact}", sine(t));
        }
    }
}
