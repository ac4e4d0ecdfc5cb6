//! The page: 32 × 32 dots of ink, as the digits were scanned that the network learns from.

/// Dots of a side.
pub const SIDE: usize = 32;

/// How far from the pointer's way there is ink, in dots.
const BRUSH: f64 = 1.3;

/// A row of dots in each word.
#[derive(Default)]
pub struct Canvas {
    rows: [u32; SIDE],
}

impl Canvas {
    /// Inks the way from one place to another, in dots from the page's corner.
    pub fn line(&mut self, from: [f64; 2], to: [f64; 2]) {
        let way = [to[0] - from[0], to[1] - from[1]];
        let length = (way[0] * way[0] + way[1] * way[1]).max(1e-9);
        for (y, row) in self.rows.iter_mut().enumerate() {
            for x in 0..SIDE {
                let off = [x as f64 + 0.5 - from[0], y as f64 + 0.5 - from[1]];
                let along = ((off[0] * way[0] + off[1] * way[1]) / length).clamp(0.0, 1.0);
                let far = [off[0] - along * way[0], off[1] - along * way[1]];
                if far[0] * far[0] + far[1] * far[1] < BRUSH * BRUSH {
                    *row |= 1 << x;
                }
            }
        }
    }

    /// The rows, for the GPU.
    pub fn rows(&self) -> &[u32; SIDE] {
        &self.rows
    }

    /// The dots in each block of 4 × 4, as the data set has them: 8 × 8 numbers from 0 to 16.
    pub fn pixels(&self) -> [u8; 64] {
        std::array::from_fn(|pixel| {
            let (x, y) = (pixel % 8 * 4, pixel / 8 * 4);
            self.rows[y..y + 4].iter().map(|row| (row >> x & 0xf).count_ones() as u8).sum()
        })
    }
}
