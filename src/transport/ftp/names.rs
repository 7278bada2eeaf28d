//! How names and commands become bytes, and where a secret takes its place in one: not before suppaftp has logged the
//! command, and in no memory of suppaftp's where that can be had, for it gives memory up as it is.

use std::io;
use std::net::TcpStream;
use std::sync::{Arc, Mutex, PoisonError};

use rustix::net::{SendFlags, send};
use suppaftp::Encoding;
use zeroize::Zeroizing;

use crate::domain::secret::Secret;

/// Stands in a command where [`Names::encode`] puts the secret.
pub(super) const PLACEHOLDER: &str = "***";
const LINE_END: &str = "\r\n";

/// File names and commands as UTF-8.
#[derive(Debug, Clone, Default)]
pub(super) struct Names {
    next: Arc<Mutex<Next>>,
}

/// What the next command is.
#[derive(Debug, Default)]
enum Next {
    /// As it is.
    #[default]
    Whole,
    /// This takes the place of the placeholder.
    With(Secret),
    /// All but its end was sent.
    Sent,
}

impl Names {
    /// The next command holds a secret.
    pub(super) fn put(&self, secret: Secret) {
        self.is_next(Next::With(secret));
    }

    /// The next command is as it is, again.
    pub(super) fn clear(&self) {
        self.is_next(Next::Whole);
    }

    /// Sends `verb` and the secret in clear; the next command is what comes after it, its end alone.
    pub(super) fn send_ahead(
        &self,
        socket: &TcpStream,
        verb: &str,
        secret: &Secret,
    ) -> io::Result<()> {
        let text = secret.expose();
        let mut line = Zeroizing::new(Vec::with_capacity(verb.len() + 1 + text.len()));
        for part in [verb, " ", text] {
            line.extend_from_slice(part.as_bytes());
        }
        let mut left = line.as_slice();
        while !left.is_empty() {
            // With the end of the line in one packet: there are servers that take a packet for a line.
            match send(socket, left, SendFlags::NOSIGNAL | SendFlags::MORE) {
                Ok(sent) => left = left.get(sent..).unwrap_or_default(),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.is_next(Next::Sent);
        Ok(())
    }

    fn is_next(&self, next: Next) {
        *self.next.lock().unwrap_or_else(PoisonError::into_inner) = next;
    }
}

impl Encoding for Names {
    fn decode(&self, bytes: &[u8]) -> String {
        String::from_utf8_lossy(bytes).into_owned()
    }

    fn encode(&self, text: &str) -> io::Result<Vec<u8>> {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(match std::mem::take(&mut *next) {
            Next::Whole => text.as_bytes().to_vec(),
            Next::Sent => LINE_END.as_bytes().to_vec(),
            Next::With(secret) => {
                let secret = secret.expose();
                let (before, after) = text.split_once(PLACEHOLDER).unwrap_or((text, ""));
                // With room for all of it: what grows is moved, and left behind.
                let mut line = Vec::with_capacity(before.len() + secret.len() + after.len());
                for part in [before, secret, after] {
                    line.extend_from_slice(part.as_bytes());
                }
                line
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::net::{Ipv4Addr, TcpListener};

    use super::*;

    #[test]
    fn a_secret_takes_its_place_in_one_command() {
        let names = Names::default();
        names.put(Secret::new("a*** b".to_owned()));
        assert!(!format!("{names:?}").contains("a***"));
        let encode = |text: &str| names.encode(text).expect("bytes");
        assert_eq!(encode("PASS ***\r\n"), b"PASS a*** b\r\n");
        assert_eq!(encode("PASS ***\r\n"), b"PASS ***\r\n");
        names.put(Secret::new("unused".to_owned()));
        names.clear();
        assert_eq!(encode("STOR ***\r\n"), b"STOR ***\r\n");
    }

    #[test]
    fn what_was_sent_ahead_is_ended_by_the_next_command() {
        let names = Names::default();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("listen");
        let socket = TcpStream::connect(listener.local_addr().expect("address")).expect("connect");
        let (mut other, _) = listener.accept().expect("accept");
        let secret = Secret::new("pässword".to_owned());
        names.send_ahead(&socket, "PASS", &secret).expect("sent");
        assert_eq!(names.encode("PASS ***\r\n").expect("bytes"), b"\r\n");
        assert_eq!(names.encode("PWD\r\n").expect("bytes"), b"PWD\r\n");
        drop(socket);
        let mut text = String::new();
        other.read_to_string(&mut text).expect("UTF-8");
        assert_eq!(text, "PASS pässword");
    }
}
