//! The sessions of a lane: opened when they are needed, kept while the terms stay the same, dropped when
//! they failed. Decides nothing about deliveries.

use super::Context;
use super::configurations::LateCredentials;
use crate::domain::event::{Event, Subject};
use crate::domain::fault::Fault;
use crate::domain::target::{ConnectionTerms, TransportKind};
use crate::journal::Work;
use crate::transport::{Dial, Session, fallback, ssh};

/// For which delivery a session is wanted.
#[derive(Clone, Copy)]
pub(super) struct Caller<'a> {
    pub(super) context: &'a Context,
    pub(super) work: &'a Work,
    pub(super) subject: &'a Subject,
}

impl<'a> Caller<'a> {
    fn credentials(self) -> LateCredentials<'a> {
        LateCredentials::new(&self.context.configurations, self.work, &self.context.stop)
    }

    fn dial<'d>(self, credentials: &'d LateCredentials<'a>) -> Dial<'d>
    where
        'a: 'd,
    {
        Dial {
            target: &self.work.target,
            terms: &self.work.connection,
            credentials,
            surroundings: &self.context.surroundings,
            stop: &self.context.stop,
        }
    }

    pub(super) fn fell_back(self, from: TransportKind, fault: &Fault) {
        self.context.emit(&Event::FellBack {
            subject: self.subject.clone(),
            from,
            fault: fault.to_string(),
        });
    }

    fn connected(self, session: &dyn Session) {
        let facts = session.facts();
        self.context.emit(&Event::Connected {
            subject: self.subject.clone(),
            transport: facts.kind,
            fingerprint: facts.fingerprint.clone(),
            detail: facts.detail.clone(),
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
}

impl Sessions {
    /// A session that brings files, by the first transport that serves and is not given up.
    pub(super) fn for_files(
        &mut self,
        caller: Caller<'_>,
        given_up: &[TransportKind],
    ) -> Result<&mut dyn Session, Fault> {
        close_unless(&mut self.files, &caller.work.connection);
        if self.files.is_none() {
            let credentials = caller.credentials();
            let mut passed_over = |kind, fault: &Fault| caller.fell_back(kind, fault);
            let session =
                fallback::connect(&caller.dial(&credentials), given_up, &mut passed_over)?;
            caller.connected(session.as_ref());
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
            let credentials = caller.credentials();
            let session = ssh::connect(&caller.dial(&credentials)).map_err(|error| {
                let mut fault = error.fault;
                fault.message = format!(
                    "the package is there, but its install command needs SSH: {}",
                    fault.message
                );
                fault
            })?;
            caller.connected(session.as_ref());
            self.commands = Some((session, caller.work.connection.clone()));
        }
        session_of(&mut self.commands)
    }

    /// The session that brings files, if one is open.
    pub(super) fn open_files(&mut self) -> Result<&mut dyn Session, Fault> {
        session_of(&mut self.files)
    }

    /// Drops what failed, without farewell.
    pub(super) fn drop_all(&mut self) {
        *self = Self::default();
    }

    /// Drops the session that brings files: its transport was given up.
    pub(super) fn drop_files(&mut self) {
        self.files = None;
    }

    /// Ends every session politely.
    pub(super) fn close(self) {
        for (session, _) in [self.files, self.commands].into_iter().flatten() {
            session.close();
        }
    }

    /// Lets the host forget an install whose outcome the journal has. What fails here only leaves a
    /// small directory on the host.
    pub(super) fn forget_install(&mut self, token: &str) {
        let sessions = [self.commands.as_mut(), self.files.as_mut()];
        for (session, _) in sessions.into_iter().flatten() {
            if session.facts().kind == TransportKind::Ssh && session.forget_install(token).is_ok() {
                return;
            }
        }
    }
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
