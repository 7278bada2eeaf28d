//! Which deliveries of a lane may travel together: as one stream that is unpacked beside their final places, verified
//! and renamed at once. What goes together is what would go one behind the other and is too small to be worth a
//! conversation with the host of its own. Knows neither journal nor hosts.

use crate::domain::delivery::Step;
use crate::domain::target::{ConnectionTerms, OnFailure, ServiceTerms, Target};

/// Fewer than this go one by one.
pub const FEWEST: usize = 3;
/// More than this do not go at once.
pub const MOST: usize = 1024;
/// A package that is larger goes alone: it can be resumed.
pub const MEMBER_MAX_BYTES: u64 = 1 << 20;
/// All of them together: what a broken connection wastes.
const GROUP_MAX_BYTES: u64 = 16 << 20;
/// Their names on a command line of the host.
const NAMES_MAX_BYTES: usize = 48 * 1024;
/// What every archive can hold.
const NAME_MAX_BYTES: usize = 100;

/// What matters of a delivery.
#[derive(Debug, Clone, Copy)]
pub struct Member<'a> {
    /// Base name of the package.
    pub package: &'a str,
    /// Where to.
    pub target: &'a Target,
    /// Directory on the host.
    pub dest_dir: &'a str,
    /// How to reach it.
    pub connection: &'a ConnectionTerms,
    /// How to deliver it.
    pub service: &'a ServiceTerms,
    /// Bytes, once they are known.
    pub size: Option<u64>,
    /// The step that it begins at.
    pub step: Step,
}

impl Member<'_> {
    /// Whether it may travel with others at all.
    pub fn is_sociable(&self) -> bool {
        self.service.install_command.is_none()
            && self.service.on_failure == OnFailure::Continue
            // Of other bits archives and hosts have ideas of their own.
            && self.service.file_mode.is_none_or(|mode| mode <= 0o777)
            && self.step != Step::Install
            && is_plain(self.package)
            && self.size.is_none_or(|size| size <= MEMBER_MAX_BYTES)
    }

    /// Whether two that may travel with others may travel with each other.
    pub fn goes_with(&self, other: &Member<'_>) -> bool {
        self.target == other.target
            && self.dest_dir == other.dest_dir
            && self.connection == other.connection
            && self.service.file_mode == other.service.file_mode
    }
}

/// A name that is the same to every shell, archive and file system, is hidden from no pattern and no option.
fn is_plain(name: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._+@%=,-".contains(&byte);
    (1..=NAME_MAX_BYTES).contains(&name.len())
        && name.bytes().all(is_plain)
        && !name.starts_with(['.', '-'])
}

/// How much of a group is taken.
#[derive(Debug, Clone, Copy, Default)]
pub struct Room {
    count: usize,
    bytes: u64,
    names: usize,
}

impl Room {
    /// Takes the room of one more; false, and nothing is taken, where there is none.
    #[must_use]
    pub fn take(&mut self, package: &str, size: u64) -> bool {
        let taken = Self {
            count: self.count + 1,
            bytes: self.bytes.saturating_add(size),
            names: self.names + package.len() + 1,
        };
        let fits = taken.count <= MOST
            && size <= MEMBER_MAX_BYTES
            && taken.bytes <= GROUP_MAX_BYTES
            && taken.names <= NAMES_MAX_BYTES;
        if fits {
            *self = taken;
        }
        fits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Terms {
        target: Target,
        connection: ConnectionTerms,
        service: ServiceTerms,
    }

    fn terms() -> Terms {
        Terms {
            target: Target {
                host: "h".to_owned(),
                login: "l".to_owned(),
                ssh_port: 22,
                ftp_port: 21,
            },
            connection: ConnectionTerms::default(),
            service: ServiceTerms::default(),
        }
    }

    fn member<'a>(terms: &'a Terms, package: &'a str) -> Member<'a> {
        Member {
            package,
            target: &terms.target,
            dest_dir: "/in",
            connection: &terms.connection,
            service: &terms.service,
            size: Some(10),
            step: Step::Export,
        }
    }

    #[test]
    fn small_packages_without_an_install_travel_together() {
        let terms = terms();
        assert!(member(&terms, "a_1.0+b@c%d=e,f-g.tar.gz").is_sociable());
        assert!(member(&terms, "a").goes_with(&member(&terms, "b")));
        let mut unknown = member(&terms, "a");
        unknown.size = None;
        assert!(unknown.is_sociable());
    }

    #[test]
    fn what_needs_the_host_to_itself_goes_alone() {
        let plain = terms();
        let changed = |change: fn(&mut ServiceTerms)| {
            let mut terms = terms();
            change(&mut terms.service);
            member(&terms, "a").is_sociable()
        };
        assert!(!changed(
            |service| service.install_command = Some("true".to_owned())
        ));
        assert!(!changed(|service| service.on_failure = OnFailure::Stop));
        assert!(!changed(|service| service.file_mode = Some(0o4755)));
        assert!(changed(|service| service.file_mode = Some(0o755)));
        let long = "x".repeat(101);
        for name in [
            "-r", ".hidden", "a b", "a'b", "a*", "é", "", "a/b", "a\n", &long,
        ] {
            assert!(!member(&plain, name).is_sociable(), "{name:?}");
        }
        let mut large = member(&plain, "a");
        large.size = Some(MEMBER_MAX_BYTES + 1);
        assert!(!large.is_sociable());
        let mut uploaded = member(&plain, "a");
        uploaded.step = Step::Install;
        assert!(!uploaded.is_sociable());
    }

    #[test]
    fn only_what_lies_side_by_side_goes_together() {
        let plain = terms();
        let mut elsewhere = member(&plain, "b");
        elsewhere.dest_dir = "/other";
        assert!(!member(&plain, "a").goes_with(&elsewhere));
        let mut other = terms();
        other.connection.stall_timeout_s = 1;
        assert!(!member(&plain, "a").goes_with(&member(&other, "b")));
        let mut other = terms();
        other.service.file_mode = Some(0o600);
        assert!(!member(&plain, "a").goes_with(&member(&other, "b")));
        let mut other = terms();
        other.target.ftp_port = 2121;
        assert!(!member(&plain, "a").goes_with(&member(&other, "b")));
    }

    #[test]
    fn a_group_is_bounded_in_every_way() {
        let filled = |name: &str, size: u64| {
            let mut room = Room::default();
            (0..2 * MOST).filter(|_| room.take(name, size)).count()
        };
        assert_eq!(filled("a", 0), MOST);
        assert_eq!(filled("a", MEMBER_MAX_BYTES), 16);
        assert_eq!(filled("a", MEMBER_MAX_BYTES + 1), 0);
        assert_eq!(filled(&"n".repeat(99), 0), NAMES_MAX_BYTES / 100);
        // What is too much is left out, and something smaller may fit yet.
        let mut room = Room::default();
        assert!((0..15).all(|_| room.take("a", MEMBER_MAX_BYTES)));
        assert!(room.take("a", 10));
        assert!(!room.take("a", MEMBER_MAX_BYTES));
        assert!(room.take("a", 10));
    }
}
