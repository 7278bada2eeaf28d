//! Reads what `svnlook changed --copy-info` and `svnlook tree --full-paths` print. PURE: text in, entries
//! out. Names are taken as they stand: nothing is trimmed, and only `\n` ends a line.

/// The longest line that is believed: Subversion's paths end far below.
const LINE_MAX_BYTES: usize = 1024 * 1024;

/// Cuts a stream into lines.
#[derive(Default)]
pub(super) struct Lines {
    partial: Vec<u8>,
}

impl Lines {
    /// Takes the next piece of the stream and hands each line that it completes, without its `\n`, to
    /// `each`.
    pub(super) fn feed(
        &mut self,
        piece: &[u8],
        each: &mut dyn FnMut(&str) -> Result<(), String>,
    ) -> Result<(), String> {
        let mut rest = piece;
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let (line, behind) = rest.split_at(end);
            if self.partial.is_empty() {
                each(text(line)?)?;
            } else {
                self.partial.extend_from_slice(line);
                each(text(&self.partial)?)?;
                self.partial.clear();
            }
            rest = behind.get(1..).unwrap_or_default();
        }
        self.partial.extend_from_slice(rest);
        if self.partial.len() > LINE_MAX_BYTES {
            return Err(format!(
                "a line of it is longer than {LINE_MAX_BYTES} bytes"
            ));
        }
        Ok(())
    }

    /// To be called when the stream is over: a line without an end was cut off.
    pub(super) fn end(&self) -> Result<(), String> {
        if self.partial.is_empty() {
            return Ok(());
        }
        Err("its last line is cut off".to_owned())
    }
}

/// What the three status columns say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    Added,
    /// Added by a copy (`A +`).
    Copied,
    Deleted,
    /// New content, with or without new properties.
    Content,
    Properties,
}

/// One path of `svnlook changed`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) status: Status,
    /// Without the trailing slash of a directory; the root is `/`.
    pub(super) path: String,
    pub(super) directory: bool,
}

/// Reads the lines of `svnlook changed --copy-info`.
#[derive(Default)]
pub(super) struct Listing {
    pub(super) entries: Vec<Entry>,
    /// The line behind `A +` says where the copy comes from, and nothing else tells that line from a
    /// status line.
    origin_follows: bool,
}

impl Listing {
    /// Takes one line.
    pub(super) fn line(&mut self, line: &str) -> Result<(), String> {
        if self.origin_follows {
            self.origin_follows = false;
            if line.starts_with("    (from ") && line.ends_with(')') {
                return Ok(());
            }
            return Err(unexpected(line));
        }
        let columns = line.get(..3).filter(|_| line.get(3..4) == Some(" "));
        let status = match columns {
            Some("A  ") => Status::Added,
            Some("A +") => Status::Copied,
            Some("D  ") => Status::Deleted,
            Some("U  " | "UU ") => Status::Content,
            Some("_U ") => Status::Properties,
            _ => return Err(unexpected(line)),
        };
        let shown = line
            .get(4..)
            .filter(|path| !path.is_empty())
            .ok_or_else(|| unexpected(line))?;
        let (path, directory) = split_path(shown);
        self.origin_follows = status == Status::Copied;
        self.entries.push(Entry {
            status,
            path: path.to_owned(),
            directory,
        });
        Ok(())
    }

    /// To be called behind the last line.
    pub(super) fn end(self) -> Result<Vec<Entry>, String> {
        if self.origin_follows {
            return Err("it ends where the origin of a copy should stand".to_owned());
        }
        Ok(self.entries)
    }
}

/// A path as svnlook shows it, without the slash that marks a directory, and whether that was there.
pub(super) fn split_path(shown: &str) -> (&str, bool) {
    match shown.strip_suffix('/') {
        Some("") => ("/", true),
        Some(path) => (path, true),
        None => (shown, false),
    }
}

fn text(line: &[u8]) -> Result<&str, String> {
    std::str::from_utf8(line).map_err(|_| {
        let shown = String::from_utf8_lossy(line)
            .chars()
            .take(200)
            .collect::<String>();
        format!("a name in it is not UTF-8: `{shown}`")
    })
}

fn unexpected(line: &str) -> String {
    let start: String = line.chars().take(200).collect();
    format!("it has a line of an unknown form: `{start}`")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(output: &str, piece: usize) -> Result<Vec<Entry>, String> {
        let (mut lines, mut listing) = (Lines::default(), Listing::default());
        for chunk in output.as_bytes().chunks(piece) {
            lines.feed(chunk, &mut |line| listing.line(line))?;
        }
        lines.end()?;
        listing.end()
    }

    fn entry(status: Status, path: &str, directory: bool) -> Entry {
        Entry {
            status,
            path: path.to_owned(),
            directory,
        }
    }

    #[test]
    fn every_status_is_read_in_pieces_of_every_size() {
        let output =
            "A   a\nD   b/\nU   c\n_U  d\nUU  e\n_U  /\nA + copy\n    (from trunk/f.txt:r7)\n";
        let expected = [
            entry(Status::Added, "a", false),
            entry(Status::Deleted, "b", true),
            entry(Status::Content, "c", false),
            entry(Status::Properties, "d", false),
            entry(Status::Content, "e", false),
            entry(Status::Properties, "/", true),
            entry(Status::Copied, "copy", false),
        ];
        for piece in 1..output.len() {
            assert_eq!(read(output, piece).unwrap(), expected, "pieces of {piece}");
        }
    }

    #[test]
    fn a_name_starts_at_byte_four_and_keeps_blanks_and_carriage_returns() {
        let entries = read(
            "A     two blanks \nA   cr\r\nA   \u{3000}\u{85}\u{2028}\n",
            7,
        )
        .unwrap();
        let paths: Vec<&str> = entries.iter().map(|entry| entry.path.as_str()).collect();
        assert_eq!(paths, ["  two blanks ", "cr\r", "\u{3000}\u{85}\u{2028}"]);
    }

    #[test]
    fn a_name_like_an_origin_is_a_name() {
        let output = "A   (from trunk/\nA   (from trunk/f.txt:r7)\nA + \u{20}   (from x:r1)\n    (from y:r1)\n";
        let paths: Vec<String> = read(output, 9)
            .unwrap()
            .into_iter()
            .map(|entry| entry.path)
            .collect();
        assert_eq!(
            paths,
            ["(from trunk", "(from trunk/f.txt:r7)", "    (from x:r1)"]
        );
    }

    #[test]
    fn anything_unknown_is_an_error_and_not_a_guess() {
        for wrong in [
            "X   a\n",
            "A  a\n",
            "A   \n",
            "A + a\n",
            "A + a\nA   b\n",
            "A   a",
            "中文\n",
            "\n",
        ] {
            assert!(read(wrong, 4).is_err(), "{wrong:?}");
        }
        assert!(
            Lines::default()
                .feed(b"A   \xff\n", &mut |_| Ok(()))
                .is_err()
        );
        assert!(
            Lines::default()
                .feed(&vec![b'x'; LINE_MAX_BYTES + 1], &mut |_| Ok(()))
                .is_err()
        );
    }
}
