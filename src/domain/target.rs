//! Targets and the terms on which they are reached and served: everything of a rule that a delivery
//! freezes when it is planned. Never credentials.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// A way to reach a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TransportKind {
    /// SSH: SFTP, SCP or exec.
    Ssh,
    /// FTP with explicit TLS (`AUTH TLS`).
    Ftps,
    /// FTP in clear.
    Ftp,
}

impl TransportKind {
    /// The word that rules, the journal and messages use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ssh => "ssh",
            Self::Ftps => "ftps",
            Self::Ftp => "ftp",
        }
    }

    /// The kind that [`TransportKind::as_str`] names.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Ssh, Self::Ftps, Self::Ftp]
            .into_iter()
            .find(|kind| kind.as_str() == word)
    }
}

impl fmt::Display for TransportKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What to do with a host key that no known_hosts file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HostKeyPolicy {
    /// Record it at first contact.
    AcceptNew,
    /// Refuse it.
    Strict,
}

/// Host, ports and login that a rule names.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Target {
    /// Name or address, as the rule writes it.
    pub host: String,
    /// Who logs in.
    pub login: String,
    /// Port of the SSH server.
    pub ssh_port: u16,
    /// Port of the FTP server's control connection.
    pub ftp_port: u16,
}

impl Target {
    /// The name of the lane of this target: one key for host, port and login.
    pub fn lane(&self) -> String {
        let host = self.host.to_lowercase();
        // An IPv6 address stands in brackets, so that a port is told from its last part.
        let mut lane = if host.contains(':') {
            format!("{}@[{host}]", self.login)
        } else {
            format!("{}@{host}", self.login)
        };
        if self.ssh_port != 22 {
            lane = format!("{lane}:{}", self.ssh_port);
        }
        if self.ftp_port != 21 {
            lane = format!("{lane} ftp:{}", self.ftp_port);
        }
        lane
    }
}

/// How a target is to be reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectionTerms {
    /// The transports in the order to try them.
    pub transports: Vec<TransportKind>,
    /// Whether the rule itself lists `ftp`: only then may a host that has proved an SSH key be sent a
    /// password in clear.
    pub ftp_is_named: bool,
    /// Private key file to try first.
    pub identity_file: Option<PathBuf>,
    /// What to do with unknown host keys.
    pub host_key: HostKeyPolicy,
    /// Whether SSH algorithms are offered that are no longer safe. Terms of earlier versions lack it.
    #[serde(default)]
    pub old_algorithms: bool,
    /// The rule's own known_hosts file; accepted keys are added to it.
    pub known_hosts: Option<PathBuf>,
    /// SHA-256 of the FTPS server's certificate in lower-case hex without colons.
    pub ftps_fingerprint: Option<String>,
    /// PEM file with further certificate authorities.
    pub ca_file: Option<PathBuf>,
    /// Limit for connect, banner, key exchange and login, each; seconds.
    pub connect_timeout_s: u64,
    /// Limit without any progress of a transfer; seconds.
    pub stall_timeout_s: u64,
}

impl Default for ConnectionTerms {
    fn default() -> Self {
        Self {
            transports: vec![TransportKind::Ssh, TransportKind::Ftps, TransportKind::Ftp],
            ftp_is_named: false,
            identity_file: None,
            host_key: HostKeyPolicy::AcceptNew,
            old_algorithms: false,
            known_hosts: None,
            ftps_fingerprint: None,
            ca_file: None,
            connect_timeout_s: 15,
            stall_timeout_s: 60,
        }
    }
}

/// How the install command is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum InstallMode {
    /// Detached under the wrapper, so that it survives us.
    Tracked,
    /// Attached, for hosts without a POSIX `sh`.
    Plain,
}

/// What a lane does behind a failed or unknown delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnFailure {
    /// The next delivery is taken.
    Continue,
    /// The lane stops until the operator decides.
    Stop,
}

/// How a package is delivered and installed, as the rule says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceTerms {
    /// The command to run on the host, placeholders not yet filled.
    pub install_command: Option<String>,
    /// Permission bits of the uploaded file; none leaves what the server gives.
    pub file_mode: Option<u32>,
    /// Limit for the install command and its children; seconds.
    pub install_timeout_s: u64,
    /// How the install command is run.
    pub install_mode: InstallMode,
    /// Whether the command may be run again when its outcome is not known.
    pub install_idempotent: bool,
    /// Attempts after the first.
    pub retries: u32,
    /// Delay before the second attempt; it doubles; seconds.
    pub retry_delay_s: u64,
    /// What the lane does behind a failure.
    pub on_failure: OnFailure,
}

impl Default for ServiceTerms {
    fn default() -> Self {
        Self {
            install_command: None,
            file_mode: None,
            install_timeout_s: 3600,
            install_mode: InstallMode::Tracked,
            install_idempotent: false,
            retries: 5,
            retry_delay_s: 10,
            on_failure: OnFailure::Continue,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms_of_an_earlier_version_allow_nothing_old() {
        let mut terms = serde_json::to_value(ConnectionTerms::default()).unwrap();
        terms.as_object_mut().unwrap().remove("old_algorithms");
        let read: ConnectionTerms = serde_json::from_value(terms).unwrap();
        assert_eq!(read, ConnectionTerms::default());
    }
}
