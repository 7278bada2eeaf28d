//! `svnadmin dump` of one revision (format 2), read as it comes and never held: which files it brings, and their
//! bytes. Every length is checked, and what is not known is refused. Knows nothing of processes, nor of which
//! files somebody wants.

use std::ops::ControlFlow;

/// A header may hold a path of some kilobytes.
const LINE_MAX_BYTES: usize = 64 * 1024;
/// svnadmin writes a dozen of them at most.
const HEADERS_MAX: usize = 32;
/// What a block of properties ends with.
const PROPERTIES_END: &[u8] = b"PROPS-END\n";
/// The headers of a path that say nothing of what it holds.
const OTHER_HEADERS: [&str; 6] = [
    "Node-copyfrom-rev",
    "Node-copyfrom-path",
    "Text-copy-source-md5",
    "Text-copy-source-sha1",
    "Text-content-md5",
    "Node-kind",
];

/// What a dump tells, in this order: the UUID once; of each path [`Piece::Path`], and behind one with a text its
/// bytes, if there are any, and [`Piece::End`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    /// The repository's UUID.
    Uuid(&'a str),
    /// A path that the revision changed.
    Path {
        /// As `svnlook changed` shows it, without the slash of a directory.
        path: &'a str,
        /// Of a file whose text is in the dump.
        text: Option<Text<'a>>,
        /// All that follows on its headers.
        bytes: u64,
    },
    /// A part of the text.
    Bytes(&'a [u8]),
    /// The text is whole.
    End,
}

/// A text that follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Text<'a> {
    /// Bytes.
    pub(super) size: u64,
    /// Its SHA-1 in lower-case hex, where the repository has one.
    pub(super) sha1: Option<&'a str>,
}

/// Hears the pieces; may say that it has had enough.
type Each<'a> = &'a mut dyn FnMut(Piece<'_>) -> ControlFlow<()>;

/// A dump that is being read.
#[derive(Debug)]
pub(super) struct Reader {
    /// The one that was asked for.
    revision: u64,
    /// What must come next, at least.
    stage: Stage,
    inside: Inside,
    /// The header that is not whole yet.
    line: Vec<u8>,
    /// The headers of the record so far.
    headers: Vec<String>,
    /// The content of a record is over: a blank line follows.
    wants_blank: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Format,
    Uuid,
    Revision,
    Paths,
}

#[derive(Debug)]
enum Inside {
    Headers,
    /// So many bytes are left of a block of properties, of which the end is kept, and then so many of a text.
    Properties {
        left: u64,
        end: Vec<u8>,
        text: Option<u64>,
    },
    Text {
        left: u64,
    },
}

impl Reader {
    /// For the dump of this revision alone.
    pub(super) fn new(revision: u64) -> Self {
        Self {
            revision,
            stage: Stage::Format,
            inside: Inside::Headers,
            line: Vec::new(),
            headers: Vec::new(),
            wants_blank: false,
        }
    }

    /// Takes the next bytes, however they are cut. Broken off where `each` has had enough.
    pub(super) fn feed(
        &mut self,
        mut bytes: &[u8],
        each: Each<'_>,
    ) -> Result<ControlFlow<()>, String> {
        while !bytes.is_empty() {
            let flow = match &mut self.inside {
                Inside::Headers => {
                    let end = bytes.iter().position(|&byte| byte == b'\n');
                    let (part, rest) = bytes.split_at(end.unwrap_or(bytes.len()));
                    if self.line.len() + part.len() > LINE_MAX_BYTES {
                        return Err(format!("a header of more than {LINE_MAX_BYTES} bytes"));
                    }
                    self.line.extend_from_slice(part);
                    bytes = rest.get(1..).unwrap_or_default();
                    if end.is_some() {
                        self.header(each)?
                    } else {
                        ControlFlow::Continue(())
                    }
                }
                Inside::Properties { left, end, text } => {
                    let (part, rest) = split(bytes, left);
                    bytes = rest;
                    end.extend_from_slice(part);
                    end.drain(..end.len().saturating_sub(PROPERTIES_END.len()));
                    if *left == 0 {
                        if end != PROPERTIES_END {
                            return Err("properties without an end".to_owned());
                        }
                        let text = *text;
                        self.text(text, each)
                    } else {
                        ControlFlow::Continue(())
                    }
                }
                Inside::Text { left } => {
                    let (part, rest) = split(bytes, left);
                    bytes = rest;
                    let is_over = *left == 0;
                    if each(Piece::Bytes(part)).is_break() {
                        ControlFlow::Break(())
                    } else if is_over {
                        self.content_is_over();
                        each(Piece::End)
                    } else {
                        ControlFlow::Continue(())
                    }
                }
            };
            if flow.is_break() {
                return Ok(flow);
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Nothing more comes.
    pub(super) fn end(&self) -> Result<(), String> {
        let is_between = matches!(self.inside, Inside::Headers)
            && self.line.is_empty()
            && self.headers.is_empty()
            && !self.wants_blank;
        if self.stage == Stage::Paths && is_between {
            Ok(())
        } else {
            Err("the dump ends too soon".to_owned())
        }
    }

    /// A whole line of headers.
    fn header(&mut self, each: Each<'_>) -> Result<ControlFlow<()>, String> {
        let line = std::mem::take(&mut self.line);
        if line.is_empty() {
            self.wants_blank = false;
            if self.headers.is_empty() {
                return Ok(ControlFlow::Continue(()));
            }
            let headers = std::mem::take(&mut self.headers);
            return self.record(&Headers::of(&headers)?, each);
        }
        let line = String::from_utf8(line).map_err(|_| "a header that is not UTF-8".to_owned())?;
        if self.wants_blank {
            return Err(format!("`{line}` where a record has to end"));
        }
        if self.headers.len() >= HEADERS_MAX {
            return Err(format!("more than {HEADERS_MAX} headers"));
        }
        self.headers.push(line);
        Ok(ControlFlow::Continue(()))
    }

    /// All headers of a record.
    fn record(&mut self, headers: &Headers<'_>, each: Each<'_>) -> Result<ControlFlow<()>, String> {
        match (self.stage, headers.first()) {
            (Stage::Format, ("SVN-fs-dump-format-version", "2")) => {
                headers.only(&[])?;
                self.stage = Stage::Uuid;
                Ok(ControlFlow::Continue(()))
            }
            (Stage::Uuid, ("UUID", uuid)) => {
                headers.only(&[])?;
                self.stage = Stage::Revision;
                Ok(each(Piece::Uuid(uuid)))
            }
            (Stage::Revision, ("Revision-number", number)) => {
                headers.only(&["Prop-content-length", "Content-length"])?;
                if number != self.revision.to_string() {
                    return Err(format!("revision {number} in place of {}", self.revision));
                }
                self.stage = Stage::Paths;
                let (properties, _) = headers.lengths()?;
                Ok(self.content(properties, None, each))
            }
            (Stage::Paths, ("Node-path", path)) => self.path(path, headers, each),
            (_, (name, value)) => Err(format!("`{name}: {value}` in the wrong place")),
        }
    }

    fn path(
        &mut self,
        path: &str,
        headers: &Headers<'_>,
        each: Each<'_>,
    ) -> Result<ControlFlow<()>, String> {
        headers.only(
            &[
                &OTHER_HEADERS[..],
                &["Node-action", "Text-content-sha1"],
                &LENGTHS,
            ]
            .concat(),
        )?;
        let action = headers.get("Node-action").unwrap_or_default();
        if !["add", "change", "replace", "delete"].contains(&action) {
            return Err(format!("the action `{action}`"));
        }
        let (properties, text) = headers.lengths()?;
        if action == "delete" && (properties.is_some() || text.is_some()) {
            return Err(format!("`{path}` is deleted, and has content"));
        }
        if text.is_some() && headers.get("Node-kind") != Some("file") {
            return Err(format!("`{path}` has a text, and is no file"));
        }
        let sha1 = headers.get("Text-content-sha1");
        if sha1.is_some_and(|sha1| sha1.len() != 40 || !sha1.bytes().all(is_lower_hex)) {
            return Err(format!("a SHA-1 of `{path}` that is none"));
        }
        let piece = Piece::Path {
            path: path.strip_prefix('/').unwrap_or(path),
            text: text.map(|size| Text { size, sha1 }),
            bytes: properties.unwrap_or(0).saturating_add(text.unwrap_or(0)),
        };
        if each(piece).is_break() {
            return Ok(ControlFlow::Break(()));
        }
        Ok(self.content(properties, text, each))
    }

    fn content(
        &mut self,
        properties: Option<u64>,
        text: Option<u64>,
        each: Each<'_>,
    ) -> ControlFlow<()> {
        let Some(left) = properties else {
            return self.text(text, each);
        };
        self.inside = Inside::Properties {
            left,
            end: Vec::new(),
            text,
        };
        ControlFlow::Continue(())
    }

    fn text(&mut self, text: Option<u64>, each: Each<'_>) -> ControlFlow<()> {
        match text {
            Some(left @ 1..) => {
                self.inside = Inside::Text { left };
                ControlFlow::Continue(())
            }
            Some(0) => {
                self.content_is_over();
                each(Piece::End)
            }
            None => {
                self.content_is_over();
                ControlFlow::Continue(())
            }
        }
    }

    fn content_is_over(&mut self) {
        self.inside = Inside::Headers;
        self.wants_blank = true;
    }
}

const LENGTHS: [&str; 3] = [
    "Prop-content-length",
    "Text-content-length",
    "Content-length",
];

/// The headers of a record, each named once.
struct Headers<'a>(Vec<(&'a str, &'a str)>);

impl<'a> Headers<'a> {
    fn of(lines: &'a [String]) -> Result<Self, String> {
        let mut headers = Self(Vec::with_capacity(lines.len()));
        for line in lines {
            let header = line.split_once(": ");
            let (name, value) = header.ok_or_else(|| format!("`{line}` is no header"))?;
            if headers.get(name).is_some() {
                return Err(format!("`{name}` twice"));
            }
            headers.0.push((name, value));
        }
        Ok(headers)
    }

    fn first(&self) -> (&'a str, &'a str) {
        self.0.first().copied().unwrap_or_default()
    }

    fn get(&self, name: &str) -> Option<&'a str> {
        let found = self.0.iter().find(|(other, _)| *other == name);
        found.map(|(_, value)| *value)
    }

    /// An error where others than the first one and these are there.
    fn only(&self, known: &[&str]) -> Result<(), String> {
        let unknown = self
            .0
            .iter()
            .skip(1)
            .find(|(name, _)| !known.contains(name));
        unknown.map_or(Ok(()), |(name, _)| Err(format!("the header `{name}`")))
    }

    /// Those of the properties and of the text, which together are that of the content. A block of properties that
    /// is there has an end, at least.
    fn lengths(&self) -> Result<(Option<u64>, Option<u64>), String> {
        let [properties, text, content] = LENGTHS.map(|name| self.length(name));
        let (properties, text, content) = (properties?, text?, content?);
        if properties.is_some_and(|length| length < PROPERTIES_END.len() as u64) {
            return Err("properties that are too short".to_owned());
        }
        let both = properties.unwrap_or(0).checked_add(text.unwrap_or(0));
        let told = properties.is_some() || text.is_some();
        if both == Some(content.unwrap_or(0)) && told == content.is_some() {
            Ok((properties, text))
        } else {
            Err("lengths that contradict each other".to_owned())
        }
    }

    fn length(&self, name: &str) -> Result<Option<u64>, String> {
        let Some(value) = self.get(name) else {
            return Ok(None);
        };
        let number = value.bytes().all(|byte| byte.is_ascii_digit());
        let number = number.then(|| value.parse().ok()).flatten();
        number
            .map(Some)
            .ok_or_else(|| format!("`{name}: {value}` is no length"))
    }
}

fn is_lower_hex(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
}

/// What of `bytes` is of the `left` ones, and what is not.
fn split<'a>(bytes: &'a [u8], left: &mut u64) -> (&'a [u8], &'a [u8]) {
    let count = usize::try_from(*left).map_or(bytes.len(), |left| left.min(bytes.len()));
    *left -= count as u64;
    bytes.split_at(count)
}

#[cfg(test)]
mod tests;
