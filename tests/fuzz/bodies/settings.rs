//! auto-dispatcher.cfg with its drop directories: the input is read as a file, and as one duration and one size. What
//! is taken lies within its bounds.

use std::path::Path;

use auto_dispatcher::config::probes;
use auto_dispatcher::config::scans::{destination_is_outside, overlap};
use auto_dispatcher::config::settings::Settings;

use super::rules;

/// Runs the target on one input.
pub fn run(data: &[u8]) {
    let file = Path::new("/etc/ad/auto-dispatcher.cfg");
    match probes::settings(file, data, Some(Path::new("/root"))) {
        Ok(settings) => bounded(&settings),
        Err(mistakes) => rules::are_told(&mistakes, data),
    }
    let text = String::from_utf8_lossy(data);
    let units = [('s', 1), ('m', 60), ('h', 3600), ('d', 86_400)];
    assert_eq!(probes::duration_s(&text), scaled(&text, &units));
    let units = [
        ('k', 1 << 10),
        ('m', 1 << 20),
        ('g', 1 << 30),
        ('t', 1 << 40),
    ];
    assert_eq!(probes::size_bytes(&text), scaled(&text, &units));
    probes::is_host(&text);
}

/// Digits, perhaps blanks and a unit; none beyond 64 bits.
fn scaled(text: &str, units: &[(char, u64)]) -> Option<u64> {
    let text = text.trim();
    let digits = text.trim_start_matches(|c: char| c.is_ascii_digit());
    let number = &text[..text.len() - digits.len()];
    let mut unit = digits.trim_start().chars();
    let factor = match (unit.next(), unit.next()) {
        (None, _) => 1,
        (Some(letter), None) => {
            let letter = letter.to_ascii_lowercase();
            units.iter().find(|(known, _)| *known == letter)?.1
        }
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}

fn bounded(settings: &Settings) {
    assert!((1..=256).contains(&settings.workers));
    assert!(settings.keep_history_s > 0 && settings.plan_retry_s > 0);
    let terms: Vec<_> = settings
        .scans
        .iter()
        .map(|scan| scan.terms.clone())
        .collect();
    for (at, scan) in settings.scans.iter().enumerate() {
        assert!(scan.terms.directory.is_absolute());
        assert!((1..=86_400).contains(&scan.terms.interval_s));
        assert!(scan.terms.settle_s <= 86_400);
        assert_eq!(destination_is_outside(&scan.terms, &terms), Ok(()));
        assert!(!terms[..at].iter().any(|other| overlap(other, &scan.terms)));
        scan.terms.filter.takes("sub/app-1.0.tar");
        scan.terms.filter.enters("sub");
    }
}
