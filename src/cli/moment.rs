//! Points in time as people type them: `2026-11-24T01:00:00Z`, `2026-11-24`, `2026-11-24 01:00`, `2h` ago.

use chrono::{DateTime, Duration, Local, NaiveDate, NaiveDateTime, TimeZone, Utc};

/// What can be written, for messages.
const FORMS: &str =
    "write for example 2h, 3d, 2026-11-24, '2026-11-24 01:00' or 2026-11-24T01:00:00Z";

/// A point in time, and how long it lasts: a day, a minute, a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Moment {
    begin: DateTime<Utc>,
    lasts: Duration,
}

impl Moment {
    /// Its first instant.
    pub(super) fn first(self) -> DateTime<Utc> {
        self.begin
    }

    /// Its last one, in milliseconds.
    pub(super) fn last(self) -> DateTime<Utc> {
        self.begin + self.lasts - Duration::milliseconds(1)
    }
}

/// For clap.
pub(super) fn parse(text: &str) -> Result<Moment, String> {
    read(text, Utc::now(), &Local).ok_or_else(|| format!("is no time; {FORMS}"))
}

fn read<Z: TimeZone>(text: &str, now: DateTime<Utc>, zone: &Z) -> Option<Moment> {
    let text = text.trim();
    let instant = Duration::milliseconds(1);
    if let Some(ago) = ago(text) {
        return Some(Moment {
            begin: now.checked_sub_signed(ago)?,
            lasts: instant,
        });
    }
    if let Ok(time) = DateTime::parse_from_rfc3339(text) {
        return Some(Moment {
            begin: time.to_utc(),
            lasts: instant,
        });
    }
    let here = |time: NaiveDateTime| {
        let time = zone.from_local_datetime(&time).earliest()?;
        Some(time.to_utc())
    };
    if let Ok(day) = text.parse::<NaiveDate>() {
        let begin = here(day.and_hms_opt(0, 0, 0)?)?;
        // Days of 23 or 25 hours end where the next one begins.
        let end = here(day.succ_opt()?.and_hms_opt(0, 0, 0)?)?;
        return Some(Moment {
            begin,
            lasts: end - begin,
        });
    }
    let text = text.replacen('T', " ", 1);
    [
        ("%Y-%m-%d %H:%M:%S", Duration::seconds(1)),
        ("%Y-%m-%d %H:%M", Duration::minutes(1)),
    ]
    .into_iter()
    .find_map(|(form, lasts)| {
        let time = NaiveDateTime::parse_from_str(&text, form).ok()?;
        Some(Moment {
            begin: here(time)?,
            lasts,
        })
    })
}

fn ago(text: &str) -> Option<Duration> {
    let text = text.strip_suffix("ago").unwrap_or(text).trim_end();
    let unit = text.chars().next_back()?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        'w' => 604_800,
        _ => return None,
    };
    let digits = text[..text.len() - 1].trim_end();
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Duration::try_seconds(digits.parse::<i64>().ok()?.checked_mul(seconds)?)
}

#[cfg(test)]
mod tests {
    use chrono::FixedOffset;

    use super::*;

    fn told(text: &str) -> Option<(String, String)> {
        let now = Utc.with_ymd_and_hms(2026, 11, 24, 12, 0, 0).single()?;
        let zone = FixedOffset::east_opt(8 * 3600)?;
        let moment = read(text, now, &zone)?;
        let shown = |time: DateTime<Utc>| time.format("%Y-%m-%d %H:%M:%S%.3f").to_string();
        Some((shown(moment.first()), shown(moment.last())))
    }

    #[test]
    fn each_form_has_a_beginning_and_an_end() {
        for (text, first, last) in [
            ("2h", "2026-11-24 10:00:00.000", "2026-11-24 10:00:00.000"),
            (
                "3d ago",
                "2026-11-21 12:00:00.000",
                "2026-11-21 12:00:00.000",
            ),
            (
                "2026-11-24",
                "2026-11-23 16:00:00.000",
                "2026-11-24 15:59:59.999",
            ),
            (
                "2026-11-24 09:30",
                "2026-11-24 01:30:00.000",
                "2026-11-24 01:30:59.999",
            ),
            (
                "2026-11-24T09:30:05",
                "2026-11-24 01:30:05.000",
                "2026-11-24 01:30:05.999",
            ),
            (
                "2026-11-24T01:00:00+01:00",
                "2026-11-24 00:00:00.000",
                "2026-11-24 00:00:00.000",
            ),
        ] {
            assert_eq!(
                told(text),
                Some((first.to_owned(), last.to_owned())),
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_no_time_is_none() {
        for text in [
            "",
            "h",
            "-2h",
            "2 fortnights",
            "yesterday",
            "2026-13-01",
            "999999999999999999w",
            "核",
        ] {
            assert_eq!(told(text), None, "{text}");
        }
    }
}
