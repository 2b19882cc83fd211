//! PatchCore against anomalib 2.7: `golden/patchcore.py` wrote what its own code makes of the stored feature maps, in f64.

use crate::common::{Golden, driver, relative_error, to_nhwc};
use ckaad::Result;
use ckaad::detector::Features;
use ckaad::detector::patchcore::projection::{Projection, dimensions};
use ckaad::detector::patchcore::{coreset, scoring};
use ckaad::engine::device::cuda::CudaSession;
use ckaad::engine::device::{Session, cpu};
use ckaad::engine::gradcheck::Open;
use ckaad::engine::params::Init;
use ckaad::engine::tape::Tape;
use ckaad::engine::tensor::{DType, Shape};
use ckaad::engine::toolkit::cuda::Number;
use ckaad::output::Place;

fn golden() -> Golden {
    Golden::open("golden/patchcore.safetensors")
}

/// Feature maps in order of the layers: shapes and values.
fn maps(g: &Golden, kind: &str) -> Vec<(Shape, Vec<f64>)> {
    let of = |layer: &str| {
        let name = format!("{kind}.{layer}");
        let [n, c, h, w] = g.shape(&name)[..] else { panic!("{name} is a feature map") };
        assert_eq!(h, w);
        (Shape([n, h, w, c]), to_nhwc(&g.get(&name), n, c, h))
    };
    vec![of("a"), of("b")]
}

/// Patches of feature maps, computed in f64.
fn patches(g: &Golden, kind: &str) -> Vec<f64> {
    let mut t = Tape::new(DType::F64);
    let maps = maps(g, kind);
    let layers: Vec<_> = maps.iter().map(|(s, _)| t.input(*s, DType::F64).unwrap()).collect();
    let y = scoring::patches(&mut t, &layers).unwrap();
    t.output(y);
    let mut s = cpu::session(t).unwrap();
    layers.iter().zip(&maps).for_each(|(v, (_, x))| s.write_values(*v, x).unwrap());
    s.run().unwrap();
    s.read_values(y).unwrap()
}

/// Rows of patches in memory, picture by picture.
struct Held {
    shape: Shape,
    rows: Vec<f32>,
}

impl Features for Held {
    fn len(&self) -> usize {
        self.rows.len() / self.shape.len()
    }

    fn shape(&self) -> Shape {
        self.shape
    }

    fn read(&self, picture: usize, to: &mut [f32]) -> Result<()> {
        to.copy_from_slice(&self.rows[picture * self.shape.len()..][..self.shape.len()]);
        Ok(())
    }
}

fn training(g: &Golden) -> Held {
    let [(s, _), (other, _)] = &maps(g, "train")[..] else { unreachable!("two layers") };
    let rows = patches(g, "train").into_iter().map(|x| x as f32).collect();
    Held { shape: Shape([1, s.h(), s.w(), s.c() + other.c()]), rows }
}

fn coreset_rows(g: &Golden) -> Vec<usize> {
    g.get("coreset").into_iter().map(|i| i as usize).collect()
}

/// Of every row the distance to the nearest of the chosen; the largest of them.
fn radius(rows: &[f32], c: usize, chosen: &[usize]) -> f64 {
    let square = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| (*a as f64 - *b as f64).powi(2)).sum::<f64>();
    let nearest =
        |row: &[f32]| chosen.iter().map(|i| square(row, &rows[i * c..][..c])).fold(f64::INFINITY, f64::min).sqrt();
    rows.chunks_exact(c).map(nearest).fold(0.0, f64::max)
}

/// Everything that is scored, on a device. `bank`: its rows; `suffix` names the golden values that belong to it.
fn check(dtype: DType, open: Open, suffix: &str, tolerance: f64) {
    let g = golden();
    let number = |key: &str| g.metadata(key).parse::<usize>().unwrap();
    let chosen = coreset_rows(&g);
    let rows = if suffix.is_empty() { chosen.len() } else { number("few") };
    let (all, maps) = (patches(&g, "train"), maps(&g, "test"));
    let mut t = Tape::new(dtype);
    let layers: Vec<_> = maps.iter().map(|(s, _)| t.input(*s, dtype).unwrap()).collect();
    let x = scoring::patches(&mut t, &layers).unwrap();
    let c = t.shape(x).c();
    let memory = t.network("memory");
    let bank = t.param(memory, "bank", &[rows, c], Init::Zeros).unwrap();
    let found = scoring::scores(&mut t, x, bank, number("neighbours")).unwrap();
    let alone = scoring::scores(&mut t, x, bank, 1).unwrap().images;
    let map = t.anomaly_map(&[found.distances], number("map"), g.metadata("sigma").parse().unwrap()).unwrap();
    for v in [x, found.distances, found.nearest, found.images, alone, map] {
        t.output(v);
    }
    let mut s = open(t).unwrap();
    let s = &mut *s;
    let values: Vec<f64> = chosen[..rows].iter().flat_map(|i| &all[i * c..][..c]).copied().collect();
    s.write_values(bank, &values).unwrap();
    layers.iter().zip(&maps).for_each(|(v, (_, x))| s.write_values(*v, x).unwrap());
    s.run().unwrap();
    let close = |v, name: &str| {
        let e = relative_error(&s.read_values(v).unwrap(), &g.get(name));
        eprintln!("{name}: {e:.1e}");
        assert!(e <= tolerance, "{name}: relative error {e:e}");
    };
    close(x, "patches");
    close(found.distances, &format!("distances{suffix}"));
    close(found.images, &format!("images{suffix}"));
    close(alone, &format!("images.alone{suffix}"));
    close(map, &format!("map{suffix}"));
    if tolerance < 1e-3 {
        assert_eq!(s.read_values(found.nearest).unwrap(), g.get(&format!("nearest{suffix}")));
    }
}

fn on_kernels(number: Number) -> impl Fn(Tape) -> Result<Box<dyn Session>> {
    move |tape| Ok(Box::new(CudaSession::new(tape, driver(), number)?))
}

/// anomalib's f64 distances come from |x|^2 + |y|^2 - 2xy, which costs them some of their 16 digits.
#[test]
fn scores_f64() {
    for bank in ["", ".few"] {
        check(DType::F64, &cpu::session, bank, 1e-10);
    }
}

/// Of f32's 6e-8, sums of 32 channels and differences of patches that lie near each other leave this.
#[test]
fn scores_f32() {
    for bank in ["", ".few"] {
        check(DType::F32, &cpu::session, bank, 2e-6);
    }
}

#[test]
fn scores_of_kernels() {
    for bank in ["", ".few"] {
        check(DType::F32, &on_kernels(Number::F32), bank, 2e-6);
    }
    check(DType::F32, &on_kernels(Number::Tf32), "", 2e-6);
}

/// 16 bits keep 8 or 11 digits of every feature; another row may be the nearest then, at nearly the same distance.
#[test]
fn scores_of_kernels_in_16_bits() {
    check(DType::Bf16, &on_kernels(Number::Bf16), "", 1e-2);
    check(DType::F16, &on_kernels(Number::F16), "", 2e-3);
}

/// From the same projection and the same first patch the same coreset, patch by patch.
#[test]
fn coreset_is_anomalibs() {
    let (g, features) = (golden(), training(&golden()));
    let (c, expected) = (features.shape.c(), coreset_rows(&g));
    let matrix: Vec<f32> = g.get("projection").into_iter().map(|x| x as f32).collect();
    let projection = Projection::from_matrix(&matrix, c).unwrap();
    assert_eq!(projection.dimensions(), dimensions(features.rows.len() / c));
    let points = coreset::project(&features, Some(&projection), &Place::memory(), &mut |_, _, _| Ok(())).unwrap();
    let chosen = coreset::farthest_first(&points, expected[0], expected.len(), &mut |_, _, _| Ok(())).unwrap();
    assert_eq!(chosen, expected);
    // Rounded to f32.
    let found = radius(&features.rows, c, &chosen);
    assert!((found / g.get("coreset.radius")[0] - 1.0).abs() <= 1e-6, "{found}");
    let bank = coreset::rows(&features, &chosen).unwrap();
    assert!(bank.chunks_exact(c).zip(&chosen).all(|(row, i)| *row == features.rows[i * c..][..c]));
}

/// Other random numbers than anomalib's, but coresets as good: the mean radius of 20 is theirs within 3 %, and none is larger
/// than their largest by more than 5 %.
#[test]
fn coresets_of_own_projections_cover_as_well() {
    let g = golden();
    let (radii, shape) = (g.get("wide.radii"), g.shape("wide"));
    let rows = g.get("wide").into_iter().map(|x| x as f32).collect();
    let features = Held { shape: Shape([1, 3, 4, shape[1]]), rows };
    assert!(dimensions(shape[0]) < shape[1]);
    let count = (shape[0] as f64 * g.metadata("ratio").parse::<f64>().unwrap()) as usize;
    let of = |seed| {
        let chosen = coreset::choose(&features, count, &Place::memory(), seed, &mut |_, _, _| Ok(())).unwrap();
        assert_eq!(chosen.len(), count);
        radius(&features.rows, shape[1], &chosen)
    };
    let found: Vec<f64> = (0..radii.len() as u64).map(of).collect();
    let mean = |x: &[f64]| x.iter().sum::<f64>() / x.len() as f64;
    let largest = |x: &[f64]| x.iter().copied().fold(0.0, f64::max);
    assert!((mean(&found) / mean(&radii) - 1.0).abs() <= 0.03, "{found:?}");
    assert!(largest(&found) <= 1.05 * largest(&radii), "{found:?}");
}
