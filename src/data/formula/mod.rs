//! Pictures that formulas draw, in classes, to pretrain a backbone on without anybody's photographs (FractalDB and its
//! successors of Kataoka et al.; more kinds of them, since surfaces and small things matter here more than outlines).
//!
//! A family is a way of drawing; a class is a point in its space of parameters ([`random::Traits`]); an instance varies phase,
//! place and a little of the parameters; a view is one look at an instance: crop, turn, light, blur, noise. Every picture
//! is a function of (seed, class, instance, view) alone, and has the same bits on every machine: arithmetic is that of `maths`
//! and of the `libm` crate, not of the platform.

mod augment;
mod canvas;
mod families;
mod ground;
mod maths;
mod mosaic;
mod noise;
mod palette;
mod random;
mod sheet;

pub use families::{FAMILIES, Family};
pub use mosaic::Cells;
pub use sheet::sheet;

use augment::View;
use canvas::{Canvas, Frame, Light};
use palette::Palette;
use rand::RngExt;
use random::{Stream, Traits, stream};

/// A set of classes, `classes_per_family` of every family, those of a family next to each other.
#[derive(Clone, Copy, Debug)]
pub struct Formula {
    /// The side of a picture in pixels.
    pub size: usize,
    pub classes_per_family: usize,
    pub seed: u64,
}

/// What drawing needs besides the picture; to be used again for the next one.
#[derive(Default)]
pub struct Scratch {
    canvas: Canvas,
    /// A second picture: one region of a mosaic.
    part: Canvas,
    fields: Fields,
    spare: Vec<canvas::Rgb>,
    mosaic: mosaic::Outlines,
}

/// One number per pixel, for whatever a family likes.
type Fields = [Vec<f32>; 3];

/// What a family draws a picture from, and onto.
struct Scene<'a> {
    class: Traits,
    /// The instance's. How much of it is drawn may not depend on `frame`, or views would differ in content.
    rng: Stream,
    frame: Frame,
    canvas: &'a mut Canvas,
    fields: &'a mut Fields,
    /// The brightness of what the canvas holds already, where objects are drawn onto it.
    ground: Option<f32>,
}

impl Scene<'_> {
    fn palette(&mut self) -> Palette {
        self.class.style.palette(&mut self.rng, self.ground)
    }

    /// A light from anywhere, of the class's `gloss` and `shine`.
    fn light(&mut self, gloss: f32, shine: f32) -> Light {
        let (around, up) = (self.rng.random_range(0.0..1.0), self.rng.random_range(0.55..0.85));
        Light::new(around, up, self.rng.random_range(0.15..0.4), gloss, shine)
    }
}

impl Formula {
    pub fn classes(&self) -> usize {
        FAMILIES.len() * self.classes_per_family
    }

    /// The family's name and the number within it: `cellular/12`.
    pub fn name(&self, class: usize) -> String {
        let (family, number) = self.place(class);
        format!("{}/{number}", family.name)
    }

    fn place(&self, class: usize) -> (&'static Family, usize) {
        assert!(class < self.classes(), "class {class} of {}", self.classes());
        (&FAMILIES[class / self.classes_per_family], class % self.classes_per_family)
    }

    /// Draws a picture into `out`, `size * size` RGB pixels. Views of an instance are looks at the same content.
    pub fn draw(&self, class: usize, instance: u64, view: u64, out: &mut [u8], scratch: &mut Scratch) {
        assert_eq!(out.len(), self.size * self.size * 3, "bytes of a picture of {0} x {0} pixels", self.size);
        let name = self.name(class);
        let view = View::draw(&mut stream(self.seed, &name, instance, 1 + view));
        let Scratch { canvas, fields, spare, .. } = scratch;
        let frame = view.frame(Frame::new(self.size, self.size));
        canvas.reset(self.size, self.size, [0.0; 3]);
        self.paint(class, stream(self.seed, &name, instance, 0), frame, canvas, fields);
        view.finish(canvas, spare, out);
    }

    /// The picture itself, as wide as the canvas is.
    fn paint(&self, class: usize, mut rng: Stream, frame: Frame, canvas: &mut Canvas, fields: &mut Fields) {
        for field in fields.iter_mut() {
            field.resize(canvas.color.len(), 0.0);
        }
        let (family, number) = self.place(class);
        let ground = family.objects.then(|| ground::paint(self.seed, &mut rng, frame, canvas, fields));
        let class = Traits::new(self.seed, family.name, number);
        (family.paint)(&mut Scene { class, rng, frame, canvas, fields, ground });
    }
}
