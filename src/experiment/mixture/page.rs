//! The experiment as one HTML page: which points went in, what every variant makes of them, and how it got there.

use super::points::{ANOMALOUS_DISC, NORMAL_DISCS, sample};
use super::{ANOMALOUS, MEASURED, Measured, NORMAL, Run, SHARE, Spread, at_the_edge, between_samples, median_curve};
use crate::Result;
use crate::detector::ckaad::step::Hyper;
use crate::error::plural;
use crate::report::html::charts::{self, Lines, SERIES, Scatter};
use crate::report::html::{Page, escape, figure};
use std::fmt::Write;

/// Points drawn of a cloud: more would hide each other.
const DRAWN: usize = 256;

/// The whole HTML file, with the points of the first seed, which is `seed`. `command` is the command line that made it; `variants` are
/// the runs of each, of the same seeds.
pub fn html(variants: &[Vec<Run>], seed: u64, command: &str) -> Result<String> {
    let mut h = String::from("<h2>What came of it</h2>\n");
    write_table(&mut h, variants, seed);
    h.push_str("<h2>Points</h2>\n<p class=\"soft\">Outlined: where normal points (blue) and anomalous ones (red) come from.</p>\n");
    h.push_str("<div class=\"charts\">\n");
    let normal = sample(DRAWN, 0.0, seed, "normal.0");
    let anomalous = sample(DRAWN, SHARE, seed, "anomalous.0");
    let caption = "What training sees: points of normal pictures (blue) and of anomalous pictures (red), most of which are normal.";
    write_points(&mut h, "Points that training sees", [&normal, &anomalous], caption)?;
    let generated = "What is generated of normal points (blue) and of anomalous ones (red)";
    let first: Vec<&Run> = variants.iter().filter_map(|runs| runs.first()).collect();
    if let Some(run) = first.first() {
        let caption = format!("{generated} before training, seed {seed}.");
        write_points(&mut h, "Generated before training", halves(&run.before), &caption)?;
    }
    for run in &first {
        let name = escape(run.variant.name);
        let caption = format!(
            "<b>{name}</b>: {}. {generated} after {} steps, seed {seed}.",
            escape(run.variant.about),
            run.last().step
        );
        write_points(&mut h, &format!("Generated after training with {name}"), halves(&run.after), &caption)?;
    }
    h.push_str("</div>\n<h2>Over time</h2>\n<div class=\"charts\">\n");
    let edge = "Dashed: if every anomalous point went to the nearest normal one";
    write_lines(&mut h, variants, "distance to normal", Some(at_the_edge(seed)), edge, |m| m.distance)?;
    write_lines(&mut h, variants, "anomalous reproduced", None, "From 0 to 1, all of them", |m| m.reproduced)?;
    let margin = "Dashed: the margin, which ckapatch's shall have";
    write_lines(&mut h, variants, "energy of anomalous", Some(Hyper::default().margin), margin, |m| m.energy)?;
    h.push_str("</div>\n");
    let steps = first.first().map_or(0, |run| run.last().step);
    let seeds = plural(variants.first().map_or(0, Vec::len), "seed");
    let settings = [
        ("Step", format!("{NORMAL} normal pictures and {ANOMALOUS} anomalous, of 64 points each")),
        ("Coarse label", format!("{:.0} % of the points of anomalous pictures are anomalous", 100.0 * SHARE)),
        ("Training", format!("{steps} steps with the paper's rates, margin and weights, {seeds} from {seed} on")),
        ("Measured on", format!("{MEASURED} normal and {MEASURED} anomalous points that training did not see")),
    ];
    let settings = settings.map(|(name, value)| (name.to_string(), value));
    let note = "Normal points, anomalous ones apart from them, and labels that only say that some of a picture's points are anomalous. \
                A generator that is told to make all of them look normal: where does it take the anomalous ones?";
    Ok(Page { title: "The theorems, seen", note, command, settings: &settings, body: &h, script: "" }.html())
}

fn write_table(h: &mut String, variants: &[Vec<Run>], seed: u64) {
    h.push_str("<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Results\"><table>\n<thead><tr>");
    for head in ["", "distance to normal", "anomalous reproduced", "energy of anomalous"] {
        let _ = write!(h, "<th scope=\"col\">{head}</th>");
    }
    h.push_str("</tr></thead>\n<tbody>\n");
    for runs in variants {
        let _ = write!(h, "<tr><th scope=\"row\">{}</th>", escape(runs.first().map_or("", |run| run.variant.name)));
        let [distance, reproduced, energy] = spreads(runs);
        let _ = writeln!(h, "<td>{distance}</td><td>{reproduced}</td><td>{energy}</td></tr>");
    }
    h.push_str("</tbody></table></div>\n<p class=\"soft\">Medians over seeds, from the least to the most. Distance: energy distance between what is generated of as many normal as ");
    let _ = write!(
        h,
        "anomalous points and a sample of normal ones. It is {:.4} between two normal samples, ",
        between_samples(seed)
    );
    let _ =
        write!(h, "and {:.4} if every anomalous point goes to the nearest normal one. Reproduced: ", at_the_edge(seed));
    h.push_str("anomalous points that the generator leaves nearer to anomalous than to normal ones. Energy: what the discriminator ");
    h.push_str("gives anomalous points (of gan: the size of its logits).</p>\n");
}

/// Distance, share of anomalous points reproduced, and their energy, of runs of several seeds: `0.1110 (0.0772 to 0.3317)`.
pub fn spreads(runs: &[Run]) -> [String; 3] {
    let of = |value: fn(&Measured) -> f64, factor: f64, digits: usize, unit: &str| {
        let Spread { median, least, most } = Spread::new(runs, value);
        let [median, least, most] = [median, least, most].map(|v| format!("{:.digits$}", factor * v));
        match runs.len() {
            1 => format!("{median}{unit}"),
            _ => format!("{median}{unit} ({least} to {most})"),
        }
    };
    [of(|m| m.distance, 1.0, 4, ""), of(|m| m.reproduced, 100.0, 1, " %"), of(|m| m.energy, 1.0, 2, "")]
}

/// What is generated of normal points, and of anomalous ones.
fn halves(points: &[[f64; 2]]) -> [&[[f64; 2]]; 2] {
    let (normal, anomalous) = points.split_at(points.len() / 2);
    [normal, anomalous].map(|half| &half[..DRAWN.min(half.len())])
}

fn write_points(h: &mut String, label: &str, clouds: [&[[f64; 2]]; 2], caption: &str) -> Result<()> {
    let mut outlines: Vec<_> = NORMAL_DISCS.iter().map(|disc| (disc.outline(), charts::NORMAL)).collect();
    outlines.push((ANOMALOUS_DISC.outline(), charts::ANOMALOUS));
    let clouds = [(clouds[0], charts::NORMAL), (clouds[1], charts::ANOMALOUS)];
    let scatter = Scatter { clouds: &clouds, outlines: &outlines, x: -2.4..1.2, y: -1.5..1.5 };
    let outside = match scatter.outside() {
        0 => String::new(),
        n => format!(" {n} lie outside of the picture."),
    };
    h.push_str(&figure(label, &scatter.svg()?, &format!("{caption}{outside}")));
    Ok(())
}

fn write_lines(
    h: &mut String,
    variants: &[Vec<Run>],
    what: &str,
    level: Option<f64>,
    about: &str,
    value: impl Fn(&Measured) -> f64,
) -> Result<()> {
    let points = |runs: &[Run]| median_curve(runs).iter().map(|m| (m.step as f64, value(m))).collect();
    let series: Vec<_> = variants.iter().zip(SERIES).map(|(runs, color)| (points(runs), color)).collect();
    let svg = Lines { series: &series, x: "step", y: what, level }.svg()?;
    let mut caption = String::from("Median over seeds, of");
    for (runs, color) in variants.iter().zip(SERIES) {
        let _ =
            write!(caption, "<i class=\"key\" style=\"background: rgb({}, {}, {})\"></i>", color.0, color.1, color.2);
        caption.push_str(&escape(runs.first().map_or("", |run| run.variant.name)));
    }
    h.push_str(&figure(&format!("{what} over steps"), &svg, &format!("{caption}. {about}.")));
    Ok(())
}
