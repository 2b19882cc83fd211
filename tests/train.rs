//! The training loop with methods that are not the house's: what the seam promises, it keeps for any.

use ckaad::data::framing::Framing;
use ckaad::data::layout::TrainSet;
use ckaad::data::synthetic::{self, Spec};
use ckaad::detector::ckaad::{self as paper, autoencoder, discriminator, discriminator::Level};
use ckaad::detector::file::Config;
use ckaad::detector::options::Options;
use ckaad::detector::{BatchSpec, Detector, Features, Fit, Fitted, Learning, Method, Progress, StepSpec, Steps};
use ckaad::engine::device::Backend;
use ckaad::engine::ops::energy::Term;
use ckaad::engine::ops::optimizer::{Adam, LrSchedule};
use ckaad::engine::ops::{Activation, conv2d};
use ckaad::engine::params::{Init, Parameters, Values};
use ckaad::engine::tape::{NetId, Tape, Var};
use ckaad::engine::tensor::{DType, Shape};
use ckaad::model::features::{self, Feed};
use ckaad::model::init::RandomBackbone;
use ckaad::model::layers::{self, ConvInit, Norm, Recorder};
use ckaad::model::saved::Prefixed;
use ckaad::model::{Architecture, TensorSource, network, resnet};
use ckaad::output::Place;
use ckaad::program::{Group, Network, Program, Role};
use ckaad::score::scorer::{Gives, Scorer};
use ckaad::train::events::{Ended, EpochLog, Event};
use ckaad::train::features::CacheKind;
use ckaad::train::pictures::Pictures;
use ckaad::train::settings::{Calibrate, Settings};
use ckaad::weights::Archive;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

/// CKAAD's step cut in two: one program updates the discriminator, the next the auto-encoder, each with the other network
/// as it is. Rates, weights and clip are the paper's.
#[derive(Debug)]
struct Alternating {
    options: Options,
    /// Both programs train the auto-encoder, which is not allowed.
    greedy: bool,
}

static ALTERNATING: Method =
    Method { name: "alternating", summary: "", options: &[], detector: |o| Ok(alternating(o, false)), networks: &[] };

fn alternating(options: Options, greedy: bool) -> Arc<dyn Detector> {
    Arc::new(Alternating { options, greedy })
}

impl Detector for Alternating {
    fn method(&self) -> &'static Method {
        &ALTERNATING
    }

    fn options(&self) -> &Options {
        &self.options
    }

    fn learning(&self) -> Learning<'_> {
        Learning::Steps(self)
    }

    fn highest(&self) -> Option<usize> {
        None
    }

    fn scoring(&self, spec: &BatchSpec) -> ckaad::Result<Program> {
        paper_detector().scoring(spec)
    }
}

fn paper_detector() -> Arc<dyn Detector> {
    (paper::METHOD.detector)(Options::new(paper::METHOD.options)).unwrap()
}

/// What both programs begin with.
struct Begun {
    tape: Tape,
    group: Group,
    ae: NetId,
    disc: NetId,
    maps: Vec<Var>,
    recon: Vec<Var>,
}

fn begin(spec: &StepSpec) -> ckaad::Result<Begun> {
    let mut tape = Tape::new(spec.dtype);
    let [ae, disc] = [autoencoder::NETWORK, discriminator::NETWORK].map(|name| tape.network(name));
    assert_eq!((spec.normal_feed, spec.anomalous_feed), (Feed::Features, Feed::Features));
    let all = spec.normal + spec.anomalous;
    let (vars, maps) = features::record(&mut tape, ae, spec.architecture, all, Feed::Features)?;
    let recon = autoencoder::record(&mut tape, ae, spec.architecture, Norm::Instance, &maps)?;
    let pictures = vec![(Role::Normal, spec.normal), (Role::Anomalous, spec.anomalous)];
    Ok(Begun { tape, group: Group { pictures, feed: Feed::Features, vars }, ae, disc, maps, recon })
}

fn finish(b: Begun, trained: NetId, reports: Vec<(&'static str, Var)>) -> Program {
    let networks = [b.ae, b.disc].map(|id| Network { id, trained: id == trained });
    let mut p = Program { tape: b.tape, groups: vec![b.group], networks: networks.into(), reports, taps: vec![] };
    for (_, v) in &p.reports {
        p.tape.output(*v);
    }
    p
}

fn adam(net: NetId, lr: f64) -> Adam {
    Adam { net, lr, betas: (0.5, 0.999), eps: 1e-8, schedule: LrSchedule::Constant }
}

fn sum(t: &mut Tape, terms: Vec<Var>) -> ckaad::Result<Var> {
    t.weighted_sum(&terms.into_iter().map(|v| (1.0, v)).collect::<Vec<_>>())
}

impl Steps for Alternating {
    fn uses_anomalies(&self) -> bool {
        true
    }

    fn losses(&self) -> &'static [&'static str] {
        &["d_loss", "recon", "adv", "loss"]
    }

    fn shown(&self) -> &'static [&'static str] {
        self.losses()
    }

    fn record(&self, spec: &StepSpec) -> ckaad::Result<Vec<Program>> {
        let (n, all) = (spec.normal, spec.normal + spec.anomalous);
        let mut b = begin(spec)?;
        let t = &mut b.tape;
        let real = discriminator::record(t, b.disc, spec.architecture, Level::Patch, &b.maps)?;
        let fake = discriminator::record(t, b.disc, spec.architecture, Level::Patch, &b.recon)?;
        let high = Term::High { margin: 5.0 };
        let mut layers = vec![];
        for (&real, &fake) in real.iter().zip(&fake) {
            let terms = [
                (1.0, t.energy(real, Term::Low, 0..n)?),
                (0.5, t.energy(fake, high, 0..all)?),
                (0.5, t.energy(real, high, n..all)?),
            ];
            layers.push(t.weighted_sum(&terms)?);
        }
        let d_loss = sum(t, layers)?;
        t.backward(d_loss, b.disc)?;
        t.clip_grad_norm(b.disc, 1.0)?;
        t.adam(adam(b.disc, 1e-4))?;
        let disc = b.disc;
        let first = finish(b, disc, vec![("d_loss", d_loss)]);

        let mut b = begin(spec)?;
        let t = &mut b.tape;
        let energies = discriminator::record(t, b.disc, spec.architecture, Level::Patch, &b.recon)?;
        let lows = energies.into_iter().map(|e| t.energy(e, Term::Low, 0..all)).collect::<ckaad::Result<_>>()?;
        let adv = sum(t, lows)?;
        let maps = b.maps.iter().zip(&b.recon);
        let layers = maps.map(|(&f, &g)| t.cosine_loss(f, g, 0..n)).collect::<ckaad::Result<_>>()?;
        let recon = sum(t, layers)?;
        let loss = t.weighted_sum(&[(1.0, recon), (0.02, adv)])?;
        t.backward(loss, b.ae)?;
        t.adam(adam(b.ae, 1e-3))?;
        let ae = b.ae;
        let second = finish(b, ae, vec![("recon", recon), ("adv", adv), ("loss", loss)]);
        Ok(if self.greedy { vec![second.clone(), second] } else { vec![first, second] })
    }
}

/// The mean of the features at every position, fitted at once: one parameter, as large as a feature map.
#[derive(Debug)]
struct Average {
    options: Options,
}

static AVERAGE: Method = Method {
    name: "average",
    summary: "",
    options: &[],
    detector: |options| Ok(Arc::new(Average { options })),
    networks: &[],
};

impl Average {
    fn record(&self, spec: &BatchSpec) -> ckaad::Result<(Program, Vec<Var>)> {
        let mut tape = Tape::new(spec.dtype);
        let id = tape.network("backbone");
        let (vars, maps) = features::record(&mut tape, id, spec.architecture, spec.batch, spec.feed)?;
        let group = Group { pictures: vec![(Role::Scored, spec.batch)], feed: spec.feed, vars };
        let networks = vec![Network { id, trained: false }];
        Ok((Program { tape, groups: vec![group], networks, reports: vec![], taps: vec![] }, maps))
    }
}

impl Detector for Average {
    fn method(&self) -> &'static Method {
        &AVERAGE
    }

    fn options(&self) -> &Options {
        &self.options
    }

    fn learning(&self) -> Learning<'_> {
        Learning::Fit(self)
    }

    fn highest(&self) -> Option<usize> {
        None
    }

    fn scoring(&self, spec: &BatchSpec) -> ckaad::Result<Program> {
        let (mut p, maps) = self.record(spec)?;
        let t = &mut p.tape;
        let id = t.network("average");
        let Shape([_, h, w, c]) = t.shape(maps[0]);
        let mean = t.param(id, "map", &[1, c, h, w], Init::Zeros)?;
        let error = t.cosine_map(&[(maps[0], mean)])?;
        let map = t.anomaly_map(&error, spec.architecture.image_size, 4.0)?;
        let score = t.topk_mean(map, None)?;
        p.reports = vec![("map", t.output(map)), ("score", t.output(score))];
        p.networks.push(Network { id, trained: false });
        Ok(p)
    }
}

impl Fit for Average {
    fn features(&self, spec: &BatchSpec) -> ckaad::Result<Program> {
        let (mut p, maps) = self.record(spec)?;
        p.reports = vec![("map", p.tape.output(maps[0]))];
        Ok(p)
    }

    fn fit(&self, features: &dyn Features, _: &Place, _: u64, progress: &mut Progress) -> ckaad::Result<Fitted> {
        let mut parameters = Parameters::new("average");
        let Shape([_, h, w, c]) = features.shape();
        parameters.add("map", &[1, c, h, w], Init::Zeros)?;
        let mut mean = Values::zeros(Arc::new(parameters));
        let mut one = vec![0.0; features.shape().len()];
        for picture in 0..features.len() {
            features.read(picture, &mut one)?;
            mean.data.iter_mut().zip(&one).for_each(|(m, v)| *m += v / features.len() as f32);
            progress("averaging", picture + 1, features.len())?;
        }
        Ok(Fitted { detector: Arc::new(Average { options: self.options.clone() }), networks: vec![mean] })
    }
}

/// A step that trains the backbone itself: its first layer, with batch norm, towards low outputs of a head behind it.
#[derive(Debug)]
struct Pretraining {
    options: Options,
}

static PRETRAINING: Method = Method {
    name: "pretraining",
    summary: "",
    options: &[],
    detector: |options| Ok(Arc::new(Pretraining { options })),
    networks: &[],
};

impl Pretraining {
    fn head(&self, t: &mut Tape, map: Var) -> ckaad::Result<(NetId, Var)> {
        let head = t.network("head");
        let mut r = Recorder { tape: t, net: head, conv_init: ConvInit::KaimingFanOut, norm: Norm::Instance };
        Ok((head, r.conv(map, "out", 1, 1, conv2d::Options::square(1, 0))?))
    }
}

impl Detector for Pretraining {
    fn method(&self) -> &'static Method {
        &PRETRAINING
    }

    fn options(&self) -> &Options {
        &self.options
    }

    fn learning(&self) -> Learning<'_> {
        Learning::Steps(self)
    }

    fn highest(&self) -> Option<usize> {
        None
    }

    fn scoring(&self, spec: &BatchSpec) -> ckaad::Result<Program> {
        let mut t = Tape::new(spec.dtype);
        let id = t.network("backbone");
        let (vars, maps) = features::record(&mut t, id, spec.architecture, spec.batch, spec.feed)?;
        let (head, out) = self.head(&mut t, maps[0])?;
        let map = t.anomaly_map(&[out], spec.architecture.image_size, 4.0)?;
        let score = t.topk_mean(map, None)?;
        let reports = vec![("map", t.output(map)), ("score", t.output(score))];
        let groups = vec![Group { pictures: vec![(Role::Scored, spec.batch)], feed: spec.feed, vars }];
        let networks = [id, head].map(|id| Network { id, trained: false });
        Ok(Program { tape: t, groups, networks: networks.into(), reports, taps: vec![] })
    }
}

impl Steps for Pretraining {
    fn uses_anomalies(&self) -> bool {
        false
    }

    fn trains_backbone(&self) -> bool {
        true
    }

    fn losses(&self) -> &'static [&'static str] {
        &["loss"]
    }

    fn shown(&self) -> &'static [&'static str] {
        self.losses()
    }

    fn record(&self, spec: &StepSpec) -> ckaad::Result<Vec<Program>> {
        assert_eq!(spec.normal_feed, Feed::Pixels, "no features may be kept");
        let (a, n) = (spec.architecture, spec.normal);
        let mut t = Tape::new(spec.dtype);
        let id = t.network("backbone");
        let pixels = t.input(Shape([n, a.image_size, a.image_size, 3]), DType::U8)?;
        let x = t.preprocess(pixels, a.image_size, a.mean, a.std)?;
        let mut statistics = vec![];
        let norm = Norm::Batch(&mut statistics);
        let mut r = Recorder { tape: &mut t, net: id, conv_init: ConvInit::KaimingFanOut, norm };
        let x = r.conv(x, "conv1", 64, 7, conv2d::Options::square(2, 3))?;
        let x = r.norm(x, "bn1", None, Activation::Relu)?;
        for (name, shape) in resnet::tensors(a) {
            t.param(id, &name, &shape, Init::Zeros)?;
        }
        let (head, out) = self.head(&mut t, x)?;
        let loss = t.energy(out, Term::Low, 0..n)?;
        t.backward(loss, id)?;
        t.backward(loss, head)?;
        layers::update_running(&mut t, id, &statistics)?;
        t.adam(adam(id, 1e-2))?;
        t.adam(adam(head, 1e-2))?;
        let groups = vec![Group { pictures: vec![(Role::Normal, n)], feed: Feed::Pixels, vars: vec![pixels] }];
        let networks = [id, head].map(|id| Network { id, trained: true }).into();
        let reports = vec![("loss", t.output(loss))];
        Ok(vec![Program { tape: t, groups, networks, reports, taps: vec![] }])
    }
}

/// Trains on a few generated pictures; returns the log.
fn train(folder: &Path, detector: Arc<dyn Detector>, epochs: usize, resume: bool) -> ckaad::Result<Vec<EpochLog>> {
    let log = Mutex::new(vec![]);
    let listen = |event: Event| {
        if let Event::Epoch(line) = event {
            log.lock().unwrap().push(line.clone());
        }
    };
    let settings = Settings { epochs, resume, ..settings(folder, detector)? };
    let set = TrainSet::open(&folder.join("data"))?;
    let ended = ckaad::train::run(&settings, set, &BACKBONE, &listen, &AtomicBool::new(false))?;
    assert!(matches!(ended, Ended::Finished { threshold: Some(_), .. }));
    Ok(log.into_inner().unwrap())
}

const BACKBONE: RandomBackbone = RandomBackbone { seed: 0 };

fn settings(folder: &Path, detector: Arc<dyn Detector>) -> ckaad::Result<Settings> {
    Ok(Settings {
        detector,
        architecture: Architecture::new("resnet18", &[1, 2], 64)?,
        backend: Backend::CPU,
        epochs: 1,
        batch: 2,
        seed: 0,
        shuffle: true,
        calibrate: Calibrate::HoldOut(0.2),
        quantile: 0.98,
        cache: CacheKind::Memory,
        budget: usize::MAX,
        checkpoint_every: 1,
        resume: false,
        out: folder.join("model.safetensors"),
        weights: BACKBONE.describe(),
        normal_class: None,
        framing: Framing::default(),
    })
}

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let spec = Spec { size: 64, train_good: 6, train_anomalous: 3, test_good: 1, test_per_type: 1, seed: 0 };
    synthetic::generate(&folder.path().join("data"), &spec).unwrap();
    folder
}

/// Two programs that hand their networks over take the steps of the one that holds them all: the same operations in the
/// same order, so the same bits; and a resumed run goes on with them.
#[test]
fn alternating_programs() {
    let (whole, parts) = (folder(), folder());
    let expected = train(whole.path(), paper_detector(), 3, false).unwrap();
    let detector = || alternating(Options::new(&[]), false);
    let mut found = train(parts.path(), detector(), 1, false).unwrap();
    found.extend(train(parts.path(), detector(), 3, true).unwrap());
    assert_eq!((expected.len(), found.len()), (3, 3));
    for (e, f) in expected.iter().zip(&found) {
        assert_eq!(e.losses.names, f.losses.names);
        let bits = |log: &EpochLog| log.losses.values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(e), bits(f), "epoch {}: {:?}, expected {:?}", e.epoch, f.losses, e.losses);
        assert!(f.losses.values.iter().all(|v| *v != 0.0), "every loss is reported by one of the programs");
    }
    let tensors = |folder: &Path| {
        let file = Archive::open(folder.join("model.safetensors")).unwrap();
        let all = file.tensors().map(|t| (t.name.to_string(), t.f32().iter().map(|v| v.to_bits()).collect()));
        all.collect::<BTreeMap<String, Vec<u32>>>()
    };
    assert!(tensors(whole.path()) == tensors(parts.path()));
}

#[test]
fn a_network_has_one_trainer() {
    let folder = folder();
    let error = train(folder.path(), alternating(Options::new(&[]), true), 1, false).unwrap_err().to_string();
    assert!(error.contains("network ae") && error.contains("only one"), "{error}");
}

/// Of equal pictures the mean is each of them, so their scores are 0 (but for the rounding of f32 sums); the model file holds it.
#[test]
fn a_fit_without_gradients() {
    let folder = folder();
    let good = folder.path().join("data/train/good");
    let mut pictures: Vec<_> = std::fs::read_dir(&good).unwrap().map(|f| f.unwrap().path()).collect();
    pictures.sort();
    // Equal to look at, but different files: copies of one file are never held back from it.
    let first = std::fs::read(&pictures[0]).unwrap();
    for (i, picture) in (0u8..).zip(&pictures) {
        std::fs::write(picture, [&first[..], &[i]].concat()).unwrap();
    }

    let stages = Mutex::new(vec![]);
    let listen = |event: Event| {
        if let Event::Fitting(stage, done, of) = event {
            stages.lock().unwrap().push((stage, done, of));
        }
    };
    let detector = (AVERAGE.detector)(Options::new(&[])).unwrap();
    // Every picture scores alone: the parameter is as large as one map.
    let settings = Settings { batch: 1, ..settings(folder.path(), detector).unwrap() };
    let set = TrainSet::open(&folder.path().join("data")).unwrap();
    let ended = ckaad::train::run(&settings, set, &BACKBONE, &listen, &AtomicBool::new(false)).unwrap();
    let Ended::Finished { threshold: Some(threshold), .. } = ended else { panic!("not finished") };
    assert!(threshold.abs() < 1e-6, "{threshold}");
    assert_eq!(stages.into_inner().unwrap().last(), Some(&("averaging", 5, 5)));
    let file = Archive::open(&settings.out).unwrap();
    assert_eq!(file.f32("average.map", &[1, 64, 16, 16]).unwrap().len(), 64 * 16 * 16);
}

/// Scores of held-back pictures, the model file and a resumed run are of the backbone that was trained: other weights where the step
/// has gradients, those that it began with elsewhere.
#[test]
fn a_backbone_is_trained() {
    let (whole, parts) = (folder(), folder());
    let detector = || (PRETRAINING.detector)(Options::new(&[])).unwrap();
    train(whole.path(), detector(), 2, false).unwrap();
    train(parts.path(), detector(), 1, false).unwrap();
    train(parts.path(), detector(), 2, true).unwrap();
    let tensors = |folder: &Path, prefix: &str| {
        let file = Archive::open(folder.join("model.safetensors")).unwrap();
        let own = file.tensors().filter(|t| t.name.starts_with(prefix));
        own.map(|t| (t.name.to_string(), t.f32().to_vec())).collect::<BTreeMap<String, Vec<f32>>>()
    };
    let found = tensors(whole.path(), "");
    assert_eq!(found, tensors(parts.path(), ""));
    let a = settings(whole.path(), detector()).unwrap().architecture;
    for (name, shape) in resnet::tensors(&a) {
        let first_layer = name.starts_with("conv1") || name.starts_with("bn1");
        let (now, before) = (&found[&format!("backbone.{name}")], BACKBONE.tensor(&name, &shape).unwrap());
        assert_eq!(**now != *before, first_layer, "{name}");
    }
    let archive = Archive::open(whole.path().join("model.safetensors")).unwrap();
    let of = |prefix| Prefixed { archive: &archive, prefix };
    let mut parameters = Parameters::new("head");
    parameters.add("out.weight", &[1, 64, 1, 1], Init::Zeros).unwrap();
    let (backbone, head) = (resnet::load(&a, &of("backbone.")).unwrap(), network(&of("head."), &parameters).unwrap());
    let config = Config::new(detector(), a.clone());
    let mut scorer = Scorer::new(&config, &backbone, &[head], 1, &Backend::CPU, Gives::ScoresAndMaps).unwrap();
    let threshold: f64 = archive.metadata()["threshold"].parse().unwrap();
    let set = TrainSet::open(&whole.path().join("data")).unwrap();
    let pictures =
        Pictures::open(set.good.into_iter().map(|s| s.source).collect(), config.framer(), usize::MAX, &|_| Ok(()))
            .unwrap();
    let mut one = vec![0; pictures.each()];
    let held_back = (0..pictures.len()).any(|i| {
        pictures.gather(&[i], &mut one).unwrap();
        (scorer.score(&[&one]).unwrap()[0].score - threshold).abs() <= 1e-6 * threshold.abs()
    });
    assert!(held_back, "the threshold is the score of the one picture that was held back");
}
