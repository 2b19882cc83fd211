//! How convolutions are cut on a card, as measured there by `ckaad tune`: a table, and the file it is kept in.

use super::{MODULES, Module, Number, replaced};
use crate::engine::toolkit::cuda::tiling::{Choice, Product};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

/// Where the choices for convolutions come from. None changes a result beyond rounding.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Choices {
    /// The model of the card.
    #[default]
    Model,
    /// What was measured, and the model for what was not.
    Measured(Arc<Tuning>),
    /// This one for every product that allows it.
    Forced(Choice),
}

impl Choices {
    /// The choice for a product, where there is one.
    pub fn of(&self, number: Number, product: &Product) -> Option<Choice> {
        match self {
            Choices::Model => None,
            Choices::Measured(tuning) => tuning.get(number, product).map(|t| t.choice),
            Choices::Forced(choice) => Some(*choice),
        }
    }
}

/// The fastest choice for a product.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tuned {
    pub choice: Choice,
    /// What it took, in [`MeasuredOn::unit`]: for people.
    pub cost: f64,
}

/// What was measured on one card, product by product.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tuning(BTreeMap<(Number, Product), Tuned>);

/// A card with its driver: others may want other choices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MeasuredOn {
    pub card: String,
    pub multiprocessors: u32,
    pub driver: String,
    pub unit: &'static str,
}

impl MeasuredOn {
    /// A name for the file: letters, digits and dashes.
    pub fn file_name(&self) -> String {
        let text = format!("{}-{}", self.card, self.driver).to_lowercase();
        let words: Vec<&str> = text.split(|c: char| !c.is_ascii_alphanumeric()).filter(|w| !w.is_empty()).collect();
        format!("{}.json", words.join("-"))
    }
}

/// Version of the file's format.
const FORMAT: u32 = 1;

#[derive(Deserialize)]
struct File {
    format: u32,
    card: String,
    multiprocessors: u32,
    driver: String,
    kernels: String,
    products: Vec<Line>,
}

#[derive(Serialize, Deserialize)]
struct Line {
    number: Number,
    #[serde(flatten)]
    product: Product,
    #[serde(flatten)]
    choice: Choice,
    cost: f64,
}

impl Tuning {
    pub fn get(&self, number: Number, product: &Product) -> Option<&Tuned> {
        self.0.get(&(number, *product))
    }

    pub fn insert(&mut self, number: Number, product: Product, tuned: Tuned) {
        self.0.insert((number, product), tuned);
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What programs in `number` depend on, as 16 digits; none if there is nothing for them.
    pub fn digest(&self, number: Number) -> Option<String> {
        let of_number: Vec<(&Product, Choice)> =
            self.0.iter().filter(|((n, _), _)| *n == number).map(|((_, p), t)| (p, t.choice)).collect();
        (!of_number.is_empty()).then(|| hex(format!("{of_number:?}").as_bytes()))
    }

    /// The text of its file: JSON, one product a line.
    pub fn to_json(&self, on: &MeasuredOn) -> String {
        let quoted = |s: &str| serde_json::Value::from(s).to_string();
        let mut text = format!(
            "{{\n\"format\": {FORMAT},\n\"card\": {},\n\"multiprocessors\": {},\n\"driver\": {},\n\"kernels\": {},\n\"unit\": {},\n\"products\": [",
            quoted(&on.card),
            on.multiprocessors,
            quoted(&on.driver),
            quoted(&kernels_digest()),
            quoted(on.unit)
        );
        for (i, ((number, product), tuned)) in self.0.iter().enumerate() {
            let line = Line { number: *number, product: *product, choice: tuned.choice, cost: tuned.cost };
            let line = serde_json::to_string(&line).unwrap_or_default();
            let _ = write!(text, "{}\n{line}", if i > 0 { "," } else { "" });
        }
        text + "\n]\n}\n"
    }

    /// From its file's text. Errors, one line each: not such a file, of another card or driver, of other kernels, a
    /// choice that cannot be launched.
    pub fn from_json(text: &str, on: &MeasuredOn) -> Result<Self, String> {
        let file: File = serde_json::from_str(text).map_err(|e| format!("not a tuning file: {e}"))?;
        let again = "run `ckaad tune` again";
        if file.format != FORMAT {
            return Err(format!("format {}, this program knows {FORMAT}; {again}", file.format));
        }
        if (&file.card, file.multiprocessors, &file.driver) != (&on.card, on.multiprocessors, &on.driver) {
            return Err(format!(
                "measured on {} ({} multiprocessors, {}), this is {} ({} multiprocessors, {})",
                file.card, file.multiprocessors, file.driver, on.card, on.multiprocessors, on.driver
            ));
        }
        if file.kernels != kernels_digest() {
            return Err(format!("measured with other kernels than this program's; {again}"));
        }
        let mut tuning = Tuning::default();
        for Line { number, product, choice, cost } in file.products {
            if !product.allows(number, choice) {
                return Err(format!("{choice:?} cannot compute {product:?} in {number}; {again}"));
            }
            tuning.insert(number, product, Tuned { choice, cost });
        }
        Ok(tuning)
    }

    /// Reads a file; errors as those of [`Tuning::from_json`].
    pub fn read(path: &Path, on: &MeasuredOn) -> Result<Self, String> {
        let text = std::fs::read_to_string(path).map_err(|e| e.to_string())?;
        Self::from_json(&text, on)
    }
}

/// Tells these kernels from others: the hashes of their sources, which open their PTX.
fn kernels_digest() -> String {
    let other = replaced().ok().flatten();
    let convolutions = MODULES.iter().enumerate().filter(|(_, m)| m.name.starts_with("conv"));
    let text = |(i, m): (usize, &'static Module)| other.and_then(|r| r.text(i)).unwrap_or(m.ptx).lines().next();
    hex(convolutions.filter_map(text).collect::<String>().as_bytes())
}

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes)[..8].iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::toolkit::cuda::tiling::{Pass, Variant};

    fn card() -> MeasuredOn {
        MeasuredOn { card: "A \"card\" / 80GB".into(), multiprocessors: 7, driver: "CUDA 12.4".into(), unit: "seconds" }
    }

    fn some() -> Tuning {
        let product = |depth| Product { pass: Pass::Forward, rows: 640, columns: 64, depth, phases: 1, count: 40960 };
        let mut t = Tuning::default();
        let of = |variant, splits| Tuned { choice: Choice { variant, splits }, cost: 1.25e-5 };
        t.insert(Number::Tf32, product(576), of(Variant::Large, 3));
        t.insert(Number::F32, product(576), of(Variant::Small, 1));
        t.insert(Number::F32, product(64), of(Variant::Long, 1));
        t
    }

    #[test]
    fn a_file_gives_back_what_was_written() {
        assert_eq!(card().file_name(), "a-card-80gb-cuda-12-4.json");
        let text = some().to_json(&card());
        assert_eq!(Tuning::from_json(&text, &card()).unwrap(), some());
        assert_eq!(text.lines().count(), 7 + 3 + 3, "{text}");
        let empty = Tuning::default().to_json(&card());
        assert!(Tuning::from_json(&empty, &card()).unwrap().is_empty());
    }

    #[test]
    fn files_that_do_not_fit_say_why() {
        let text = some().to_json(&card());
        let refused = |text: &str, on: &MeasuredOn, word: &str| {
            let why = Tuning::from_json(text, on).unwrap_err();
            assert!(why.contains(word) && !why.contains('\n'), "{why}");
        };
        refused("", &card(), "not a tuning file");
        refused(&text[..text.len() / 2], &card(), "not a tuning file");
        refused(&text.replace("large", "huge"), &card(), "huge");
        refused(&text.replace("\"format\": 1", "\"format\": 9"), &card(), "format 9");
        refused(&text.replace(&kernels_digest(), "0123"), &card(), "other kernels");
        refused(&text, &MeasuredOn { card: "other".into(), ..card() }, "this is other");
        refused(&text, &MeasuredOn { driver: "CUDA 13.0".into(), ..card() }, "CUDA 13.0");
        refused(&text, &MeasuredOn { multiprocessors: 6, ..card() }, "6 multiprocessors");
        // No kernel of this size in f32, splits that leave blocks without work, none at all.
        refused(&text.replace("tf32", "f32").replace("small", "large"), &card(), "Large");
        refused(&text.replace("\"splits\":3", "\"splits\":60"), &card(), "60");
        refused(&text.replace("\"splits\":3", "\"splits\":0"), &card(), "splits: 0");
        refused(&text.replace("\"depth\":64", "\"depth\":20000"), &card(), "20000");
    }

    #[test]
    fn the_digest_is_of_the_choices_for_one_kind_of_number() {
        let (mut t, digest) = (some(), |t: &Tuning| t.digest(Number::F32).unwrap());
        let before = digest(&t);
        assert_eq!(t.digest(Number::Bf16), None);
        let ((_, product), _) = t.0.iter().next().map(|(k, v)| (*k, *v)).unwrap();
        t.insert(Number::Tf32, product, Tuned { choice: Choice { variant: Variant::Small, splits: 1 }, cost: 1.0 });
        assert_eq!(digest(&t), before);
        t.insert(Number::F32, product, Tuned { choice: Choice { variant: Variant::Medium, splits: 1 }, cost: 1.0 });
        assert_ne!(digest(&t), before);
    }
}
