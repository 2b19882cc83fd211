//! CKAAD (AAAI 2025): an auto-encoder of frozen features, trained against an energy-based discriminator that knows a few
//! pictures to be anomalous somewhere.

pub mod autoencoder;
pub mod discriminator;
mod networks;
pub mod scoring;
pub mod step;
pub mod strategy;

use super::options::{Need, OptionSpec, Options, Rule, SIGMA};
use super::{BatchSpec, Detector, Learning, Method, StepSpec, Steps};
use crate::Result;
use crate::program::Program;
use scoring::Judgement;
use std::sync::Arc;
use step::Hyper;
use strategy::{Normalization, Strategy};

pub const METHOD: Method = Method {
    name: "ckaad",
    summary: "Reconstruction of features, trained against a discriminator that knows some anomalies",
    options: &OPTIONS,
    detector: |options| Ok(Arc::new(Ckaad::new(options)?)),
    networks: &networks::LOSSES,
};

const fn option(name: &'static str, default: &'static str, rule: Rule, help: &'static str) -> OptionSpec {
    OptionSpec { name, help, default: Some(default), rule, need: Need::Training }
}

const OPTIONS: [OptionSpec; 10] = [
    option("strategy", "ckapatch", Rule::OneOf(Strategy::NAMES), "What the auto-encoder is trained with"),
    OptionSpec {
        name: "norm",
        help: "Whose statistics normalise the auto-encoder's maps",
        default: Some("instance"),
        rule: Rule::OneOf(Normalization::NAMES),
        need: Need::Both,
    },
    option("lr", "0.001", Rule::NonNegative, "Learning rate of the auto-encoder"),
    option("d-lr", "0.0001", Rule::NonNegative, "Learning rate of the discriminator"),
    option(
        "gamma",
        "0.5",
        Rule::Share,
        "Weight of generated features in the discriminator's loss; collected anomalies have 1 - gamma",
    ),
    option("adv", "0.02", Rule::NonNegative, "Weight of the adversarial term in the auto-encoder's loss"),
    option("margin", "5", Rule::NonNegative, "Energy above which the discriminator is pushed no further"),
    option("sub", "0.02", Rule::NonNegative, "Weight of the anomalies' reconstruction error that reconsub subtracts"),
    OptionSpec {
        name: "topk",
        help: "A picture's score is the mean of this many largest map values, or of `all`",
        default: Some("100"),
        rule: Rule::CountOrAll,
        need: Need::Scoring,
    },
    SIGMA,
];

/// The method with its options.
#[derive(Debug)]
struct Ckaad {
    options: Options,
    strategy: Strategy,
    normalization: Normalization,
    hyper: Hyper,
    judgement: Judgement,
}

impl Ckaad {
    fn new(options: Options) -> Result<Self> {
        let hyper = Hyper {
            lr: options.number("lr")?,
            d_lr: options.number("d-lr")?,
            gamma: options.number("gamma")?,
            adv: options.number("adv")?,
            sub: options.number("sub")?,
            margin: options.number("margin")?,
            ..Hyper::default()
        };
        let judgement = Judgement { topk: options.count_or_all("topk")?, sigma: options.number("sigma")? };
        let strategy = Strategy::find(options.text("strategy").unwrap_or_default())?;
        let normalization = Normalization::find(options.text("norm").unwrap_or_default())?;
        Ok(Ckaad { options, strategy, normalization, hyper, judgement })
    }
}

impl Detector for Ckaad {
    fn method(&self) -> &'static Method {
        &METHOD
    }

    fn options(&self) -> &Options {
        &self.options
    }

    fn learning(&self) -> Learning<'_> {
        Learning::Steps(self)
    }

    fn unused_options(&self) -> Vec<&'static str> {
        self.strategy.unused_options(&self.hyper)
    }

    fn highest(&self) -> Option<usize> {
        self.judgement.topk
    }

    fn scoring(&self, spec: &BatchSpec) -> Result<Program> {
        scoring::record(spec, self.normalization, self.judgement)
    }
}

impl Steps for Ckaad {
    fn uses_anomalies(&self) -> bool {
        self.strategy.uses_anomalies()
    }

    fn losses(&self) -> &'static [&'static str] {
        match self.strategy.adversary(&self.hyper) {
            None if self.strategy.subtracts() => &["recon", "recon_anomalous", "loss"],
            None => &["recon", "loss"],
            Some(_) => &["d_loss", "recon", "adv", "loss"],
        }
    }

    fn shown(&self) -> &'static [&'static str] {
        match self.strategy.adversary(&self.hyper) {
            None if self.strategy.subtracts() => &["recon", "recon_anomalous"],
            None => &["recon"],
            Some(_) => &["recon", "d_loss", "adv"],
        }
    }

    fn record(&self, spec: &StepSpec) -> Result<Vec<Program>> {
        Ok(vec![step::record(spec, self.strategy, self.normalization, self.hyper)?])
    }
}
