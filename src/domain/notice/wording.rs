//! A message in words, for mail and chats. Whatever a host or a committer has named is made harmless: no line of it
//! ends early, no mention is heard, no link is made of it.

use super::message::{Group, Message};
use super::{Kind, Outcomes, cause};
use crate::domain::text::escape;

/// No error is quoted at greater length than this many characters.
const WHY_MAX: usize = 600;
/// No name is, in a subject.
const NAME_MAX: usize = 80;
/// What a subject may come to; longer ones are cut.
const SUBJECT_MAX: usize = 150;

/// One line of the text. None holds a line break.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Line {
    /// Words; parts of them may be somebody else's.
    Words(String),
    /// A command to type as it stands.
    Command(String),
}

impl Line {
    /// As it stands in a mail.
    pub fn text(&self) -> &str {
        match self {
            Self::Words(text) | Self::Command(text) => text,
        }
    }
}

/// The subject of a mail, and the first line of a chat.
pub fn subject(message: &Message) -> String {
    let site = escape(&message.site);
    if message.test {
        return cut(
            &format!("[{site}] test of the notifier {}", message.notifier),
            SUBJECT_MAX,
        );
    }
    let Some(first) = message.groups.first() else {
        return format!("[{site}] nothing");
    };
    let rest = message.groups.len() - 1 + message.more_groups;
    let more = match rest {
        0 => String::new(),
        rest => format!(", and {rest} more"),
    };
    let head = cut(&format!("[{site}] {}", headline(first)), SUBJECT_MAX - 20);
    format!("{head}{more}")
}

/// The text below the subject.
pub fn lines(message: &Message) -> Vec<Line> {
    let mut lines = Vec::new();
    if message.test {
        lines.push(words(
            "This is a test. Nothing has happened; notices of this site arrive here.",
        ));
    }
    for group in &message.groups {
        lines.push(words(""));
        lines.push(words(&headline(group)));
        let details = details(group);
        lines.extend(details.iter().map(|line| words(&format!("  {line}"))));
        for command in &group.commands {
            lines.push(Line::Command(format!("  $ {}", escape(command))));
        }
    }
    if message.more_groups > 0 {
        lines.push(words(""));
        lines.push(words(&format!(
            "and {} more places, {} occurrences: `auto-dispatcher status` shows them",
            message.more_groups, message.more_count
        )));
    }
    lines.push(words(""));
    lines.push(words(&format!(
        "{}, notice {}, made at {}",
        message.site, message.id, message.made_at
    )));
    lines
}

fn words(text: &str) -> Line {
    Line::Words(escape(text).into_owned())
}

fn headline(group: &Group) -> String {
    let place = cut(&group.place, NAME_MAX);
    let times = match group.count {
        1 => String::new(),
        count => format!("{count} "),
    };
    let plural = if group.count == 1 { "" } else { "s" };
    match (group.kind, group.cause.as_str()) {
        (Kind::Recovery, _) => format!("RECOVERED {place} works again"),
        (Kind::Batch, _) => {
            let source = group.source.as_deref().unwrap_or("a batch");
            let word = match group.outcomes {
                Some(outcomes) if outcomes.failed + outcomes.unknown + outcomes.skipped > 0 => {
                    "SETTLED, NOT ALL WELL"
                }
                _ => "DONE",
            };
            format!("{word} {}", cut(source, NAME_MAX))
        }
        (_, cause::PLAN) => format!("FAILED {place}: revisions cannot be planned"),
        (_, cause::GAP) => {
            let (low, high) = group.revisions.unwrap_or_default();
            let path = cut(
                group.repository.as_deref().unwrap_or(&group.place),
                NAME_MAX,
            );
            format!(
                "FAILED {path}: no hook recorded r{low}:r{high}, and they are not dispatched unasked"
            )
        }
        (_, cause::OURS) => {
            format!("FAILED here: deliveries to {place} wait, and not because of that host")
        }
        (Kind::Unknown, _) => {
            format!("UNKNOWN {place}: how {times}install{plural} ended is not known")
        }
        (Kind::Failure, class) => {
            format!(
                "FAILED {place}: {times}deliver{} ({class})",
                if group.count == 1 { "y" } else { "ies" }
            )
        }
    }
}

fn details(group: &Group) -> Vec<String> {
    let mut lines = Vec::new();
    let mut what = Vec::new();
    if let Some(package) = &group.package {
        what.push(format!("package {package}"));
    }
    if let Some(source) = group.source.as_ref().filter(|_| group.kind != Kind::Batch) {
        what.push(format!("of {source}"));
    }
    if let Some(author) = &group.author {
        what.push(format!("by {author}"));
    }
    if let Some(step) = &group.step {
        what.push(format!("at the step {step}"));
    }
    if let Some(rule) = &group.rule {
        what.push(format!("by the rule [{rule}]"));
    }
    if !what.is_empty() {
        let which = if group.count > 1 { "the last: " } else { "" };
        lines.push(format!("{which}{}", what.join(" ")));
    }
    if let Some(outcomes) = group.outcomes {
        lines.push(counted(outcomes));
    }
    if let Some(why) = &group.why {
        lines.push(format!("why: {}", cut(why, WHY_MAX)));
    }
    match (&group.since, group.count) {
        (Some(since), _) => lines.push(format!("since {since}, until {}", group.last_at)),
        (None, 1) => lines.push(format!("at {}", group.last_at)),
        (None, _) => lines.push(format!(
            "first at {}, last at {}",
            group.first_at, group.last_at
        )),
    }
    if group.waiting > 0 {
        lines.push(format!("{} more wait at this target", group.waiting));
    }
    lines
}

fn counted(outcomes: Outcomes) -> String {
    let parts = [
        (outcomes.done, "done"),
        (outcomes.failed, "failed"),
        (outcomes.unknown, "unknown"),
        (outcomes.cancelled, "cancelled"),
        (outcomes.skipped, "without a rule that serves"),
    ];
    let said: Vec<String> = parts
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, word)| format!("{count} {word}"))
        .collect();
    if said.is_empty() {
        "nothing was to be delivered".to_owned()
    } else {
        said.join(", ")
    }
}

fn cut(text: &str, most: usize) -> String {
    let text = escape(text);
    match text.char_indices().nth(most) {
        Some((at, _)) => format!("{}...", text.get(..at).unwrap_or_default()),
        None => text.into_owned(),
    }
}

/// The text for readers that make nothing of it; `end` ends each line.
pub fn plain(lines: &[Line], end: &str) -> String {
    lines.iter().flat_map(|line| [line.text(), end]).collect()
}

/// The text for a chat that may make mentions and links of what it reads: an invisible space stands behind each
/// `@` and `<`, and within what looks like an address. Commands stay as they are.
pub fn calmed(lines: &[Line]) -> String {
    let calmed = lines.iter().map(|line| match line {
        Line::Command(command) => command.clone(),
        Line::Words(words) => calm(words),
    });
    calmed.collect::<Vec<_>>().join("\n")
}

/// One piece of words for such a chat.
pub fn calm(words: &str) -> String {
    let mut calm = String::with_capacity(words.len() + 16);
    let mut chars = words.chars().peekable();
    while let Some(c) = chars.next() {
        calm.push(c);
        let breaks = match c {
            '@' | '<' | '`' | '!' => true,
            ':' => chars.peek() == Some(&'/'),
            '.' => chars.peek().is_some_and(|next| next.is_alphabetic()),
            ']' => chars.peek() == Some(&'('),
            _ => false,
        };
        if breaks {
            calm.push('\u{200b}');
        }
    }
    calm
}

/// As much of a text as `most` bytes hold.
pub fn within(text: &str, most: usize) -> String {
    const MARK: &str = "\n...";
    if text.len() <= most {
        return text.to_owned();
    }
    let mut end = most.saturating_sub(MARK.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{MARK}", text.get(..end).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::super::Occurrence;
    use super::super::message::{Making, compose, test};
    use super::*;

    fn making() -> Making<'static> {
        Making {
            id: "0-1".to_owned(),
            site: "银行 A",
            notifier: "ops",
            program: "auto-dispatcher",
            zone: chrono::FixedOffset::east_opt(8 * 3600).unwrap(),
            now: 1_700_000_000_000,
        }
    }

    fn hostile() -> Message {
        let mut failure =
            Occurrence::new(Kind::Failure, "denied", "deploy@web1", 1_700_000_000_000);
        failure.host = Some("web1".to_owned());
        failure.delivery = Some(12);
        failure.package = Some("a\r\nBcc: x@y\u{202e}.tar".to_owned());
        failure.source = Some("r7 of /svn/生产".to_owned());
        failure.why = Some("login refused: @everyone http://evil.example <!channel>".to_owned());
        compose(&making(), &[failure], |_| Ok::<_, ()>(3)).unwrap()
    }

    #[test]
    fn a_failure_is_told_with_where_why_and_what_to_type() {
        let message = hostile();
        assert_eq!(
            subject(&message),
            "[银行 A] FAILED deploy@web1: delivery (denied)"
        );
        let text: Vec<String> = lines(&message)
            .iter()
            .map(|line| line.text().to_owned())
            .collect();
        assert_eq!(
            text,
            [
                "",
                "FAILED deploy@web1: delivery (denied)",
                "  package a\\r\\nBcc: x@y\\u{202e}.tar of r7 of /svn/生产",
                "  why: login refused: @everyone http://evil.example <!channel>",
                "  at 2023-11-15T06:13:20+08:00",
                "  3 more wait at this target",
                "  $ auto-dispatcher show 12",
                "  $ auto-dispatcher retry 12",
                "",
                "银行 A, notice 0-1, made at 2023-11-15T06:13:20+08:00",
            ]
        );
    }

    #[test]
    fn a_chat_hears_no_mention_and_sees_no_link() {
        let text = calmed(&lines(&hostile()));
        for tempting in ["@everyone", "http://", "<!channel>", "evil.example"] {
            assert!(!text.contains(tempting), "{tempting}: {text}");
        }
        assert!(text.contains("$ auto-dispatcher retry 12"));
    }

    #[test]
    fn subjects_are_short_and_one_line() {
        let mut message = hostile();
        message.groups[0].place = "x\n".repeat(500);
        message.more_groups = 4;
        let subject = subject(&message);
        assert!(subject.chars().count() < 200, "{subject}");
        assert!(!subject.contains('\n') && subject.ends_with("and 4 more"));
        assert!(super::subject(&test(&making())).contains("test of the notifier ops"));
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        let text = "中".repeat(1000);
        let cut = within(&text, 2048);
        assert!(cut.len() <= 2048 && cut.ends_with("\n..."), "{}", cut.len());
        assert_eq!(within("short", 2048), "short");
    }
}
