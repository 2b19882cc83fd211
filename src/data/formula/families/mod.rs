//! One file per family; each knows how to draw a [`Scene`].

mod brushed;
mod cellular;
mod circuits;
mod contours;
mod gratings;
mod ifs;
mod noise;
mod reliefs;
mod scatter;
mod solids;
mod strokes;
mod woven;

use super::Scene;

/// A way of drawing, with many classes.
pub struct Family {
    pub name: &'static str,
    /// In one line.
    pub summary: &'static str,
    /// Draws things onto a ground that is there, instead of covering all of it.
    pub(super) objects: bool,
    pub(super) paint: fn(&mut Scene),
}

const fn texture(name: &'static str, summary: &'static str, paint: fn(&mut Scene)) -> Family {
    Family { name, summary, objects: false, paint }
}

const fn objects(name: &'static str, summary: &'static str, paint: fn(&mut Scene)) -> Family {
    Family { name, summary, objects: true, paint }
}

/// All families. Classes are numbered in this order; a new one goes to the end.
pub const FAMILIES: &[Family] = &[
    objects("ifs", "attractors of iterated function systems, with symmetries and warps", ifs::paint),
    objects("contours", "nested closed curves whose radius is a sum of waves", contours::paint),
    texture(
        "noise",
        "noise of a band of frequencies: clouds, ridges, marble, islands, terraces, rough surfaces",
        noise::paint,
    ),
    texture("woven", "woven fabric: weave, threads, twist, striped warp and weft", woven::paint),
    texture("cellular", "Worley's cells: granules, cracks, foam, scales", cellular::paint),
    texture("brushed", "streaks: brushed and turned metal, wood, fibres, scratches", brushed::paint),
    objects("solids", "shaded bodies: shape, material, marks", solids::paint),
    objects("strokes", "lines of text in alphabets that nobody has", strokes::paint),
    texture("gratings", "sums of plane and radial waves, chirps, checkers", gratings::paint),
    texture(
        "reliefs",
        "one material under slanting light: hammered, knurled, ribbed, tiled, cast, scratched",
        reliefs::paint,
    ),
    objects("scatter", "many small things: grains, pills, cells, rings, chips", scatter::paint),
    texture("circuits", "boards: tracks, pads and parts on a grid", circuits::paint),
];
