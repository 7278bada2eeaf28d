//! The SSH transport.

use crate::domain::fault::Fault;
use crate::transport::{Dial, Session};

/// Opens a session over SSH.
pub fn connect(_dial: &Dial<'_>) -> Result<Box<dyn Session>, Fault> {
    Err(Fault::unsupported("not built yet"))
}
