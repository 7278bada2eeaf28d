//! The bytes of a file on this machine's disks, read once from its beginning to its end. Knows nothing of what
//! they are for.

use std::io::{self, Read, Write};
use std::path::Path;

use crate::domain::artifact::Digester;
use crate::error::{Error, ErrorKind, Result};

const PIECE: usize = 1 << 20;

/// Copies `file`, which is called `path` in messages, from where it stands. What `out` says is trouble of the spool.
/// `go_on` is asked meanwhile; where it says no, the answer is an error.
pub fn copy(
    file: &mut dyn Read,
    path: &Path,
    go_on: &dyn Fn() -> bool,
    out: &mut dyn Write,
) -> Result<()> {
    let mut buffer = vec![0_u8; PIECE];
    while let Some(bytes) = piece(file, path, go_on, &mut buffer)? {
        out.write_all(bytes)
            .map_err(|error| Error::io(ErrorKind::State, "cannot write a copy of", path, &error))?;
    }
    Ok(())
}

/// The SHA-256 of `file` from where it stands. `go_on` is asked meanwhile; where it says no, the answer is an error.
pub fn digest(file: &mut dyn Read, path: &Path, go_on: &dyn Fn() -> bool) -> Result<String> {
    let mut digester = Digester::default();
    let mut buffer = vec![0_u8; PIECE];
    while let Some(bytes) = piece(file, path, go_on, &mut buffer)? {
        digester.update(bytes);
    }
    Ok(digester.finish())
}

/// The next bytes; none at the end.
fn piece<'a>(
    file: &mut dyn Read,
    path: &Path,
    go_on: &dyn Fn() -> bool,
    buffer: &'a mut [u8],
) -> Result<Option<&'a [u8]>> {
    if !go_on() {
        return Err(Error::new(
            ErrorKind::Interrupted,
            format!("told to stop while reading {}", path.display()),
        ));
    }
    loop {
        match file.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Error::io(ErrorKind::Source, "cannot read", path, &error)),
            Ok(count) => return Ok(buffer.get(..count).filter(|bytes| !bytes.is_empty())),
        }
    }
}
