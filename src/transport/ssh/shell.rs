//! Files by scripts. Every name is quoted, every path absolute, so no name is an option or a pattern.

use std::fs::File;
use std::io;
use std::time::Duration;

use super::exec::{ExecError, Input, Patient};
use super::link::{Link, keep, refused};
use crate::domain::fault::Fault;
use crate::domain::text::shell_quote;
use crate::transport::{Upload, replace};

/// The slowest that is waited for, bytes a second: a small machine with a slow disk.
const SLOWEST_HASH: u64 = 1_000_000;

/// What scripts count in: `dd` skips whole blocks.
pub(super) const BLOCK_BYTES: u64 = 64 * 1024;
/// A host lacks a program that our scripts need.
pub(super) const UNFIT_STATUS: i32 = 43;

/// What a host is asked when a script first concerns its files.
pub(super) const HELLO: &str = r#"for t in cat chmod mkdir mv rm wc; do
command -v "$t" >/dev/null 2>&1 || { echo "$t"; exit 43; }
done
h=$(cd 2>/dev/null && pwd)
printf 'ad: home %s\n' "$h"
"#;
/// How a line of ours begins among what programs say.
pub(super) const MARK: &str = "ad: ";

/// What a host answered.
pub(super) enum Met {
    /// Scripts can handle its files.
    Fit {
        /// The login's home; empty where it has none.
        home: String,
        /// What became of the rest of the script, and what it said.
        rest: Result<(), String>,
    },
    /// It has a shell, and lacks this program.
    Lacks(String),
}

/// Finds out whether scripts can handle a host's files, and runs `rest`, which finds the login's home in `$h`.
pub(super) fn meet(link: &mut Link, rest: &str) -> Result<Met, ExecError> {
    let ran = link.script(&format!("{HELLO}{rest}"))?;
    if ran.status == UNFIT_STATUS {
        return Ok(Met::Lacks(ran.text()));
    }
    let output = String::from_utf8_lossy(&ran.output);
    let said: Vec<&str> = output
        .lines()
        .filter(|line| !line.starts_with(MARK))
        .collect();
    let rest = match (ran.status, said.join("\n").trim()) {
        (0, _) => Ok(()),
        (status, "") => Err(format!("exit status {status}")),
        (_, said) => Err(said.to_owned()),
    };
    let home = home_in(&output).unwrap_or_default().to_owned();
    Ok(Met::Fit { home, rest })
}

/// What [`HELLO`] has told of the login's home.
pub(super) fn home_in(said: &str) -> Option<&str> {
    said.lines()
        .find_map(|line| line.strip_prefix(MARK)?.strip_prefix("home "))
}

/// The words that make what is missing of a directory: `below` the login's home `$h`, or absolute.
pub(super) fn make_script(path: &str, is_below_home: bool) -> String {
    let place = match (is_below_home, path) {
        (false, path) => shell_quote(path),
        (true, "") => "$h".to_owned(),
        (true, below) => format!("${{h%/}}/{}", shell_quote(below)),
    };
    format!("d={place}\n[ -d \"$d\" ] || mkdir -p \"$d\"\n")
}

/// The artifact, opened.
pub(super) fn open_local(upload: &Upload<'_>) -> Result<File, Fault> {
    File::open(upload.local).map_err(|error| {
        Fault::permanent(format!(
            "cannot open the artifact {}: {error}",
            upload.local.display()
        ))
    })
}

/// An artifact that cannot be read to its end.
pub(super) fn local_fault(error: &io::Error) -> Fault {
    Fault::transient(format!("cannot read the artifact: {error}"))
}

/// Runs a script that concerns `path`; a status other than 0 is a fault with what the script said.
pub(super) fn run(link: &mut Link, script: &str, doing: &str, path: &str) -> Result<String, Fault> {
    let ran = link
        .script(script)
        .map_err(|error| link.exec_fault(&error, doing))?;
    if ran.status == 0 {
        return Ok(ran.text());
    }
    let said = ran.text();
    let why = if said.is_empty() {
        format!("exit status {}", ran.status)
    } else {
        said
    };
    Err(refused(&link.place, doing, path, &why))
}

/// Makes what is missing of an absolute directory.
pub(super) fn make_dir(link: &mut Link, path: &str) -> Result<(), Fault> {
    let script = make_script(path, false);
    run(link, &script, "cannot make the directory", path).map(|_| ())
}

/// The script's words that make the temporary file `$f`: new, empty, and closed to others if a mode is wanted. The
/// directory may not be there yet, or not any more.
pub(super) fn create_script(upload: &Upload<'_>, path: &str) -> String {
    let umask = if upload.mode.is_some() {
        "umask 077\n"
    } else {
        ""
    };
    format!(
        "{}[ $? -eq 0 ] || exit 1\nf={}\nif [ -e \"$f\" ] || [ -h \"$f\" ]; then rm -f \"$f\" || exit 1; fi\n\
         {umask}set -C\n: >\"$f\" || exit 1\nset +C\n",
        make_script(upload.dir, false),
        shell_quote(path)
    )
}

pub(super) fn mode_script(upload: &Upload<'_>) -> String {
    upload
        .mode
        .map(|mode| format!("chmod {mode:o} \"$f\" || exit 1\n"))
        .unwrap_or_default()
}

/// Brings the bytes to the temporary name, through a channel of their own.
pub(super) fn by_cat(
    link: &mut Link,
    upload: &Upload<'_>,
    path: &str,
    progress: &mut dyn FnMut(u64),
) -> Result<(), Fault> {
    let mut local = open_local(upload)?;
    let script = format!(
        "{}cat >\"$f\" || {{ rm -f \"$f\"; exit 1; }}\n{}",
        create_script(upload, path),
        mode_script(upload)
    );
    if upload.size == 0 {
        progress(0);
    }
    let input = Input {
        reader: &mut local,
        progress,
    };
    feed(link, &script, input, path)
}

/// Runs a script that writes its input to `path`, and removes what it made when it fails.
pub(super) fn feed(
    link: &mut Link,
    script: &str,
    input: Input<'_>,
    path: &str,
) -> Result<(), Fault> {
    let script = format!("LC_ALL=C; export LC_ALL\n{script}");
    let mut said = Vec::new();
    let result = link.stream_with(Patient::WithInput, &script, input, &mut |bytes| {
        keep(&mut said, bytes);
    });
    match result {
        Ok(0) => Ok(()),
        Ok(_) => Err(refused(
            &link.place,
            "cannot write",
            path,
            String::from_utf8_lossy(&said).trim(),
        )),
        Err(error) => {
            if matches!(error, ExecError::Local(_)) {
                // The connection stands: nothing half-written stays.
                let _ = remove(link, path);
            }
            Err(link.exec_fault(&error, "uploading"))
        }
    }
}

/// The words of a script that put the SHA-256 of what one of the tools is fed by `source` and `input` into `$h`, which is
/// empty where the host has none. `$s` bytes are to be read. (openssl is the faster tool, but slower to start; and a large
/// file takes longer than the patience of firewalls.)
pub(super) fn hash_script(source: &str, input: &str) -> String {
    format!(
        r#"h= b=
set -- 'openssl dgst -sha256 -r' sha256sum 'shasum -a 256' 'busybox sha256sum' 'sha256 -q' 'digest -a sha256'
if [ "$s" -lt 4194304 ]; then
set -- sha256sum "$@"
else
( while sleep 5 </dev/null >/dev/null 2>&1; do echo; done ) & b=$!
fi
for y in "$@"; do
h=$({source}$y {input}2>/dev/null) || continue
h=${{h%% *}}
[ "${{#h}}" -eq 64 ] && break
h=
done
[ -z "$b" ] || kill "$b" 2>/dev/null
"#
    )
}

/// How long a host may take to hash `size` bytes.
pub(super) fn hashing(size: u64) -> Duration {
    Duration::from_secs(size / SLOWEST_HASH)
}

/// The words of a script that put the length of a file into `$s`, and its SHA-256 into `$h`.
fn digest_script(path: &str) -> String {
    format!(
        "f={}\n[ -f \"$f\" ] || exit 44\ns=$(wc -c <\"$f\") || exit 1\n{}",
        shell_quote(path),
        hash_script("", "<\"$f\" ")
    )
}

/// Length and, where the host can compute it, SHA-256 of a file that should have `size` bytes; nothing where there is
/// none.
pub(super) fn digest(
    link: &mut Link,
    path: &str,
    size: u64,
) -> Result<Option<(u64, Option<String>)>, ExecError> {
    let script = format!("{}echo \"$((s+0)) $h\"\n", digest_script(path));
    let ran = link.script_within(hashing(size), &script)?;
    match ran.status {
        0 => {}
        44 => return Ok(None),
        status => {
            return Err(ExecError::Lost(format!(
                "exit status {status}: {}",
                ran.text()
            )));
        }
    }
    let text = ran.text();
    match read_digest(&text) {
        Some(digest) => Ok(Some(digest)),
        None => Err(ExecError::Lost(format!("it said: {text}"))),
    }
}

/// A length and perhaps a SHA-256, as scripts tell them.
pub(super) fn read_digest(said: &str) -> Option<(u64, Option<String>)> {
    let mut words = said.split_ascii_whitespace();
    let size = words.next()?.parse().ok()?;
    Some((size, words.next().map(str::to_lowercase)))
}

/// The words that give `$f` the name `$n`.
pub(super) const RENAME: &str = "mv -f \"$f\" \"$n\"";
/// The words that end a script where `$f` is not there any more, which an earlier attempt's remains may have renamed: what
/// comes next would make another one.
pub(super) const STAYS: &str = "[ -f \"$f\" ] || { echo 'it has gone meanwhile'; exit 1; }\n";
/// The words that end a script of which nobody hears any more: another attempt may be under way.
pub(super) const IS_HEARD: &str = "echo || exit 1\n";
/// A directory has the name.
pub(super) const TAKEN_STATUS: i32 = 47;

/// The words that end a script where a directory has the name, which is `$n` then.
pub(super) fn name_script(name: &str) -> String {
    format!(
        "n={}\nif [ -d \"$n\" ]; then echo 'a directory has that name'; exit {TAKEN_STATUS}; fi\n",
        shell_quote(name)
    )
}

/// Renames `temporary` to `name`, replacing a file of that name in one step. Where `dd` can, the bytes are on the
/// disk before, unless they are there already: unlike `sync`, which older hosts run for all file systems, it concerns the
/// one file. `again`: an earlier attempt may have put an old file aside.
pub(super) fn publish(
    link: &mut Link,
    temporary: &str,
    name: &str,
    again: bool,
) -> Result<(), Fault> {
    let script = format!(
        "f={}\n{}",
        shell_quote(temporary),
        publish_script(link, (temporary, name), again, "")
    );
    run(link, &script, "cannot publish", name).map(|_| ())
}

/// The words of a script that publish `$f`; those of `check` run right before.
fn publish_script(
    link: &mut Link,
    (temporary, name): (&str, &str),
    again: bool,
    check: &str,
) -> String {
    let aside = if again {
        format!(" && rm -f {}", shell_quote(&replace::aside(temporary)))
    } else {
        String::new()
    };
    let sync = if link.synced.take().is_some_and(|synced| synced == temporary) {
        ""
    } else {
        "dd if=/dev/null of=\"$f\" conv=notrunc,fsync >/dev/null 2>&1\n"
    };
    format!("{}{STAYS}{sync}{check}{RENAME}{aside}", name_script(name))
}

/// Publishes a file that has the right length and SHA-256, in one go. False where it has not, where the host cannot tell,
/// or where publishing it fails: to do one after the other tells why.
pub(super) fn publish_if_right(
    link: &mut Link,
    upload: &Upload<'_>,
    temporary: &str,
    name: &str,
) -> Result<bool, ExecError> {
    let size = upload.size;
    // The hash took long. Where nobody waits for it any more, the next attempt may have made the file anew.
    let check = format!(
        "{IS_HEARD}[ \"$(ls -i \"$f\")\" = \"$i\" ] && [ \"$(wc -c <\"$f\")\" -eq {size} ] || exit 45\n"
    );
    let script = format!(
        "f={}\ni=$(ls -i \"$f\")\n{}[ \"$s\" -eq {size} ] && [ \"$h\" = {} ] || exit 45\n{}",
        shell_quote(temporary),
        digest_script(temporary),
        shell_quote(upload.sha256),
        publish_script(link, (temporary, name), upload.resume, &check)
    );
    let ran = link.script_within(hashing(upload.size), &script)?;
    Ok(ran.status == 0)
}

/// Removes a file if it is there.
pub(super) fn remove(link: &mut Link, path: &str) -> Result<(), Fault> {
    run(
        link,
        &format!("rm -f {}", shell_quote(path)),
        "cannot remove",
        path,
    )
    .map(|_| ())
}

/// What [`crate::transport::replace::tidy`] does, by a script.
pub(super) fn tidy(link: &mut Link, temporary: &str, name: &str) -> Result<(), Fault> {
    let script = format!(
        "t={}\nn={}\no={}\n\
         if [ -e \"$o\" ] || [ -h \"$o\" ]; then\n\
         if [ -e \"$n\" ] || [ -h \"$n\" ]; then rm -f \"$o\"; else mv \"$o\" \"$n\"; fi || exit 1\nfi\n\
         rm -f \"$t\"",
        shell_quote(temporary),
        shell_quote(name),
        shell_quote(&replace::aside(temporary))
    );
    run(link, &script, "cannot tidy", temporary).map(|_| ())
}
