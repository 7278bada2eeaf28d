//! Where the page is served, and who may read it there. Off this machine it is read by who shows a token, and by
//! nobody else: packages, hosts and logins are nobody's business. The token lies in a file of its own, for everybody
//! who commits reads the settings.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use crate::config::finding::Finding;
use crate::config::private;
use crate::domain::secret::Secret;

/// A shorter token can be guessed.
const TOKEN_MIN: usize = 16;

/// Where the page is served, as settings or a command line name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listening {
    /// The address.
    pub address: SocketAddr,
    /// The file with the token; none: no token is asked for.
    pub token_file: Option<PathBuf>,
}

/// An address and a port: `127.0.0.1:9797`, `[::1]:9797`, `localhost:9797`.
pub fn address(text: &str) -> Result<SocketAddr, String> {
    let text = match text.strip_prefix("localhost:") {
        Some(port) => format!("127.0.0.1:{port}"),
        None => text.to_owned(),
    };
    text.parse()
        .map_err(|_| "is no address with a port; for example 127.0.0.1:9797 is meant".to_owned())
}

/// Whether only this machine reaches the address.
fn is_loopback(address: SocketAddr) -> bool {
    match address.ip() {
        IpAddr::V4(ip) => ip.is_loopback(),
        IpAddr::V6(ip) => {
            ip.is_loopback() || ip.to_ipv4_mapped().is_some_and(|ip| ip.is_loopback())
        }
    }
}

impl Listening {
    /// What is wrong with it, if something is: others could read it, and no token keeps them off.
    pub fn mistake(&self) -> Option<String> {
        (!is_loopback(self.address) && self.token_file.is_none()).then(|| {
            format!(
                "names {}, which other machines reach: name a file with a token by `listen_token_file`, or listen on \
                 127.0.0.1 behind a proxy that asks who is there",
                self.address.ip()
            )
        })
    }

    /// A warning where the token and the page go over a network in clear.
    pub fn warning(&self) -> Option<String> {
        (!is_loopback(self.address)).then(|| {
            format!(
                "the page on {} and its token go over the network in clear; better listen on 127.0.0.1 behind a proxy \
                 that speaks TLS",
                self.address
            )
        })
    }

    /// Reads the token.
    pub fn token(&self) -> Result<Option<Secret>, Finding> {
        let Some(path) = &self.token_file else {
            return Ok(None);
        };
        read_token(path).map(Some)
    }
}

fn read_token(path: &Path) -> Result<Secret, Finding> {
    let way_out = "make one with: openssl rand -hex 24";
    let Some(text) = private::read(path)? else {
        return Err(Finding::about(path, format!("is not there; {way_out}")));
    };
    if let Some(finding) = text.in_the_open(path, true) {
        return Err(finding);
    }
    let text = private::decode(path, &text.bytes)?;
    let token = text.trim();
    if token.len() < TOKEN_MIN || token.contains(char::is_whitespace) {
        let why = format!("holds no token: one word of {TOKEN_MIN} characters at least; {way_out}");
        return Err(Finding::about(path, why));
    }
    Ok(Secret::new(token.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn an_address_has_a_port() {
        for text in ["127.0.0.1:1", "[::1]:9797", "localhost:80", "0.0.0.0:9"] {
            assert!(address(text).is_ok(), "{text}");
        }
        for text in [
            "",
            "9797",
            "127.0.0.1",
            "host.example:80",
            "127.0.0.1:99999",
        ] {
            assert!(address(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_others_reach_needs_a_token() {
        for (text, is_open) in [
            ("127.9.9.9:1", false),
            ("[::1]:1", false),
            ("0.0.0.0:1", true),
            ("[::]:1", true),
            ("10.0.0.1:1", true),
        ] {
            let mut listening = Listening {
                address: address(text).unwrap(),
                token_file: None,
            };
            assert_eq!(listening.mistake().is_some(), is_open, "{text}");
            assert_eq!(listening.warning().is_some(), is_open, "{text}");
            listening.token_file = Some("/etc/token".into());
            assert_eq!(listening.mistake(), None, "{text}");
        }
    }

    #[test]
    fn a_token_is_one_long_word_in_a_file_of_ours() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("token");
        let token = |text: &str, mode: u32| {
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            read_token(&path)
        };
        let good = token("0123456789abcdef\n", 0o600).unwrap();
        assert_eq!(good.expose(), "0123456789abcdef");
        for (text, mode) in [
            ("0123456789abcdef", 0o644),
            ("short", 0o600),
            ("", 0o600),
            ("two words of some length", 0o600),
        ] {
            assert!(token(text, mode).is_err(), "{text} {mode:o}");
        }
    }
}
