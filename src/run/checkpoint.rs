//! Tensors in files of the safetensors format: a model, and the checkpoint that resumes a run bit for bit.
//!
//! The format sorts tensors by name; their order in the model and a checkpoint's numbers stand as JSON under one
//! key of the file's metadata.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::optim::PlateauState;
use crate::solve::MethodMemory;
use crate::train::{LossScale, NamedTensor, Snapshot};
use crate::{Error, Result, atomic};

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

/// What a model's file says besides its tensors.
#[derive(Serialize, Deserialize)]
struct ModelHeader {
    /// The tensors' names in the order of the model.
    order: Vec<String>,
}

/// What a checkpoint says besides its tensors, which are `theta/<name>`, `<slot>/<name>` and `method/<list>`. JSON keeps an f64
/// bit for bit, and a checkpoint is only made of a run whose loss is finite.
#[derive(Serialize, Deserialize)]
struct CheckpointHeader {
    step: u64,
    epoch: u64,
    batch: u64,
    loss_sum: f64,
    loss_rows: u64,
    plateau: PlateauState,
    /// Where the next line search begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    step_factor: Option<f32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    loss_scale: Option<LossScale>,
    /// The parameters' names in the order of the model.
    order: Vec<String>,
    /// The state vectors' names in the optimizer's order, each with those of its tensors.
    slots: Vec<(String, Vec<String>)>,
    /// Steps that changed nothing.
    skipped: u64,
    /// Those before the first that changed something.
    #[serde(default)]
    skipped_first: u64,
    /// A method on all rows, and the names of the lists that it remembers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    method: Option<(String, Vec<String>)>,
    /// What decided the numbers.
    origin: BTreeMap<String, String>,
}

const THETA: &str = "theta";
const METHOD: &str = "method";

/// Writes θ as a safetensors file, atomically.
///
/// # Errors
/// [`Error::Write`]; a file that was there before is untouched.
pub fn write_model(path: &Path, parameters: &[NamedTensor]) -> Result<()> {
    let header = ModelHeader { order: names(parameters) };
    let tensors = parameters.iter().map(|tensor| Encoded::tensor(tensor.name.clone(), tensor));
    write_tensors(path, tensors.collect(), &header)
}

/// Reads θ: in the order in which [`write_model`] was given it, or by name if something else wrote the file.
///
/// # Errors
/// [`Error::Read`] where there is no such file, [`Error::Run`] where it is damaged or not f32.
pub fn read_model(path: &Path) -> Result<Vec<NamedTensor>> {
    let bytes = fs::read(path).map_err(|error| Error::read(path, error))?;
    let file = TensorFile::parse(path, &bytes)?;
    let order = match file.header::<ModelHeader>()? {
        Some(header) => header.order,
        None => {
            let mut names: Vec<String> = file.tensors.names().into_iter().map(str::to_owned).collect();
            names.sort();
            names
        }
    };
    file.only(order.len())?;
    order.iter().map(|name| file.tensor(name, name)).collect()
}

/// Writes all that resuming needs as one file, atomically; the folder is made where there is none.
///
/// # Errors
/// [`Error::Write`]; the checkpoint that was there before is untouched.
pub fn write_checkpoint(path: &Path, snapshot: &Snapshot) -> Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(|error| Error::write(folder, error))?;
    }
    let header = CheckpointHeader {
        step: snapshot.step,
        epoch: snapshot.epoch,
        batch: snapshot.batch,
        loss_sum: snapshot.loss_sum,
        loss_rows: snapshot.loss_rows,
        plateau: snapshot.plateau,
        step_factor: snapshot.step_factor,
        loss_scale: snapshot.loss_scale,
        order: names(&snapshot.theta),
        method: snapshot.method.as_ref().map(|memory| {
            let names = memory.lists.keys().cloned().collect();
            (memory.method.clone(), names)
        }),
        slots: snapshot.state.iter().map(|(slot, tensors)| (slot.clone(), names(tensors))).collect(),
        skipped: snapshot.skipped,
        skipped_first: snapshot.skipped_first,
        origin: snapshot.origin.clone(),
    };
    let state = snapshot.state.iter().map(|(slot, tensors)| (slot.as_str(), tensors));
    let vectors = std::iter::once((THETA, &snapshot.theta)).chain(state);
    let tensors = vectors.flat_map(|(role, tensors)| {
        tensors.iter().map(move |tensor| Encoded::tensor(format!("{role}/{}", tensor.name), tensor))
    });
    let lists = snapshot.method.iter().flat_map(|memory| &memory.lists);
    let lists = lists.map(|(name, numbers)| Encoded::list(format!("{METHOD}/{name}"), numbers));
    write_tensors(path, tensors.chain(lists).collect(), &header)
}

/// Reads what [`write_checkpoint`] wrote.
///
/// # Errors
/// [`Error::Run`] where there is no such file or it is damaged.
pub fn read_checkpoint(path: &Path) -> Result<Snapshot> {
    let bytes = fs::read(path).map_err(|error| match error.kind() {
        ErrorKind::NotFound => Error::run(path, "there is no such checkpoint"),
        _ => Error::read(path, error),
    })?;
    let file = TensorFile::parse(path, &bytes)?;
    let Some(header) = file.header::<CheckpointHeader>()? else {
        return Err(Error::run(path, "it holds tensors but is no checkpoint of downhill"));
    };
    let of_slots: usize = header.slots.iter().map(|(_, tensors)| tensors.len()).sum();
    let of_method = header.method.as_ref().map_or(0, |(_, names)| names.len());
    file.only(header.order.len() + of_slots + of_method)?;
    let vector = |role: &str, names: &[String]| -> Result<Vec<NamedTensor>> {
        names.iter().map(|name| file.tensor(&format!("{role}/{name}"), name)).collect()
    };
    let state = header.slots.iter().map(|(slot, names)| Ok((slot.clone(), vector(slot, names)?)));
    let memory = |(method, names): &(String, Vec<String>)| -> Result<MethodMemory> {
        let list = |name: &String| Ok((name.clone(), file.list(&format!("{METHOD}/{name}"))?));
        Ok(MethodMemory { method: method.clone(), lists: names.iter().map(list).collect::<Result<_>>()? })
    };
    Ok(Snapshot {
        step: header.step,
        epoch: header.epoch,
        batch: header.batch,
        loss_sum: header.loss_sum,
        loss_rows: header.loss_rows,
        plateau: header.plateau,
        step_factor: header.step_factor,
        loss_scale: header.loss_scale,
        skipped: header.skipped,
        skipped_first: header.skipped_first,
        theta: vector(THETA, &header.order)?,
        state: state.collect::<Result<_>>()?,
        method: header.method.as_ref().map(memory).transpose()?,
        origin: header.origin,
    })
}

fn names(tensors: &[NamedTensor]) -> Vec<String> {
    tensors.iter().map(|tensor| tensor.name.clone()).collect()
}

/// A tensor as the file holds it. The format is little endian, as is every machine that wgpu has a backend for.
struct Encoded<'a> {
    name: String,
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Cow<'a, [u8]>,
}

impl<'a> Encoded<'a> {
    fn tensor(name: String, tensor: &'a NamedTensor) -> Self {
        let bytes = bytemuck::cast_slice(&tensor.values).into();
        Encoded { name, dtype: Dtype::F32, shape: tensor.shape.clone(), bytes }
    }

    /// A list of f64, in 32 bits where they hold it bit for bit.
    fn list(name: String, numbers: &'a [f64]) -> Self {
        let fits = |number: &f64| f64::from(*number as f32).to_bits() == number.to_bits();
        let (dtype, bytes) = match numbers.iter().all(fits) {
            true => (Dtype::F32, numbers.iter().flat_map(|number| (*number as f32).to_le_bytes()).collect()),
            false => (Dtype::F64, bytemuck::cast_slice(numbers).into()),
        };
        Encoded { name, dtype, shape: vec![numbers.len()], bytes }
    }
}

fn write_tensors(path: &Path, tensors: Vec<Encoded>, header: &impl Serialize) -> Result<()> {
    let refused = |error: &dyn std::fmt::Display| Error::run(path, format!("cannot be encoded: {error}"));
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
    let bytes = safetensors::serialize(views, Some(metadata)).map_err(|error| refused(&error))?;
    atomic::write(path, &bytes)
}

/// The CRC-32 of all of `parts` as text.
fn checksum<'a>(parts: impl Iterator<Item = &'a [u8]>) -> String {
    let mut hasher = crc32fast::Hasher::new();
    parts.for_each(|part| hasher.update(part));
    format!("{:08x}", hasher.finalize())
}

/// A file that was read, with its path for messages.
struct TensorFile<'a> {
    path: &'a Path,
    bytes: &'a [u8],
    tensors: SafeTensors<'a>,
}

impl<'a> TensorFile<'a> {
    fn parse(path: &'a Path, bytes: &'a [u8]) -> Result<Self> {
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
    fn header<T: DeserializeOwned>(&self) -> Result<Option<T>> {
        let Some(sealed) = self.sealed()? else { return Ok(None) };
        serde_json::from_str(&sealed.header).map(Some).map_err(|error| self.not_ours(&error))
    }

    /// Errors unless there are as many tensors as `wanted`.
    fn only(&self, wanted: usize) -> Result<()> {
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
    fn list(&self, key: &str) -> Result<Vec<f64>> {
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

    /// The tensor `key` under the name `name`.
    fn tensor(&self, key: &str, name: &str) -> Result<NamedTensor> {
        let view = self.view(key)?;
        if view.dtype() != Dtype::F32 {
            return Err(Error::run(self.path, format!("`{key}` is {:?}, not F32", view.dtype())));
        }
        let values = bytemuck::pod_collect_to_vec(view.data());
        Ok(NamedTensor { name: name.to_owned(), shape: view.shape().to_vec(), values })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(name: &str, shape: &[usize], first: f32) -> NamedTensor {
        let values = (0..shape.iter().product()).map(|i| first + i as f32).collect();
        NamedTensor { name: name.to_owned(), shape: shape.to_vec(), values }
    }

    fn parameters(first: f32) -> Vec<NamedTensor> {
        // In another order than that of the names, and with values that text would spoil.
        let mut weight = tensor("0.weight", &[2, 3], first);
        weight.values[1] = f32::from_bits(1);
        weight.values[2] = -0.0;
        vec![weight, tensor("0.bias", &[2], first + 0.1)]
    }

    fn snapshot() -> Snapshot {
        Snapshot {
            step: 7,
            epoch: 1,
            batch: 3,
            loss_sum: 0.1 + 0.2,
            loss_rows: 300,
            skipped: 2,
            skipped_first: 1,
            step_factor: Some(0.1),
            loss_scale: Some(LossScale { scale: 8192.0, steady: 17 }),
            plateau: PlateauState { best: Some(0.7), bad_evaluations: 2, factor: 0.1 * 0.3 },
            theta: parameters(0.3),
            state: vec![
                ("velocity".to_owned(), parameters(1e-30)),
                // Another group's.
                ("square".to_owned(), parameters(2.0)[1..].to_vec()),
            ],
            method: Some(MethodMemory {
                method: "lbfgs".to_owned(),
                lists: BTreeMap::from([
                    ("counts".to_owned(), vec![3.0, 4.0]),
                    // One of 64 bits, one that is none of 32, and one that is not finite.
                    ("best".to_owned(), vec![0.1, 1e-300, f64::INFINITY]),
                ]),
            }),
            origin: BTreeMap::from([("seed".to_owned(), "3".to_owned())]),
        }
    }

    #[test]
    fn a_checkpoint_comes_back_bit_for_bit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("checkpoint/latest.safetensors");
        write_checkpoint(&path, &snapshot()).unwrap();
        let first = fs::read(&path).unwrap();
        let found = read_checkpoint(&path).unwrap();
        assert_eq!(found, snapshot());
        assert_eq!(found.loss_sum.to_bits(), snapshot().loss_sum.to_bits());
        assert!(found.theta[0].values[2].is_sign_negative());
        write_checkpoint(&path, &found).unwrap();
        assert_eq!(fs::read(&path).unwrap(), first, "the same snapshot makes the same bytes");
    }

    #[test]
    fn a_flipped_bit_anywhere_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("latest.safetensors");
        write_checkpoint(&path, &snapshot()).unwrap();
        let whole = fs::read(&path).unwrap();
        for byte in 8..whole.len() {
            let mut damaged = whole.clone();
            damaged[byte] ^= 1;
            fs::write(&path, damaged).unwrap();
            // What is left of the header may still say the same: spaces, or a key that is not looked at.
            if let Ok(found) = read_checkpoint(&path) {
                assert_eq!(found, snapshot(), "byte {byte}");
            }
        }
    }

    #[test]
    fn a_model_keeps_its_order_and_is_read_by_name_where_another_program_wrote_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        write_model(&path, &parameters(0.5)).unwrap();
        assert_eq!(read_model(&path).unwrap(), parameters(0.5));

        let bias = TensorView::new(Dtype::F32, vec![1], &[0; 4]).unwrap();
        let foreign = safetensors::serialize([("b", bias.clone()), ("a", bias)], None).unwrap();
        fs::write(&path, foreign).unwrap();
        assert_eq!(names(&read_model(&path).unwrap()), ["a", "b"]);
    }

    #[test]
    fn what_is_wrong_with_a_checkpoint_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("latest.safetensors");
        write_checkpoint(&path, &snapshot()).unwrap();
        let whole = fs::read(&path).unwrap();
        let header = |from: &str, to: &str| {
            let text = whole.iter().map(|byte| char::from(*byte)).collect::<String>();
            assert!(text.contains(from), "{from}");
            text.replacen(from, to, 1).chars().map(|c| c as u8).collect::<Vec<u8>>()
        };
        let view = TensorView::new(Dtype::F32, vec![1], &[0; 4]).unwrap();
        let rows: [(&str, Vec<u8>, &str); 6] = [
            ("empty", vec![], "no whole safetensors file"),
            ("truncated", whole[..whole.len() - 1].to_vec(), "no whole safetensors file"),
            ("longer", [&whole[..], b"x"].concat(), "no whole safetensors file"),
            ("no header", safetensors::serialize([("a", view)], None).unwrap(), "no checkpoint of downhill"),
            ("renamed tensor", header("theta/0.bias", "theta/1.bias"), "do not match their checksum"),
            ("another header", header("slots", "slotz"), "do not match their checksum"),
        ];
        for (case, bytes, fragment) in rows {
            fs::write(&path, bytes).unwrap();
            let error = read_checkpoint(&path).unwrap_err();
            assert!(matches!(error, Error::Run { .. }), "{case}: {error}");
            assert!(error.to_string().contains(fragment), "{case}: {error}");
        }
        let error = read_checkpoint(&folder.path().join("none")).unwrap_err();
        assert!(error.to_string().contains("no such checkpoint"), "{error}");
    }
}
