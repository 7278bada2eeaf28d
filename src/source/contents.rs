//! The bytes of a file on this machine's disks, read once from its beginning to its end. Knows nothing of what
//! they are for.

use std::io::{self, Read, Write};
use std::path::Path;

use crate::domain::artifact::Digester;
use crate::error::{Error, ErrorKind, Result};

/// How much is read at a time: most files are small, and a large buffer costs more than they do.
const FIRST_PIECE: usize = 64 << 10;
const PIECE: usize = 1 << 20;

/// Copies `file`, which is called `path` in messages, from where it stands. What `out` says is trouble of the spool.
/// `go_on` is asked meanwhile; where it says no, the answer is an error.
pub fn copy(
    file: &mut dyn Read,
    path: &Path,
    go_on: &dyn Fn() -> bool,
    out: &mut dyn Write,
) -> Result<()> {
    let mut pieces = Pieces::default();
    while let Some(bytes) = pieces.next(file, path, go_on)? {
        out.write_all(bytes)
            .map_err(|error| Error::io(ErrorKind::State, "cannot write a copy of", path, &error))?;
    }
    Ok(())
}

/// The SHA-256 of `file` from where it stands. `go_on` is asked meanwhile; where it says no, the answer is an error.
pub fn digest(file: &mut dyn Read, path: &Path, go_on: &dyn Fn() -> bool) -> Result<String> {
    let mut digester = Digester::default();
    let mut pieces = Pieces::default();
    while let Some(bytes) = pieces.next(file, path, go_on)? {
        digester.update(bytes);
    }
    Ok(digester.finish())
}

/// What was read last.
#[derive(Default)]
struct Pieces {
    buffer: Vec<u8>,
    /// Whether it was full: there is much to read.
    was_full: bool,
}

impl Pieces {
    /// The next bytes; none at the end.
    fn next(
        &mut self,
        file: &mut dyn Read,
        path: &Path,
        go_on: &dyn Fn() -> bool,
    ) -> Result<Option<&[u8]>> {
        if !go_on() {
            return Err(Error::new(
                ErrorKind::Interrupted,
                format!("told to stop while reading {}", path.display()),
            ));
        }
        let size = if self.was_full { PIECE } else { FIRST_PIECE };
        if self.buffer.len() < size {
            self.buffer.resize(size, 0);
        }
        loop {
            match file.read(&mut self.buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    return Err(Error::io(ErrorKind::Source, "cannot read", path, &error));
                }
                Ok(count) => {
                    self.was_full = count == self.buffer.len();
                    let bytes = self.buffer.get(..count);
                    return Ok(bytes.filter(|bytes| !bytes.is_empty()));
                }
            }
        }
    }
}
