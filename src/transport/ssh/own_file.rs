//! Our own known_hosts file, judged as it was opened: whoever can write to it decides whom we trust.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use crate::domain::fault::Fault;
use crate::domain::text::shell_quote;

/// A fault where everybody can write to the file, or where it is somebody else's and he is not root.
pub(super) fn judge(file: &File, path: &Path) -> Result<(), Fault> {
    let shown = path.display();
    let refused = |why: &str, command: &str| {
        let quoted = shell_quote(&path.to_string_lossy());
        Err(Fault::permanent(format!(
            "the known host keys in {shown} are not trusted: {why}; mend it with: {command} {quoted}"
        )))
    };
    let metadata = file
        .metadata()
        .map_err(|error: io::Error| Fault::permanent(format!("cannot look at {shown}: {error}")))?;
    let me = rustix::process::geteuid().as_raw();
    if metadata.uid() != 0 && metadata.uid() != me {
        let why = format!("the file belongs to uid {}", metadata.uid());
        return refused(&why, &format!("chown {me}"));
    }
    if metadata.mode() & 0o002 != 0 {
        return refused("everybody can write to the file", "chmod 600");
    }
    Ok(())
}
