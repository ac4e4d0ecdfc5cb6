//! The folder that a run writes: which files it has, and whether a folder may become one.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use crate::{Error, Result, atomic};

const CONFIG: &str = "config.toml";
const METRICS: &str = "metrics.jsonl";
const CURVES: &str = "curves.svg";
const MEMORY: &str = "memory.svg";
const MODEL: &str = "model.safetensors";
const CHECKPOINT: &str = "checkpoint/latest.safetensors";

/// Locked by the process that writes the run, for as long as it does.
const LOCK: &str = "checkpoint/lock";

/// All that a run writes; nothing else in its folder is ever removed.
const FILES: [&str; 6] = [CONFIG, METRICS, CURVES, MEMORY, MODEL, CHECKPOINT];

/// The folder of a run.
///
/// ```
/// use downhill::RunFolder;
///
/// # let temporary = tempfile::tempdir().unwrap();
/// # let folder = temporary.path();
/// let path = folder.join("first");
/// RunFolder::create(&path, "data = \"digits\"\n", false)?;
/// assert_eq!(RunFolder::open(&path)?.config()?, "data = \"digits\"\n");
/// // A run is not overwritten unless that is asked for.
/// assert!(RunFolder::create(&path, "", false).is_err());
/// # Ok::<(), downhill::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct RunFolder {
    path: PathBuf,
    /// Held where this process writes the run.
    lock: Option<Arc<File>>,
}

impl RunFolder {
    /// Whether a new run may go to `path`. Nothing is made or removed yet.
    ///
    /// # Errors
    /// [`Error::Run`] where it holds a run and that is not to be overwritten, or is no folder.
    pub fn check(path: &Path, overwrite: bool) -> Result<()> {
        if path.exists() && !path.is_dir() {
            return Err(Error::run(path, "is a file, not a folder to write a run to"));
        }
        // The picture of the memory alone is what `plan` leaves behind.
        let tells = |file: &str| file != MEMORY && path.join(file).exists();
        if !overwrite && FILES.iter().any(|file| tells(file)) {
            let message = "holds a run already; --resume it, --overwrite it or choose another --out";
            return Err(Error::run(path, message));
        }
        Ok(())
    }

    /// Makes the folder of a new run with its configuration, and the folders above it. With `overwrite` the files
    /// of a run that is there are removed, and only they.
    ///
    /// # Errors
    /// As [`RunFolder::check`]; [`Error::Run`] where another process writes a run there; [`Error::Write`] where the folder cannot be made or written to.
    pub fn create(path: &Path, config: &str, overwrite: bool) -> Result<Self> {
        Self::check(path, overwrite)?;
        let lock = Some(lock(path)?);
        // Another process may have begun a run here since it was looked at.
        Self::check(path, overwrite)?;
        for file in FILES.map(|file| path.join(file)).iter().filter(|file| file.exists()) {
            fs::remove_file(file).map_err(|error| Error::write(file, error))?;
        }
        let folder = RunFolder { path: path.to_owned(), lock };
        folder.write_config(config)?;
        Ok(folder)
    }

    /// The folder of a run that was started before.
    ///
    /// # Errors
    /// [`Error::Run`] where it is none.
    pub fn open(path: &Path) -> Result<Self> {
        if path.join(CONFIG).is_file() {
            return Ok(RunFolder { path: path.to_owned(), lock: None });
        }
        let why = if path.is_dir() { "holds no run: it has no config.toml" } else { "is no folder of a run" };
        Err(Error::run(path, why))
    }

    /// The same folder, which no other process writes to as long as this value or a clone of it lives.
    ///
    /// # Errors
    /// [`Error::Run`] where another process writes the run.
    pub fn locked(mut self) -> Result<Self> {
        if self.lock.is_none() {
            self.lock = Some(lock(&self.path)?);
        }
        Ok(self)
    }

    /// The name of a new folder below `runs/`: the time in UTC, the data set, the model.
    pub fn default_path(data: &str, model: &str) -> PathBuf {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let name = [timestamp(since.as_secs()), safe(data), safe(model)].join("-");
        let numbered = |number: u32| if number == 1 { name.clone() } else { format!("{name}-{number}") };
        let mut paths = (1..).map(|number| Path::new("runs").join(numbered(number)));
        paths.find(|path| !path.exists()).unwrap_or_else(|| Path::new("runs").join(&name))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The configuration as TOML.
    ///
    /// # Errors
    /// [`Error::Read`].
    pub fn config(&self) -> Result<String> {
        let path = self.config_path();
        fs::read_to_string(&path).map_err(|error| Error::read(&path, error))
    }

    /// Puts another configuration in the place of the one that is there, atomically.
    ///
    /// # Errors
    /// [`Error::Write`].
    pub fn write_config(&self, config: &str) -> Result<()> {
        atomic::write(&self.config_path(), config.as_bytes())
    }

    /// `config.toml`.
    pub fn config_path(&self) -> PathBuf {
        self.path.join(CONFIG)
    }

    /// `metrics.jsonl`.
    pub fn metrics_path(&self) -> PathBuf {
        self.path.join(METRICS)
    }

    /// `curves.svg`.
    pub fn curves_path(&self) -> PathBuf {
        self.path.join(CURVES)
    }

    /// `memory.svg`.
    pub fn memory_path(&self) -> PathBuf {
        self.path.join(MEMORY)
    }

    /// `model.safetensors`.
    pub fn model_path(&self) -> PathBuf {
        self.path.join(MODEL)
    }

    /// `checkpoint/latest.safetensors`.
    pub fn checkpoint_path(&self) -> PathBuf {
        self.path.join(CHECKPOINT)
    }
}

/// The lock of the run at `path`, which is made where there is none.
fn lock(path: &Path) -> Result<Arc<File>> {
    let place = path.join(LOCK);
    if let Some(folder) = place.parent() {
        fs::create_dir_all(folder).map_err(|error| Error::write(folder, error))?;
    }
    let opened = File::options().create(true).truncate(false).write(true).open(&place);
    let file = opened.map_err(|error| Error::write(&place, error))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let message = "is being written by another process; wait for it or choose another --out";
            return Err(Error::run(path, message));
        }
        // Some network file systems know no locks; a run must not fail for that.
        Err(TryLockError::Error(error)) => log::warn!("{} cannot be locked: {error}", place.display()),
    }
    Ok(Arc::new(file))
}

/// `text` with nothing in it that a shell or a file system could mind.
fn safe(text: &str) -> String {
    const LONGEST: usize = 40;
    let kept = |c: char| if c.is_ascii_alphanumeric() || "._".contains(c) { c } else { '-' };
    let parts = text.chars().map(kept).collect::<String>();
    let parts: Vec<&str> = parts.split('-').filter(|part| !part.is_empty()).collect();
    parts.join("-").chars().take(LONGEST).collect()
}

/// Seconds since 1970 as `20260131-235959`, UTC.
fn timestamp(seconds: u64) -> String {
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Hinnant, "chrono-compatible low-level date algorithms": years begin in March, so that the leap day is last.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute) = (second / 3600, second / 60 % 60);
    format!("{year:04}{month:02}{day:02}-{hour:02}{minute:02}{:02}", second % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_the_calendar() {
        let rows = [
            (0, "19700101-000000"),
            (951_782_399, "20000228-235959"),
            (951_782_400, "20000229-000000"),
            (1_709_251_199, "20240229-235959"),
            (1_735_689_599, "20241231-235959"),
            (4_107_542_400, "21000301-000000"),
        ];
        for (seconds, text) in rows {
            assert_eq!(timestamp(seconds), text);
        }
    }

    #[test]
    fn names_of_folders_are_safe_everywhere() {
        let rows = [
            ("mlp:256,128", "mlp-256-128"),
            ("linear 256, relu", "linear-256-relu"),
            ("../etc/pässword\n", "..-etc-p-ssword"),
            ("random-10x2-3", "random-10x2-3"),
        ];
        for (text, name) in rows {
            assert_eq!(safe(text), name);
        }
        assert_eq!(safe(&"x".repeat(300)).len(), 40);
    }

    #[test]
    fn only_the_files_of_a_run_are_overwritten() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("a/b");
        RunFolder::create(&path, "seed = 1\n", false).unwrap();
        fs::write(path.join("notes.txt"), "mine").unwrap();
        fs::write(path.join(METRICS), "old").unwrap();
        assert!(RunFolder::create(&path, "seed = 2\n", false).is_err());
        assert_eq!(RunFolder::open(&path).unwrap().config().unwrap(), "seed = 1\n");

        let folder = RunFolder::create(&path, "seed = 2\n", true).unwrap();
        assert_eq!(folder.config().unwrap(), "seed = 2\n");
        assert!(!folder.metrics_path().exists());
        assert_eq!(fs::read_to_string(path.join("notes.txt")).unwrap(), "mine");
    }
}
