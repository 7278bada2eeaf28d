//! File systems of a test's own: away again when it ends, however it ends.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::testenv::Ran;

/// Something that is mounted. It needs root.
pub struct Mounted(PathBuf);

impl Mounted {
    /// Mounts at `at`, which is made where it is not there; `args` are all words of `mount` but the last.
    pub fn by(args: &[&str], at: &Path) -> Self {
        fs::create_dir_all(at).expect("mkdir");
        Ran::of(Command::new("mount").args(args).arg(at)).exits(0);
        Self(at.to_owned())
    }

    /// A disk in memory, with the options of tmpfs(5).
    pub fn disk(at: &Path, options: &str) -> Self {
        Self::by(&["-t", "tmpfs", "-o", options, "tmpfs"], at)
    }

    /// Changes its options.
    pub fn remount(&self, how: &str) {
        let mut mount = Command::new("mount");
        Ran::of(mount.args(["-o", &format!("remount,{how}")]).arg(&self.0)).exits(0);
    }

    /// Where it is.
    pub fn at(&self) -> &Path {
        &self.0
    }
}

impl Drop for Mounted {
    /// From its place at once: a server's process that only now ends may still hold a file of it.
    fn drop(&mut self) {
        drop(Command::new("umount").arg("-l").arg(&self.0).status());
    }
}
