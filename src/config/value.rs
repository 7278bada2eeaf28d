//! Values that several files share: durations, sizes, yes and no, paths, lists. Each error says what is
//! expected and never what was found, which might be a misplaced secret.

use std::path::{Path, PathBuf};

/// Seconds: `30`, `30s`, `5m`, `2h`, `1d`.
pub(super) fn duration_s(text: &str) -> Result<u64, String> {
    scaled(text, &[("s", 1), ("m", 60), ("h", 3600), ("d", 86_400)])
        .ok_or_else(|| "is no duration; seconds are meant, or for example 5m, 2h, 1d".to_owned())
}

/// Bytes: `4096`, `10K`, `10M`, `2G`, `1T`.
pub(super) fn size_bytes(text: &str) -> Result<u64, String> {
    scaled(
        text,
        &[
            ("k", 1 << 10),
            ("m", 1 << 20),
            ("g", 1 << 30),
            ("t", 1 << 40),
        ],
    )
    .ok_or_else(|| "is no size; bytes are meant, or for example 10M, 2G".to_owned())
}

fn scaled(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let text = text.trim().to_ascii_lowercase();
    let (digits, factor) = units
        .iter()
        .find_map(|&(unit, factor)| {
            text.strip_suffix(unit)
                .map(|digits| (digits.trim_end(), factor))
        })
        .unwrap_or((text.as_str(), 1));
    unsigned(digits)?.checked_mul(factor)
}

fn unsigned(digits: &str) -> Option<u64> {
    // `parse` alone would take a plus sign.
    if digits.bytes().all(|byte| byte.is_ascii_digit()) {
        digits.parse().ok()
    } else {
        None
    }
}

/// A number between two bounds, both included.
pub(super) fn number_within(text: &str, least: u64, most: u64) -> Result<u64, String> {
    unsigned(text.trim())
        .filter(|number| (least..=most).contains(number))
        .ok_or_else(|| format!("is no number from {least} to {most}"))
}

/// Yes or no, as Python's `getboolean` reads it.
pub(super) fn yes_no(text: &str) -> Result<bool, String> {
    match text.to_lowercase().as_str() {
        "1" | "yes" | "true" | "on" => Ok(true),
        "0" | "no" | "false" | "off" => Ok(false),
        _ => Err("is neither yes nor no".to_owned()),
    }
}

/// Permission bits in octal: `644`, `0755`, `0o600`.
pub(super) fn file_mode(text: &str) -> Result<u32, String> {
    let digits = text.strip_prefix("0o").unwrap_or(text);
    let plain =
        (3..=4).contains(&digits.len()) && digits.bytes().all(|byte| (b'0'..=b'7').contains(&byte));
    plain
        .then(|| u32::from_str_radix(digits, 8).ok())
        .flatten()
        .ok_or_else(|| {
            "is no file mode; three or four octal digits are meant, for example 0644".to_owned()
        })
}

/// A SHA-256 fingerprint in lower-case hex without colons.
pub(super) fn fingerprint(text: &str) -> Result<String, String> {
    let hex: String = text.chars().filter(|&c| c != ':').collect();
    if hex.len() == 64 && hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Ok(hex.to_ascii_lowercase());
    }
    Err("is no SHA-256 fingerprint; 64 hex digits are meant, with or without colons".to_owned())
}

/// A path: `~/` is `home`, a relative one lies beside the file `beside`.
pub(super) fn path(text: &str, beside: &Path, home: Option<&Path>) -> Result<PathBuf, String> {
    if text.contains(['\n', '\0']) {
        return Err("is no path: it holds a line break or a NUL".to_owned());
    }
    if let Some(rest) = text.strip_prefix("~/") {
        let home =
            home.ok_or("begins with `~/`, and no home directory is known; write the whole path")?;
        return Ok(home.join(rest));
    }
    if text.starts_with('~') {
        return Err("begins with `~` and a name; only `~/` is known".to_owned());
    }
    Ok(beside.parent().unwrap_or(Path::new("/")).join(text))
}

/// A host name or an address, as far as its letters tell. A `;` or `#` is most likely a remark: behind a
/// value Python has no comments, and its words would be taken for hosts.
pub(super) fn host(word: &str) -> Result<(), &'static str> {
    let plain = |c: char| c.is_alphanumeric() || "._-:%".contains(c);
    if word.starts_with(['-', '.', ':', '%']) && !word.starts_with("::") || !word.chars().all(plain)
    {
        return Err(
            "holds something that is neither a host name nor an address; remarks stand on lines of their own",
        );
    }
    if word.matches(':').count() == 1 {
        return Err("holds a port; ports are given by `ssh_port` and `ftp_port`");
    }
    Ok(())
}

/// Whether two texts name one host: names have no case.
pub(super) fn same_host(one: &str, other: &str) -> bool {
    one.eq_ignore_ascii_case(other)
}

/// The words of a list separated by commas or blanks.
pub(super) fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| c == ',' || c.is_whitespace())
        .filter(|word| !word.is_empty())
}

/// The known word that `word` resembles.
pub(super) fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    known
        .iter()
        .map(|&candidate| (strsim::damerau_levenshtein(word, candidate), candidate))
        .filter(|&(distance, candidate)| distance <= 1 + candidate.len() / 5)
        .min_by_key(|&(distance, _)| distance)
        .map(|(_, candidate)| candidate)
        .or_else(|| {
            let same = |text: &str| text.replace(['-', '_', '.'], "");
            known
                .iter()
                .copied()
                .find(|candidate| same(candidate) == same(word))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_sizes_have_units() {
        assert_eq!(duration_s("30"), Ok(30));
        assert_eq!(duration_s("5m"), Ok(300));
        assert_eq!(duration_s("2 H"), Ok(7200));
        assert_eq!(duration_s("365d"), Ok(31_536_000));
        for wrong in [
            "",
            "m",
            "-1",
            "+1",
            "1.5h",
            "5 minutes",
            "99999999999999999999",
            "9999999999999999999d",
        ] {
            assert!(duration_s(wrong).is_err(), "{wrong}");
        }
        assert_eq!(size_bytes("10M"), Ok(10 << 20));
        assert_eq!(size_bytes("2g"), Ok(2 << 30));
        assert_eq!(size_bytes("4096"), Ok(4096));
        assert!(size_bytes("5h").is_err());
    }

    #[test]
    fn yes_and_no_are_those_of_python() {
        assert_eq!(
            ["1", "YES", "True", "on"].map(yes_no),
            [const { Ok(true) }; 4]
        );
        assert_eq!(
            ["0", "no", "FALSE", "Off"].map(yes_no),
            [const { Ok(false) }; 4]
        );
        assert!(yes_no("y").is_err());
    }

    #[test]
    fn file_modes_are_octal() {
        assert_eq!(file_mode("0644"), Ok(0o644));
        assert_eq!(file_mode("755"), Ok(0o755));
        assert_eq!(file_mode("0o600"), Ok(0o600));
        for wrong in ["", "6", "888", "+644", "00644", "rw-r--r--"] {
            assert!(file_mode(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn fingerprints_are_made_plain() {
        let plain = "ab".repeat(32);
        let colons = vec!["AB"; 32].join(":");
        assert_eq!(fingerprint(&colons), Ok(plain.clone()));
        assert_eq!(fingerprint(&plain), Ok(plain));
        assert!(fingerprint("SHA256:abc").is_err());
    }

    #[test]
    fn paths_start_at_home_or_beside_the_file() {
        let beside = Path::new("/etc/ad/rules.cfg");
        let home = Some(Path::new("/root"));
        assert_eq!(path("~/k", beside, home), Ok("/root/k".into()));
        assert_eq!(path("k", beside, home), Ok("/etc/ad/k".into()));
        assert_eq!(path("/k", beside, home), Ok("/k".into()));
        assert!(path("~/k", beside, None).is_err());
        assert!(path("~tom/k", beside, home).is_err());
    }

    #[test]
    fn hosts_are_names_or_addresses() {
        for right in [
            "10.8.6.10",
            "web-1.example.com",
            "db_2",
            "::1",
            "fe80::1%eth0",
            "主机",
            "2001:db8::5",
        ] {
            assert_eq!(host(right), Ok(()), "{right}");
        }
        for wrong in [
            ";",
            "#main",
            "tom@web",
            "/etc",
            "-oProxyCommand",
            "web:22",
            "[::1]",
            "a\u{1b}",
        ] {
            assert!(host(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_misspelt_word_finds_its_neighbour() {
        let known = ["host", "password", "install_command", "retries"];
        assert_eq!(nearest("pasword", &known), Some("password"));
        assert_eq!(nearest("hots", &known), Some("host"));
        assert_eq!(nearest("installcommand", &known), Some("install_command"));
        assert_eq!(nearest("colour", &known), None);
    }
}
