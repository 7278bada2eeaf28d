//! Many small files at once: one script unpacks an archive into a directory beside their final places, has the disk
//! take it, computes the digests, waits for our word, and gives all of them their names with one `mv`.

use std::cell::RefCell;
use std::io::{self, Read};
use std::time::Duration;

use super::archive::Archive;
use super::exec::{ExecError, Input, Patient};
use super::link::{Link, quoted, refused};
use super::shell;
use crate::domain::fault::Fault;
use crate::domain::text::shell_quote;
use crate::transport::{Brought, Group, Grouped, Milestone};

mod heard;

use heard::Heard;

/// The slowest network that is waited for, bytes a second.
const SLOWEST_BYTES: u64 = 5_000;
/// For the host to unpack, to have its disk take everything, and to rename.
const HOST_WORKS: Duration = Duration::from_mins(10);
/// From here on openssl, which is slower to start, is the faster one to hash.
const OPENSSL_FROM: u64 = 8 << 20;

/// Behind `$d`, the directory, and `$t`, the one to unpack in, and the tools to hash with as arguments.
///
/// GNU tar stops reading where the archive ends; others read on, and the word that is to come with it, so they are
/// handed as many bytes as there are. `read` may find padding before the word. A last newline is held back here until
/// something follows: hence the empty lines. Should we hang up, writing fails, and cleaning up does not.
///
/// Another one may be at work in a directory of the same name: what is left of a connection that we gave up. The later
/// one takes the name away from the earlier one; from then on each works in its own, and removes only what is its own.
const SCRIPT: &str = r#"
trap '' PIPE
no() { echo "ad: no $1"; exit 3; }
[ -d "$d" ] && [ -w "$d" ] || no 'the directory cannot be written to'
command -v tar >/dev/null 2>&1 || no 'it has no tar'
case $(tar --version 2>/dev/null) in
*'GNU tar'*) cut= ;;
*) [ "$(echo xy | head -c 1 2>/dev/null)" = x ] || no 'its head cannot cut an archive off'; cut=1 ;;
esac
h=
for c in "$@"; do command -v "${c%% *}" >/dev/null 2>&1 && h=1; done
[ -n "$h" ] || no 'it cannot compute a SHA-256'
printf 'ad: ready '
umask
echo
IFS=' ' read -r w n
[ "$w" = take ] || exit 4
k=
bad() { [ -z "$k" ] || { rm -f ./*; cd / && rmdir "$t" 2>/dev/null; }; echo "ad: bad $1"; exit 1; }
rm -rf "$t" && mkdir -m 700 "$t" && cd "$t" || bad 'cannot make a directory'
k=1
if [ -n "$cut" ]; then head -c "$n" | tar xopmf -; else tar xopmf -; fi || bad 'cannot unpack'
( trap - PIPE; while sleep 5 </dev/null >/dev/null 2>&1; do echo; done ) & b=$!
case $(sync --help 2>&1) in
*--file-system*) sync -f . ;;
*) for f in *; do dd if=/dev/null of="$f" conv=notrunc,fsync >/dev/null 2>&1; done ;;
esac
for c in "$@"; do
  command -v "${c%% *}" >/dev/null 2>&1 || continue
  echo 'ad: sums'
  $c * 2>/dev/null && break
done
kill "$b" 2>/dev/null
for f in *; do [ ! -d "$d/$f" ] || echo "ad: taken $f"; done
echo 'ad: verify'
echo
w=
while IFS=' ' read -r w n; do [ "$w" != publish ] || break; done
[ "$w" = publish ] || bad 'it was called off'
[ -z "$n" ] || rm -f $n
m= l=
mv -f * "$d/" && m=1
for f in *; do [ ! -f "$f" ] || { echo "ad: left $f"; l=1; }; done
[ -n "$m$l" ] || bad 'what was unpacked has been removed'
[ -z "$l" ] || rm -f ./*
cd / && rmdir "$t" && echo 'ad: tidy'
echo
"#;

/// Brings the files.
pub(super) fn bring(
    link: &mut Link,
    group: &Group<'_>,
    passes: &mut dyn FnMut(Milestone<'_>) -> Result<(), Fault>,
) -> Result<Brought, Fault> {
    let total: u64 = group.files.iter().map(|file| file.size).sum();
    let script = script(group, total);
    let limit = link.stall.saturating_mul(2)
        + HOST_WORKS
        + shell::hashing(total)
        + Duration::from_secs(total / SLOWEST_BYTES);
    let heard = RefCell::new(Heard::default());
    let mut feed = Feed {
        group,
        passes,
        heard: &heard,
        goes: vec![true; group.files.len()],
        going: Vec::new(),
        stage: Stage::Asking,
        begun: 0,
        refusal: None,
    };
    let ran = link.stream_with(
        Patient::For(limit),
        &script,
        Input {
            reader: &mut feed,
            progress: &mut |_| {},
        },
        &mut |bytes| heard.borrow_mut().take(bytes),
    );
    let (goes, refusal, stage) = (feed.goes, feed.refusal, feed.stage);
    let heard = heard.into_inner();
    match refusal {
        Some(Refusal::Fault(fault)) => return Err(fault),
        Some(Refusal::Trouble(why)) => return Ok(Brought::Refused(why)),
        None => {}
    }
    match ran {
        Ok(0) if matches!(stage, Stage::Publishing(_)) => Ok(Brought::Published {
            which: published(group, &goes, &heard.left),
            is_tidy: heard.is_tidy,
        }),
        Ok(status) if matches!(stage, Stage::Asking | Stage::Waiting) => {
            Ok(Brought::Unable(heard.why(status)))
        }
        Ok(status) => Ok(Brought::Refused(heard.why(status))),
        Err(ExecError::NoShell(said)) => Ok(Brought::Unable(format!(
            "it runs no commands{}",
            quoted(&said)
        ))),
        Err(ExecError::Local(error)) => Ok(Brought::Refused(format!(
            "cannot read an artifact: {error}"
        ))),
        Err(error) => Err(link.exec_fault(&error, "uploading")),
    }
}

/// Removes the directory of a group that was broken off.
pub(super) fn tidy(link: &mut Link, directory: &str) -> Result<(), Fault> {
    // What unpacks there for somebody who has gone may add a file while it is emptied; not after that.
    let script = format!(
        "rm -rf {0} 2>/dev/null || rm -rf {0}",
        shell_quote(directory)
    );
    match link.script(&script) {
        Ok(ran) if ran.status == 0 => Ok(()),
        Ok(ran) => Err(refused(
            &link.place,
            "cannot remove",
            directory,
            &ran.text(),
        )),
        Err(error) => Err(link.exec_fault(&error, "tidying")),
    }
}

fn script(group: &Group<'_>, total: u64) -> String {
    let mut tools = [
        "sha256sum",
        "openssl dgst -sha256 -r",
        "shasum -a 256",
        "busybox sha256sum",
        "sha256 -q",
        "digest -a sha256",
    ];
    if total >= OPENSSL_FROM {
        tools.swap(0, 1);
    }
    let tools: Vec<String> = tools.iter().map(|tool| format!("'{tool}'")).collect();
    let dir = group.dir.trim_end_matches('/');
    format!(
        "LC_ALL=C; export LC_ALL\nd={}\nt={}\nset -- {}{SCRIPT}",
        shell_quote(&format!("{dir}/")),
        shell_quote(&format!("{dir}/{}", group.temporary)),
        tools.join(" ")
    )
}

fn published(group: &Group<'_>, goes: &[bool], left: &[String]) -> Vec<bool> {
    let is_left = |file: &Grouped<'_>| left.iter().any(|name| name == file.name);
    let files = group.files.iter().zip(goes);
    files.map(|(file, goes)| *goes && !is_left(file)).collect()
}

/// Where we are.
enum Stage<'a> {
    /// The host has got the script.
    Asking,
    /// For the host to say what it can.
    Waiting,
    /// The word to begin, then the archive.
    Sending(Vec<u8>, Archive<'a>),
    /// For the host to say what it has.
    Verifying,
    /// The word to publish.
    Publishing(Vec<u8>),
}

/// Why it goes no further.
enum Refusal {
    /// The caller says so.
    Fault(Fault),
    /// Something is wrong with the group.
    Trouble(String),
}

/// What the script is fed, depending on what it says.
struct Feed<'a, 'p> {
    group: &'a Group<'a>,
    passes: &'p mut dyn FnMut(Milestone<'_>) -> Result<(), Fault>,
    heard: &'p RefCell<Heard>,
    goes: Vec<bool>,
    /// The numbers of those that go.
    going: Vec<usize>,
    stage: Stage<'a>,
    /// How many of these have begun.
    begun: usize,
    refusal: Option<Refusal>,
}

impl<'a> Feed<'a, '_> {
    /// Goes on to the next stage where what the host said allows it.
    fn advance(&mut self) -> Result<(), Refusal> {
        if matches!(self.stage, Stage::Asking) {
            self.pass_asked()?;
        }
        let heard = self.heard.borrow();
        match &self.stage {
            Stage::Waiting if let Some(umask) = heard.umask => {
                drop(heard);
                self.begin(umask);
                Ok(())
            }
            Stage::Verifying if heard.has_verified => {
                drop(heard);
                self.publish()
            }
            _ => Ok(()),
        }
    }

    fn pass_asked(&mut self) -> Result<(), Refusal> {
        (self.passes)(Milestone::Asked(&mut self.goes)).map_err(Refusal::Fault)?;
        let goes = self.goes.iter().enumerate().filter(|(_, goes)| **goes);
        self.going = goes.map(|(number, _)| number).collect();
        if self.going.is_empty() {
            return Err(Refusal::Trouble("nothing of it is to go".to_owned()));
        }
        self.stage = Stage::Waiting;
        Ok(())
    }

    /// The host can do it.
    fn begin(&mut self, umask: u32) {
        let files: Vec<&Grouped<'_>> = self.going().collect();
        // What a file gets that is made without ado.
        let mode = self.group.mode.unwrap_or(0o666 & !umask);
        let word = format!("take {}\n", Archive::bytes(&files));
        self.stage = Stage::Sending(word.into_bytes(), Archive::new(files, mode));
    }

    fn going(&self) -> impl Iterator<Item = &'a Grouped<'a>> {
        let files = self.group.files;
        self.going.iter().filter_map(|number| files.get(*number))
    }

    /// The host has unpacked all.
    fn publish(&mut self) -> Result<(), Refusal> {
        let heard = self.heard.borrow();
        let digests = heard.digests(self.going()).map_err(Refusal::Trouble)?;
        if let Some((file, digest)) = self
            .going()
            .zip(digests)
            .find(|(file, digest)| file.sha256 != *digest)
        {
            return Err(Refusal::Trouble(format!(
                "{} arrived wrong: its SHA-256 is {digest} instead of {}",
                file.name, file.sha256
            )));
        }
        let mut word = "\npublish".to_owned();
        for (file, goes) in self.group.files.iter().zip(&mut self.goes) {
            if *goes && heard.taken.iter().any(|taken| taken == file.name) {
                *goes = false;
                word.push(' ');
                word.push_str(file.name);
            }
        }
        word.push('\n');
        if !self.goes.contains(&true) {
            return Err(Refusal::Trouble(
                "directories have all the names".to_owned(),
            ));
        }
        drop(heard);
        (self.passes)(Milestone::Verified(&self.goes)).map_err(Refusal::Fault)?;
        self.stage = Stage::Publishing(word.into_bytes());
        Ok(())
    }

    fn piece(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let waits = || Err(io::ErrorKind::WouldBlock.into());
        match &mut self.stage {
            // One that says no is told that nothing comes.
            Stage::Waiting if self.heard.borrow().is_over => Ok(0),
            Stage::Asking | Stage::Waiting | Stage::Verifying => waits(),
            Stage::Sending(word, _) if !word.is_empty() => take(word, buffer),
            Stage::Sending(_, archive) => {
                let count = archive.read(buffer)?;
                let begun = archive.begun();
                self.tell_begun(begun, count == 0)?;
                if count == 0 {
                    self.stage = Stage::Verifying;
                    return waits();
                }
                Ok(count)
            }
            Stage::Publishing(word) => take(word, buffer),
        }
    }
}

impl Feed<'_, '_> {
    /// Tells of the files that are being handed over, and that all are.
    fn tell_begun(&mut self, begun: usize, is_all: bool) -> io::Result<()> {
        let fresh = self.going.get(self.begun..begun).unwrap_or_default();
        let mut told = fresh
            .iter()
            .try_for_each(|number| (self.passes)(Milestone::Begun(*number)));
        self.begun = begun;
        if told.is_ok() && is_all {
            told = (self.passes)(Milestone::Sent);
        }
        told.map_err(|fault| {
            self.refusal = Some(Refusal::Fault(fault));
            io::Error::other("the group does not go on")
        })
    }
}

/// Hands over the beginning of `word`.
fn take(word: &mut Vec<u8>, buffer: &mut [u8]) -> io::Result<usize> {
    let count = word.as_slice().read(buffer)?;
    word.drain(..count);
    Ok(count)
}

impl Read for Feed<'_, '_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if let Err(refusal) = self.advance() {
            self.refusal = Some(refusal);
            return Err(io::Error::other("the group does not go on"));
        }
        self.piece(buffer)
    }
}
