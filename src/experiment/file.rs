//! The file that describes an experiment: rows of a grid, datasets, settings, and the figures that somebody printed of them.
//!
//! ```toml
//! title = "Ablation of the strategies"
//! source = "CKAAD, AAAI 2025, table 3"        # may be absent
//! metrics = ["image_auroc", "best_f1"]        # columns of the table
//! pro = "paper"                               # definition of AUPRO, as `ckaad eval --pro`
//!
//! [grid]
//! strategy = ["recon", "ckapatch"]            # every strategy with every norm and ratio
//! norm = ["instance"]
//! ratio = [0.05]                              # share of labelled anomalies in training, or "all"
//! classes = [1]                               # classes that labelled anomalies are of: 1, each in turn; more, `draws` random
//! draws = 5                                   # different choices, or as many as there are
//! validation = 0.05                           # share of the training pictures that is kept apart, both kinds equally so far as
//!                                             # the ratio leaves anomalous ones
//! seeds = [1, 2, 3]
//!
//! [settings]                                  # over the datasets' own; called as flags of `ckaad train`
//! epochs = 10
//!
//! [[dataset]]
//! name = "isic2018"                           # settings of the paper, where it has any
//! path = "ISIC2018"                           # below the folder of all datasets; [default: the name]
//! layout = "isic2018"                         # [default: as recognised]
//! categories = ["screw"]                      # [default: all of them]
//! average_of = 15                             # categories that printed averages are over; one over fewer is compared with none
//! together = true                             # one model for all categories
//! validation = 0                              # [default: that of the grid]
//! settings = { topk = "all" }
//!
//! [[printed]]                                 # what the source says of a row, in percent and with its decimals
//! dataset = "isic2018"                        # [default: the mean over all datasets, in a table of its own]
//! strategy = "ckapatch"
//! ratio = 0.05
//! image_auroc = 92.66                         # or with the deviation, [92.66, 0.10]
//! ```
//!
//! [`super::keys`] has every key with the kind of its value.

use super::keys;
use super::printed::{self, Printed};
use crate::data::layout::LAYOUTS;
use crate::data::protocol::Labelled;
use crate::detector::METHODS;
use crate::detector::options::{OptionSpec, Rule};
use crate::model::BACKBONES;
use crate::score::evaluate::ProDefinition;
use crate::train::setup::{Setup, expect_known};
use crate::{Error, Result};
use serde::Deserialize;
use std::path::{Path, PathBuf};
use toml::de::DeTable;

/// A described experiment.
#[derive(Clone, Debug, Deserialize)]
pub struct Experiment {
    pub title: String,
    /// Where the printed figures are from.
    pub source: Option<String>,
    /// What is to be known of it, for the report.
    pub note: Option<String>,
    #[serde(default = "default_metrics")]
    pub metrics: Vec<String>,
    pub pro: Option<String>,
    pub grid: Grid,
    #[serde(default)]
    pub settings: Setup,
    #[serde(rename = "dataset")]
    pub datasets: Vec<DatasetSpec>,
    #[serde(default)]
    pub printed: Vec<Printed>,
}

/// Rows are every strategy with every norm and ratio; a strategy that takes no anomalies is one row, whatever the ratios.
#[derive(Clone, Debug, Deserialize)]
pub struct Grid {
    pub strategy: Vec<String>,
    #[serde(default = "norms")]
    pub norm: Vec<String>,
    #[serde(default = "all")]
    pub ratio: Vec<Labelled>,
    /// How many classes labelled anomalies are of, a row each; none: all of them.
    #[serde(default)]
    pub classes: Vec<usize>,
    #[serde(default = "draws")]
    pub draws: usize,
    #[serde(default)]
    pub validation: f64,
    pub seeds: Vec<u64>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct DatasetSpec {
    pub name: String,
    pub path: Option<PathBuf>,
    pub layout: Option<String>,
    #[serde(default)]
    pub categories: Vec<String>,
    #[serde(default)]
    pub normal: Vec<String>,
    /// How many categories printed averages are over.
    pub average_of: Option<usize>,
    #[serde(default)]
    pub together: bool,
    /// In place of the grid's.
    pub validation: Option<f64>,
    #[serde(default)]
    pub settings: Setup,
}

fn default_metrics() -> Vec<String> {
    ["image_auroc", "best_f1", "accuracy"].map(String::from).into()
}

/// An option that rows differ in.
fn option(name: &str) -> Option<&'static OptionSpec> {
    METHODS.into_iter().flat_map(|m| m.options).find(|s| s.name == name)
}

/// What it may be.
fn choices(name: &str) -> Vec<&'static str> {
    match option(name).map(|s| &s.rule) {
        Some(Rule::OneOf(names)) => names.iter().map(|(name, _)| *name).collect(),
        _ => vec![],
    }
}

pub fn usual_norm() -> String {
    option("norm").and_then(|s| s.default).unwrap_or_default().into()
}

fn norms() -> Vec<String> {
    vec![usual_norm()]
}

fn all() -> Vec<Labelled> {
    vec![Labelled::All]
}

fn draws() -> usize {
    5
}

/// What an evaluation is recorded by, and a column's heading.
pub const METRICS: [(&str, &str); 6] = [
    ("image_auroc", "image AUROC"),
    ("best_f1", "best F1"),
    ("accuracy", "accuracy"),
    ("pixel_auroc", "pixel AUROC"),
    ("aupro30", "AUPRO"),
    ("accuracy_at_validation", "accuracy at the validation threshold"),
];

pub fn is_metric(name: &str) -> bool {
    METRICS.iter().any(|(metric, _)| *metric == name)
}

impl Experiment {
    /// Reads a file. Errors name it, and of an unknown key the nearest that is known.
    pub fn open(path: &Path) -> Result<Self> {
        let text =
            std::fs::read_to_string(path).map_err(|e| Error::unread(path, e, "a grid as in experiments/*.toml"))?;
        Self::parse(&text).map_err(|e| e.within(path.display()))
    }

    pub fn parse(text: &str) -> Result<Self> {
        let table = DeTable::parse(text).map_err(|e| told(&e, text))?;
        let table = table.get_ref();
        keys::expect(table, text)?;
        let mut found: Experiment = toml::from_str(text).map_err(|e| told(&e, text))?;
        let tables = table.get("printed").and_then(|p| p.get_ref().as_array()).into_iter().flatten();
        let tables = tables.filter_map(|t| t.get_ref().as_table());
        found.printed = found.printed.into_iter().zip(tables).map(|(p, table)| p.with_figures(table)).collect();
        found.expect_valid()?;
        printed::expect(&found, table, text)?;
        Ok(found)
    }

    fn expect_valid(&self) -> Result<()> {
        let metrics: Vec<&str> = METRICS.iter().map(|(name, _)| *name).collect();
        self.metrics.iter().try_for_each(|m| expect_known(m, &metrics, "metrics"))?;
        let (strategies, norms) = (choices("strategy"), choices("norm"));
        self.grid.strategy.iter().try_for_each(|s| expect_known(s, &strategies, "[grid] strategy"))?;
        self.grid.norm.iter().try_for_each(|n| expect_known(n, &norms, "[grid] norm"))?;
        if self.grid.classes.contains(&0) {
            return Err(Error::Invalid("[grid] classes: 0: expected at least 1; ratio = [0] labels nothing".into()));
        }
        let names: Vec<&str> = self.datasets.iter().map(|d| d.name.as_str()).collect();
        let layouts: Vec<&str> = LAYOUTS.iter().flat_map(|l| l.others.iter().chain([&l.name]).copied()).collect();
        for dataset in &self.datasets {
            let layout = dataset.layout.iter();
            layout
                .into_iter()
                .try_for_each(|l| expect_known(l, &layouts, &format!("layout of dataset {}", dataset.name)))?;
            if names.iter().filter(|n| **n == dataset.name).count() > 1 {
                return Err(Error::Invalid(format!("two datasets are called {}", dataset.name)));
            }
        }
        for printed in &self.printed {
            let dataset = printed.dataset.iter();
            dataset.into_iter().try_for_each(|d| expect_known(d, &names, "[[printed]] dataset"))?;
            if let (None, Some(category)) = (&printed.dataset, &printed.category) {
                return Err(Error::Invalid(format!("[[printed]] category {category}: of which dataset?")));
            }
            expect_known(&printed.strategy, &strategies, "[[printed]] strategy")?;
            expect_known(&printed.norm, &norms, "[[printed]] norm")?;
        }
        if let Some(twice) = self.grid.seeds.iter().find(|s| self.grid.seeds.iter().filter(|t| t == s).count() > 1) {
            return Err(Error::Invalid(format!("[grid] seeds: {twice} is there twice")));
        }
        let pro: Vec<&str> = ProDefinition::NAMES.iter().map(|(name, _)| *name).collect();
        self.pro.iter().try_for_each(|p| expect_known(p, &pro, "pro"))?;
        let settings = self.datasets.iter().map(|d| (format!("dataset {}", d.name), &d.settings));
        let backbones = BACKBONES.map(|b| b.name);
        [("[settings]".to_string(), &self.settings)].into_iter().chain(settings).try_for_each(|(place, settings)| {
            let backbone = settings.backbone.iter();
            backbone.into_iter().try_for_each(|b| expect_known(b, &backbones, &format!("{place} backbone")))
        })
    }

    pub fn pro(&self) -> Result<ProDefinition> {
        self.pro.as_deref().map_or(Ok(ProDefinition::default()), ProDefinition::find)
    }
}

/// A parser's error on one line.
fn told(e: &toml::de::Error, text: &str) -> Error {
    let at = e.span().map(|span| format!("{}: ", keys::line(text, span.start)));
    // The parser names what it does not know, but not what is there twice.
    let key = e.span().and_then(|span| text.get(span)).filter(|_| e.message() == "duplicate key");
    let key = key.map_or(String::new(), |key| format!(" {key}"));
    Error::Invalid(format!("{}{}{key}", at.unwrap_or_default(), e.message()))
}
