//! Figures of a source, in percent, as it prints them.

use super::grid::Row;
use crate::data::protocol::Labelled;
use serde::Deserialize;
use std::collections::BTreeMap;
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
        self.dataset.as_deref() == dataset
            && self.category.as_deref() == category
            && self.strategy == row.strategy
            && self.norm == row.norm
            && self.ratio.is_none_or(|r| r == row.ratio)
            && self.classes.is_none_or(|c| row.of_classes == Some(c))
    }
}
