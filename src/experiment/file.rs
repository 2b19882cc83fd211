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
//! draws = 5                                   # choices; absent, all
//! validation = 0.05                           # share of the training pictures that is kept apart, both kinds equally
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
//! together = true                             # one model for all categories
//! settings = { topk = "all" }
//!
//! [[printed]]                                 # what the source says, in percent
//! dataset = "isic2018"
//! strategy = "ckapatch"
//! ratio = 0.05
//! image_auroc = 92.6
//! ```

use crate::data::protocol::Labelled;
use crate::detector::METHODS;
use crate::detector::options::{OptionSpec, Rule};
use crate::score::evaluate::ProDefinition;
use crate::train::setup::{Setup, expect_known};
use crate::{Error, Result};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use toml::{Table, Value};

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
    #[serde(default)]
    pub together: bool,
    #[serde(default)]
    pub settings: Setup,
}

/// Figures of the source, in percent.
#[derive(Clone, Debug, Deserialize)]
pub struct Printed {
    pub dataset: String,
    /// Absent: the average.
    pub category: Option<String>,
    pub strategy: String,
    #[serde(default = "usual_norm")]
    pub norm: String,
    /// Absent: of any ratio.
    pub ratio: Option<Labelled>,
    /// Absent: of any number of classes.
    pub classes: Option<usize>,
    #[serde(flatten)]
    pub metrics: BTreeMap<String, f64>,
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

fn usual_norm() -> String {
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

impl Experiment {
    /// Reads a file. Errors name it, and of an unknown key the nearest that is known.
    pub fn open(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(|e| Error::io(path, e))?;
        Self::parse(&text).map_err(|e| e.within(path.display()))
    }

    pub fn parse(text: &str) -> Result<Self> {
        let table: Table = toml::from_str(text).map_err(|e| told(&e, text))?;
        expect_keys(&table)?;
        let found: Experiment = table.try_into().map_err(|e: toml::de::Error| told(&e, text))?;
        found.expect_valid()?;
        Ok(found)
    }

    fn expect_valid(&self) -> Result<()> {
        let metrics: Vec<&str> = METRICS.iter().map(|(name, _)| *name).collect();
        self.metrics.iter().try_for_each(|m| expect_known(m, &metrics, "metrics"))?;
        let (strategies, norms) = (choices("strategy"), choices("norm"));
        self.grid.strategy.iter().try_for_each(|s| expect_known(s, &strategies, "[grid] strategy"))?;
        self.grid.norm.iter().try_for_each(|n| expect_known(n, &norms, "[grid] norm"))?;
        self.settings.expect_known("[settings]")?;
        let names: Vec<&str> = self.datasets.iter().map(|d| d.name.as_str()).collect();
        for dataset in &self.datasets {
            dataset.settings.expect_known(&format!("settings of dataset {}", dataset.name))?;
            if names.iter().filter(|n| **n == dataset.name).count() > 1 {
                return Err(Error::Invalid(format!("two datasets are called {}", dataset.name)));
            }
        }
        for printed in &self.printed {
            expect_known(&printed.dataset, &names, "[[printed]] dataset")?;
            printed.metrics.keys().try_for_each(|m| expect_known(m, &metrics, "[[printed]]"))?;
        }
        if self.grid.seeds.is_empty() || self.grid.strategy.is_empty() || self.datasets.is_empty() {
            return Err(Error::Invalid("an experiment takes at least one strategy, one seed and one dataset".into()));
        }
        if let Some(twice) = self.grid.seeds.iter().find(|s| self.grid.seeds.iter().filter(|t| t == s).count() > 1) {
            return Err(Error::Invalid(format!("[grid] seeds: {twice} is there twice")));
        }
        for setup in self.datasets.iter().map(|d| &d.settings).chain([&self.settings]) {
            for (name, value) in [("epochs", setup.epochs), ("batch-size", setup.batch_size)] {
                if value == Some(0) {
                    return Err(Error::Invalid(format!("{name} = 0: expected at least 1")));
                }
            }
        }
        if !(0.0..1.0).contains(&self.grid.validation) {
            return Err(Error::Invalid(format!(
                "validation = {}: expected a share from 0 to below 1",
                self.grid.validation
            )));
        }
        self.pro().map(drop)
    }

    pub fn pro(&self) -> Result<ProDefinition> {
        self.pro.as_deref().map_or(Ok(ProDefinition::default()), ProDefinition::find)
    }
}

/// A parser's error on one line.
fn told(e: &toml::de::Error, text: &str) -> Error {
    let at = e.span().map(|span| format!("line {}: ", text[..span.start.min(text.len())].matches('\n').count() + 1));
    Error::Invalid(format!("{}{}", at.unwrap_or_default(), e.message()))
}

/// Refuses keys that mean nothing. What is free to be named otherwise (settings, metrics) is looked at when it is read.
fn expect_keys(table: &Table) -> Result<()> {
    const TOP: [&str; 9] = ["title", "source", "note", "metrics", "pro", "grid", "settings", "dataset", "printed"];
    const GRID: [&str; 7] = ["strategy", "norm", "ratio", "classes", "draws", "validation", "seeds"];
    const DATASET: [&str; 7] = ["name", "path", "layout", "categories", "normal", "together", "settings"];
    let of = |table: &Table, known: &[&str], place: &str| table.keys().try_for_each(|k| expect_known(k, known, place));
    of(table, &TOP, "the file")?;
    if let Some(Value::Table(grid)) = table.get("grid") {
        of(grid, &GRID, "[grid]")?;
    }
    let datasets = table.get("dataset").and_then(Value::as_array).into_iter().flatten();
    datasets.filter_map(Value::as_table).try_for_each(|dataset| of(dataset, &DATASET, "[[dataset]]"))
}
