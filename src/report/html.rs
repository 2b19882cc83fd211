//! `report.html`: one file with everything in it (style, charts as SVG, pictures as base64), no links to elsewhere.

use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use plotters::prelude::*;

use super::heatmap::{heatmap, jpeg_rgb, png_gray};
use crate::error::{Error, Result};

/// What the report shows. All text is escaped when written.
#[derive(Clone, Debug, Default)]
pub struct Report {
    pub title: String,
    /// A sentence or two below the title, for what a reader must know first ("random backbone: ..."). May be empty.
    pub note: String,
    /// The command line that made it.
    pub command: String,
    /// Name and value of whatever describes the run: backbone, settings, seconds, pictures.
    pub settings: Vec<(String, String)>,
    /// The first row is the whole set, the others one defect type each.
    pub metrics: Vec<MetricsRow>,
    /// Which definition of AUPRO the table shows, for its caption.
    pub pro_definition: String,
    /// (false positive rate, true positive rate), as [`crate::metrics::roc::Roc::points`]; no chart when empty.
    pub roc: Vec<(f64, f64)>,
    /// Score and whether the picture is anomalous, of every test picture; no chart when empty.
    pub scores: Vec<(f64, bool)>,
    /// A picture is called anomalous when score >= threshold.
    pub threshold: Option<f64>,
    /// Shown in this order; [`choose`] picks them.
    pub gallery: Vec<Shot>,
    /// Map values at the cold and the hot end of the colour scale, the same for all pictures.
    pub heat_range: (f32, f32),
}

/// One line of the metrics table; `None` is shown as a dash.
#[derive(Clone, Debug, Default)]
pub struct MetricsRow {
    pub name: String,
    pub pictures: usize,
    pub image_auroc: Option<f64>,
    pub best_f1: Option<f64>,
    pub accuracy: Option<f64>,
    pub pixel_auroc: Option<f64>,
    pub aupro: Option<f64>,
}

/// One test picture: all three planes are `size * size`.
#[derive(Clone, Debug, Default)]
pub struct Shot {
    pub name: String,
    /// `good` or the defect type.
    pub kind: String,
    pub anomalous: bool,
    pub score: f64,
    pub size: usize,
    pub rgb: Vec<u8>,
    /// Non-zero where an anomaly is.
    pub mask: Vec<u8>,
    pub map: Vec<f32>,
}

/// Which pictures to show: of every kind (in the order given) up to `per_kind`, those judged worst first: normal ones by
/// falling score, anomalous ones by rising. `pictures` are (kind, anomalous, score); the result holds their indices.
pub fn choose(pictures: &[(&str, bool, f64)], per_kind: usize) -> Vec<usize> {
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
        all.truncate(per_kind);
        all
    };
    kinds.into_iter().flat_map(of_kind).collect()
}

impl Report {
    /// The whole HTML file.
    pub fn html(&self) -> Result<String> {
        let mut h = String::from("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n");
        h.push_str("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n");
        // Writing to a String cannot fail.
        let _ = write!(h, "<title>{}</title>\n<style>\n{}</style>\n", escape(&self.title), include_str!("report.css"));
        let _ = write!(h, "</head>\n<body>\n<main>\n<h1>{}</h1>\n", escape(&self.title));
        if !self.note.is_empty() {
            let _ = writeln!(h, "<p class=\"soft\">{}</p>", escape(&self.note));
        }
        let _ = writeln!(h, "<h2>What was run</h2>\n<pre><code>{}</code></pre>\n<dl>", escape(&self.command));
        for (name, value) in &self.settings {
            let _ = writeln!(h, "<dt>{}</dt><dd>{}</dd>", escape(name), escape(value));
        }
        h.push_str("</dl>\n");
        self.write_metrics(&mut h);
        self.write_charts(&mut h)?;
        self.write_gallery(&mut h)?;
        h.push_str("</main>\n</body>\n</html>\n");
        Ok(h)
    }

    fn write_metrics(&self, h: &mut String) {
        h.push_str("<h2>Metrics</h2>\n<div class=\"scroll\"><table>\n<thead><tr>");
        for head in ["", "pictures", "image AUROC", "best F1", "accuracy", "pixel AUROC", "AUPRO@0.3"] {
            let _ = write!(h, "<th scope=\"col\">{head}</th>");
        }
        h.push_str("</tr></thead>\n<tbody>\n");
        for row in &self.metrics {
            let _ = write!(h, "<tr><th scope=\"row\">{}</th><td>{}</td>", escape(&row.name), row.pictures);
            for value in [row.image_auroc, row.best_f1, row.accuracy, row.pixel_auroc, row.aupro] {
                match value {
                    Some(v) => drop(write!(h, "<td>{v:.4}</td>")),
                    None => h.push_str("<td>–</td>"),
                }
            }
            h.push_str("</tr>\n");
        }
        h.push_str(
            "</tbody>\n<caption>A defect type's row compares its pictures with all normal ones. Accuracy is at ",
        );
        let _ = writeln!(h, "the threshold of the best F1. {}.</caption></table></div>", escape(&self.pro_definition));
    }

    fn write_charts(&self, h: &mut String) -> Result<()> {
        if self.roc.is_empty() && self.scores.is_empty() {
            return Ok(());
        }
        h.push_str("<h2>Scores</h2>\n<div class=\"charts\">\n");
        if !self.roc.is_empty() {
            let svg = chart(|area| roc_chart(&area, &self.roc))?;
            let _ =
                write!(h, "<figure role=\"img\" aria-label=\"ROC curve\">{svg}<figcaption>ROC curve of image scores: ");
            h.push_str(
                "share of anomalous pictures found over share of normal ones called anomalous.</figcaption></figure>\n",
            );
        }
        if !self.scores.is_empty() {
            let svg = chart(|area| histogram(&area, &self.scores, self.threshold))?;
            let _ = write!(
                h,
                "<figure role=\"img\" aria-label=\"Histogram of scores\">{svg}<figcaption>Pictures per score:"
            );
            for (name, color) in [("normal", "normal"), ("anomalous", "anomalous")] {
                let _ = write!(h, "<i class=\"key\" style=\"background: var(--{color})\"></i>{name}");
            }
            if let Some(t) = self.threshold {
                let _ = write!(h, ". Dashed: threshold {t:.4}");
            }
            h.push_str("</figcaption></figure>\n");
        }
        h.push_str("</div>\n");
        Ok(())
    }

    fn write_gallery(&self, h: &mut String) -> Result<()> {
        if self.gallery.is_empty() {
            return Ok(());
        }
        let (lo, hi) = self.heat_range;
        h.push_str("<h2>Pictures</h2>\n<p class=\"soft\">Of each kind those judged worst come first. ");
        let _ = writeln!(
            h,
            "Heat maps share one scale, from {lo:.3} (blue) to {hi:.3} (red).</p>\n<div class=\"gallery\">"
        );
        for shot in &self.gallery {
            let verdict = self.threshold.map(|t| shot.score >= t);
            let wrong = verdict.is_some_and(|v| v != shot.anomalous);
            let class = if wrong { "shot wrong" } else { "shot" };
            let _ = write!(h, "<figure class=\"{class}\"><div class=\"triple\">");
            let named = |e: Error| e.within(&shot.name);
            let mask: Vec<u8> = shot.mask.iter().map(|&m| if m != 0 { 255 } else { 0 }).collect();
            let heat = heatmap(&shot.rgb, &shot.map, lo, hi);
            for (what, kind, bytes) in [
                ("picture", "jpeg", jpeg_rgb(&shot.rgb, shot.size, shot.size).map_err(named)?),
                ("ground truth", "png", png_gray(&mask, shot.size, shot.size).map_err(named)?),
                ("heat map", "jpeg", jpeg_rgb(&heat, shot.size, shot.size).map_err(named)?),
            ] {
                let (name, data) = (escape(&shot.name), STANDARD.encode(bytes));
                let _ = write!(h, "<div><img alt=\"{what} of {name}\" src=\"data:image/{kind};base64,{data}\"/>");
                let _ = write!(h, "<span>{what}</span></div>");
            }
            let _ = write!(
                h,
                "</div><figcaption><span class=\"name\">{} · {}</span>",
                escape(&shot.kind),
                escape(&shot.name)
            );
            let _ = write!(h, "<span>score {:.4}", shot.score);
            if let Some(verdict) = verdict {
                let class = if wrong { "miss" } else { "right" };
                let text = match (verdict, wrong) {
                    (true, false) => "anomalous",
                    (false, false) => "normal",
                    (true, true) => "anomalous: false alarm",
                    (false, true) => "normal: missed",
                };
                let _ = write!(h, " · <b class=\"{class}\">{text}</b>");
            }
            h.push_str("</span></figcaption></figure>\n");
        }
        h.push_str("</div>\n");
        Ok(())
    }
}

/// Text as HTML text or attribute value.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            // Control characters have no place in a document, whatever a file is called.
            c if c.is_control() => out.push('\u{FFFD}'),
            c => out.push(c),
        }
    }
    out
}

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;
type Drawn = std::result::Result<(), Box<dyn std::error::Error>>;

const SIZE: (u32, u32) = (480, 340);
const NORMAL: RGBColor = RGBColor(0x3b, 0x7e, 0xa1);
const ANOMALOUS: RGBColor = RGBColor(0xc8, 0x55, 0x3d);
const GRAY: RGBColor = RGBColor(0x80, 0x88, 0x90);

/// Draws into an SVG that scales with the page and takes its text colour from the style sheet.
fn chart(draw: impl FnOnce(Area) -> Drawn) -> Result<String> {
    let mut svg = String::new();
    draw(SVGBackend::with_string(&mut svg, SIZE).into_drawing_area())
        .map_err(|e| Error::Invalid(format!("a chart cannot be drawn: {e}")))?;
    let sized = format!("width=\"{}\" height=\"{}\" ", SIZE.0, SIZE.1);
    Ok(svg.replacen(&sized, "", 1))
}

fn roc_chart(area: &Area, points: &[(f64, f64)]) -> Drawn {
    let mut chart = ChartBuilder::on(area)
        .margin(8)
        .x_label_area_size(42)
        .y_label_area_size(52)
        .build_cartesian_2d(0.0..1.0, 0.0..1.0)?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(GRAY.mix(0.2))
        .axis_style(GRAY)
        .label_style(("sans-serif", 13))
        .x_labels(6)
        .y_labels(6)
        .x_desc("false positive rate")
        .y_desc("true positive rate")
        .draw()?;
    chart.draw_series(LineSeries::new([(0.0, 0.0), (1.0, 1.0)], GRAY.mix(0.5)))?;
    chart.draw_series(AreaSeries::new(points.iter().copied(), 0.0, NORMAL.mix(0.15)))?;
    chart.draw_series(LineSeries::new(points.iter().copied(), NORMAL.stroke_width(3)))?;
    area.present()?;
    Ok(())
}

fn histogram(area: &Area, scores: &[(f64, bool)], threshold: Option<f64>) -> Drawn {
    const BINS: usize = 30;
    let values = scores.iter().map(|s| s.0).chain(threshold).filter(|v| v.is_finite());
    let (lo, hi) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
    // Room for one bin where all scores are equal, or none is finite.
    let (lo, hi) = if lo < hi {
        (lo, hi)
    } else if lo.is_finite() {
        (lo - 0.5, lo + 0.5)
    } else {
        (0.0, 1.0)
    };
    let width = (hi - lo) / BINS as f64;
    let mut counts = [[0usize; BINS]; 2];
    for &(score, anomalous) in scores.iter().filter(|s| s.0.is_finite()) {
        counts[usize::from(anomalous)][(((score - lo) / width) as usize).min(BINS - 1)] += 1;
    }
    let top = counts.iter().flatten().copied().max().unwrap_or(0).max(1);
    let high = top as f64 * 1.08;
    let mut chart = ChartBuilder::on(area)
        .margin(8)
        .x_label_area_size(42)
        .y_label_area_size(52)
        .build_cartesian_2d(lo..hi, 0.0..high)?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(GRAY.mix(0.2))
        .axis_style(GRAY)
        .disable_x_mesh()
        .label_style(("sans-serif", 13))
        .x_labels(6)
        .y_labels((top + 1).min(6))
        .y_label_formatter(&|v| format!("{v:.0}"))
        .x_desc("score")
        .y_desc("pictures")
        .draw()?;
    for (counts, color) in counts.iter().zip([NORMAL, ANOMALOUS]) {
        chart.draw_series(counts.iter().enumerate().filter(|c| *c.1 > 0).map(|(i, &count)| {
            let left = lo + i as f64 * width;
            Rectangle::new([(left, 0.0), (left + width, count as f64)], color.mix(0.6).filled())
        }))?;
    }
    if let Some(t) = threshold.filter(|t| t.is_finite()) {
        chart.draw_series(DashedLineSeries::new([(t, 0.0), (t, high)], 6, 4, GRAY.stroke_width(2)))?;
    }
    area.present()?;
    Ok(())
}
