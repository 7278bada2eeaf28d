//! One check of `doctor`: what was looked at, how it is, and what mends it. As a line of JSON it is a promise to other
//! programs; within this one it also says which group it belongs to.

use serde::{Deserialize, Serialize};

/// How a thing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Outcome {
    /// As it has to be.
    Ok,
    /// It works, and may not for long, or not for everything.
    Warning,
    /// Packages do not get through.
    Failure,
}

impl Outcome {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Failure => "failure",
        }
    }
}

/// One check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Check {
    /// What kind of check it is: a word or two.
    #[serde(rename = "check")]
    pub kind: String,
    /// What was looked at: a path, a user, a target.
    pub subject: String,
    /// How it is.
    pub result: Outcome,
    /// What was found, for people.
    pub detail: String,
    /// What mends it, a command to copy where there is one.
    pub mend: Option<String>,
}

/// A check and the group that it is shown in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Grouped {
    /// `this machine, as svn`, or a target.
    pub group: String,
    /// The check.
    #[serde(flatten)]
    pub check: Check,
}

/// Takes the checks of one group.
pub(super) struct Teller<'a> {
    group: String,
    tell: &'a dyn Fn(Grouped),
}

impl<'a> Teller<'a> {
    pub(super) fn new(group: String, tell: &'a dyn Fn(Grouped)) -> Self {
        Self { group, tell }
    }

    pub(super) fn group(&self) -> &str {
        &self.group
    }

    /// Passes on what another one was told.
    pub(super) fn pass(&self, grouped: Grouped) {
        (self.tell)(grouped);
    }

    pub(super) fn tell(
        &self,
        result: Outcome,
        (check, subject): (&str, &str),
        detail: impl Into<String>,
        mend: Option<String>,
    ) {
        (self.tell)(Grouped {
            group: self.group.clone(),
            check: Check {
                kind: check.to_owned(),
                subject: subject.to_owned(),
                result,
                detail: detail.into(),
                mend,
            },
        });
    }

    pub(super) fn ok(&self, what: (&str, &str), detail: impl Into<String>) {
        self.tell(Outcome::Ok, what, detail, None);
    }

    pub(super) fn warn(&self, what: (&str, &str), detail: impl Into<String>, mend: Option<String>) {
        self.tell(Outcome::Warning, what, detail, mend);
    }

    pub(super) fn fail(&self, what: (&str, &str), detail: impl Into<String>, mend: Option<String>) {
        self.tell(Outcome::Failure, what, detail, mend);
    }

    /// A failure that is an error of the program's own words.
    pub(super) fn error(&self, what: (&str, &str), error: &crate::error::Error) {
        let detail = error.message.replace('\n', "; ");
        self.fail(what, detail, error.hint.clone());
    }
}
