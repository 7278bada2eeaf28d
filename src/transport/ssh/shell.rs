//! Files by scripts, for hosts without SFTP: bytes travel by SCP where the host has it, else by `cat`.
//! Every name is quoted, every path absolute, so no name is an option or a pattern.

use std::fs::File;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::path::Path;
use std::time::{Duration, Instant};

use super::exec::{ExecError, Input, Patient, finish};
use super::link::{Link, keep, refused};
use super::wire::{Halt, is_lost};
use crate::domain::fault::Fault;
use crate::domain::text::shell_quote;
use crate::transport::{Upload, replace};

/// The slowest that is waited for, bytes a second: a small machine with a slow disk.
const SLOWEST_HASH: u64 = 1_000_000;

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

/// The login's home.
pub(super) fn home(link: &mut Link) -> Result<String, Fault> {
    run(link, "cd && pwd", "resolving", "~")
}

/// Makes what is missing of an absolute directory.
pub(super) fn make_dir(link: &mut Link, path: &str) -> Result<(), Fault> {
    let script = format!("mkdir -p {}", shell_quote(path));
    run(link, &script, "cannot make the directory", path).map(|_| ())
}

/// The script's words that make the temporary file: new, empty, and closed to others if a mode is wanted.
fn create_script(upload: &Upload<'_>, path: &str) -> String {
    let umask = if upload.mode.is_some() {
        "umask 077; "
    } else {
        ""
    };
    format!(
        "f={}\nrm -f \"$f\" || exit 1\n( {umask}set -C; : >\"$f\" ) || exit 1\n",
        shell_quote(path)
    )
}

pub(super) fn mode_script(upload: &Upload<'_>) -> String {
    upload
        .mode
        .map(|mode| format!("chmod {mode:o} \"$f\" || exit 1\n"))
        .unwrap_or_default()
}

/// Brings the bytes to the temporary name.
pub(super) fn upload(
    link: &mut Link,
    upload: &Upload<'_>,
    path: &str,
    scp: bool,
    progress: &mut dyn FnMut(u64),
) -> Result<(), Fault> {
    if scp && !path.contains('\n') {
        run(link, &create_script(upload, path), "cannot create", path)?;
        if by_scp(link, upload, path, progress)? {
            let mode = mode_script(upload);
            if !mode.is_empty() {
                run(
                    link,
                    &format!("f={}\n{mode}", shell_quote(path)),
                    "cannot set the mode of",
                    path,
                )?;
            }
            return Ok(());
        }
    }
    by_cat(link, upload, path, progress)
}

fn by_cat(
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
    progress(0);
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
    let result = link.stream_with(Patient::WithInput, &script, Some(input), &mut |bytes| {
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

/// Whether SCP took the file; `false` where the host's SCP does not work at all.
fn by_scp(
    link: &mut Link,
    upload: &Upload<'_>,
    path: &str,
    progress: &mut dyn FnMut(u64),
) -> Result<bool, Fault> {
    let mut local = open_local(upload)?;
    let mode = i32::try_from(upload.mode.unwrap_or(0o644) & 0o777).unwrap_or(0o644);
    let session = &link.wire.session;
    let opened = link.wire.run(link.stall, || {
        session.scp_send(Path::new(path), mode, upload.size, None)
    });
    let mut channel = match opened {
        Ok(channel) => channel,
        Err(Halt::Ssh(error)) if !is_lost(&error) => {
            log::debug!(
                "{}: SCP does not work ({}), using cat",
                link.place,
                error.message()
            );
            return Ok(false);
        }
        Err(halt) => return Err(link.halt_fault(&halt, "uploading")),
    };
    let sent = scp_bytes(link, &mut channel, &mut local, progress);
    let said = if sent.is_ok() {
        scp_answer(link, &mut channel)
    } else {
        Ok(Vec::new())
    };
    finish(&link.wire, &mut channel);
    sent?;
    let said = said?;
    // Zero bytes are assents; an error is a 1 or 2 with a message.
    match said.iter().position(|&byte| byte == 1 || byte == 2) {
        None => Ok(true),
        Some(at) => {
            let why = String::from_utf8_lossy(&said[at + 1..]).trim().to_owned();
            // The space it takes may be what is missing.
            let _ = remove(link, path);
            Err(refused(&link.place, "cannot write", path, &why))
        }
    }
}

fn scp_bytes(
    link: &Link,
    channel: &mut ssh2::Channel,
    local: &mut File,
    progress: &mut dyn FnMut(u64),
) -> Result<(), Fault> {
    let mut buffer = vec![0; 1024 * 1024];
    let mut total = 0;
    loop {
        let filled = local
            .read(&mut buffer)
            .map_err(|error| local_fault(&error))?;
        // The last message is the byte that says: this was all.
        let (bytes, last) = if filled == 0 {
            (&b"\0"[..], true)
        } else {
            (&buffer[..filled], false)
        };
        let mut from = 0;
        let mut end = Instant::now() + link.stall;
        while from < bytes.len() {
            match link
                .wire
                .transfer(link.stall, || channel.write(&bytes[from..]))
            {
                Ok(count) => {
                    from += count;
                    end = Instant::now() + link.stall;
                    if !last {
                        total += count as u64;
                        progress(total);
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    link.wire
                        .pause(end, link.stall)
                        .map_err(|halt| link.halt_fault(&halt, "uploading"))?;
                }
                Err(error) => {
                    return Err(Fault::transient(format!(
                        "{}: connection lost while uploading: {error}",
                        link.place
                    )));
                }
            }
        }
        if last {
            progress(total);
            return Ok(());
        }
    }
}

fn scp_answer(link: &Link, channel: &mut ssh2::Channel) -> Result<Vec<u8>, Fault> {
    let mut said = Vec::new();
    let halted = |halt: Halt| link.halt_fault(&halt, "uploading");
    link.wire
        .run(link.stall, || channel.send_eof())
        .map_err(halted)?;
    let end = Instant::now() + link.stall;
    let mut buffer = [0; 4096];
    loop {
        match link.wire.transfer(link.stall, || channel.read(&mut buffer)) {
            Ok(0) if channel.eof() => return Ok(said),
            // An answer is a byte, or a line; what comes beyond counts against the time.
            Ok(count) => {
                keep(&mut said, &buffer[..count]);
                if Instant::now() >= end {
                    return Err(halted(link.wire.flooded()));
                }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                link.wire.pause(end, link.stall).map_err(halted)?;
            }
            Err(error) => {
                return Err(Fault::transient(format!(
                    "{}: connection lost while uploading: {error}",
                    link.place
                )));
            }
        }
    }
}

/// The words of a script that put the SHA-256 of what `$t`, one of the tools, is fed by `source` and `input` into `$h`,
/// which is empty where the host has no tool. `$s` bytes are to be read.
pub(super) fn hash_script(source: &str, input: &str) -> String {
    format!(
        r#"h= b=
set -- 'openssl dgst -sha256 -r' sha256sum 'shasum -a 256' 'busybox sha256sum' 'sha256 -q' 'digest -a sha256'
# openssl is the faster one, but slower to start; and a large file takes longer than the patience of firewalls.
if [ "$s" -lt 4194304 ]; then
  set -- sha256sum "$@"
else
  ( while sleep 5 </dev/null >/dev/null 2>&1; do echo; done ) & b=$!
fi
for t in "$@"; do
  h=$({source}$t {input}2>/dev/null) || continue
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

/// Length and, where the host can compute it, SHA-256 of a file that should have `size` bytes; nothing where there is
/// none.
pub(super) fn digest(
    link: &mut Link,
    path: &str,
    size: u64,
) -> Result<Option<(u64, Option<String>)>, ExecError> {
    let script = format!(
        "f={}\n[ -f \"$f\" ] || exit 44\ns=$(wc -c <\"$f\") || exit 1\n{}echo \"$((s+0)) $h\"\n",
        shell_quote(path),
        hash_script("", "<\"$f\" ")
    );
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
    let mut words = text.split_ascii_whitespace();
    match words.next().and_then(|size| size.parse().ok()) {
        Some(size) => Ok(Some((size, words.next().map(str::to_lowercase)))),
        None => Err(ExecError::Lost(format!("it said: {text}"))),
    }
}

/// Renames `temporary` to `name`, replacing a file of that name in one step. Where `dd` can, the bytes are on the
/// disk before: unlike `sync`, which older hosts run for all file systems, it concerns the one file.
pub(super) fn publish(link: &mut Link, temporary: &str, name: &str) -> Result<(), Fault> {
    let script = format!(
        "t={}\nn={}\nif [ -d \"$n\" ]; then echo 'a directory has that name'; exit 1; fi\n\
         dd if=/dev/null of=\"$t\" conv=notrunc,fsync >/dev/null 2>&1\nmv -f \"$t\" \"$n\"",
        shell_quote(temporary),
        shell_quote(name)
    );
    run(link, &script, "cannot publish", name).map(|_| ())
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
