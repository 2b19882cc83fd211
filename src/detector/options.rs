//! Options of a method as data: a command line, a model file and a resumed run all read the same table.

use crate::engine::ops::anomaly_map::MAX_SIGMA;
use crate::{Error, Result, invalid};
use std::collections::BTreeMap;

/// An option of a method.
#[derive(Debug)]
pub struct OptionSpec {
    /// `d-lr`
    pub name: &'static str,
    /// One line for people.
    pub help: &'static str,
    /// None: not set unless somebody does.
    pub default: Option<&'static str>,
    pub rule: Rule,
    pub need: Need,
}

/// What an option matters to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// A run resumes only with the same.
    Training,
    /// A model file holds it.
    Scoring,
    Both,
}

impl Need {
    pub fn in_training(self) -> bool {
        self != Need::Scoring
    }

    pub fn in_scoring(self) -> bool {
        self != Need::Training
    }
}

/// What an option may be.
#[derive(Debug)]
pub enum Rule {
    /// A finite number of at least 0.
    NonNegative,
    /// A number from 0 to 1.
    Share,
    /// A whole number of at least 1.
    Count,
    /// A whole number from 1 to this.
    CountUpTo(usize),
    /// A whole number of at least 1, or `all`.
    CountOrAll,
    /// A standard deviation of a blur in pixels.
    Sigma,
    /// One of these names, each with a line of help.
    OneOf(&'static [(&'static str, &'static str)]),
}

impl Rule {
    /// What was expected, if `text` is not that.
    pub fn check(&self, text: &str) -> std::result::Result<(), String> {
        let number = text.parse::<f64>().ok().filter(|v| v.is_finite());
        let count = text.parse::<usize>().is_ok_and(|v| v >= 1);
        let (valid, expected) = match self {
            Rule::NonNegative => (number.is_some_and(|v| v >= 0.0), "a number of at least 0".into()),
            Rule::Share => (number.is_some_and(|v| (0.0..=1.0).contains(&v)), "a number from 0 to 1".into()),
            Rule::Count => (count, "a whole number of at least 1".into()),
            Rule::CountUpTo(most) => {
                (count && text.parse::<usize>().is_ok_and(|v| v <= *most), format!("a whole number from 1 to {most}"))
            }
            Rule::CountOrAll => (count || text == "all", "a whole number of at least 1, or all".into()),
            Rule::Sigma => {
                (number.is_some_and(|v| (0.0..=MAX_SIGMA).contains(&v)), format!("a number from 0 to {MAX_SIGMA}"))
            }
            Rule::OneOf(names) => {
                let all: Vec<&str> = names.iter().map(|(name, _)| *name).collect();
                (all.contains(&text), format!("one of {}", all.join(", ")))
            }
        };
        if valid { Ok(()) } else { Err(format!("expected {expected}")) }
    }
}

/// The blur that every method's map ends with.
pub const SIGMA: OptionSpec = OptionSpec {
    name: "sigma",
    help: "Standard deviation of the map's Gaussian blur, in pixels",
    default: Some("4"),
    rule: Rule::Sigma,
    need: Need::Scoring,
};

/// Options with their values, each checked by its rule.
#[derive(Clone, Debug)]
pub struct Options {
    specs: &'static [OptionSpec],
    values: BTreeMap<&'static str, String>,
}

impl Options {
    /// All at their defaults.
    pub fn new(specs: &'static [OptionSpec]) -> Self {
        let values = specs.iter().filter_map(|s| Some((s.name, s.default?.to_string()))).collect();
        Options { specs, values }
    }

    /// The same options with `name` set.
    pub fn with(mut self, name: &str, text: &str) -> Result<Self> {
        let text = text.trim();
        let Some(spec) = self.specs.iter().find(|s| s.name == name) else {
            let names: Vec<&str> = self.specs.iter().map(|s| s.name).collect();
            return Err(Error::Usage(format!("there is no option {name}, but {}", names.join(", "))));
        };
        spec.rule.check(text).map_err(|expected| Error::Usage(format!("{name} {text}: {expected}")))?;
        self.values.insert(spec.name, text.to_string());
        Ok(self)
    }

    pub fn specs(&self) -> &'static [OptionSpec] {
        self.specs
    }

    /// An option's value as text, if it is set.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    /// The value of an option whose rule is a number.
    pub fn number(&self, name: &str) -> Result<f64> {
        self.parsed(name, "a number")
    }

    /// The value of an option whose rule is a count.
    pub fn count(&self, name: &str) -> Result<usize> {
        self.parsed(name, "a count")
    }

    /// The same, none for `all`.
    pub fn count_or_all(&self, name: &str) -> Result<Option<usize>> {
        if self.text(name) == Some("all") { Ok(None) } else { self.count(name).map(Some) }
    }

    fn parsed<T: std::str::FromStr>(&self, name: &str, what: &str) -> Result<T> {
        match self.text(name).map(str::parse) {
            Some(Ok(value)) => Ok(value),
            _ => invalid!("option {name}: expected {what}, found {}", self.text(name).unwrap_or("nothing")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules() {
        let cases: [(Rule, &[&str], &[&str]); 6] = [
            (Rule::NonNegative, &["0", "1e-3", "7"], &["-1", "inf", "nan", "", "x"]),
            (Rule::Share, &["0", "1", "0.5"], &["1.01", "-0.1", "nan"]),
            (Rule::Count, &["1", "400"], &["0", "-1", "1.5", "all"]),
            (Rule::CountUpTo(16), &["1", "16"], &["0", "17", "x"]),
            (Rule::CountOrAll, &["1", "all"], &["0", "none"]),
            (Rule::OneOf(&[("a", ""), ("b", "")]), &["a", "b"], &["c", "A", ""]),
        ];
        for (rule, right, wrong) in cases {
            assert!(right.iter().all(|t| rule.check(t).is_ok()), "{rule:?} refuses one of {right:?}");
            assert!(wrong.iter().all(|t| rule.check(t).is_err()), "{rule:?} takes one of {wrong:?}");
        }
    }
}
