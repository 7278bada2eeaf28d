//! Scripts that take so many bytes from the shell's input, and leave there what comes behind them: the whole of a small
//! file, which the same script hashes; a piece of a large one.

use std::fs::File;
use std::io::{self, ErrorKind, Read};

use super::exec::{ExecError, Input, Patient};
use super::link::{Link, keep, refused};
use super::shell::{self, BLOCK_BYTES, MARK, TAKEN_STATUS, UNFIT_STATUS};
use crate::domain::fault::Fault;
use crate::transport::Upload;

/// Files up to this size are written and hashed by one script.
const SMALL_BYTES: u64 = 1024 * 1024;
/// No tool of the host can count.
pub(super) const CANNOT_COUNT_STATUS: i32 = 45;

/// What takes the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tool {
    /// A `dd` that fills its blocks, counts bytes, and has the disk take them.
    Dd,
    /// `head`, which is slower, and a `dd` that only skips.
    Head,
    /// There is none.
    None,
}

/// Tries the tools. (POSIX knows no way but to take single bytes.)
const TRY: &str = r#"if [ "$(echo xyz | dd bs=2 count=3 iflag=fullblock,count_bytes status=none 2>/dev/null)" = xyz ]
then t=dd
elif [ "$(echo xyz | head -c 3 2>/dev/null | dd bs=65536 conv=notrunc 2>/dev/null)" = xyz ]; then t=head
else exit 45
fi
"#;

/// Takes `$1` bytes to the `$2`th block of the file; `$3`: and has the disk take them.
const TAKE: &str = r#"take() {
if [ "$t" = dd ]; then
dd of="$f" bs=65536 seek="$2" count="$1" iflag=fullblock,count_bytes conv="notrunc$3" status=none
elif [ "$1" -gt 0 ]; then
head -c "$1" | dd of="$f" bs=65536 seek="$2" conv=notrunc
fi
}
"#;

/// The words of a script that choose `$t`, the tool, and make `take`, which makes use of it.
pub(super) fn words(link: &Link) -> String {
    let tool = match link.tool {
        Some(Tool::Dd) => "t=dd\n",
        Some(Tool::Head) => "t=head\n",
        Some(Tool::None) | None => TRY,
    };
    format!("{tool}{TAKE}")
}

/// Learns which tool it was from the word that a script said.
pub(super) fn learn(link: &mut Link, word: &str) {
    link.tool = match word {
        "dd" => Some(Tool::Dd),
        "head" => Some(Tool::Head),
        _ => None,
    };
}

/// A file that has to hold so many bytes.
struct Exactly {
    file: File,
    left: u64,
}

impl Read for Exactly {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).map_or(buffer.len(), |left| left.min(buffer.len()));
        let count = self.file.read(&mut buffer[..most])?;
        if count == 0 && most > 0 {
            let why = "it is shorter than it was";
            return Err(io::Error::new(ErrorKind::UnexpectedEof, why));
        }
        self.left -= count as u64;
        Ok(count)
    }
}

/// Whether a file is one for [`small`].
pub(super) fn is_small(link: &Link, upload: &Upload<'_>) -> bool {
    upload.size <= SMALL_BYTES && link.tool != Some(Tool::None)
}

/// What became of a small file.
#[derive(Debug, Default)]
pub(super) struct Brought {
    /// The login's home, where the host was asked.
    pub(super) home: Option<String>,
    /// The length and, where the host can compute it, the SHA-256 of what lies there; nothing where scripts cannot do it
    /// so on this host.
    pub(super) there: Option<(u64, Option<String>)>,
    /// Whether it has its name.
    pub(super) is_published: bool,
}

/// Brings the bytes of a small file to the temporary name and, if they are right there, has them get the name
/// `publish_as`. `is_first`: nothing is known of the host yet.
pub(super) fn small(
    link: &mut Link,
    upload: &Upload<'_>,
    path: &str,
    (publish_as, is_first): (Option<&str>, bool),
    progress: &mut dyn FnMut(u64),
) -> Result<Brought, Fault> {
    let mut local = Exactly {
        file: shell::open_local(upload)?,
        left: upload.size,
    };
    let script = script(link, upload, path, publish_as, is_first);
    if upload.size == 0 {
        progress(0);
    }
    let input = Input {
        reader: &mut local,
        progress,
    };
    let mut said = Vec::new();
    let ran = link.converse(
        Patient::WithInput,
        ("", &script),
        Some(input),
        &mut |bytes| {
            keep(&mut said, bytes);
        },
    );
    let text = String::from_utf8_lossy(&said);
    let error = match ran {
        Ok(0) => match read(link, path, &text) {
            Some(brought) => return Ok(brought),
            None => ExecError::Lost(format!("it said: {}", text.trim())),
        },
        Ok(CANNOT_COUNT_STATUS) if link.tool.is_none() => {
            link.tool = Some(Tool::None);
            return Ok(Brought::default());
        }
        Ok(UNFIT_STATUS) | Err(ExecError::NoShell(_)) if is_first => {
            return Ok(Brought::default());
        }
        Ok(status) => {
            let said: Vec<&str> = text
                .lines()
                .filter(|line| !line.starts_with(MARK))
                .collect();
            let (doing, path) = match publish_as {
                Some(name) if status == TAKEN_STATUS => ("cannot publish", name),
                _ => ("cannot write", path),
            };
            return Err(refused(&link.place, doing, path, said.join("\n").trim()));
        }
        Err(error) => error,
    };
    if matches!(error, ExecError::Local(_)) {
        // The connection stands: nothing half-written stays.
        let _ = shell::remove(link, path);
    }
    Err(link.exec_fault(&error, "uploading"))
}

fn script(
    link: &Link,
    upload: &Upload<'_>,
    path: &str,
    publish_as: Option<&str>,
    is_first: bool,
) -> String {
    // A digest that is right speaks for the length, too. What is wrong is looked at again before anything is said.
    let publish = publish_as.map_or_else(String::new, |name| {
        format!(
            "if [ \"$h\" = {} ] || [ \"$s $h\" = '{} ' ]; then\n{}[ \"$t\" = dd ] || dd if=/dev/null of=\"$f\" \
             conv=notrunc,fsync >/dev/null 2>&1\n{}{} || exit 1\np=published\nfi\n",
            upload.sha256,
            upload.size,
            shell::name_script(name),
            shell::IS_HEARD,
            shell::RENAME
        )
    });
    format!(
        "LC_ALL=C; export LC_ALL\n{}{}{}take {size} 0 ,fsync || {{ rm -f \"$f\"; exit 1; }}\n{}s={size}\n{}\
         [ -n \"$h\" ] || s=$(wc -c <\"$f\") || exit 1\ns=$((s+0)) p=there\n{publish}echo \"ad: $t $p $s $h\"\n",
        if is_first { shell::HELLO } else { "" },
        words(link),
        shell::create_script(upload, path),
        shell::mode_script(upload),
        shell::hash_script("", "<\"$f\" "),
        size = upload.size,
    )
}

/// What a script has answered; programs may have said something, too.
fn read(link: &mut Link, path: &str, said: &str) -> Option<Brought> {
    let mut lines = said.lines().rev();
    let answer = lines.find_map(|line| line.strip_prefix(MARK))?;
    let (tool, rest) = answer.split_once(' ')?;
    let (what, rest) = rest.split_once(' ')?;
    let there = shell::read_digest(rest)?;
    learn(link, tool);
    let is_published = what == "published";
    link.synced = (tool == "dd" && !is_published).then(|| path.to_owned());
    Some(Brought {
        home: shell::home_in(said).map(str::to_owned),
        there: Some(there),
        is_published,
    })
}

/// The lines that have a script take pieces of a file to their places: how many bytes, behind how many blocks.
pub(super) const TAKE_PIECES: &str = r#"echo "ready $t"
echo
while IFS=' ' read -r k n && [ "$n" -gt 0 ]; do
[ -f "$f" ] || { echo 'it has gone meanwhile'; exit 1; }
take "$n" "$k" '' || exit 1
done
"#;

/// What is said to a script of [`TAKE_PIECES`] before the bytes from `at` to `end`.
pub(super) fn piece(at: u64, end: u64) -> String {
    format!("{} {}\n", at / BLOCK_BYTES, end - at)
}

/// What ends it.
pub(super) const NO_MORE: &str = "0 0\n";
