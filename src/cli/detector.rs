//! `--detector` and the options of every method, built from the methods' own tables.

use crate::detector::options::{OptionSpec, Options, Rule};
use crate::detector::{Detector, METHODS, Method};
use crate::train::setup::Setting;
use crate::{Error, Result};
use clap::builder::{PossibleValue, PossibleValuesParser};
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command};
use std::collections::BTreeMap;
use std::sync::Arc;

const HEADING: &str = "The detector";

/// Which method, and its options as far as they were given.
#[derive(Clone, Debug)]
pub struct DetectorArgs {
    method: &'static Method,
    given: Vec<(&'static str, String)>,
}

/// All options there are, each name once.
fn specs() -> Vec<&'static OptionSpec> {
    let mut specs: Vec<&OptionSpec> = Vec::new();
    for spec in METHODS.into_iter().flat_map(|m| m.options) {
        if !specs.iter().any(|s| s.name == spec.name) {
            specs.push(spec);
        }
    }
    specs
}

/// The methods that have an option.
fn owners(name: &str) -> Vec<&'static str> {
    METHODS.into_iter().filter(|m| m.options.iter().any(|s| s.name == name)).map(|m| m.name).collect()
}

impl DetectorArgs {
    /// Names of all these flags.
    pub fn names() -> impl Iterator<Item = &'static str> {
        std::iter::once("detector").chain(specs().into_iter().map(|spec| spec.name))
    }

    /// The detector, with `defaults` for options that were not given.
    pub fn detector_with(&self, defaults: &BTreeMap<String, Setting>) -> Result<Arc<dyn Detector>> {
        let mut options = Options::new(self.method.options);
        let has = |name: &str| self.method.options.iter().any(|s| s.name == name);
        for (name, value) in defaults.iter().filter(|(name, _)| has(name)) {
            options = options.with(name, &value.to_string())?;
        }
        for (name, text) in &self.given {
            if !has(name) {
                return Err(Error::Usage(format!(
                    "--{name}: an option of {}, not of --detector {}",
                    owners(name).join(", "),
                    self.method.name
                )));
            }
            options = options.with(name, text).map_err(|e| Error::Usage(format!("--{e}")))?;
        }
        (self.method.detector)(options)
    }

    /// The flags that were given and change nothing of `detector`.
    pub fn unused(&self, detector: &dyn Detector) -> Vec<&'static str> {
        let unused = detector.unused_options();
        self.given.iter().map(|(name, _)| *name).filter(|name| unused.contains(name)).collect()
    }

    pub fn detector(&self) -> Result<Arc<dyn Detector>> {
        self.detector_with(&BTreeMap::new())
    }
}

impl clap::Args for DetectorArgs {
    fn augment_args(command: Command) -> Command {
        let methods = METHODS.map(|m| PossibleValue::new(m.name).help(m.summary));
        let which = Arg::new("detector")
            .long("detector")
            .help("The method")
            .default_value(METHODS[0].name)
            .help_heading(HEADING);
        let which = which.value_name("METHOD").value_parser(PossibleValuesParser::new(methods));
        specs().into_iter().fold(command.arg(which), |command, spec| command.arg(argument(spec)))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

fn argument(spec: &'static OptionSpec) -> Arg {
    let owners = owners(spec.name);
    let help =
        if owners.len() == METHODS.len() { spec.help.into() } else { format!("{} [{}]", spec.help, owners.join(", ")) };
    let value = spec.name.to_uppercase().replace('-', "_");
    let mut arg = Arg::new(spec.name).long(spec.name).value_name(value).help(help).help_heading(HEADING);
    if let Some(default) = spec.default {
        arg = arg.default_value(default);
    }
    match &spec.rule {
        Rule::OneOf(names) => {
            let values = names.iter().map(|(name, help)| PossibleValue::new(*name).help(*help));
            arg.value_parser(PossibleValuesParser::new(values))
        }
        rule => arg.value_parser(move |text: &str| rule.check(text).map(|()| text.to_string())),
    }
}

impl clap::FromArgMatches for DetectorArgs {
    fn from_arg_matches(matches: &ArgMatches) -> std::result::Result<Self, clap::Error> {
        let text = |name: &str| matches.get_one::<String>(name).cloned().unwrap_or_default();
        let method = Method::find(&text("detector"));
        let method = method.map_err(|e| clap::Error::raw(clap::error::ErrorKind::InvalidValue, format!("{e}\n")))?;
        let given = |s: &&OptionSpec| matches.value_source(s.name) == Some(ValueSource::CommandLine);
        let given = specs().into_iter().filter(given).map(|s| (s.name, text(s.name))).collect();
        Ok(DetectorArgs { method, given })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> std::result::Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}
