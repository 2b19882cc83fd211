//! Attractors of iterated function systems (FractalDB of Kataoka et al.), drawn by the chaos game. A class is its maps, a warp
//! that follows them, and a symmetry; systems that fill too little of the plane are drawn again.

use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::data::formula::Scene;
use crate::data::formula::canvas::blend;
use crate::data::formula::maths::{sine, turn};
use crate::data::formula::random::{Stream, jitter};

#[derive(Clone, Copy)]
struct Map {
    matrix: [f32; 4],
    shift: [f32; 2],
    tone: f32,
}

#[derive(Clone, Copy)]
enum Warp {
    None,
    Sine,
    /// Outside in.
    Inverse,
    Bend,
}

struct System {
    maps: Vec<Map>,
    /// Up to which of 256 draws each map is taken.
    limits: Vec<u32>,
    warp: Warp,
    /// How often the whole is repeated around the middle.
    turns: Vec<(f32, f32)>,
}

/// A point on its way; `tone` tells by which maps it came.
struct Walk {
    at: [f32; 2],
    tone: f32,
    state: u32,
}

impl System {
    fn draw(maps: usize, warp: Warp, symmetry: usize, rng: &mut Stream) -> Self {
        let mut even = |range: f32| rng.random_range(-range..range);
        let maps: Vec<Map> = (0..maps)
            .map(|i| {
                // Two turns and two contractions: any matrix, and never an expanding one.
                let ((s, c), (v, u)) = (turn(even(0.5)), turn(even(0.5)));
                let (a, b) = (0.55 + even(0.33), (0.45 + even(0.4)) * if even(1.0) < 0.0 { -1.0 } else { 1.0 });
                let matrix =
                    [c * a * u - s * b * v, -c * a * v - s * b * u, s * a * u + c * b * v, c * b * u - s * a * v];
                Map { matrix, shift: [even(1.0), even(1.0)], tone: i as f32 / (maps - 1) as f32 }
            })
            .collect();
        let turns = (0..symmetry).map(|i| turn(i as f32 / symmetry as f32)).collect();
        let mut system = Self { maps, limits: vec![], warp, turns };
        system.weigh();
        system
    }

    /// Each map as often as it is large.
    fn weigh(&mut self) {
        let size = |m: &Map| (m.matrix[0] * m.matrix[3] - m.matrix[1] * m.matrix[2]).abs().max(0.03);
        let all: f32 = self.maps.iter().map(size).sum();
        let mut sum = 0.0;
        self.limits = self
            .maps
            .iter()
            .map(|m| {
                sum += size(m);
                (256.0 * sum / all) as u32
            })
            .collect();
    }

    #[inline(always)]
    fn step(&self, walk: &mut Walk) {
        // A linear congruential generator; its high bits choose.
        walk.state = walk.state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let dice = walk.state >> 24;
        let chosen = self.limits.iter().position(|l| dice < *l).unwrap_or(self.maps.len() - 1);
        let Map { matrix: m, shift, tone } = self.maps[chosen];
        let [x, y] = walk.at;
        let (x, y) = (m[0] * x + m[1] * y + shift[0], m[2] * x + m[3] * y + shift[1]);
        walk.at = match self.warp {
            Warp::None => [x, y],
            Warp::Sine => [1.3 * sine(0.25 * x), 1.3 * sine(0.25 * y)],
            Warp::Inverse => {
                let k = 1.4 / (x * x + y * y + 0.4);
                [x * k, y * k]
            }
            Warp::Bend => [x + 0.3 * sine(0.3 * y), y + 0.3 * sine(0.3 * x)],
        };
        walk.tone = 0.5 * (walk.tone + tone);
        if self.turns.len() > 1 {
            let (s, c) = self.turns[(((walk.state >> 8) & 0xffff) as usize * self.turns.len()) >> 16];
            let [x, y] = walk.at;
            walk.at = [x * c - y * s, x * s + y * c];
        }
    }

    fn start(&self, state: u32) -> Walk {
        let mut walk = Walk { at: [0.1, 0.1], tone: 0.5, state };
        (0..24).for_each(|_| self.step(&mut walk));
        walk
    }

    /// Middle and reach of the attractor, and of how many of 256 fields around it there is some.
    fn extent(&self) -> ([f32; 2], f32, usize) {
        let mut walk = self.start(7);
        let places: Vec<[f32; 2]> = (0..500)
            .map(|_| {
                self.step(&mut walk);
                walk.at
            })
            .collect();
        let count = places.len() as f32;
        let middle = [0, 1].map(|a| places.iter().map(|p| p[a]).sum::<f32>() / count);
        let variance = [0, 1].map(|a| places.iter().map(|p| (p[a] - middle[a]).powi(2)).sum::<f32>() / count);
        // Along its wider side, so that a thin one is thin.
        let reach = 2.1 * variance[0].max(variance[1]).sqrt().max(1e-3);
        let mut seen = [false; 256];
        for p in &places {
            let [x, y] = [0, 1].map(|a| ((p[a] - middle[a]) / reach * 8.0 + 8.0).clamp(0.0, 15.0) as usize);
            seen[y * 16 + x] = true;
        }
        (middle, reach, seen.iter().filter(|s| **s).count())
    }
}

pub fn paint(scene: &mut Scene) {
    let class = &mut scene.class;
    let warp = [Warp::None, Warp::None, Warp::None, Warp::Sine, Warp::Inverse, Warp::Bend][class.kind(6)];
    let maps = 2 + class.choice(4);
    let symmetry = [1, 1, 1, 2, 3, 5][class.choice(6)];
    let glow = class.between(0.25, 1.0);
    let mut system = System::draw(maps, warp, symmetry, &mut class.rng);
    for _ in 0..30 {
        let (.., filled) = system.extent();
        if (60..165).contains(&filled) {
            break;
        }
        system = System::draw(maps, warp, symmetry, &mut class.rng);
    }

    let rng = &mut scene.rng;
    for map in &mut system.maps {
        map.matrix = map.matrix.map(|m| jitter(rng, m, 0.06));
        map.shift = map.shift.map(|s| jitter(rng, s, 0.08));
    }
    system.weigh();
    let (middle, reach, _) = system.extent();
    let size = rng.random_range(0.4..0.52f32) / reach;
    let (s, c) = turn(rng.random_range(-0.08..0.08));
    let mut walk = system.start(ChaCha8Rng::from_rng(rng).next_u32());
    let palette = scene.palette();

    let (width, height) = (scene.canvas.width, scene.canvas.height);
    let to_pixel = scene.frame.inverse();
    let [hits, tones, _] = scene.fields;
    hits.fill(0.0);
    tones.fill(0.0);
    for _ in 0..width * height * 5 / 4 {
        system.step(&mut walk);
        let [x, y] = [0, 1].map(|a| (walk.at[a] - middle[a]) * size);
        let [x, y] = to_pixel.at(x * c - y * s, x * s + y * c);
        if x >= 0.0 && y >= 0.0 && x < width as f32 - 1.0 && y < height as f32 - 1.0 {
            // Shared between the four pixels around it.
            let (left, top) = (x as usize, y as usize);
            let (fx, fy) = (x - left as f32, y - top as f32);
            let i = top * width + left;
            for (i, share) in [
                (i, (1.0 - fx) * (1.0 - fy)),
                (i + 1, fx * (1.0 - fy)),
                (i + width, (1.0 - fx) * fy),
                (i + width + 1, fx * fy),
            ] {
                hits[i] += share;
                tones[i] += share * walk.tone;
            }
        }
    }
    // Few hits are seen, many do not burn out.
    for ((color, hits), tones) in scene.canvas.color.iter_mut().zip(&*hits).zip(&*tones) {
        if *hits > 0.0 {
            let share = 1.3 * hits / (hits + 0.9);
            let tone = glow * tones / hits + (1.0 - glow) * (hits / (hits + 4.0));
            *color = blend(*color, palette.at(tone), share.min(1.0));
        }
    }
}
