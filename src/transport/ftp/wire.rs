//! One control connection and its data connections: suppaftp, with every wait bounded, every reply as it
//! came, and passwords kept out of its log. Knows how FTP talks, not what is wanted of it.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use suppaftp::{DataStream, FtpError, ImplFtpStream, Mode, TransferStream};

use super::names::{Names, PLACEHOLDER};
use super::reply::Reply;
use super::tls::{self, Connector, SharedRecord, Tls};
use super::trouble::{cause, cut_fault, no_banner, no_tls};
use super::watch::Watch;
use crate::domain::fault::{Fault, FaultClass};
use crate::domain::secret::Secret;
use crate::transport::StopFlag;

/// How long parting may take.
const PARTING: Duration = Duration::from_secs(1);

/// What became of the last attempt at a data connection.
#[derive(Debug, Default)]
struct DataDial {
    dialled: bool,
    failure: Option<String>,
}

/// Time limits of a session.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// For connect, banner, TLS and login, each.
    pub(super) connect: Duration,
    /// Without any progress.
    pub(super) stall: Duration,
}

/// One control connection.
pub(super) struct Wire {
    ftp: ImplFtpStream<Tls>,
    watch: Watch,
    names: Names,
    is_in_clear: bool,
    data_dial: Arc<Mutex<DataDial>>,
    record: SharedRecord,
    limits: Limits,
    extended_passive: bool,
    /// `host:port`, for messages.
    peer: String,
    /// Dropped after `ftp`, for fields are dropped in their order.
    _end: EndOfWatch,
}

impl Wire {
    /// Waits for the banner on a fresh connection and, with a connector, turns to TLS before anything
    /// else is said.
    pub(super) fn open(
        socket: TcpStream,
        tls: Option<(Connector, &str)>,
        record: &SharedRecord,
        (peer, limits, stop): (&str, Limits, &StopFlag),
    ) -> Result<Self, Fault> {
        let local = |error: io::Error| {
            Fault::transient(format!("cannot watch the connection to {peer}: {error}"))
        };
        let watch = Watch::start(&socket, stop).map_err(local)?;
        let end = EndOfWatch(watch.clone());
        let is_in_clear = tls.is_none();
        let (ftp, names, data_dial) = Self::greet(socket, tls, record, &watch, (peer, limits))?;
        Ok(Self {
            ftp,
            watch,
            names,
            is_in_clear,
            data_dial,
            record: Arc::clone(record),
            limits,
            extended_passive: true,
            peer: peer.to_owned(),
            _end: end,
        })
    }

    #[expect(
        clippy::type_complexity,
        reason = "the parts of a Wire, named where they are put together"
    )]
    fn greet(
        socket: TcpStream,
        tls: Option<(Connector, &str)>,
        record: &SharedRecord,
        watch: &Watch,
        (peer, limits): (&str, Limits),
    ) -> Result<(ImplFtpStream<Tls>, Names, Arc<Mutex<DataDial>>), Fault> {
        watch.arm(limits.connect);
        let mut ftp = ImplFtpStream::<Tls>::connect_with_stream(socket)
            .map_err(|error| no_banner(peer, watch.cut(), &error))?;
        let names = Names::default();
        ftp.set_encoding(names.clone());
        ftp.set_mode(Mode::ExtendedPassive);
        // The address in a reply to PASV is often that of a network behind NAT, and otherwise could send our
        // bytes to a third party: the host of the control connection is always the one meant.
        ftp.set_passive_nat_workaround(true);
        let data_dial = Arc::new(Mutex::new(DataDial::default()));
        let (noted, watched, limit) = (Arc::clone(&data_dial), watch.clone(), limits.connect);
        let mut ftp = ftp.passive_stream_builder(move |address| {
            dial_data(address, limit, &noted, &watched).map_err(FtpError::ConnectionError)
        });
        if let Some((connector, domain)) = tls {
            watch.arm(limits.connect);
            ftp = ftp
                .into_secure(connector, domain)
                .map_err(|error| no_tls(peer, watch.cut(), record, &error))?;
        }
        watch.disarm();
        Ok((ftp, names, data_dial))
    }

    /// Sends a command and gives the reply, whatever it is. `what` is for messages: the command may hold
    /// what they must not.
    pub(super) fn ask(&mut self, what: &str, command: &str) -> Result<Reply, Fault> {
        self.ask_within(self.limits.stall, what, command)
    }

    /// The same with a time limit of its own.
    pub(super) fn ask_within(
        &mut self,
        limit: Duration,
        what: &str,
        command: &str,
    ) -> Result<Reply, Fault> {
        self.watch.arm(limit);
        // With no code expected, every reply comes back whole as the "unexpected" one; the typed methods of
        // suppaftp lose codes they do not know and refuse replies that real servers send.
        let answer = self.ftp.custom_command(command, &[]);
        self.watch.disarm();
        let response = match answer {
            Ok(response) | Err(FtpError::UnexpectedResponse(response)) => response,
            Err(error) => return Err(self.lost(what, &error)),
        };
        Reply::parse(&response.body).ok_or_else(|| self.lost(what, &FtpError::BadResponse))
    }

    /// Sends `verb` with a secret that no log and no message will hold.
    pub(super) fn ask_secret(
        &mut self,
        what: &str,
        verb: &str,
        secret: &Secret,
    ) -> Result<Reply, Fault> {
        if self.is_in_clear {
            let sent = self.names.send_ahead(&self.ftp.get_ref(), verb, secret);
            sent.map_err(|error| self.lost(what, &FtpError::ConnectionError(error)))?;
        } else {
            self.names.put(secret.clone());
        }
        let answer = self.ask_within(self.limits.connect, what, &format!("{verb} {PLACEHOLDER}"));
        self.names.clear();
        Ok(answer?.without(secret))
    }

    /// Opens a data connection for `command`: by EPSV, and by PASV where that is refused or leads nowhere.
    pub(super) fn open_data(&mut self, what: &str, command: &str) -> Result<Transfer<'_>, Fault> {
        self.open_data_at(what, command, 0)
            .map_err(|(Unopened::Refused(fault) | Unopened::Failed(fault))| fault)
    }

    /// The same for what begins at `offset` of the file (`REST`, right before the command).
    pub(super) fn open_data_at(
        &mut self,
        what: &str,
        command: &str,
        offset: u64,
    ) -> Result<Transfer<'_>, Unopened> {
        let offset = usize::try_from(offset).map_err(|_| {
            Unopened::Refused(Fault::unsupported(format!(
                "{what}: this machine cannot count to {offset}"
            )))
        })?;
        let limit = self
            .limits
            .connect
            .saturating_mul(2)
            .saturating_add(self.limits.stall);
        let started = [suppaftp::Status::AboutToSend, suppaftp::Status::AlreadyOpen];
        loop {
            *self.dial() = DataDial::default();
            // One data command uses it up, be it refused or not.
            self.ftp
                .resume_transfer(offset)
                .map_err(|error| Unopened::Failed(self.lost(what, &error)))?;
            self.watch.arm(limit);
            let error = match self.ftp.custom_data_command(command, &started) {
                Ok((_, stream)) => {
                    return Ok(Transfer {
                        wire: self,
                        stream,
                        written: false,
                    });
                }
                Err(error) => error,
            };
            self.watch.disarm();
            self.watch.forget_data();
            let DataDial { dialled, failure } = std::mem::take(&mut *self.dial());
            let refused = matches!(
                &error,
                FtpError::UnexpectedResponse(_) | FtpError::BadResponse
            );
            if self.extended_passive && ((!dialled && refused) || failure.is_some()) {
                self.extended_passive = false;
                self.ftp.set_mode(Mode::Passive);
                continue;
            }
            if let Some(failure) = failure
                && self.watch.cut().is_none()
            {
                return Err(Unopened::Failed(Fault::transient(format!(
                    "{what}: no data connection to {failure}"
                ))));
            }
            let unopened = self.refused_or_lost(what, &error);
            if offset > 0 && matches!(unopened, Unopened::Refused(_)) {
                // A server that refused the command may keep the offset for the next one.
                self.ask(what, "REST 0").map_err(Unopened::Failed)?;
            }
            return Err(unopened);
        }
    }

    fn dial(&self) -> std::sync::MutexGuard<'_, DataDial> {
        self.data_dial
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The limit without progress.
    pub(super) fn limits(&self) -> Limits {
        self.limits
    }

    /// `host:port`.
    pub(super) fn peer(&self) -> &str {
        &self.peer
    }

    /// Takes a file away that is not to stay; where that fails the next attempt finds it.
    pub(super) fn remove(&mut self, remote: &str) {
        self.watch.arm(self.limits.stall);
        drop(self.ftp.custom_command(format!("DELE {remote}"), &[]));
        self.watch.disarm();
    }

    /// A command whose outcome does not matter, on a connection that may be lost, within a second even when
    /// the worker is told to stop.
    pub(super) fn ask_in_passing(&mut self, command: &str) {
        self.watch.arm_regardless(PARTING);
        drop(self.ftp.custom_command(command, &[]));
        self.watch.disarm();
    }

    fn refused_or_lost(&self, what: &str, error: &FtpError) -> Unopened {
        if let FtpError::UnexpectedResponse(response) = error
            && let Some(reply) = Reply::parse(&response.body)
        {
            return Unopened::Refused(reply.refusal(what));
        }
        Unopened::Failed(self.lost(what, error))
    }

    fn lost(&self, what: &str, error: &FtpError) -> Fault {
        if let Some(fault) = cut_fault(what, &self.peer, self.watch.cut()) {
            return fault;
        }
        if let FtpError::SecureError(_) = error
            && let Some(fault) = tls::with(&self.record, |record| record.failure.take())
        {
            // After the login nothing but a changed certificate speaks against trying again.
            let class = match fault.class {
                FaultClass::Untrusted => FaultClass::Untrusted,
                _ => FaultClass::Transient,
            };
            return Fault::new(class, format!("{what}: {}", fault.message));
        }
        Fault::transient(format!(
            "{what}: the connection to {} was lost: {}",
            self.peer,
            cause(error)
        ))
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        // Dropping a TLS stream writes a last record; the watch bounds that too.
        self.watch.arm_regardless(PARTING);
    }
}

/// Ends the watch when the connection is gone.
struct EndOfWatch(Watch);

impl Drop for EndOfWatch {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// Why there is no data connection.
pub(super) enum Unopened {
    /// The server says no, to the offset or to the command.
    Refused(Fault),
    /// The connection, or the way to a second one.
    Failed(Fault),
}

/// Why a file did not get to its end.
pub(super) struct Unfinished {
    /// The fault.
    pub(super) fault: Fault,
    /// Whether a connection broke, rather than that the server had enough: what arrived can be gone on from.
    pub(super) is_cut: bool,
}

/// A file on its way.
pub(super) struct Transfer<'a> {
    wire: &'a mut Wire,
    stream: TransferStream<Tls>,
    written: bool,
}

impl Transfer<'_> {
    /// Hands over some of `bytes` and says how many.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.wire.watch.arm(self.wire.limits.stall);
        self.written = true;
        io::Write::write(&mut self.stream, bytes)
    }

    /// Reads what the server sends.
    pub(super) fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.wire.watch.arm(self.wire.limits.stall);
        io::Read::read(&mut self.stream, bytes)
    }

    /// Ends the file and reads the server's verdict. `broke` is what went wrong before, if anything did: the
    /// server's own words, where there are some, explain it better.
    pub(super) fn finish(mut self, what: &str, broke: Option<io::Error>) -> Result<(), Unfinished> {
        self.wire.watch.arm(self.wire.limits.stall);
        let broke = broke.or_else(|| io::Write::flush(&mut self.stream).err());
        self.let_go();
        let ended = self.stream.finish();
        self.wire.watch.forget_data();
        self.wire.watch.disarm();
        let lost = |error: &FtpError| Unfinished {
            fault: self.wire.lost(what, error),
            is_cut: true,
        };
        match (ended, broke) {
            (Ok(()), None) => Ok(()),
            (Err(FtpError::UnexpectedResponse(response)), _) => {
                match Reply::parse(&response.body) {
                    Some(reply) => Err(Unfinished {
                        fault: reply.refusal(what),
                        is_cut: reply.tells_of_a_cut(),
                    }),
                    None => Err(lost(&FtpError::BadResponse)),
                }
            }
            (_, Some(broke)) => Err(lost(&FtpError::ConnectionError(broke))),
            (Err(error), None) => Err(lost(&error)),
        }
    }

    /// Gives the transfer up; what the server makes of it does not matter.
    pub(super) fn give_up(self) {
        self.wire.watch.arm_regardless(PARTING);
        self.let_go();
        drop(self.stream.finish());
        self.wire.watch.forget_data();
        self.wire.watch.disarm();
    }

    /// The data connection is about to be closed, which the watch's handle would prevent; but where suppaftp first
    /// reads until the server ends (an upload over TLS), a server may go on for ever, and the watch has to hold it.
    fn let_go(&self) {
        let is_secured = matches!(self.stream.get_ref(), DataStream::Ssl(_));
        if !(is_secured && self.written) {
            self.wire.watch.forget_data();
        }
    }
}

fn dial_data(
    address: SocketAddr,
    limit: Duration,
    noted: &Mutex<DataDial>,
    watch: &Watch,
) -> io::Result<TcpStream> {
    let dialled = TcpStream::connect_timeout(&address, limit).and_then(|stream| {
        // For the last record of TLS, which is written when the watch no longer holds this socket.
        stream.set_write_timeout(Some(limit))?;
        watch.add_data(&stream)?;
        Ok(stream)
    });
    let mut noted = noted.lock().unwrap_or_else(PoisonError::into_inner);
    noted.dialled = true;
    noted.failure = dialled
        .as_ref()
        .err()
        .map(|error| format!("{address}: {error}"));
    dialled
}
