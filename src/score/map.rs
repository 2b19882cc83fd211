//! The anomaly map of a picture.

/// Values over a whole picture, which it is stretched to: rows first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Map {
    pub width: usize,
    pub height: usize,
    /// `width * height`; none where nobody wanted any.
    pub values: Vec<f32>,
}

impl Map {
    /// Of as many rows as columns.
    pub fn square(values: Vec<f32>) -> Self {
        let side = values.len().isqrt();
        Map { width: side, height: side, values }
    }

    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Width and height.
    pub fn shape(&self) -> (usize, usize) {
        (self.width, self.height)
    }

    /// The highest value; of none, negative infinity.
    pub fn peak(&self) -> f32 {
        self.values.iter().copied().fold(f32::NEG_INFINITY, f32::max)
    }
}
