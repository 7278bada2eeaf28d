//! How much of a file that several channels wrote, and that was cut off, is the artifact's beginning: what lies before
//! the first hole. The host hashes segments of it, each by itself.

use super::exec::ExecError;
use super::link::Link;
use super::resume::stopped;
use super::shell::{self, BLOCK_BYTES};
use super::stripes;
use super::wire::Halt;
use crate::domain::text::shell_quote;
use crate::transport::Upload;
use crate::transport::resume::{WORTHWHILE_BYTES, has_digest};

/// The most segments.
const SEGMENTS: u64 = 64;
/// The smallest segment, in blocks.
const LEAST_BLOCKS: u64 = (1 << 20) / BLOCK_BYTES;

/// Whether several channels may have written the file.
pub(super) fn are_possible(upload: &Upload<'_>) -> bool {
    upload.size >= 2 * stripes::LEAST_BYTES
}

/// How many of the first `blocks` blocks, in bytes, are the artifact's; none where they are few.
pub(super) fn before(
    link: &mut Link,
    upload: &Upload<'_>,
    path: &str,
    blocks: u64,
) -> Result<u64, ExecError> {
    let step = blocks.div_ceil(SEGMENTS).max(LEAST_BLOCKS);
    let segment = format!("dd if=\"$f\" bs={BLOCK_BYTES} skip=\"$i\" count=\"$c\" 2>/dev/null | ");
    let script = format!(
        "f={}\ni=0\nwhile [ \"$i\" -lt {blocks} ]; do\nc=$(({blocks}-i))\n[ \"$c\" -le {step} ] || c={step}\n\
         s=$((c*{BLOCK_BYTES}))\n{}echo \"$h\"\ni=$((i+c))\ndone\n",
        shell_quote(path),
        shell::hash_script(&segment, "")
    );
    let ran = link.script_within(shell::hashing(upload.size), &script)?;
    let text = ran.text();
    let mut verified = 0;
    let digests = text.lines().map(str::trim).filter(|line| line.len() == 64);
    for (number, sha256) in (0..).zip(digests) {
        let (at, end) = (step * number, (step * (number + 1)).min(blocks));
        let range = (at * BLOCK_BYTES, end * BLOCK_BYTES);
        match has_digest(upload, range, sha256, &|| stopped(link)) {
            Ok(true) => verified = range.1,
            Ok(false) => break,
            // Only a stop ends it.
            Err(_) => return Err(ExecError::Halt(Halt::Stopped)),
        }
    }
    Ok(if verified < WORTHWHILE_BYTES {
        0
    } else {
        verified
    })
}
