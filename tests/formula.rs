//! Pictures by formula: functions of their arguments, none of them blank, classes that differ.

use std::collections::BTreeSet;

use ckaad::data::formula::{Cells, FAMILIES, Formula, Scratch, sheet};

const FORMULA: Formula = Formula { size: 64, classes_per_family: 24, seed: 3 };

fn draw(formula: &Formula, class: usize, instance: u64, view: u64) -> Vec<u8> {
    let mut out = vec![0; formula.size * formula.size * 3];
    formula.draw(class, instance, view, &mut out, &mut Scratch::default());
    out
}

/// Mean and standard deviation.
fn moments(values: impl Iterator<Item = f64> + Clone) -> (f64, f64) {
    let count = values.clone().count() as f64;
    let mean = values.clone().sum::<f64>() / count;
    (mean, (values.map(|v| (v - mean).powi(2)).sum::<f64>() / count).sqrt())
}

#[test]
fn every_class_has_a_name_of_its_own() {
    let names: BTreeSet<String> = (0..FORMULA.classes()).map(|c| FORMULA.name(c)).collect();
    assert_eq!(names.len(), FAMILIES.len() * 24);
    assert_eq!((FORMULA.name(0), FORMULA.name(24 + 5)), ("ifs/0".into(), "contours/5".into()));
    assert!(FAMILIES.iter().all(|f| !f.summary.is_empty()));
}

#[test]
fn a_picture_depends_on_its_arguments_alone() {
    // One scratch for all, in two orders, holds nothing over.
    let mut scratch = Scratch::default();
    let places: Vec<(usize, u64, u64)> =
        (0..FORMULA.classes()).step_by(7).flat_map(|c| [(c, 0, 0), (c, 0, 1), (c, 9, 0)]).collect();
    let mut pictures = |order: &mut dyn Iterator<Item = &(usize, u64, u64)>| -> Vec<Vec<u8>> {
        order
            .map(|(class, instance, view)| {
                let mut out = vec![7; 64 * 64 * 3];
                FORMULA.draw(*class, *instance, *view, &mut out, &mut scratch);
                out
            })
            .collect()
    };
    let forth = pictures(&mut places.iter());
    let mut back = pictures(&mut places.iter().rev());
    back.reverse();
    for (place, (one, other)) in places.iter().zip(forth.iter().zip(&back)) {
        assert!(one == other, "class, instance, view {place:?} depends on what was drawn before");
    }
    assert_eq!(BTreeSet::from_iter(&forth).len(), places.len(), "two views, instances or classes are equal");
    let other = Formula { seed: 4, ..FORMULA };
    assert_ne!(draw(&FORMULA, 30, 0, 0), draw(&other, 30, 0, 0));
}

/// The classes that a set has in common with a smaller one of the same seed are the same.
#[test]
fn more_classes_leave_the_first_ones_alone() {
    let more = Formula { classes_per_family: 30, ..FORMULA };
    for (family, described) in FAMILIES.iter().enumerate() {
        assert!(draw(&FORMULA, family * 24 + 11, 5, 2) == draw(&more, family * 30 + 11, 5, 2), "{}", described.name);
    }
}

#[test]
fn no_class_is_blank_or_burnt_out() {
    let mut wrong = vec![];
    let mut scratch = Scratch::default();
    let mut out = vec![0; 64 * 64 * 3];
    for class in 0..FORMULA.classes() {
        for instance in 0..4 {
            FORMULA.draw(class, instance, 0, &mut out, &mut scratch);
            let (mean, deviation) = moments(out.iter().map(|v| f64::from(*v)));
            let ends = out.iter().filter(|v| **v == 0 || **v == 255).count() as f64 / out.len() as f64;
            if deviation < 12.0 || !(20.0..235.0).contains(&mean) || ends > 0.6 {
                wrong.push(format!(
                    "{} ({instance}): mean {mean:.0}, deviation {deviation:.1}, {:.0} % at the ends",
                    FORMULA.name(class),
                    100.0 * ends
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Views of an instance have more in common than two instances: without anything learned, in gray cells of a fifth of the side.
#[test]
fn views_show_the_same_content() {
    let cells = |picture: &[u8]| -> Vec<f64> {
        let mut sums = [0.0; 25];
        for (i, p) in picture.as_chunks::<3>().0.iter().enumerate() {
            let (x, y) = (i % 64 * 5 / 64, i / 64 * 5 / 64);
            sums[y * 5 + x] += p.iter().map(|v| f64::from(*v)).sum::<f64>();
        }
        // Flips and turns leave the distance from the middle: three rings and the colour between them.
        let ring = |i: &usize| (i % 5).abs_diff(2).max((i / 5).abs_diff(2));
        let means: Vec<f64> = (0..3).map(|r| moments((0..25).filter(|i| ring(i) == r).map(|i| sums[i])).0).collect();
        let (_, deviation) = moments(picture.iter().map(|v| f64::from(*v)));
        vec![means[0] - means[1], means[1] - means[2], 4000.0 * deviation]
    };
    let apart = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt();
    let (mut same, mut other) = (0.0, 0.0);
    for class in (0..FORMULA.classes()).step_by(3) {
        let [a, b, c] = [(0, 0), (0, 1), (1, 1)].map(|(i, v)| cells(&draw(&FORMULA, class, i, v)));
        same += apart(&a, &b);
        other += apart(&a, &c);
    }
    assert!(same < 0.95 * other, "views {same:.3e} apart, instances {other:.3e}");
}

#[test]
fn any_size_will_do() {
    for size in [33, 64, 96, 112, 128] {
        let formula = Formula { size, classes_per_family: 2, seed: 1 };
        let mut scratch = Scratch::default();
        let mut out = vec![0; size * size * 3];
        for class in 0..formula.classes() {
            formula.draw(class, 1, 1, &mut out, &mut scratch);
            let (_, deviation) = moments(out.iter().map(|v| f64::from(*v)));
            assert!(deviation > 8.0, "{} at {size}: deviation {deviation}", formula.name(class));
        }
        let cells = formula.cells(8);
        let mut labels = vec![u32::MAX; cells * cells];
        formula.mosaic(1, &mut out, &mut [Cells { side: 8, labels: &mut labels }], &mut scratch);
        assert!(labels.iter().all(|l| (*l as usize) < formula.classes()));
    }
}

#[test]
fn a_mosaic_depends_on_its_arguments_alone() {
    let mosaic = |instance, scratch: &mut Scratch| {
        let (mut out, mut labels) = (vec![0; 64 * 64 * 3], vec![0; 64]);
        FORMULA.mosaic(instance, &mut out, &mut [Cells { side: 8, labels: &mut labels }], scratch);
        (out, labels)
    };
    let mut scratch = Scratch::default();
    let forth: Vec<_> = (0..8).map(|i| mosaic(i, &mut scratch)).collect();
    let back: Vec<_> = (0..8).rev().map(|i| mosaic(i, &mut Scratch::default())).collect();
    assert!(forth.iter().eq(back.iter().rev()));
    for (out, labels) in &forth {
        let classes = BTreeSet::from_iter(labels).len();
        assert!((1..=5).contains(&classes), "{classes} classes");
        assert!(moments(out.iter().map(|v| f64::from(*v))).1 > 12.0);
    }
}

#[test]
fn a_sheet_shows_the_pictures() {
    let sheet = sheet(&FORMULA, 4, 3, 2);
    assert_eq!((sheet.width, sheet.height, sheet.rgb.len()), (2 * 66, 3 * 66, 2 * 66 * 3 * 66 * 3));
    let one = draw(&FORMULA, 4 * 24 + 2, 1, 0);
    let row = ((2 * 66 + 10) * 132 + 66) * 3;
    assert_eq!(sheet.rgb[row..row + 64 * 3], one[10 * 64 * 3..11 * 64 * 3]);
}

/// The same bits on every machine and for good: weights are trained on these pictures and named by the seed alone. Whoever changes
/// what is drawn changes these numbers, knowingly.
#[test]
fn pictures_stay_what_they_are() {
    let fnv = |bytes: &[u8]| {
        bytes.iter().fold(0xcbf2_9ce4_8422_2325u64, |h, b| (h ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3))
    };
    let mut found = String::new();
    for (family, described) in FAMILIES.iter().enumerate() {
        let pictures: Vec<u8> = (0..24).flat_map(|n| draw(&FORMULA, family * 24 + n, 1, 1)).collect();
        found += &format!("{} {:016x}\n", described.name, fnv(&pictures));
    }
    let mut mosaic = vec![0; 64 * 64 * 3];
    FORMULA.mosaic(3, &mut mosaic, &mut [], &mut Scratch::default());
    found += &format!("mosaic {:016x}\n", fnv(&mosaic));
    assert_eq!(found, EXPECTED);
}

const EXPECTED: &str = "\
ifs 6469c9d2768e4c4a
contours 046bbd1317ea654a
noise 6167033ac05f1a8e
woven 8f7bbfc445dc71e1
cellular 0b8d50e06abd1545
brushed 994372245a8c9c75
solids b0c58aef71b597b3
strokes 124f85988ffa6fdc
gratings ee039f7f3b8b3885
reliefs 66c34c15e6053dd9
scatter cfd9885d11565fee
circuits 97b26a2bf0917ed1
mosaic 576a05f0bd30c994
";
