//! The tables of an experiment, as Markdown and as a page: means and deviations beside printed figures, and under each what it
//! lacks.

use super::figure::{Came, Figure};
use super::file::{DatasetSpec, Experiment, METRICS};
use super::grid::{Cell, Opened, Row, rows};
use super::printed::PrintedFigure;
use super::results::{CategoryResult, Outcome};
use super::shard::Shard;
use crate::Result;
use crate::error::plural;
use crate::report::html::charts::histogram;
use crate::report::html::{Page, escape, figure};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

/// What tables are made of.
pub struct Report<'a> {
    pub experiment: &'a Experiment,
    pub opened: &'a [Opened<'a>],
    /// Whose results these are, where others make the rest.
    pub shard: Option<Shard>,
    /// All that the file asks for of the datasets that are there.
    pub cells: &'a [Cell],
    /// What came of them so far.
    pub outcomes: &'a [Outcome],
}

/// A heading, columns, rows of a name and figures, and what is to be known of it.
struct Table {
    heading: String,
    columns: Vec<String>,
    rows: Vec<(String, Vec<Figure>)>,
    notes: Vec<String>,
}

impl Table {
    fn notes(&self) -> impl Iterator<Item = &str> {
        let partial = self.rows.iter().flat_map(|(_, figures)| figures).any(Figure::is_partial);
        let text =
            "(n of m): a mean over n of the m results that the file asks for, which compares with no printed one.";
        self.notes.iter().map(String::as_str).chain(partial.then_some(text))
    }
}

/// A result that the file asks for: what a cell makes of one category's test pictures.
struct Asked<'a> {
    cell: &'a Cell,
    category: &'a str,
    outcome: Option<&'a Outcome>,
    result: Option<&'a CategoryResult>,
}

impl Asked<'_> {
    fn came(&self, value: impl Fn(&CategoryResult) -> Option<f64>) -> Came {
        self.result.map_or(Came::Missing, |r| value(r).map_or(Came::Undefined, Came::Of))
    }
}

/// What results are repetitions of each other by.
type Repetition<'a> = (u64, &'a [String]);

/// A dataset of the file with what is asked of it.
struct Part<'a> {
    spec: &'a DatasetSpec,
    opened: Option<&'a Opened<'a>>,
    rows: Vec<Row>,
    asked: Vec<Asked<'a>>,
    /// With one seed, and one model for the whole dataset, a figure's deviation is that over choices of labelled classes.
    over_choices: bool,
}

impl<'a> Part<'a> {
    fn of_row(&self, row: &Row) -> impl Iterator<Item = &Asked<'a>> {
        self.asked.iter().filter(move |a| a.cell.row == *row)
    }

    fn repetition(&self, cell: &'a Cell) -> Repetition<'a> {
        (cell.seed, if self.over_choices { &cell.classes[..] } else { &[] })
    }

    /// What came of a row; of one category, or of all.
    fn came(&self, e: &Experiment, row: &Row, category: Option<&str>, metric: &str) -> Vec<(Repetition<'a>, Came)> {
        let own = self.of_row(row).filter(|a| category.is_none_or(|c| a.category == c));
        let came = own.map(|a| (self.repetition(a.cell), a.came(|r| r.metrics.get(metric).copied())));
        // A category that cannot be used, or is not there, has no cells, and is asked for once for each seed.
        let lacked = self.opened.filter(|_| category.is_none()).map_or(0, |o| o.left_out.len() + o.absent());
        let seeds = e.grid.seeds.iter().flat_map(|seed| std::iter::repeat_n(*seed, lacked));
        came.chain(seeds.map(|seed| ((seed, &[][..]), Came::Missing))).collect()
    }

    fn figure(&self, e: &Experiment, row: &Row, category: Option<&str>, metric: &str) -> Figure {
        Figure::new(self.came(e, row, category, metric), printed(e, Some(&self.spec.name), category, row, metric))
    }

    /// Over what there are deviations.
    fn over(&self, e: &Experiment) -> String {
        let seeds = plural(e.grid.seeds.len(), "seed");
        let choices: BTreeSet<&[String]> = self.asked.iter().map(|a| &a.cell.classes[..]).collect();
        if self.over_choices && choices.len() > 1 {
            return format!("choices of labelled classes, {seeds}");
        }
        seeds
    }

    /// `bolt: 3 of 9 <what>; nut: up to 2 of 8 <what>.`, of the categories where a result counts any.
    fn counted(&self, count: impl Fn(&CategoryResult) -> usize, what: &str) -> Option<String> {
        let mut of: BTreeMap<&str, (BTreeSet<usize>, usize)> = BTreeMap::new();
        for result in self.asked.iter().filter_map(|a| a.result) {
            let (counts, all) = of.entry(&result.category).or_default();
            counts.insert(count(result));
            *all = (*all).max(result.judged() + result.unreadable);
        }
        let one = |(category, (counts, all)): (&str, (BTreeSet<usize>, usize))| {
            let most = counts.last().filter(|most| **most > 0)?;
            let name = if category.is_empty() { String::new() } else { format!("{category}: ") };
            Some(format!("{name}{}{most} of {all} {what}", if counts.len() > 1 { "up to " } else { "" }))
        };
        let texts: Vec<String> = of.into_iter().filter_map(one).collect();
        (!texts.is_empty()).then(|| texts.join("; ") + ".")
    }

    /// What the table lacks, and what else is to be known of it.
    fn notes(&self, e: &Experiment) -> Result<Vec<String>> {
        let Some(opened) = self.opened else {
            return Ok(vec!["The dataset is not there; its cells are left out.".into()]);
        };
        let sentence = |text: String| {
            let mut rest = text.chars();
            let capital = rest.next().into_iter().flat_map(char::to_uppercase);
            let end = (!text.ends_with(['.', '?', '!'])).then_some('.');
            capital.chain(rest).chain(end).collect::<String>()
        };
        let mut notes: Vec<String> = opened.remarks(e)?.into_iter().map(sentence).collect();
        let missing = self.asked.iter().filter(|a| a.result.is_none()).count();
        if missing > 0 {
            let of = plural(self.asked.len(), "result");
            notes.push(format!("Missing: {missing} of {of}; their cells failed or were not run."));
        }
        let less = |a: &Asked| {
            let (ratio, outcome) = (a.cell.row.describe_ratio(), a.outcome?);
            Some(format!("{ratio}, {}", a.cell.labelled_less(outcome.normal, outcome.labelled)?))
        };
        let less: BTreeSet<String> = self.asked.iter().filter_map(less).collect();
        if !less.is_empty() {
            let less = Vec::from_iter(less).join("; ");
            notes.push(format!("Fewer are labelled than the ratio asks for, which is all there are: {less}."));
        }
        let could_not = "test pictures could not be read";
        notes.extend(self.counted(|r| r.unreadable, &format!("{could_not}, and count nowhere")));
        let illegible = "test pictures have a mask that could not be read; they count in image metrics only";
        notes.extend(self.counted(|r| r.unreadable_masks, illegible));
        let unmarked =
            "test pictures are anomalous and have no mask, or an empty one; they count in image metrics only";
        notes.extend(self.counted(|r| r.unmarked.unwrap_or(0), unmarked));
        let uncounted = |r: &CategoryResult| r.unmarked.is_none() && r.metrics.contains_key("pixel_auroc");
        if self.asked.iter().filter_map(|a| a.result).any(uncounted) {
            notes.push(
                "Some results are by an earlier version, which did not count anomalous pictures without a mask.".into(),
            );
        }
        let trained = "test pictures were trained on; new ones would be told apart less well";
        notes.extend(self.counted(|r| r.trained_on, trained));
        notes.extend(
            self.counted(|r| r.calibrated_on, "test pictures were validated on, too: the threshold follows from them"),
        );
        for metric in &e.metrics {
            let without = |a: &&Asked| a.result.is_some_and(|r| !r.metrics.contains_key(metric));
            let mut why: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
            let mut count = 0;
            for asked in self.asked.iter().filter(without) {
                count += 1;
                if let Some(result) = asked.result {
                    why.entry(result.why_none(metric)).or_default().insert(asked.category);
                }
            }
            if count > 0 {
                let named = |(why, of): (&str, BTreeSet<&str>)| match Vec::from_iter(of).join(", ") {
                    names if names.is_empty() => why.to_string(),
                    names => format!("{names}: {why}"),
                };
                let (of, why) = (plural(self.asked.len(), "result"), why.into_iter().map(named).collect::<Vec<_>>());
                notes.push(format!("No {} in {count} of {of} ({}).", heading(metric), why.join("; ")));
            }
        }
        Ok(notes)
    }
}

fn printed(
    e: &Experiment,
    dataset: Option<&str>,
    category: Option<&str>,
    row: &Row,
    metric: &str,
) -> Option<PrintedFigure> {
    e.printed.iter().filter(|p| p.is_of(dataset, category, row)).find_map(|p| p.figures.get(metric).cloned())
}

fn heading(metric: &str) -> &str {
    METRICS.iter().find(|(m, _)| *m == metric).map_or(metric, |(_, heading)| heading)
}

impl<'a> Report<'a> {
    fn parts(&self) -> Result<Vec<Part<'a>>> {
        let part = |spec: &'a DatasetSpec| {
            let opened = self.opened.iter().find(|o| o.spec.name == spec.name);
            let rows = opened.map_or_else(|| rows(self.experiment, true), |o| o.rows(self.experiment))?;
            let own: Vec<&Cell> = self.cells.iter().filter(|c| c.dataset == spec.name).collect();
            let groups: BTreeSet<&[String]> = own.iter().map(|c| &c.categories[..]).collect();
            let over_choices = self.experiment.grid.seeds.len() == 1 && groups.len() == 1;
            let of_cell = |cell: &'a Cell| {
                let outcome = self.outcomes.iter().find(|o| o.cell == *cell);
                cell.categories.iter().map(move |category| {
                    let result = outcome.and_then(|o| o.results.iter().find(|r| r.category == *category));
                    Asked { cell, category, outcome, result }
                })
            };
            let asked = own.into_iter().flat_map(of_cell).collect();
            Ok(Part { spec, opened, rows, asked, over_choices })
        };
        self.experiment.datasets.iter().map(part).collect()
    }

    /// What stands above the tables.
    fn note(&self) -> String {
        let (e, mut text) = (self.experiment, String::new());
        if let Some(shard) = self.shard {
            let _ = write!(text, "Shard {shard}: what the other shards make is missing here. ");
        }
        if let Some(source) = &e.source {
            let _ = write!(text, "Printed figures: {source}. ");
        }
        if e.metrics.iter().any(|m| m == "aupro30") {
            // Whatever the file names was checked when it was read.
            let _ = write!(text, "{}. ", e.pro().map_or("", |p| p.describe()));
        }
        text + e.note.as_deref().unwrap_or_default()
    }

    /// Every table of the experiment.
    fn tables(&self) -> Result<Vec<Table>> {
        let (e, parts) = (self.experiment, self.parts()?);
        let mut tables = Vec::new();
        for part in &parts {
            let name = &part.spec.name;
            let line = |row: &Row, category: Option<&str>| {
                e.metrics.iter().map(|metric| part.figure(e, row, category, metric)).collect::<Vec<_>>()
            };
            let rows = part.rows.iter().map(|row| Ok((row.describe(e)?, line(row, None)))).collect::<Result<_>>()?;
            let of = std::iter::once(name).chain(&part.spec.categories).map(String::as_str).collect::<Vec<_>>();
            let heading = format!("{}: mean and deviation over {}, in percent", of.join(", "), part.over(e));
            tables.push(Table { heading, columns: columns(e), rows, notes: part.notes(e)? });
            let categories: BTreeSet<&str> = part.asked.iter().map(|a| a.category).filter(|c| !c.is_empty()).collect();
            if categories.len() > 1 {
                for row in &part.rows {
                    let heading = format!("{name}, {}: by category", row.describe(e)?);
                    let rows = categories.iter().map(|c| (c.to_string(), line(row, Some(c)))).collect();
                    tables.push(Table { heading, columns: columns(e), rows, notes: vec![] });
                }
            }
            tables.extend(by_class(e, part)?);
        }
        if e.printed.iter().any(|p| p.dataset.is_none()) {
            tables.push(over_datasets(e, &parts)?);
        }
        Ok(tables)
    }

    /// Tables as Markdown.
    pub fn markdown(&self) -> Result<String> {
        let mut m = format!("# {}\n", self.experiment.title);
        let note = self.note();
        if !note.is_empty() {
            let _ = writeln!(m, "\n{}", note.trim_end());
        }
        for table in self.tables()? {
            let _ = write!(m, "\n## {}\n\n| |", table.heading);
            let (columns, rule) = (table.columns.join(" | "), "---|".repeat(table.columns.len()));
            let _ = writeln!(m, " {columns} |\n|---|{rule}");
            for (name, figures) in &table.rows {
                let figures: Vec<String> = figures.iter().map(Figure::to_string).collect();
                let _ = writeln!(m, "| {name} | {} |", figures.join(" | "));
            }
            table.notes().for_each(|note| m.extend(["\n", note, "\n"]));
        }
        Ok(m)
    }

    /// The same as a page, with a histogram of each row's scores.
    pub fn html(&self, command: &str) -> Result<String> {
        let (e, mut h) = (self.experiment, String::new());
        for table in self.tables()? {
            let heading = escape(&table.heading);
            let _ = writeln!(h, "<h2>{heading}</h2>");
            let _ = write!(
                h,
                "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"{heading}\"><table>\n<thead><tr><th></th>"
            );
            h.extend(table.columns.iter().map(|c| format!("<th scope=\"col\">{}</th>", escape(c))));
            h.push_str("</tr></thead>\n<tbody>\n");
            for (name, figures) in &table.rows {
                let _ = write!(h, "<tr><th scope=\"row\">{}</th>", escape(name));
                h.extend(figures.iter().map(|f| format!("<td>{}</td>", escape(&f.to_string()))));
                h.push_str("</tr>\n");
            }
            h.push_str("</tbody></table></div>\n");
            h.extend(table.notes().map(|note| format!("<p>{}</p>\n", escape(note))));
        }
        h.push_str("<h2>Scores of all seeds</h2>\n<div class=\"charts\">\n");
        for part in self.parts()? {
            for row in &part.rows {
                let scores = part.of_row(row).filter_map(|a| a.result).flat_map(|r| {
                    let normal = r.normal_scores.iter().map(|s| (*s, Some(false)));
                    normal.chain(r.anomalous_scores.iter().map(|s| (*s, Some(true))))
                });
                let scores: Vec<_> = scores.collect();
                if scores.is_empty() {
                    continue;
                }
                let caption = escape(&format!("{}, {}", part.spec.name, row.describe(e)?));
                let svg = histogram(&scores, None)?;
                let keys = ["normal", "anomalous"]
                    .map(|name| format!("<i class=\"key\" style=\"background: var(--{name})\"></i>{name}"))
                    .concat();
                h.push_str(&figure(&format!("Scores: {caption}"), &svg, &format!("{caption}{keys}")));
            }
        }
        h.push_str("</div>\n");
        let (title, note) = (&e.title, &self.note());
        Ok(Page { title, note, command, settings: &[], body: &h, script: "" }.html())
    }
}

fn columns(e: &Experiment) -> Vec<String> {
    e.metrics.iter().map(|metric| heading(metric).to_string()).collect()
}

/// Image AUROC of each class of anomalies, over the categories that have it; none where all are of one.
fn by_class(e: &Experiment, part: &Part) -> Result<Option<Table>> {
    let results = part.asked.iter().filter_map(|a| Some((a.category, a.result?)));
    let mut having: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (category, result) in results {
        for kind in result.image_auroc_of.keys() {
            having.entry(kind).or_default().insert(category);
        }
    }
    let of_kind = |row: &Row, kind: &str| {
        let own = part.of_row(row).filter(|a| having[kind].contains(a.category));
        let came = own.map(|a| (part.repetition(a.cell), a.came(|r| r.image_auroc_of.get(kind).copied())));
        Figure::new(came, None)
    };
    let line = |row: &Row| having.keys().map(|kind| of_kind(row, kind)).collect::<Vec<_>>();
    let rows = part.rows.iter().map(|row| Ok((row.describe(e)?, line(row)))).collect::<Result<_>>()?;
    let heading = format!("{}: image AUROC by class of anomalies", part.spec.name);
    let columns = having.keys().map(|k| k.to_string()).collect();
    Ok((having.len() > 1).then_some(Table { heading, columns, rows, notes: vec![] }))
}

/// Means over all datasets of the file; one counts that lacks nothing.
fn over_datasets(e: &Experiment, parts: &[Part]) -> Result<Table> {
    let figure = |row: &Row, metric: &str| {
        let of = |part: &Part, seed: u64| {
            let own = part.came(e, row, None, metric).into_iter().filter(|((own, _), _)| *own == seed);
            let figure = Figure::new(own, None);
            match figure.mean.filter(|_| !figure.is_partial()) {
                Some(mean) => Came::Of(mean / 100.0),
                None if figure.there == figure.asked && figure.asked > 0 => Came::Undefined,
                None => Came::Missing,
            }
        };
        let came = parts.iter().flat_map(|part| e.grid.seeds.iter().map(move |seed| (*seed, of(part, *seed))));
        Figure::new(came, printed(e, None, None, row, metric))
    };
    let line = |row: &Row| e.metrics.iter().map(|metric| figure(row, metric)).collect::<Vec<_>>();
    let rows = rows(e, true)?;
    let rows = rows.iter().map(|row| Ok((row.describe(e)?, line(row)))).collect::<Result<_>>()?;
    let (datasets, seeds) = (plural(parts.len(), "dataset"), plural(e.grid.seeds.len(), "seed"));
    let heading = format!("Mean over {datasets}: mean and deviation over {seeds}, in percent");
    Ok(Table { heading, columns: columns(e), rows, notes: vec![] })
}
