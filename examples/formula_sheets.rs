//! How long pictures by formula take to draw, family by family, and contact sheets of them as `FOLDER/<family>.png`.
//!
//!     cargo run --release --example formula_sheets
//!     cargo run --release --example formula_sheets -- FOLDER

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::time::Instant;

use ckaad::data::formula::{FAMILIES, Formula, Scratch, sheet};
use ckaad::error::Error;
use ckaad::report::encode::png_rgb;

fn main() -> ckaad::Result<()> {
    let folder = std::env::args_os().nth(1).map(PathBuf::from);
    let formula = Formula { size: 96, classes_per_family: 96, seed: 1 };
    let mut scratch = Scratch::default();
    let mut picture = vec![0; formula.size * formula.size * 3];
    let mut all = 0.0;
    for (family, described) in FAMILIES.iter().enumerate() {
        let start = Instant::now();
        for number in 0..formula.classes_per_family {
            let class = family * formula.classes_per_family + number;
            formula.draw(class, 0, 0, &mut picture, &mut scratch);
        }
        let each = start.elapsed().as_secs_f64() * 1e3 / formula.classes_per_family as f64;
        all += each;
        println!("{:10} {each:.2} ms  {}", described.name, described.summary);
        if let Some(folder) = &folder {
            let sheet = sheet(&formula, family, 12, 8);
            let png = png_rgb(&sheet.rgb, sheet.width, sheet.height)?;
            let path = folder.join(format!("{}.png", described.name));
            // Never over a file that is there.
            let written = File::create_new(&path).and_then(|mut file| file.write_all(&png));
            written.map_err(|e| Error::io(&path, e))?;
        }
    }
    println!("{:10} {:.2} ms", "mean", all / FAMILIES.len() as f64);
    Ok(())
}
