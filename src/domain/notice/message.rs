//! One message: occurrences of one or many hosts, summed, with what a person wants to know first and the commands to
//! type. It is made once and kept, so that what is sent again is the same. Its JSON is what `notify_command` and a
//! `generic` webhook get: the names are a promise.

use chrono::{DateTime, FixedOffset, TimeZone as _};
use serde::{Deserialize, Serialize};

use super::{Kind, Occurrence, Outcomes, cause};
use crate::domain::text::shell_quote;

/// So many of a group's numbers and names are kept.
const LISTED_MAX: usize = 20;
/// So many groups are told one by one.
const GROUPS_MAX: usize = 20;

/// A message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Stays the same however often it is sent.
    pub id: String,
    /// The version of this form.
    pub version: u32,
    /// `site`.
    pub site: String,
    /// NAME of `[notify:NAME]`.
    pub notifier: String,
    /// When it was made, in the zone of the machine.
    pub made_at: String,
    /// Whether it tells nothing but that it arrives.
    pub test: bool,
    /// Whatever happened at one place for one cause.
    pub groups: Vec<Group>,
    /// Groups that found no room.
    pub more_groups: usize,
    /// Occurrences in them.
    pub more_count: u64,
}

/// What happened at one place for one cause.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// What kind.
    pub kind: Kind,
    /// The class of the fault, or `plan`, `gap`, `ours`, `settled`.
    pub cause: String,
    /// `login@host` with ports, or the repository.
    pub place: String,
    /// The host, as rules name it.
    pub host: Option<String>,
    /// The repository of the last of them.
    pub repository: Option<String>,
    /// How often.
    pub count: u64,
    /// When the first of them happened.
    pub first_at: String,
    /// When the last one did.
    pub last_at: String,
    /// Since when the trouble lasted that is over.
    pub since: Option<String>,
    /// The deliveries, the first 20.
    pub deliveries: Vec<i64>,
    /// Of the last of them: the batch,
    pub batch: Option<i64>,
    /// the package,
    pub package: Option<String>,
    /// what it came from,
    pub source: Option<String>,
    /// the first and the last revision,
    pub revisions: Option<(u64, u64)>,
    /// who committed it,
    pub author: Option<String>,
    /// the rule,
    pub rule: Option<String>,
    /// the step it ended at,
    pub step: Option<String>,
    /// and why.
    pub why: Option<String>,
    /// What became of the batch.
    pub outcomes: Option<Outcomes>,
    /// How many deliveries wait at that target.
    pub waiting: u64,
    /// What to type.
    pub commands: Vec<String>,
}

/// What messages are made with.
#[derive(Debug, Clone)]
pub struct Making<'a> {
    /// [`Message::id`].
    pub id: String,
    /// The site.
    pub site: &'a str,
    /// The notifier.
    pub notifier: &'a str,
    /// What a command begins with that finds this place.
    pub program: &'a str,
    /// The zone of the machine.
    pub zone: FixedOffset,
    /// Now.
    pub now: i64,
}

impl Making<'_> {
    fn time(&self, millis: i64) -> String {
        self.zone
            .timestamp_millis_opt(millis)
            .single()
            .map_or_else(String::new, |time: DateTime<FixedOffset>| time.to_rfc3339())
    }
}

/// Sums occurrences, which stand in their order; `waiting`: how many deliveries wait in a lane.
pub fn compose<E>(
    making: &Making<'_>,
    occurrences: &[Occurrence],
    waiting: impl Fn(&str) -> Result<u64, E>,
) -> Result<Message, E> {
    let mut groups: Vec<(String, Vec<&Occurrence>)> = Vec::new();
    for occurrence in occurrences {
        let topic = occurrence.topic();
        match groups.iter_mut().find(|(known, _)| *known == topic) {
            Some((_, members)) => members.push(occurrence),
            None => groups.push((topic, vec![occurrence])),
        }
    }
    groups.sort_by_key(|(_, members)| {
        let kind = members.first().map(|first| first.kind);
        Kind::ALL.iter().position(|known| Some(*known) == kind)
    });
    let beyond = groups.split_off(groups.len().min(GROUPS_MAX));
    let told = groups
        .iter()
        .filter_map(|(_, members)| Group::of(making, members, &waiting).transpose())
        .collect::<Result<Vec<_>, E>>()?;
    Ok(Message {
        id: making.id.clone(),
        version: 1,
        site: making.site.to_owned(),
        notifier: making.notifier.to_owned(),
        made_at: making.time(making.now),
        test: false,
        groups: told,
        more_groups: beyond.len(),
        more_count: beyond.iter().map(|(_, members)| members.len() as u64).sum(),
    })
}

/// A message that tells nothing but that it arrives.
pub fn test(making: &Making<'_>) -> Message {
    Message {
        id: making.id.clone(),
        version: 1,
        site: making.site.to_owned(),
        notifier: making.notifier.to_owned(),
        made_at: making.time(making.now),
        test: true,
        groups: Vec::new(),
        more_groups: 0,
        more_count: 0,
    }
}

impl Group {
    fn of<E>(
        making: &Making<'_>,
        members: &[&Occurrence],
        waiting: impl Fn(&str) -> Result<u64, E>,
    ) -> Result<Option<Self>, E> {
        let (Some(first), Some(last)) = (members.first(), members.last()) else {
            return Ok(None);
        };
        let mut group = Self {
            kind: last.kind,
            cause: last.cause.clone(),
            place: last.place.clone(),
            host: last.host.clone(),
            repository: last.repository.clone(),
            count: members.len() as u64,
            first_at: making.time(first.at),
            last_at: making.time(last.at),
            since: last.since.map(|since| making.time(since)),
            deliveries: members
                .iter()
                .filter_map(|member| member.delivery)
                .take(LISTED_MAX)
                .collect(),
            batch: last.batch,
            package: last.package.clone(),
            source: last.source.clone(),
            revisions: last.revisions,
            author: last.author.clone(),
            rule: last.rule.clone(),
            step: last.step.clone(),
            why: last.why.clone(),
            outcomes: last.outcomes,
            waiting: if last.host.is_some() && last.kind != Kind::Batch {
                waiting(&last.place)?
            } else {
                0
            },
            commands: Vec::new(),
        };
        group.commands = group.ways_out(making.program, last.delivery);
        Ok(Some(group))
    }

    fn ways_out(&self, program: &str, last: Option<i64>) -> Vec<String> {
        let mut commands = Vec::new();
        let mut say = |command: String| commands.push(format!("{program} {command}"));
        let repository = self.repository.as_deref().map(shell_quote);
        match (self.kind, self.cause.as_str(), &repository, self.revisions) {
            (Kind::Recovery, ..) => {}
            (_, cause::GAP, Some(repository), Some((low, high))) => {
                say(format!("replay {repository} {low}:{high}"));
                say(format!("dismiss {repository} {low}:{high}"));
            }
            (_, cause::PLAN, ..) => {
                say("status".to_owned());
                say("check".to_owned());
            }
            (Kind::Batch, ..) => {
                for id in self.deliveries.iter().take(1) {
                    say(format!("show {id}"));
                }
            }
            _ => {
                if let Some(id) = last {
                    say(format!("show {id}"));
                }
                if self.cause == "untrusted"
                    && let Some(host) = &self.host
                {
                    say(format!("trust {}", word(host)));
                }
                match (&self.host, self.kind, self.deliveries.as_slice()) {
                    (_, _, []) => {}
                    _ if self.cause == cause::OURS => {}
                    (Some(host), Kind::Failure, [_, _, ..]) => {
                        say(format!("retry --host {}", word(host)));
                    }
                    (_, _, ids) => {
                        let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
                        say(format!("retry {}", ids.join(" ")));
                    }
                }
            }
        }
        commands
    }
}

/// A word of a command line, quoted where it has to be.
pub fn word(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-:/".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) {
        return text.to_owned();
    }
    shell_quote(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn making() -> Making<'static> {
        Making {
            id: "0-1".to_owned(),
            site: "here",
            notifier: "ops",
            program: "auto-dispatcher",
            zone: FixedOffset::east_opt(8 * 3600).unwrap(),
            now: 1_700_000_000_000,
        }
    }

    fn failure(host: &str, delivery: i64) -> Occurrence {
        let lane = format!("deploy@{host}");
        let mut failure = Occurrence::new(
            Kind::Failure,
            "unreachable",
            &lane,
            1_700_000_000_000 + delivery,
        );
        failure.host = Some(host.to_owned());
        failure.delivery = Some(delivery);
        failure
    }

    fn composed(occurrences: &[Occurrence]) -> Message {
        compose(&making(), occurrences, |_| Ok::<_, ()>(7)).unwrap()
    }

    #[test]
    fn a_flood_of_many_hosts_is_one_message() {
        let flood: Vec<_> = (1..=3000)
            .map(|id| failure(&format!("web{}", id % 30), id))
            .collect();
        let message = composed(&flood);
        assert_eq!(message.groups.len(), 20);
        assert_eq!((message.more_groups, message.more_count), (10, 1000));
        let first = &message.groups[0];
        assert_eq!((first.count, first.waiting), (100, 7));
        assert_eq!(first.deliveries.len(), 20);
        assert_eq!(
            first.commands,
            [
                "auto-dispatcher show 2971",
                "auto-dispatcher retry --host web1"
            ]
        );
    }

    #[test]
    fn failures_stand_before_what_is_well_again() {
        let mut well = failure("web1", 1);
        well.kind = Kind::Recovery;
        let message = composed(&[well, failure("web2", 2)]);
        assert_eq!(message.groups[0].host.as_deref(), Some("web2"));
        assert_eq!(message.groups[0].commands[1], "auto-dispatcher retry 2");
        assert!(message.groups[1].commands.is_empty());
    }

    #[test]
    fn names_are_quoted_in_commands() {
        let mut gap = Occurrence::new(Kind::Failure, cause::GAP, "/svn/a b", 0);
        gap.repository = Some("/svn/it's".to_owned());
        gap.revisions = Some((3, 900));
        let message = composed(&[gap, failure("主机;x", 1)]);
        assert_eq!(
            message.groups[0].commands[0],
            r"auto-dispatcher replay '/svn/it'\''s' 3:900"
        );
        assert_eq!(message.groups[1].commands[1], "auto-dispatcher retry 1");
    }
}
