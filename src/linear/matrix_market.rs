//! Matrix Market files: a line that says what follows, sizes, and a line for each entry.
//!
//! The format (Boisvert, Pozo and Remington, "The Matrix Market Exchange Formats", NIST 1996) is read here rather than by a
//! crate: none that is kept up names the line that is wrong.

use std::fs;
use std::path::Path;

use super::matrix::SparseMatrix;
use crate::{Error, Result};

/// How entries stand for others.
#[derive(Clone, Copy, PartialEq)]
enum Symmetry {
    General,
    Symmetric,
    Skew,
}

/// What the first line says.
struct Header {
    is_coordinate: bool,
    symmetry: Symmetry,
}

/// The matrix in a file: `coordinate` or `array`, `real` or `integer`, `general`, `symmetric` or `skew-symmetric`.
///
/// # Errors
/// [`Error::Read`], or [`Error::Data`] naming the line.
pub(super) fn read(path: &Path) -> Result<SparseMatrix> {
    let bytes = fs::read(path).map_err(|error| Error::read(path, error))?;
    let text = String::from_utf8(bytes)
        .map_err(|_| Error::data(path, "", "is no text, so no Matrix Market file"))?;
    parse(path, &text)
}

fn parse(path: &Path, text: &str) -> Result<SparseMatrix> {
    let at = |line: usize, message: String| Error::data(path, format!("line {}", line + 1), message);
    let mut lines = text.lines().enumerate();
    let (_, first) = lines.next().ok_or_else(|| Error::data(path, "", "is empty"))?;
    let header = header(first).map_err(|message| at(0, message))?;
    // Comments may stand before the sizes, blank lines anywhere.
    let mut lines = lines.map(|(number, line)| (number, line.trim()));
    let mut lines = lines.by_ref().filter(|(_, line)| !line.is_empty() && !line.starts_with('%'));
    let Some((number, sizes)) = lines.next() else {
        return Err(Error::data(path, "", "ends before the line of sizes"));
    };
    let wanted = if header.is_coordinate { 3 } else { 2 };
    let sizes: Vec<usize> = sizes.split_whitespace().map_while(|word| word.parse().ok()).collect();
    if sizes.len() != wanted {
        let what = if header.is_coordinate { "rows, columns and entries" } else { "rows and columns" };
        return Err(at(number, format!("is no line of sizes: {what}")));
    }
    let (rows, columns) = (sizes[0], sizes[1]);
    if header.symmetry != Symmetry::General && rows != columns {
        return Err(at(number, format!("a matrix of {rows} × {columns} cannot be symmetric")));
    }
    let promised = match (header.is_coordinate, header.symmetry) {
        (true, _) => sizes[2],
        (false, Symmetry::General) => rows.saturating_mul(columns),
        (false, Symmetry::Symmetric) => rows.saturating_mul(rows.saturating_add(1)) / 2,
        (false, Symmetry::Skew) => rows.saturating_mul(rows.saturating_sub(1)) / 2,
    };
    // An entry takes two characters at least, so that a damaged size claims no memory.
    if promised > text.len() {
        let lines = lines.count();
        return Err(Error::data(
            path,
            "",
            format!("promises {promised} entries, but {lines} follow; the file is damaged"),
        ));
    }
    let mut entries = Vec::with_capacity(2 * promised);
    let mut places = Places { next: (0, 0), rows, symmetry: header.symmetry };
    let mut found = 0;
    for (number, line) in lines {
        if found == promised {
            return Err(at(number, format!("stands behind the {promised} entries that were promised")));
        }
        let entry = if header.is_coordinate { coordinate(line, rows, columns) } else { places.entry(line) };
        let (i, j, value) = entry.map_err(|message| at(number, message))?;
        expand(&mut entries, header.symmetry, (i, j, value)).map_err(|message| at(number, message))?;
        found += 1;
    }
    if found < promised {
        let message = format!("promises {promised} entries, but {found} follow; the file is damaged");
        return Err(Error::data(path, "", message));
    }
    SparseMatrix::from_entries(rows, columns, entries)
        .map_err(|error| Error::data(path, "", error.to_string()))
}

fn header(line: &str) -> Result<Header, String> {
    let words: Vec<String> = line.split_whitespace().map(str::to_lowercase).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let ["%%matrixmarket", "matrix", format, field, symmetry] = words[..] else {
        return Err(
            "is not `%%MatrixMarket matrix FORMAT FIELD SYMMETRY`; is it a Matrix Market file?".to_owned()
        );
    };
    let is_coordinate = match format {
        "coordinate" => true,
        "array" => false,
        _ => return Err(format!("`{format}` is neither coordinate nor array")),
    };
    match field {
        "real" | "integer" | "double" => {}
        "complex" => return Err("is a complex matrix; only real ones are solved".to_owned()),
        "pattern" => return Err("is only a pattern, without values; there is nothing to solve".to_owned()),
        _ => return Err(format!("`{field}` is neither real nor integer")),
    }
    let symmetry = match symmetry {
        "general" => Symmetry::General,
        // Of real numbers the same.
        "symmetric" | "hermitian" => Symmetry::Symmetric,
        "skew-symmetric" => Symmetry::Skew,
        _ => return Err(format!("`{symmetry}` is neither general, symmetric nor skew-symmetric")),
    };
    Ok(Header { is_coordinate, symmetry })
}

fn coordinate(line: &str, rows: usize, columns: usize) -> Result<(usize, usize, f64), String> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [row, column, value] = words[..] else {
        return Err(format!("{} words where row, column and value are wanted", words.len()));
    };
    let index = |word: &str, what: &str, most: usize| match word.parse::<usize>() {
        Ok(index) if (1..=most).contains(&index) => Ok(index - 1),
        _ => Err(format!("{what} {word} is none of 1 to {most}")),
    };
    Ok((index(row, "row", rows)?, index(column, "column", columns)?, number(value)?))
}

fn number(word: &str) -> Result<f64, String> {
    match word.parse::<f64>() {
        Ok(value) if value.is_finite() => Ok(value),
        Ok(value) => Err(format!("{value} is not finite")),
        // Fortran writes 1.0D+00.
        Err(_) => match word.to_lowercase().replace('d', "e").parse::<f64>() {
            Ok(value) if value.is_finite() => Ok(value),
            _ => Err(format!("`{word}` is no number")),
        },
    }
}

/// Where the values of an array stand: column by column, of a symmetric one from the diagonal down.
struct Places {
    next: (usize, usize),
    rows: usize,
    symmetry: Symmetry,
}

impl Places {
    fn entry(&mut self, line: &str) -> Result<(usize, usize, f64), String> {
        let below = |column: usize| match self.symmetry {
            Symmetry::General => 0,
            Symmetry::Symmetric => column,
            Symmetry::Skew => column + 1,
        };
        if self.next == (0, 0) {
            self.next.0 = below(0);
        }
        let (row, column) = self.next;
        self.next = if row + 1 < self.rows { (row + 1, column) } else { (below(column + 1), column + 1) };
        Ok((row, column, number(line)?))
    }
}

/// Adds an entry and the one that it stands for.
fn expand(
    entries: &mut Vec<(usize, usize, f64)>,
    symmetry: Symmetry,
    (i, j, value): (usize, usize, f64),
) -> Result<(), String> {
    entries.push((i, j, value));
    match symmetry {
        Symmetry::General => {}
        Symmetry::Symmetric if i == j => {}
        Symmetry::Skew if i == j => return Err("a skew-symmetric matrix has no diagonal".to_owned()),
        Symmetry::Symmetric => entries.push((j, i, value)),
        Symmetry::Skew => entries.push((j, i, -value)),
    }
    Ok(())
}

/// The text of a vector as a file of an array.
pub(super) fn vector_text(x: &[f64]) -> String {
    let values: String = x.iter().map(|value| format!("{value:e}\n")).collect();
    format!("%%MatrixMarket matrix array real general\n{} 1\n{values}", x.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<SparseMatrix> {
        parse(Path::new("a.mtx"), text)
    }

    #[test]
    fn every_form_is_expanded_to_the_whole_matrix() {
        let rows: [(&str, (usize, usize), &[f64]); 6] = [
            (
                "coordinate real general\n% said\n\n2 3 2\n1 3 2.5\n2 1 -1e2\n",
                (2, 3),
                &[0.0, 0.0, 2.5, -100.0, 0.0, 0.0],
            ),
            ("coordinate integer symmetric\n2 2 2\n1 1 4\n2 1 1\n", (2, 2), &[4.0, 1.0, 1.0, 0.0]),
            ("coordinate real skew-symmetric\n2 2 1\n2 1 3.0D0\n", (2, 2), &[0.0, -3.0, 3.0, 0.0]),
            ("array real general\n2 2\n1\n2\n3\n4\n", (2, 2), &[1.0, 3.0, 2.0, 4.0]),
            ("array real symmetric\n2 2\n1\n2\n3\n", (2, 2), &[1.0, 2.0, 2.0, 3.0]),
            (
                "array real skew-symmetric\n3 3\n1\n2\n3\n",
                (3, 3),
                &[0.0, -1.0, -2.0, 1.0, 0.0, -3.0, 2.0, 3.0, 0.0],
            ),
        ];
        for (text, (height, width), dense) in rows {
            let matrix = parsed(&format!("%%MatrixMarket matrix {text}")).unwrap();
            assert_eq!(
                (matrix.rows(), matrix.columns(), matrix.to_dense()),
                (height, width, dense.to_vec()),
                "{text}"
            );
        }
    }

    #[test]
    fn a_vector_is_read_as_it_was_written() {
        let x = [1.0 / 3.0, -2e300, 0.0];
        assert_eq!(parsed(&vector_text(&x)).unwrap().to_dense(), x);
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        let rows = [
            ("", "a.mtx: is empty"),
            ("%%MatrixMarket vector", "a.mtx: line 1: is not `%%MatrixMarket matrix"),
            ("%%MatrixMarket matrix coordinate complex general\n", "line 1: is a complex matrix"),
            ("%%MatrixMarket matrix coordinate pattern general\n", "line 1: is only a pattern"),
            ("%%MatrixMarket matrix coordinate quaternion general\n", "line 1: `quaternion` is neither"),
            ("%%MatrixMarket matrix list real general\n", "line 1: `list` is neither"),
            ("%%MatrixMarket matrix array real toeplitz\n", "line 1: `toeplitz` is neither"),
            ("%%MatrixMarket matrix coordinate real general\n% a\n", "a.mtx: ends before the line of sizes"),
            (
                "%%MatrixMarket matrix coordinate real general\n2 2\n",
                "line 2: is no line of sizes: rows, columns and entries",
            ),
            (
                "%%MatrixMarket matrix coordinate real symmetric\n2 3 0\n",
                "line 2: a matrix of 2 × 3 cannot be symmetric",
            ),
            (
                "%%MatrixMarket matrix coordinate real general\n2 2 2\n1 1 1\n",
                "promises 2 entries, but 1 follow",
            ),
            (
                "%%MatrixMarket matrix coordinate real general\n9 9 99999999999\n",
                "promises 99999999999 entries, but 0 follow",
            ),
            (
                "%%MatrixMarket matrix coordinate real general\n2 2 1\n1 1 1\n1 2 1\n",
                "line 4: stands behind the 1 entries",
            ),
            (
                "%%MatrixMarket matrix coordinate real general\n2 2 1\n3 1 1\n",
                "line 3: row 3 is none of 1 to 2",
            ),
            (
                "%%MatrixMarket matrix coordinate real general\n2 2 1\n1 0 1\n",
                "line 3: column 0 is none of 1 to 2",
            ),
            (
                "%%MatrixMarket matrix coordinate real general\n2 2 1\n1 1\n",
                "line 3: 2 words where row, column and value",
            ),
            ("%%MatrixMarket matrix coordinate real general\n2 2 1\n1 1 x\n", "line 3: `x` is no number"),
            ("%%MatrixMarket matrix coordinate real general\n2 2 1\n1 1 nan\n", "line 3: NaN is not finite"),
            (
                "%%MatrixMarket matrix coordinate real skew-symmetric\n2 2 1\n1 1 1\n",
                "line 3: a skew-symmetric matrix has no",
            ),
            ("%%MatrixMarket matrix array real general\n0 0\n", "a matrix of 0 × 0 has no entries"),
            (
                "%%MatrixMarket matrix array real general\n9999999999999 9999999999999\n",
                "promises 18446744073709551615 entries",
            ),
        ];
        for (text, message) in rows {
            let error = parsed(text).unwrap_err();
            assert!(error.to_string().contains(message), "{error} for {text}");
            assert_eq!(error.exit_code(), 2);
        }
    }
}
