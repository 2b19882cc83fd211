//! PatchCore (CVPR 2022): a memory bank of patch features of normal pictures; how far a patch is from the bank is how anomalous
//! it is. Nothing is trained. Formulas and defaults are those of anomalib 2.7's `PatchcoreModel`, but for the map, which is
//! interpolated bilinearly, as every method's here.

pub mod coreset;
pub mod projection;
pub mod scoring;

use super::options::{Need, OptionSpec, Options, Rule, SIGMA};
use super::{BatchSpec, Detector, Features, Fit, Fitted, Learning, Method, Progress};
use crate::engine::ops::nearest::MAX_NEIGHBOURS;
use crate::engine::params::{Init, Parameters, Values};
use crate::engine::tape::{Tape, Var};
use crate::model::{Architecture, features, resnet};
use crate::output::Place;
use crate::program::{Group, Network, Program, Role};
use crate::{Error, Result};
use std::sync::Arc;

pub const METHOD: Method = Method {
    name: "patchcore",
    summary: "Distance of patches to a memory bank of normal ones; fitted at once, without gradients",
    options: &OPTIONS,
    detector: |options| Ok(Arc::new(PatchCore::new(options)?)),
    networks: &[],
};

const OPTIONS: [OptionSpec; 4] = [
    OptionSpec {
        name: "coreset",
        help: "Share of the normal patches that the memory bank keeps",
        default: Some("0.1"),
        rule: Rule::Share,
        need: Need::Training,
    },
    OptionSpec {
        name: "bank-rows",
        help: "Patches that the memory bank keeps [default: as --coreset says; plan and bench: of 200 pictures]",
        default: None,
        rule: Rule::Count,
        need: Need::Scoring,
    },
    OptionSpec {
        name: "neighbours",
        help: "Patches of the bank around the nearest one that the picture's score is weighted by",
        default: Some("9"),
        rule: Rule::CountUpTo(MAX_NEIGHBOURS),
        need: Need::Scoring,
    },
    SIGMA,
];

/// The network that is the memory bank, its only parameter, and that one's shape in files: (rows, channels).
const NETWORK: &str = "memory";
const BANK: &str = "bank";

/// Pictures that a bank is planned for while there are none.
const NOMINAL_PICTURES: usize = 200;

/// The method with its options.
#[derive(Debug)]
struct PatchCore {
    options: Options,
    coreset: f64,
    /// Known once it is fitted.
    bank_rows: Option<usize>,
    neighbours: usize,
    sigma: f64,
}

impl PatchCore {
    fn new(options: Options) -> Result<Self> {
        let bank_rows = options.text("bank-rows").map(|_| options.count("bank-rows")).transpose()?;
        Ok(PatchCore {
            coreset: options.number("coreset")?,
            bank_rows,
            neighbours: options.count("neighbours")?,
            sigma: options.number("sigma")?,
            options,
        })
    }

    /// Rows of the bank of so many patches.
    fn rows(&self, patches: usize) -> Result<usize> {
        let rows = self.bank_rows.unwrap_or((patches as f64 * self.coreset) as usize);
        if rows == 0 {
            let share = self.coreset;
            return Err(Error::Usage(format!(
                "--coreset {share}: of {patches} patches that is none; at least one is needed"
            )));
        }
        Ok(rows.min(patches))
    }
}

/// Records the backbone and [`scoring::patches`]; the program reports nothing yet.
fn begin(spec: &BatchSpec, role: Role) -> Result<(Program, Var)> {
    let mut tape = Tape::new(spec.dtype);
    let id = tape.network(resnet::NETWORK);
    let (vars, maps) = features::record(&mut tape, id, spec.architecture, spec.batch, spec.feed)?;
    tape.set_label("patches");
    let patches = scoring::patches(&mut tape, &maps)?;
    let group = Group { pictures: vec![(role, spec.batch)], feed: spec.feed, vars };
    let networks = vec![Network { id, trained: false }];
    Ok((
        Program { tape, groups: vec![group], networks, reports: vec![], taps: vec![("patches", vec![patches])] },
        patches,
    ))
}

/// Patches of one picture.
fn positions(a: &Architecture) -> usize {
    a.sizes()[0].pow(2)
}

impl Detector for PatchCore {
    fn method(&self) -> &'static Method {
        &METHOD
    }

    fn options(&self) -> &Options {
        &self.options
    }

    fn learning(&self) -> Learning<'_> {
        Learning::Fit(self)
    }

    /// The most anomalous place's, as that of a whole picture is its most anomalous patch's.
    fn highest(&self) -> Option<usize> {
        Some(1)
    }

    fn scoring(&self, spec: &BatchSpec) -> Result<Program> {
        let a = spec.architecture;
        let (mut p, patches) = begin(spec, Role::Scored)?;
        let t = &mut p.tape;
        let memory = t.network(NETWORK);
        let rows = self.bank_rows.map_or_else(|| self.rows(NOMINAL_PICTURES * positions(a)), Ok)?;
        let bank = t.param(memory, BANK, &[rows, t.shape(patches).c()], Init::Normal(1.0))?;
        t.set_label("memory");
        let scores = scoring::scores(t, patches, bank, self.neighbours)?;
        t.set_label("anomaly_map");
        let map = t.anomaly_map(&[scores.distances], a.image_size, self.sigma)?;
        p.reports = vec![("map", t.output(map)), ("score", t.output(scores.images))];
        p.networks.push(Network { id: memory, trained: false });
        p.taps.extend([("distances", vec![scores.distances]), ("nearest", vec![scores.nearest])]);
        Ok(p)
    }
}

impl Fit for PatchCore {
    fn features(&self, spec: &BatchSpec) -> Result<Program> {
        let (mut p, patches) = begin(spec, Role::Normal)?;
        p.reports = vec![("patches", p.tape.output(patches))];
        Ok(p)
    }

    fn fit(&self, features: &dyn Features, place: &Place, seed: u64, progress: &mut Progress) -> Result<Fitted> {
        let each = features.shape().h() * features.shape().w();
        let chosen = coreset::choose(features, self.rows(features.len() * each)?, place, seed, progress)?;
        let mut parameters = Parameters::new(NETWORK);
        parameters.add(BANK, &[chosen.len(), features.shape().c()], Init::Zeros)?;
        let mut bank = Values::zeros(Arc::new(parameters));
        let rows = coreset::rows(features, &chosen)?;
        bank.data[..rows.len()].copy_from_slice(&rows);
        let options = self.options.clone().with("bank-rows", &chosen.len().to_string())?;
        Ok(Fitted { detector: Arc::new(PatchCore::new(options)?), networks: vec![bank] })
    }
}
