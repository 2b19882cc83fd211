//! Weights of the first layer in whole numbers, from those that normalised pixels are convolved with.

use super::{CHANNELS, Conv2dPixels};
use crate::engine::ops::conv2d_int8::LARGEST_SUM;
use crate::{Result, invalid};

/// What the op takes: for pixels as they come.
pub struct Whole {
    /// In the order of the weights they were made of.
    pub weights: Vec<i16>,
    /// One per output channel.
    pub scale: Vec<f32>,
    pub bias: Vec<f32>,
}

impl Conv2dPixels {
    /// Of `weights` (k, r, s, 3) and `bias` (k) for `(pixel / 255 - mean) / std`. Each channel's largest weight becomes 32767.
    ///
    /// What is subtracted from pixels is their mean to the next byte; the bias makes up for the rest, everywhere but where a window
    /// reaches into the padding: there half a step of a pixel is left.
    ///
    /// Errors: another number of them, weights or biases that are no numbers, or so large that f32 cannot hold what comes of them.
    pub fn whole(&self, weights: &[f32], bias: &[f32]) -> Result<Whole> {
        let each = self.sizes.weights().len() / self.sizes.k as usize;
        if weights.len() != each * self.sizes.k as usize || bias.len() != self.sizes.k as usize {
            let (shape, k) = (self.sizes.weights(), self.sizes.k);
            invalid!("{} weights and {} biases, expected {shape} and {k}", weights.len(), bias.len());
        }
        if let Some(i) = weights.iter().position(|w| !w.is_finite()) {
            invalid!("weight {i} of a convolution of pixels is {}, expected a number", weights[i]);
        }
        let zero = self.zero();
        let mut out = Whole { weights: Vec::with_capacity(weights.len()), scale: Vec::new(), bias: Vec::new() };
        for (filter, bias) in weights.chunks_exact(each).zip(bias) {
            let of_pixels = |(i, w): (usize, &f32)| f64::from(*w) / (255.0 * self.std[i % CHANNELS]);
            let most = filter.iter().enumerate().map(of_pixels).fold(0f64, |most, w| most.max(w.abs()));
            // A filter of nothing but zeros counts in any steps.
            let scale = if most > 0.0 { (most / f64::from(i16::MAX)) as f32 } else { 1.0 };
            let mut off = 0.0;
            for (i, w) in filter.iter().enumerate() {
                let step = (of_pixels((i, w)) / f64::from(scale)).round_ties_even().clamp(-32767.0, 32767.0);
                out.weights.push(step as i16);
                off += step * (255.0 * self.mean[i % CHANNELS] - f64::from(zero[i % CHANNELS]));
            }
            let bias = (f64::from(*bias) - f64::from(scale) * off) as f32;
            if !(scale * LARGEST_SUM).is_finite() || !bias.is_finite() {
                invalid!(
                    "a convolution of pixels has weights that count {scale:e} and a bias of {bias:e}: too large for f32"
                );
            }
            out.scale.push(scale);
            out.bias.push(bias);
        }
        Ok(out)
    }
}
