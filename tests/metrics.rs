//! Metrics against scikit-learn's and scipy's values (`golden/metrics.safetensors`) and against cases done by hand.

use ckaad::metrics::confusion::Confusion;
use ckaad::metrics::f1::{BestF1, best_f1};
use ckaad::metrics::precision_recall::precision_recall;
use ckaad::metrics::pro::{PixelCurve, Plane, aupro_paper};
use ckaad::metrics::roc::roc;
use safetensors::SafeTensors;

fn f64s(file: &SafeTensors, name: &str) -> Vec<f64> {
    file.tensor(name).unwrap().data().as_chunks::<8>().0.iter().map(|b| f64::from_le_bytes(*b)).collect()
}

#[track_caller]
fn close(found: f64, expected: f64) {
    assert!((found - expected).abs() < 1e-9, "{found} instead of {expected}");
}

/// Pictures of one width, all of which is looked at.
fn planes<'a, T>(maps: &[&'a [T]], masks: &[&'a [u8]], width: usize) -> Vec<Plane<'a, T>> {
    maps.iter().zip(masks).map(|(map, mask)| Plane { map, mask, width, seen: None }).collect()
}

#[test]
fn golden_metrics() {
    let bytes = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/metrics.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let scores = f64s(&file, "scores");
    let labels: Vec<bool> = file.tensor("labels").unwrap().data().iter().map(|&l| l != 0).collect();
    close(roc(&scores, &labels).unwrap().unwrap().auroc, f64s(&file, "auroc")[0]);
    let best = best_f1(&scores, &labels).unwrap().unwrap();
    close(best.f1, f64s(&file, "best_f1")[0]);
    // scikit-learn's is one of the scores; ours lies halfway to the next lower one, and judges alike.
    let score = f64s(&file, "best_threshold")[0];
    let lower = scores.iter().copied().filter(|s| *s < score - 1e-9).reduce(f64::max).unwrap();
    close(best.threshold, (score + lower) / 2.0);
    assert_eq!(
        Confusion::new(&scores, &labels, best.threshold).unwrap(),
        Confusion::new(&scores, &labels, score - 1e-9).unwrap()
    );
    close(best.accuracy, f64s(&file, "accuracy")[0]);

    let (maps, masks) = (f64s(&file, "maps"), file.tensor("masks").unwrap().data().to_vec());
    let maps: Vec<&[f64]> = maps.chunks(64 * 64).collect();
    let masks: Vec<&[u8]> = masks.chunks(64 * 64).collect();
    let curve = PixelCurve::new(&planes(&maps, &masks, 64)).unwrap().unwrap();
    close(curve.auroc(), f64s(&file, "pixel_auroc")[0]);
    close(curve.aupro(0.3), f64s(&file, "aupro30")[0]);
    close(curve.aupro(0.05), f64s(&file, "aupro05")[0]);
    // From a transcription of RD4AD's `compute_pro` run on the same maps and masks, one anomalous picture at a time.
    close(aupro_paper(&planes(&maps, &masks, 64)).unwrap().unwrap(), 0.7027735785151242);
}

/// Area under points by trapezoids, over how far they reach.
fn area(points: &[(f64, f64)]) -> f64 {
    let area: f64 = points.windows(2).map(|w| (w[1].0 - w[0].0) * (w[0].1 + w[1].1) / 2.0).sum();
    area / points.last().unwrap().0
}

/// The points that are drawn have the golden area under them, whether all are taken or as many as a chart shows.
#[test]
fn the_pro_curve_has_the_golden_area() {
    let bytes = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/metrics.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let (maps, masks) = (f64s(&file, "maps"), file.tensor("masks").unwrap().data().to_vec());
    let maps: Vec<&[f64]> = maps.chunks(64 * 64).collect();
    let masks: Vec<&[u8]> = masks.chunks(64 * 64).collect();
    let curve = PixelCurve::new(&planes(&maps, &masks, 64)).unwrap().unwrap();
    for (limit, name) in [(0.3, "aupro30"), (0.05, "aupro05")] {
        let golden = f64s(&file, name)[0];
        let all = curve.pro_points(limit, usize::MAX);
        close(area(&all), golden);
        let drawn = curve.pro_points(limit, 100);
        assert!((area(&drawn) - golden).abs() < 1e-3, "{} instead of {golden}", area(&drawn));
        assert!(drawn.len() <= 402 && drawn.len() < all.len(), "{} of {}", drawn.len(), all.len());
        for points in [&all, &drawn] {
            assert_eq!((points[0], points.last().unwrap().0), ((0.0, 0.0), limit));
            assert!(points.windows(2).all(|w| w[0].0 <= w[1].0 && w[0].1 <= w[1].1));
        }
    }
}

#[test]
fn ties_count_half() {
    // Of the four pairs (anomalous, normal) two are won, one is tied, one is lost.
    let found = roc(&[1.0, 2.0, 2.0, 3.0], &[true, false, true, false]).unwrap().unwrap();
    close(found.auroc, (0.0 + 0.5 + 0.0 + 0.0) / 4.0);
    assert_eq!(found.points, [(0.0, 0.0), (0.5, 0.0), (1.0, 0.5), (1.0, 1.0)]);
}

#[test]
fn one_class_is_undefined() {
    assert!(roc(&[1.0, 2.0], &[false, false]).unwrap().is_none());
    assert!(roc(&[1.0, 2.0], &[true, true]).unwrap().is_none());
    assert!(roc(&[], &[]).unwrap().is_none());
    assert!(best_f1(&[1.0], &[false]).unwrap().is_none());
    assert!(PixelCurve::new(&planes(&[&[1f32, 2.0][..]], &[&[0u8, 0][..]], 2)).unwrap().is_none());
    assert!(PixelCurve::new(&planes(&[&[1f32, 2.0][..]], &[&[1u8, 1][..]], 2)).unwrap().is_none());
    assert!(aupro_paper(&planes(&[&[1f32, 2.0][..]], &[&[0u8, 0][..]], 2)).unwrap().is_none());
}

#[test]
fn not_a_number_names_its_picture() {
    let message = roc(&[1.0, f64::NAN], &[true, false]).unwrap_err().to_string();
    assert!(message.contains("picture 1"), "{message}");
    assert!(best_f1(&[f64::NAN], &[true]).is_err());
    let (good, bad) = ([1f32, 2.0], [1f32, f32::NAN]);
    let Err(e) = PixelCurve::new(&planes(&[&good[..], &bad], &[&[0u8, 1][..], &[0, 1]], 2)) else { panic!("accepted") };
    assert!(e.to_string().contains("picture 1"), "{e}");
    assert!(aupro_paper(&planes(&[&bad[..]], &[&[0u8, 1][..]], 2)).is_err());
    assert!(roc(&[1.0], &[]).is_err(), "lengths differ");
}

/// Scores that differ by rounding are judged alike: those of another batch size differ by some 1e-7 of themselves.
#[test]
fn rounding_turns_no_verdict_over() {
    let noise = |i: usize, s: f64| s * (1.0 + 1e-6 * ((i * 7919 % 13) as f64 / 6.0 - 1.0));
    for seed in 1..200usize {
        let score = |i: usize| 0.2 + (i * seed * 31 % 101) as f64 / 100.0;
        let scores: Vec<f64> = (0..40).map(score).collect();
        let labels: Vec<bool> = (0..40).map(|i| score(i) + (i * seed % 7) as f64 / 10.0 > 0.9).collect();
        let Some(best) = best_f1(&scores, &labels).unwrap() else { continue };
        let other: Vec<f64> = scores.iter().enumerate().map(|(i, s)| noise(i, *s)).collect();
        let of = |scores: &[f64]| Confusion::new(scores, &labels, best.threshold).unwrap();
        assert_eq!(of(&scores), of(&other), "seed {seed}");
        let found = of(&scores);
        let (tp, wrong) = (found.true_positives as f64, (found.false_positives + found.false_negatives) as f64);
        close(best.f1, 2.0 * tp / (2.0 * tp + wrong));
    }
    // Two neighbouring numbers have none between them.
    let (low, high) = (1.0, 1f64.next_up());
    assert_eq!(best_f1(&[low, high], &[false, true]).unwrap().unwrap().threshold, high);
}

#[test]
fn first_of_equal_f1_thresholds_ascending() {
    // Thresholds 1 (2 of 4 right: P 0.5, R 1, F1 2/3) and 4 (P 1, R 0.5, F1 2/3) tie; scikit-learn's argmax takes 1. Below it there is
    // none: a thousandth of 3 is taken off.
    let (scores, labels) = ([4.0, 3.0, 2.0, 1.0], [true, false, false, true]);
    let best = best_f1(&scores, &labels).unwrap().unwrap();
    assert_eq!(best, BestF1 { f1: 2.0 / 3.0, threshold: 0.997, accuracy: 0.5 });
    let at_4 = Confusion::new(&scores, &labels, 4.0).unwrap();
    assert_eq!(at_4.accuracy(), Some(0.75));
    assert_eq!((at_4.recall(), at_4.precision(), at_4.false_alarm_rate()), (Some(0.5), Some(1.0), Some(0.0)));
    let none = Confusion::new(&[], &[], 0.0).unwrap();
    assert_eq!((none.recall(), none.precision(), none.accuracy()), (None, None, None));
    // All are anomalous: whoever calls everything so is right, which says nothing.
    assert_eq!(best_f1(&[1.0, 2.0], &[true, true]).unwrap(), None);
}

#[test]
fn precision_over_recall_is_scikit_learns() {
    // average_precision_score([1, 0, 1, 0, 1, 1], [.9, .8, .8, .4, .35, .1]) = 0.73333...
    let scores = [0.9, 0.8, 0.8, 0.4, 0.35, 0.1];
    let labels = [true, false, true, false, true, true];
    let found = precision_recall(&scores, &labels).unwrap().unwrap();
    close(found.average, 0.7333333333333333);
    // precision_recall_curve, from the highest threshold on.
    let right = [(0.0, 1.0), (0.25, 1.0), (0.5, 2.0 / 3.0), (0.5, 0.5), (0.75, 0.6), (1.0, 2.0 / 3.0)];
    assert_eq!(found.points.len(), right.len());
    for (found, right) in found.points.iter().zip(right) {
        close(found.0, right.0);
        close(found.1, right.1);
    }
    assert!(precision_recall(&[1.0], &[true]).unwrap().is_none());
    assert!(precision_recall(&[1.0], &[false]).unwrap().is_none());
}

#[test]
fn regions_touching_at_a_corner_are_one() {
    // Two diagonal pixels form one region, the third pixel another. Found first: the pair's first pixel (PRO 1/4), then
    // the lone one (3/4), then a normal pixel, then the pair's second.
    #[rustfmt::skip]
    let mask = [1, 0, 0, 0,
                0, 1, 0, 1];
    #[rustfmt::skip]
    let map = [9f32, 0.0, 0.0, 0.0,
               7.0,  6.0, 0.0, 8.0];
    let curve = PixelCurve::new(&planes(&[&map[..]], &[&mask[..]], 4)).unwrap().unwrap();
    // FPR: 0 up to PRO 3/4, 1/5 at 3/4, still 1/5 at 1, then 1 at 1.
    close(curve.aupro(0.2), 0.75);
    close(curve.aupro(1.0), 0.2 * 0.75 + 0.8);
    close(curve.aupro(0.1), 0.75);
    assert_eq!(curve.pro_points(0.1, 1000), [(0.0, 0.0), (0.0, 0.25), (0.0, 0.75), (0.1, 0.75)]);
    close(curve.auroc(), (15.0 - 1.0) / 15.0);
}

#[test]
fn a_perfect_and_a_constant_map() {
    let (mask, width) = ([0u8, 1, 0, 0], 4);
    let perfect = PixelCurve::new(&planes(&[&[0f32, 1.0, 0.0, 0.0][..]], &[&mask[..]], width)).unwrap().unwrap();
    close(perfect.aupro(0.3), 1.0);
    close(perfect.auroc(), 1.0);
    close(aupro_paper(&planes(&[&[0f32, 1.0, 0.0, 0.0][..]], &[&mask[..]], width)).unwrap().unwrap(), 1.0);
    // Everything is found at once: the curve is the diagonal, its area up to x is x*x/2.
    let constant = PixelCurve::new(&planes(&[&[1f32; 4][..]], &[&mask[..]], width)).unwrap().unwrap();
    close(constant.aupro(0.3), 0.15);
    close(constant.auroc(), 0.5);
    close(aupro_paper(&planes(&[&[1f32; 4][..]], &[&mask[..]], width)).unwrap().unwrap(), 0.0);
}
