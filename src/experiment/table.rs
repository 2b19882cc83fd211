//! The table of an experiment, as Markdown and as a page: means and deviations over seeds, beside printed figures.

use super::file::{Experiment, METRICS, Printed};
use super::grid::{Row, rows};
use super::results::{CategoryResult, Outcome};
use crate::Result;
use crate::error::plural;
use crate::report::html::charts::histogram;
use crate::report::html::{Page, escape, figure};
use std::collections::BTreeSet;
use std::fmt::Write;

/// A number in percent: over seeds, and what is printed of it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Figure {
    pub mean: Option<f64>,
    /// Of the sample; `None` of less than two seeds.
    pub deviation: Option<f64>,
    pub seeds: usize,
    pub printed: Option<f64>,
}

/// `95.7 ± 0.3 (printed 96.6, -0.9)`
impl std::fmt::Display for Figure {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        match (self.mean, self.deviation) {
            (None, _) => f.write_str("–")?,
            (Some(mean), None) => write!(f, "{mean:.1}")?,
            (Some(mean), Some(deviation)) => write!(f, "{mean:.1} ± {deviation:.1}")?,
        }
        match (self.printed, self.mean) {
            (Some(printed), Some(mean)) => write!(f, " (printed {printed:.1}, {:+.1})", mean - printed),
            (Some(printed), None) => write!(f, " (printed {printed:.1})"),
            (None, _) => Ok(()),
        }
    }
}

/// Mean over `values` of each seed, then mean and deviation over seeds.
fn over_seeds(values: impl Iterator<Item = (u64, f64)>, printed: Option<f64>) -> Figure {
    let mut of_seed: std::collections::BTreeMap<u64, Vec<f64>> = Default::default();
    values.for_each(|(seed, value)| of_seed.entry(seed).or_default().push(100.0 * value));
    let mean = |x: &[f64]| x.iter().sum::<f64>() / x.len() as f64;
    let means: Vec<f64> = of_seed.values().map(|values| mean(values)).collect();
    if means.is_empty() {
        return Figure { printed, ..Figure::default() };
    }
    let all = mean(&means);
    let spread = means.iter().map(|m| (m - all).powi(2)).sum::<f64>();
    let deviation = (means.len() > 1).then(|| (spread / (means.len() - 1) as f64).sqrt());
    Figure { mean: Some(all), deviation, seeds: means.len(), printed }
}

/// A table of text: a heading, columns, and rows of a name and cells.
struct Table {
    heading: String,
    columns: Vec<String>,
    rows: Vec<(String, Vec<String>)>,
}

/// Results of a row of one dataset; of one category, or of all.
fn of<'o>(outcomes: &'o [Outcome], dataset: &str, row: &Row, category: Option<&str>) -> Vec<(u64, &'o CategoryResult)> {
    let own = outcomes.iter().filter(|o| o.cell.dataset == dataset && o.cell.row == *row);
    let all = own.flat_map(|o| o.results.iter().map(|r| (o.cell.seed, r)));
    all.filter(|(_, r)| category.is_none_or(|c| r.category == c)).collect()
}

fn printed(e: &Experiment, dataset: &str, row: &Row, category: Option<&str>, metric: &str) -> Option<f64> {
    let same = |p: &&Printed| {
        p.dataset == dataset
            && p.category.as_deref() == category
            && p.strategy == row.strategy
            && p.norm == row.norm
            && p.ratio.is_none_or(|r| r == row.ratio)
            && p.classes.is_none_or(|c| row.of_classes == Some(c))
    };
    e.printed.iter().find(same).and_then(|p| p.metrics.get(metric).copied())
}

/// Every table of the experiment.
fn tables(e: &Experiment, outcomes: &[Outcome]) -> Result<Vec<Table>> {
    let rows = rows(e)?;
    let mut tables = Vec::new();
    for dataset in &e.datasets {
        let name = &dataset.name;
        let heading_of = |metric: &String| {
            METRICS.iter().find(|(m, _)| m == metric).map_or(metric.clone(), |(_, heading)| heading.to_string())
        };
        let line = |row: &Row, category: Option<&str>| {
            let of = of(outcomes, name, row, category);
            let cell = |metric: &String| {
                let values = of.iter().filter_map(|(seed, r)| Some((*seed, *r.metrics.get(metric)?)));
                over_seeds(values, printed(e, name, row, category, metric)).to_string()
            };
            e.metrics.iter().map(cell).collect::<Vec<_>>()
        };
        let seeds = plural(e.grid.seeds.len(), "seed");
        tables.push(Table {
            heading: format!("{name}: mean and deviation over {seeds}, in percent"),
            columns: e.metrics.iter().map(heading_of).collect(),
            rows: rows.iter().map(|row| (row.describe(e), line(row, None))).collect(),
        });
        let own = outcomes.iter().filter(|o| o.cell.dataset == *name).flat_map(|o| &o.results);
        let categories: BTreeSet<&str> = own.clone().map(|r| r.category.as_str()).filter(|c| !c.is_empty()).collect();
        if categories.len() > 1 {
            for row in &rows {
                tables.push(Table {
                    heading: format!("{name}, {}: by category", row.describe(e)),
                    columns: e.metrics.iter().map(heading_of).collect(),
                    rows: categories.iter().map(|c| (c.to_string(), line(row, Some(c)))).collect(),
                });
            }
        }
        let kinds: BTreeSet<&str> = own.flat_map(|r| r.image_auroc_of.keys()).map(String::as_str).collect();
        if kinds.len() > 1 {
            let of_kind = |row: &Row, kind: &str| {
                let all = of(outcomes, name, row, None);
                let values = all.iter().filter_map(|(seed, r)| Some((*seed, *r.image_auroc_of.get(kind)?)));
                over_seeds(values, None).to_string()
            };
            tables.push(Table {
                heading: format!("{name}: image AUROC by class of anomalies"),
                columns: kinds.iter().map(|k| k.to_string()).collect(),
                rows: rows.iter().map(|r| (r.describe(e), kinds.iter().map(|k| of_kind(r, k)).collect())).collect(),
            });
        }
    }
    Ok(tables)
}

fn note(e: &Experiment) -> String {
    let mut text = String::new();
    if let Some(source) = &e.source {
        let _ = write!(text, "Printed figures: {source}. ");
    }
    if e.metrics.iter().any(|m| m == "aupro30") {
        // Whatever the file names was checked when it was read.
        let _ = write!(text, "{}. ", e.pro().map_or("", |p| p.describe()));
    }
    text + e.note.as_deref().unwrap_or_default()
}

/// Tables as Markdown.
pub fn markdown(e: &Experiment, outcomes: &[Outcome]) -> Result<String> {
    let mut m = format!("# {}\n", e.title);
    let note = note(e);
    if !note.is_empty() {
        let _ = writeln!(m, "\n{}", note.trim_end());
    }
    for table in tables(e, outcomes)? {
        let _ = write!(m, "\n## {}\n\n| |", table.heading);
        let (columns, rule) = (table.columns.join(" | "), "---|".repeat(table.columns.len()));
        let _ = writeln!(m, " {columns} |\n|---|{rule}");
        for (name, cells) in table.rows {
            let _ = writeln!(m, "| {name} | {} |", cells.join(" | "));
        }
    }
    Ok(m)
}

/// The same as a page, with a histogram of each row's scores.
pub fn html(e: &Experiment, outcomes: &[Outcome], command: &str) -> Result<String> {
    let mut h = String::new();
    for table in tables(e, outcomes)? {
        let heading = escape(&table.heading);
        let _ = writeln!(h, "<h2>{heading}</h2>");
        let _ = write!(
            h,
            "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"{heading}\"><table>\n<thead><tr><th></th>"
        );
        h.extend(table.columns.iter().map(|c| format!("<th scope=\"col\">{}</th>", escape(c))));
        h.push_str("</tr></thead>\n<tbody>\n");
        for (name, cells) in table.rows {
            let _ = write!(h, "<tr><th scope=\"row\">{}</th>", escape(&name));
            h.extend(cells.iter().map(|c| format!("<td>{}</td>", escape(c))));
            h.push_str("</tr>\n");
        }
        h.push_str("</tbody></table></div>\n");
    }
    h.push_str("<h2>Scores of all seeds</h2>\n<div class=\"charts\">\n");
    for dataset in &e.datasets {
        for row in rows(e)? {
            let of = of(outcomes, &dataset.name, &row, None);
            let scores = of.iter().flat_map(|(_, r)| {
                let normal = r.normal_scores.iter().map(|s| (*s, Some(false)));
                normal.chain(r.anomalous_scores.iter().map(|s| (*s, Some(true))))
            });
            let scores: Vec<_> = scores.collect();
            if scores.is_empty() {
                continue;
            }
            let caption = escape(&format!("{}, {}", dataset.name, row.describe(e)));
            let svg = histogram(&scores, None)?;
            let keys = ["normal", "anomalous"]
                .map(|name| format!("<i class=\"key\" style=\"background: var(--{name})\"></i>{name}"))
                .concat();
            h.push_str(&figure(&format!("Scores: {caption}"), &svg, &format!("{caption}{keys}")));
        }
    }
    h.push_str("</div>\n");
    let (title, note) = (&e.title, &note(e));
    Ok(Page { title, note, command, settings: &[], body: &h, script: "" }.html())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two seeds of two classes: (1 + 2) / 2 and (3 + 6) / 2 percent; mean 3, deviation 3 / sqrt(2).
    #[test]
    fn classes_are_averaged_before_seeds() {
        let values = [(1, 0.01), (1, 0.02), (2, 0.03), (2, 0.06)];
        let found = over_seeds(values.into_iter(), Some(2.5));
        assert!((found.mean.unwrap() - 3.0).abs() < 1e-12 && found.seeds == 2);
        assert!((found.deviation.unwrap() - 3.0 / 2f64.sqrt()).abs() < 1e-12);
        assert_eq!(found.to_string(), "3.0 ± 2.1 (printed 2.5, +0.5)");
        assert_eq!(over_seeds([].into_iter(), Some(97.0)).to_string(), "– (printed 97.0)");
        assert_eq!(over_seeds([(1, 0.5)].into_iter(), None).to_string(), "50.0");
    }
}
