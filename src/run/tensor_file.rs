//! Files of the safetensors format with a header of ours and a checksum over all of it.

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::Path;

use half::{bf16, f16};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::train::NamedTensor;
use crate::{Error, Result};

/// The key of the metadata.
const KEY: &str = "downhill";

/// A header as JSON, and the CRC-32 of that text and of all tensors' bytes in the order of their names: the format
/// itself has none. All stands under one key, since the format writes several in any order, and files must not
/// differ from run to run.
#[derive(Serialize, Deserialize)]
struct Sealed {
    crc32: String,
    header: String,
}

/// A tensor as the file holds it. The format is little endian, as is every machine that wgpu has a backend for.
pub(super) struct Encoded<'a> {
    name: String,
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Cow<'a, [u8]>,
}

impl<'a> Encoded<'a> {
    pub fn tensor(name: String, tensor: &'a NamedTensor) -> Self {
        let bytes = bytemuck::cast_slice(&tensor.values).into();
        Encoded { name, dtype: Dtype::F32, shape: tensor.shape.clone(), bytes }
    }

    /// A list of f64, in 32 bits where they hold it bit for bit.
    pub fn list(name: String, numbers: &'a [f64]) -> Self {
        let fits = |number: &f64| f64::from(*number as f32).to_bits() == number.to_bits();
        let (dtype, bytes) = match numbers.iter().all(fits) {
            true => (Dtype::F32, numbers.iter().flat_map(|number| (*number as f32).to_le_bytes()).collect()),
            false => (Dtype::F64, bytemuck::cast_slice(numbers).into()),
        };
        Encoded { name, dtype, shape: vec![numbers.len()], bytes }
    }
}

/// The bytes of a file of tensors with a header.
///
/// # Errors
/// None that a caller can cause.
pub(super) fn encode(tensors: Vec<Encoded>, header: &impl Serialize) -> Result<Vec<u8>> {
    let refused = |error: &dyn std::fmt::Display| Error::run(memory(), format!("cannot be encoded: {error}"));
    let views = tensors.iter().map(|tensor| {
        let view = TensorView::new(tensor.dtype, tensor.shape.clone(), &tensor.bytes);
        view.map(|view| (tensor.name.clone(), view))
    });
    let views: Vec<_> = views.collect::<Result<_, _>>().map_err(|error| refused(&error))?;
    let mut sorted: Vec<_> = views.iter().map(|(name, view)| (name.as_str(), view.data())).collect();
    sorted.sort_unstable_by_key(|(name, _)| *name);
    let header = serde_json::to_string(header).map_err(|error| refused(&error))?;
    let parts = std::iter::once(header.as_bytes()).chain(sorted.into_iter().map(|(_, data)| data));
    let sealed = Sealed { crc32: checksum(parts), header };
    let header = serde_json::to_string(&sealed).map_err(|error| refused(&error))?;
    let metadata = HashMap::from([(KEY.to_owned(), header)]);
    safetensors::serialize(views, Some(metadata)).map_err(|error| refused(&error))
}

/// What messages call bytes that are in no file.
pub(super) fn memory() -> &'static Path {
    Path::new("tensors in memory")
}

/// The CRC-32 of all of `parts` as text.
fn checksum<'a>(parts: impl Iterator<Item = &'a [u8]>) -> String {
    let mut hasher = crc32fast::Hasher::new();
    parts.for_each(|part| hasher.update(part));
    format!("{:08x}", hasher.finalize())
}

/// A file that was read, with its path for messages.
pub(super) struct TensorFile<'a> {
    path: &'a Path,
    bytes: &'a [u8],
    pub tensors: SafeTensors<'a>,
}

impl<'a> TensorFile<'a> {
    pub fn parse(path: &'a Path, bytes: &'a [u8]) -> Result<Self> {
        let tensors = SafeTensors::deserialize(bytes)
            .map_err(|error| Error::run(path, format!("is no whole safetensors file ({error})")))?;
        let file = TensorFile { path, bytes, tensors };
        file.undamaged()?;
        Ok(file)
    }

    /// Errors where header and tensors are not those that were written. What something else wrote has no checksum.
    fn undamaged(&self) -> Result<()> {
        let Some(sealed) = self.sealed()? else { return Ok(()) };
        let mut sorted: Vec<_> = self.tensors.iter().collect();
        sorted.sort_unstable_by_key(|(name, _)| *name);
        let tensors = sorted.iter().map(|(_, view)| view.data());
        if checksum(std::iter::once(sealed.header.as_bytes()).chain(tensors)) == sealed.crc32 {
            return Ok(());
        }
        Err(Error::run(self.path, "is damaged: its contents do not match their checksum"))
    }

    /// What stands under our key, if there is such a key.
    fn sealed(&self) -> Result<Option<Sealed>> {
        let metadata =
            SafeTensors::read_metadata(self.bytes).ok().and_then(|(_, whole)| whole.metadata().clone());
        let Some(text) = metadata.as_ref().and_then(|metadata| metadata.get(KEY)) else { return Ok(None) };
        serde_json::from_str(text).map(Some).map_err(|error| self.not_ours(&error))
    }

    fn not_ours(&self, error: &serde_json::Error) -> Error {
        Error::run(self.path, format!("its metadata is not as downhill writes it ({error})"))
    }

    /// Our header, if there is one.
    pub fn header<T: DeserializeOwned>(&self) -> Result<Option<T>> {
        let Some(sealed) = self.sealed()? else { return Ok(None) };
        serde_json::from_str(&sealed.header).map(Some).map_err(|error| self.not_ours(&error))
    }

    /// Errors unless there are as many tensors as `wanted`.
    pub fn only(&self, wanted: usize) -> Result<()> {
        if self.tensors.len() == wanted {
            return Ok(());
        }
        let found = self.tensors.len();
        Err(Error::run(self.path, format!("holds {found} tensors where its header speaks of {wanted}")))
    }

    fn view(&self, key: &str) -> Result<TensorView<'a>> {
        self.tensors.tensor(key).map_err(|_| Error::run(self.path, format!("holds no tensor `{key}`")))
    }

    /// A list of numbers of 32 or 64 bits.
    pub fn list(&self, key: &str) -> Result<Vec<f64>> {
        let view = self.view(key)?;
        match view.dtype() {
            Dtype::F64 => Ok(bytemuck::pod_collect_to_vec(view.data())),
            Dtype::F32 => {
                let narrow: Vec<f32> = bytemuck::pod_collect_to_vec(view.data());
                Ok(narrow.into_iter().map(f64::from).collect())
            }
            other => Err(Error::run(self.path, format!("`{key}` is {other:?}, neither F32 nor F64"))),
        }
    }

    /// The tensor `key` under the name `name`, in 32 bits.
    pub fn tensor(&self, key: &str, name: &str) -> Result<NamedTensor> {
        let view = self.view(key)?;
        let of_16 = |value: fn(u16) -> f32| {
            let words: Vec<u16> = bytemuck::pod_collect_to_vec(view.data());
            words.into_iter().map(value).collect()
        };
        let values = match view.dtype() {
            Dtype::F32 => bytemuck::pod_collect_to_vec(view.data()),
            // As other programs keep models.
            Dtype::F16 => of_16(|bits| f16::from_bits(bits).to_f32()),
            Dtype::BF16 => of_16(|bits| bf16::from_bits(bits).to_f32()),
            other => {
                let message = format!("`{key}` is {other:?}, and F32, F16 or BF16 is read");
                return Err(Error::run(self.path, message));
            }
        };
        Ok(NamedTensor { name: name.to_owned(), shape: view.shape().to_vec(), values })
    }
}
