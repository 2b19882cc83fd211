//! Figures of a source, in percent, as it prints them.

use super::file::Experiment;
use super::grid::{Row, rows};
use super::keys::line;
use crate::data::protocol::Labelled;
use crate::{Error, Result};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use toml::de::{DeTable, DeValue};

/// Figures of one row of a source's table.
#[derive(Clone, Debug, Deserialize)]
pub struct Printed {
    /// Absent: the mean over the datasets.
    pub dataset: Option<String>,
    /// Absent: the average.
    pub category: Option<String>,
    pub strategy: String,
    #[serde(default = "super::file::usual_norm")]
    pub norm: String,
    /// Absent: of any ratio.
    pub ratio: Option<Labelled>,
    /// Absent: of any number of classes.
    pub classes: Option<usize>,
    /// By metric; [`Printed::with_figures`] reads them.
    #[serde(skip)]
    pub figures: BTreeMap<String, PrintedFigure>,
}

/// A mean, and the deviation if there is one.
#[derive(Clone, Debug, PartialEq)]
pub struct PrintedFigure {
    pub mean: Decimal,
    pub deviation: Option<Decimal>,
}

/// A number as somebody wrote it: 97.20 is not 97.2.
#[derive(Clone, Debug, PartialEq)]
pub struct Decimal {
    pub value: f64,
    text: String,
}

impl Decimal {
    pub fn new(text: &str) -> Option<Self> {
        Some(Decimal { value: text.parse().ok()?, text: text.into() })
    }

    fn of(value: &DeValue) -> Option<Self> {
        match value {
            DeValue::Integer(n) => Self::new(n.as_str()),
            DeValue::Float(v) => Self::new(v.as_str()),
            _ => None,
        }
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// `96.57 ± 0.03`
impl fmt::Display for PrintedFigure {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        self.mean.fmt(f)?;
        self.deviation.as_ref().map_or(Ok(()), |deviation| write!(f, " ± {deviation}"))
    }
}

type Part<'a> = (&'static str, Box<dyn Fn(&Row) -> bool + 'a>, fn(&Row) -> String);

impl Printed {
    /// With the figures of its table, as they are written: numbers lose their last zeros.
    pub fn with_figures(self, table: &DeTable) -> Self {
        let figure = |value: &DeValue| match value.as_array().map(|list| &list[..]) {
            Some([mean, deviation]) => {
                let deviation = Decimal::of(deviation.get_ref());
                Some(PrintedFigure { mean: Decimal::of(mean.get_ref())?, deviation })
            }
            Some(_) => None,
            None => Some(PrintedFigure { mean: Decimal::of(value)?, deviation: None }),
        };
        let metrics = table.iter().filter(|(key, _)| super::file::is_metric(key.get_ref()));
        let figures = metrics.filter_map(|(key, value)| Some((key.get_ref().to_string(), figure(value.get_ref())?)));
        Printed { figures: figures.collect(), ..self }
    }

    /// Whether it is of this row.
    pub fn is_of(&self, dataset: Option<&str>, category: Option<&str>, row: &Row) -> bool {
        let here = self.dataset.as_deref() == dataset && self.category.as_deref() == category;
        here && self.parts().iter().all(|(_, is, _)| is(row))
    }

    /// What it says of its row: by key, whether a row is so, and what the row has there.
    fn parts(&self) -> [Part<'_>; 4] {
        let classes = |row: &Row| row.of_classes.map_or("all".into(), |count| count.to_string());
        [
            ("strategy", Box::new(|row| self.strategy == row.strategy), |row| row.strategy.clone()),
            ("norm", Box::new(|row| self.norm == row.norm), |row| row.norm.clone()),
            ("ratio", Box::new(|row| self.ratio.is_none_or(|r| r == row.ratio)), Row::describe_ratio),
            ("classes", Box::new(|row| self.classes.is_none_or(|c| row.of_classes == Some(c))), classes),
        ]
    }
}

/// Refuses what no table would show, by the line: figures of a row, a category or a metric that the file does not ask for, and those
/// that are there before. `file` is what `e` was read from.
pub fn expect(e: &Experiment, file: &DeTable, text: &str) -> Result<()> {
    // Whether a dataset has anomalies to label is not known yet.
    let mut known = rows(e, true)?;
    known.extend(rows(e, false)?);
    let tables: Vec<_> = file.get("printed").and_then(|p| p.get_ref().as_array()).into_iter().flatten().collect();
    let at = |i: usize, key: &str| {
        let own = tables[i].get_ref().as_table().and_then(|table| table.get_key_value(key));
        line(text, own.map_or(tables[i].span(), |(key, _)| key.span()).start)
    };
    for (i, p) in e.printed.iter().enumerate() {
        let refuse = |key: &str, why: String| Err(Error::Invalid(format!("{}: [[printed]] {key}: {why}", at(i, key))));
        if p.figures.is_empty() {
            return Err(Error::Invalid(format!(
                "{}: [[printed]]: no figure; expected one of {}",
                at(i, ""),
                e.metrics.join(", ")
            )));
        }
        if let Some(metric) = p.figures.keys().find(|metric| !e.metrics.contains(metric)) {
            return refuse(metric, format!("no column of the table; metrics are {}", e.metrics.join(", ")));
        }
        let categories = e.datasets.iter().find(|d| Some(&d.name) == p.dataset.as_ref()).map(|d| &d.categories[..]);
        if let (Some(category), Some(asked @ [_, ..])) = (&p.category, categories)
            && !asked.contains(category)
        {
            return refuse(
                "category",
                format!("no row of the table is of {category}; categories are {}", asked.join(", ")),
            );
        }
        let mut own: Vec<&Row> = known.iter().collect();
        for (key, is, name) in p.parts() {
            let there: BTreeSet<String> = own.iter().map(|row| name(row)).collect();
            own.retain(|row| is(row));
            if own.is_empty() {
                let there = Vec::from_iter(there).join(", ");
                return refuse(key, format!("no row of the table has it; there is {there}"));
            }
        }
        for (j, before) in e.printed[..i].iter().enumerate() {
            let same = |row: &&Row| before.is_of(p.dataset.as_deref(), p.category.as_deref(), row);
            let twice = p.figures.keys().find(|metric| before.figures.contains_key(*metric));
            if let Some(metric) = twice.filter(|_| own.iter().any(same)) {
                return refuse(metric, format!("there already, of the same row, in {}", at(j, metric)));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two strategies, one of which takes no anomalies; lines 10 and 11 are those of the first figure.
    fn parse(printed: &str) -> Result<Experiment> {
        Experiment::parse(&format!(
            "title = \"t\"\nmetrics = [\"image_auroc\", \"best_f1\"]\n[grid]\nstrategy = [\"recon\", \"ckapatch\"]\nratio = [0.05]\n\
             seeds = [1]\n[[dataset]]\nname = \"d\"\ncategories = [\"nut\"]\n{printed}"
        ))
    }

    #[test]
    fn figures_that_no_table_shows_are_refused() {
        let error = |of: &str| parse(&format!("[[printed]]\ndataset = \"d\"\n{of}")).unwrap_err().to_string();
        let recon = "strategy = \"recon\"";
        for (of, expected) in [
            (
                format!("{recon}\nratio = 0.05\nbest_f1 = 1"),
                "line 13: [[printed]] ratio: no row of the table has it; there is 0 labelled",
            ),
            (
                "strategy = \"gan\"\nbest_f1 = 1".into(),
                "line 12: [[printed]] strategy: no row of the table has it; there is ckapatch, recon",
            ),
            (format!("{recon}\nnorm = \"batch\"\nbest_f1 = 1"), "line 13: [[printed]] norm: no row"),
            (
                format!("{recon}\nclasses = 2\nbest_f1 = 1"),
                "line 13: [[printed]] classes: no row of the table has it; there is all",
            ),
            (
                format!("{recon}\naccuracy = 1"),
                "line 13: [[printed]] accuracy: no column of the table; metrics are image_auroc, best_f1",
            ),
            (
                format!("category = \"bolt\"\n{recon}\nbest_f1 = 1"),
                "line 12: [[printed]] category: no row of the table is of bolt; categories are nut",
            ),
            (recon.into(), "line 10: [[printed]]: no figure; expected one of image_auroc, best_f1"),
            (
                format!(
                    "{recon}\nbest_f1 = 1\n[[printed]]\ndataset = \"d\"\n{recon}\nratio = 0\nimage_auroc = 2\nbest_f1 = 3"
                ),
                "line 19: [[printed]] best_f1: there already, of the same row, in line 13",
            ),
        ] {
            assert!(error(&of).starts_with(expected), "{of}: {}", error(&of));
        }
    }

    /// Of one row in two tables, and of a category and the average, there may be two; where nothing can be labelled, ckapatch has 0.
    #[test]
    fn figures_of_rows_are_taken() {
        let of = "[[printed]]\ndataset = \"d\"\nstrategy = \"ckapatch\"\n";
        let all = format!(
            "{of}ratio = 0.05\nbest_f1 = 1\n{of}ratio = 0.05\nimage_auroc = 2\n{of}ratio = 0\nbest_f1 = 3\n{of}category = \"nut\"\nbest_f1 = 4\n"
        );
        assert_eq!(parse(&all).unwrap().printed.len(), 4);
    }
}
