//! Learning at once: features of all normal pictures, the detector's fit, the model file. There is nothing to resume.

use super::events::Event;
use super::features::CacheKind;
use super::job::{Job, Learned};
use super::settings::Settings;
use crate::detector::{BatchSpec, Fit};
use crate::model::features::Feed;
use crate::{Error, Result, invalid};

/// Refuses settings that only learning by steps knows.
pub fn expect_fittable(s: &Settings) -> Result<()> {
    let name = s.detector.method().name;
    if s.resume {
        return Err(Error::Usage(format!("{name} is fitted in one go, there is nothing to resume")));
    }
    if s.cache == CacheKind::Off {
        return Err(Error::Usage(format!("{name} is fitted to features of all pictures: they must be kept somewhere")));
    }
    Ok(())
}

pub fn run(how: &dyn Fit, job: &Job) -> Result<Learned> {
    let s = job.s;
    let spec =
        BatchSpec { architecture: &s.architecture, batch: job.batch(), feed: Feed::Pixels, dtype: s.backend.dtype() };
    let program = how.features(&spec)?;
    let (Some(mut place), Some(features)) = (job.place(), job.features(&program, &job.normal_views)?) else {
        invalid!("features of all pictures must be kept somewhere");
    };
    place.budget = place.budget.saturating_sub(features.in_memory());
    let mut progress = |stage, done, of| {
        (job.events)(Event::Fitting(stage, done, of));
        job.expect_to_go_on()
    };
    let fitted = how.fit(&features, &place, s.seed, &mut progress)?;
    Ok(Learned { detector: fitted.detector, networks: fitted.networks })
}
