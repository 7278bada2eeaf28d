//! The FTP and FTPS transports.

use crate::domain::fault::Fault;
use crate::domain::target::TransportKind;
use crate::transport::{Dial, Session};

/// Opens a session over FTP, or over FTP with explicit TLS.
pub fn connect(_kind: TransportKind, _dial: &Dial<'_>) -> Result<Box<dyn Session>, Fault> {
    Err(Fault::unsupported("not built yet"))
}
