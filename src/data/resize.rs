//! Resizing one decoded picture, by the same arithmetic as the engine's preprocessing.

use crate::engine::ops::preprocess::resize::Resize;

/// Resizes `src` (`height` x `width` x `C`, rows first, channels innermost) to `out_height` x `out_width` x `C`, bit for
/// bit as Pillow's bilinear filter.
///
/// # Panics
/// If a side is zero or `src` is not `height * width * C` long: both are decided by the caller, never by a file.
pub fn bilinear<const C: usize>(
    src: &[u8],
    (width, height): (usize, usize),
    (out_width, out_height): (usize, usize),
) -> Vec<u8> {
    assert!(width * height * out_width * out_height > 0 && src.len() == width * height * C);
    let resize = Resize::new((width, height), (out_width, out_height));
    let mut dst = vec![0; out_width * out_height * C];
    resize.run::<C>(src, &mut vec![0; resize.between() * C], &mut dst);
    dst
}
