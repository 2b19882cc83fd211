//! Which pictures a step takes, and how they get into its programs.

use super::checkpoint::Position;
use super::features::FeatureCache;
use super::job::Job;
use crate::data::elastic::elastic;
use crate::detector::StepSpec;
use crate::engine::device::Session;
use crate::model::features::Feed;
use crate::model::init::named_rng;
use crate::program::{Program, Role};
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
    pixels: Vec<u8>,
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
        Feeder { job, distort, normal: spec.normal, anomalous: spec.anomalous, cache, pixels: Vec::new() }
    }

    /// Steps of an epoch. Pictures that fill no whole batch are left to another epoch's order.
    pub fn steps(&self) -> usize {
        self.job.normal.len() / self.normal
    }

    /// Normal pictures of a step.
    pub fn batch(&self) -> usize {
        self.normal
    }

    /// The normal pictures in the order of this epoch.
    pub fn order(&self, epoch: usize) -> Vec<usize> {
        let mut order = self.job.normal.clone();
        if self.job.s.shuffle {
            order.shuffle(&mut named_rng(self.job.s.seed, &format!("order.{epoch}")));
        }
        order
    }

    /// The labelled anomalous pictures of a step, drawn with replacement (in turn, when nothing is shuffled).
    pub fn anomalous(&self, at: &Position) -> Vec<usize> {
        let (all, m) = (&self.job.anomalous, self.anomalous);
        if m == 0 || self.distort {
            return vec![];
        }
        if !self.job.s.shuffle {
            return (0..m).map(|i| all[(at.step * m + i) % all.len()]).collect();
        }
        let mut rng = named_rng(self.job.s.seed, &format!("anomalous.{}.{}", at.epoch, at.step));
        (0..m).map(|_| all[rng.random_range(0..all.len())]).collect()
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
            let each = self.job.pictures.each();
            self.pixels.resize(group.len() * each, 0);
            let mut rest = &mut self.pixels[..];
            for (role, count) in &group.pictures {
                let pixels;
                (pixels, rest) = rest.split_at_mut(count * each);
                let distorted = *role == Role::Anomalous && self.distort;
                self.job.pictures.gather(if distorted { pictures.normal } else { pictures.of(*role) }, pixels)?;
                if distorted {
                    distort(self.job, pixels, pictures.at);
                }
            }
            match group.vars[..] {
                [v] => session.write(v, &self.pixels)?,
                _ => invalid!("pictures enter by one variable, found {}", group.vars.len()),
            }
        }
        Ok(())
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
