//! NumPy's archives: a ZIP file of `.npy` arrays, each under its name.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use zip::ZipArchive;

use super::array::RowArray;
use super::dataset::Dataset;
use super::files::{shown, stem};
use super::schema::{Part, Purpose};
use super::store::Store;
use super::{labelled, npy};
use crate::error::did_you_mean;
use crate::gpu::format_bytes;
use crate::host::HostMemory;
use crate::{Error, Result};

/// The names that features and targets go by, the test part's own first where that is wanted.
const FEATURES: [&str; 4] = ["x_train", "x", "X", "features"];
const TARGETS: [&str; 5] = ["y_train", "y", "Y", "targets", "labels"];
const TEST_FEATURES: &str = "x_test";
const TEST_TARGETS: &str = "y_test";

/// Whether the archive has a test part of its own.
pub(super) fn has_test_part(path: &Path) -> Result<bool> {
    Ok(Archive::open(path)?.names.iter().any(|name| name == TEST_FEATURES))
}

/// Reads features and targets by their names; a single array of two dimensions is a table.
pub(super) fn load(path: &Path, part: Part, purpose: Purpose, memory: HostMemory) -> Result<Dataset> {
    let mut archive = Archive::open(path)?;
    let name = stem(path);
    let of_test = matches!(part, Part::Test) && archive.has(TEST_FEATURES);
    let candidates = if of_test { &[TEST_FEATURES][..] } else { &FEATURES };
    let Some(features) = archive.first(candidates) else {
        if let [single] = &archive.names[..] {
            let array = archive.read(&single.clone(), memory)?;
            if array.shape.len() == 2 {
                return labelled::table(&name, array, purpose);
            }
        }
        let found = archive.listed();
        let message = format!("features go by the names {}; the file has {found}", FEATURES.join(", "));
        return Err(Error::data(path, "", message));
    };
    let wanted = match purpose {
        Purpose::Train { target, .. } => target.map(str::to_owned),
        // The model's own name for them, where this file has it.
        Purpose::Evaluate(schema) if !of_test => schema.target_name.clone().filter(|name| archive.has(name)),
        Purpose::Evaluate(_) | Purpose::Predict(_) => None,
    };
    if let Some(wanted) = wanted.as_deref().filter(|wanted| !archive.has(wanted)) {
        let known: Vec<&str> = archive.names.iter().map(String::as_str).collect();
        let message = format!("no such array of targets: {}", did_you_mean(&shown(wanted), &known));
        return Err(Error::data(path, "", message));
    }
    let candidates = if of_test { &[TEST_TARGETS][..] } else { &TARGETS };
    let target_name = wanted.or_else(|| archive.first(candidates));
    let targets = match (purpose, &target_name) {
        (Purpose::Predict(_), _) => None,
        (_, Some(name)) => Some(archive.read(name, memory)?),
        (_, None) => {
            let (names, found) = (candidates.join(", "), archive.listed());
            let message = format!("targets go by the names {names}; the file has {found}");
            return Err(Error::data(path, "", message));
        }
    };
    let features = archive.read(&features, memory)?;
    labelled::pair(&name, features, targets, target_name, purpose)
}

/// A ZIP file whose members are arrays.
struct Archive<'a> {
    path: &'a Path,
    zip: ZipArchive<File>,
    /// The arrays' names, without `.npy`, in alphabetical order.
    names: Vec<String>,
}

impl<'a> Archive<'a> {
    fn open(path: &'a Path) -> Result<Self> {
        let file = File::open(path).map_err(|error| Error::read(path, error))?;
        let damaged = |error| {
            let message = format!("is no NumPy archive, or a truncated one ({error}); fetch it again");
            Error::data(path, "", message)
        };
        let zip = ZipArchive::new(file).map_err(damaged)?;
        let mut names = Vec::new();
        for member in zip.file_names() {
            names.extend(member.map_err(damaged)?.strip_suffix(".npy").map(str::to_owned));
        }
        names.sort_unstable();
        Ok(Archive { path, zip, names })
    }

    fn has(&self, name: &str) -> bool {
        self.names.iter().any(|known| known == name)
    }

    fn first(&self, names: &[&str]) -> Option<String> {
        names.iter().find(|name| self.has(name)).map(|name| (*name).to_owned())
    }

    fn listed(&self) -> String {
        if self.names.is_empty() { "no arrays".to_owned() } else { shown(&self.names.join(", ")) }
    }

    /// Decodes one array into memory, where it stays.
    fn read(&mut self, name: &str, memory: HostMemory) -> Result<RowArray> {
        let place = format!("array {}", shown(name));
        let damaged = |error: &dyn std::fmt::Display| {
            let message = format!("the archive is truncated or corrupt ({error}); fetch it again");
            Error::data(self.path, &place, message)
        };
        let member = self.zip.by_name(&format!("{name}.npy")).map_err(|error| damaged(&error))?;
        let promised = member.size();
        if !memory.holds(promised) {
            let bytes = format_bytes(promised);
            let message = format!("its {bytes} do not fit into the memory; unpack it and give the .npy file");
            return Err(Error::data(self.path, place, message));
        }
        let mut bytes = Vec::new();
        // One byte more than promised is enough to see that it lies, and lets the end be reached, where the
        // checksum is compared.
        member.take(promised.saturating_add(1)).read_to_end(&mut bytes).map_err(|error| damaged(&error))?;
        npy::parse(Store::owned(self.path, bytes), &place)
    }
}
