//! Channels that are let go, until the host has closed them, too. Does not know what ran on them.

use std::time::{Duration, Instant};

use ssh2::{Channel, ErrorCode};

use super::exec::sends;
use super::wire::{EAGAIN, Wire};

/// How long a server that counts nothing of ours is asked again for a channel.
const BUSY: Duration = Duration::from_secs(1);
/// How long a host may take to end what ran on a channel and to close it.
const CLOSES_WITHIN: Duration = Duration::from_secs(5);

/// The channels of a connection that are being closed.
pub(super) struct Closing {
    channels: Vec<Channel>,
    /// When something was last let go.
    noted: Option<Instant>,
    /// Whether nothing is to be opened before they are closed.
    is_waited_for: bool,
}

impl Closing {
    /// For a connection to a server with this banner.
    pub(super) fn with(banner: Option<&str>) -> Self {
        Self {
            channels: Vec::new(),
            noted: None,
            is_waited_for: banner.is_some_and(confuses_channels),
        }
    }

    /// Closes a channel. That the host does so, too, is not waited for.
    pub(super) fn add(&mut self, channel: Channel, wire: &Wire, stall: Duration) {
        self.channels.push(channel);
        self.note();
        self.go_on(wire, stall);
    }

    /// What was open is being closed: its program may take a while to end, and counts as long as it has not.
    pub(super) fn note(&mut self) {
        self.noted = Some(Instant::now());
    }

    /// Until when a server that refused a channel at `refused` may still count one that was let go.
    pub(super) fn counts_until(&self, refused: Instant) -> Instant {
        let noted = self.noted.map(|noted| noted + CLOSES_WITHIN);
        noted.unwrap_or(refused).max(refused + BUSY)
    }

    /// Before a channel is opened: waits a moment for those that are being closed, where the server would confuse them.
    pub(super) fn clear(&mut self, wire: &Wire, stall: Duration) {
        let end = Instant::now() + CLOSES_WITHIN;
        // To be late is no reason to cut the connection, as a pause that ends would.
        let late = end + CLOSES_WITHIN;
        while self.is_waited_for
            && !self.channels.is_empty()
            && Instant::now() < end
            && wire.pause(late, stall).is_ok()
        {
            self.go_on(wire, stall);
        }
    }

    /// Lets those channels go that the host has closed by now.
    pub(super) fn go_on(&mut self, wire: &Wire, stall: Duration) {
        let end = Instant::now() + stall;
        self.channels.retain_mut(|channel| {
            loop {
                match wire.call(stall, || close(channel)) {
                    Err(error) if error.code() == ErrorCode::Session(EAGAIN) => {}
                    _ => return false,
                }
                // What is partly sent has to be sent before anything else is.
                if !sends(wire) || wire.pause(end, stall).is_err() {
                    return true;
                }
            }
        });
    }
}

/// Closes a channel and waits for the other side a moment, so that it no longer counts as a session there.
pub(super) fn finish(wire: &Wire, channel: &mut Channel) {
    let _ = wire.run(CLOSES_WITHIN, || close(channel));
}

/// Closes a channel on both sides. (What libssh2 calls closing waits for one packet of the other side, whichever it is.)
pub(super) fn close(channel: &mut Channel) -> Result<(), ssh2::Error> {
    channel.close()?;
    channel.wait_eof()?;
    channel.wait_close()
}

/// Whether the server takes the end of one channel's program for that of all that it has opened and not started a program
/// on. Dropbear did until 2024.86; one that does not tell its version may.
fn confuses_channels(banner: &str) -> bool {
    let Some(version) = banner.strip_prefix("SSH-2.0-dropbear") else {
        return false;
    };
    let number = |text: &str| text.parse::<u32>().ok();
    let parts = version
        .strip_prefix('_')
        .and_then(|version| version.split_once('.'));
    match parts.map(|(year, release)| (number(year), number(release))) {
        Some((Some(year), Some(release))) => (year, release) < (2024, 86),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::confuses_channels;

    #[test]
    fn only_an_old_dropbear_confuses_channels() {
        for old in [
            "SSH-2.0-dropbear_2022.83",
            "SSH-2.0-dropbear_2024.85",
            "SSH-2.0-dropbear_0.52",
            "SSH-2.0-dropbear_2020.81-custom",
            "SSH-2.0-dropbear",
        ] {
            assert!(confuses_channels(old), "{old}");
        }
        for other in [
            "SSH-2.0-dropbear_2024.86",
            "SSH-2.0-dropbear_2025.87",
            "SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u10",
            "",
        ] {
            assert!(!confuses_channels(other), "{other}");
        }
    }
}
