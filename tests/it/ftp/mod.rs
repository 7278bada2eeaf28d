//! FTP and FTPS against vsftpd and pyftpdlib: what the conformance suite asks of everybody, and what is
//! peculiar to FTP.

mod certificates;
mod conform;
mod dialling;
mod faults;
mod peculiar;
mod resumes;
mod secured;

use std::cell::Cell;

use auto_dispatcher::domain::fault::{Fault, FaultClass};
use auto_dispatcher::domain::secret::Secret;
use auto_dispatcher::domain::target::{ConnectionTerms, Target, TransportKind};
use auto_dispatcher::transport::{
    Credentials, Dial, Session, StopFlag, Surroundings, fallback, ftp,
};

/// Everything that a session is opened with, and whether the password was asked for.
pub struct Caller {
    pub target: Target,
    pub terms: ConnectionTerms,
    pub password: Option<String>,
    pub account: Option<String>,
    pub asked: Cell<usize>,
    pub stop: StopFlag,
}

impl Caller {
    pub fn new(host: &str, port: u16, login: &str, password: &str) -> Self {
        let target = Target {
            host: host.to_owned(),
            login: login.to_owned(),
            ssh_port: 22,
            ftp_port: port,
        };
        Self {
            target,
            terms: ConnectionTerms {
                connect_timeout_s: 10,
                stall_timeout_s: 20,
                ..ConnectionTerms::default()
            },
            password: Some(password.to_owned()),
            account: None,
            asked: Cell::new(0),
            stop: StopFlag::default(),
        }
    }

    pub fn connect(&self, kind: TransportKind) -> Result<Box<dyn Session>, Fault> {
        let dial = Dial {
            target: &self.target,
            terms: &self.terms,
            credentials: self,
            surroundings: &Surroundings::default(),
            tell: Box::new(|_| {}),
            reached: Box::new(|_| {}),
            stop: &self.stop,
        };
        ftp::connect(kind, &dial)
    }

    /// The fault that ends the rule's transports, tried in their order.
    pub fn falls_back(&self) -> Fault {
        let dial = Dial {
            target: &self.target,
            terms: &self.terms,
            credentials: self,
            surroundings: &Surroundings::default(),
            tell: Box::new(|_| {}),
            reached: Box::new(|_| {}),
            stop: &self.stop,
        };
        match fallback::connect(&dial, &[], &mut |_, _| {}) {
            Ok(session) => panic!("a session: {:?}", session.facts()),
            Err(fault) => fault,
        }
    }

    /// The fault of a session that must not come about; the class is checked.
    #[track_caller]
    pub fn fails(&self, kind: TransportKind, class: FaultClass) -> Fault {
        match self.connect(kind) {
            Ok(session) => panic!("a session: {:?}", session.facts()),
            Err(fault) => {
                assert_eq!(fault.class, class, "{fault}");
                fault
            }
        }
    }
}

impl Credentials for Caller {
    fn password(&self) -> Result<Option<Secret>, Fault> {
        self.asked.set(self.asked.get() + 1);
        Ok(self.password.clone().map(Secret::new))
    }

    fn account(&self) -> Result<Option<Secret>, Fault> {
        Ok(self.account.clone().map(Secret::new))
    }
}

/// The message holds all of `parts`.
#[track_caller]
pub fn assert_says(fault: &Fault, parts: &[&str]) {
    for part in parts {
        assert!(fault.message.contains(part), "no {part:?} in: {fault}");
    }
}
