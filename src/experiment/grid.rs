//! The cells of an experiment: what is trained and evaluated once.

use super::file::{DatasetSpec, Experiment};
use crate::data::layout::{Category, Dataset, Layout, Options, TestSet, TrainSet};
use crate::data::protocol::{Labelled, Protocol, choices};
use crate::detector::Learning;
use crate::train::setup::{Setting, Setup};
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// A row of the table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    pub strategy: String,
    pub norm: String,
    pub ratio: Labelled,
    /// How many classes labelled anomalies are of; `None`: all.
    pub of_classes: Option<usize>,
}

/// What identifies a cell, also in results of an earlier run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cell {
    pub dataset: String,
    /// Of the categories that are trained on: one, or all that share a model.
    pub categories: Vec<String>,
    #[serde(flatten)]
    pub row: Row,
    /// Classes that labelled anomalies are of; empty: all.
    pub classes: Vec<String>,
    pub seed: u64,
    /// Everything that it is trained with.
    pub settings: Setup,
    pub validation: f64,
    /// What else a result depends on.
    pub inputs: Inputs,
}

/// Of pictures, a digest of their names and sizes; of weights and device, what they are called.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Inputs {
    pub pictures: String,
    pub weights: String,
    pub device: String,
}

impl Cell {
    pub fn protocol(&self) -> Protocol {
        Protocol {
            labelled: self.row.ratio,
            classes: self.classes.clone(),
            validation: self.validation,
            seed: self.seed,
        }
    }

    /// For people.
    pub fn describe(&self) -> String {
        let mut parts = vec![self.dataset.clone()];
        parts.extend((self.categories != [""]).then(|| self.categories.join("+")));
        parts.extend([self.row.strategy.clone(), self.row.norm.clone(), self.row.describe_ratio()]);
        parts.extend((!self.classes.is_empty()).then(|| self.classes.join("+")));
        parts.push(format!("seed {}", self.seed));
        parts.join(", ")
    }
}

impl Row {
    pub fn describe_ratio(&self) -> String {
        match self.ratio {
            Labelled::All => "all anomalies".into(),
            Labelled::Share(share) => format!("{} %", (1e4 * share).round() / 1e2),
        }
    }

    pub fn describe(&self, e: &Experiment) -> String {
        let mut text = self.strategy.clone();
        if e.grid.norm.len() > 1 {
            text += &format!(", {} norm", self.norm);
        }
        if e.grid.ratio.len() > 1 {
            text += &format!(", {}", self.describe_ratio());
        }
        if let Some(classes) = self.of_classes.filter(|_| e.grid.classes.len() > 1) {
            text += &format!(", classes labelled: {classes}");
        }
        text
    }
}

/// The rows, in the file's order.
pub fn rows(e: &Experiment) -> Result<Vec<Row>> {
    let mut rows: Vec<Row> = Vec::new();
    let classes: Vec<Option<usize>> = match &e.grid.classes[..] {
        [] => vec![None],
        numbers => numbers.iter().copied().map(Some).collect(),
    };
    for strategy in &e.grid.strategy {
        for norm in &e.grid.norm {
            for ratio in &e.grid.ratio {
                for of_classes in &classes {
                    let (strategy, norm) = (strategy.clone(), norm.clone());
                    let row = Row { strategy, norm, ratio: *ratio, of_classes: *of_classes };
                    // Of none there is one choice.
                    let none = !uses_anomalies(&row.over(&Setup::default()))? || *ratio == Labelled::Share(0.0);
                    let row = if none { Row { ratio: Labelled::Share(0.0), of_classes: None, ..row } } else { row };
                    if !rows.contains(&row) {
                        rows.push(row);
                    }
                }
            }
        }
    }
    Ok(rows)
}

fn uses_anomalies(setup: &Setup) -> Result<bool> {
    Ok(matches!(setup.detector()?.learning(), Learning::Steps(how) if how.uses_anomalies()))
}

impl Row {
    /// Its settings over others.
    fn over(&self, setup: &Setup) -> Setup {
        let text = |text: &str| Setting::Text(text.into());
        let own = [("strategy".to_string(), text(&self.strategy)), ("norm".to_string(), text(&self.norm))];
        Setup { options: own.into(), ..Setup::default() }.or(setup)
    }
}

/// A dataset of the experiment that is there.
pub struct Opened<'a> {
    pub spec: &'a DatasetSpec,
    pub categories: Vec<Category>,
}

/// Opens the datasets below `root`. Those that are not there come by their names.
pub fn open<'a>(e: &'a Experiment, root: &Path) -> Result<(Vec<Opened<'a>>, Vec<&'a str>)> {
    let (mut opened, mut missing) = (Vec::new(), Vec::new());
    for spec in &e.datasets {
        let path = root.join(spec.path.as_deref().unwrap_or(Path::new(&spec.name)));
        if !path.exists() {
            missing.push(spec.name.as_str());
            continue;
        }
        let layout = spec.layout.as_deref().map(Layout::find).transpose()?;
        let dataset = Dataset::open(&path, layout, &Options { normal: spec.normal.clone() })?;
        let categories = dataset.categories(&spec.categories)?;
        opened.push(Opened { spec, categories });
    }
    Ok((opened, missing))
}

impl Opened<'_> {
    /// The training pictures of some categories together.
    pub fn train(&self, names: &[String]) -> Result<TrainSet> {
        let chosen = self.categories.iter().filter(|c| names.contains(&c.name));
        let train = |c: &Category| match &c.train {
            Ok(set) => Ok((c.name.clone(), set.clone())),
            Err(e) => Err(Error::Invalid(e.to_string())),
        };
        Ok(TrainSet::together(chosen.map(train).collect::<Result<_>>()?))
    }

    /// The test pictures of one.
    pub fn test(&self, name: &str) -> Result<&TestSet> {
        let category = self.categories.iter().find(|c| c.name == name);
        let category = category.ok_or_else(|| Error::Invalid(format!("{}: no category {name}", self.spec.name)))?;
        category.test.as_ref().map_err(|e| Error::Invalid(e.to_string()))
    }

    /// Of all files of some categories: their names, their sizes and what they are taken for.
    fn digest(&self, names: &[String]) -> String {
        let mut digest = Sha256::new();
        for category in self.categories.iter().filter(|c| names.contains(&c.name)) {
            for (split, sample) in category.samples() {
                let files = sample.source.file().into_iter().chain(sample.masks.iter().map(PathBuf::as_path));
                let sizes: Vec<u64> = files.map(|f| std::fs::metadata(f).map_or(0, |m| m.len())).collect();
                let name = sample.path().file_name().unwrap_or_default();
                digest.update(format!("{split:?} {} {name:?} {sizes:?}\n", sample.kind));
            }
        }
        digest.finalize().iter().take(8).map(|b| format!("{b:02x}")).collect()
    }

    /// What is trained on by itself.
    fn groups(&self) -> Vec<Vec<String>> {
        let names = self.categories.iter().map(|c| c.name.clone());
        if self.spec.together { vec![names.collect()] } else { names.map(|n| vec![n]).collect() }
    }
}

/// All cells of the datasets that are there, in the order in which they are run: with these weights (absent: each backbone's
/// own) on a device.
pub fn cells(e: &Experiment, opened: &[Opened], weights: Option<&str>, device: &str) -> Result<Vec<Cell>> {
    let rows = rows(e)?;
    let mut cells = Vec::new();
    for dataset in opened {
        for categories in dataset.groups() {
            let set = dataset.train(&categories)?;
            // That nothing can be evaluated is better known before hours of training.
            categories.iter().try_for_each(|name| dataset.test(name).map(|_| ()))?;
            let classes: BTreeSet<String> = set.anomalous.iter().map(|s| s.kind.clone()).collect();
            let classes = Vec::from_iter(classes);
            let own = Setup::of_dataset(&dataset.spec.name, if categories.len() == 1 { &categories[0] } else { "" });
            let pictures = dataset.digest(&categories);
            let setup = dataset.spec.settings.clone().or(&e.settings).or(&own.unwrap_or_default());
            for seed in &e.grid.seeds {
                for row in &rows {
                    let chosen = choices(&classes, row.of_classes, e.grid.draws, *seed)?;
                    cells.extend(chosen.into_iter().map(|classes| Cell {
                        dataset: dataset.spec.name.clone(),
                        categories: categories.clone(),
                        row: row.clone(),
                        classes,
                        seed: *seed,
                        settings: row.over(&setup),
                        validation: e.grid.validation,
                        inputs: Inputs {
                            pictures: pictures.clone(),
                            weights: weights.unwrap_or(setup.backbone()).into(),
                            device: device.into(),
                        },
                    }));
                }
            }
        }
    }
    Ok(cells)
}
