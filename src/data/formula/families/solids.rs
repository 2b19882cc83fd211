//! Shaded bodies, found by marching along parallel rays. A class is the shape, its proportions and its tilt, its material and marks, and
//! how many there are of it.

use rand::RngExt;

use crate::data::formula::Scene;
use crate::data::formula::canvas::{Light, blend};
use crate::data::formula::maths::{fract, highlight, mix, smooth, triangle, turn};
use crate::data::formula::noise::Noise;
use crate::data::formula::palette::Palette;
use crate::data::formula::random::jitter;

type Vector = [f32; 3];

#[derive(Clone, Copy)]
enum Shape {
    Ellipsoid,
    Block,
    Cylinder,
    Torus,
    Capsule,
    Cone,
    /// A hexagonal prism with a hole.
    Nut,
    /// A block with a round bite taken out.
    Bracket,
    Bolt,
    Lens,
    /// A cylinder with ribs.
    Knob,
}

const SHAPES: [Shape; 11] = [
    Shape::Ellipsoid,
    Shape::Block,
    Shape::Cylinder,
    Shape::Torus,
    Shape::Capsule,
    Shape::Cone,
    Shape::Nut,
    Shape::Bracket,
    Shape::Bolt,
    Shape::Lens,
    Shape::Knob,
];

#[inline(always)]
fn length2(x: f32, y: f32) -> f32 {
    (x * x + y * y).sqrt()
}

#[inline(always)]
fn cylinder(p: Vector, radius: f32, half: f32) -> f32 {
    let (dx, dy) = (length2(p[0], p[1]) - radius, p[2].abs() - half);
    dx.max(dy).min(0.0) + length2(dx.max(0.0), dy.max(0.0))
}

#[inline(always)]
fn block(p: Vector, half: Vector) -> f32 {
    let q = [0, 1, 2].map(|a| p[a].abs() - half[a]);
    let out = q.map(|v| v.max(0.0));
    (out[0] * out[0] + out[1] * out[1] + out[2] * out[2]).sqrt() + q[0].max(q[1]).max(q[2]).min(0.0)
}

#[inline(always)]
fn hexagon(p: Vector, radius: f32, half: f32) -> f32 {
    let (x, y) = (p[0].abs(), p[1].abs());
    (0.866 * x + 0.5 * y).max(y).max(0.0) - radius + (p[2].abs() - half).max(0.0)
}

/// About the distance to the surface, in a ball of radius 1. `a` and `b` are its proportions, 0 to 1.
#[inline(always)]
fn distance(shape: Shape, p: Vector, a: f32, b: f32, round: f32) -> f32 {
    match shape {
        Shape::Ellipsoid => {
            let half = [0.9, mix(0.45, 0.9, a), mix(0.35, 0.85, b)];
            let q = [0, 1, 2].map(|i| p[i] / half[i]);
            let k = [0, 1, 2].map(|i| q[i] / half[i]);
            let norm = |v: Vector| (v[0] * v[0] + v[1] * v[1] + v[2] * v[2]).sqrt();
            let n = norm(q);
            n * (n - 1.0) / norm(k).max(1e-4)
        }
        Shape::Block => block(p, [0.62 - round, mix(0.25, 0.6, a) - round, mix(0.2, 0.5, b) - round]) - round,
        Shape::Cylinder => cylinder(p, mix(0.25, 0.6, a) - round, mix(0.35, 0.75, b) - round) - round,
        Shape::Torus => {
            let thick = mix(0.1, 0.32, a);
            length2(length2(p[0], p[1]) - (0.92 - thick), p[2] * mix(1.0, 0.6, b)) - thick
        }
        Shape::Capsule => {
            let thick = mix(0.16, 0.4, a);
            let z = p[2] - p[2].clamp(thick - 0.92, 0.92 - thick);
            let bent = p[0] + 0.35 * b * (p[2] * p[2] - 0.3);
            (bent * bent + p[1] * p[1] + z * z).sqrt() - thick
        }
        Shape::Cone => {
            let (r, z) = (length2(p[0], p[1]), p[2]);
            let wide = mix(0.35, 0.68, a);
            let side = (r - wide * (0.7 - z) / 1.4 - 0.2 * b) * 0.85;
            side.max(z.abs() - 0.7)
        }
        Shape::Nut => {
            let hole = mix(0.25, 0.6, a);
            hexagon(p, 0.8, mix(0.15, 0.4, b)).max(hole - length2(p[0], p[1]))
        }
        Shape::Bracket => {
            let bite = mix(0.2, 0.42, a) - length2(p[0] - 0.3 * b, p[2] - 0.35);
            block(p, [0.62 - round, 0.5 - round, 0.45 - round]).max(bite - round) - round
        }
        Shape::Bolt => {
            let head = hexagon([p[0], p[1], p[2] - 0.6], mix(0.36, 0.55, a), 0.2);
            let thread = 0.03 * triangle(p[2] * mix(5.0, 9.0, b));
            head.min(cylinder([p[0], p[1], p[2] + 0.15], 0.24 + thread, 0.7) * 0.9)
        }
        Shape::Lens => {
            let off = mix(0.35, 0.95, a);
            let radius = (0.85 * 0.85 + off * off).sqrt();
            let ball = |z: f32| (p[0] * p[0] + p[1] * p[1] + z * z).sqrt() - radius;
            ball(p[2] - off).max(ball(p[2] + off)).max(length2(p[0], p[1]) - mix(0.6, 0.85, b))
        }
        Shape::Knob => {
            let r = length2(p[0], p[1]).max(1e-4);
            let c = p[0] / r;
            // The cosine of six times the angle.
            let c3 = c * (4.0 * c * c - 3.0);
            let rib = 2.0 * c3 * c3 - 1.0;
            let wave = if b > 0.5 { rib } else { 2.0 * rib * rib - 1.0 };
            cylinder(p, mix(0.5, 0.72, a) + 0.05 * wave, mix(0.25, 0.5, b)) * 0.8
        }
    }
}

struct Body {
    at: [f32; 2],
    size: f32,
    /// Rows: the body's axes as the eye sees them.
    axes: [Vector; 3],
    tone: f32,
}

impl Body {
    /// Turned in the picture, tipped towards the eye, and around its own axis.
    fn axes(around: f32, tip: f32, own: f32) -> [Vector; 3] {
        let ((sa, ca), (st, ct), (so, co)) = (turn(around), turn(tip), turn(own));
        let tipped = [[1.0, 0.0, 0.0], [0.0, ct, -st], [0.0, st, ct]];
        let spun = |v: Vector| [v[0] * ca - v[1] * sa, v[0] * sa + v[1] * ca, v[2]];
        let [x, y, z] = tipped.map(spun);
        let about = |c: f32, s: f32| [0, 1, 2].map(|a| c * x[a] + s * y[a]);
        [about(co, so), about(-so, co), z]
    }
}

struct Material {
    shape: Shape,
    a: f32,
    b: f32,
    round: f32,
    marks: usize,
    period: f32,
    bump: f32,
}

pub fn paint(scene: &mut Scene) {
    let class = &mut scene.class;
    let shape = SHAPES[class.kind(SHAPES.len())];
    let (a, b) = (class.share(), class.share());
    let number = [1, 1, 2, 3, 5][class.choice(5)];
    let (marks, tip) = (class.choice(5), class.between(0.04, 0.21));
    let period = class.log_between(2.0, 7.0);
    let round = class.between(0.02, 0.15);
    let bump = class.between(-1.0, 1.0).max(0.0);
    let (gloss, shine) = (class.log_between(4.0, 60.0), class.between(0.0, 0.8));
    let material = Material { shape, a, b, round, marks, period, bump };

    let rng = &mut scene.rng;
    let mut bodies: Vec<Body> = (0..number)
        .map(|i| {
            let size = jitter(rng, [0.42, 0.27, 0.24, 0.2][[1, 2, 3, 5].partition_point(|n| *n < number)], 0.12);
            let (s, c) = turn((i as f32 + rng.random_range(0.0..0.4f32)) / number as f32);
            let reach = if number == 1 { 0.04 } else { 0.25 };
            let at = [c * reach + rng.random_range(-0.05..0.05f32), s * reach + rng.random_range(-0.05..0.05f32)];
            let tip = tip + rng.random_range(-0.03..0.03f32);
            let axes = Body::axes(rng.random_range(0.0..1.0), tip, rng.random_range(0.0..1.0));
            Body { at, size, axes, tone: rng.random_range(-0.15..0.15) }
        })
        .collect();
    // Overlapping ones in an order that does not follow the circle.
    let swapped = rng.random_range(0..number);
    bodies.swap(0, swapped);
    let noise = Noise::new(rng.random());
    let shadow = rng.random_range(0.0..0.6f32);
    let light = scene.light(gloss, shine);
    let palette = scene.palette();
    for body in &bodies {
        cast_shadow(scene, body, &light, shadow);
        draw(scene, body, &material, &light, &palette, &noise);
    }
}

fn cast_shadow(scene: &mut Scene, body: &Body, light: &Light, depth: f32) {
    let off = [0, 1].map(|a| body.at[a] - 0.25 * body.size * light.to[a]);
    for_each_within(scene, off, 1.2 * body.size, |_, p, under| {
        let r = length2(p[0], p[1]) * 1.2;
        under.map(|c| c * (1.0 - depth * smooth(1.1, 0.4, r)))
    });
}

/// Calls `color` for every pixel less than `reach` from `at`, with its place relative to that, in units of `reach`.
#[inline(always)]
fn for_each_within(
    scene: &mut Scene,
    at: [f32; 2],
    reach: f32,
    mut color: impl FnMut(usize, [f32; 2], [f32; 3]) -> [f32; 3],
) {
    let (width, height) = (scene.canvas.width, scene.canvas.height);
    let middle = scene.frame.inverse().at(at[0], at[1]);
    // The frame may squeeze one axis by a fifth more than the other.
    let side = 1.25 * reach / scene.frame.pixel() + 1.0;
    let span = |a: usize, limit: usize| {
        let limit = limit as f32;
        ((middle[a] - side).clamp(0.0, limit) as usize, (middle[a] + side + 1.0).clamp(0.0, limit) as usize)
    };
    let ((left, right), (top, bottom)) = (span(0, width), span(1, height));
    for y in top..bottom {
        for x in left..right {
            let p = scene.frame.at(x as f32, y as f32);
            let p = [0, 1].map(|a| (p[a] - at[a]) / reach);
            if p[0] * p[0] + p[1] * p[1] < 1.0 {
                let i = y * width + x;
                scene.canvas.color[i] = color(i, p, scene.canvas.color[i]);
            }
        }
    }
}

fn draw(scene: &mut Scene, body: &Body, material: &Material, light: &Light, palette: &Palette, noise: &Noise) {
    let Material { shape, a, b, round, marks, period, bump } = *material;
    let axes = body.axes;
    let local = |v: Vector| axes.map(|axis| axis[0] * v[0] + axis[1] * v[1] + axis[2] * v[2]);
    let away = local([0.0, 0.0, -1.0]);
    let pixel = scene.frame.pixel() / body.size;
    let half = {
        let [x, y, z] = light.to;
        let n = (2.0 * (z + 1.0)).sqrt();
        [x / n, y / n, (z + 1.0) / n]
    };
    let dot = |u: Vector, v: Vector| u[0] * v[0] + u[1] * v[1] + u[2] * v[2];
    for_each_within(scene, body.at, body.size, |_, p, under| {
        // From the ball around the body inwards.
        let depth = (1.0 - p[0] * p[0] - p[1] * p[1]).max(0.0).sqrt();
        let start = local([p[0], p[1], depth]);
        let along = |t: f32| [0, 1, 2].map(|i| start[i] + t * away[i]);
        let (mut t, mut least) = (0.0, f32::MAX);
        for _ in 0..16 {
            let d = distance(shape, along(t), a, b, round);
            least = least.min(d);
            if d < 0.35 * pixel || t > 2.0 * depth {
                break;
            }
            t += d;
        }
        let share = smooth(1.0 * pixel, 0.35 * pixel, least);
        if share == 0.0 {
            return under;
        }
        let at = along(t);
        // The slope of the distance, by four corners of a tetrahedron.
        let mut normal = [0.0; 3];
        for corner in [[1.0, -1.0, -1.0], [-1.0, -1.0, 1.0], [-1.0, 1.0, -1.0], [1.0, 1.0, 1.0]] {
            let d = distance(shape, [0, 1, 2].map(|i| at[i] + 0.01 * corner[i]), a, b, round);
            (0..3).for_each(|i| normal[i] += d * corner[i]);
        }
        let mut n = [0, 1, 2].map(|i| axes[0][i] * normal[0] + axes[1][i] * normal[1] + axes[2][i] * normal[2]);
        let scale = 1.0 / dot(n, n).sqrt().max(1e-6);
        n = n.map(|v| v * scale);
        if bump > 0.0 {
            let q = [at[0] + 0.7 * at[2], at[1] - 0.4 * at[2]].map(|v| v * 1.4 * period);
            n[0] += 0.45 * bump * noise.at(q);
            n[1] += 0.45 * bump * noise.at([q[1] + 9.0, q[0]]);
            let scale = 1.0 / dot(n, n).sqrt();
            n = n.map(|v| v * scale);
        }
        let edge = 2.0 * pixel * period;
        let band = |t: f32| smooth(0.5 - edge, 0.5 + edge, triangle(t));
        let mark = match marks {
            1 => band(period * 0.5 * at[2]),
            2 => {
                let (u, v) = (band(period * 0.5 * at[0]), band(period * 0.5 * at[2]));
                u + v - 2.0 * u * v
            }
            3 => smooth(0.1, 0.25, noise.at([at[0] + at[2], at[1] - at[2]].map(|v| v * period * 0.8))),
            4 => fract(0.5 + 0.3 * at[2]),
            _ => 0.0,
        };
        let diffuse = dot(n, light.to).max(0.0);
        let shade = mix(light.ambient, 1.1, diffuse);
        let spot = light.shine * highlight(dot(n, half).clamp(0.0, 1.0), light.gloss);
        let color = palette.at(0.75 - 0.6 * mark + body.tone).map(|c| c * shade * (1.0 - spot) + spot);
        blend(under, color, share)
    });
}
