//! A page with everything in it (style, script, charts as SVG, pictures as base64) and no links to elsewhere.

pub mod charts;
mod pictures;

pub use pictures::{Rank, Row, Shot, choose};

use super::heatmap::Scale;
use crate::Result;
use crate::metrics::confusion::Confusion;
use crate::score::evaluate::{PRO_LIMIT, ProCurve, ProDefinition};
use crate::score::normalization::Normalization;
use charts::Curve;
use std::fmt::Write;

/// What the report shows. All text is escaped when written; what is empty or `None` is left out.
#[derive(Clone, Debug, Default)]
pub struct Report {
    pub title: String,
    /// A sentence or two below the title, for what a reader must know first ("random backbone: ...").
    pub note: String,
    /// The command line that made it.
    pub command: String,
    /// Name and value of whatever describes the run: backbone, settings, seconds, pictures.
    pub settings: Vec<(String, String)>,
    /// A picture is called anomalous when score >= threshold.
    pub threshold: Option<f64>,
    /// How scores are told from 0 to 1.
    pub normalization: Option<Normalization>,
    /// What the threshold rests on.
    pub threshold_origin: String,
    /// What came of it.
    pub operating: Option<Confusion>,
    /// Pictures and masks that do not count, and why.
    pub left_out: Vec<String>,
    /// Pictures that the model knows, and those that may not look as they were meant, and why.
    pub warnings: Vec<String>,
    /// The first row is the whole set, the others one defect type each.
    pub metrics: Vec<MetricsRow>,
    /// Which definition of AUPRO the table shows, for its caption.
    pub pro_definition: String,
    /// (false positive rate, true positive rate), as [`crate::metrics::roc::Roc::points`].
    pub roc: Vec<(f64, f64)>,
    pub pro: Option<ProCurve>,
    /// (recall, precision), as [`crate::metrics::precision_recall::PrecisionRecall::points`].
    pub precision_recall: Vec<(f64, f64)>,
    pub pictures: Vec<Row>,
    /// Shown in this order.
    pub gallery: Vec<Shot>,
    /// How the gallery was chosen.
    pub chosen: String,
    /// Of the gallery's heat maps.
    pub scale: Option<Scale>,
}

/// One line of the metrics table; `None` is shown as a dash, and a column of them not at all.
#[derive(Clone, Debug, Default)]
pub struct MetricsRow {
    pub name: String,
    /// Anomalous pictures; none for a mean over categories.
    pub anomalous: Option<usize>,
    pub recall: Option<f64>,
    pub image_auroc: Option<f64>,
    pub pixel_auroc: Option<f64>,
    pub aupro: Option<f64>,
    pub best_f1: Option<f64>,
    pub best_threshold: Option<f64>,
}

/// A column's head, and what of a row stands in it.
type Column = (&'static str, fn(&MetricsRow) -> Option<f64>);

/// The column of [`MetricsRow::recall`].
const FOUND: &str = "found";

impl Report {
    /// The whole HTML file.
    pub fn html(&self) -> Result<String> {
        let mut h = String::new();
        self.write_operating_point(&mut h);
        self.write_metrics(&mut h);
        self.write_charts(&mut h)?;
        self.write_gallery(&mut h)?;
        self.write_table(&mut h);
        for (title, lines) in [("Left out", &self.left_out), ("Warnings", &self.warnings)] {
            if !lines.is_empty() {
                let _ = writeln!(h, "<h2>{title}</h2>\n<ul>");
                for line in lines {
                    let _ = writeln!(h, "<li>{}</li>", escape(line));
                }
                h.push_str("</ul>\n");
            }
        }
        let Report { title, note, command, settings, .. } = self;
        Ok(Page { title, note, command, settings, body: &h, script: include_str!("report.js") }.html())
    }

    /// What somebody who uses the model gets.
    fn write_operating_point(&self, h: &mut String) {
        let Some(threshold) = self.threshold else {
            h.push_str("<p>The model has no threshold: nothing is called anomalous. <code>ckaad threshold</code> sets one.</p>\n");
            return;
        };
        // Of pictures of which nothing is known there is nothing to be said here.
        let Some(c) = self.operating else { return };
        let _ = writeln!(h, "<h2>At the model's threshold, {threshold:.4}</h2>");
        if !self.threshold_origin.is_empty() {
            let _ = writeln!(h, "<p class=\"soft\">{}.</p>", escape(&self.threshold_origin));
        }
        h.push_str("<div class=\"point\">\n<dl class=\"rates\">");
        for (name, value) in [
            ("recall: anomalous pictures found", c.recall()),
            ("false alarms among normal ones", c.false_alarm_rate()),
            ("precision: right among those called anomalous", c.precision()),
            ("accuracy", c.accuracy()),
        ] {
            // Of one class there is no more than its own rate.
            if value.is_none() && !c.both() {
                continue;
            }
            let value = value.map_or("–".to_string(), |v| format!("{:.1} %", 100.0 * v));
            let _ = write!(h, "<div><dt>{name}</dt><dd>{value}</dd></div>");
        }
        h.push_str("</dl>\n<table class=\"confusion\"><caption>Pictures</caption><thead><tr><td></td>");
        h.push_str("<th scope=\"col\">called anomalous</th><th scope=\"col\">called normal</th></tr></thead>\n<tbody>");
        let rows = [
            ("anomalous", c.true_positives, c.false_negatives, ["right", "miss"]),
            ("normal", c.false_positives, c.true_negatives, ["miss", "right"]),
        ];
        for (name, anomalous, normal, [left, right]) in rows.into_iter().filter(|r| r.1 + r.2 > 0) {
            let _ = write!(h, "<tr><th scope=\"row\">{name}</th><td class=\"{left}\">{anomalous}</td>");
            let _ = writeln!(h, "<td class=\"{right}\">{normal}</td></tr>");
        }
        h.push_str("</tbody></table>\n</div>\n");
    }

    fn write_metrics(&self, h: &mut String) {
        // A column without any number, as of AUPRO without masks, says nothing.
        let mut columns: Vec<Column> = vec![
            (FOUND, |row| row.recall),
            ("image AUROC", |row| row.image_auroc),
            ("pixel AUROC", |row| row.pixel_auroc),
            ("AUPRO@0.3", |row| row.aupro),
            ("best F1", |row| row.best_f1),
            ("at threshold", |row| row.best_threshold),
        ];
        columns.retain(|(_, value)| self.metrics.iter().any(|row| value(row).is_some()));
        if columns.is_empty() {
            return;
        }
        h.push_str("<h2>Metrics</h2>\n<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Metrics\"><table>\n<thead><tr>");
        for head in ["", "anomalous"].into_iter().chain(columns.iter().map(|c| c.0)) {
            let _ = write!(h, "<th scope=\"col\">{head}</th>");
        }
        h.push_str("</tr></thead>\n<tbody>\n");
        for row in &self.metrics {
            let anomalous = row.anomalous.map_or("–".to_string(), |n| n.to_string());
            let _ = write!(h, "<tr><th scope=\"row\">{}</th><td>{anomalous}</td>", escape(&row.name));
            for (head, value) in &columns {
                match value(row) {
                    Some(v) if *head == FOUND => drop(write!(h, "<td>{:.1} %</td>", 100.0 * v)),
                    Some(v) => drop(write!(h, "<td>{v:.4}</td>")),
                    None => h.push_str("<td>–</td>"),
                }
            }
            h.push_str("</tr>\n");
        }
        h.push_str("</tbody></table></div>\n<p class=\"soft\">Anomalous: how many such pictures there are. ");
        let shown = |head: &str| columns.iter().any(|c| c.0 == head);
        let best = "The best F1 is at the threshold that fits these very pictures best, which nobody knows beforehand.";
        let pro = format!("{}.", escape(&self.pro_definition));
        for (head, sentence) in [
            (
                "image AUROC",
                "A defect type's row compares its pictures with all normal ones (of its category, where there are several).",
            ),
            (FOUND, "Found: share of the anomalous pictures that the model's threshold finds."),
            ("best F1", best),
            ("AUPRO@0.3", &pro),
        ] {
            if shown(head) {
                let _ = write!(h, "{sentence} ");
            }
        }
        h.push_str("</p>\n");
    }

    fn write_charts(&self, h: &mut String) -> Result<()> {
        if self.pictures.is_empty() {
            return Ok(());
        }
        h.push_str("<h2>Scores</h2>\n<div class=\"charts\">\n");
        let mut figure = |label: &str, svg: String, caption: &str| h.push_str(&figure(label, &svg, caption));
        let marked = if self.operating.is_some() { " The dot is the model's threshold." } else { "" };
        if !self.roc.is_empty() {
            let auroc = self.metrics.first().and_then(|m| m.image_auroc);
            let auroc = auroc.map_or(String::new(), |a| format!(" (area {a:.4})"));
            let mark = self.operating.and_then(|c| Some((c.false_alarm_rate()?, c.recall()?)));
            let (x, y, chance) = ("false alarm rate", "recall", [(0.0, 0.0), (1.0, 1.0)]);
            let svg = Curve { points: &self.roc, to: 1.0, x, y, chance, mark }.svg()?;
            figure("ROC curve", svg, &format!("ROC curve of image scores{auroc}.{marked}"));
        }
        if let Some(ProCurve { points, aupro }) = &self.pro {
            let (x, y, chance) = ("false positive rate of pixels", "PRO", [(0.0, 0.0), (PRO_LIMIT, PRO_LIMIT)]);
            let svg = Curve { points, to: PRO_LIMIT, x, y, chance, mark: None }.svg()?;
            let caption = format!(
                "PRO curve (area {aupro:.4}): per-region overlap, the found share of each connected region of the masks, averaged \
                 over regions. The area is {}, divided by 0.3.",
                ProDefinition::Exact.describe()
            );
            figure("PRO curve", svg, &caption);
        }
        if !self.precision_recall.is_empty() {
            let mark = self.operating.and_then(|c| Some((c.recall()?, c.precision()?)));
            let anomalous = self.pictures.iter().filter(|p| p.anomalous == Some(true)).count();
            let share = anomalous as f64 / self.pictures.len() as f64;
            let (x, y, chance) = ("recall", "precision", [(0.0, share), (1.0, share)]);
            let svg = Curve { points: &self.precision_recall, to: 1.0, x, y, chance, mark }.svg()?;
            figure("Precision over recall", svg, &format!("Precision over recall.{marked}"));
        }
        let scores: Vec<(f64, Option<bool>)> = self.pictures.iter().map(|p| (p.score, p.anomalous)).collect();
        let mut caption = String::from("Pictures per score");
        if scores.iter().any(|s| s.1.is_some()) {
            caption.push(':');
            let classes = [("normal", false), ("anomalous", true)];
            for (name, _) in classes.iter().filter(|c| scores.iter().any(|s| s.1 == Some(c.1))) {
                let _ = write!(caption, "<i class=\"key\" style=\"background: var(--{name})\"></i>{name}");
            }
        }
        if let Some(t) = self.threshold {
            let _ = write!(caption, ". Dashed: threshold {t:.4}");
        }
        figure("Histogram of scores", charts::histogram(&scores, self.threshold)?, &caption);
        h.push_str("</div>\n");
        Ok(())
    }
}

/// What every page has around its content.
pub struct Page<'a> {
    pub title: &'a str,
    /// A sentence or two below the title; may be empty.
    pub note: &'a str,
    /// The command line that made it.
    pub command: &'a str,
    /// Name and value of whatever describes the run.
    pub settings: &'a [(String, String)],
    /// Markup, unlike the texts above, which are escaped.
    pub body: &'a str,
    pub script: &'a str,
}

impl Page<'_> {
    /// The whole HTML file.
    pub fn html(&self) -> String {
        let mut h = String::from("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n");
        h.push_str("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n");
        // Writing to a String cannot fail.
        let _ = write!(h, "<title>{}</title>\n<style>\n{}</style>\n", escape(self.title), include_str!("report.css"));
        let _ = write!(h, "</head>\n<body>\n<main>\n<h1>{}</h1>\n", escape(self.title));
        if !self.note.is_empty() {
            let _ = writeln!(h, "<p class=\"soft\">{}</p>", escape(self.note));
        }
        h.push_str(self.body);
        let _ = writeln!(h, "<h2>What was run</h2>\n<pre><code>{}</code></pre>\n<dl>", escape(self.command));
        for (name, value) in self.settings {
            let _ = writeln!(h, "<dt>{}</dt><dd>{}</dd>", escape(name), escape(value));
        }
        let _ = write!(h, "</dl>\n</main>\n<script>\n{}</script>\n</body>\n</html>\n", self.script);
        h
    }
}

/// A chart with what it is called to those who do not see it and a caption, both of them markup.
pub fn figure(label: &str, svg: &str, caption: &str) -> String {
    format!("<figure role=\"img\" aria-label=\"{label}\">{svg}<figcaption>{caption}</figcaption></figure>\n")
}

/// Text as HTML text or attribute value.
pub fn escape(text: &str) -> String {
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
