//! What is wrong, said once: what keeps everything from going on, and what is wrong with single files.

use super::Scanner;
use crate::domain::event::Event;

/// Complaints that are made, at most: whoever may drop files must not fill the log with them.
const TOLD_MAX: usize = 1000;

impl Scanner<'_> {
    /// Something keeps it from scanning or dispatching, or does so no more. Told, and shown by `status`, when it begins:
    /// how much room is missing changes from moment to moment.
    pub(super) fn trouble(&mut self, kind: &'static str, what: Option<String>) {
        let is_same = match &what {
            Some(what) => self
                .troubles
                .get(kind)
                .is_some_and(|known| kind == "room" || known == what),
            None => !self.troubles.contains_key(kind),
        };
        if is_same {
            return;
        }
        match what {
            Some(message) => {
                self.troubles.insert(kind, message.clone());
                self.context.emit(&Event::Notice { message });
            }
            None => {
                self.troubles.remove(kind);
            }
        }
        let all: Vec<&str> = self.troubles.values().map(String::as_str).collect();
        let all = all.join("; ");
        // A journal that cannot be written to is trouble that was told already.
        let _ = self
            .journal
            .note_drop_trouble(self.row.id, (!all.is_empty()).then_some(&all));
    }

    /// Complains of a file or directory, once for each reason. Whoever may drop files must not fill the log with them.
    pub(super) fn complain(&mut self, path: &str, why: &str) {
        let complaint = (path.to_owned(), why.to_owned());
        if self.told.contains(&complaint) {
            return;
        }
        let message = match self.told.len() {
            ..TOLD_MAX if path.is_empty() => format!("{}: {why}", self.terms.directory.display()),
            ..TOLD_MAX => format!("{}: {why}", self.terms.directory.join(path).display()),
            TOLD_MAX => format!(
                "{}: {TOLD_MAX} files and directories were complained of; of others nothing is told",
                self.terms.directory.display()
            ),
            _ => return,
        };
        self.told.insert(complaint);
        self.context.emit(&Event::Notice { message });
    }

    /// Nothing is wrong with a file or directory any more.
    pub(super) fn praise(&mut self, path: &str) {
        if !self.told.is_empty() {
            self.told.retain(|(known, _)| known != path);
        }
    }
}
