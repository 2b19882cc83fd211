//! `ckaad data`: what a dataset holds and what is wrong with it, and splits of pictures that have none. And the flags by which
//! every command names a dataset.

use super::inputs::{tell_left_out, tell_masks, tell_passed_over};
use super::options::{Format, percentage, plural, print};
use super::progress;
use crate::data::layout::check::{Checked, Count, Doubled, Report, check};
use crate::data::layout::split::{Amount, Plan, csv, split};
use crate::data::layout::{Category, Dataset, LAYOUTS, Layout, Options, Split, TestSet};
use crate::detector::provenance::Training;
use crate::output::{expect_new, expect_no_stream, folder_of, write_atomically};
use crate::{Error, Result};
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use serde_json::{Value, json};
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// How a dataset is to be read.
#[derive(Clone, Debug, clap::Args)]
pub struct Reading {
    /// How the dataset lies in its folder [default: told by its files]
    #[arg(long, value_name = "LAYOUT", value_parser = layout())]
    layout: Option<LayoutName>,
    /// Class that is normal, in place of the layout's; may be given several times
    #[arg(long, value_name = "CLASS")]
    normal_class: Vec<String>,
}

/// A layout, by its name or by that of a dataset that lies so.
#[derive(Clone, Debug)]
struct LayoutName {
    name: String,
    layout: &'static Layout,
}

fn layout() -> impl TypedValueParser<Value = LayoutName> {
    let help = |l: &Layout| match l.others {
        [] => l.looks.to_string(),
        others => format!("{} (also as {})", l.looks, others.join(", ")),
    };
    let values = LAYOUTS.iter().map(|l| PossibleValue::new(l.name).aliases(l.others).help(help(l)));
    PossibleValuesParser::new(values).try_map(|name| Layout::find(&name).map(|layout| LayoutName { name, layout }))
}

impl Reading {
    pub fn dataset(&self, root: &Path) -> Result<Dataset> {
        let layout = self.layout.as_ref().map(|l| l.layout);
        Dataset::open(root, layout, &Options { normal: self.normal_class.clone() })
    }
}

/// Categories of datasets.
#[derive(Clone, Debug, clap::Args)]
pub struct Data {
    /// Dataset, in the layout of its owners (`ckaad data check --help` lists them), or a CSV file of path, label, split, mask; of
    /// several, or one of several categories, all are taken together
    #[arg(long, value_name = "DIR|CSV", num_args = 1..)]
    pub data: Vec<PathBuf>,
    /// Take this category alone; may be given several times
    #[arg(long, value_name = "NAME", requires = "data")]
    category: Vec<String>,
    #[command(flatten)]
    reading: Reading,
}

impl Named {
    /// Warns where a model was trained with other classes for normal ones than these pictures are judged by.
    pub fn tell_other_class(&self, training: Option<&Training>) {
        if let (Some(here), Some(there)) = (&self.normal_class, training.and_then(|t| t.normal_class.as_ref()))
            && here != there
        {
            warning!(
                "normal is {here} here, and the model was trained with {there} for normal; --normal-class says which"
            );
        }
    }
}

/// What was named.
#[derive(Default)]
pub struct Named {
    /// Which of the known datasets it is, or its layout; empty where there are several roots.
    pub dataset: String,
    /// Where that lies.
    pub root: PathBuf,
    /// The classes that are called normal, of datasets in which others could be.
    pub normal_class: Option<String>,
    /// None where no dataset is named.
    pub categories: Vec<Category>,
}

impl Data {
    /// Reads what is named. Standard error says what datasets were taken for.
    pub fn open(&self) -> Result<Named> {
        if self.data.is_empty() && (self.reading.layout.is_some() || !self.reading.normal_class.is_empty()) {
            return Err(Error::Usage("--layout and --normal-class say how to read --data; name it, too".into()));
        }
        let (mut all, mut name, mut place, mut classes) = (Vec::new(), String::new(), PathBuf::new(), Vec::new());
        for root in &self.data {
            let dataset = self.reading.dataset(root)?;
            let layout = dataset.layout;
            dataset.notes.iter().for_each(|text| note!("ckaad: {text}"));
            if layout.name != "folder" {
                note!("ckaad: {}: layout {} (normal: {})", root.display(), layout.name, self.normal(layout));
            }
            if layout.classes && !classes.contains(&self.normal(layout)) {
                classes.push(self.normal(layout));
            }
            let several = self.data.len() > 1;
            if !several {
                name = self.reading.layout.as_ref().map_or(layout.name, |l| &l.name).to_string();
                place.clone_from(&dataset.root);
            }
            for mut category in dataset.categories(&self.category)? {
                if several && category.name.is_empty() {
                    category.name = root.file_name().unwrap_or_default().to_string_lossy().into_owned();
                }
                let of = if category.name.is_empty() { String::new() } else { format!("{}: ", category.name) };
                category.notes.iter().for_each(|text| note!("ckaad: {of}{text}"));
                category.problems.iter().for_each(|problem| warning!("{of}{problem}"));
                if !category.passed_over.is_empty() {
                    note!("ckaad: {of}passed over: {}", category.passed_over);
                }
                all.push(category);
            }
        }
        let names: Vec<&str> = all.iter().map(|c| c.name.as_str()).collect();
        if let Some(twice) = names.iter().find(|n| names.iter().filter(|m| m == n).count() > 1) {
            return Err(Error::Usage(format!(
                "--data: two of the categories are called {twice}; take them one by one"
            )));
        }
        if all.len() > 1 {
            note!("ckaad: {} categories together: {}", all.len(), names.join(", "));
        }
        let normal_class = (!classes.is_empty()).then(|| classes.join("; "));
        Ok(Named { dataset: name, root: place, normal_class, categories: all })
    }

    fn normal(&self, layout: &Layout) -> String {
        match &self.reading.normal_class[..] {
            [] => layout.normal.to_string(),
            asked => asked.join(", "),
        }
    }
}

#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand, Debug)]
enum Command {
    Check(CheckArgs),
    Split(SplitArgs),
}

/// Say what a dataset holds, what is missing in it and what is there twice
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Every picture and mask is read: pictures are counted per split and class, equal files are found by their hash. A file on both \
sides of the split and one that is called normal and anomalous (in one category or in two, as one model may be trained on all), a mask that is missing while others are there, marks nothing or has \
another size, a class without test pictures, and rows and files that cannot be used are problems.

Examples:
  ckaad data check mvtec
  ckaad data check mvtec --category screw --format json | jq .categories[].problems
  ckaad data check cifar-10-batches-bin --normal-class ship
  ckaad data check split.csv

Exit codes: 0 nothing is wrong; 1 there are problems; 2 wrong use, or no dataset.")]
struct CheckArgs {
    /// The dataset's folder, or a CSV file
    #[arg(value_name = "DIR|CSV")]
    root: PathBuf,
    /// Look at this category alone; may be given several times
    #[arg(long, value_name = "NAME")]
    category: Vec<String>,
    #[command(flatten)]
    reading: Reading,
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// Split two folders of normal and anomalous pictures into training and testing, as a CSV file
#[derive(clap::Args, Debug)]
#[command(after_help = "\
No picture is moved or copied: --data takes the CSV file in place of a folder. Its columns are path, label, split and mask; paths \
below its own folder are relative, so that both can move together. Folders in --anomalous are types of anomalies. Files that are \
equal stay on one side. The same pictures, shares and seed give the same split.

Examples:
  ckaad data split --normal no --anomalous yes --out split.csv
  ckaad data split --normal no --anomalous yes --masks masks --test-share 0.5 \\
      --labelled 20 --seed 3 --out split.csv
  ckaad train --data split.csv --out model.safetensors
  ckaad eval --data split.csv --model model.safetensors")]
struct SplitArgs {
    /// Folder of normal pictures (with all folders below)
    #[arg(long, value_name = "DIR")]
    normal: PathBuf,
    /// Folder of anomalous pictures
    #[arg(long, value_name = "DIR")]
    anomalous: PathBuf,
    /// Folder of masks for --anomalous, called as its pictures are
    #[arg(long, value_name = "DIR")]
    masks: Option<PathBuf>,
    /// Share of the normal pictures that is for testing, as 0.2 or 20%
    #[arg(long, default_value = "0.2", value_parser = percentage, value_name = "SHARE")]
    test_share: f64,
    /// Anomalous pictures that are for training, as a number or a share (10%); the others are for testing
    #[arg(long, default_value = "10%", value_parser = labelled, value_name = "N|SHARE")]
    labelled: Amount,
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// CSV file to write
    #[arg(long, default_value = "split.csv", value_name = "FILE")]
    out: PathBuf,
}

fn labelled(text: &str) -> std::result::Result<Amount, String> {
    match text.parse() {
        Ok(count) => Ok(Amount::Count(count)),
        Err(_) => percentage(text).map(Amount::Share).map_err(|_| "expected a number, or a share as 0.1 or 10%".into()),
    }
}

pub fn run(args: &Args) -> Result<bool> {
    match &args.command {
        Command::Check(args) => run_check(args),
        Command::Split(args) => run_split(args),
    }
}

fn run_check(args: &CheckArgs) -> Result<bool> {
    let dataset = args.reading.dataset(&args.root)?;
    let (root, layout, notes) = (dataset.root.clone(), dataset.layout, dataset.notes.clone());
    let categories = dataset.categories(&args.category)?;
    // What nothing is found in is no dataset.
    if let [Category { train: Err(_), test: Err(_), .. }] = categories[..] {
        return categories.into_iter().next().map_or(Ok(true), |c| c.train.map(|_| true));
    }
    let total: usize = categories.iter().map(|c| c.samples().count()).sum();
    let bar = progress::bar("checking", total as u64);
    let Checked { categories: reports, together } = check(&categories, &|| bar.inc(1));
    bar.finish_and_clear();
    let reports = categories.iter().map(|c| c.name.as_str()).zip(reports).collect();
    let found = Found { root, layout, notes, reports, together };
    print(&match args.format {
        Format::Table => found.table(),
        Format::Json => format!("{}\n", found.object()),
    })?;
    Ok(found.problems() == 0)
}

/// What there is to say of a dataset.
struct Found<'a> {
    root: PathBuf,
    layout: &'static Layout,
    notes: Vec<String>,
    reports: Vec<(&'a str, Report)>,
    together: Doubled,
}

impl Found<'_> {
    fn problems(&self) -> usize {
        self.reports.iter().map(|(_, r)| r.problems.len()).sum::<usize>() + self.together.problems.len()
    }

    fn table(&self) -> String {
        let mut text = format!("{}: layout {} ({})\n", self.root.display(), self.layout.name, self.layout.looks);
        tell_lines(&mut text, &self.notes, &[]);
        for (name, report) in &self.reports {
            // Writing to a String cannot fail.
            if !name.is_empty() {
                let _ = writeln!(text, "\n{name}:");
            }
            for count in &report.counts {
                let label = if count.anomalous { "anomalous" } else { "normal" };
                let (split, kind) = (count.split.name(), &count.kind);
                let _ = writeln!(text, "  {split:<10} {label:<9} {:>7}  {kind}", count.pictures);
            }
            let m = &report.masks;
            let _ = writeln!(
                text,
                "  masks      {} found, {} missing, {} that mark nothing, {} unusable",
                m.found, m.missing, m.empty, m.unusable
            );
            tell_doubled(&mut text, &report.doubled);
            if !report.passed_over.is_empty() {
                let _ = writeln!(text, "  passed over: {}", report.passed_over);
            }
            tell_lines(&mut text, &report.remarks, &report.problems);
        }
        if !self.together.groups.is_empty() {
            let _ = writeln!(text, "\nin several categories:");
            tell_doubled(&mut text, &self.together);
            tell_lines(&mut text, &self.together.remarks, &self.together.problems);
        }
        let problems = self.problems();
        let _ =
            writeln!(text, "{}", if problems == 0 { "nothing is wrong".into() } else { plural(problems, "problem") });
        text
    }

    fn object(&self) -> Value {
        let category = |(name, r): &(&str, Report)| {
            let count = |c: &Count| json!({"split": c.split.name(), "class": c.kind, "anomalous": c.anomalous, "pictures": c.pictures});
            json!({
                "name": name, "counts": r.counts.iter().map(count).collect::<Vec<_>>(),
                "masks": {
                    "found": r.masks.found, "missing": r.masks.missing, "empty": r.masks.empty, "unusable": r.masks.unusable,
                },
                "doubled": groups(&r.doubled), "doubled_across_splits": r.doubled.across,
                "passed_over": r.passed_over, "notes": r.remarks, "problems": r.problems,
            })
        };
        let mut object = json!({
            "root": self.root.display().to_string(), "layout": self.layout.name, "notes": self.notes,
            "categories": self.reports.iter().map(category).collect::<Vec<_>>(),
        });
        if self.reports.len() > 1 {
            object["in_several_categories"] = json!({
                "doubled": groups(&self.together), "doubled_across_splits": self.together.across,
                "notes": self.together.remarks, "problems": self.together.problems,
            });
        }
        object
    }
}

fn groups(doubled: &Doubled) -> Vec<Vec<String>> {
    let group = |g: &Vec<PathBuf>| g.iter().map(|p| p.display().to_string()).collect();
    doubled.groups.iter().map(group).collect()
}

fn tell_doubled(text: &mut String, doubled: &Doubled) {
    let (groups, across) = (plural(doubled.groups.len(), "group"), doubled.across);
    let _ = writeln!(text, "  doubled    {groups} of equal pictures, {across} across splits");
}

fn tell_lines(text: &mut String, notes: &[String], problems: &[String]) {
    for (what, line) in notes.iter().map(|n| ("note", n)).chain(problems.iter().map(|p| ("problem", p))) {
        let _ = writeln!(text, "  {what}: {line}");
    }
}

fn run_split(args: &SplitArgs) -> Result<bool> {
    expect_no_stream("--out", &args.out)?;
    expect_new("--out", &args.out, "name another file, or remove it")?;
    let folder = folder_of(&args.out);
    if args.out.is_dir() || !folder.is_dir() {
        let out = args.out.display();
        return Err(Error::Usage(format!("--out {out}: expected the name of a file in a folder that is there")));
    }
    let set = TestSet::of_folders(Some(&args.normal), Some(&args.anomalous), args.masks.as_deref())?;
    tell_passed_over(&set.passed_over);
    set.left_out.iter().for_each(|reason| tell_left_out(reason));
    tell_masks(&set);
    let bar = progress::bar("comparing", set.images.len() as u64);
    let plan = Plan { tested: args.test_share, labelled: args.labelled, seed: args.seed };
    let made = split(set, &plan, &mut |done| bar.set_position(done as u64));
    bar.finish_and_clear();
    let made = made?;
    let bytes = csv(&made, &args.out)?;
    write_atomically(&args.out, |f| f.write_all(&bytes))?;
    let count = |split: Split, anomalous: bool| {
        made.samples.iter().filter(|(s, sample)| (*s, sample.anomalous) == (split, anomalous)).count()
    };
    let mut text = format!("{} written\n", args.out.display());
    for split in [Split::Train, Split::Test] {
        let (normal, anomalous) = (count(split, false), count(split, true));
        let _ = writeln!(text, "  {:<6} {normal} normal, {anomalous} anomalous", split.name());
    }
    if args.masks.is_some() {
        let masked = made.samples.iter().filter(|(_, sample)| !sample.masks.is_empty()).count();
        let anomalous = made.samples.iter().filter(|(_, sample)| sample.anomalous).count();
        let _ = writeln!(text, "  masks  of {masked} of {}", plural(anomalous, "anomalous picture"));
    }
    if made.equal > 0 {
        let _ = writeln!(text, "  {} equal to another, on its side", plural(made.equal, "picture"));
    }
    print(&text)?;
    for (anomalous, kind) in [(false, "normal"), (true, "anomalous")] {
        if count(Split::Test, anomalous) == 0 {
            warning!("{}: no {kind} pictures to test on: there is no AUROC of one class", args.out.display());
        }
    }
    Ok(true)
}
