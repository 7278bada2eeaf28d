//! Finds what belongs to a script in what its host prints: between a line with the script's marker and one with the
//! marker and its status. Knows no connection.

/// How many bytes of what came instead of a script's beginning are quoted.
const QUOTED_BYTES: usize = 300;
/// How much of it is kept while waiting for the script's beginning.
const MOST_NOISE: usize = 1024 * 1024;
/// A line with a status is shorter, whatever the host makes of it.
const STATUS_MAX_BYTES: usize = 32;

/// Finds the markers in what comes.
pub(super) struct Reading {
    marker: Vec<u8>,
    /// What may yet turn out to be a marker, or is quoted where none comes.
    pub(super) held: Vec<u8>,
    pub(super) began: bool,
    pub(super) status: Option<i32>,
}

impl Reading {
    pub(super) fn new(nonce: &str) -> Self {
        Self {
            marker: format!("\n{nonce}").into_bytes(),
            held: Vec::new(),
            began: false,
            status: None,
        }
    }

    /// Takes bytes; what surely belongs to the script goes to `sink`.
    pub(super) fn take(&mut self, bytes: &[u8], sink: &mut dyn FnMut(&[u8])) {
        self.held.extend_from_slice(bytes);
        if !self.began && !self.begins_within(bytes.len()) {
            return;
        }
        let mut from = 0;
        while let Some(found) = find(&self.held[from..], &self.marker) {
            let at = from + found;
            let behind = &self.held[at + self.marker.len()..];
            let line = &behind[..behind.len().min(STATUS_MAX_BYTES)];
            if let Some(end) = line.iter().position(|&byte| byte == b'\n') {
                self.status = String::from_utf8_lossy(&line[..end]).trim().parse().ok();
                if self.status.is_some() {
                    sink(&self.held[..at]);
                    self.held.clear();
                    return;
                }
            } else if line.len() < STATUS_MAX_BYTES {
                self.hand_over(at, sink);
                return;
            }
            // No status stands there, so that it was no marker.
            from = at + self.marker.len();
        }
        // The last bytes may be the beginning of the end marker.
        let rest = &self.held[from..];
        let first = rest.len().saturating_sub(self.marker.len());
        let partial = (first..rest.len()).find(|&at| self.marker.starts_with(&rest[at..]));
        self.hand_over(from + partial.unwrap_or(rest.len()), sink);
    }

    /// Looks for the script's beginning where the last `fresh` bytes may have completed it.
    fn begins_within(&mut self, fresh: usize) -> bool {
        let mut start = self.marker.clone();
        start.push(b'\n');
        let from = (self.held.len() - fresh).saturating_sub(start.len());
        if let Some(at) = find(&self.held[from..], &start) {
            self.began = true;
            self.held.drain(..from + at + start.len());
        } else if self.held.len() > MOST_NOISE {
            // However much start-up files print, only their beginning is of interest.
            self.held.drain(QUOTED_BYTES..self.held.len() - start.len());
        }
        self.began
    }

    /// Hands the first `count` bytes to `sink`.
    fn hand_over(&mut self, count: usize, sink: &mut dyn FnMut(&[u8])) {
        if count > 0 {
            sink(&self.held[..count]);
            self.held.drain(..count);
        }
    }

    /// What was printed instead of the script's beginning.
    pub(super) fn noise(&self) -> String {
        let shown = &self.held[..self.held.len().min(QUOTED_BYTES)];
        String::from_utf8_lossy(shown).trim().to_owned()
    }
}

fn find(hay: &[u8], needle: &[u8]) -> Option<usize> {
    hay.windows(needle.len())
        .position(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_that_talks_without_end_takes_no_room() {
        let piece = vec![b'n'; 100_000];
        let mut reading = Reading::new("ADx");
        for _ in 0..50 {
            reading.take(&piece, &mut |_| {});
            assert!(reading.held.len() <= MOST_NOISE + piece.len());
        }
        reading.take(b"\nADx\n\nADx 1", &mut |_| {});
        assert!(reading.began && reading.status.is_none());
        reading.take(&piece, &mut |_| {});
        assert!(
            reading.status.is_none() && reading.held.is_empty(),
            "no status"
        );
    }

    #[test]
    fn markers_are_found_wherever_the_pieces_are_cut() {
        let text = b"noise\nADx more\n\nADx\nout\n\nAD put\n\nADx 7\nlater";
        for size in 1..text.len() {
            let mut reading = Reading::new("ADx");
            let mut seen = Vec::new();
            for piece in text.chunks(size) {
                if reading.status.is_none() {
                    reading.take(piece, &mut |bytes| seen.extend_from_slice(bytes));
                }
            }
            assert_eq!(reading.status, Some(7), "pieces of {size}");
            assert_eq!(
                String::from_utf8_lossy(&seen),
                "out\n\nAD put\n",
                "pieces of {size}"
            );
        }
    }

    #[test]
    fn a_marker_without_a_status_is_output_and_holds_nothing_back() {
        let endless = [b'x'; 100];
        let text = [b"\nADx\na\nADx b\nADx", &endless[..], b"\nADx 7\n"].concat();
        for size in [1, 3, text.len()] {
            let mut reading = Reading::new("ADx");
            let mut seen = Vec::new();
            for piece in text.chunks(size) {
                reading.take(piece, &mut |bytes| seen.extend_from_slice(bytes));
                assert!(reading.held.len() <= STATUS_MAX_BYTES + 4);
            }
            assert_eq!(reading.status, Some(7), "pieces of {size}");
            assert_eq!(seen, [b"a\nADx b\nADx", &endless[..]].concat());
        }
    }
}
