//! Tensors in files of the safetensors format: a model, and the checkpoint that resumes a run bit for bit.
//!
//! The format sorts tensors by name; their order in the model and a checkpoint's numbers stand as JSON under one
//! key of the file's metadata.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::optim::PlateauState;
use crate::solve::MethodMemory;
use crate::train::{LossScale, NamedTensor, Renaming, Snapshot, new_names};
use crate::{Error, Result, atomic};

use super::tensor_file::{Encoded, TensorFile, encode, memory};

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
/// ```
/// use downhill::{read_model, write_model};
///
/// # let temporary = tempfile::tempdir().unwrap();
/// # let folder = temporary.path();
/// # use downhill::{Gpu, GpuOptions, Optimizer, TrainOptions, Trainer, data};
/// # let gpu = Gpu::new(&GpuOptions::default())?;
/// # let rows = data::load(&"random:64x4:2".parse()?, None, None, 0)?;
/// # let options = TrainOptions::new("linear".parse()?, Optimizer::new("sgd")?);
/// # let mut trainer = Trainer::new(&gpu, rows, options)?;
/// let path = folder.join("model.safetensors");
/// write_model(&path, &trainer.parameters()?)?;
/// assert_eq!(read_model(&path)?[0].name, "0.weight");
/// # Ok::<(), downhill::Error>(())
/// ```
///
/// # Errors
/// [`Error::Write`]; a file that was there before is untouched.
pub fn write_model(path: &Path, parameters: &[NamedTensor]) -> Result<()> {
    atomic::write(path, &model_to_bytes(parameters)?)
}

/// What [`write_model`] writes, for whoever keeps it elsewhere.
///
/// ```
/// use downhill::{NamedTensor, model_from_bytes, model_to_bytes};
///
/// let bias = [NamedTensor { name: "bias".to_owned(), shape: vec![2], values: vec![0.5, -0.5] }];
/// let bytes = model_to_bytes(&bias)?;
/// assert_eq!(model_from_bytes(&bytes)?, bias);
/// # Ok::<(), downhill::Error>(())
/// ```
///
/// # Errors
/// None that a caller can cause.
pub fn model_to_bytes(parameters: &[NamedTensor]) -> Result<Vec<u8>> {
    let header = ModelHeader { order: names(parameters) };
    let tensors = parameters.iter().map(|tensor| Encoded::tensor(tensor.name.clone(), tensor));
    encode(tensors.collect(), &header)
}

/// Reads θ: in the order in which [`write_model`] was given it, or by name if something else wrote the file.
///
/// ```
/// use downhill::{read_model, write_model};
/// # use downhill::NamedTensor;
///
/// # let temporary = tempfile::tempdir().unwrap();
/// # let folder = temporary.path();
/// # let path = folder.join("model.safetensors");
/// # write_model(&path, &[NamedTensor { name: "bias".to_owned(), shape: vec![2], values: vec![0.5, -0.5] }])?;
/// for tensor in read_model(&path)? {
///     println!("{} {:?}: {} numbers", tensor.name, tensor.shape, tensor.values.len());
/// }
/// # Ok::<(), downhill::Error>(())
/// ```
///
/// # Errors
/// [`Error::Read`] where there is no such file, [`Error::Run`] where it is damaged or not f32.
pub fn read_model(path: &Path) -> Result<Vec<NamedTensor>> {
    let bytes = fs::read(path).map_err(|error| Error::read(path, error))?;
    parse_model(path, &bytes, &[])
}

/// Reads the tensors of a model under other names; those that are left out may be of any type.
#[cfg(feature = "cli")]
pub(crate) fn read_renamed(path: &Path, rules: &[Renaming]) -> Result<Vec<NamedTensor>> {
    let bytes = fs::read(path).map_err(|error| Error::read(path, error))?;
    parse_model(path, &bytes, rules)
}

/// Reads θ from the bytes of such a file.
///
/// ```
/// use downhill::model_from_bytes;
///
/// let error = model_from_bytes(b"no tensors").unwrap_err();
/// assert!(error.to_string().starts_with("tensors in memory: "));
/// ```
///
/// # Errors
/// [`Error::Run`] where they are damaged or not f32.
pub fn model_from_bytes(bytes: &[u8]) -> Result<Vec<NamedTensor>> {
    parse_model(memory(), bytes, &[])
}

fn parse_model(path: &Path, bytes: &[u8], rules: &[Renaming]) -> Result<Vec<NamedTensor>> {
    let file = TensorFile::parse(path, bytes)?;
    let order = match file.header::<ModelHeader>()? {
        Some(header) => header.order,
        None => {
            let mut names: Vec<String> = file.tensors.names().into_iter().map(str::to_owned).collect();
            names.sort();
            names
        }
    };
    file.only(order.len())?;
    let old: Vec<&str> = order.iter().map(String::as_str).collect();
    let kept = old.iter().zip(new_names(&old, rules)?).filter_map(|(old, new)| new.map(|new| (*old, new)));
    kept.map(|(old, new)| file.tensor(old, &new)).collect()
}

/// Writes all that resuming needs as one file, atomically; the folder is made where there is none.
///
/// ```
/// use downhill::{read_checkpoint, write_checkpoint};
///
/// # let temporary = tempfile::tempdir().unwrap();
/// # let folder = temporary.path();
/// # use downhill::{Gpu, GpuOptions, Optimizer, TrainOptions, Trainer, data};
/// # let gpu = Gpu::new(&GpuOptions::default())?;
/// # let rows = data::load(&"random:64x4:2".parse()?, None, None, 0)?;
/// # let options = TrainOptions::new("linear".parse()?, Optimizer::new("sgd")?);
/// # let mut trainer = Trainer::new(&gpu, rows, options)?;
/// let path = folder.join("latest.safetensors");
/// trainer.run_steps(3)?;
/// write_checkpoint(&path, &trainer.snapshot()?)?;
/// assert_eq!(read_checkpoint(&path)?.step, 3);
/// # Ok::<(), downhill::Error>(())
/// ```
///
/// # Errors
/// [`Error::Write`]; the checkpoint that was there before is untouched.
pub fn write_checkpoint(path: &Path, snapshot: &Snapshot) -> Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(|error| Error::write(folder, error))?;
    }
    atomic::write(path, &checkpoint_to_bytes(snapshot)?)
}

/// What [`write_checkpoint`] writes, for whoever keeps it elsewhere.
///
/// ```
/// use downhill::{checkpoint_from_bytes, checkpoint_to_bytes};
///
/// # use downhill::{Gpu, GpuOptions, Optimizer, TrainOptions, Trainer, data};
/// # let gpu = Gpu::new(&GpuOptions::default())?;
/// # let rows = data::load(&"random:64x4:2".parse()?, None, None, 0)?;
/// # let options = TrainOptions::new("linear".parse()?, Optimizer::new("sgd")?);
/// # let mut trainer = Trainer::new(&gpu, rows, options)?;
/// let snapshot = trainer.snapshot()?;
/// let bytes = checkpoint_to_bytes(&snapshot)?;
/// // Keep the bytes in a database, send them elsewhere, and later:
/// assert_eq!(checkpoint_from_bytes(&bytes)?, snapshot);
/// # Ok::<(), downhill::Error>(())
/// ```
///
/// # Errors
/// None that a caller can cause.
pub fn checkpoint_to_bytes(snapshot: &Snapshot) -> Result<Vec<u8>> {
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
    encode(tensors.chain(lists).collect(), &header)
}

/// Reads what [`write_checkpoint`] wrote.
///
/// ```
/// use downhill::{read_checkpoint, write_checkpoint};
///
/// # let temporary = tempfile::tempdir().unwrap();
/// # let folder = temporary.path();
/// # use downhill::{Gpu, GpuOptions, Optimizer, TrainOptions, Trainer, data};
/// # let gpu = Gpu::new(&GpuOptions::default())?;
/// # let rows = data::load(&"random:64x4:2".parse()?, None, None, 0)?;
/// # let options = TrainOptions::new("linear".parse()?, Optimizer::new("sgd")?);
/// # let mut trainer = Trainer::new(&gpu, rows, options)?;
/// # let path = folder.join("latest.safetensors");
/// # write_checkpoint(&path, &trainer.snapshot()?)?;
/// let snapshot = read_checkpoint(&path)?;
/// trainer.restore(&snapshot)?;
/// assert_eq!(trainer.steps(), snapshot.step);
/// # Ok::<(), downhill::Error>(())
/// ```
///
/// # Errors
/// [`Error::Run`] where there is no such file or it is damaged.
pub fn read_checkpoint(path: &Path) -> Result<Snapshot> {
    let bytes = fs::read(path).map_err(|error| match error.kind() {
        ErrorKind::NotFound => Error::run(path, "there is no such checkpoint"),
        _ => Error::read(path, error),
    })?;
    parse_checkpoint(path, &bytes)
}

/// Reads what [`checkpoint_to_bytes`] gave.
///
/// ```
/// use downhill::{checkpoint_from_bytes, checkpoint_to_bytes};
///
/// # use downhill::{Gpu, GpuOptions, Optimizer, TrainOptions, Trainer, data};
/// # let gpu = Gpu::new(&GpuOptions::default())?;
/// # let rows = data::load(&"random:64x4:2".parse()?, None, None, 0)?;
/// # let options = TrainOptions::new("linear".parse()?, Optimizer::new("sgd")?);
/// # let mut trainer = Trainer::new(&gpu, rows, options)?;
/// # let mut bytes = checkpoint_to_bytes(&trainer.snapshot()?)?;
/// trainer.restore(&checkpoint_from_bytes(&bytes)?)?;
/// // Damage is noticed.
/// bytes.truncate(100);
/// assert!(checkpoint_from_bytes(&bytes).is_err());
/// # Ok::<(), downhill::Error>(())
/// ```
///
/// # Errors
/// [`Error::Run`] where it is damaged.
pub fn checkpoint_from_bytes(bytes: &[u8]) -> Result<Snapshot> {
    parse_checkpoint(memory(), bytes)
}

fn parse_checkpoint(path: &Path, bytes: &[u8]) -> Result<Snapshot> {
    let file = TensorFile::parse(path, bytes)?;
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

#[cfg(test)]
mod tests {
    use safetensors::{Dtype, tensor::TensorView};

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
        assert_eq!(checkpoint_to_bytes(&found).unwrap(), first);
        assert_eq!(checkpoint_from_bytes(&first).unwrap(), found);
        let refused = checkpoint_from_bytes(&first[1..]).unwrap_err().to_string();
        assert!(refused.starts_with("tensors in memory: "), "{refused}");
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
        let bytes = fs::read(&path).unwrap();
        assert_eq!(model_to_bytes(&parameters(0.5)).unwrap(), bytes);
        assert_eq!(model_from_bytes(&bytes).unwrap(), parameters(0.5));

        let bias = TensorView::new(Dtype::F32, vec![1], &[0; 4]).unwrap();
        let foreign = safetensors::serialize([("b", bias.clone()), ("a", bias)], None).unwrap();
        fs::write(&path, foreign).unwrap();
        assert_eq!(names(&read_model(&path).unwrap()), ["a", "b"]);

        // 1.5 and -2 in each of the formats of 16 bits, and one of 64.
        let [half, brain] =
            [[0x3e00u16, 0xc000], [0x3fc0, 0xc000]].map(|bits| bits.map(u16::to_le_bytes).concat());
        let of = |dtype, bytes| TensorView::new(dtype, vec![2], bytes).unwrap();
        let views = [("brain", of(Dtype::BF16, &brain)), ("half", of(Dtype::F16, &half))];
        fs::write(&path, safetensors::serialize(views, None).unwrap()).unwrap();
        assert!(read_model(&path).unwrap().iter().all(|tensor| tensor.values == [1.5, -2.0]));
        let double = TensorView::new(Dtype::F64, vec![1], &[0; 8]).unwrap();
        fs::write(&path, safetensors::serialize([("a", double)], None).unwrap()).unwrap();
        assert!(
            read_model(&path).unwrap_err().to_string().contains("`a` is F64, and F32, F16 or BF16 is read")
        );
        #[cfg(feature = "cli")]
        assert_eq!(
            read_renamed(&path, &["a=".parse().unwrap()]).unwrap(),
            [],
            "what is left out may be of any type"
        );
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
