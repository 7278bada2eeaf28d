//! Cargo's build script: what `--version` says. A release tells its commit and that commit's date, never the date of
//! the build, so that the same commit gives the same bytes; a crate's tarball tells the commit that cargo noted in it; where
//! neither is known, the version stands alone. Builds for development are not built anew for each commit.

use std::path::{Path, PathBuf};
use std::process::Command;

/// What names the commit where a packager has no repository, such as `abc1234 2026-11-24`.
const NAMED: &str = "AUTO_DISPATCHER_COMMIT";

fn main() {
    println!("cargo:rerun-if-changed=scripts/build.rs");
    println!("cargo:rerun-if-env-changed={NAMED}");
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    let root = PathBuf::from(variable("CARGO_MANIFEST_DIR"));
    let named = variable(NAMED);
    let built_from = if !named.is_empty() {
        Some(named)
    } else if variable("PROFILE") == "release" {
        commit(&root).or_else(|| noted_commit(&root))
    } else {
        Some("development build".to_owned())
    };
    let version = variable("CARGO_PKG_VERSION");
    match built_from {
        Some(built_from) => println!("cargo:rustc-env=AD_VERSION={version} ({built_from})"),
        None => println!("cargo:rustc-env=AD_VERSION={version}"),
    }
}

/// Hash and date of the commit that is checked out in `root` itself, not in a directory above it.
fn commit(root: &Path) -> Option<String> {
    if !root.join(".git").exists() {
        return None;
    }
    // A commit changes the first, another branch the second; where there is no log of it, the branch's own file.
    let branch = git(root, &["symbolic-ref", "-q", "HEAD"]).unwrap_or_default();
    for name in ["logs/HEAD", "HEAD", &branch] {
        let place = git(root, &["rev-parse", "--git-path", name]).map(|place| root.join(place));
        // Cargo would run this again and again for a file that is not there.
        if let Some(place) = place.filter(|place| place.is_file()) {
            println!("cargo:rerun-if-changed={}", place.display());
        }
    }
    git(root, &["log", "-1", "--abbrev=7", "--format=%h %cs"])
}

/// The commit that `cargo package` wrote down.
fn noted_commit(root: &Path) -> Option<String> {
    let noted = std::fs::read_to_string(root.join(".cargo_vcs_info.json")).ok()?;
    let hash = noted.split("\"sha1\"").nth(1)?.split('"').nth(1)?;
    Some(hash.get(..7)?.to_owned())
}

fn git(root: &Path, args: &[&str]) -> Option<String> {
    // A git of a hook that builds would look at the hook's repository.
    let output = Command::new("git")
        .current_dir(root)
        .env_remove("GIT_DIR")
        .env_remove("GIT_WORK_TREE")
        .args(args)
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let text = text.trim();
    (output.status.success() && !text.is_empty()).then(|| text.to_owned())
}
