//! A login that exists for one test alone: its servers see private copies of the user database, bound over
//! the machine's own in a mount namespace of theirs. Needs root.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::testenv::secret;

/// One user of a private user database.
pub struct PrivateUser {
    pub name: String,
    pub password: String,
    pub home: PathBuf,
    /// Directories that its servers see elsewhere: what, and where.
    pub binds: Vec<(PathBuf, PathBuf)>,
    /// Directories that are small file systems of their own to its servers: where, and how many kilobytes.
    pub small_disks: Vec<(PathBuf, u32)>,
    etc: PathBuf,
}

/// No user of the machine has this id.
const UID: u32 = 64_001;

impl PrivateUser {
    /// Makes the user below `root`, a directory that everybody may enter. `shell` is its login shell.
    pub fn new(root: &Path, shell: &str) -> Self {
        let etc = root.join("etc");
        fs::create_dir(&etc).expect("mkdir");
        let home = root.join("user");
        fs::create_dir(&home).expect("mkdir");
        chown(&home, Some(UID), Some(UID)).expect("chown");
        let user = Self {
            name: "adtest".to_owned(),
            password: secret!("0123456789abcdefghijklmnopqrstuvwxyz 'ä\" 1").to_owned(),
            home,
            binds: Vec::new(),
            small_disks: Vec::new(),
            etc,
        };
        let crypt = Command::new("openssl")
            .args(["passwd", "-6", &user.password])
            .output();
        let crypt = crypt
            .expect("openssl is missing: apt-get install openssl")
            .stdout;
        let crypt = String::from_utf8(crypt).expect("UTF-8");
        let home = user.home.display();
        user.extend(
            "passwd",
            &format!("{}:x:{UID}:{UID}::{home}:{shell}\n", user.name),
        );
        user.extend("group", &format!("{}:x:{UID}:\n", user.name));
        user.extend(
            "shadow",
            &format!("{}:{}:19000:0:99999:7:::\n", user.name, crypt.trim()),
        );
        let shells = fs::read_to_string("/etc/shells").unwrap_or_default();
        fs::write(user.etc.join("shells"), format!("{shells}{shell}\n")).expect("write");
        let pam = "auth required pam_unix.so\naccount required pam_unix.so\nsession required pam_permit.so\n";
        fs::write(user.etc.join("pam"), pam).expect("write");
        user
    }

    /// Makes one more user, who logs in by key alone and has no home.
    pub fn and(&self, name: &str, uid: u32, gid: u32) {
        self.extend(
            "passwd",
            &format!("{name}:x:{uid}:{gid}::/nonexistent:/bin/sh\n"),
        );
        self.extend("shadow", &format!("{name}:*:19000:0:99999:7:::\n"));
    }

    /// A copy of the machine's file with a line more, with the same mode.
    fn extend(&self, name: &str, line: &str) {
        let copy = self.etc.join(name);
        let text = fs::read_to_string(&copy)
            .or_else(|_| fs::read_to_string(Path::new("/etc").join(name)))
            .expect("the user database");
        fs::write(&copy, text + line).expect("write");
        let mode = if name == "shadow" { 0o640 } else { 0o644 };
        fs::set_permissions(&copy, fs::Permissions::from_mode(mode)).expect("chmod");
    }

    /// Makes the user the owner of a file or directory.
    pub fn own(path: &Path) {
        chown(path, Some(UID), Some(UID)).expect("chown");
    }

    /// `program` as it runs where this user exists. `pam` names the service (`sshd`, `vsftpd`) whose PAM
    /// settings are replaced by plain password checks.
    pub fn command(&self, program: &str, pam: &str) -> Command {
        let mut script = "set -e\n".to_owned();
        for name in ["passwd", "group", "shadow", "shells"] {
            writeln!(script, "mount --bind \"$0/{name}\" /etc/{name}").expect("a string");
        }
        for (what, place) in &self.binds {
            writeln!(
                script,
                "mount --bind '{}' '{}'",
                what.display(),
                place.display()
            )
            .expect("a string");
        }
        for (place, kilobytes) in &self.small_disks {
            writeln!(
                script,
                "mount -t tmpfs -o size={kilobytes}k,mode=0755,uid={UID} none '{}'",
                place.display()
            )
            .expect("a string");
        }
        writeln!(script, "if [ -f /etc/pam.d/{pam} ]; then mount --bind \"$0/pam\" /etc/pam.d/{pam}; fi\nexec \"$@\"").expect("a string");
        let mut command = Command::new("unshare");
        command.args([
            "--mount",
            "--propagation",
            "private",
            "/bin/sh",
            "-c",
            &script,
        ]);
        command.arg(&self.etc).arg(program);
        command
    }
}
