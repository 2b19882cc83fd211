//! Charts of reports, as SVG that scales with the page and takes its text colour from the style sheet.

use crate::{Error, Result};
use plotters::chart::MeshStyle;
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;
use std::ops::Range;

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;
type Plane<'a, 's> = ChartContext<'a, SVGBackend<'s>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;
type Drawn = std::result::Result<(), Box<dyn std::error::Error>>;

/// No wider than three in a row and a telephone show it, so that it never shrinks and its text with it.
const SIZE: (u32, u32) = (320, 256);
/// Plotters writes 1 / 1.24 of the size: these are 12 pixels.
const FONT: (&str, i32) = ("sans-serif", 15);
pub const NORMAL: RGBColor = RGBColor(0x3b, 0x7e, 0xa1);
pub const ANOMALOUS: RGBColor = RGBColor(0xc8, 0x55, 0x3d);
/// Of series that are neither, to be told from each other on light and dark paper.
pub const SERIES: [RGBColor; 3] = [RGBColor(0x2a, 0x9d, 0x8f), RGBColor(0xd0, 0x8c, 0x1d), RGBColor(0x8e, 0x6b, 0xbf)];
const GRAY: RGBColor = RGBColor(0x80, 0x88, 0x90);

fn chart(draw: impl FnOnce(Area) -> Drawn) -> Result<String> {
    let mut svg = String::new();
    draw(SVGBackend::with_string(&mut svg, SIZE).into_drawing_area())
        .map_err(|e| Error::Invalid(format!("a chart cannot be drawn: {e}")))?;
    let sized = format!("width=\"{}\" height=\"{}\" ", SIZE.0, SIZE.1);
    Ok(svg.replacen(&sized, "", 1))
}

/// The lines and labels of every chart.
fn mesh<'a, 'b, 's>(chart: &'b mut Plane<'a, 's>) -> MeshStyle<'a, 'b, RangedCoordf64, RangedCoordf64, SVGBackend<'s>> {
    let mut mesh = chart.configure_mesh();
    mesh.light_line_style(TRANSPARENT).bold_line_style(GRAY.mix(0.2)).axis_style(GRAY).label_style(FONT);
    mesh
}

/// A curve from 0 to 1 over 0 to `to`, with a mark where the model stands on it.
pub struct Curve<'a> {
    pub points: &'a [(f64, f64)],
    pub to: f64,
    pub x: &'a str,
    pub y: &'a str,
    /// What guessing gives, from end to end.
    pub chance: [(f64, f64); 2],
    pub mark: Option<(f64, f64)>,
}

impl Curve<'_> {
    pub fn svg(&self) -> Result<String> {
        chart(|area| {
            let mut chart = ChartBuilder::on(&area)
                .margin(8)
                .x_label_area_size(42)
                .y_label_area_size(48)
                .build_cartesian_2d(0.0..self.to, 0.0..1.0)?;
            mesh(&mut chart).x_labels(6).y_labels(6).x_desc(self.x).y_desc(self.y).draw()?;
            chart.draw_series(LineSeries::new(self.chance, GRAY.mix(0.5)))?;
            chart.draw_series(AreaSeries::new(self.points.iter().copied(), 0.0, NORMAL.mix(0.15)))?;
            chart.draw_series(LineSeries::new(self.points.iter().copied(), NORMAL.stroke_width(3)))?;
            chart.draw_series(self.mark.map(|at| Circle::new(at, 6, ANOMALOUS.filled())))?;
            area.present()?;
            Ok(())
        })
    }
}

/// Pictures per score; `None` where it is not known what they are, which is drawn as normal.
pub fn histogram(scores: &[(f64, Option<bool>)], threshold: Option<f64>) -> Result<String> {
    const BINS: usize = 30;
    let values = scores.iter().map(|s| s.0).chain(threshold).filter(|v| v.is_finite());
    let (lo, hi) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
    // Room for one bin where all scores are equal, or none is finite.
    let (lo, hi) = if lo < hi {
        (lo, hi)
    } else if lo.is_finite() {
        (lo - 0.5, lo + 0.5)
    } else {
        (0.0, 1.0)
    };
    let width = (hi - lo) / BINS as f64;
    let mut counts = [[0usize; BINS]; 2];
    for &(score, anomalous) in scores.iter().filter(|s| s.0.is_finite()) {
        counts[usize::from(anomalous == Some(true))][(((score - lo) / width) as usize).min(BINS - 1)] += 1;
    }
    let top = counts.iter().flatten().copied().max().unwrap_or(0).max(1);
    let high = top as f64 * 1.08;
    chart(|area| {
        let mut chart = ChartBuilder::on(&area)
            .margin(8)
            .x_label_area_size(42)
            .y_label_area_size(48)
            .build_cartesian_2d(lo..hi, 0.0..high)?;
        mesh(&mut chart)
            .disable_x_mesh()
            .x_labels(5)
            .y_labels((top + 1).min(6))
            .y_label_formatter(&|v| format!("{v:.0}"))
            .x_desc("score")
            .y_desc("pictures")
            .draw()?;
        for (counts, color) in counts.iter().zip([NORMAL, ANOMALOUS]) {
            chart.draw_series(counts.iter().enumerate().filter(|c| *c.1 > 0).map(|(i, &count)| {
                let left = lo + i as f64 * width;
                Rectangle::new([(left, 0.0), (left + width, count as f64)], color.mix(0.6).filled())
            }))?;
        }
        if let Some(t) = threshold.filter(|t| t.is_finite()) {
            chart.draw_series(DashedLineSeries::new([(t, 0.0), (t, high)], 6, 4, GRAY.stroke_width(2)))?;
        }
        area.present()?;
        Ok(())
    })
}

/// Points of the plane over the outlines of where they may come from.
pub struct Scatter<'a> {
    /// Drawn in this order.
    pub clouds: &'a [(&'a [[f64; 2]], RGBColor)],
    /// Closed lines.
    pub outlines: &'a [(Vec<(f64, f64)>, RGBColor)],
    pub x: Range<f64>,
    pub y: Range<f64>,
}

impl Scatter<'_> {
    /// Points outside of the ranges are left out: [`Scatter::outside`] counts them.
    pub fn svg(&self) -> Result<String> {
        chart(|area| {
            let mut chart = ChartBuilder::on(&area)
                .margin(8)
                .x_label_area_size(24)
                .y_label_area_size(34)
                .build_cartesian_2d(self.x.clone(), self.y.clone())?;
            mesh(&mut chart).x_labels(5).y_labels(5).draw()?;
            for (points, color) in self.clouds {
                let seen = points.iter().filter(|p| self.shows(p));
                chart.draw_series(seen.map(|p| Circle::new((p[0], p[1]), 1, color.mix(0.7).filled())))?;
            }
            for (line, color) in self.outlines {
                chart.draw_series(LineSeries::new(line.iter().copied(), color.stroke_width(1)))?;
            }
            area.present()?;
            Ok(())
        })
    }

    pub fn outside(&self) -> usize {
        self.clouds.iter().flat_map(|c| c.0).filter(|p| !self.shows(p)).count()
    }

    fn shows(&self, p: &[f64; 2]) -> bool {
        self.x.contains(&p[0]) && self.y.contains(&p[1])
    }
}

/// What values become over time. The vertical axis begins at 0.
pub struct Lines<'a> {
    pub series: &'a [(Vec<(f64, f64)>, RGBColor)],
    pub x: &'a str,
    pub y: &'a str,
    /// Drawn dashed, from end to end.
    pub level: Option<f64>,
}

impl Lines<'_> {
    pub fn svg(&self) -> Result<String> {
        let all = || self.series.iter().flat_map(|s| s.0.iter());
        let right = all().map(|p| p.0).fold(1.0, f64::max);
        let high = 1.08 * all().map(|p| p.1).chain(self.level).fold(1e-9, f64::max);
        chart(|area| {
            let mut chart = ChartBuilder::on(&area)
                .margin(8)
                .margin_right(16)
                .x_label_area_size(42)
                .y_label_area_size(48)
                .build_cartesian_2d(0.0..right, 0.0..high)?;
            mesh(&mut chart)
                .x_labels(4)
                .y_labels(6)
                .x_label_formatter(&|v| format!("{v:.0}"))
                .x_desc(self.x)
                .y_desc(self.y)
                .draw()?;
            for (points, color) in self.series {
                chart.draw_series(LineSeries::new(points.iter().copied(), color.stroke_width(2)))?;
            }
            if let Some(level) = self.level {
                let line = [(0.0, level), (right, level)];
                chart.draw_series(DashedLineSeries::new(line, 6, 4, GRAY.stroke_width(2)))?;
            }
            area.present()?;
            Ok(())
        })
    }
}
