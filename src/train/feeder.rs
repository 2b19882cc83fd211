//! Which pictures a step takes, and how they get into its programs.

use super::checkpoint::Position;
use super::features::FeatureCache;
use super::job::Job;
use crate::data::elastic::elastic;
use crate::detector::StepSpec;
use crate::engine::device::Session;
use crate::model::features::Feed;
use crate::model::init::named_rng;
use crate::program::{Group, Program, Role};
use crate::{Result, invalid};
use rand::{Rng, RngExt, seq::SliceRandom};
use rayon::prelude::*;

/// torchvision's defaults for `ElasticTransform`, as the paper uses it.
const ELASTIC_ALPHA: f32 = 200.0;
const ELASTIC_SIGMA: f32 = 5.0;

/// Chooses pictures and brings them into sessions.
pub struct Feeder<'a> {
    job: &'a Job<'a>,
    /// Anomalous pictures are normal ones, distorted: there are no others.
    distort: bool,
    /// Pictures of each role in a step.
    normal: usize,
    anomalous: usize,
    cache: Option<FeatureCache>,
    prepared: Prepared,
}

/// What the programs of one step take.
#[derive(Default)]
struct Prepared {
    /// Epoch and step.
    of: (usize, usize),
    groups: Vec<Pixels>,
    /// Memory of earlier steps.
    spare: Vec<Vec<u8>>,
}

/// Pixels of pictures, and what they are of.
struct Pixels {
    pictures: Vec<(Role, usize)>,
    bytes: Vec<u8>,
}

/// The pictures of one step.
pub struct StepPictures<'a> {
    pub normal: &'a [usize],
    /// Empty where they are distorted normal ones.
    pub anomalous: Vec<usize>,
    pub at: &'a Position,
}

impl<'a> Feeder<'a> {
    pub fn new(job: &'a Job, spec: &StepSpec, distort: bool, cache: Option<FeatureCache>) -> Self {
        Feeder { job, distort, normal: spec.normal, anomalous: spec.anomalous, cache, prepared: Prepared::default() }
    }

    /// Normal pictures of a step.
    pub fn batch(&self) -> usize {
        self.normal
    }

    /// The normal pictures in the order of this epoch.
    pub fn order(&self, epoch: usize) -> Vec<usize> {
        let mut order = self.job.normal_views.clone();
        if self.job.s.shuffle {
            order.shuffle(&mut named_rng(self.job.s.seed, &format!("order.{epoch}")));
        }
        order
    }

    /// The labelled anomalous pictures of a step, drawn with replacement (in turn, when nothing is shuffled).
    fn anomalous(&self, at: &Position) -> Vec<usize> {
        let (all, m) = (&self.job.anomalous_views, self.anomalous);
        if m == 0 || self.distort {
            return vec![];
        }
        if !self.job.s.shuffle {
            return (0..m).map(|i| all[(at.step * m + i) % all.len()]).collect();
        }
        let mut rng = named_rng(self.job.s.seed, &format!("anomalous.{}.{}", at.epoch, at.step));
        (0..m).map(|_| all[rng.random_range(0..all.len())]).collect()
    }

    /// The pictures of the step at `at`, with these normal ones.
    pub fn pictures<'p>(&self, normal: &'p [usize], at: &'p Position) -> StepPictures<'p> {
        StepPictures { normal, anomalous: self.anomalous(at), at }
    }

    /// Fills the inputs of one program.
    pub fn fill(&mut self, session: &mut dyn Session, program: &Program, pictures: &StepPictures) -> Result<()> {
        for group in &program.groups {
            if group.feed == Feed::Features {
                let indices: Vec<usize> =
                    group.pictures.iter().flat_map(|(role, _)| pictures.of(*role)).copied().collect();
                match &mut self.cache {
                    Some(cache) => cache.write(session, &group.vars, &indices)?,
                    None => invalid!("the step takes features, and none are kept"),
                }
                continue;
            }
            let at = self.prepare(group, pictures)?;
            match group.vars[..] {
                [v] => session.write(v, &self.prepared.groups[at].bytes)?,
                _ => invalid!("pictures enter by one variable, found {}", group.vars.len()),
            }
        }
        Ok(())
    }

    /// Reads the pixels that a program will take in another step, while the device is busy with this one.
    pub fn read_ahead(&mut self, program: &Program, pictures: &StepPictures) -> Result<()> {
        let mut of_pixels = program.groups.iter().filter(|group| group.feed == Feed::Pixels);
        of_pixels.try_for_each(|group| self.prepare(group, pictures).map(drop))
    }

    /// Where in `prepared` the pixels of this group are; reads them if they are not there.
    fn prepare(&mut self, group: &Group, pictures: &StepPictures) -> Result<usize> {
        let step = (pictures.at.epoch, pictures.at.step);
        let Prepared { of, groups, spare } = &mut self.prepared;
        if *of != step {
            *of = step;
            spare.extend(groups.drain(..).map(|group| group.bytes));
        }
        if let Some(at) = groups.iter().position(|known| known.pictures == group.pictures) {
            return Ok(at);
        }
        let each = self.job.pictures.each();
        let mut bytes = spare.pop().unwrap_or_default();
        bytes.resize(group.len() * each, 0);
        let mut rest = &mut bytes[..];
        for (role, count) in &group.pictures {
            let pixels;
            (pixels, rest) = rest.split_at_mut(count * each);
            let distorted = *role == Role::Anomalous && self.distort;
            self.job.pictures.gather(if distorted { pictures.normal } else { pictures.of(*role) }, pixels)?;
            if distorted {
                distort(self.job, pixels, pictures.at);
            }
        }
        groups.push(Pixels { pictures: group.pictures.clone(), bytes });
        Ok(groups.len() - 1)
    }

    /// Moves kept features to the device, if it has room for them and a single session takes them.
    pub fn keep_on_device(&mut self, session: &mut dyn Session) -> Result<()> {
        match &mut self.cache {
            Some(cache) => cache.keep_on_device(session).map(drop),
            None => Ok(()),
        }
    }

    pub fn cached(&self) -> bool {
        self.cache.is_some()
    }
}

impl StepPictures<'_> {
    fn of(&self, role: Role) -> &[usize] {
        match role {
            Role::Normal => self.normal,
            Role::Anomalous => &self.anomalous,
            Role::Scored => &[],
        }
    }
}

/// Pseudo-anomalies: every normal picture of the step, distorted in its place.
fn distort(job: &Job, pixels: &mut [u8], at: &Position) {
    let size = job.s.architecture.image_size;
    pixels.par_chunks_exact_mut(job.pictures.each()).enumerate().for_each(|(i, picture)| {
        let seed = named_rng(job.s.seed, &format!("elastic.{}.{}.{i}", at.epoch, at.step)).next_u64();
        let normal = picture.to_vec();
        elastic(&normal, size, ELASTIC_ALPHA, ELASTIC_SIGMA, seed, picture);
    });
}
