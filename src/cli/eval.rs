//! `ckaad eval`: how good a model is on a dataset's test pictures.

use super::data::Data;
use super::framing::Framed;
use super::inputs::{
    Failed, expect_all_used, tell_hard_links, tell_left_out, tell_masks, tell_passed_over, tell_warnings,
};
use super::message::plain;
use super::options::{Device, Format, command_line, count, named, plural, print};
use super::progress;
use crate::data::layout::{NORMAL, TestSet};
use crate::detector::file::{Config, ModelFile};
use crate::output::{FileKind, Outputs};
use crate::report::evaluation::{self, Head, Known, left_out, origin};
use crate::report::json;
use crate::score::evaluate::{Evaluation, NoMask, ProDefinition, evaluate};
use crate::score::scorer::{Gives, Scorer};
use crate::{Error, Result};
use std::fmt::Write;
use std::path::PathBuf;

/// Evaluate a model on pictures that are known to be normal or anomalous
#[derive(clap::Args, Debug)]
#[command(after_help = "\
--data holds test/good/*, test/<type>/* and, for pixel metrics, ground_truth/<type>/<stem>_mask.png; or it lies as its owners \
publish it (MVTec AD, VisA, ISIC 2018, CIFAR-10 and others), or is a CSV file. Without such a folder \
name two: --normal, --anomalous, and --masks with files that are called as their pictures are. Masks may lie beside their \
pictures, too, as <stem>_mask.png. Good pictures alone say how many of them are called anomalous.

First comes what the model's own threshold makes of the pictures. The best F1 is at the threshold that fits these very \
pictures best, which nobody knows beforehand. AUPRO is exact and over the whole test set, up to a false positive rate of 0.3; \
values of --pro paper are higher and cannot be compared with it. Pictures and folders that cannot be read, and defect types \
without pictures, are left out, and pictures without a usable mask are left out of pixel metrics; all are named.

A mask marks every pixel that is not black, whatever its value; of a JPEG what is brighter than half, of one that is partly \
transparent what can be seen. A palette counts by its colours, not by its numbers, unless all of them are black: where colour 0 is \
white, what has number 0 is marked.

Pictures that the model was trained on, or that its threshold was taken from, are told by their contents: a warning counts them, and \
JSON lists them as trained_on and calibrated_on. Models by earlier versions do not say which those are.

Examples:
  ckaad eval --model screw.safetensors --data screw --report screw.html
  ckaad eval --model screw.safetensors --data mvtec --category screw
  ckaad eval --model all.safetensors --data mvtec          # every category, and their average
  ckaad eval --model screw.safetensors --normal fresh/good --anomalous fresh/bad
  ckaad eval --model screw.safetensors --data screw --format json | jq '.operating_point.recall'

Exit codes: 0 all evaluated; 2 wrong use, or some picture, mask or folder could not be used (the others are evaluated).")]
pub struct Args {
    /// Model file that `ckaad train` wrote
    #[arg(long, value_name = "FILE")]
    model: PathBuf,
    #[command(flatten)]
    data: Data,
    /// Folder of normal pictures
    #[arg(long, value_name = "DIR", conflicts_with = "data")]
    normal: Option<PathBuf>,
    /// Folder of anomalous pictures; folders in it are defect types
    #[arg(long, value_name = "DIR", conflicts_with = "data")]
    anomalous: Option<PathBuf>,
    /// Folder of masks for --anomalous, called as its pictures are
    #[arg(long, value_name = "DIR", requires = "anomalous", conflicts_with = "data")]
    masks: Option<PathBuf>,
    /// Definition of AUPRO
    #[arg(long, value_parser = named(ProDefinition::NAMES, ProDefinition::find), default_value = "exact")]
    pro: ProDefinition,
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// List every picture's score in the JSON, too, also normalised (`ckaad score --help` says how)
    #[arg(long)]
    scores: bool,
    /// Write a self-contained HTML report, too: histogram, ROC, PRO and precision-recall curves, and of every type the most doubtful
    /// and the clearest pictures with heat map and outline of the mask
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Pictures in one pass of the engine
    #[arg(long, default_value_t = 8, value_parser = count)]
    batch_size: usize,
    #[command(flatten)]
    framed: Framed,
    #[command(flatten)]
    device: Device,
}

pub fn run(args: &Args) -> Result<bool> {
    if args.scores && args.format != Format::Json {
        return Err(Error::Usage("--scores: a list for --format json".into()));
    }
    if args.data.data.is_empty() && args.normal.is_none() && args.anomalous.is_none() {
        return Err(Error::Usage("which pictures? --normal DIR, --anomalous DIR or both, or --data DIR".into()));
    }
    let mut model = ModelFile::open(&args.model)?;
    args.framed.put_and_warn(&mut model.config)?;
    let named = args.data.open()?;
    named.tell_other_class(model.config.training.as_ref());
    let mut categories = named.categories;
    let set = match categories.len() {
        1 => categories.remove(0).test?,
        2.. => TestSet::of_categories(categories.into_iter().map(|c| (c.name, c.test)).collect())?,
        0 => TestSet::of_folders(args.normal.as_deref(), args.anomalous.as_deref(), args.masks.as_deref())?,
    };
    if let Some(report) = &args.report {
        let outputs = Outputs::default().file("--report", report, FileKind::Page)?;
        outputs.expect_apart(&args.model)?;
        let files = set.images.iter().flat_map(|i| i.masks.iter().map(PathBuf::as_path).chain(i.source.file()));
        files.into_iter().try_for_each(|file| outputs.expect_apart(file))?;
        tell_hard_links(&outputs);
    }
    tell_set(&set, !args.data.data.is_empty());
    let backend = args.device.backend_for(&model.config)?;
    let mut scorer = Scorer::from_file(&model, args.batch_size, &backend, Gives::ScoresAndMaps)?;
    let bar = progress::bar("evaluating", set.images.len() as u64);
    let config = &model.config;
    let e = evaluate(&mut scorer, &set, config.threshold, args.pro, |done| {
        bar.set_position(done as u64);
        Ok(())
    })?;
    bar.finish_and_clear();
    e.pictures.iter().for_each(|p| tell_warnings(p.image.path(), &p.shown));
    for reason in &left_out(&e) {
        tell_left_out(reason);
    }
    let known = Known::new(config, &e);
    known.describe(e.pictures.len()).iter().for_each(|known| warning!("{known}"));
    if let Some(path) = &args.report {
        let title = format!("Evaluation of {}", args.model.display());
        let data = args.data.data.iter().chain(&args.normal).chain(&args.anomalous);
        let data: Vec<String> = data.map(|d| d.display().to_string()).collect();
        let settings = vec![
            ("Data".to_string(), data.join(", ")),
            ("Backbone".to_string(), config.architecture.backbone.name.to_string()),
            ("Time per picture".to_string(), format!("{:.1} ms", e.ms_per_image)),
        ];
        let head = Head { title, note: String::new(), command: command_line(), settings };
        evaluation::write(path, head, config, &e, args.pro)?;
    }
    print(&match args.format {
        Format::Table => table(&e, config, args.pro)?,
        Format::Json => format!("{}\n", json::evaluation(&e, &known, config, args.pro, args.scores)),
    })?;
    let masks = e.without_mask(|why| matches!(why, NoMask::Unreadable(_)));
    Failed::in_evaluation(e.unreadable.len(), masks).expect_none("read")?;
    expect_all_used(set.left_out.len())?;
    Ok(true)
}

/// What the folders were taken for, where that is not as expected.
fn tell_set(set: &TestSet, of_dataset: bool) {
    tell_passed_over(&set.passed_over);
    tell_masks(set);
    for kind in &set.taken_for_normal {
        note!("ckaad: test/{kind} is taken for the normal pictures");
    }
    let [normal, anomalous] = [false, true].map(|a| set.images.iter().any(|i| i.anomalous == a));
    let why = "there is no AUROC, F1, precision or accuracy of one class";
    if !normal && of_dataset {
        let names = NORMAL.join(", ");
        warning!(
            "none of the folders in test is one of normal pictures (called {names}): all count as defect types; {why}"
        );
    } else if !normal || !anomalous {
        let missing = if normal { "anomalous" } else { "normal" };
        note!("ckaad: there are no {missing} pictures: {why}");
    }
}

/// `91.1 %`, or a dash.
fn percent(share: Option<f64>) -> String {
    share.map_or("-".into(), |s| format!("{:.1} %", 100.0 * s))
}

/// What somebody who uses the model gets, in a few lines.
fn operating_point(e: &Evaluation, config: &Config) -> Result<String> {
    let (Some(threshold), Some(c)) = (e.threshold, e.overall.operating) else {
        return Ok("The model has no threshold: nothing is called anomalous; `ckaad threshold` sets one.\n".into());
    };
    let mut text = format!("At the model's threshold, {threshold:.5}:\n");
    let mut line = |line: String| {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  {line}");
    };
    if c.anomalous() > 0 {
        let of = plural(c.anomalous(), "anomalous picture");
        line(format!("{} of {of} found (recall {})", c.true_positives, percent(c.recall())));
    }
    if c.normal() > 0 {
        let alarms = plural(c.false_positives, "false alarm");
        let of = plural(c.normal(), "normal picture");
        line(format!("{alarms} among {of} ({})", percent(c.false_alarm_rate())));
    }
    if c.both() {
        line(format!("precision {}, accuracy {}", percent(c.precision()), percent(c.accuracy())));
    }
    let origin = origin(config, Some(threshold))?;
    if !origin.is_empty() {
        line(format!("it is the {origin}"));
    }
    Ok(text)
}

pub fn table(e: &Evaluation, config: &Config, pro: ProDefinition) -> Result<String> {
    let mut text = operating_point(e, config)?;
    if e.count(true) > 0 {
        let number = |v: Option<f64>| v.map_or("-".to_string(), |v| format!("{v:.4}"));
        let parts = e.per_category.iter().chain(&e.per_type).map(|(name, count, m)| (plain(name), *count, m));
        let rows: Vec<_> = [("overall".to_string(), e.count(true), &e.overall)].into_iter().chain(parts).collect();
        let width = rows.iter().map(|(name, ..)| name.chars().count()).max().unwrap_or_default();
        let _ = writeln!(
            text,
            "\n{:<width$} {:>9} {:>8} {:>11} {:>11} {:>9} {:>16}",
            "type", "anomalous", "found", "image AUROC", "pixel AUROC", "AUPRO@0.3", "best F1"
        );
        for (name, count, m) in rows {
            let found = percent(m.operating.and_then(|c| c.recall()));
            let [a, p, r] = [m.image_auroc, m.pixel_auroc, m.aupro30].map(number);
            let best = m.best.map_or("-".into(), |b| format!("{:.4} at {:.4}", b.f1, b.threshold));
            let _ = writeln!(text, "{name:<width$} {count:>9} {found:>8} {a:>11} {p:>11} {r:>9} {best:>16}");
        }
        if let Some(average) = e.average() {
            let all = [average.image_auroc, average.pixel_auroc, average.aupro30, average.best_f1];
            let [a, p, r, best] = all.map(number);
            let (name, none) = ("average", "-");
            let _ = writeln!(text, "{name:<width$} {none:>9} {none:>8} {a:>11} {p:>11} {r:>9} {best:>16}");
            let _ = writeln!(
                text,
                "average: of the categories, where all of them have the metric; overall: of all pictures as one set"
            );
        }
        let _ = writeln!(text, "best F1: at the threshold that fits these very pictures best; {}", pro.describe());
    }
    let mut counts = plural(e.count(false), "normal picture");
    let missing = e.without_mask(|_| true);
    if missing > 0 {
        let _ = write!(counts, ", {} without a usable mask", plural(missing, "anomalous picture"));
    }
    if !e.unreadable.is_empty() {
        let _ = write!(counts, ", {} that could not be read", plural(e.unreadable.len(), "picture"));
    }
    let _ = writeln!(text, "{counts}; {:.1} ms a picture", e.ms_per_image);
    Ok(text)
}
