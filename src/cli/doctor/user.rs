//! As whom the checks are run: users of this machine, and this program started as one of them with the environment of a
//! hook.

use std::ffi::OsStr;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::domain::text::escape;
use crate::error::{Error, ErrorKind, Result};

/// What of util-linux takes all groups of a user on.
const SETPRIV: [&str; 2] = ["/usr/bin/setpriv", "/bin/setpriv"];

/// A user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct User {
    /// None: the machine knows the number alone.
    pub name: Option<String>,
    pub uid: u32,
    /// The first group.
    pub gid: u32,
}

impl User {
    /// The user of that name.
    pub(super) fn named(name: &str) -> Result<Self> {
        let error = |why: &str| {
            let message = format!("--user {}: {why}", escape(name));
            Error::new(ErrorKind::Usage, message)
                .with_hint("`getent passwd` lists those that there are")
        };
        if name.is_empty() || name.starts_with('-') {
            return Err(error("that is no name of a user"));
        }
        look_up(name.as_ref()).ok_or_else(|| error("this machine knows no such user"))
    }

    /// The user of that number; `gid` where the machine does not know.
    pub(super) fn numbered(uid: u32, gid: u32) -> Self {
        look_up(uid.to_string().as_ref())
            .filter(|user| user.uid == uid)
            .unwrap_or(Self {
                name: None,
                uid,
                gid,
            })
    }

    /// Whoever runs this.
    pub(super) fn me() -> Self {
        Self::numbered(
            rustix::process::geteuid().as_raw(),
            rustix::process::getegid().as_raw(),
        )
    }

    pub(super) fn is_me(&self) -> bool {
        self.uid == rustix::process::geteuid().as_raw()
    }

    /// `svn (uid 110)`.
    pub(super) fn shown(&self) -> String {
        match &self.name {
            Some(name) => format!("{} (uid {})", escape(name), self.uid),
            None => format!("uid {}", self.uid),
        }
    }

    /// `svn`, or the number.
    pub(super) fn word(&self) -> String {
        self.name.clone().unwrap_or_else(|| self.uid.to_string())
    }

    /// `program` as a hook of this user starts one: nothing in the environment, in `/`. The flag is false where only the
    /// first of the user's groups could be taken on. Somebody else than root runs it as they are.
    pub(super) fn command(&self, program: &Path) -> (Command, bool) {
        let setpriv = SETPRIV.iter().map(PathBuf::from).find(|path| path.exists());
        let (mut command, has_groups) = if self.is_me() || !rustix::process::geteuid().is_root() {
            (Command::new(program), true)
        } else if let Some(setpriv) = setpriv {
            // Whom the machine knows by number alone is in no other group.
            let groups = match self.name {
                Some(_) => "--init-groups",
                None => "--clear-groups",
            };
            let mut command = Command::new(setpriv);
            command
                .arg(format!("--reuid={}", self.uid))
                .arg(format!("--regid={}", self.gid))
                .args([groups, "--"])
                .arg(program);
            (command, true)
        } else {
            let mut command = Command::new(program);
            command.uid(self.uid).gid(self.gid);
            (command, false)
        };
        command.env_clear().current_dir("/");
        (command, has_groups)
    }
}

/// Asks the machine, wherever it keeps its users.
fn look_up(key: &OsStr) -> Option<User> {
    let asked = Command::new("/usr/bin/getent")
        .arg("passwd")
        .arg(key)
        .env_clear()
        .current_dir("/")
        .output();
    let said = match asked {
        Ok(output) => String::from_utf8_lossy(&output.stdout).into_owned(),
        Err(_) => std::fs::read_to_string("/etc/passwd").ok()?,
    };
    said.lines().find_map(|line| {
        let mut words = line.split(':');
        let name = words.next()?;
        let (uid, gid) = (words.nth(1)?, words.next()?);
        let user = User {
            name: Some(name.to_owned()),
            uid: uid.parse().ok()?,
            gid: gid.parse().ok()?,
        };
        (key == name || key == uid).then_some(user)
    })
}
