//! Which layout a dataset has, and where it lies: in the folder that was named, or in one inside that, as many archives unpack.

use std::path::{Path, PathBuf};

use super::{LAYOUTS, Layout, Split, cifar10, classes, elpv, folder, name_of};
use crate::data::listing::{self, PassedOver};
use crate::error::Result;
use crate::invalid;

/// A dataset's folder (or file) and its layout, and what to tell of the choice.
pub struct Place {
    pub root: PathBuf,
    pub layout: &'static Layout,
    pub note: Option<String>,
}

/// Layouts that are recognised by the folder around theirs, too.
const AROUND: [&str; 2] = [cifar10::LAYOUT.name, elpv::LAYOUT.name];

/// Finds the dataset in `root` (a folder, or a CSV file) in the layout given, or in the first that recognises it. What is not
/// recognised itself may hold one folder that is. What none fits is taken for [`folder::LAYOUT`], whose errors say what was expected.
pub fn place(root: &Path, asked: Option<&'static Layout>) -> Result<Place> {
    let tried = asked.map_or_else(|| LAYOUTS.iter().collect(), |one| vec![one]);
    let recognised = |root: &Path| tried.iter().copied().find(|layout| (layout.recognise)(root));
    let here = |layout| Ok(Place { root: root.to_path_buf(), layout, note: None });
    let own = recognised(root);
    let folders = listing::folders(root, "").map(|found| found.0).unwrap_or_default();
    let may_be = |f: &&PathBuf| Split::find(&name_of(f)).is_none() && !classes::holds_masks(&name_of(f));
    let inside = || -> Vec<(&PathBuf, &Layout)> {
        folders.iter().filter(may_be).filter_map(|folder| Some((folder, recognised(folder)?))).collect()
    };
    // Of what lies in a folder that its owners put it into, others may lie beside that.
    let beside = |own: &Layout| {
        let (same, others): (Vec<_>, Vec<_>) = inside().into_iter().partition(|(_, l)| l.name == own.name);
        AROUND.contains(&own.name) && !same.is_empty() && !others.is_empty()
    };
    match own.or(asked) {
        Some(layout)
            if own.is_some()
                && (layout.name != folder::LAYOUT.name || folder::is_category(root))
                && !beside(layout) =>
        {
            return here(layout);
        }
        // Whoever asks for that one may call any folders classes.
        Some(layout) if layout.name == classes::LAYOUT.name => return here(layout),
        _ => {}
    }
    // Folders of categories are one dataset, unless something more particular is among them.
    let inside = inside();
    let general = [folder::LAYOUT.name, classes::LAYOUT.name];
    match (own, &inside[..]) {
        (Some(own), all) if all.iter().all(|(_, layout)| general.contains(&layout.name)) => here(own),
        (_, [(found, layout)]) => {
            let mut beside = PassedOver::default();
            folders.iter().filter(|f| f != found).for_each(|f| beside.folder(&name_of(f), f));
            let beside = if beside.is_empty() { "".into() } else { format!("; passed over beside it: {beside}") };
            let note = format!("{}: the dataset is its folder \"{}\"{beside}", root.display(), name_of(found));
            // Folders of categories may be datasets of their own, or hold the only one.
            let inner = match general.contains(&layout.name) {
                true => place(found, asked)?,
                false => Place { root: found.to_path_buf(), layout, note: None },
            };
            let note = [Some(note), inner.note].into_iter().flatten().collect::<Vec<_>>().join("; ");
            Ok(Place { note: Some(note), ..inner })
        }
        (_, []) => here(asked.unwrap_or(&folder::LAYOUT)),
        (_, several) => {
            let each = |(found, layout): &(&PathBuf, &Layout)| format!("{} (layout {})", found.display(), layout.name);
            let each = several.iter().map(each).collect::<Vec<_>>().join(", ");
            invalid!("{}: no dataset itself, but a folder of several: name one of {each}", root.display());
        }
    }
}
