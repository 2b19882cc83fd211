//! Short texts on pictures, in the 8 x 8 pixel letters of `font8x8`.

use font8x8::UnicodeFonts;

/// How a text is drawn.
pub struct Text {
    /// Pixels a dot of a letter is wide and high.
    pub zoom: usize,
    pub color: [u8; 3],
}

impl Text {
    /// Pixels that a text takes from left to right.
    pub fn width(&self, text: &str) -> usize {
        text.chars().count() * 8 * self.zoom
    }

    /// Draws into a picture of rows of `width` pixels; what does not fit is left out.
    pub fn draw(&self, rgb: &mut [u8], width: usize, (x, y): (usize, usize), text: &str) {
        for (i, letter) in text.chars().enumerate() {
            for (row, dots) in font8x8::BASIC_FONTS.get(letter).unwrap_or_default().into_iter().enumerate() {
                for column in (0..8).filter(|c| dots >> c & 1 != 0) {
                    self.dot(rgb, width, (x + (8 * i + column) * self.zoom, y + row * self.zoom));
                }
            }
        }
    }

    fn dot(&self, rgb: &mut [u8], width: usize, (x, y): (usize, usize)) {
        for row in y..y + self.zoom {
            for column in x..(x + self.zoom).min(width) {
                if let Some(pixel) = rgb.get_mut((row * width + column) * 3..).and_then(|p| p.first_chunk_mut::<3>()) {
                    *pixel = self.color;
                }
            }
        }
    }
}
