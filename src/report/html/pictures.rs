//! The report's pictures: a table of all, and some with their heat maps.

use super::{Report, escape};
use crate::report::encode::{jpeg_rgb, png_gray};
use crate::report::heatmap::{Scale, TRUTH, heatmap, outline};
use crate::score::map::Map;
use crate::{Error, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::fmt::Write;

/// One picture's line in the table.
#[derive(Clone, Debug, Default)]
pub struct Row {
    pub name: String,
    /// The folder it lies in; empty where no folder says anything.
    pub kind: String,
    /// `None` where nobody knows.
    pub anomalous: Option<bool>,
    pub score: f64,
    /// What is known of where its anomalies are, in a word or two; may be empty.
    pub truth: String,
}

/// One picture of the gallery: all three planes have the map's shape.
#[derive(Clone, Debug, Default)]
pub struct Shot {
    pub row: Row,
    /// Why it is shown; `None` where all are for the same reason.
    pub rank: Option<Rank>,
    /// Width and height of the picture as it is shown, which the planes are stretched to.
    pub shown: (usize, usize),
    pub rgb: Vec<u8>,
    /// Non-zero where an anomaly is; `None` where that is not known, and of a normal picture.
    pub mask: Option<Vec<u8>>,
    pub map: Map,
}

/// What a model said of a picture, and whether that was right.
struct Verdict {
    text: &'static str,
    wrong: bool,
}

impl Row {
    fn verdict(&self, threshold: Option<f64>) -> Option<Verdict> {
        let called = self.score >= threshold?;
        Some(match (called, self.anomalous) {
            (true, Some(false)) => Verdict { text: "anomalous: false alarm", wrong: true },
            (false, Some(true)) => Verdict { text: "normal: missed", wrong: true },
            (true, _) => Verdict { text: "anomalous", wrong: false },
            (false, _) => Verdict { text: "normal", wrong: false },
        })
    }
}

/// Where a picture stands among those of its type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rank {
    /// Nearest to being judged wrongly, or beyond.
    Doubtful,
    Clear,
}

impl Rank {
    fn name(self) -> &'static str {
        match self {
            Rank::Doubtful => "most doubtful",
            Rank::Clear => "clearest",
        }
    }
}

/// Which pictures to show: of every kind (in the order given) up to `per_kind`, half of them the most doubtful, the others the
/// clearest, from the worst to the best: normal ones by falling score, anomalous ones by rising, so that wrongly judged ones come
/// first. `pictures` are (kind, anomalous, score); the result holds their indices.
pub fn choose(pictures: &[(&str, bool, f64)], per_kind: usize) -> Vec<(usize, Rank)> {
    let mut kinds: Vec<&str> = Vec::new();
    for (kind, ..) in pictures {
        if !kinds.contains(kind) {
            kinds.push(kind);
        }
    }
    let of_kind = |kind| {
        let mut all: Vec<usize> = (0..pictures.len()).filter(|&i| pictures[i].0 == kind).collect();
        let badness = |i: usize| if pictures[i].1 { -pictures[i].2 } else { pictures[i].2 };
        all.sort_by(|&a, &b| badness(b).total_cmp(&badness(a)));
        let shown = all.len().min(per_kind);
        let (doubtful, clear) = (shown.div_ceil(2), shown / 2);
        let of = |all: &[usize], rank: Rank| all.iter().map(|&i| (i, rank)).collect::<Vec<_>>();
        [of(&all[..doubtful], Rank::Doubtful), of(&all[all.len() - clear..], Rank::Clear)].concat()
    };
    kinds.into_iter().flat_map(of_kind).collect()
}

impl Report {
    /// Every picture, one a line, sorted by a click on a column's head.
    pub(super) fn write_table(&self, h: &mut String) {
        if self.pictures.is_empty() {
            return;
        }
        let labelled = self.pictures.iter().any(|p| p.anomalous.is_some());
        let _ = write!(
            h,
            "<h2>All {} pictures</h2>\n<div class=\"scroll tall\" tabindex=\"0\" role=\"region\" ",
            self.pictures.len()
        );
        h.push_str("aria-label=\"All pictures\"><table class=\"sorts\">\n<thead><tr>");
        let heads: &[&str] =
            if labelled { &["picture", "type", "score", "called", "truth"] } else { &["picture", "score", "called"] };
        let normalised = self.normalization.map(|_| "normalised");
        let (front, back) = heads.split_at(heads.len() - if labelled { 2 } else { 1 });
        for head in front.iter().copied().chain(normalised).chain(back.iter().copied()) {
            let _ = write!(h, "<th scope=\"col\"><button type=\"button\">{head}</button></th>");
        }
        h.push_str("</tr></thead>\n<tbody>\n");
        for row in &self.pictures {
            let _ = write!(h, "<tr><td class=\"name\">{}</td>", escape(&row.name));
            if labelled {
                let _ = write!(h, "<td>{}</td>", escape(&row.kind));
            }
            let _ = write!(h, "<td>{:.5}</td>", row.score);
            if let Some(n) = self.normalization {
                let _ = write!(h, "<td>{:.3}</td>", n.of(row.score));
            }
            match row.verdict(self.threshold) {
                Some(v) => drop(write!(h, "<td class=\"{}\">{}</td>", if v.wrong { "miss" } else { "" }, v.text)),
                None => h.push_str("<td>–</td>"),
            }
            if labelled {
                let _ = write!(h, "<td>{}</td>", escape(&row.truth));
            }
            h.push_str("</tr>\n");
        }
        h.push_str("</tbody></table></div>\n");
        if let Some(n) = self.normalization {
            let _ = writeln!(h, "<p class=\"soft\">{}</p>", n.describe());
        }
    }

    pub(super) fn write_gallery(&self, h: &mut String) -> Result<()> {
        let Some(scale) = self.scale.filter(|_| !self.gallery.is_empty()) else { return Ok(()) };
        let _ = write!(
            h,
            "<h2>Pictures</h2>\n<p class=\"soft\">{} of {}: {}. ",
            self.gallery.len(),
            self.pictures.len(),
            self.chosen
        );
        let _ = write!(h, "Heat maps share one scale, from {:.3} (blue) to {:.3} (red)", scale.from, scale.to);
        h.push_str(if scale.contour { "; what is below is left as it is.</p>\n" } else { ".</p>\n" });
        if self.gallery.iter().any(|s| s.mask.is_some()) {
            let [r, g, b] = TRUTH;
            let predicted = if scale.contour { "<i class=\"key predicted\"></i>what the model finds, " } else { "" };
            let _ = writeln!(
                h,
                "<p class=\"legend soft\">Outlines on heat maps: {predicted}<i class=\"key\" style=\"background: rgb({r} {g} {b})\"></i>\
                 the mask.</p>"
            );
        }
        h.push_str("<div class=\"pages\"></div>\n<div class=\"gallery\">");
        for shot in &self.gallery {
            self.write_shot(h, shot, &scale)?;
        }
        h.push_str("</div>\n");
        Ok(())
    }

    fn write_shot(&self, h: &mut String, shot: &Shot, scale: &Scale) -> Result<()> {
        let (row, (width, height)) = (&shot.row, shot.map.shape());
        let mut heat = heatmap(&shot.rgb, (width, height), &shot.map, scale);
        // One of another length is refused below, where it is encoded.
        if let Some(mask) = shot.mask.as_ref().filter(|m| m.len() == width * height) {
            outline(&mut heat, (width, height), mask);
        }
        let verdict = row.verdict(self.threshold);
        let wrong = verdict.as_ref().is_some_and(|v| v.wrong);
        let _ = write!(h, "<figure class=\"{}\">", if wrong { "shot wrong" } else { "shot" });
        let labelled = row.anomalous.is_some();
        // Pictures without a mask are as large as those beside them that have one.
        let masks = self.gallery.iter().any(|s| s.row.anomalous == Some(true));
        let _ = write!(h, "<div class=\"planes\" style=\"--columns: {}\">", if masks { 3 } else { 2 });
        let named = |e: Error| e.within(&row.name);
        let mut plane = |what: &str, kind: &str, bytes: Vec<u8>| {
            let (name, data, (w, height)) = (escape(&row.name), STANDARD.encode(bytes), shot.shown);
            let _ = write!(
                h,
                "<div><img alt=\"{what} of {name}\" style=\"aspect-ratio: {w} / {height}\" loading=\"lazy\" "
            );
            let _ = write!(h, "src=\"data:image/{kind};base64,{data}\"/><span>{what}</span></div>");
        };
        plane("picture", "jpeg", jpeg_rgb(&shot.rgb, width, height).map_err(named)?);
        plane("heat map", "jpeg", jpeg_rgb(&heat, width, height).map_err(named)?);
        match &shot.mask {
            Some(mask) => {
                let mask: Vec<u8> = mask.iter().map(|&m| if m != 0 { 255 } else { 0 }).collect();
                plane("ground truth", "png", png_gray(&mask, width, height).map_err(named)?);
            }
            None if row.anomalous == Some(true) => {
                let (w, height) = shot.shown;
                let _ = write!(
                    h,
                    "<div><div class=\"none\" style=\"aspect-ratio: {w} / {height}\">{}</div>",
                    escape(&row.truth)
                );
                h.push_str("<span>ground truth</span></div>");
            }
            None => {}
        }
        let kind = if row.kind.is_empty() { String::new() } else { format!("{} · ", escape(&row.kind)) };
        let _ = write!(h, "</div><figcaption><span class=\"name\">{kind}{}</span>", escape(&row.name));
        let _ = write!(h, "<span>score {:.4}", row.score);
        if let Some(n) = self.normalization {
            let _ = write!(h, " (normalised {:.2})", n.of(row.score));
        }
        if let Some(verdict) = verdict {
            // Where nobody knows better, what is called anomalous needs somebody's attention.
            let alarm = wrong || !labelled && row.score >= self.threshold.unwrap_or(f64::INFINITY);
            let _ = write!(h, " · <b class=\"{}\">{}</b>", if alarm { "miss" } else { "right" }, verdict.text);
        }
        // Of a picture that is judged wrongly nothing is clear.
        if let Some(rank) = shot.rank.filter(|_| !wrong) {
            let _ = write!(h, " · {}", rank.name());
        }
        h.push_str("</span></figcaption></figure>\n");
        Ok(())
    }
}
