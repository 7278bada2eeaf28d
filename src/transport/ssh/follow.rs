//! What the follower of a tracked install command prints, read piece by piece.

use crate::domain::install::{InstallEnd, Tail};

/// How following ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ending {
    /// The command ended.
    Ended(InstallEnd),
    /// The host has no process and no status of it any more.
    Lost,
    /// It could not be started or followed, for this reason.
    Trouble(String),
}

/// How much of one line is kept: a line of the script's own is shorter, whatever reason it gives.
const LONGEST_LINE: usize = 64 * 1024;

/// The reader.
pub(super) struct Follow {
    nonce: String,
    line: Vec<u8>,
    data_left: u64,
    seen: u64,
    /// Whether the host has made its record and waits for the word to begin.
    pub(super) prepared: bool,
    /// The output so far.
    pub(super) tail: Tail,
    /// How it ended, once it has.
    pub(super) ending: Option<Ending>,
}

impl Follow {
    pub(super) fn new(nonce: &str, output_max_bytes: usize) -> Self {
        Self {
            nonce: nonce.to_owned(),
            line: Vec::new(),
            data_left: 0,
            seen: 0,
            prepared: false,
            tail: Tail::new(output_max_bytes),
            ending: None,
        }
    }

    /// Takes a piece of what the script prints; `output` is shown the command's own output.
    pub(super) fn take(&mut self, mut bytes: &[u8], output: &mut dyn FnMut(&[u8])) {
        while !bytes.is_empty() {
            if self.data_left > 0 {
                let here = usize::try_from(self.data_left)
                    .map_or(bytes.len(), |left| left.min(bytes.len()));
                let (data, rest) = bytes.split_at(here);
                output(data);
                self.tail.push(data);
                // A host may claim any offset.
                self.seen = self.seen.saturating_add(here as u64);
                self.data_left -= here as u64;
                bytes = rest;
                continue;
            }
            let Some(end) = bytes.iter().position(|&byte| byte == b'\n') else {
                self.keep(bytes);
                return;
            };
            self.keep(&bytes[..end]);
            bytes = &bytes[end + 1..];
            let line = String::from_utf8_lossy(&std::mem::take(&mut self.line)).into_owned();
            self.read(&line);
        }
    }

    /// Adds to the line; the beginning tells whose it is.
    fn keep(&mut self, bytes: &[u8]) {
        let room = LONGEST_LINE.saturating_sub(self.line.len());
        self.line.extend_from_slice(&bytes[..room.min(bytes.len())]);
    }

    fn read(&mut self, line: &str) {
        let Some(line) = line
            .strip_prefix(self.nonce.as_str())
            .and_then(|rest| rest.strip_prefix(' '))
        else {
            return;
        };
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            "D" => {
                let mut numbers = rest
                    .split(' ')
                    .filter_map(|number| number.parse::<u64>().ok());
                if let (Some(offset), Some(length)) = (numbers.next(), numbers.next()) {
                    if offset > self.seen {
                        self.tail.skip(offset - self.seen);
                        self.seen = offset;
                    }
                    self.data_left = length;
                }
            }
            "S" => {
                self.ending = Some(match rest.trim().parse() {
                    Ok(status) => Ending::Ended(InstallEnd::Exited(status)),
                    Err(_) if rest.trim() == "late" => Ending::Ended(InstallEnd::TimedOut),
                    Err(_) => Ending::Lost,
                });
            }
            "P" => self.prepared = true,
            "L" => self.ending = Some(Ending::Lost),
            "E" => self.ending = Some(Ending::Trouble(rest.to_owned())),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_and_status_are_read_wherever_the_pieces_are_cut() {
        let text = b"noise\nADx D 0 6\nADx S\nADx A\nADx D 100 2\nhiADx S 7\n";
        for size in 1..text.len() {
            let mut follow = Follow::new("ADx", 4);
            let mut seen = Vec::new();
            for piece in text.chunks(size) {
                follow.take(piece, &mut |bytes| seen.extend_from_slice(bytes));
            }
            assert_eq!(seen, b"ADx S\nhi");
            assert_eq!(follow.ending, Some(Ending::Ended(InstallEnd::Exited(7))));
            let outcome = follow.tail.into_outcome(InstallEnd::Exited(7));
            assert_eq!(
                (outcome.output.as_slice(), outcome.output_cut_bytes),
                (&b"hi"[..], 100)
            );
        }
    }

    #[test]
    fn noise_without_an_end_takes_no_room() {
        let mut follow = Follow::new("ADx", 4);
        for _ in 0..100 {
            follow.take(&[b'n'; 10_000], &mut |_| {});
        }
        assert_eq!(follow.line.len(), LONGEST_LINE);
        follow.take(b"\nADx S 7\n", &mut |_| {});
        assert_eq!(follow.ending, Some(Ending::Ended(InstallEnd::Exited(7))));
    }

    #[test]
    fn a_late_command_and_a_lost_one_are_told_apart() {
        let ending = |text: &str| {
            let mut follow = Follow::new("ADx", 4);
            follow.take(text.as_bytes(), &mut |_| {});
            follow.ending
        };
        assert_eq!(
            ending("ADx S late\n"),
            Some(Ending::Ended(InstallEnd::TimedOut))
        );
        assert_eq!(ending("ADx L\n"), Some(Ending::Lost));
        assert_eq!(ending("ADx S \n"), Some(Ending::Lost));
        assert_eq!(
            ending("ADx E no space\n"),
            Some(Ending::Trouble("no space".to_owned()))
        );
        assert_eq!(ending("ADx A\n"), None);
    }

    #[test]
    fn a_host_that_is_prepared_says_so_and_output_cannot() {
        let prepared = |text: &str| {
            let mut follow = Follow::new("ADx", 4);
            follow.take(text.as_bytes(), &mut |_| {});
            follow.prepared
        };
        assert!(prepared("ADx P\n"));
        assert!(!prepared("ADx D 0 6\nADx P\n"));
    }
}
