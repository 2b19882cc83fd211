//! What a detector is trained with, so far as somebody said: the paper for a dataset, an experiment's file, a command line, each
//! over the one before.

use crate::data::framing::{Framing, Resize, Roi};
use crate::detector::options::Options;
use crate::detector::{Detector, METHODS, Method};
use crate::model::Architecture;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

/// Settings by the names of `ckaad train`'s flags; what is `None` nobody has said.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct Setup {
    pub detector: Option<String>,
    pub backbone: Option<String>,
    pub layers: Option<Vec<usize>>,
    pub image_size: Option<usize>,
    pub resize: Option<String>,
    pub tile: Option<usize>,
    pub overlap: Option<usize>,
    /// A mask's file.
    pub roi: Option<PathBuf>,
    pub epochs: Option<usize>,
    pub batch_size: Option<usize>,
    /// The method's own, by name.
    #[serde(flatten)]
    pub options: BTreeMap<String, Setting>,
}

/// A method's option as files write it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged, expecting = "expected a number or a text")]
pub enum Setting {
    Whole(u64),
    Number(f64),
    Text(String),
}

impl std::fmt::Display for Setting {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        match self {
            Setting::Whole(n) => n.fmt(f),
            Setting::Number(v) => v.fmt(f),
            Setting::Text(text) => text.fmt(f),
        }
    }
}

/// What holds where nothing is said.
const EPOCHS: usize = 100;
const BATCH_SIZE: usize = 16;
const BACKBONE: &str = "resnet18";
const LAYERS: [usize; 2] = [2, 3];
const IMAGE_SIZE: usize = 256;

impl Setup {
    /// This, and where it says nothing, `other`.
    pub fn or(self, other: &Setup) -> Setup {
        let mut options = other.options.clone();
        options.extend(self.options);
        Setup {
            detector: self.detector.or_else(|| other.detector.clone()),
            backbone: self.backbone.or_else(|| other.backbone.clone()),
            layers: self.layers.or_else(|| other.layers.clone()),
            image_size: self.image_size.or(other.image_size),
            resize: self.resize.or_else(|| other.resize.clone()),
            tile: self.tile.or(other.tile),
            overlap: self.overlap.or(other.overlap),
            roi: self.roi.or_else(|| other.roi.clone()),
            epochs: self.epochs.or(other.epochs),
            batch_size: self.batch_size.or(other.batch_size),
            options,
        }
    }

    /// What the paper and its supplement train a dataset with; a category may have settings of its own.
    pub fn of_dataset(dataset: &str, category: &str) -> Option<Setup> {
        let of = DATASETS.get(dataset)?;
        let own = of.categories.get(category).cloned().unwrap_or_default();
        Some(own.or(&of.settings))
    }

    /// The same of the only category that is trained on, in `root`: where that is the category's own folder, it has no other name.
    pub fn of_category(dataset: &str, category: &str, root: &Path) -> Option<Setup> {
        if !category.is_empty() {
            return Self::of_dataset(dataset, category);
        }
        let root = root.canonicalize().unwrap_or_else(|_| root.to_path_buf());
        Self::of_dataset(dataset, &root.file_name().unwrap_or_default().to_string_lossy())
    }

    /// The same without options that the method does not have.
    pub fn of_method(mut self, method: &Method) -> Setup {
        self.options.retain(|name, _| method.options.iter().any(|s| s.name == name));
        self
    }

    pub fn backbone(&self) -> &str {
        self.backbone.as_deref().unwrap_or(BACKBONE)
    }

    pub fn epochs(&self) -> usize {
        self.epochs.unwrap_or(EPOCHS)
    }

    pub fn batch_size(&self) -> usize {
        self.batch_size.unwrap_or(BATCH_SIZE)
    }

    pub fn architecture(&self) -> Result<Architecture> {
        let layers = self.layers.as_deref().unwrap_or(&LAYERS);
        Architecture::new(self.backbone(), layers, self.image_size.unwrap_or(IMAGE_SIZE))
    }

    /// How pictures become what the networks see. Errors: settings that do not fit each other or the architecture (kind `Usage`), a
    /// mask that cannot be read or marks nothing.
    pub fn framing(&self) -> Result<Framing> {
        let resize = self.resize.as_deref().map(Resize::find).transpose()?;
        let roi = self.roi.as_deref().map(Roi::read).transpose()?;
        let framing = Framing::new(resize, self.tile, self.overlap, roi)?;
        framing.expect_for(self.architecture()?.image_size)?;
        Ok(framing)
    }

    fn method(&self) -> Result<&'static Method> {
        self.detector.as_deref().map_or(Ok(METHODS[0]), Method::find)
    }

    /// The detector with its options; those of other methods only are left out.
    pub fn detector(&self) -> Result<Arc<dyn Detector>> {
        let method = self.method()?;
        let mut options = Options::new(method.options);
        for (name, value) in &self.clone().of_method(method).options {
            options = options.with(name, &value.to_string())?;
        }
        (method.detector)(options)
    }

    /// Names that it may hold.
    pub fn names() -> Vec<&'static str> {
        let mut names = vec!["detector", "backbone", "layers", "image-size", "resize", "tile", "overlap", "roi"];
        names.extend(["epochs", "batch-size"]);
        for spec in METHODS.into_iter().flat_map(|m| m.options) {
            if !names.contains(&spec.name) {
                names.push(spec.name);
            }
        }
        names
    }

    /// Refuses names that mean nothing, with the nearest that does; `place` says where they stand.
    pub fn expect_known(&self, place: &str) -> Result<()> {
        let names = Self::names();
        self.options.keys().try_for_each(|name| expect_known(name, &names, place))
    }
}

/// Jaro-Winkler similarity from which on a name may be a misspelt one.
const ALIKE: f64 = 0.8;

/// Refuses a name that is none of those known, and says which one it is nearest to.
pub fn expect_known(name: &str, known: &[&str], place: &str) -> Result<()> {
    if known.contains(&name) {
        return Ok(());
    }
    let lower = name.to_lowercase();
    // A word of a name counts as much as a name that is nearly spelt so.
    let word = |k: &str| k.split(['-', '_']).any(|word| word == lower);
    let alike = |k: &str| if word(k) { 1.0 } else { strsim::jaro_winkler(&lower, &k.to_lowercase()) };
    let nearest = known.iter().copied().max_by(|a, b| alike(a).total_cmp(&alike(b)).then(b.cmp(a)));
    let hint = match nearest.filter(|k| alike(k) > ALIKE) {
        Some(nearest) => format!("; did you mean '{nearest}'? Known are"),
        None => ": known are".into(),
    };
    Err(Error::Invalid(format!("{place}: '{name}' is not known{hint} {}", known.join(", "))))
}

/// `--backbone resnet18 --layers 2,3 --lr 0.001`
impl std::fmt::Display for Setup {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        let numbers = |n: &usize| n.to_string();
        let layers = |l: &Vec<usize>| l.iter().map(numbers).collect::<Vec<_>>().join(",");
        let own = [
            ("detector", self.detector.clone()),
            ("backbone", self.backbone.clone()),
            ("layers", self.layers.as_ref().map(layers)),
            ("image-size", self.image_size.as_ref().map(numbers)),
            ("resize", self.resize.clone()),
            ("tile", self.tile.as_ref().map(numbers)),
            ("overlap", self.overlap.as_ref().map(numbers)),
            ("roi", self.roi.as_ref().map(|path| path.display().to_string())),
            ("batch-size", self.batch_size.as_ref().map(numbers)),
            ("epochs", self.epochs.as_ref().map(numbers)),
        ];
        let own = own.into_iter().filter_map(|(name, value)| Some(format!("--{name} {}", value?)));
        let options = self.options.iter().map(|(name, value)| format!("--{name} {value}"));
        f.write_str(&own.chain(options).collect::<Vec<_>>().join(" "))
    }
}

#[derive(Deserialize)]
struct OfDataset {
    #[serde(default)]
    categories: BTreeMap<String, Setup>,
    #[serde(flatten)]
    settings: Setup,
}

static DATASETS: LazyLock<BTreeMap<String, OfDataset>> =
    LazyLock::new(|| toml::from_str(include_str!("datasets.toml")).expect("src/train/datasets.toml is valid"));

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers of the paper's set-up.
    #[test]
    fn datasets_have_the_papers_settings() {
        for (name, of) in DATASETS.iter() {
            for (category, setup) in of.categories.iter().map(|(c, s)| (c.as_str(), s)).chain([("", &of.settings)]) {
                setup.expect_known(&format!("{name} {category}")).unwrap();
                let whole = Setup::of_dataset(name, category).unwrap();
                whole.architecture().unwrap();
                whole.detector().unwrap();
            }
        }
        let mvtec = |category| Setup::of_dataset("mvtec", category).unwrap();
        assert_eq!(
            (mvtec("screw").backbone(), mvtec("screw").epochs(), mvtec("carpet").epochs()),
            ("wide_resnet50_2", 200, 10)
        );
        assert_eq!(mvtec("screw").detector().unwrap().options().text("lr"), Some("0.005"));
        assert_eq!(mvtec("transistor").detector().unwrap().options().text("lr"), Some("0.001"));
        let isic = Setup::of_dataset("isic2018", "").unwrap();
        assert_eq!((isic.batch_size(), isic.detector().unwrap().options().text("topk")), (64, Some("all")));
        assert_eq!(Setup::of_dataset("oct2017", "").unwrap().epochs(), 10);
        assert_eq!(Setup::of_dataset("visa", "pcb1").unwrap().epochs(), 400);
        assert!(Setup::of_dataset("folder", "").is_none());
        let lr = |category, root: &str| {
            let setup = Setup::of_category("mvtec", category, Path::new(root)).unwrap();
            setup.detector().unwrap().options().text("lr").map(str::to_string)
        };
        let all = [lr("transistor", "data"), lr("", "data/transistor"), lr("", "data"), lr("screw", "data/transistor")];
        assert_eq!(all.map(Option::unwrap), ["0.001", "0.001", "0.005", "0.005"]);
    }

    #[test]
    fn what_is_said_last_holds() {
        let own: Setup = toml::from_str("epochs = 3\nlr = 0.5").unwrap();
        let setup = own.or(&Setup::of_dataset("mvtec", "screw").unwrap());
        assert_eq!((setup.epochs(), setup.batch_size()), (3, 16));
        assert_eq!(setup.detector().unwrap().options().text("lr"), Some("0.5"));
    }

    #[test]
    fn unknown_names_are_told_from_the_nearest() {
        let own: Setup = toml::from_str("epcohs = 3").unwrap();
        let error = own.expect_known("[settings]").unwrap_err().to_string();
        assert!(error.contains("[settings]: 'epcohs' is not known; did you mean 'epochs'?"), "{error}");
        let hint = |name: &str, known: &[&str]| expect_known(name, known, "here").unwrap_err().to_string();
        assert!(hint("GAN", &["gan", "recon"]).contains("did you mean 'gan'?"));
        assert!(hint("auroc", &["aupro30", "image_auroc", "pixel_auroc"]).contains("did you mean 'image_auroc'?"));
        assert_eq!(hint("layer", &["batch", "instance"]), "here: 'layer' is not known: known are batch, instance");
    }
}
