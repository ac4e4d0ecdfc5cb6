//! What was measured to be fastest on an adapter, as a file from one process to the next.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use wgpu::AdapterInfo;

use crate::{Error, Result, atomic};

/// How products of some shapes are best shared out on an adapter, by measurement; all others go by the built-in table.
///
/// ```
/// use downhill::Tuning;
///
/// # use downhill::{Gpu, GpuOptions};
/// # let gpu = Gpu::new(&GpuOptions::default())?;
/// # let temporary = tempfile::tempdir().unwrap();
/// # let folder = temporary.path();
/// let tuning = Tuning::default();
/// tuning.save(folder, gpu.adapter_info())?;
/// assert_eq!(Tuning::load(folder, gpu.adapter_info())?, Some(tuning));
/// # Ok::<(), downhill::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tuning {
    /// The products, no two of the same shape.
    pub products: Vec<TunedProduct>,
}

/// A product C [m, n] = A [m, k] · B [k, n], and what is fastest for it.
///
/// ```
/// use downhill::{GpuOptions, Survey};
///
/// # let temporary = tempfile::tempdir().unwrap();
/// # let folder = temporary.path();
/// let options = GpuOptions { cache: Some(folder.to_owned()), ..GpuOptions::default() };
/// for product in Survey::of(&options)?.profile.tuning.products {
///     println!("{} × {} × {}: {} in {}", product.m, product.n, product.k, product.tile, product.parts);
/// }
/// # Ok::<(), downhill::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct TunedProduct {
    /// Rows of C.
    pub m: usize,
    /// Columns of C.
    pub n: usize,
    /// The length of its sums.
    pub k: usize,
    /// Whether A and B are read transposed.
    pub transposed: [bool; 2],
    /// Whether A and B have 16 bits.
    pub half: [bool; 2],
    /// The tile by its name, as `bench kernels --kernel tile` lists them.
    pub tile: String,
    /// Parts that the sums are split into.
    pub parts: usize,
}

/// What names of tiles for matrix units begin with.
pub(crate) const UNITS: &str = "units";

/// A file's contents: of what it is, since its name alone does not tell all.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    adapter: String,
    driver: String,
    version: String,
    tuning: Tuning,
}

impl File {
    fn new(info: &AdapterInfo, tuning: Tuning) -> Self {
        File {
            adapter: format!("{} ({:?})", info.name, info.backend),
            driver: format!("{} {}", info.driver, info.driver_info),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            tuning,
        }
    }

    fn is_of(&self, other: &File) -> bool {
        (&self.adapter, &self.driver, &self.version) == (&other.adapter, &other.driver, &other.version)
    }
}

impl Tuning {
    /// Where the tuning of an adapter lies in `folder`: a file for each adapter, driver and version of this crate.
    pub fn path(folder: &Path, info: &AdapterInfo) -> PathBuf {
        let File { adapter, driver, version, .. } = File::new(info, Tuning::default());
        let key = crc32fast::hash([&*adapter, &*driver, &*version].join("\n").as_bytes());
        folder.join(format!("tuning-{key:08x}.json"))
    }

    /// What `folder` holds for an adapter; nothing where it was never tuned with this driver and version.
    ///
    /// # Errors
    /// [`Error::Read`] where the file cannot be read or is not as this crate writes it.
    pub fn load(folder: &Path, info: &AdapterInfo) -> Result<Option<Self>> {
        let path = Self::path(folder, info);
        let text = match fs::read_to_string(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            text => text.map_err(|error| Error::read(&path, error))?,
        };
        let file: File = serde_json::from_str(&text).map_err(|error| Error::read(&path, error.into()))?;
        Ok(file.is_of(&File::new(info, Tuning::default())).then_some(file.tuning))
    }

    /// Keeps it in `folder`, which is made where there is none; the path of its file.
    ///
    /// # Errors
    /// [`Error::Write`]; a file that was there before is untouched.
    pub fn save(&self, folder: &Path, info: &AdapterInfo) -> Result<PathBuf> {
        fs::create_dir_all(folder).map_err(|error| Error::write(folder, error))?;
        let path = Self::path(folder, info);
        let file = File::new(info, self.clone());
        let text = serde_json::to_string_pretty(&file).map_err(|error| Error::write(&path, error.into()))?;
        atomic::write(&path, text.as_bytes())?;
        Ok(path)
    }

    /// As [`Tuning::load`], for a device that is to open all the same: what is wrong is logged.
    pub(super) fn load_or_log(folder: Option<&PathBuf>, info: &AdapterInfo) -> Self {
        let Some(folder) = folder else { return Self::default() };
        let tuning = Self::load(folder, info).unwrap_or_else(|error| {
            log::warn!("the tuning is not used: {error}; `downhill tune` makes it anew");
            None
        });
        tuning.unwrap_or_default()
    }

    /// Forgets what it says of the shape of `product`.
    pub fn forget(&mut self, product: &TunedProduct) {
        self.products.retain(|known| !known.is_for(product));
    }

    /// Whether it takes matrix units.
    pub(super) fn on_units(&self) -> bool {
        self.products.iter().any(|product| product.tile.starts_with(UNITS))
    }
}

impl TunedProduct {
    fn is_for(&self, other: &Self) -> bool {
        let key = |of: &Self| (of.m, of.n, of.k, of.transposed, of.half);
        key(self) == key(other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(driver_info: &str) -> AdapterInfo {
        let mut info = AdapterInfo::new(wgpu::DeviceType::Cpu, wgpu::Backend::Vulkan);
        (info.name, info.driver_info) = ("a card".to_owned(), driver_info.to_owned());
        info
    }

    fn product(m: usize, tile: &str) -> TunedProduct {
        TunedProduct {
            m,
            n: 3,
            k: 5,
            transposed: [false, true],
            half: [false; 2],
            tile: tile.to_owned(),
            parts: 2,
        }
    }

    #[test]
    fn a_tuning_comes_back_for_the_same_adapter_and_driver_alone() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("a/b");
        let tuning = Tuning { products: vec![product(1, "staged 64x64/4x4")] };
        assert_eq!(Tuning::load(&inner, &info("1.0")).unwrap(), None);
        let path = tuning.save(&inner, &info("1.0")).unwrap();
        assert_eq!(Tuning::load(&inner, &info("1.0")).unwrap(), Some(tuning.clone()));
        assert_eq!(Tuning::load(&inner, &info("1.1")).unwrap(), None, "another driver");
        // A file under the name of another.
        fs::rename(&path, Tuning::path(&inner, &info("1.1"))).unwrap();
        assert_eq!(Tuning::load(&inner, &info("1.1")).unwrap(), None);
    }

    #[test]
    fn a_damaged_tuning_is_an_error_that_names_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = Tuning::default().save(folder.path(), &info("1.0")).unwrap();
        for text in ["", "{}", "not JSON", "{\"adapter\":1}"] {
            fs::write(&path, text).unwrap();
            let message = Tuning::load(folder.path(), &info("1.0")).unwrap_err().to_string();
            assert!(message.contains("tuning-") && message.lines().count() == 1, "{message}");
            let used = Tuning::load_or_log(Some(&folder.path().to_owned()), &info("1.0"));
            assert_eq!(used, Tuning::default());
        }
    }

    #[test]
    fn a_product_is_forgotten_by_its_shape() {
        let mut tuning = Tuning { products: vec![product(1, "old"), product(2, "kept")] };
        tuning.forget(&product(1, "another tile"));
        assert_eq!(tuning.products, [product(2, "kept")]);
    }
}
