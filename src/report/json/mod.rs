//! What is found as JSON, the same for every front end.

pub mod path;

use super::evaluation::{Known, left_out, warnings};
use crate::detector::file::Config;
use crate::metrics::confusion::Confusion;
use crate::score::evaluate::{Evaluation, Judged, Metrics, NoMask, ProDefinition};
use crate::score::normalization::Normalization;
use serde_json::{Value, json};
use std::path::Path;

/// Counts and rates of an operating point.
fn rates(threshold: Option<f64>, c: &Confusion) -> Value {
    json!({
        "threshold": threshold,
        "true_positives": c.true_positives, "false_negatives": c.false_negatives,
        "false_positives": c.false_positives, "true_negatives": c.true_negatives,
        "recall": c.recall(), "false_alarm_rate": c.false_alarm_rate(),
        "precision": c.precision(), "accuracy": c.accuracy(),
    })
}

fn numbers(e: &Evaluation, m: &Metrics) -> Value {
    json!({
        "operating_point": m.operating.as_ref().map(|c| rates(e.threshold, c)),
        "image_auroc": m.image_auroc, "pixel_auroc": m.pixel_auroc, "aupro30": m.aupro30,
        "best_f1": m.best.map(|b| b.f1), "best_f1_threshold": m.best.map(|b| b.threshold),
        "best_f1_accuracy": m.best.map(|b| b.accuracy),
    })
}

/// Every number of an evaluation, as `ckaad eval --format json` prints it; with `scores`, every picture's as well.
pub fn evaluation(e: &Evaluation, known: &Known, config: &Config, pro: ProDefinition, scores: bool) -> Value {
    let mut object = numbers(e, &e.overall);
    let per_type = e.per_type.iter().map(|(kind, count, m)| {
        let mut value = numbers(e, m);
        value["images"] = (*count).into();
        (kind.clone(), value)
    });
    object["per_type"] = Value::Object(per_type.collect());
    if let Some(average) = e.average() {
        let per_category = e.per_category.iter().map(|(name, _, m)| (name.clone(), numbers(e, m)));
        object["per_category"] = Value::Object(per_category.collect());
        object["average"] = json!({
            "image_auroc": average.image_auroc, "pixel_auroc": average.pixel_auroc, "aupro30": average.aupro30,
            "best_f1": average.best_f1,
        });
    }
    object["threshold"] = e.threshold.into();
    object["pictures"] = json!({
        "normal": e.count(false), "anomalous": e.count(true),
        "unreadable": e.unreadable.len(),
        "without_mask": e.without_mask(|why| *why == NoMask::Missing),
        "empty_mask": e.without_mask(|why| *why == NoMask::Empty),
        "unreadable_mask": e.without_mask(|why| matches!(why, NoMask::Unreadable(_))),
    });
    object["left_out"] = left_out(e).into();
    let warning = |(path, warning): (&Path, &str)| {
        let mut object = path::object(path);
        object["warning"] = warning.into();
        object
    };
    object["warnings"] = warnings(e).into_iter().map(warning).collect();
    for (key, paths) in [("trained_on", &known.trained_on), ("calibrated_on", &known.calibrated_on)] {
        object[key] = paths.iter().map(|p| path::object(p)).collect();
    }
    object["ms_per_image"] = e.ms_per_image.into();
    object["pro_definition"] = pro.describe().into();
    if scores {
        let normalization = Normalization::new(e.threshold, config.calibration.as_ref());
        let one = |p: &Judged| {
            let mut object = json!({
                "type": p.image.kind, "anomalous": p.image.anomalous, "score": p.score,
                "score_normalized": normalization.map(|n| n.of(p.score)),
                "called_anomalous": e.threshold.map(|t| p.score >= t), "truth": p.truth.name(),
            });
            path::put(&mut object, "path", p.image.path());
            object
        };
        object["scores"] = e.pictures.iter().map(one).collect();
    }
    object
}
