//! What suppaftp's errors mean before the login: which class of fault, in words that name the peer.

use std::io::ErrorKind;

use suppaftp::FtpError;

use super::reply::Reply;
use super::tls::{self, SharedRecord};
use super::watch::Cut;
use crate::domain::fault::{Fault, FaultClass};

/// The fault of a connection that the watch has cut.
pub(super) fn cut_fault(what: &str, peer: &str, cut: Option<Cut>) -> Option<Fault> {
    match cut? {
        Cut::Stopped => Some(Fault::transient("interrupted: the worker was told to stop")),
        Cut::TimedOut(seconds) => Some(Fault::transient(format!(
            "{what}: nothing from {peer} for {seconds} s"
        ))),
    }
}

/// The error without suppaftp's own prefix.
pub(super) fn cause(error: &FtpError) -> String {
    match error {
        FtpError::ConnectionError(error) => error.to_string(),
        FtpError::BadResponse => "it sent what is not an FTP reply".to_owned(),
        other => other.to_string(),
    }
}

/// Why there was no greeting.
pub(super) fn no_banner(peer: &str, cut: Option<Cut>, error: &FtpError) -> Fault {
    match (cut, error) {
        (Some(Cut::Stopped), _) => Fault::transient("interrupted: the worker was told to stop"),
        (Some(Cut::TimedOut(seconds)), _) => Fault::unreachable(format!(
            "{peer} accepts connections but says nothing for {seconds} s"
        )),
        (None, FtpError::UnexpectedResponse(response)) => match Reply::parse(&response.body) {
            Some(reply) if reply.code / 100 == 4 || reply.code / 100 == 1 => {
                Fault::transient(format!("{peer} is not ready: \"{}\"", reply.quote()))
            }
            Some(reply) => Fault::unreachable(format!(
                "{peer} takes no FTP sessions: \"{}\"",
                reply.quote()
            )),
            None => Fault::unreachable(format!("{peer} is not an FTP server")),
        },
        (None, FtpError::ConnectionError(error)) if error.kind() == ErrorKind::InvalidData => {
            Fault::unreachable(format!("{peer} is not an FTP server: {error}"))
        }
        (None, FtpError::ConnectionError(error)) => Fault::unreachable(format!(
            "{peer} closes the connection before its greeting: {error}"
        )),
        (None, _) => Fault::unreachable(format!("{peer} is not an FTP server")),
    }
}

/// Why `AUTH TLS`, the handshake or `PROT P` failed.
pub(super) fn no_tls(
    peer: &str,
    cut: Option<Cut>,
    record: &SharedRecord,
    error: &FtpError,
) -> Fault {
    if let Some(fault) = cut_fault("AUTH TLS", peer, cut) {
        return fault;
    }
    if let Some(fault) = tls::with(record, |record| record.failure.take()) {
        return promised(fault);
    }
    let is_secured = tls::with(record, |record| record.negotiated.is_some());
    match error {
        FtpError::UnexpectedResponse(response) => match Reply::parse(&response.body) {
            Some(reply) if reply.code / 100 == 5 && is_secured => Fault::unsupported(format!(
                "{peer} does not protect data connections (PROT P): \"{}\"",
                reply.quote()
            )),
            Some(reply) if reply.code / 100 == 4 => reply.refusal(&format!("AUTH TLS at {peer}")),
            Some(reply) => Fault::unsupported(format!(
                "{peer} has no TLS: it answers AUTH TLS with \"{}\"",
                reply.quote()
            )),
            None => Fault::unreachable(format!("{peer} is not an FTP server")),
        },
        error => Fault::transient(format!(
            "the connection to {peer} was lost at AUTH TLS: {}",
            cause(error)
        )),
    }
}

/// A server that promised TLS and then spoke something else may be somebody in between who waits for the
/// password in clear: no other transport is tried.
fn promised(fault: Fault) -> Fault {
    if fault.class != FaultClass::Unreachable {
        return fault;
    }
    Fault::untrusted(format!(
        "{}; it had agreed to TLS, so nothing is sent in clear; if the server cannot do better (ask who runs the \
         host), set `transports = ftp` in the rule",
        fault.message
    ))
}
