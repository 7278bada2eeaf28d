//! Whether names outside ASCII come through: a scratch repository with one such path, and svnlook asked for it as it is
//! asked for every revision.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use super::Svnlook;
use crate::domain::text::escape;
use crate::error::{Error, ErrorKind, Result};

/// The path that has to come through.
pub const TRIAL_PATH: &str = "中文包-ünïx.tar";

/// Makes a repository below `scratch`, an empty directory, with `svnadmin`, and has `svnlook` tell its one path.
pub fn names_come_through(svnlook: &Path, svnadmin: &Path, scratch: &Path) -> Result<()> {
    let repository = scratch.join("repository");
    let dump = scratch.join("dump");
    let text = format!(
        "SVN-fs-dump-format-version: 2\n\nRevision-number: 1\nProp-content-length: 10\nContent-length: 10\n\nPROPS-END\n\n\
         Node-path: {TRIAL_PATH}\nNode-kind: file\nNode-action: add\nText-content-length: 0\nContent-length: 0\n\n\n"
    );
    fs::write(&dump, text)
        .map_err(|error| Error::io(ErrorKind::State, "cannot write", &dump, &error))?;
    let run = |words: &[&str], input: Stdio| -> Result<()> {
        let mut command = Command::new(svnadmin);
        command
            .args(words)
            .arg(&repository)
            .env_clear()
            .env("LC_ALL", "C.UTF-8")
            .current_dir("/")
            .stdin(input);
        let ended = command
            .output()
            .map_err(|error| Error::io(ErrorKind::Source, "cannot run", svnadmin, &error))?;
        if ended.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&ended.stderr)
            .trim()
            .replace('\n', "; ");
        Err(Error::source(format!(
            "{} {} failed: {}",
            svnadmin.display(),
            words.join(" "),
            escape(&said)
        )))
    };
    run(&["create"], Stdio::null())?;
    let open = fs::File::open(&dump)
        .map_err(|error| Error::io(ErrorKind::State, "cannot open", &dump, &error))?;
    run(&["load", "-q"], open.into())?;
    let opened = Svnlook::new(svnlook.to_owned()).repository(&repository)?;
    let hint = "names outside ASCII do not come through: is C.UTF-8 among `locale -a`?";
    let changes = opened.changes(1, false).map_err(|error| {
        let why = format!(
            "svnlook does not tell the path {TRIAL_PATH}: {}",
            error.message
        );
        Error::source(why).with_hint(error.hint.unwrap_or_else(|| hint.to_owned()))
    })?;
    let paths: Vec<&str> = changes.iter().map(|change| change.path.as_str()).collect();
    if paths == [TRIAL_PATH] {
        return Ok(());
    }
    Err(Error::source(format!(
        "of a revision with the path {TRIAL_PATH} svnlook tells {}",
        escape(&paths.join(", "))
    ))
    .with_hint(hint))
}
