//! Woven fabric. A class is the weave (which thread lies on top where), the threads' width, distance and twist, and the order of
//! coloured threads.

use rand::RngExt;

use crate::data::formula::Scene;
use crate::data::formula::canvas::blend;
use crate::data::formula::maths::{fract, hash, mix, sine, smooth, unit};
use crate::data::formula::noise::Noise;
use crate::data::formula::random::{Stream, jitter};

/// Which of warp (`true`) and weft is on top, repeated every `period` threads.
struct Weave {
    period: i32,
    over: [bool; 64],
}

impl Weave {
    fn new(kind: usize, detail: f32, rng: &mut Stream) -> Self {
        let small = 3 + (detail * 3.0) as i32;
        let satin = [(5, 2), (7, 3), (8, 3)][(detail * 3.0) as usize];
        let (period, over): (i32, Box<dyn Fn(i32, i32) -> bool>) = match kind {
            // Plain, and matt with two threads as one.
            0 => (2, Box::new(|x, y| (x + y) % 2 == 0)),
            1 => (4, Box::new(|x, y| (x / 2 + y / 2) % 2 == 0)),
            // Twill over one, and over half of the threads.
            2 => (small, Box::new(move |x, y| (x + y) % small == 0)),
            3 => (4, Box::new(|x, y| (x + y) % 4 < 2)),
            // A twill that turns back: herringbone.
            4 => (8, Box::new(|x, y| (if x < 4 { x + y } else { y + 15 - x }) % 4 < 2)),
            5 => (satin.0, Box::new(move |x, y| (x * satin.1 + y) % satin.0 == 0)),
            // Whatever comes, mirrored as on a loom.
            _ => {
                let side = 4 + 2 * (detail * 3.0) as i32;
                let dice: [bool; 64] = std::array::from_fn(|_| rng.random_bool(0.5));
                let fold = move |v: i32| v.min(side - 1 - v);
                (side, Box::new(move |x, y| dice[(fold(x) * 8 + fold(y)) as usize] ^ ((x + y) % 2 == 0)))
            }
        };
        let over = std::array::from_fn(|i| over(i as i32 % 8 % period, i as i32 / 8 % period));
        Self { period, over }
    }

    #[inline(always)]
    fn over(&self, x: i32, y: i32) -> bool {
        self.over[(y.rem_euclid(self.period) * 8 + x.rem_euclid(self.period)) as usize]
    }
}

pub fn paint(scene: &mut Scene) {
    let class = &mut scene.class;
    let weave = class.kind(7);
    let threads = class.log_between(8.0, 24.0);
    let (width, aspect) = (class.between(0.62, 1.0), class.log_between(0.55, 1.8).sqrt());
    let (twist, detail) = (class.between(-1.0, 1.0), class.share());
    let (stripes, angle) = (class.share(), class.share());
    let weave = Weave::new(weave, detail, &mut class.rng);
    let (bow, uneven) = (class.between(0.2, 1.0), class.between(0.02, 0.25));
    // Which of the colours a thread has, in an order that repeats.
    let orders = [(); 2].map(|()| {
        let period = class.rng.random_range(2..9usize);
        let order: [usize; 8] = std::array::from_fn(|_| class.rng.random_range(0..3));
        (period, order)
    });

    let rng = &mut scene.rng;
    let threads = jitter(rng, threads, 0.07);
    let angle = [0.0, 0.0, 0.125, 0.06][(angle * 4.0) as usize] + rng.random_range(-0.015..0.015f32);
    let start = [rng.random_range(0.0..64.0f32), rng.random_range(0.0..64.0f32)];
    let seed: u32 = rng.random();
    let drape = Noise::new(rng.random());
    let palette = scene.palette();
    let tones = [0.08, 0.92, 0.5].map(|t| palette.at(t + scene.rng.random_range(-0.08..0.08f32)));

    let frame = scene.frame.turned(angle).scaled(threads * aspect, threads / aspect).moved(start[0], start[1]);
    let [dx, dy, _] = scene.fields;
    let columns = scene.canvas.width;
    let slow = frame.scaled(2.5 / threads, 2.5 / threads);
    drape.fill(&slow, columns, dx);
    drape.fill(&slow.moved(40.0, 7.0), columns, dy);
    let soft = 0.8 * frame.pixel();
    let color = |set: usize, thread: i32| {
        let (period, order) = &orders[set];
        match stripes {
            // One colour each, or stripes on one side or on both.
            ..0.45 => tones[set],
            0.45..0.7 if set == 1 => tones[1],
            _ => tones[order[thread.rem_euclid(*period as i32) as usize]],
        }
    };
    scene.canvas.paint(&frame, |i, p, _| {
        let at = [p[0] + 0.35 * dx[i], p[1] + 0.35 * dy[i]];
        let cell = at.map(|a| a.floor() as i32);
        let warp = weave.over(cell[0], cell[1]);
        // Along the thread on top, and across it from -1 to 1.
        let (set, thread, along, across) = if warp { (0, cell[0], at[1], at[0]) } else { (1, cell[1], at[0], at[1]) };
        let across = 2.0 * fract(across) - 1.0;
        let own = unit(hash(thread, set as i32, seed));
        let wide = width * (1.0 - uneven * own);
        let inside = smooth(wide + soft, wide - soft, across.abs());
        // It bows up where it passes over: its neighbours along it tell where that ends.
        let step = if warp { (0, 1) } else { (1, 0) };
        let ends = |off: i32| weave.over(cell[0] + off * step.0, cell[1] + off * step.1) != warp;
        let t = fract(along);
        let fall =
            (if ends(-1) { smooth(0.45, 0.0, t) } else { 0.0 }) + if ends(1) { smooth(0.55, 1.0, t) } else { 0.0 };
        let round = 1.0 - 0.6 * across * across;
        let ply = 0.16 * twist.abs() * sine(2.0 * along + twist * 0.8 * across + own);
        let fuzz = 0.1 * (unit(hash((along * 5.0) as i32, (across * 3.0) as i32 + 7 * thread, seed)) - 0.5);
        let shade = round * (1.0 - 0.65 * bow * fall) * (1.0 + ply + fuzz) * (1.0 + uneven * (own - 0.5));
        let lit = color(set, thread).map(|c| c * mix(0.45, 1.12, shade));
        blend(tones[0].map(|c| 0.15 * c + 0.02), lit, inside)
    });
}
