//! Scored pictures of which nothing is known as an HTML report: all scores, and the pictures that scored highest.

use super::heatmap::Scale;
use super::html::{Report, Row, Shot};
use crate::Result;
use crate::data::image::Picture;
use crate::output::write_atomically;
use crate::score::normalization::Normalization;
use crate::score::scorer::Scored;
use std::path::Path;

/// Pictures that are shown, at most.
const SHOWN: usize = 96;

/// What is kept of a run until its report is written.
pub struct ScoredReport {
    threshold: Option<f64>,
    normalization: Option<Normalization>,
    scale: Option<Scale>,
    rows: Vec<Row>,
    /// The highest so far, in falling order.
    gallery: Vec<Shot>,
}

impl ScoredReport {
    pub fn new(threshold: Option<f64>, normalization: Option<Normalization>, scale: Option<Scale>) -> Self {
        ScoredReport { threshold, normalization, scale, rows: vec![], gallery: vec![] }
    }

    /// Adds a picture: its name, what is shown of it, its pixels at the shape of its map.
    pub fn add(&mut self, name: &Path, shown: &Picture, pixels: Vec<u8>, scored: Scored) {
        let row = Row { name: name.display().to_string(), score: scored.score, ..Row::default() };
        self.rows.push(row.clone());
        let at = self.gallery.partition_point(|shot| shot.row.score >= scored.score);
        if at < SHOWN {
            let (shown, map) = ((shown.width, shown.height), scored.map);
            self.gallery.insert(at, Shot { row, shown, rgb: pixels, map, ..Shot::default() });
            self.gallery.truncate(SHOWN);
        }
    }

    /// Writes the report atomically. `model` and `command` say where it comes from.
    pub fn write(self, path: &Path, model: &str, command: String) -> Result<()> {
        let flagged = self.threshold.map(|t| self.rows.iter().filter(|r| r.score >= t).count());
        let called = flagged.map(|n| format!("{n} of {} pictures are called anomalous.", self.rows.len()));
        let scale = self.scale.unwrap_or_else(|| Scale::of_maps(self.gallery.iter().map(|s| &s.map.values[..])));
        let report = Report {
            title: "Scored pictures".into(),
            note: called.unwrap_or_default(),
            command,
            settings: vec![("Model".into(), model.into())],
            threshold: self.threshold,
            normalization: self.normalization,
            chosen: "those that scored highest".into(),
            pictures: self.rows,
            gallery: self.gallery,
            scale: Some(scale),
            ..Report::default()
        };
        let html = report.html()?;
        write_atomically(path, |f| f.write_all(html.as_bytes()))
    }
}
