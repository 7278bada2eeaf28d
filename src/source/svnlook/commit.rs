//! Who committed a revision, when, and what he wrote, for the price of one svnlook at most.

use std::collections::HashMap;

use chrono::{DateTime, SubsecRound as _, Utc};

use super::super::repository_files::revision_properties;
use super::Repository;
use crate::error::Result;

/// Longer messages are cut.
const MESSAGE_MAX_BYTES: usize = 4096;

/// A commit, as far as the repository tells.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Commit {
    /// Who; none if nobody is named.
    pub author: Option<String>,
    /// When.
    pub committed_at: Option<DateTime<Utc>>,
    /// The message, cut where it is long; none if it is empty.
    pub message: Option<String>,
}

impl Repository {
    /// Who committed a revision, when and with which message. A message that is too long to be looked at leaves date
    /// and message out: nothing depends on them.
    pub fn commit(&self, revision: u64) -> Result<Commit> {
        let read = revision_properties(&self.path, revision);
        if let Some(commit) = read.as_ref().and_then(from_properties) {
            return Ok(commit);
        }
        let told = self.ask("read the commit", Some(revision), &["info".as_ref()], None);
        if let Some(commit) = told.ok().and_then(|told| parse(&told)) {
            return Ok(commit);
        }
        Ok(Commit {
            author: self.author(revision)?,
            ..Commit::default()
        })
    }
}

/// The same that svnlook would tell: dates by the second, line ends as they are here.
fn from_properties(properties: &HashMap<String, String>) -> Option<Commit> {
    let property = |name: &str| properties.get(name).filter(|value| !value.is_empty());
    let committed_at = match property("svn:date") {
        Some(date) => {
            let date = DateTime::parse_from_rfc3339(date).ok()?.to_utc();
            Some(date.trunc_subsecs(0))
        }
        None => None,
    };
    let message = property("svn:log").map_or("", |message| message.trim_end());
    Some(Commit {
        author: property("svn:author").cloned(),
        committed_at,
        message: Some(cut(message)).filter(|message| !message.is_empty()),
    })
}

/// Author, date and length of the message on lines of their own, then the message. An author may hold line breaks; the
/// length tells where the message begins.
fn parse(told: &str) -> Option<Commit> {
    for (end, _) in told.match_indices('\n') {
        let mut rest = told[end + 1..].splitn(3, '\n');
        let (date, length, message) = (rest.next()?, rest.next()?, rest.next()?);
        let length: Option<usize> = length.parse().ok();
        // Where there is no message at all there is no line for it.
        let is_none = length == Some(0) && message.is_empty();
        if !is_none && length.and_then(|length| length.checked_add(1)) != Some(message.len()) {
            continue;
        }
        let committed_at = date
            .get(..25)
            .and_then(|date| DateTime::parse_from_str(date, "%Y-%m-%d %H:%M:%S %z").ok());
        if committed_at.is_none() && !date.is_empty() {
            continue;
        }
        let author = &told[..end];
        let message = message.trim_end();
        return Some(Commit {
            author: Some(author.to_owned()).filter(|author| !author.is_empty()),
            committed_at: committed_at.map(|date| date.to_utc()),
            message: Some(cut(message)).filter(|message| !message.is_empty()),
        });
    }
    None
}

fn cut(message: &str) -> String {
    if message.len() <= MESSAGE_MAX_BYTES {
        return message.to_owned();
    }
    let end = message.floor_char_boundary(MESSAGE_MAX_BYTES);
    format!("{}…", &message[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    const DATE: &str = "2026-11-24 23:42:38 +0000 (Tue, 24 Nov 2026)";

    #[test]
    fn an_answer_is_taken_apart_by_the_length_of_the_message() {
        let told = format!("o'neil\n$x\n{DATE}\n10\nfirst\n\nlog\n");
        let commit = parse(&told).expect("a commit");
        assert_eq!(commit.author.as_deref(), Some("o'neil\n$x"));
        assert_eq!(commit.message.as_deref(), Some("first\n\nlog"));
        let at = commit.committed_at.expect("a date");
        assert_eq!(at.to_rfc3339(), "2026-11-24T23:42:38+00:00");
        assert_eq!(parse("\n\n0\n\n"), Some(Commit::default()));
    }

    #[test]
    fn what_is_no_such_answer_is_none_and_long_messages_are_cut() {
        for told in ["", "a\n", "a\nb\nc\nd\n", "a\n\n5\nabc\n"] {
            assert_eq!(parse(told), None, "{told:?}");
        }
        let message = "核".repeat(5000);
        let told = format!("a\n{DATE}\n{}\n{message}\n", message.len());
        let kept = parse(&told).and_then(|commit| commit.message).expect("one");
        assert!(kept.len() <= MESSAGE_MAX_BYTES + 3 && kept.ends_with("核…"));
    }
}
