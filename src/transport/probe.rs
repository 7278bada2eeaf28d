//! A trial delivery: a small file is written, verified, renamed, read back and removed, by the same steps as a package
//! takes. Leaves nothing on the host, and says what it could not take away.

use crate::domain::fault::Fault;
use crate::transport::{Session, Space, Upload, Verified};

/// What a trial showed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tried {
    /// How the file was verified.
    pub verified: Verified,
    /// The room there.
    pub space: Option<Space>,
}

/// Tries `upload`, into a directory that is there and under names that are its alone. After a fault that leaves the
/// session usable nothing lies there; after another one, see [`clear`].
pub fn try_out(upload: &Upload<'_>, session: &mut dyn Session) -> Result<Tried, Fault> {
    let tried = try_it(upload, session);
    if tried.as_ref().is_err_and(|fault| !fault.class.is_retried()) {
        // What is wrong with the host is told by what failed first.
        let _ = clear(upload, session);
    }
    tried
}

fn try_it(upload: &Upload<'_>, session: &mut dyn Session) -> Result<Tried, Fault> {
    session.upload(upload, &mut |_| {})?;
    session.verify(upload)?;
    session.publish(upload)?;
    let published = published(upload);
    let verified = session.verify(&published)?;
    let dir = upload.dir.trim_end_matches('/');
    let space = session.space(&format!("{dir}/{}", upload.name))?;
    session.discard(&published)?;
    Ok(Tried { verified, space })
}

/// Removes what a trial may have left, by a session that may be another one. Idempotent.
pub fn clear(upload: &Upload<'_>, session: &mut dyn Session) -> Result<(), Fault> {
    session.discard(upload)?;
    session.discard(&published(upload))
}

/// The same file under the name that it has got.
fn published<'a>(upload: &Upload<'a>) -> Upload<'a> {
    Upload {
        temporary: upload.name,
        ..upload.clone()
    }
}
