//! Evaluation of a detector on a dataset's test pictures.

use super::map::Map;
use super::pipeline::{self, Wanted};
use super::scorer::{Scored, Scorer};
use crate::data::digest::Digest;
use crate::data::image::{Picture, load_mask};
use crate::data::layout::{Sample, TestSet};
use crate::data::listing::Meant;
use crate::metrics::confusion::Confusion;
use crate::metrics::f1::{BestF1, best_f1};
use crate::metrics::pro::{PixelCurve, Plane, aupro_paper};
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
pub const PRO_LIMIT: f64 = 0.3;
/// Of each axis of the PRO curve: finer than a chart shows.
const PRO_STEPS: usize = 1000;

/// Metrics of a set of pictures; `None` where the set does not define them (one class only, no masks, no threshold).
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    /// At the model's threshold.
    pub operating: Option<Confusion>,
    pub image_auroc: Option<f64>,
    /// With a threshold chosen on these very pictures.
    pub best: Option<BestF1>,
    pub pixel_auroc: Option<f64>,
    pub aupro30: Option<f64>,
    /// The curve of the exact definition, whichever `aupro30` has.
    pub pro: Option<ProCurve>,
}

/// Per-region overlap over the false positive rate of pixels, up to 0.3.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ProCurve {
    /// (false positive rate, PRO), close enough for drawing.
    pub points: Vec<(f64, f64)>,
    /// The exact area under it, over 0.3.
    pub aupro: f64,
}

/// What is known of where a picture's anomalies are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Truth {
    /// Nowhere: it is normal.
    Normal,
    /// Non-zero where they are, at the shape of the map.
    Marked(Vec<u8>),
    Unknown(NoMask),
}

/// Why it is not known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoMask {
    Missing,
    /// All of it is 0.
    Empty,
    Unreadable(String),
}

impl Truth {
    /// In a word, for lists.
    pub fn name(&self) -> &'static str {
        match self {
            Truth::Normal => "normal",
            Truth::Marked(_) => "mask",
            Truth::Unknown(NoMask::Missing) => "no mask",
            Truth::Unknown(NoMask::Empty) => "empty mask",
            Truth::Unknown(NoMask::Unreadable(_)) => "unreadable mask",
        }
    }
}

/// One picture that was scored.
pub struct Judged {
    pub image: Sample,
    pub score: f64,
    pub map: Map,
    /// Where the map looks, as long; everywhere where it is none.
    pub seen: Option<Vec<bool>>,
    pub truth: Truth,
    /// The picture at the shape of the map.
    pub pixels: Vec<u8>,
    /// The file's picture without its pixels.
    pub shown: Picture,
    /// Of the file.
    pub digest: Option<Digest>,
}

/// Everything an evaluation finds.
pub struct Evaluation {
    pub overall: Metrics,
    /// Where several categories are evaluated together, each by itself, with its number of anomalous pictures.
    pub per_category: Vec<(String, usize, Metrics)>,
    /// Each defect type against all normal pictures (of its category), with its number of pictures.
    pub per_type: Vec<(String, usize, Metrics)>,
    /// Mean milliseconds from the first picture's decoding to the last one's score, over the number of pictures.
    pub ms_per_image: f64,
    /// Scores of at least this are called anomalous; the model's.
    pub threshold: Option<f64>,
    pub pictures: Vec<Judged>,
    /// Pictures that could not be read and count nowhere, each with the reason, which names it.
    pub unreadable: Vec<Error>,
    /// Folders that were left out of the set, each with the reason, which names it.
    pub folders: Vec<String>,
}

/// Means over categories; `None` where one of them does not define the metric.
#[derive(Clone, Copy, Debug)]
pub struct Average {
    pub image_auroc: Option<f64>,
    pub best_f1: Option<f64>,
    pub pixel_auroc: Option<f64>,
    pub aupro30: Option<f64>,
}

impl Evaluation {
    /// Of several categories, each counting the same.
    pub fn average(&self) -> Option<Average> {
        let mean = |value: fn(&Metrics) -> Option<f64>| {
            let values: Option<Vec<f64>> = self.per_category.iter().map(|(_, _, m)| value(m)).collect();
            values.map(|v| v.iter().sum::<f64>() / v.len() as f64)
        };
        (!self.per_category.is_empty()).then(|| Average {
            image_auroc: mean(|m| m.image_auroc),
            best_f1: mean(|m| m.best.map(|b| b.f1)),
            pixel_auroc: mean(|m| m.pixel_auroc),
            aupro30: mean(|m| m.aupro30),
        })
    }

    /// Scored pictures of one class.
    pub fn count(&self, anomalous: bool) -> usize {
        self.pictures.iter().filter(|p| p.image.anomalous == anomalous).count()
    }

    /// Anomalous pictures of whose masks this is true.
    pub fn without_mask(&self, why: impl Fn(&NoMask) -> bool) -> usize {
        self.pictures.iter().filter(|p| matches!(&p.truth, Truth::Unknown(no) if why(no))).count()
    }
}

/// Scores every test picture and compares with labels and masks. Pictures that cannot be read are left out, those without a
/// usable mask count in image metrics only. `threshold` is the model's; `progress` hears how many pictures are done, and ends the work
/// by an error.
pub fn evaluate(
    scorer: &mut Scorer,
    set: &TestSet,
    threshold: Option<f64>,
    pro: ProDefinition,
    mut progress: impl FnMut(usize) -> Result<()>,
) -> Result<Evaluation> {
    let (mut scored, mut unreadable, mut done) = (Vec::new(), Vec::new(), 0);
    let sources: Vec<Meant> = set.images.iter().map(|i| i.source.clone().into()).collect();
    let mut images = set.images.iter();
    let started = Instant::now();
    pipeline::run(
        scorer,
        Wanted { digests: true, small: true, ..Wanted::default() },
        |take| {
            sources.into_iter().map(Ok).all(take);
            Ok(())
        },
        |outcome| {
            let image = images.next().cloned();
            done += 1;
            progress(done)?;
            match (outcome.result, image) {
                (Ok((loaded, result)), Some(image)) => scored.push((image, loaded, result)),
                (Err(e), _) => unreadable.push(e),
                (Ok(_), None) => invalid!("more pictures were scored than there are"),
            }
            Ok(())
        },
    )?;
    let ms_per_image = 1e3 * started.elapsed().as_secs_f64() / set.images.len() as f64;
    let judge = |(image, loaded, result): (Sample, pipeline::Loaded, Scored)| {
        let Scored { score, map } = result;
        let (truth, seen) = (truth(&image, &loaded.shown, map.shape()), loaded.frame.seen());
        Judged { image, score, map, seen, truth, pixels: loaded.small, shown: loaded.shown, digest: loaded.digest }
    };
    let pictures: Vec<Judged> = scored.into_par_iter().map(judge).collect();
    if pictures.iter().flat_map(|p| &p.map.values).any(|v| !v.is_finite()) {
        invalid!("the anomaly maps hold values that are not numbers: the model is broken");
    }
    let of = |keep: &dyn Fn(&Judged) -> bool| {
        let chosen: Vec<&Judged> = pictures.iter().filter(|p| keep(p)).collect();
        metrics(&chosen, threshold, pro)
    };
    let overall = of(&|_| true)?;
    let mut categories: Vec<&str> = set.images.iter().map(|i| i.category.as_str()).filter(|c| !c.is_empty()).collect();
    categories.dedup();
    let mut per_category = Vec::new();
    for name in categories {
        let count = pictures.iter().filter(|p| p.image.category == name && p.image.anomalous).count();
        per_category.push((name.to_string(), count, of(&|p| p.image.category == name)?));
    }
    let mut kinds: Vec<(&str, &str)> =
        set.images.iter().filter(|i| i.anomalous).map(|i| (i.category.as_str(), i.kind.as_str())).collect();
    kinds.dedup();
    let mut per_type = Vec::new();
    for (category, kind) in kinds {
        let count = pictures.iter().filter(|p| p.image.kind == kind).count();
        let counts = |p: &Judged| p.image.kind == kind || !p.image.anomalous && p.image.category == category;
        per_type.push((kind.to_string(), count, of(&counts)?));
    }
    Ok(Evaluation {
        overall,
        per_category,
        per_type,
        ms_per_image,
        threshold,
        pictures,
        unreadable,
        folders: set.left_out.clone(),
    })
}

fn metrics(pictures: &[&Judged], threshold: Option<f64>, pro: ProDefinition) -> Result<Metrics> {
    let scores: Vec<f64> = pictures.iter().map(|p| p.score).collect();
    let labels: Vec<bool> = pictures.iter().map(|p| p.image.anomalous).collect();
    let mut found = Metrics {
        operating: threshold.map(|t| Confusion::new(&scores, &labels, t)).transpose()?,
        image_auroc: roc(&scores, &labels)?.map(|r| r.auroc),
        best: best_f1(&scores, &labels)?,
        ..Metrics::default()
    };
    let nothing = vec![0; pictures.iter().map(|p| p.map.values.len()).max().unwrap_or_default()];
    let mut planes = Vec::new();
    for p in pictures {
        let map = &p.map.values[..];
        let mask = match &p.truth {
            Truth::Normal => &nothing[..map.len()],
            Truth::Marked(mask) => mask,
            Truth::Unknown(_) => continue,
        };
        planes.push(Plane { map, mask, width: p.map.width, seen: p.seen.as_deref() });
    }
    let curve = PixelCurve::new(&planes)?;
    found.pixel_auroc = curve.as_ref().map(|c| c.auroc());
    found.pro = curve.map(|c| ProCurve { points: c.pro_points(PRO_LIMIT, PRO_STEPS), aupro: c.aupro(PRO_LIMIT) });
    found.aupro30 = match pro {
        ProDefinition::Exact => found.pro.as_ref().map(|c| c.aupro),
        ProDefinition::Paper => aupro_paper(&planes)?,
    };
    Ok(found)
}

/// The union of a picture's masks.
fn truth(image: &Sample, shown: &Picture, shape: (usize, usize)) -> Truth {
    if !image.anomalous {
        return Truth::Normal;
    }
    if image.masks.is_empty() {
        return Truth::Unknown(NoMask::Missing);
    }
    match load_mask(&image.masks, shown, shape) {
        Ok(mask) if mask.contains(&1) => Truth::Marked(mask),
        Ok(_) => Truth::Unknown(NoMask::Empty),
        Err(e) => Truth::Unknown(NoMask::Unreadable(e.to_string())),
    }
}
