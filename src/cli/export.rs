//! `downhill export`: a trained model as a file for other programs.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde_json::json;

use super::evaluate::{Trained, of_another_model};
use super::output::{Ended, Output, check_file};
use crate::gpu::format_bytes;
use crate::onnx::{OPSET, onnx_model};
use crate::run::write_model;
use crate::{Error, atomic};

#[derive(Args)]
pub(super) struct ExportArguments {
    /// The folder of a run
    pub run: PathBuf,
    /// What to write
    pub format: Format,
    /// The file [default: model.onnx or model.safetensors here]
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Replace the file that is there
    #[arg(long)]
    pub overwrite: bool,
}

/// What other programs read.
#[derive(Clone, Copy, ValueEnum)]
pub(super) enum Format {
    /// The model at work: from features as the data has them to probabilities or values, for any batch
    Onnx,
    /// The parameters alone
    Safetensors,
}

pub(super) fn export(arguments: &ExportArguments, output: &Output) -> Ended {
    let default = match arguments.format {
        Format::Onnx => "model.onnx",
        Format::Safetensors => "model.safetensors",
    };
    let out = arguments.out.clone().unwrap_or_else(|| PathBuf::from(default));
    check_file("--out", &out)?;
    if out.exists() && !arguments.overwrite {
        let message = format!("{} is there already; add --overwrite to replace it", out.display());
        return Err(Error::setting("--out", message).into());
    }
    let Trained { folder, model, schema, loss, parameters, .. } = Trained::open(&arguments.run)?;
    // The safetensors of another model are refused too.
    let onnx = onnx_model(&model, &schema, loss, &parameters);
    let onnx = onnx.map_err(|error| of_another_model(&folder, error))?;
    match arguments.format {
        Format::Onnx => atomic::write(&out, &onnx)?,
        Format::Safetensors => write_model(&out, &parameters)?,
    }
    let bytes = std::fs::metadata(&out).map_err(|error| Error::read(&out, error))?.len();
    let numbers: usize = parameters.iter().map(|tensor| tensor.values.len()).sum();
    let opset = matches!(arguments.format, Format::Onnx).then_some(OPSET);
    let stated = opset.map_or(String::new(), |opset| format!(", operator set {opset}"));
    output.result(&format!(
        "{}: {model} with {numbers} parameters, {}{stated}",
        out.display(),
        format_bytes(bytes)
    ))?;
    output.event(
        "done",
        &json!({ "file": out.display().to_string(), "bytes": bytes, "parameters": numbers, "opset": opset }),
    )
}
