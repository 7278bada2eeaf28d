//! The FTP and FTPS transports: passive mode only, TLS by `AUTH TLS` only. FTP cannot run commands, so an
//! install command goes over SSH. Names are sent as UTF-8, and `OPTS UTF8 ON` is said where it is offered; a
//! server that keeps names in another encoding (GBK) stores those bytes as they come.
//!
//! suppaftp and rustls are named in this module only. suppaftp logs commands under the target `suppaftp`;
//! passwords and accounts are not among them.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs as _};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use rustix::net::sockopt;
use rustls::version::{TLS12, TLS13};

use crate::domain::fault::{Fault, FaultClass};
use crate::domain::target::TransportKind;
use crate::transport::{Dial, Session, SessionFacts, Stage};

mod digest;
mod login;
mod names;
mod path;
#[cfg(feature = "probes")]
#[doc(hidden)]
pub mod probes;
mod reply;
mod resume;
mod session;
mod tls;
mod trouble;
mod trust;
mod upload;
mod watch;
mod wire;

use tls::{Connector, SharedRecord};
use wire::{Limits, Wire};

/// Idle time after which the kernel asks whether the peer of a control connection is still there: during a
/// long transfer nothing is said on it, and firewalls forget silent connections.
const KEEP_ALIVE: Duration = Duration::from_secs(30);

/// Opens a session over FTP, or over FTP with explicit TLS, logs in and makes it binary.
///
/// Unreachable: no connection, no FTP server, no common TLS. Unsupported: FTPS asked of a server without
/// TLS. Untrusted: its certificate. Denied: the login. The password is looked up when the server asks for
/// it, after its certificate was checked.
pub fn connect(kind: TransportKind, dial: &Dial<'_>) -> Result<Box<dyn Session>, Fault> {
    let peer = match &dial.target.host {
        address if address.contains(':') => format!("[{address}]:{}", dial.target.ftp_port),
        name => format!("{name}:{}", dial.target.ftp_port),
    };
    path::check("the login", &dial.target.login)?;
    let record = SharedRecord::default();
    let mut wire = match kind {
        TransportKind::Ftp => open(dial, &peer, None, &record)?,
        TransportKind::Ftps => open_secured(dial, &peer, &record)?,
        TransportKind::Ssh => return Err(Fault::unsupported("SSH is not spoken here")),
    };
    let (fingerprint, negotiated) = tls::with(&record, |record| {
        (record.fingerprint.clone(), record.negotiated.clone())
    });
    if let (Some(fingerprint), Some(tls)) = (&fingerprint, &negotiated) {
        (dial.reached)(Stage::Secured {
            fingerprint: fingerprint.clone(),
            tls: tls.clone(),
        });
    }
    let welcome = login::login(&mut wire, dial)?;
    let detail = negotiated.map_or_else(|| "in clear".to_owned(), |tls| format!("AUTH TLS, {tls}"));
    let facts = SessionFacts {
        kind,
        fingerprint,
        detail,
    };
    Ok(Box::new(session::FtpSession::new(
        wire, facts, welcome, dial.stop,
    )))
}

/// TLS 1.2 first: its sessions can be resumed any number of times, as vsftpd's `require_ssl_reuse` wants,
/// while rustls uses each ticket of TLS 1.3 once and the server's supply runs out at the third file.
fn open_secured(dial: &Dial<'_>, peer: &str, record: &SharedRecord) -> Result<Wire, Fault> {
    let connector = Connector::new(dial.terms, &TLS12, peer, record)?;
    let mut opened = open(dial, peer, Some(connector), record);
    if opened.is_err()
        && tls::with(record, |record| {
            std::mem::take(&mut record.other_version_wanted)
        })
    {
        // It may be a server that speaks TLS 1.3 only.
        let connector = Connector::new(dial.terms, &TLS13, peer, record)?;
        opened = open(dial, peer, Some(connector), record);
    }
    opened.map_err(|fault| not_in_clear(dial, fault))
}

/// A rule that says whose certificate to believe and does not list `ftp` expects TLS: a server that claims to
/// have none is not the one meant, and one that is out of reach now may be somebody else's in a moment. The
/// password does not follow in clear.
fn not_in_clear(dial: &Dial<'_>, fault: Fault) -> Fault {
    let key = match (&dial.terms.ftps_fingerprint, &dial.terms.ca_file) {
        (Some(_), _) => "ftps_fingerprint",
        (None, Some(_)) => "ca_file",
        (None, None) => return fault,
    };
    if dial.terms.ftp_is_named {
        return fault;
    }
    let class = match fault.class {
        FaultClass::Unsupported => FaultClass::Untrusted,
        FaultClass::Unreachable if dial.terms.transports.contains(&TransportKind::Ftp) => {
            FaultClass::Transient
        }
        _ => return fault,
    };
    Fault::new(
        class,
        format!(
            "{}; the rule says by `{key}` that it has TLS, so nothing is sent in clear; if that is meant, list \
             `ftp` in `transports`",
            fault.message
        ),
    )
}

fn open(
    dial: &Dial<'_>,
    peer: &str,
    connector: Option<Connector>,
    record: &SharedRecord,
) -> Result<Wire, Fault> {
    dial.stop.check()?;
    let limits = Limits {
        connect: Duration::from_secs(dial.terms.connect_timeout_s.max(1)),
        stall: Duration::from_secs(dial.terms.stall_timeout_s.max(1)),
    };
    let socket = connect_tcp(dial, peer, limits.connect)?;
    let unusable = |error: io::Error| {
        Fault::transient(format!("cannot use the connection to {peer}: {error}"))
    };
    let address = socket.peer_addr().map_err(unusable)?.ip();
    prepare_socket(&socket).map_err(unusable)?;
    let name = server_name(&dial.target.host, address);
    let connector = connector.map(|connector| (connector, name.as_str()));
    Wire::open(socket, connector, record, (peer, limits, dial.stop))
}

/// The name that a certificate has to be for; a host that is no name in the sense of TLS goes by its address.
fn server_name(host: &str, address: IpAddr) -> String {
    let host = host.trim_end_matches('.');
    match rustls::pki_types::ServerName::try_from(host) {
        Ok(_) => host.to_owned(),
        Err(_) => address.to_string(),
    }
}

fn prepare_socket(socket: &TcpStream) -> io::Result<()> {
    socket.set_nodelay(true)?;
    // Commands that a broken network held back are dropped with the connection, also when we are killed: a
    // rename that arrives after the next attempt has begun would publish half a file.
    sockopt::set_socket_linger(socket, Some(Duration::ZERO))?;
    sockopt::set_socket_keepalive(socket, true)?;
    sockopt::set_tcp_keepidle(socket, KEEP_ALIVE)?;
    sockopt::set_tcp_keepintvl(socket, KEEP_ALIVE)?;
    Ok(())
}

/// Connects to the first of the host's addresses that answers, within `limit` for all of them.
fn connect_tcp(dial: &Dial<'_>, peer: &str, limit: Duration) -> Result<TcpStream, Fault> {
    let end = Instant::now() + limit;
    let addresses = resolve(&dial.target.host, dial.target.ftp_port, limit)?;
    (dial.reached)(Stage::Resolved(addresses.clone()));
    let mut reasons = Vec::new();
    for address in addresses {
        dial.stop.check()?;
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            reasons.push("connect timed out".to_owned());
            break;
        }
        match TcpStream::connect_timeout(&address, left) {
            Ok(socket) => {
                (dial.reached)(Stage::Connected(address));
                return Ok(socket);
            }
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                reasons.push(format!(
                    "{} does not answer within {} s",
                    address.ip(),
                    limit.as_secs()
                ));
            }
            Err(error) => reasons.push(format!("{}: {error}", address.ip())),
        }
    }
    Err(Fault::unreachable(format!(
        "cannot connect to {peer}: {}",
        reasons.join("; ")
    )))
}

/// The resolver has no time limit of its own that could be set: it gets a thread, which is left behind
/// where it takes longer.
fn resolve(host: &str, port: u16, limit: Duration) -> Result<Vec<SocketAddr>, Fault> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    let (answer, answered) = mpsc::channel();
    let name = host.to_owned();
    let asked = thread::Builder::new()
        .name("resolve".to_owned())
        .spawn(move || {
            let found = (name.as_str(), port).to_socket_addrs().map(Vec::from_iter);
            // Nobody listens any more where the limit has passed.
            drop(answer.send(found));
        });
    if let Err(error) = asked {
        return Err(Fault::transient(format!(
            "cannot start a thread to resolve {host}: {error}"
        )));
    }
    match answered.recv_timeout(limit) {
        Ok(Ok(addresses)) if !addresses.is_empty() => Ok(addresses),
        Ok(Ok(_)) => Err(Fault::unreachable(format!(
            "the name {host} has no address"
        ))),
        Ok(Err(error)) => Err(Fault::unreachable(format!(
            "the name {host} does not resolve: {error}"
        ))),
        Err(_) => Err(Fault::unreachable(format!(
            "the name {host} does not resolve within {} s",
            limit.as_secs()
        ))),
    }
}
