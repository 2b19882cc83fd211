//! `ckaad bench score`: from pixels in host memory to map and score there, and from picture files.

use super::{Common, Report, launches, refuse_sim};
use crate::Result;
use crate::bench::workload::{Kind, Workload, random_picture};
use crate::bench::{parts, repeat, seconds};
use crate::cli::detector::DetectorArgs;
use crate::cli::inputs::tell_passed_over;
use crate::cli::options::count;
use crate::cli::plan::told_by_model;
use crate::data::image::Source;
use crate::data::listing::{self, Given};
use crate::detector::file::{Config, ModelFile};
use crate::engine::device::Device;
use crate::output::Outputs;
use crate::score::scorer::{Gives, Scorer};
use serde_json::json;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Measure scoring a batch: pixels in host memory to map and score in host memory
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(flatten)]
    common: Common,
    /// Pictures in one pass of the engine
    #[arg(long, default_value_t = 1, value_parser = count)]
    batch_size: usize,
    #[command(flatten)]
    detector: DetectorArgs,
    /// Leave the maps on the device and copy the scores alone, as `ckaad score` does where nothing shows a map
    #[arg(long)]
    scores_only: bool,
    /// A trained model instead of random weights; says the detector, the networks and the picture size, too
    #[arg(long, value_name = "FILE", conflicts_with_all = told_by_model())]
    model: Option<PathBuf>,
    /// Pictures, or folders of pictures, instead of random pixels: reading and resizing them is measured, too
    #[arg(long, value_name = "PATH", num_args = 1..)]
    pictures: Vec<PathBuf>,
}

/// Repetitions of a part that is measured by itself.
const PROFILED: usize = 5;
/// Throughput is measured for at least as long.
const STREAM: Duration = Duration::from_secs(1);

pub fn run(args: &Args) -> Result<bool> {
    let model = args.model.as_deref().map(ModelFile::open).transpose()?;
    let backend = match &model {
        Some(model) => args.common.device.backend_for(&model.config)?,
        None => args.common.device.backend()?,
    };
    refuse_sim(&backend, "score")?;
    let batch = args.batch_size;
    let gives = if args.scores_only { Gives::Scores } else { Gives::ScoresAndMaps };
    let (config, mut scorer) = match &model {
        Some(model) => (model.config.clone(), Scorer::from_file(model, batch, &backend, gives)?),
        None => {
            let (detector, architecture) = (args.detector.detector()?, args.common.networks.architecture()?);
            let config = Config::new(detector, architecture);
            let Config { detector, architecture, .. } = config.clone();
            let workload = Workload { detector, architecture, kind: Kind::Score { batch }, scheme: None };
            let program = workload.record(backend.number)?.remove(0);
            let scorer =
                Scorer::of_program(&program, &config, &backend, gives, |session| workload.fill(session, &program))?;
            (config, scorer)
        }
    };
    let framer = scorer.framer().clone();
    let mut listed = Vec::new();
    let given = args.pictures.iter().cloned().map(Given::Path).collect();
    let passed_over = listing::each(given, &Outputs::default(), &mut |picture| {
        listed.push(picture.map(|meant| meant.source).map_err(|refused| refused.error));
        true
    })?;
    tell_passed_over(&passed_over);
    let files: Vec<Source> = listed.into_iter().collect::<Result<_>>()?;
    // Of a picture that is looked at in several views the first.
    let read = |source: &Source| {
        let picture = source.read()?;
        Ok(framer.frame((picture.width, picture.height))?.cut(&picture, 0))
    };
    let pixels: Vec<Vec<u8>> = match &files[..] {
        [] => vec![random_picture(framer.size); batch],
        some => some.iter().cycle().take(batch).map(read).collect::<Result<_>>()?,
    };
    let pictures: Vec<&[u8]> = pixels.iter().map(Vec::as_slice).collect();

    // In turns, so that what else the machine does falls on the whole as on its stages. On the CPU, whose stages do not overlap,
    // the whole is their sum: then no stage takes longer than the whole, however busy the machine is.
    let on_cpu = backend.device == Device::Cpu;
    let [total, write, compute, collect] = repeat(|| {
        let whole = if on_cpu { 0.0 } else { seconds(|| scorer.score(&pictures).map(drop))? };
        let [write, compute, collect] = scorer.timed(&pictures)?;
        let total = if on_cpu { write + compute + collect } else { whole };
        Ok([total, write, compute, collect])
    })?;
    let mut stages = vec![("total", total), ("write", write), ("compute", compute), ("read", collect)];
    if !files.is_empty() {
        let mut next = files.iter().cycle();
        let [decode] = repeat(|| {
            seconds(|| {
                for source in next.by_ref().take(batch) {
                    read(source)?;
                }
                Ok(())
            })
            .map(|s| [s])
        })?;
        stages.push(("decode", decode));
    }
    // What is done with the error maps is part of the same program: its share of it, part by part.
    let launches = launches(scorer.session().tape(), &backend)?;
    let post = post_share(parts::measure(scorer.session(), backend.number, None, PROFILED)?);

    let images_per_s = match scorer.lanes() {
        // One batch after the other.
        1 => batch as f64 / total.median_s,
        _ => streamed(&mut scorer, &pictures)?,
    };

    let report = Report {
        work: "score",
        architecture: &config.architecture,
        batch,
        backend: &backend,
        launches,
        images: batch,
        images_per_s,
        stages,
        more: ("post_processing_share", json!(post)),
        note: format!(
            "{:.0} % of the computing is for what follows the networks: error maps, blur, score",
            100.0 * post
        ),
    };
    report.print(args.common.format)?;
    Ok(true)
}

/// Pictures a second where batches overlap on their way.
fn streamed(scorer: &mut Scorer, pictures: &[&[u8]]) -> Result<f64> {
    let begun = Instant::now();
    let mut batches = 0;
    while batches < 3 || begun.elapsed() < STREAM {
        scorer.submit(pictures)?;
        batches += 1;
        if batches >= scorer.lanes() {
            scorer.collect()?;
        }
    }
    for _ in 1..scorer.lanes() {
        scorer.collect()?;
    }
    Ok((batches * pictures.len()) as f64 / begun.elapsed().as_secs_f64())
}

/// Share of the computing time that is spent behind the networks.
fn post_share(parts: Vec<parts::Part>) -> f64 {
    let of = |p: &parts::Part| match &p.measured {
        parts::Measured::Time(stats) => stats.median_s,
        _ => 0.0,
    };
    let all: f64 = parts.iter().map(of).sum();
    parts.iter().filter(|p| p.layer.ends_with("in anomaly_map")).map(of).sum::<f64>() / all
}
