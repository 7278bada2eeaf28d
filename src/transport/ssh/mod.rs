//! The SSH transport, and the only place that names ssh2. From the bottom: `guard` and `wire` (one connection, never
//! blocking), `known_hosts`, `hosts_file` and `trust` (host keys), `algorithms`, `reach` and `dial` (to the
//! key exchange), `kexinit` and `disagreement` (why there is none), `survey` (a host's keys), `answers`, `key_file` and
//! `login`, `markers` and `exec` (scripts on the host), `link` (limits and faults), `shell`, `counted` and `stripes` (files
//! by scripts: as a whole, small ones, pieces), `sftp`, `resume` (what is there already), `archive` and `group` (many small
//! files at once), `follow` and `install`, `places` and `abilities`, `session`.

mod abilities;
mod algorithms;
mod answers;
mod archive;
mod closing;
mod counted;
mod dial;
mod disagreement;
mod exec;
mod follow;
mod group;
mod guard;
mod hosts_file;
mod install;
mod kexinit;
mod key_file;
mod known_hosts;
mod link;
mod login;
mod markers;
mod pace;
mod paths;
mod places;
#[cfg(feature = "probes")]
#[doc(hidden)]
pub mod probes;
mod reach;
mod resume;
mod session;
mod sftp;
mod shell;
mod stripes;
mod survey;
mod trust;
mod wire;
mod writing;

use crate::domain::fault::Fault;
use crate::transport::{Dial, Session};

pub use survey::{MissingKey, ShownKey, Standing, Survey, record_keys, survey};
pub use trust::known_key;

use login::{Login, Manner, Refusal};
use session::SshSession;

/// Why no session came about.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{fault}")]
pub struct ConnectError {
    /// The fault.
    pub fault: Fault,
    /// The fingerprint of the host key, where a key exchange ended with a key that we accept: the host has
    /// proved itself an SSH host, whatever came after.
    pub proved: Option<String>,
}

impl From<ConnectError> for Fault {
    fn from(error: ConnectError) -> Self {
        error.fault
    }
}

/// Opens a session over SSH. A session that opens has proved its host key; so has an error that says so.
pub fn connect(dial: &Dial<'_>) -> Result<Box<dyn Session>, ConnectError> {
    let before = |fault| ConnectError {
        fault,
        proved: None,
    };
    let (mut wire, mut fingerprint) = dial::open(dial).map_err(before)?;
    let _at_work = dial.surroundings.traffic.begin();
    let mut login = Login::new(&wire, dial).run(Manner::NamedKeyFirst);
    if let Err(Refusal::CutUnheard(_)) = login {
        // Whether the key was too much or the connection broke is not known.
        let proved = Some(fingerprint);
        (wire, fingerprint) = dial::open(dial).map_err(|fault| ConnectError { fault, proved })?;
        login = Login::new(&wire, dial).run(Manner::AskingFirst);
    }
    match login {
        Ok(()) => {}
        Err(Refusal::Fault(fault) | Refusal::NoTurn(fault)) => {
            return Err(ConnectError {
                fault,
                proved: Some(fingerprint),
            });
        }
        Err(Refusal::CutAmongKeys(fault) | Refusal::CutUnheard(fault)) => {
            // The server ran out of patience while keys were tried; the password had no turn yet.
            let proved = Some(fingerprint);
            let password = dial.credentials.password();
            if !matches!(password, Ok(Some(_))) {
                return Err(ConnectError { fault, proved });
            }
            (wire, fingerprint) = dial::open(dial).map_err(|fault| ConnectError {
                fault,
                proved: proved.clone(),
            })?;
            match Login::new(&wire, dial).run(Manner::PasswordAlone) {
                Ok(()) => {}
                Err(
                    Refusal::Fault(fault)
                    | Refusal::CutAmongKeys(fault)
                    | Refusal::CutUnheard(fault),
                ) => {
                    return Err(ConnectError { fault, proved });
                }
                Err(Refusal::NoTurn(_)) => return Err(ConnectError { fault, proved }),
            }
        }
    }
    Ok(Box::new(SshSession::new(wire, dial, fingerprint)))
}
