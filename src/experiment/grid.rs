//! The cells of an experiment: what is trained and evaluated once.

use super::file::{DatasetSpec, Experiment};
use super::inputs::Inputs;
use crate::data::layout::{Category, Dataset, Layout, Options, TestSet, TrainSet};
use crate::data::protocol::{Labelled, Protocol, choices};
use crate::detector::Learning;
use crate::error::{plural, rows_or_folders};
use crate::train::setup::{Setting, Setup};
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
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

impl Cell {
    pub fn protocol(&self) -> Protocol {
        Protocol {
            labelled: self.row.ratio,
            classes: self.classes.clone(),
            validation: self.validation,
            seed: self.seed,
        }
    }

    /// How many are labelled, where those that there are were fewer than the row's ratio asks for: `DF: 115 labelled pictures instead of
    /// 344`. Not of training pictures that hold none, of which the strategy makes its own.
    pub fn labelled_less(&self, normal: usize, labelled: usize) -> Option<String> {
        let asked = self.row.ratio.beside(normal).filter(|asked| (1..*asked).contains(&labelled))?;
        let names = [self.categories.join("+"), self.classes.join("+")].into_iter().filter(|name| !name.is_empty());
        let names: String = names.map(|name| name + ": ").collect();
        let validation = if self.validation > 0.0 { ", and none for validation" } else { "" };
        Some(format!("{names}{} instead of {asked}{validation}", plural(labelled, "labelled picture")))
    }

    /// Whether it is trained with anomalous pictures, found or made.
    pub fn uses_anomalies(&self) -> Result<bool> {
        Ok(matches!(self.settings.detector()?.learning(), Learning::Steps(how) if how.uses_anomalies()))
    }

    /// Pictures that its steps take in all, of so many normal ones.
    pub fn pictures_in_steps(&self, normal: usize) -> Result<u64> {
        let pictures = (self.settings.epochs() as u64).saturating_mul(normal as u64);
        Ok(pictures.saturating_mul(if self.uses_anomalies()? { 2 } else { 1 }))
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
            Labelled::Share(0.0) => "0 labelled".into(),
            Labelled::Share(share) => format!("{} %", (1e4 * share).round() / 1e2),
        }
    }

    /// What tells it from other rows of the table. Its ratio, too, where it is not the one that the file asks for.
    pub fn describe(&self, e: &Experiment) -> Result<String> {
        let mut text = self.strategy.clone();
        if e.grid.norm.len() > 1 {
            text += &format!(", {} norm", self.norm);
        }
        if e.grid.ratio.len() > 1 || !e.grid.ratio.contains(&self.ratio) && self.uses_anomalies()? {
            text += &format!(", {}", self.describe_ratio());
        }
        if let Some(classes) = self.of_classes.filter(|_| e.grid.classes.len() > 1) {
            text += &format!(", classes labelled: {classes}");
        }
        Ok(text)
    }

    fn uses_anomalies(&self) -> Result<bool> {
        let detector = self.over(&Setup::default()).detector()?;
        Ok(matches!(detector.learning(), Learning::Steps(how) if how.uses_anomalies()))
    }

    /// Its settings over others.
    fn over(&self, setup: &Setup) -> Setup {
        let text = |text: &str| Setting::Text(text.into());
        let own = [("strategy".to_string(), text(&self.strategy)), ("norm".to_string(), text(&self.norm))];
        Setup { options: own.into(), ..Setup::default() }.or(setup)
    }
}

/// The rows of a dataset, in the file's order; `labels` says whether it has anomalies to label.
pub fn rows(e: &Experiment, labels: bool) -> Result<Vec<Row>> {
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
                    let none = !labels || *ratio == Labelled::Share(0.0) || !row.uses_anomalies()?;
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

/// A dataset of the experiment that is there.
pub struct Opened<'a> {
    pub spec: &'a DatasetSpec,
    root: PathBuf,
    /// What was decided of all of it.
    notes: Vec<String>,
    pub categories: Vec<Category>,
    /// Categories with nothing to train on or nothing to test on.
    pub left_out: Vec<String>,
}

/// Opens the datasets below `root`. Those that are not there come by their names. Errors name the dataset, also where its settings
/// are such that nothing can be trained with them.
pub fn open<'a>(e: &'a Experiment, root: &Path) -> Result<(Vec<Opened<'a>>, Vec<&'a str>)> {
    let (mut opened, mut missing) = (Vec::new(), Vec::new());
    for spec in &e.datasets {
        let within = |error: Error| error.within(format!("dataset {}", spec.name));
        for row in rows(e, true)? {
            let setup = row.over(&setup(e, spec, Setup::of_dataset(&spec.name, "")));
            setup.detector().map_err(within)?;
            setup.architecture().map_err(within)?;
        }
        let path = root.join(spec.path.as_deref().unwrap_or(Path::new(&spec.name)));
        if path.exists() {
            opened.push(Opened::new(spec, &path).map_err(within)?);
        } else {
            missing.push(spec.name.as_str());
        }
    }
    Ok((opened, missing))
}

/// What is trained with, but for what rows differ in; `own` are the settings that the paper has of it.
fn setup(e: &Experiment, spec: &DatasetSpec, own: Option<Setup>) -> Setup {
    spec.settings.clone().or(&e.settings).or(&own.unwrap_or_default())
}

/// Whether training pictures of one of these categories are anomalous; what cannot be listed has none.
fn labels(categories: &[Category]) -> bool {
    categories.iter().any(|c| c.train.as_ref().is_ok_and(|set| !set.anomalous.is_empty()))
}

impl<'a> Opened<'a> {
    fn new(spec: &'a DatasetSpec, path: &Path) -> Result<Self> {
        let layout = spec.layout.as_deref().map(Layout::find).transpose()?;
        let dataset = Dataset::open(path, layout, &Options { normal: spec.normal.clone() })?;
        let (root, notes) = (dataset.root.clone(), dataset.notes.clone());
        let categories = dataset.categories(&spec.categories)?;
        let usable = |c: &Category| c.train.is_ok() && c.test.is_ok();
        // Of several, those are left out that cannot be trained on or tested on, unless somebody named them.
        if spec.categories.is_empty() && categories.iter().any(usable) {
            let (categories, left_out): (Vec<Category>, Vec<Category>) = categories.into_iter().partition(usable);
            let left_out = left_out.into_iter().map(|c| c.name).collect();
            return Ok(Opened { spec, root, notes, categories, left_out });
        }
        Ok(Opened { spec, root, notes, categories, left_out: vec![] })
    }

    pub fn rows(&self, e: &Experiment) -> Result<Vec<Row>> {
        rows(e, labels(&self.categories))
    }

    /// What somebody should know of it who reads its table.
    pub fn remarks(&self, e: &Experiment) -> Result<Vec<String>> {
        let mut remarks = self.notes.clone();
        remarks.extend(self.notes_of_categories());
        let unusable = self.unusable();
        if !unusable.is_empty() {
            let (count, reasons) = (rows_or_folders(unusable.len()), Vec::from_iter(unusable).join("; "));
            remarks.push(format!("{count} left out: {reasons}"));
        }
        if !self.left_out.is_empty() {
            let (count, names) = (self.left_out.len(), self.left_out.join(", "));
            let categories = if count == 1 { "category that has" } else { "categories that have" };
            remarks.push(format!("averages lack {count} {categories} no train/good or no test: {names}"));
        }
        if let (absent @ 1.., Some(all)) = (self.absent(), self.spec.average_of) {
            remarks.push(format!(
                "averages lack {absent} of the {all} categories that printed ones are over: not there, or not asked for"
            ));
        }
        let printed = e.printed.iter().filter(|p| p.dataset.as_ref() == Some(&self.spec.name));
        let printed: BTreeSet<&String> = printed.filter_map(|p| p.category.as_ref()).collect();
        let there: Vec<&String> = self.categories.iter().map(|c| &c.name).chain(&self.left_out).collect();
        let gone: Vec<&str> = printed.into_iter().filter(|c| !there.contains(c)).map(String::as_str).collect();
        if !gone.is_empty() {
            remarks
                .push(format!("no row for the printed figures of categories that are not there: {}", gone.join(", ")));
        }
        let idle = self.idle_settings(e)?;
        if !idle.is_empty() {
            remarks.push(format!("settings that change nothing in any row: {}", idle.join(", ")));
        }
        let asks = rows(e, true)?.iter().any(|r| r.ratio != Labelled::Share(0.0));
        let without: Vec<&Category> = self.categories.iter().filter(|c| !labels(std::slice::from_ref(*c))).collect();
        let own = "strategies that take anomalies are trained with distorted normal pictures";
        if asks && without.len() == self.categories.len() {
            remarks.push(format!(
                "no training picture is anomalous, so none is labelled and all ratios are one row; {own}"
            ));
        } else if asks && !without.is_empty() && !self.spec.together {
            let names: Vec<&str> = without.iter().map(|c| c.name.as_str()).collect();
            remarks.push(format!(
                "no training picture of {} is anomalous, so none is labelled in any row; {own}",
                names.join(", ")
            ));
        }
        Ok(remarks)
    }

    /// Settings of the file that no row uses, being of strategies that are not in the grid.
    fn idle_settings(&self, e: &Experiment) -> Result<Vec<String>> {
        let given = setup(e, self.spec, None);
        let mut idle: Vec<String> = given.options.keys().cloned().collect();
        for row in rows(e, true)? {
            let unused = row.over(&given).detector()?.unused_options();
            idle.retain(|name| unused.contains(&&**name));
        }
        Ok(idle)
    }

    /// Categories that printed averages are over and that are neither used nor left out.
    pub fn absent(&self) -> usize {
        self.spec.average_of.unwrap_or(0).saturating_sub(self.categories.len() + self.left_out.len())
    }

    /// What layouts decided and found wrong, each once, with the categories that it holds for where there are several.
    fn notes_of_categories(&self) -> Vec<String> {
        let said = |c: &'_ Category| c.problems.iter().chain(&c.notes).cloned().collect::<Vec<String>>();
        let mut texts: Vec<String> = Vec::new();
        for text in self.categories.iter().flat_map(said) {
            if !texts.contains(&text) {
                texts.push(text);
            }
        }
        let named = |text: String| {
            let of = self.categories.iter().filter(|c| said(c).contains(&text)).map(|c| c.name.as_str());
            match Vec::from_iter(of) {
                of if of == [""] => text,
                of if of.len() > 1 && of.len() == self.categories.len() => format!("each category: {text}"),
                of => format!("{}: {text}", of.join(", ")),
            }
        };
        texts.into_iter().map(named).collect()
    }

    /// Why rows and folders are left out that belong to what is trained on and tested.
    fn unusable(&self) -> BTreeSet<&str> {
        let train = self.categories.iter().flat_map(|c| c.train.iter().flat_map(|set| &set.left_out));
        let test = self.categories.iter().flat_map(|c| c.test.iter().flat_map(|set| &set.left_out));
        train.chain(test).map(String::as_str).collect()
    }

    /// How many rows, folders and categories are left out.
    pub fn count_left_out(&self) -> usize {
        self.unusable().len() + self.left_out.len()
    }

    /// The training pictures of some categories together.
    pub fn train(&self, names: &[String]) -> Result<TrainSet> {
        let chosen = self.categories.iter().filter(|c| names.contains(&c.name));
        let train = |c: &Category| match &c.train {
            Ok(set) => Ok((c.name.clone(), set.clone())),
            Err(e) => Err(Error::Invalid(e.to_string())),
        };
        Ok(TrainSet::together(chosen.map(train).collect::<Result<_>>()?))
    }

    /// How many normal training pictures some categories have.
    pub fn count_normal(&self, names: &[String]) -> usize {
        let chosen = self.categories.iter().filter(|c| names.contains(&c.name));
        chosen.map(|c| c.train.as_ref().map_or(0, |set| set.good.len())).sum()
    }

    /// The test pictures of one.
    pub fn test(&self, name: &str) -> Result<&TestSet> {
        let category = self.categories.iter().find(|c| c.name == name);
        let category = category.ok_or_else(|| Error::Invalid(format!("{}: no category {name}", self.spec.name)))?;
        category.test.as_ref().map_err(|e| Error::Invalid(e.to_string()))
    }

    /// What is trained on by itself.
    fn groups(&self) -> Vec<Vec<String>> {
        let names = self.categories.iter().map(|c| c.name.clone());
        if self.spec.together { vec![names.collect()] } else { names.map(|n| vec![n]).collect() }
    }
}

/// All cells of the datasets that are there, in the order in which they are run. `inputs` finds those of a dataset's categories
/// that are trained on together, with a backbone.
pub fn cells(
    e: &Experiment,
    opened: &[Opened],
    mut inputs: impl FnMut(&Opened, &[String], &str) -> Result<Inputs>,
) -> Result<Vec<Cell>> {
    let mut cells = Vec::new();
    for dataset in opened {
        let spec = dataset.spec;
        let within = |error: Error| error.within(format!("dataset {}", spec.name));
        let rows = dataset.rows(e)?;
        for categories in dataset.groups() {
            let set = dataset.train(&categories).map_err(within)?;
            let classes: BTreeSet<String> = set.anomalous.iter().map(|s| s.kind.clone()).collect();
            let classes = Vec::from_iter(classes);
            let own = match &categories[..] {
                [only] => Setup::of_category(&spec.name, only, &dataset.root),
                _ => Setup::of_dataset(&spec.name, ""),
            };
            let setup = setup(e, spec, own);
            let inputs = inputs(dataset, &categories, setup.backbone())?;
            for seed in &e.grid.seeds {
                for row in &rows {
                    let chosen = choices(&classes, row.of_classes, e.grid.draws, *seed);
                    let chosen = chosen.map_err(|e| within(e.within("[grid] classes")))?;
                    cells.extend(chosen.into_iter().map(|classes| Cell {
                        dataset: spec.name.clone(),
                        categories: categories.clone(),
                        row: row.clone(),
                        classes,
                        seed: *seed,
                        settings: row.over(&setup),
                        validation: spec.validation.unwrap_or(e.grid.validation),
                        inputs: inputs.clone(),
                    }));
                }
            }
        }
    }
    Ok(cells)
}
