//! Evaluation of a detector on a dataset's test pictures.

use super::pipeline;
use super::scorer::Scorer;
use crate::data::folder::{TestImage, TestSet};
use crate::data::image::{Picture, Source, load_mask};
use crate::metrics::f1::best_f1;
use crate::metrics::pro::{PixelCurve, aupro_paper};
use crate::metrics::roc::roc;
use crate::{Error, Result, invalid};
use rayon::prelude::*;
use std::time::Instant;

/// Which area under the per-region-overlap curve.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ProDefinition {
    /// Every map value a threshold, over the whole set, up to a false positive rate of 0.3.
    #[default]
    Exact,
    /// The authors': 200 thresholds per anomalous picture, mean over pictures.
    Paper,
}

impl ProDefinition {
    /// Names, each with a line of help.
    pub const NAMES: &[(&str, &str)] = &[
        ("exact", "Every map value a threshold, over the whole set, up to a false positive rate of 0.3"),
        ("paper", "The authors': 200 thresholds per anomalous picture, mean over pictures"),
    ];

    pub fn find(name: &str) -> Result<Self> {
        match name {
            "exact" => Ok(ProDefinition::Exact),
            "paper" => Ok(ProDefinition::Paper),
            _ => Err(Error::Usage(format!("unknown definition of AUPRO '{name}': expected exact or paper"))),
        }
    }

    pub fn describe(self) -> &'static str {
        match self {
            ProDefinition::Exact => "AUPRO@0.3, exact, over the whole test set",
            ProDefinition::Paper => {
                "AUPRO@0.3 as the authors compute it: mean over anomalous pictures of 200-threshold curves"
            }
        }
    }
}

/// How far the false positive rate is integrated.
const PRO_LIMIT: f64 = 0.3;

/// Metrics of a set of pictures; `None` where the set does not define them (one class only, no masks).
#[derive(Clone, Debug, Default, serde::Serialize)]
pub struct Metrics {
    pub image_auroc: Option<f64>,
    pub best_f1: Option<f64>,
    /// At the threshold of the best F1.
    pub accuracy: Option<f64>,
    pub pixel_auroc: Option<f64>,
    pub aupro30: Option<f64>,
}

/// Everything an evaluation finds.
pub struct Evaluation {
    pub overall: Metrics,
    /// Each defect type against all normal pictures, with its number of pictures.
    pub per_type: Vec<(String, usize, Metrics)>,
    /// Mean milliseconds from the first picture's decoding to the last one's score, over the number of pictures.
    pub ms_per_image: f64,
    /// Score of every test picture.
    pub scores: Vec<f64>,
    /// Threshold of the best F1.
    pub best_threshold: Option<f64>,
    pub maps: Vec<Vec<f32>>,
    pub masks: Vec<Vec<u8>>,
    /// The pictures as the network saw them.
    pub pixels: Vec<Vec<u8>>,
}

/// Scores every test picture and compares with labels and masks. A picture that cannot be read is an error: metrics over
/// what is left could not be compared with anybody else's. `progress` hears how many are done.
pub fn evaluate(
    scorer: &mut Scorer,
    set: &TestSet,
    pro: ProDefinition,
    mut progress: impl FnMut(usize),
) -> Result<Evaluation> {
    let size = scorer.image_size();
    let (mut scores, mut maps, mut pixels, mut shown) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let sources: Vec<Source> = set.images.iter().map(|i| i.path.clone().into()).collect();
    let started = Instant::now();
    pipeline::run(
        scorer,
        |take| {
            sources.into_iter().map(Ok).all(take);
            Ok(())
        },
        |outcome| {
            let (picture, scored) = outcome.result?;
            scores.push(scored.score);
            maps.push(scored.map);
            pixels.push(picture.pixels);
            shown.push(picture.shown);
            progress(scores.len());
            Ok(())
        },
    )?;
    let ms_per_image = 1e3 * started.elapsed().as_secs_f64() / set.images.len() as f64;
    let mask = |(i, picture): (&TestImage, &Picture)| match &i.mask {
        Some(path) => load_mask(path, picture, size),
        None => Ok(vec![0; size * size]),
    };
    let masks: Vec<Vec<u8>> = set.images.par_iter().zip(&shown).map(mask).collect::<Result<_>>()?;
    if maps.iter().flatten().any(|v| !v.is_finite()) {
        invalid!("the anomaly maps hold values that are not numbers: the model is broken");
    }

    let subset = |keep: &dyn Fn(&str) -> bool| -> Result<(usize, Metrics, Option<f64>)> {
        let chosen: Vec<usize> = (0..scores.len()).filter(|&i| keep(&set.images[i].kind)).collect();
        let of_chosen: Vec<f64> = chosen.iter().map(|&i| scores[i]).collect();
        let labels: Vec<bool> = chosen.iter().map(|&i| set.images[i].is_anomalous()).collect();
        let f1 = best_f1(&of_chosen, &labels)?;
        let mut m = Metrics {
            image_auroc: roc(&of_chosen, &labels)?.map(|r| r.auroc),
            best_f1: f1.as_ref().map(|f| f.f1),
            accuracy: f1.as_ref().map(|f| f.accuracy),
            ..Metrics::default()
        };
        if set.has_masks() {
            let of_chosen: Vec<&[f32]> = chosen.iter().map(|&i| maps[i].as_slice()).collect();
            let masks: Vec<&[u8]> = chosen.iter().map(|&i| masks[i].as_slice()).collect();
            let curve = PixelCurve::new(&of_chosen, &masks, size)?;
            m.pixel_auroc = curve.as_ref().map(|c| c.auroc());
            m.aupro30 = match pro {
                ProDefinition::Exact => curve.map(|c| c.aupro(PRO_LIMIT)),
                ProDefinition::Paper => aupro_paper(&of_chosen, &masks, size)?,
            };
        }
        let anomalous = labels.iter().filter(|l| **l).count();
        Ok((anomalous, m, f1.map(|f| f.threshold)))
    };
    let (_, overall, best_threshold) = subset(&|_| true)?;
    let mut kinds: Vec<&str> = set.images.iter().filter(|i| i.is_anomalous()).map(|i| i.kind.as_str()).collect();
    kinds.dedup();
    let mut per_type = Vec::new();
    for kind in kinds {
        let (count, metrics, _) = subset(&|k| k == kind || k == "good")?;
        per_type.push((kind.to_string(), count, metrics));
    }
    Ok(Evaluation { overall, per_type, ms_per_image, scores, best_threshold, maps, masks, pixels })
}
