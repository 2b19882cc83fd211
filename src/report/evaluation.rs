//! An evaluation as an HTML report: which numbers and pictures are shown.

use super::html::{MetricsRow, Report, Shot, choose};
use crate::Result;
use crate::data::folder::TestSet;
use crate::metrics::roc::roc;
use crate::output::write_atomically;
use crate::score::evaluate::{Evaluation, Metrics, ProDefinition};
use std::path::Path;

/// Pictures of each kind in the gallery.
const PER_KIND: usize = 4;

/// What stands above the numbers.
pub struct Head {
    pub title: String,
    pub note: String,
    /// The command line that made it, if one did.
    pub command: String,
    pub settings: Vec<(String, String)>,
    /// The model's threshold; without one, that of the best F1 is shown.
    pub threshold: Option<f64>,
}

/// Writes the report atomically.
pub fn write(path: &Path, head: Head, e: &Evaluation, set: &TestSet, pro: ProDefinition) -> Result<()> {
    let row = |name: &str, pictures: usize, m: &Metrics| MetricsRow {
        name: name.to_string(),
        pictures,
        image_auroc: m.image_auroc,
        best_f1: m.best_f1,
        accuracy: m.accuracy,
        pixel_auroc: m.pixel_auroc,
        aupro: m.aupro30,
    };
    let mut metrics = vec![row("overall", set.images.len(), &e.overall)];
    metrics.extend(e.per_type.iter().map(|(kind, count, m)| row(kind, *count, m)));
    let labels: Vec<bool> = set.images.iter().map(|i| i.is_anomalous()).collect();
    let judged: Vec<(&str, bool, f64)> =
        set.images.iter().zip(&e.scores).map(|(i, s)| (i.kind.as_str(), i.is_anomalous(), *s)).collect();
    let threshold = head.threshold.or(e.best_threshold);
    let shot = |i: usize| Shot {
        name: set.images[i].path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        kind: set.images[i].kind.clone(),
        anomalous: labels[i],
        score: e.scores[i],
        size: e.maps[i].len().isqrt(),
        rgb: e.pixels[i].clone(),
        mask: e.masks[i].clone(),
        map: e.maps[i].clone(),
    };
    let hottest = e.maps.iter().flatten().copied().fold(0.0f32, f32::max);
    let report = Report {
        title: head.title,
        note: head.note,
        command: head.command,
        settings: head.settings,
        metrics,
        pro_definition: pro.describe().to_string(),
        roc: roc(&e.scores, &labels)?.map(|r| r.points).unwrap_or_default(),
        scores: e.scores.iter().copied().zip(labels.iter().copied()).collect(),
        threshold,
        gallery: choose(&judged, PER_KIND).into_iter().map(shot).collect(),
        heat_range: (0.0, threshold.map_or(hottest, |t| 2.0 * t as f32)),
    };
    let html = report.html()?;
    write_atomically(path, |f| f.write_all(html.as_bytes()))
}
