//! From a name to a key exchange with a host whose key we accept: resolving, connecting, banner and key
//! exchange, each bounded. Logging in comes after.

use std::time::Duration;

use rustix::net::sockopt;

use super::algorithms::{self, Offer};
use super::disagreement;
use super::known_hosts;
use super::reach::connect;
use super::trust::{Known, Line, describe};
use super::wire::{Code, Halt, Wire, code};
use crate::domain::fault::Fault;
use crate::transport::{Dial, Stage};

/// `host:port` for messages.
pub(super) fn place(dial: &Dial<'_>) -> String {
    format!("{}:{}", dial.target.host, dial.target.ssh_port)
}

/// How long connecting and a key exchange may take, each.
pub(super) fn limit(dial: &Dial<'_>) -> Duration {
    Duration::from_secs(dial.terms.connect_timeout_s.max(1))
}

/// Connects and exchanges keys; gives the connection and the fingerprint of the key, which was accepted.
pub(super) fn open(dial: &Dial<'_>) -> Result<(Wire, String), Fault> {
    let known = Known::load(dial)?;
    let (wire, key) = exchange(dial, |offer| offer.prefer_host_keys(&known.key_types()))?;
    if let Err(fault) = known.judge(dial, &key) {
        wire.cut();
        return Err(fault);
    }
    (dial.reached)(Stage::Keyed {
        key: describe(&key),
        place: known.accepts(&key).map(Line::place),
        algorithms: algorithms::agreed(&wire.session),
    });
    let old = algorithms::old_ones(&wire.session);
    if !old.is_empty() {
        (dial.tell)(format!(
            "{}: old algorithms were agreed upon, which the rule's `old_algorithms` allows: {}; who listens in may \
             read or change what is sent",
            place(dial),
            old.join(", ")
        ));
    }
    Ok((wire, known_hosts::fingerprint(&key)))
}

/// Connects and exchanges keys; gives the key, which nobody has judged yet. `choose` changes what is offered.
pub(super) fn exchange(
    dial: &Dial<'_>,
    choose: impl FnOnce(&mut Offer),
) -> Result<(Wire, Vec<u8>), Fault> {
    let (place, limit) = (place(dial), limit(dial));
    let socket = connect(dial, &place, limit)?;
    let _at_work = dial.surroundings.traffic.begin();
    let cannot = |what: &str| Fault::unreachable(format!("cannot speak SSH with {place}: {what}"));
    let wire = Wire::new(socket, dial.stop.clone(), dial.surroundings.traffic.clone())
        .map_err(|error| cannot(&error))?;
    let _ = sockopt::set_tcp_nodelay(wire.socket(), true);
    // What a broken network held back is dropped with the connection, also when we are killed: a command that
    // arrives after the next attempt has ended would run once more.
    let _ = sockopt::set_socket_linger(wire.socket(), Some(Duration::ZERO));
    let _ = sockopt::set_socket_keepalive(wire.socket(), true);
    let _ = sockopt::set_tcp_keepidle(wire.socket(), Duration::from_secs(30));
    let _ = sockopt::set_tcp_keepintvl(wire.socket(), Duration::from_secs(10));
    let _ = sockopt::set_tcp_keepcnt(wire.socket(), 6);
    let ssh = |error: ssh2::Error| cannot(error.message());
    let mut offer = Offer::new(&wire.session, dial.terms.old_algorithms).map_err(ssh)?;
    choose(&mut offer);
    offer.apply(&wire.session).map_err(ssh)?;
    let mut session = wire.session.clone();
    if let Err(halt) = wire.run(limit, || session.handshake()) {
        let why = match &halt {
            Halt::Ssh(error) if matches!(code(error), Code::Session(-5 | -8)) => {
                wire.cut();
                disagreement(dial, &wire, &offer)
            }
            _ => None,
        };
        return Err(handshake_fault(&halt, &place, why.as_deref()));
    }
    if let Some(banner) = wire.session.banner() {
        (dial.reached)(Stage::Greeted(banner.to_owned()));
    }
    let key = wire.session.host_key().map(|(key, _)| key.to_vec());
    let key = key.ok_or_else(|| cannot("it shows no host key"))?;
    // libssh2 checks this, too: a certificate, say, must never pass for a key.
    let agreed = wire.session.methods(ssh2::MethodType::HostKey);
    if known_hosts::type_of(&key) != agreed.map(algorithms::key_type) {
        return Err(cannot(
            "it shows a host key of a type that was not agreed upon",
        ));
    }
    Ok((wire, key))
}

/// Which lists have nothing in common, where that can be found out.
fn disagreement(dial: &Dial<'_>, wire: &Wire, ours: &Offer) -> Option<String> {
    let with_old = Offer::new(&wire.session, true).ok()?;
    let theirs = disagreement::ask(dial, &place(dial), limit(dial)).ok()?;
    disagreement::explain(ours, &with_old, &theirs)
}

fn handshake_fault(halt: &Halt, place: &str, disagreement: Option<&str>) -> Fault {
    match halt {
        Halt::Stopped => stopped(),
        Halt::TimedOut(limit) => Fault::unreachable(format!(
            "{place} accepted the connection but sent no SSH banner or key exchange within {} s (connect_timeout)",
            limit.as_secs()
        )),
        Halt::Ssh(error) => {
            if let Some(lists) = disagreement {
                return Fault::unreachable(format!(
                    "no SSH with {place}: no common algorithm. {lists}"
                ));
            }
            let what = match code(error) {
                Code::Session(-2 | -13 | -43 | -14) => {
                    "it does not speak SSH, or closed the connection"
                }
                _ => "the key exchange failed",
            };
            Fault::unreachable(format!("no SSH with {place}: {what} ({})", error.message()))
        }
    }
}

/// The fault of an operation that the worker's end interrupts.
pub(super) fn stopped() -> Fault {
    Fault::transient("interrupted: the worker was told to stop")
}
