//! The checks of a repository's hook: that Subversion finds it, that it starts, that it calls this program, and that it
//! may record. Runs nothing of the hook.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::{Access, StatVfsMountFlags};

use super::check::Teller;
use crate::cli::hook_file::{self, Call};
use crate::domain::text::shell_quote;
use crate::source::repository_files;

/// Hooks of Subversion that are no place for ours, or that keep every commit out where they cannot run.
const OTHERS: [&str; 4] = [
    "start-commit",
    "pre-commit",
    "post-lock",
    "post-revprop-change",
];

/// What this program reads of its environment.
const VARIABLES: [&str; 5] = [
    "AUTO_DISPATCHER_CONFIG",
    "HOME",
    "PATH",
    "SSH_AUTH_SOCK",
    "USER",
];

fn quoted(path: &Path) -> String {
    shell_quote(&path.to_string_lossy())
}

/// Whether this user may do that.
pub(super) fn may(path: &Path, access: Access) -> bool {
    rustix::fs::access(path, access).is_ok()
}

/// A file's text, in which nothing can hang; none where it cannot be read.
fn read_text(path: &Path) -> Option<String> {
    fs::metadata(path).ok().filter(fs::Metadata::is_file)?;
    let bytes = fs::read(path).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// The hook's text.
pub(super) fn text(repository: &Path) -> Option<String> {
    read_text(&repository.join("hooks/post-commit"))
}

/// Looks at the hook. `config` is the rules file that the checks use, as it was named.
pub(super) fn look(repository: &Path, config: Option<&Path>, teller: &Teller<'_>) {
    let hook = repository.join("hooks/post-commit");
    let shown = hook.to_string_lossy().into_owned();
    let install = format!("auto-dispatcher install-hook {}", quoted(repository));
    let about = ("hook", shown.as_str());
    match fs::metadata(&hook) {
        Err(_) if hook.is_symlink() => {
            let why = format!(
                "{shown} is a symbolic link that leads nowhere: every commit ends with a warning, and nothing is dispatched"
            );
            teller.fail(about, why, Some(format!("rm {}; {install}", quoted(&hook))));
            return;
        }
        Err(error) => {
            let why = format!(
                "there is no post-commit hook, so no commit is dispatched ({shown}: {error})"
            );
            teller.fail(about, why, Some(install));
            return;
        }
        Ok(found) if found.mode() & 0o111 == 0 || !may(&hook, Access::EXEC_OK) => {
            let why = format!(
                "{shown} is not executable by this user (mode {:04o}, owner uid {})",
                found.mode() & 0o7777,
                found.uid()
            );
            teller.fail(about, why, Some(format!("chmod a+rx {}", quoted(&hook))));
        }
        Ok(found) if found.mode() & 0o002 != 0 => {
            let why = format!("everybody may write to {shown}, and so runs programs as this user");
            teller.fail(about, why, Some(format!("chmod o-w {}", quoted(&hook))));
        }
        Ok(found) => teller.ok(
            about,
            format!("{shown}, executable, owner uid {}", found.uid()),
        ),
    }
    interpreter(&hook, teller);
    match text(repository) {
        Some(text) => calls(&hook, &text, config, &install, teller),
        None => teller.warn(
            ("call", &shown),
            format!("{shown} cannot be read, so what it calls is not known"),
            None,
        ),
    }
    others(repository, teller);
}

/// The program that runs the hook.
fn interpreter(hook: &Path, teller: &Teller<'_>) {
    let shown = hook.to_string_lossy();
    let about = ("interpreter", shown.as_ref());
    if has_flag(hook, StatVfsMountFlags::NOEXEC) {
        let why = format!("{shown} lies on a file system that is mounted noexec");
        teller.fail(
            about,
            why,
            Some("mount it without noexec, or move the repository".to_owned()),
        );
        return;
    }
    let bytes = fs::read(hook).unwrap_or_default();
    let Some(line) = bytes
        .strip_prefix(b"#!")
        .and_then(|rest| rest.split(|&byte| byte == b'\n').next())
    else {
        if bytes.starts_with(b"\x7fELF") {
            teller.ok(about, "the hook is a program");
        } else {
            let why = format!("{shown} begins with no #! line: Subversion cannot start it");
            teller.fail(
                about,
                why,
                Some(format!("sed -i '1i #!/bin/sh' {}", quoted(hook))),
            );
        }
        return;
    };
    let line = String::from_utf8_lossy(line).into_owned();
    if line.ends_with('\r') {
        let why =
            format!("the lines of {shown} end as Windows' do, so its interpreter is not found");
        teller.fail(
            about,
            why,
            Some(format!("sed -i 's/\\r$//' {}", quoted(hook))),
        );
        return;
    }
    let mut words = line.split_whitespace();
    let program = PathBuf::from(words.next().unwrap_or_default());
    let named = words.next().filter(|word| !word.starts_with('-'));
    let program = match named {
        Some(name) if program.ends_with("env") => ["/bin", "/usr/bin"]
            .iter()
            .map(|place| Path::new(place).join(name))
            .find(|path| path.is_file())
            .unwrap_or_else(|| PathBuf::from(name)),
        _ => program,
    };
    let name = program.display();
    if !program.is_absolute() || !program.is_file() {
        let why = format!("the interpreter of {shown} is not there: {name} (a hook has no PATH)");
        teller.fail(
            about,
            why,
            Some(format!(
                "install {name}, or mend the first line of {}",
                quoted(hook)
            )),
        );
    } else if !may(&program, Access::EXEC_OK) || has_flag(&program, StatVfsMountFlags::NOEXEC) {
        let why = format!("the interpreter of {shown} cannot be run by this user: {name}");
        teller.fail(about, why, Some(format!("chmod a+rx {}", quoted(&program))));
    } else {
        teller.ok(about, format!("{name}"));
    }
}

fn has_flag(path: &Path, flag: StatVfsMountFlags) -> bool {
    rustix::fs::statvfs(path).is_ok_and(|found| found.f_flag.contains(flag))
}

/// What the hook calls.
fn calls(hook: &Path, text: &str, config: Option<&Path>, install: &str, teller: &Teller<'_>) {
    let shown = hook.to_string_lossy();
    let about = ("call", shown.as_ref());
    if let Some((line, content)) = hook_file::of_the_script(text) {
        let why = format!(
            "{shown}:{line} calls the Python script, which dispatches by itself: {}",
            content.trim()
        );
        teller.warn(
            about,
            why,
            Some(format!("take that line out, then {install}")),
        );
    }
    let Some(call) = hook_file::call(text) else {
        let why = format!("{shown} does not call `auto-dispatcher hook`, as far as can be seen");
        teller.fail(about, why, Some(install.to_owned()));
        return;
    };
    let line = call.line;
    if let Some((end, content)) = hook_file::ends_before(text, line) {
        let why = format!(
            "{shown}:{end} ends the hook before line {line} calls auto-dispatcher: {}",
            content.trim()
        );
        teller.fail(
            about,
            why,
            Some(format!(
                "move line {line} before line {end} in {}",
                quoted(hook)
            )),
        );
        return;
    }
    let kept = hook.with_file_name("post-commit.before-auto-dispatcher");
    if text.contains("ad_before=") && !may(&kept, Access::EXEC_OK) {
        let why = format!(
            "the hook that was there before cannot be run: {}",
            kept.display()
        );
        teller.fail(about, why, Some(format!("chmod a+rx {}", quoted(&kept))));
    }
    if let Some(named) = config
        && call.config.as_deref() != Some(named)
    {
        let other = call
            .config
            .as_ref()
            .map_or_else(|| "none".to_owned(), |path| path.display().to_string());
        let why = format!(
            "the hook is called with another --config than these checks: {other} instead of {}",
            named.display()
        );
        teller.warn(
            about,
            why,
            Some(format!(
                "auto-dispatcher --config {} install-hook REPOS",
                quoted(named)
            )),
        );
    }
    starts(&call, &shown, install, teller);
}

/// Starts the program that the hook calls, as the hook does, to hear its version.
fn starts(call: &Call, shown: &str, install: &str, teller: &Teller<'_>) {
    let about = ("call", shown);
    let line = call.line;
    let Some(program) = &call.program else {
        let why = format!("which program {shown}:{line} calls is not plain to see");
        teller.warn(about, why, Some(install.to_owned()));
        return;
    };
    let ran = Command::new(program)
        .arg("--version")
        .env_clear()
        .current_dir("/")
        .output();
    let version = format!("auto-dispatcher {}", env!("CARGO_PKG_VERSION"));
    let name = program.display();
    match ran {
        Err(error) => {
            let why = format!("{shown}:{line} calls {name}, which this user cannot run: {error}");
            teller.fail(
                about,
                why,
                Some(format!(
                    "install -m 755 auto-dispatcher /usr/local/bin/, then there: {install}"
                )),
            );
        }
        Ok(ran) if !ran.status.success() => {
            let said = String::from_utf8_lossy(&ran.stderr)
                .trim()
                .replace('\n', "; ");
            teller.fail(
                about,
                format!(
                    "{shown}:{line} calls {name}, which ends with {}: {said}",
                    ran.status
                ),
                None,
            );
        }
        Ok(ran) => {
            let said = String::from_utf8_lossy(&ran.stdout);
            let said = said.lines().next().unwrap_or_default();
            let with = call.config.as_ref().map_or_else(
                || "no --config".to_owned(),
                |config| format!("--config {}", config.display()),
            );
            if said.starts_with(&version) {
                teller.ok(
                    about,
                    format!("line {line} calls {name} ({said}) with {with}"),
                );
            } else {
                let why = format!(
                    "line {line} calls {name}, which is another version: {said}; this is {version}"
                );
                teller.warn(about, why, Some(install.to_owned()));
            }
        }
    }
}

/// The other hooks of the repository.
fn others(repository: &Path, teller: &Teller<'_>) {
    for name in OTHERS {
        let path = repository.join("hooks").join(name);
        let Ok(bytes) = fs::read(&path) else { continue };
        let shown = path.to_string_lossy().into_owned();
        let about = ("other hooks", shown.as_str());
        if let Some(call) = hook_file::call(&String::from_utf8_lossy(&bytes)) {
            let why = format!(
                "{shown}:{} calls `auto-dispatcher hook`, which belongs into post-commit alone: before, there is no revision",
                call.line
            );
            teller.fail(
                about,
                why,
                Some(format!("take line {} out of {}", call.line, quoted(&path))),
            );
        } else if !may(&path, Access::EXEC_OK) && name.ends_with("-commit") {
            let why =
                format!("{shown} is not executable by this user: Subversion refuses every commit");
            teller.fail(about, why, Some(format!("chmod a+rx {}", quoted(&path))));
        }
    }
}

/// What svnserve gives hooks as their environment: the variables of the file that svnserve.conf names. Those alone that
/// this program reads: whoever may write that file must not tell a process of root what to load.
pub(super) fn environment(repository: &Path) -> Vec<(String, String)> {
    let conf = repository.join("conf");
    let settings = read_text(&conf.join("svnserve.conf")).unwrap_or_default();
    let named = settings.lines().find_map(|line| {
        let (key, value) = line.split_once('=')?;
        (key.trim() == "hooks-env").then(|| conf.join(value.trim()))
    });
    let text = named.and_then(|path| read_text(&path)).unwrap_or_default();
    let mut variables: Vec<(String, String)> = Vec::new();
    let mut counts = false;
    for line in text.lines().map(str::trim) {
        if let Some(section) = line.strip_prefix('[') {
            counts = matches!(section.trim_end_matches(']'), "default" | "post-commit");
        } else if counts
            && let Some((name, value)) = line.split_once('=')
            && VARIABLES.contains(&name.trim())
        {
            variables.retain(|(known, _)| known != name.trim());
            variables.push((name.trim().to_owned(), value.trim().to_owned()));
        }
    }
    variables
}

/// The repository as its files tell, and what svnlook is asked for elsewhere.
pub(super) fn repository(path: &Path, teller: &Teller<'_>) {
    let shown = path.to_string_lossy();
    let about = ("repository", shown.as_ref());
    match repository_files::read_uuid(path) {
        Ok(uuid) => {
            let youngest = repository_files::youngest(path)
                .map_or_else(|| "unknown".to_owned(), |revision| format!("r{revision}"));
            teller.ok(about, format!("{shown}, UUID {uuid}, youngest {youngest}"));
        }
        Err(error) => teller.error(about, &error),
    }
}
