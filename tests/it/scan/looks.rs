//! How a scanned directory and its deliveries look from outside.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use super::Inbox;
use crate::pipeline::{LIMIT, field};
use crate::testenv::wait_until;

impl Inbox {
    /// `scan DIR ARGS`, ready to be started.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = self.pipeline.command(&self.args(args));
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    /// Waits until exactly these packages were delivered, each as often as it is named.
    #[track_caller]
    pub fn settled(&self, names: &[&str]) -> Vec<Value> {
        wait_until(&format!("{names:?} are delivered"), LIMIT, || {
            let done = "SELECT count(*) FROM deliveries WHERE state = 'done'";
            let is_there = self.pipeline.state().join("journal.sqlite").exists();
            is_there && self.pipeline.sql(done) >= vec![i64::try_from(names.len()).ok()]
        });
        let rows = self.pipeline.history();
        let mut delivered = field(&rows, "package");
        let mut expected = names.to_vec();
        delivered.sort();
        expected.sort_unstable();
        assert_eq!(delivered, expected);
        assert_eq!(field(&rows, "state"), vec!["done"; names.len()]);
        rows
    }

    /// What `status` says of the directory.
    fn status(&self) -> Option<Value> {
        let rows = self.pipeline.status();
        rows.into_iter()
            .find(|row| row["drop_directory"] == self.arg())
    }

    /// What keeps it from being scanned, or its files from being dispatched.
    pub fn trouble(&self) -> Option<String> {
        let status = self.status()?;
        status["trouble"].as_str().map(str::to_owned)
    }

    /// The names of all files below it, sorted.
    pub fn names(&self) -> Vec<String> {
        let mut names = Vec::new();
        collect(&self.dir, &mut names);
        names.sort();
        names
    }
}

fn collect(dir: &Path, names: &mut Vec<String>) {
    for entry in fs::read_dir(dir).expect("a directory").flatten() {
        if entry.path().is_dir() {
            collect(&entry.path(), names);
        } else {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
}
