//! Writing a file of unknown size from front to back.

use std::io::{self, BufWriter, Write};
use std::path::Path;

use super::AtomicFile;
use crate::{Error, Result};

/// Writes a file with what `fill` writes. It appears whole or not at all.
///
/// # Errors
/// As of [`AtomicFile::create`] and [`AtomicFile::commit`]; an error of `fill` becomes `Io` or `NoSpace`.
pub fn write_stream(
    path: &Path,
    force: bool,
    fill: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<()> {
    let file = AtomicFile::create(path, 0, force)?;
    let mut out = BufWriter::with_capacity(1 << 16, Appender { file: &file, at: 0 });
    fill(&mut out).and_then(|()| out.flush()).map_err(|e| Error::io(path, "write", e))?;
    drop(out);
    file.commit()
}

struct Appender<'f> {
    file: &'f AtomicFile,
    at: u64,
}

impl Write for Appender<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.file.write_some_at(bytes, self.at)?;
        self.at += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_in_pieces_is_one_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out");
        write_stream(&path, false, |out| (0..100_000).try_for_each(|i| writeln!(out, "{i}")))
            .unwrap();
        let lines: Vec<String> = (0..100_000).map(|i| format!("{i}\n")).collect();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), lines.concat());
        // A fault leaves the old file.
        let fault = write_stream(&path, true, |out| {
            out.write_all(b"new")?;
            Err(io::Error::other("full"))
        });
        assert!(fault.unwrap_err().to_string().ends_with("out`: cannot write: full"));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), lines.concat());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
