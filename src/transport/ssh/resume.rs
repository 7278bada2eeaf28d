//! How much of a temporary file is known to be the artifact's beginning, and going on behind it where there is
//! no SFTP. An earlier session's writer may still live on the host with bytes of its own to write: everything
//! is written at fixed offsets, where it can only write the same bytes.

use std::io::{ErrorKind, Read as _, Seek as _, SeekFrom};
use std::path::Path;
use std::time::Instant;

use ssh2::{FileStat, OpenFlags, OpenType};

use super::exec::{ExecError, Input};
use super::link::Link;
use super::sftp::{self, Trouble};
use super::shell::{self, BLOCK_BYTES};
use super::stripes::HOLES_BYTES;
use super::wire::{Halt, is_lost};
use crate::domain::fault::Fault;
use crate::domain::text::shell_quote;
use crate::transport::Upload;
use crate::transport::resume::{
    TAIL_BYTES, WORTHWHILE_BYTES, begins_with_digest, holds, is_worthwhile,
};

/// How many samples of what lies before the tail are read back.
const SAMPLES: u64 = 64;
/// How long a sample is.
const SAMPLE_BYTES: u64 = 4 * 1024;

const DOING: &str = "looking at what an earlier attempt left";

/// How many bytes of the temporary file are the artifact's beginning, as far as that can be known; none where the
/// upload starts again.
pub(super) fn verified(
    link: &mut Link,
    upload: &Upload<'_>,
    path: &str,
    by_sftp: bool,
) -> Result<u64, Fault> {
    let stat = if by_sftp {
        match sftp::ask(link, |sftp| sftp.lstat(Path::new(path))) {
            Ok(stat) if stat.is_file() && is_worthwhile(stat.size.unwrap_or(0), upload) => {
                Some(stat)
            }
            Ok(_) | Err(Trouble::Status(_)) => return Ok(0),
            Err(trouble) => return Err(sftp::fault(link, &trouble, DOING, path)),
        }
    } else {
        None
    };
    let mut found = by_digest(link, upload, path, u64::MAX);
    if let Ok(Beginning::Other(blocks @ 1..)) = found {
        // Where several channels wrote it, there may be holes before its end.
        found = by_digest(
            link,
            upload,
            path,
            blocks.saturating_sub(HOLES_BYTES / BLOCK_BYTES),
        );
    }
    match (found, stat) {
        (Ok(Beginning::Verified(length)), _) => Ok(length),
        (Ok(Beginning::Unhashed) | Err(ExecError::NoShell(_)), Some(stat)) => {
            by_reading(link, upload, path, &stat)
        }
        (Ok(_) | Err(ExecError::Lost(_)), _) => Ok(0),
        (Err(error), _) => Err(link.exec_fault(&error, DOING)),
    }
}

/// What a script found out.
enum Beginning {
    /// So many bytes are the artifact's.
    Verified(u64),
    /// The host has no tool for it.
    Unhashed,
    /// Something else lies there, or nothing, or not enough of it; so many blocks were looked at.
    Other(u64),
}

/// The host hashes what is there, in whole blocks, of which `most` are looked at. Only a plain file of our own is gone on with: in a directory that
/// others may write to, a link could lead anywhere.
fn by_digest(
    link: &mut Link,
    upload: &Upload<'_>,
    path: &str,
    most: u64,
) -> Result<Beginning, ExecError> {
    let least = WORTHWHILE_BYTES / BLOCK_BYTES;
    if most < least {
        return Ok(Beginning::Other(0));
    }
    let shortened = if most == u64::MAX {
        String::new()
    } else {
        format!("[ \"$k\" -le {most} ] || k={most}\n")
    };
    let narrow = if upload.mode.is_some() {
        "chmod 600 \"$f\" || exit 44\n"
    } else {
        ""
    };
    let script = format!(
        "f={}\n[ -f \"$f\" ] && [ ! -h \"$f\" ] && [ -O \"$f\" ] || exit 44\n{narrow}\
         s=$(wc -c <\"$f\") && k=$((s/{BLOCK_BYTES})) || exit 44\n\
         {shortened}[ \"$s\" -le {} ] && [ \"$k\" -ge {least} ] || exit 44\n{}echo \"$k $h\"\n",
        shell_quote(path),
        upload.size,
        shell::hash_script(
            &format!("dd if=\"$f\" bs={BLOCK_BYTES} count=\"$k\" 2>/dev/null | "),
            ""
        )
    );
    let ran = link.script_within(shell::hashing(upload.size), &script)?;
    let text = ran.text();
    let mut words = text.split_ascii_whitespace();
    let blocks: Option<u64> = words.next().and_then(|word| word.parse().ok());
    let (0, Some(blocks)) = (ran.status, blocks) else {
        return Ok(Beginning::Other(0));
    };
    let Some(sha256) = words.next() else {
        return Ok(Beginning::Unhashed);
    };
    let length = blocks.saturating_mul(BLOCK_BYTES);
    let stop = || {
        link.wire
            .heed_stop()
            .map_err(|halt| link.halt_fault(&halt, DOING))
    };
    match begins_with_digest(upload, length, sha256, &stop) {
        Ok(true) => Ok(Beginning::Verified(length)),
        Ok(false) => Ok(Beginning::Other(blocks)),
        // Only a stop ends it.
        Err(_) => Err(ExecError::Halt(Halt::Stopped)),
    }
}

/// Where no digest can be had, the tail and samples of what lies before it are read back: what a power cut leaves
/// is a file whose last pages, or some among them, hold zeros.
fn by_reading(
    link: &mut Link,
    upload: &Upload<'_>,
    path: &str,
    stat: &FileStat,
) -> Result<u64, Fault> {
    let length = stat.size.unwrap_or(0);
    let perm = match upload.mode {
        Some(_) => 0o600,
        None => stat.perm.unwrap_or(0o644) & 0o7777,
    };
    let narrowed = FileStat {
        size: None,
        uid: None,
        gid: None,
        perm: Some(perm),
        atime: None,
        mtime: None,
    };
    // Only its owner may do this: another one's file is not gone on with.
    match sftp::ask(link, |sftp| sftp.setstat(Path::new(path), narrowed.clone())) {
        Ok(()) => {}
        Err(Trouble::Status(_)) => return Ok(0),
        Err(trouble) => return Err(sftp::fault(link, &trouble, DOING, path)),
    }
    let opened = sftp::ask(link, |sftp| {
        sftp.open_mode(Path::new(path), OpenFlags::READ, 0o600, OpenType::File)
    });
    let mut file = match opened {
        Ok(file) => file,
        Err(Trouble::Status(_)) => return Ok(0),
        Err(trouble) => return Err(sftp::fault(link, &trouble, DOING, path)),
    };
    let mut is_ours = true;
    for (offset, count) in probes(length) {
        is_ours = is_ours
            && read_at(link, &mut file, offset, count)?
                .is_some_and(|bytes| holds(upload.local, offset, &bytes));
    }
    match link.wire.run(link.stall, || file.close()) {
        Err(Halt::Ssh(error)) if is_lost(&error) => Err(link.halt_fault(&Halt::Ssh(error), DOING)),
        Err(Halt::Ssh(_)) | Ok(()) => Ok(if is_ours { length } else { 0 }),
        Err(halt) => Err(link.halt_fault(&halt, DOING)),
    }
}

/// Offset and length of what is read back of a file of `length` bytes, in order.
fn probes(length: u64) -> Vec<(u64, usize)> {
    let tail = length.min(TAIL_BYTES);
    let before = length - tail;
    let step = (before / SAMPLES).max(SAMPLE_BYTES * 16);
    let mut probes: Vec<(u64, usize)> = (0..before / step)
        .map(|number| (number * step, usize::try_from(SAMPLE_BYTES).unwrap_or(0)))
        .collect();
    probes.push((before, usize::try_from(tail).unwrap_or(0)));
    probes
}

/// `count` bytes at `offset`; nothing where there are fewer, or the host refuses.
fn read_at(
    link: &Link,
    file: &mut ssh2::File,
    offset: u64,
    count: usize,
) -> Result<Option<Vec<u8>>, Fault> {
    let mut bytes = vec![0; count];
    let mut filled = 0;
    let mut end = Instant::now() + link.stall;
    if file.seek(SeekFrom::Start(offset)).is_err() {
        return Ok(None);
    }
    while filled < count {
        match link
            .wire
            .transfer(link.stall, || file.read(&mut bytes[filled..]))
        {
            Ok(0) => return Ok(None),
            Ok(read) => {
                filled += read;
                end = Instant::now() + link.stall;
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                link.wire
                    .pause(end, link.stall)
                    .map_err(|halt| link.halt_fault(&halt, DOING))?;
            }
            Err(_) => {
                let reason = ssh2::Error::last_session_error(&link.wire.session);
                return match reason.filter(is_lost) {
                    Some(error) => Err(link.halt_fault(&Halt::Ssh(error), DOING)),
                    None => Ok(None),
                };
            }
        }
    }
    Ok(Some(bytes))
}

/// Brings the bytes from `from` on, which is a multiple of a block, and returns `from`.
pub(super) fn by_dd(
    link: &mut Link,
    upload: &Upload<'_>,
    path: &str,
    from: u64,
    progress: &mut dyn FnMut(u64),
) -> Result<u64, Fault> {
    let mut local = shell::open_local(upload)?;
    local
        .seek(SeekFrom::Start(from))
        .map_err(|error| shell::local_fault(&error))?;
    // Cuts the file at `from` before it writes; a pipe's short reads become short writes.
    let script = format!(
        "f={}\n{}dd of=\"$f\" bs={BLOCK_BYTES} seek={} || {{ rm -f \"$f\"; exit 1; }}\n{}",
        shell_quote(path),
        shell::STAYS,
        from / BLOCK_BYTES,
        shell::mode_script(upload)
    );
    progress(from);
    let mut progress = |sent| progress(from + sent);
    let input = Input {
        reader: &mut local,
        progress: &mut progress,
    };
    shell::feed(link, &script, input, path)?;
    Ok(from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probes_cover_the_tail_and_samples_before_it_and_nothing_behind_the_end() {
        for length in [0, 1, TAIL_BYTES, TAIL_BYTES + 1, 5 << 20, 10 << 30] {
            let probes = probes(length);
            let ends = probes.iter().map(|&(offset, count)| offset + count as u64);
            assert_eq!(ends.max(), Some(length));
            assert!(probes.is_sorted(), "{probes:?}");
            assert!(probes.len() as u64 <= SAMPLES + 1);
            let whole: usize = probes.iter().map(|&(_, count)| count).sum();
            assert!(whole as u64 <= TAIL_BYTES + SAMPLES * SAMPLE_BYTES);
        }
        assert!(probes(5 << 20).len() as u64 > SAMPLES / 2);
    }
}
