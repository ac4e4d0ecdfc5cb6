//! The data set that is built in, so that a first training needs no download.
//!
//! *Optical Recognition of Handwritten Digits*, E. Alpaydin and C. Kaynak, UCI Machine Learning Repository,
//! CC BY 4.0, by way of scikit-learn; `DIGITS-LICENSE.md` beside this file says more.

use std::io::Read;
use std::num::ParseIntError;
use std::ops::Range;
use std::path::Path;

use flate2::read::GzDecoder;

use super::dataset::{Dataset, Features, Targets};
use super::schema::{Encoding, Part, Schema, Task};
use crate::{Error, Result};

const FILE: &[u8] = include_bytes!("digits.csv.gz");
const PIXELS: usize = 64;
const TRAINING_ROWS: Range<usize> = 0..1347;
const TEST_ROWS: Range<usize> = 1347..1797;

/// The rows for training or for testing, split in file order.
pub(super) fn load(part: Part) -> Result<Dataset> {
    decode()?.subset(match part {
        Part::Train => TRAINING_ROWS,
        Part::Test => TEST_ROWS,
    })
}

/// Each line of the file holds 64 values from 0 to 16 and the digit.
fn decode() -> Result<Dataset> {
    let mut text = String::new();
    let damaged = |message: String| Error::data(Path::new("digits"), "built-in data", message);
    GzDecoder::new(FILE).read_to_string(&mut text).map_err(|error| damaged(error.to_string()))?;

    let mut pixels = Vec::with_capacity(TEST_ROWS.end * PIXELS);
    let mut labels = Vec::with_capacity(TEST_ROWS.end);
    for line in text.lines() {
        let values = line.split(',').map(str::parse).collect::<Result<Vec<u8>, ParseIntError>>();
        let values = values.map_err(|error| damaged(error.to_string()))?;
        let (label, row) = values.split_last().ok_or_else(|| damaged("empty line".to_owned()))?;
        pixels.extend_from_slice(row);
        labels.push(u32::from(*label));
    }
    let schema = Schema {
        feature_shape: vec![8, 8],
        encoding: Encoding::U8 { scale: 1.0 / 16.0 },
        feature_names: Vec::new(),
        target_name: None,
        task: Task::classes(10),
    };
    Dataset::new("digits", schema, Features::Bytes(pixels), Targets::Labels(labels))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_parts_have_the_rows_of_the_file() -> Result<()> {
        let (train, test) = (load(Part::Train)?, load(Part::Test)?);
        assert_eq!((train.rows(), test.rows()), (1347, 450));
        assert_eq!(
            (train.label(0), train.label(1346), test.label(0), test.label(449)),
            (Some(0), Some(3), Some(3), Some(8))
        );
        let first = train.features(0).unwrap_or_default();
        let expected = [0.0, 0.0, 5.0, 13.0, 9.0, 1.0, 0.0, 0.0].map(|value: f32| value / 16.0);
        assert_eq!(first[..8], expected);
        // Every digit occurs in both parts, so neither is sorted by class.
        for part in [train, test] {
            let mut seen = [false; 10];
            (0..part.rows()).filter_map(|row| part.label(row)).for_each(|label| seen[label as usize] = true);
            assert_eq!(seen, [true; 10]);
        }
        Ok(())
    }
}
