//! An evaluation as an HTML report: which numbers and pictures are shown.

use super::heatmap::Scale;
use super::html::{MetricsRow, Rank, Report, Row, Shot, choose};
use crate::data::digest::Digests;
use crate::detector::file::Config;
use crate::error::plural;
use crate::metrics::precision_recall::precision_recall;
use crate::metrics::roc::roc;
use crate::output::write_atomically;
use crate::score::evaluate::{Evaluation, Judged, Metrics, NoMask, ProDefinition, Truth};
use crate::score::normalization::Normalization;
use crate::{Error, Result};
use std::path::Path;

/// Pictures in the gallery, at most, and at least of each kind: a page of megabytes opens at once, one of hundreds does not.
const SHOWN: usize = 96;
const PER_KIND: usize = 4;

/// What stands above the numbers.
pub struct Head {
    pub title: String,
    pub note: String,
    /// The command line that made it, if one did.
    pub command: String,
    pub settings: Vec<(String, String)>,
}

/// What does not count in an evaluation, and why: one line each.
pub fn left_out(e: &Evaluation) -> Vec<String> {
    let mut all = e.folders.clone();
    all.extend(e.unreadable.iter().map(Error::to_string));
    for p in &e.pictures {
        if let Truth::Unknown(why) = &p.truth {
            let name = p.image.path().display();
            match why {
                NoMask::Missing => {}
                NoMask::Empty => all.push(format!("{name}: its mask marks nothing; left out of pixel metrics")),
                NoMask::Unreadable(e) => all.push(format!("{e}; {name} is left out of pixel metrics")),
            }
        }
    }
    let missing = e.without_mask(|why| *why == NoMask::Missing);
    // Of a dataset without any, pixel metrics are not expected.
    if missing > 0 && missing < e.count(true) {
        all.push(match missing {
            1 => "1 anomalous picture has no mask; left out of pixel metrics".to_string(),
            n => format!("{n} anomalous pictures have no mask; left out of pixel metrics"),
        });
    }
    all
}

/// Pictures that may not look as they were meant, and why.
pub fn warnings(e: &Evaluation) -> Vec<(&Path, &str)> {
    e.pictures.iter().flat_map(|p| p.shown.warnings.iter().map(|w| (p.image.path(), &**w))).collect()
}

/// Pictures that the model knows already. What it makes of them is better than what it makes of new ones.
pub struct Known<'a> {
    pub trained_on: Vec<&'a Path>,
    /// The thresholds were taken from their scores, without training on them.
    pub calibrated_on: Vec<&'a Path>,
}

impl<'a> Known<'a> {
    pub fn new(config: &Config, e: &'a Evaluation) -> Self {
        let of = |known: &Digests, but: &Digests| -> Vec<&Path> {
            let is = |p: &&Judged| p.digest.is_some_and(|d| known.contains(d) && !but.contains(d));
            e.pictures.iter().filter(is).map(|p| p.image.path()).collect()
        };
        let trained_on = of(&config.trained_on, &Digests::default());
        Known { trained_on, calibrated_on: of(&config.calibrated_on, &config.trained_on) }
    }

    /// A sentence for each kind that there is, of an evaluation of `all` pictures.
    pub fn describe(&self, all: usize) -> Vec<String> {
        let mut lines = Vec::new();
        if let Some(first) = self.trained_on.first() {
            let (n, of, first) = (self.trained_on.len(), plural(all, "picture"), first.display());
            lines.push(format!(
                "the model was trained on {n} of {of}, as {first}: new ones would be told apart less well"
            ));
        }
        if let Some(first) = self.calibrated_on.first() {
            let (n, of, first) = (self.calibrated_on.len(), plural(all, "picture"), first.display());
            lines.push(format!(
                "the model's threshold was taken from {n} of {of}, as {first}: their false alarms follow from that"
            ));
        }
        lines
    }
}

/// Writes the report atomically.
pub fn write(path: &Path, head: Head, config: &Config, e: &Evaluation, pro: ProDefinition) -> Result<()> {
    let row = |name: &str, anomalous: usize, m: &Metrics| MetricsRow {
        name: name.to_string(),
        anomalous: Some(anomalous),
        recall: m.operating.and_then(|c| c.recall()),
        image_auroc: m.image_auroc,
        pixel_auroc: m.pixel_auroc,
        aupro: m.aupro30,
        best_f1: m.best.map(|b| b.f1),
        best_threshold: m.best.map(|b| b.threshold),
    };
    let mut metrics = vec![row("overall", e.count(true), &e.overall)];
    metrics.extend(e.per_category.iter().chain(&e.per_type).map(|(kind, count, m)| row(kind, *count, m)));
    metrics.extend(e.average().map(|average| MetricsRow {
        name: "average of the categories".into(),
        anomalous: None,
        recall: None,
        image_auroc: average.image_auroc,
        pixel_auroc: average.pixel_auroc,
        aupro: average.aupro30,
        best_f1: average.best_f1,
        best_threshold: None,
    }));
    let scores: Vec<f64> = e.pictures.iter().map(|p| p.score).collect();
    let labels: Vec<bool> = e.pictures.iter().map(|p| p.image.anomalous).collect();
    let judged: Vec<(&str, bool, f64)> =
        e.pictures.iter().map(|p| (p.image.kind.as_str(), p.image.anomalous, p.score)).collect();
    let mut kinds: Vec<&str> = judged.iter().map(|j| j.0).collect();
    kinds.dedup();
    let per_kind = (SHOWN / kinds.len().max(1)).max(PER_KIND);
    let pictures: Vec<Row> = e.pictures.iter().map(picture).collect();
    let scale = config.pixel_threshold.or(e.threshold).map(Scale::above);
    let known = Known::new(config, e).describe(e.pictures.len());
    let of_pictures = warnings(e).into_iter().map(|(path, text)| format!("{}: {text}", path.display()));
    let report = Report {
        title: head.title,
        note: head.note,
        command: head.command,
        settings: head.settings,
        threshold: e.threshold,
        normalization: Normalization::new(e.threshold, config.calibration.as_ref()),
        threshold_origin: origin(config, e.threshold)?,
        operating: e.overall.operating,
        left_out: left_out(e),
        warnings: known.into_iter().chain(of_pictures).collect(),
        metrics,
        pro_definition: pro.describe().to_string(),
        roc: roc(&scores, &labels)?.map(|r| r.points).unwrap_or_default(),
        pro: e.overall.pro.clone(),
        precision_recall: precision_recall(&scores, &labels)?.map(|c| c.points).unwrap_or_default(),
        pictures,
        gallery: choose(&judged, per_kind).into_iter().map(|(i, rank)| shot(&e.pictures[i], rank)).collect(),
        chosen: format!(
            "of each type up to {per_kind}, half of them the most doubtful (wrongly judged ones first), the others the clearest"
        ),
        scale: Some(scale.unwrap_or_else(|| Scale::of_maps(e.pictures.iter().map(|p| &p.map.values[..])))),
    };
    let html = report.html()?;
    write_atomically(path, |f| f.write_all(html.as_bytes()))
}

/// What the threshold rests on, if the model tells.
pub fn origin(config: &Config, threshold: Option<f64>) -> Result<String> {
    let (Some(calibration), Some(threshold)) = (&config.calibration, threshold) else { return Ok(String::new()) };
    let doubt = calibration.doubt().map_or(String::new(), |doubt| format!(". {doubt}"));
    Ok(format!("{}{doubt}", calibration.describe(threshold)?))
}

fn picture(p: &Judged) -> Row {
    Row {
        name: p.image.path().file_name().unwrap_or_default().to_string_lossy().into_owned(),
        kind: p.image.kind.clone(),
        anomalous: Some(p.image.anomalous),
        score: p.score,
        truth: p.truth.name().into(),
    }
}

fn shot(p: &Judged, rank: Rank) -> Shot {
    Shot {
        rank: Some(rank),
        row: picture(p),
        shown: (p.shown.width, p.shown.height),
        rgb: p.pixels.clone(),
        mask: match &p.truth {
            Truth::Marked(mask) => Some(mask.clone()),
            Truth::Normal | Truth::Unknown(_) => None,
        },
        map: p.map.clone(),
    }
}
