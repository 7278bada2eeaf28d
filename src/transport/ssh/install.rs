//! Install commands over SSH: tracked, so that they survive us and run at most once; or plain, attached.

use std::cell::Cell;
use std::io::{self, ErrorKind, Read};
use std::time::{Duration, Instant};

use super::closing;
use super::exec::{self, ExecError, Input, Patient};
use super::follow::{Ending, Follow};
use super::link::{Link, refused};
use super::wire::Halt;
use crate::domain::fault::{Fault, FaultClass};
use crate::domain::install::{
    InstallEnd, InstallOutcome, InstallSpec, PLAIN_LATE_STATUS, STILL_RUNS_STATUS, Tail,
    environment, fill, forget_script, is_token, plain_script, tracked_lesson, tracked_script,
};
use crate::domain::target::InstallMode;

/// How long a tracked command is followed beyond twice its limit, which is what a slow host may make of it.
const FOLLOWED_MORE: Duration = Duration::from_mins(10);

/// Asked before a tracked command can begin.
type MayBegin<'a> = &'a mut dyn FnMut() -> Result<(), Fault>;

/// Runs the command, or collects what an earlier run of the same token came to.
pub(super) fn install(
    link: &mut Link,
    spec: &InstallSpec,
    may_begin: MayBegin<'_>,
    output: &mut dyn FnMut(&[u8]),
) -> Result<InstallOutcome, Fault> {
    if !is_token(&spec.token) {
        return Err(Fault::permanent(format!(
            "{:?} cannot name an install on the host",
            spec.token
        )));
    }
    match spec.mode {
        InstallMode::Tracked => tracked(link, spec, may_begin, output, true),
        InstallMode::Plain => plain(link, spec, output),
    }
}

/// The word that lets a prepared host begin, sent once our own side agrees.
struct Word<'a> {
    prepared: &'a Cell<bool>,
    may_begin: MayBegin<'a>,
    refusal: Option<Fault>,
    /// What is still to be sent.
    left: Vec<u8>,
    is_asked: bool,
}

impl Read for Word<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if !self.prepared.get() {
            return Err(ErrorKind::WouldBlock.into());
        }
        if !std::mem::replace(&mut self.is_asked, true)
            && let Err(fault) = (self.may_begin)()
        {
            self.refusal = Some(fault);
            return Err(io::Error::other("the command is not to begin"));
        }
        let count = self.left.as_slice().read(buffer)?;
        self.left.drain(..count);
        Ok(count)
    }
}

/// Removes what a tracked run keeps on the host; false, and nothing is removed, while its command runs.
pub(super) fn forget(link: &mut Link, token: &str) -> Result<bool, Fault> {
    if !is_token(token) || link.shell == Some(false) {
        return Ok(true);
    }
    match link.script(&forget_script(token)) {
        Ok(ran) if ran.status == 0 => Ok(true),
        Ok(ran) if ran.status == STILL_RUNS_STATUS => Ok(false),
        Ok(ran) => Err(refused(
            &link.place,
            "cannot remove the record of the install",
            token,
            &ran.text(),
        )),
        // Where nothing can run, nothing was kept.
        Err(ExecError::NoShell(_)) => Ok(true),
        Err(error) => Err(link.exec_fault(&error, "forgetting an install")),
    }
}

fn tracked(
    link: &mut Link,
    spec: &InstallSpec,
    may_begin: MayBegin<'_>,
    output: &mut dyn FnMut(&[u8]),
    may_repeat: bool,
) -> Result<InstallOutcome, Fault> {
    let nonce = exec::nonce();
    let mut follow = Follow::new(&nonce, spec.output_max_bytes);
    let (lesson, script) = (tracked_lesson(), tracked_script(spec, &nonce));
    let prepared = Cell::new(false);
    let mut word = Word {
        prepared: &prepared,
        may_begin: &mut *may_begin,
        refusal: None,
        left: format!("{nonce}\n").into_bytes(),
        is_asked: false,
    };
    let input = Input {
        reader: &mut word,
        progress: &mut |_| {},
    };
    // A host whose follower outlives the limit of the command by so much is not believed any more.
    let limit = Duration::from_secs(spec.timeout_s.saturating_mul(2)).saturating_add(FOLLOWED_MORE);
    let input = (!spec.recorded).then_some(input);
    let script = (lesson.as_str(), script.as_str());
    let ran = link.converse(Patient::For(limit), script, input, &mut |bytes| {
        follow.take(bytes, output);
        prepared.set(follow.prepared);
    });
    if let Some(fault) = word.refusal {
        return Err(fault);
    }
    match follow.ending {
        Some(Ending::Ended(end)) => Ok(follow.tail.into_outcome(end)),
        Some(Ending::Trouble(why)) => {
            let fault = refused(
                &link.place,
                "cannot run the install command under",
                "~/.auto-dispatcher",
                &why,
            );
            // Nothing has run yet, or the wrapper still runs: nothing is lost by trying again.
            let again = why.starts_with("the ");
            Err(if again {
                Fault::transient(fault.message)
            } else {
                fault
            })
        }
        Some(Ending::Lost) if spec.idempotent && may_repeat => {
            forget(link, &spec.token)?;
            let again = InstallSpec {
                recorded: false,
                ..spec.clone()
            };
            tracked(link, &again, may_begin, output, false)
        }
        Some(Ending::Lost) => Err(Fault::unknown(format!(
            "{}: the install command may have begun, but the host has lost its record (it was reset, the record was \
             removed, or the command was killed with what watched it): whether it succeeded is not known; look at the \
             host, then `retry`",
            link.place
        ))),
        None => Err(match ran {
            Ok(status) => Fault::transient(format!(
                "{}: the install command cannot be followed (status {status}); its outcome will be collected",
                link.place
            )),
            Err(error) => link.exec_fault(&error, "following the install command"),
        }),
    }
}

fn plain(
    link: &mut Link,
    spec: &InstallSpec,
    output: &mut dyn FnMut(&[u8]),
) -> Result<InstallOutcome, Fault> {
    if link.shell.is_none() {
        // Finds out what runs here, and sets `link.shell`.
        let _ = link.script("true");
    }
    if link.shell == Some(false) {
        return bare(link, spec, output);
    }
    let begun = Instant::now();
    let mut tail = Tail::new(spec.output_max_bytes);
    let script = plain_script(spec);
    // A silent command is no stall: its own limit counts, and that the host is there.
    let limit = Duration::from_secs(spec.timeout_s.saturating_add(30));
    let ran = link.converse(
        Patient::ForSilence(limit),
        ("", &script),
        None,
        &mut |bytes| {
            output(bytes);
            tail.push(bytes);
        },
    );
    // What the command left running may go on talking, which no later script is to hear.
    if let Some(shell) = link.standing.take() {
        link.let_go(shell);
    }
    match ran {
        Ok(PLAIN_LATE_STATUS) if begun.elapsed() >= Duration::from_secs(spec.timeout_s) => {
            Ok(tail.into_outcome(InstallEnd::TimedOut))
        }
        Ok(status) => Ok(tail.into_outcome(InstallEnd::Exited(status))),
        Err(error) => Err(attached_fault(link, spec, &error)),
    }
}

/// An attached command whose connection ended may have done its work or not.
fn attached_fault(link: &Link, spec: &InstallSpec, error: &ExecError) -> Fault {
    let fault = link.exec_fault(error, "running the install command");
    if spec.idempotent || fault.class != FaultClass::Transient {
        return fault;
    }
    Fault::unknown(format!(
        "{}; whether the command (install_mode plain) succeeded is not known: look at the host, then `retry` if it has to run again",
        fault.message
    ))
}

/// A command on a host without a POSIX shell: given as it is, its status as libssh2 tells it.
fn bare(
    link: &mut Link,
    spec: &InstallSpec,
    output: &mut dyn FnMut(&[u8]),
) -> Result<InstallOutcome, Fault> {
    let doing = "running the install command";
    let limit = Duration::from_secs(spec.timeout_s);
    link.clear();
    let session = &link.wire.session;
    let halted = |halt: Halt| link.halt_fault(&halt, doing);
    let mut channel = link
        .wire
        .run(link.stall, || session.channel_session())
        .map_err(halted)?;
    for (name, value) in environment(&spec.facts) {
        // Most servers accept no variables; those that do give the command what it may expect.
        let _ = link.wire.run(link.stall, || channel.setenv(name, value));
    }
    link.wire
        .run(link.stall, || {
            channel.handle_extended_data(ssh2::ExtendedData::Merge)
        })
        .map_err(halted)?;
    let command = fill(&spec.command, &spec.facts);
    match link.wire.run(link.stall, || channel.exec(&command)) {
        Ok(()) => {}
        Err(Halt::Ssh(error)) if !super::wire::is_lost(&error) => {
            return Err(link.exec_fault(&ExecError::NoShell(error.message().to_owned()), doing));
        }
        Err(halt) => return Err(halted(halt)),
    }
    let (mut tail, mut last) = (Tail::new(spec.output_max_bytes), Instant::now());
    let end = last + limit;
    let mut buffer = vec![0; 64 * 1024];
    loop {
        if Instant::now() >= end {
            closing::finish(&link.wire, &mut channel);
            return Ok(tail.into_outcome(InstallEnd::TimedOut));
        }
        link.wire
            .heed_stop()
            .map_err(|halt| attached_fault(link, spec, &ExecError::Halt(halt)))?;
        match link.wire.transfer(link.stall, || channel.read(&mut buffer)) {
            Ok(0) if channel.eof() => break,
            Ok(count) => {
                last = Instant::now();
                output(&buffer[..count]);
                tail.push(&buffer[..count]);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                let late = (end + Duration::from_secs(1), limit);
                let pause = link.wire.pause_listening(late, (last, link.stall));
                pause.map_err(|halt| attached_fault(link, spec, &ExecError::Halt(halt)))?;
            }
            Err(error) => {
                return Err(attached_fault(
                    link,
                    spec,
                    &ExecError::Lost(error.to_string()),
                ));
            }
        }
    }
    let closed = link.wire.run(link.stall, || closing::close(&mut channel));
    closed.map_err(|halt| attached_fault(link, spec, &ExecError::Halt(halt)))?;
    ended(link, spec, &channel, tail)
}

/// The outcome of a command whose channel is closed.
fn ended(
    link: &Link,
    spec: &InstallSpec,
    channel: &ssh2::Channel,
    tail: Tail,
) -> Result<InstallOutcome, Fault> {
    let signal = channel
        .exit_signal()
        .ok()
        .and_then(|signal| signal.exit_signal);
    match (signal, channel.exit_status()) {
        (None, Ok(status)) => Ok(tail.into_outcome(InstallEnd::Exited(status))),
        (Some(signal), _) => Err(Fault::unknown(format!(
            "{}: the install command was ended by signal {signal}",
            link.place
        ))),
        (None, Err(error)) => Err(attached_fault(
            link,
            spec,
            &ExecError::Lost(error.message().to_owned()),
        )),
    }
}
