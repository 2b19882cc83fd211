//! Colours of a picture: a row of 256, between a few stops.

use rand::{Rng, RngExt};

use super::canvas::{LUMA, Rgb, blend};
use super::maths::turn;
use super::random::Stream;

/// What the colours of a class have in common. Of its pictures about half keep to it, so that a colour is a hint and no more.
#[derive(Clone, Copy)]
pub struct Style {
    schemes: [Scheme; 2],
    gray: bool,
}

#[derive(Clone, Copy)]
struct Scheme {
    hue: f32,
    spread: f32,
    chroma: f32,
    dark: f32,
    bright: f32,
    stops: usize,
    zigzag: bool,
}

impl Scheme {
    fn draw(rng: &mut Stream) -> Self {
        let contrast = rng.random_range(0.35..0.8f32);
        let dark = rng.random_range(0.04..0.96 - contrast);
        let spread = if rng.random_bool(0.5) { rng.random_range(0.0..0.08) } else { rng.random_range(0.1..0.6) };
        Self {
            hue: rng.random_range(0.0..1.0),
            spread,
            chroma: 0.45 * rng.random_range(0.0..1.0f32) * rng.random_range(0.3..1.0f32),
            dark,
            bright: dark + contrast,
            stops: rng.random_range(2..6),
            zigzag: rng.random_bool(0.25),
        }
    }
}

impl Style {
    pub fn draw(rng: &mut Stream) -> Self {
        Self { schemes: [(); 2].map(|()| Scheme::draw(rng)), gray: rng.random_bool(0.2) }
    }

    /// The colours of one picture. `against` is the brightness of what they have to stand out from.
    pub fn palette(&self, rng: &mut Stream, against: Option<f32>) -> Palette {
        let dice = rng.random_range(0.0..1.0f32);
        let mut scheme = match dice {
            ..0.4 => self.schemes[0],
            0.4..0.65 => self.schemes[1],
            _ => Scheme::draw(rng),
        };
        if self.gray || dice > 0.88 {
            scheme.chroma = 0.0;
        }
        scheme.hue += rng.random_range(-0.06..0.06f32);
        let shift = rng.random_range(-0.1..0.1f32);
        let (mut dark, mut bright) = ((scheme.dark + shift).clamp(0.02, 0.6), (scheme.bright + shift).clamp(0.4, 0.98));
        if let Some(level) = against {
            // All on one side of it.
            (dark, bright) = if level < 0.5 {
                ((level + 0.22).max(dark), (level + 0.5).max(bright))
            } else {
                ((level - 0.5).min(dark), (level - 0.22).min(bright))
            };
        }
        let falling = rng.random_bool(0.3);
        let phase = rng.random_range(0.0..0.35f32);
        let stops: Vec<Rgb> = (0..scheme.stops)
            .map(|i| {
                let t = i as f32 / (scheme.stops - 1) as f32;
                let mut level = if scheme.zigzag && scheme.stops > 2 { (i % 2) as f32 * (1.0 - phase * t) } else { t };
                if falling {
                    level = 1.0 - level;
                }
                let hue = scheme.hue + scheme.spread * (t - 0.5) + rng.random_range(-0.03..0.03f32);
                color(dark + (bright - dark) * level, hue, scheme.chroma * rng.random_range(0.7..1.0f32))
            })
            .collect();
        Palette::new(&stops)
    }
}

/// A colour of this brightness; `chroma` 0 is gray.
pub fn color(level: f32, hue: f32, chroma: f32) -> Rgb {
    let wave = [0.0, -1.0 / 3.0, 1.0 / 3.0].map(|off| turn(hue + off).1);
    let own: f32 = wave.iter().zip(LUMA).map(|(w, l)| w * l).sum();
    // As much of the chroma as the brightness has room for, with some left: no channel is all or nothing.
    let room = wave.iter().fold(1f32, |room, w| {
        let off = chroma * (w - own);
        if off > 0.0 { room.min((1.0 - level) / off) } else { room.min(level / -off.min(-1e-6)) }
    });
    wave.map(|w| level + (w - own) * chroma * 0.85 * room.max(0.0))
}

/// Any colour of a brightness within these.
pub fn any_color(rng: &mut impl Rng, from: f32, to: f32) -> Rgb {
    let chroma = rng.random_range(-0.15..0.4f32).max(0.0);
    color(rng.random_range(from..to), rng.random_range(0.0..1.0), chroma)
}

pub struct Palette {
    colors: [Rgb; 256],
}

impl Palette {
    fn new(stops: &[Rgb]) -> Self {
        let last = (stops.len() - 1) as f32;
        let at = |i: usize| {
            let t = i as f32 / 255.0 * last;
            let k = (t as usize).min(stops.len() - 2);
            blend(stops[k], stops[k + 1], t - k as f32)
        };
        Self { colors: std::array::from_fn(at) }
    }

    /// The colour at `t`, 0 to 1; beyond, the one at the end.
    #[inline(always)]
    pub fn at(&self, t: f32) -> Rgb {
        self.colors[((t * 255.0 + 0.5) as usize).min(255)]
    }
}
