//! The file that a trace goes to: looked at before the run begins, and written
//! at its end, all of it or nothing.

use crate::core::format::trace::Trace;
use anyhow::{Context, anyhow, bail};
use std::fs;
use std::io::{self, BufWriter, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use tempfile::NamedTempFile;

/// A file that a trace can be written to, as far as one can know beforehand.
#[derive(Debug)]
pub(super) struct TraceFile {
    path: PathBuf,
}

impl TraceFile {
    /// Looks whether a file can be put there. A device, a symlink or a
    /// directory is not replaced: root's `--trace /dev/null` would leave this
    /// machine without one.
    pub(super) fn at(path: &Path) -> anyhow::Result<Self> {
        let refused = || format!("cannot write a trace to `{}`", path.display());
        if path.file_name().is_none() || path.as_os_str().as_bytes().ends_with(b"/") {
            bail!("{}: that is a directory's name; name a file in it", refused());
        }
        match fs::symlink_metadata(path) {
            Ok(meta) if meta.is_file() => {}
            Ok(_) => bail!("{}: what is there is no file, and is left as it is; name another", refused()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(anyhow!(error).context(refused())),
        }
        let file = TraceFile { path: path.to_owned() };
        file.beside().with_context(|| format!("{} (is its directory there, and writable?)", refused()))?;
        Ok(file)
    }

    /// Writes the trace in the place of what was there.
    pub(super) fn write(&self, trace: &Trace) -> anyhow::Result<()> {
        self.try_to_write(trace)
            .with_context(|| format!("the trace `{}` could not be written", self.path.display()))
    }

    fn try_to_write(&self, trace: &Trace) -> anyhow::Result<()> {
        let mut out = BufWriter::new(self.beside()?);
        serde_json::to_writer(&mut out, trace)?;
        out.write_all(b"\n")?;
        let file = out.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.as_file().sync_all()?;
        file.persist(&self.path).map_err(|error| error.error)?;
        Ok(())
    }

    /// A file in the same directory, open to nobody else, that is gone when it
    /// is dropped.
    fn beside(&self) -> io::Result<NamedTempFile> {
        let directory = self.path.parent().filter(|parent| *parent != Path::new(""));
        let directory = directory.unwrap_or(Path::new("."));
        tempfile::Builder::new().prefix(".backup-trace-").suffix(".tmp").tempfile_in(directory)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::format::trace;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn what_is_there_is_replaced_at_once_and_is_its_owner_s_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("trace.json");
        for round in 0..2 {
            let file = TraceFile::at(&path).unwrap();
            assert_eq!(path.exists(), round > 0, "a look makes nothing");
            file.write(&trace::of("run", &[], &[])).unwrap();
            let text = fs::read(&path).unwrap();
            assert!(serde_json::from_slice::<serde_json::Value>(&text).unwrap()["traceEvents"].is_array());
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
            assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing else stays");
            fs::write(&path, "old").unwrap();
        }
    }

    #[test]
    fn where_no_file_can_be_is_found_beforehand() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::write(at("file"), "").unwrap();
        symlink("file", at("link")).unwrap();
        symlink("nowhere", at("dangling")).unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, at("fifo"), 0o600.into()).unwrap();
        for (path, why) in [
            (at(""), "a directory's name"),
            (at("new/"), "a directory's name"),
            ("/".into(), "a directory's name"),
            ("..".into(), "a directory's name"),
            (dir.path().to_owned(), "no file"),
            ("/dev/null".into(), "no file"),
            (at("fifo"), "no file"),
            (at("link"), "no file"),
            (at("dangling"), "no file"),
            (at("missing/trace.json"), "is its directory there"),
            (at("file/trace.json"), "Not a directory"),
            (at(&"x".repeat(300)), "File name too long"),
            ("/proc/trace.json".into(), "is its directory there"),
        ] {
            let error = format!("{:#}", TraceFile::at(&path).unwrap_err());
            assert!(
                error.starts_with("cannot write a trace to `") && error.contains(why),
                "{path:?}: {error}"
            );
        }
        let mut names: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["dangling", "fifo", "file", "link"]);
    }
}
