//! Files that are either as they were or as they should be, whenever the process or the machine stops.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::{Error, Result};

/// Puts `bytes` in the place of the file at `path`.
///
/// They are written beside it, reach the disk, and then take its name. A process that is killed meanwhile leaves
/// the part that it wrote under a name of its own, which the next call writes over.
///
/// # Errors
/// [`Error::Write`]; the old file is then untouched, and nothing lies beside it.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    // A link stays a link: what it points to is replaced.
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let path = target.as_path();
    if path.metadata().is_ok_and(|metadata| !metadata.is_file() && !metadata.is_dir()) {
        // A pipe or a device takes bytes, and must not lose its place to a file.
        return fs::write(path, bytes).map_err(|error| Error::write(path, error));
    }
    let partial = partial(path);
    let written = write_through(&partial, bytes).and_then(|()| fs::rename(&partial, path));
    if let Err(error) = written {
        // It may not be there at all, and the first error is the one to tell.
        let _ = fs::remove_file(&partial);
        return Err(Error::write(path, error));
    }
    sync_folder(path).map_err(|error| Error::write(path, error))
}

/// The name under which the file at `path` is written.
pub(crate) fn partial(path: &Path) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".partial");
    path.with_file_name(name)
}

fn write_through(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// A rename is on the disk when its folder is. Windows has no such call and needs none.
fn sync_folder(path: &Path) -> io::Result<()> {
    if cfg!(unix) {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or(Path::new(".")))?.sync_all()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_write_leaves_the_old_file_and_nothing_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        write(&path, b"old").unwrap();
        write(&path, b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");

        // A folder stands where the file is to be: everything works but the last step.
        let taken = folder.path().join("taken");
        fs::create_dir_all(taken.join("by a folder")).unwrap();
        assert!(matches!(write(&taken, b"new"), Err(Error::Write { .. })));
        let left: Vec<_> =
            fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left.len(), 2, "{left:?}");
    }
}
