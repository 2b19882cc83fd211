//! The keys that an experiment's file may have, and what their values are. Looked at before the file is read as a whole, as here
//! every value still knows its key and its line.

use super::file::METRICS;
use crate::detector::{METHODS, Method};
use crate::train::setup::expect_known;
use crate::{Error, Result};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// What a value may be.
#[derive(Clone, Copy)]
enum Kind {
    /// Not an empty one.
    Text,
    /// As all lists, of at least one.
    Texts,
    /// From 0.
    Whole,
    Wholes,
    /// From 1.
    Count,
    /// From 0 to below 1.
    Share,
    Number,
    Truth,
    /// A method's option.
    Setting,
    Ratio,
    Ratios,
    /// What a source prints: a number, or with its deviation.
    Figure,
    Table,
    Tables,
}

use Kind::*;

const TOP: &[(&str, Kind)] = &[
    ("title", Text),
    ("source", Text),
    ("note", Text),
    ("metrics", Texts),
    ("pro", Text),
    ("grid", Table),
    ("settings", Table),
    ("dataset", Tables),
    ("printed", Tables),
];
const GRID: &[(&str, Kind)] = &[
    ("strategy", Texts),
    ("norm", Texts),
    ("ratio", Ratios),
    ("classes", Wholes),
    ("draws", Count),
    ("validation", Share),
    ("seeds", Wholes),
];
const DATASET: &[(&str, Kind)] = &[
    ("name", Text),
    ("average_of", Count),
    ("path", Text),
    ("layout", Text),
    ("categories", Texts),
    ("normal", Texts),
    ("together", Truth),
    ("validation", Share),
    ("settings", Table),
];
const SETTINGS: &[(&str, Kind)] = &[
    ("detector", Text),
    ("backbone", Text),
    ("layers", Wholes),
    ("image-size", Whole),
    ("resize", Text),
    ("tile", Count),
    ("overlap", Whole),
    ("epochs", Count),
    ("batch-size", Count),
];
const PRINTED: &[(&str, Kind)] =
    &[("dataset", Text), ("category", Text), ("strategy", Text), ("norm", Text), ("ratio", Ratio), ("classes", Whole)];

impl Kind {
    /// What was expected, in words.
    fn describe(self) -> &'static str {
        match self {
            Text => "a text in quotes, not an empty one",
            Texts => "a list of texts, such as [\"recon\", \"ckapatch\"]",
            Whole => "a whole number",
            Wholes => "a list of whole numbers, such as [1, 2]",
            Count => "a whole number from 1",
            Share => "a number from 0 to below 1",
            Number => "a number",
            Truth => "true or false",
            Setting => "a number, or a text in quotes",
            Ratio => "a number from 0 to below 1, or \"all\"",
            Ratios => "a list of numbers from 0 to below 1, or \"all\", such as [0.05, \"all\"]",
            Figure => "a number, or one and its deviation, such as [96.57, 0.03]",
            Table => "a table, headed by its name in brackets",
            Tables => "tables, each headed by its name in double brackets",
        }
    }

    fn fits(self, value: &DeValue) -> bool {
        let every = |kind: Kind| {
            value.as_array().is_some_and(|list| !list.is_empty() && list.iter().all(|v| kind.fits(v.get_ref())))
        };
        let whole = |least: u64| {
            let parsed = value.as_integer().and_then(|n| u64::from_str_radix(n.as_str(), n.radix()).ok());
            parsed.is_some_and(|n| n >= least)
        };
        let number = || number(value).is_some_and(f64::is_finite);
        let share = || self::number(value).is_some_and(|r| (0.0..1.0).contains(&r));
        match self {
            Text => value.as_str().is_some_and(|text| !text.trim().is_empty()),
            Texts => every(Text),
            Whole => whole(0),
            Count => whole(1),
            Share => share(),
            Wholes => every(Whole),
            Number => number(),
            Truth => value.is_bool(),
            Setting => number() || value.is_str(),
            Ratio => value.as_str().map_or_else(share, |word| word == "all"),
            Ratios => every(Ratio),
            Figure => number() || every(Number) && value.as_array().is_some_and(|list| list.len() == 2),
            Table => value.is_table(),
            Tables => every(Table),
        }
    }
}

fn number(value: &DeValue) -> Option<f64> {
    match value {
        DeValue::Integer(n) => i64::from_str_radix(n.as_str(), n.radix()).ok().map(|n| n as f64),
        DeValue::Float(v) => v.as_str().parse().ok(),
        _ => None,
    }
}

/// `line 7`, of a place in the text.
pub fn line(text: &str, at: usize) -> String {
    format!("line {}", text[..at.min(text.len())].matches('\n').count() + 1)
}

/// Refuses unknown keys, with the nearest that is known, and values of a wrong kind.
pub fn expect(file: &DeTable, text: &str) -> Result<()> {
    let metrics = METRICS.iter().map(|(name, _)| (*name, Figure));
    let printed: Vec<_> = PRINTED.iter().copied().chain(metrics).collect();
    let options = METHODS.into_iter().filter(|m| has_rows(m)).flat_map(|m| m.options).map(|spec| (spec.name, Setting));
    let settings: Vec<_> =
        SETTINGS.iter().copied().chain(options.filter(|(name, _)| !OF_ROWS.contains(name))).collect();
    let of = |table: &DeTable, known: &[(&str, Kind)], place: &str| of_table(table, known, place, text);
    of(file, TOP, "")?;
    for (key, value) in file {
        match (key.get_ref().as_ref(), value.get_ref()) {
            ("grid", DeValue::Table(table)) => of(table, GRID, "[grid]")?,
            ("settings", DeValue::Table(table)) => {
                expect_of_all_rows(table, "[settings]", text)?;
                of(table, &settings, "[settings]")?;
            }
            ("dataset", DeValue::Array(tables)) => {
                for dataset in tables.iter().filter_map(|t| t.get_ref().as_table()) {
                    of(dataset, DATASET, "[[dataset]]")?;
                    if let Some(own) = dataset.get("settings").and_then(|s| s.get_ref().as_table()) {
                        expect_of_all_rows(own, "settings of [[dataset]]", text)?;
                        of(own, &settings, "settings of [[dataset]]")?;
                    }
                }
            }
            ("printed", DeValue::Array(tables)) => {
                tables.iter().filter_map(|t| t.get_ref().as_table()).try_for_each(|t| of(t, &printed, "[[printed]]"))?
            }
            _ => {}
        }
    }
    Ok(())
}

/// Options that rows differ in.
const OF_ROWS: [&str; 2] = ["strategy", "norm"];

/// Whether rows of a grid can be of this method.
fn has_rows(method: &Method) -> bool {
    OF_ROWS.iter().all(|name| method.options.iter().any(|spec| spec.name == *name))
}

/// Refuses settings that every row has its own of, and methods that rows cannot be of.
fn expect_of_all_rows(settings: &DeTable, place: &str, text: &str) -> Result<()> {
    for (key, value) in settings {
        let (name, at) = (key.get_ref().as_ref(), line(text, key.span().start));
        if OF_ROWS.contains(&name) {
            return Err(Error::Invalid(format!(
                "{at}: {place} {name}: set by [grid] in every row; name it there alone"
            )));
        }
        let method = value.get_ref().as_str().filter(|_| name == "detector").map(Method::find).transpose();
        if let Some(other) = method.map_err(|e| e.within(format!("{at}: {place} {name}")))?.filter(|m| !has_rows(m)) {
            let known: Vec<&str> = METHODS.into_iter().filter(|m| has_rows(m)).map(|m| m.name).collect();
            return Err(Error::Invalid(format!(
                "{at}: {place} {name}: rows are strategies, and {} has none; expected {}, and `ckaad train` for others",
                other.name,
                known.join(" or ")
            )));
        }
    }
    Ok(())
}

fn of_table(table: &DeTable, known: &[(&str, Kind)], place: &str, text: &str) -> Result<()> {
    let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
    for (key, value) in table {
        let (name, at) = (key.get_ref().as_ref(), line(text, key.span().start));
        let within = if place.is_empty() { "the file" } else { place };
        expect_known(name, &names, within).map_err(|e| e.within(&at))?;
        if let Some((_, kind)) = known.iter().find(|(known, kind)| *known == name && !kind.fits(value.get_ref())) {
            let (expected, found) = (kind.describe(), found(value, text));
            let name = format!("{place} {name}");
            return Err(Error::Invalid(format!("{at}: {}: expected {expected}, found {found}", name.trim_start())));
        }
    }
    Ok(())
}

/// What stands there, on one line.
fn found<'t>(value: &Spanned<DeValue>, text: &'t str) -> std::borrow::Cow<'t, str> {
    if value.get_ref().is_table() {
        return "a table".into();
    }
    if value.get_ref().as_array().is_some_and(|list| list.is_empty()) {
        return "an empty list".into();
    }
    let text = &text[value.span()];
    if text.len() <= 60 && !text.contains('\n') { text.into() } else { value.get_ref().type_str().into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        expect(DeTable::parse(text).unwrap().get_ref(), text).unwrap_err().to_string()
    }

    #[test]
    fn wrong_values_are_told_with_key_and_line() {
        let cases = [
            ("title = 3", "line 1: title: expected a text in quotes, not an empty one, found 3"),
            (
                "[grid]\nseeds = [\"1\"]",
                "line 2: [grid] seeds: expected a list of whole numbers, such as [1, 2], found [\"1\"]",
            ),
            (
                "[grid]\n\nseeds = [-1]",
                "line 3: [grid] seeds: expected a list of whole numbers, such as [1, 2], found [-1]",
            ),
            ("[grid]\nstrategy = \"recon\"", "line 2: [grid] strategy: expected a list of texts"),
            ("[grid]\nratio = [1.5]", "line 2: [grid] ratio: expected a list of numbers from 0 to below 1"),
            ("[settings]\nepochs = \"x\"", "line 2: [settings] epochs: expected a whole number from 1, found \"x\""),
            ("[settings]\nlayers = \"2\"", "line 2: [settings] layers: expected a list of whole numbers"),
            ("[settings]\nlr = [0.1]", "line 2: [settings] lr: expected a number, or a text in quotes, found [0.1]"),
            ("a = 1", "line 1: the file: 'a' is not known"),
            ("[grid]\nratio = []", "line 2: [grid] ratio: expected a list of numbers from 0 to below 1, or"),
            (
                "\nmetrics = []",
                "line 2: metrics: expected a list of texts, such as [\"recon\", \"ckapatch\"], found an empty list",
            ),
            (
                "[grid]\nseeds = [ ]",
                "line 2: [grid] seeds: expected a list of whole numbers, such as [1, 2], found an empty list",
            ),
            ("[grid]\nclasses = []", "line 2: [grid] classes: expected"),
            ("[grid]\ndraws = 0", "line 2: [grid] draws: expected a whole number from 1, found 0"),
            ("[grid]\nvalidation = 1", "line 2: [grid] validation: expected a number from 0 to below 1, found 1"),
            ("dataset = []", "line 1: dataset: expected tables"),
            (
                "[[dataset]]\nname = \" \"",
                "line 2: [[dataset]] name: expected a text in quotes, not an empty one, found \" \"",
            ),
            ("[[dataset]]\ncategories = []", "line 2: [[dataset]] categories: expected a list of texts"),
            ("[settings]\nepochs = 0", "line 2: [settings] epochs: expected a whole number from 1, found 0"),
            ("[settings]\nlayers = []", "line 2: [settings] layers: expected a list of whole numbers"),
            (
                "[settings]\n\ndetector = \"patchcore\"",
                "line 3: [settings] detector: rows are strategies, and patchcore has none; expected ckaad",
            ),
            ("[settings]\ndetector = \"patchcroe\"", "line 2: [settings] detector: unknown"),
            ("[settings]\ncoreset = 0.1", "line 2: [settings]: 'coreset' is not known"),
            ("[settings]\nnorm = \"batch\"", "line 2: [settings] norm: set by [grid] in every row"),
            (
                "[[dataset]]\nsettings = { strategy = \"gan\" }",
                "line 2: settings of [[dataset]] strategy: set by [grid] in every row",
            ),
            (
                "[dataset]\nname = \"x\"",
                "line 1: dataset: expected tables, each headed by its name in double brackets, found a table",
            ),
            ("[[dataset]]\nname = \"a\"\n[[dataset]]\nname = 7", "line 4: [[dataset]] name: expected a text"),
            (
                "[[dataset]]\nsettings = { epochs = 1.5 }",
                "line 2: settings of [[dataset]] epochs: expected a whole number from 1",
            ),
            (
                "[[printed]]\nimage_auroc = \"9\"",
                "line 2: [[printed]] image_auroc: expected a number, or one and its deviation",
            ),
            ("[[printed]]\nimage_auroc = [9, 1, 2]", "line 2: [[printed]] image_auroc"),
            ("[[printed]]\nimage_auroc = nan", "line 2: [[printed]] image_auroc"),
            (
                "[[printed]]\nimage_aucro = 9",
                "line 2: [[printed]]: 'image_aucro' is not known; did you mean 'image_auroc'",
            ),
        ];
        for (text, expected) in cases {
            assert!(error(text).starts_with(expected), "{text}: {}", error(text));
        }
    }
}
