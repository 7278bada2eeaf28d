//! The sessions of a lane: opened when they are needed, kept while the terms stay the same, dropped when
//! they failed; and the mask for what their hosts say. Decides nothing about deliveries.

use std::cell::RefCell;
use std::time::{Duration, Instant};

use super::Context;
use super::configurations::LateCredentials;
use crate::domain::event::{Event, Subject};
use crate::domain::fault::Fault;
use crate::domain::mask::Mask;
use crate::domain::target::{ConnectionTerms, TransportKind};
use crate::journal::{Leftover, Remains, Work};
use crate::transport::{self, Dial, Session, fallback, ssh};

/// For which delivery a session is wanted.
#[derive(Clone, Copy)]
pub(super) struct Caller<'a> {
    pub(super) context: &'a Context,
    pub(super) work: &'a Work,
    pub(super) subject: &'a Subject,
}

impl<'a> Caller<'a> {
    fn credentials<'d>(self, mask: &'d RefCell<Mask>) -> LateCredentials<'d>
    where
        'a: 'd,
    {
        let context = self.context;
        LateCredentials::new(&context.configurations, self.work, &context.stop, mask)
    }

    fn dial<'d>(self, credentials: &'d LateCredentials<'d>) -> Dial<'d>
    where
        'a: 'd,
    {
        Dial {
            target: &self.work.target,
            terms: &self.work.connection,
            credentials,
            surroundings: &self.context.surroundings,
            tell: Box::new(move |message| {
                self.context.emit(&Event::Notice {
                    message: format!("{}: {message}", self.subject.lane),
                });
            }),
            reached: Box::new(|_| {}),
            stop: &self.context.stop,
        }
    }

    fn fell_back(self, from: TransportKind, fault: &Fault, mask: &RefCell<Mask>) {
        self.context.emit(&Event::FellBack {
            subject: self.subject.clone(),
            from,
            fault: mask.borrow().text(&fault.to_string()).into_owned(),
        });
    }

    fn connected(self, session: &dyn Session, mask: &RefCell<Mask>) {
        let facts = session.facts();
        self.context.emit(&Event::Connected {
            subject: self.subject.clone(),
            transport: facts.kind,
            fingerprint: facts.fingerprint.clone(),
            detail: mask.borrow().text(&facts.detail).into_owned(),
        });
    }
}

type Open = Option<(Box<dyn Session>, ConnectionTerms)>;

/// The open sessions of a lane.
#[derive(Default)]
pub(super) struct Sessions {
    files: Open,
    /// A second one, over SSH, for install commands behind an upload by FTP.
    commands: Open,
    /// Installs that the hosts have forgotten and the journal has not.
    forgotten: Vec<String>,
    /// Something was not removed from the host; the next time the lane is worked is soon enough.
    tidying_failed: bool,
    /// When the first of them was opened.
    since: Option<Instant>,
    /// Knows the secrets of every delivery that the lane has had in this turn.
    mask: RefCell<Mask>,
}

impl Sessions {
    /// Learns the secrets of a delivery that are at hand, to hide them in what its host says.
    pub(super) fn learn(&self, caller: Caller<'_>) {
        caller.credentials(&self.mask).teach();
    }

    /// What a host said, without the secrets that are known.
    pub(super) fn hide(&self, text: &str) -> String {
        self.mask.borrow().text(text).into_owned()
    }

    /// The same for the output of an install command; `is_cut`: there was more before it.
    pub(super) fn hide_in_output(&self, output: Vec<u8>, is_cut: bool) -> Vec<u8> {
        self.mask.borrow().output(output, is_cut)
    }

    /// Tells that a transport was given up.
    pub(super) fn fell_back(&self, caller: Caller<'_>, from: TransportKind, fault: &Fault) {
        caller.fell_back(from, fault, &self.mask);
    }

    /// A session that brings files, by the first transport that serves and is not given up.
    pub(super) fn for_files(
        &mut self,
        caller: Caller<'_>,
        given_up: &[TransportKind],
    ) -> Result<&mut dyn Session, Fault> {
        close_unless(&mut self.files, &caller.work.connection);
        if self.files.is_none() {
            let credentials = caller.credentials(&self.mask);
            let mut passed_over = |kind, fault: &Fault| caller.fell_back(kind, fault, &self.mask);
            let session =
                fallback::connect(&caller.dial(&credentials), given_up, &mut passed_over)?;
            caller.connected(session.as_ref(), &self.mask);
            self.opened();
            self.files = Some((session, caller.work.connection.clone()));
        }
        session_of(&mut self.files)
    }

    /// A session that runs commands: over SSH, whatever brings the files.
    pub(super) fn for_commands(&mut self, caller: Caller<'_>) -> Result<&mut dyn Session, Fault> {
        close_unless(&mut self.files, &caller.work.connection);
        let files_run_commands = self
            .files
            .as_ref()
            .is_some_and(|(session, _)| session.facts().kind == TransportKind::Ssh);
        if files_run_commands {
            return session_of(&mut self.files);
        }
        close_unless(&mut self.commands, &caller.work.connection);
        if self.commands.is_none() {
            let credentials = caller.credentials(&self.mask);
            let session = ssh::connect(&caller.dial(&credentials)).map_err(|error| {
                let mut fault = error.fault;
                fault.message = format!(
                    "the package is there, but its install command needs SSH: {}",
                    fault.message
                );
                fault
            })?;
            caller.connected(session.as_ref(), &self.mask);
            self.opened();
            self.commands = Some((session, caller.work.connection.clone()));
        }
        session_of(&mut self.commands)
    }

    /// The session that brings files, if one is open.
    pub(super) fn open_files(&mut self) -> Result<&mut dyn Session, Fault> {
        session_of(&mut self.files)
    }

    /// Whether a session that brings this work's files is open.
    pub(super) fn has_files(&self, work: &Work) -> bool {
        self.files
            .as_ref()
            .is_some_and(|(_, opened)| *opened == work.connection)
    }

    /// Whether a group may go by the session that brings this work's files; none is open: that is not known.
    pub(super) fn may_take_groups(&self, work: &Work) -> bool {
        match &self.files {
            Some((session, opened)) if *opened == work.connection => session.takes_groups(),
            _ => work.connection.transports.contains(&TransportKind::Ssh),
        }
    }

    /// Drops what failed, without farewell.
    pub(super) fn drop_all(&mut self) {
        self.files = None;
        self.commands = None;
    }

    /// Drops the session that brings files: its transport was given up.
    pub(super) fn drop_files(&mut self) {
        self.files = None;
    }

    /// How long ago the first one that is open was opened; none: nothing is open.
    pub(super) fn age(&self) -> Option<Duration> {
        if self.files.is_none() && self.commands.is_none() {
            return None;
        }
        Some(self.since.map_or(Duration::ZERO, |since| since.elapsed()))
    }

    /// What lay idle is used again: what broke meanwhile is dropped, and costs nobody an attempt.
    pub(super) fn awake(mut self) -> Self {
        self.tidying_failed = false;
        for open in [&mut self.files, &mut self.commands] {
            if open
                .as_mut()
                .is_some_and(|(session, _)| !session.is_alive())
            {
                *open = None;
            }
        }
        self
    }

    fn opened(&mut self) {
        if self.age().is_none() {
            self.since = Some(Instant::now());
        }
    }

    /// Ends every session politely.
    pub(super) fn close(self) {
        for (session, _) in [self.files, self.commands].into_iter().flatten() {
            session.close();
        }
    }

    /// Lets the host forget an install whose outcome the journal has. What fails here is tidied later.
    pub(super) fn forget_install(&mut self, token: &str) {
        let Some(session) = self.of_family(true) else {
            return;
        };
        match session.forget_install(token) {
            Ok(true) => self.forgotten.push(token.to_owned()),
            // The lane's next delivery must not meet a session that is broken.
            Err(fault) if !is_final(&fault) => self.drop_all(),
            Ok(false) | Err(_) => {}
        }
    }

    /// Whether something can be removed from the host now that is not known to be gone.
    pub(super) fn can_tidy(&mut self, leftover: &Leftover) -> bool {
        if let Remains::Install { token } = &leftover.remains
            && self.forgotten.contains(token)
        {
            return false;
        }
        !self.tidying_failed && self.of_family(leftover.by_ssh).is_some()
    }

    /// Removes something from the host, by a session of the family that left it there. A session that breaks
    /// over it is dropped, and nothing more is removed for now. Returns whether it is gone.
    pub(super) fn tidy(&mut self, leftover: &Leftover) -> Result<bool, Fault> {
        let Some(session) = self.of_family(leftover.by_ssh) else {
            return Ok(false);
        };
        let tidied = match &leftover.remains {
            Remains::Install { token } => session.forget_install(token),
            Remains::Group { dir, temporary } => session.tidy_group(dir, temporary).map(|()| true),
            Remains::Upload {
                dir,
                name,
                temporary,
            } => session
                .tidy(&transport::Leftover {
                    dir,
                    name,
                    temporary,
                })
                .map(|()| true),
        };
        if tidied.as_ref().is_err_and(|fault| !is_final(fault)) {
            self.tidying_failed = true;
            self.drop_all();
        }
        tidied
    }

    /// The installs that the hosts have forgotten since this was last asked.
    pub(super) fn take_forgotten(&mut self) -> Vec<String> {
        std::mem::take(&mut self.forgotten)
    }

    /// An open session over SSH, or one over FTP or FTPS.
    fn of_family(&mut self, ssh: bool) -> Option<&mut dyn Session> {
        [self.files.as_mut(), self.commands.as_mut()]
            .into_iter()
            .flatten()
            .find(|(session, _)| (session.facts().kind == TransportKind::Ssh) == ssh)
            .map(|(session, _)| session.as_mut() as &mut dyn Session)
    }
}

/// Whether trying again would end the same way.
pub(super) fn is_final(fault: &Fault) -> bool {
    !fault.class.is_retried()
}

fn close_unless(open: &mut Open, terms: &ConnectionTerms) {
    if open.as_ref().is_some_and(|(_, opened)| opened != terms)
        && let Some((session, _)) = open.take()
    {
        session.close();
    }
}

fn session_of(open: &mut Open) -> Result<&mut dyn Session, Fault> {
    match open {
        Some((session, _)) => Ok(session.as_mut()),
        None => Err(Fault::transient("the session is gone")),
    }
}
