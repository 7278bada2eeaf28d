//! The plan: changes x rules = deliveries, and skips with reasons. Pure; what netrc knows is asked
//! through a function that is passed in.

use crate::domain::change::{Action, Change, SkipReason};
use crate::domain::pattern::Pattern;
use crate::domain::rule::{Choice, Rule, RuleSet, RuleTerms};
use crate::domain::target::{ConnectionTerms, ServiceTerms, Target};

/// One delivery to come, with everything frozen that it needs later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedDelivery {
    /// Index of the change in [`PlanInput::changes`].
    pub change: usize,
    /// Name of the rule.
    pub rule: String,
    /// Line of the rule.
    pub rule_line: usize,
    /// Where to.
    pub target: Target,
    /// Directory on the host, `~` not yet resolved.
    pub dest_dir: String,
    /// How to reach it.
    pub connection: ConnectionTerms,
    /// How to deliver and install.
    pub service: ServiceTerms,
}

/// One path that is not delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedSkip {
    /// Index of the change in [`PlanInput::changes`].
    pub change: usize,
    /// Why.
    pub reason: SkipReason,
}

/// What a batch comes to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    /// In the order of changes and, within one, of the rule's hosts.
    pub deliveries: Vec<PlannedDelivery>,
    /// In the order of changes.
    pub skips: Vec<PlannedSkip>,
}

/// What the operator leaves out of a replay.
#[derive(Debug, Default)]
pub struct Filter {
    /// Only packages whose name matches.
    pub package: Option<Pattern>,
    /// Only these hosts; empty: all.
    pub hosts: Vec<String>,
    /// Whether install commands are dropped.
    pub upload_only: bool,
}

/// What planning needs.
pub struct PlanInput<'a> {
    /// What the source reported.
    pub changes: &'a [Change],
    /// The rules.
    pub rules: &'a RuleSet,
    /// The batch's stamp, `YYYYmmdd_HHMMSS`.
    pub stamp: &'a str,
    /// The login for a host where the rule names none.
    pub login_of: &'a dyn Fn(&Rule, &str) -> Option<String>,
    /// What is left out.
    pub filter: &'a Filter,
}

/// The directory that packages go to where a rule names none.
pub fn default_dest_dir(stamp: &str) -> String {
    format!("~/newcx/{stamp}")
}

/// Plans a batch.
pub fn plan(input: &PlanInput<'_>) -> Plan {
    let mut plan = Plan::default();
    for (index, change) in input.changes.iter().enumerate() {
        let result = match &change.skipped {
            Some(reason) => Err(reason.clone()),
            None => deliveries_of(input, index, change),
        };
        match result {
            Ok(deliveries) => plan.deliveries.extend(deliveries),
            Err(reason) => plan.skips.push(PlannedSkip {
                change: index,
                reason,
            }),
        }
    }
    plan
}

fn deliveries_of(
    input: &PlanInput<'_>,
    index: usize,
    change: &Change,
) -> Result<Vec<PlannedDelivery>, SkipReason> {
    debug_assert!(
        !matches!(change.action, Action::Deleted),
        "sources skip deletions themselves"
    );
    let package = change.package();
    if let Some(pattern) = &input.filter.package {
        match pattern.matches_at_start(package) {
            Ok(true) => {}
            Ok(false) => return Err(SkipReason::Filtered),
            Err(error) => {
                return Err(SkipReason::RuleUnusable {
                    message: error.message,
                });
            }
        }
    }
    let rule = match input.rules.choose(package, &change.path) {
        Choice::Rule(rule) => rule,
        // Whoever names hosts does not ask about packages that go to none.
        Choice::None if !input.filter.hosts.is_empty() => return Err(SkipReason::Filtered),
        Choice::None => return Err(SkipReason::NoRule),
        Choice::Undecided(rule, error) => {
            return Err(unusable(rule, &error.message));
        }
    };
    let terms = rule.terms.as_ref().map_err(|error| unusable(rule, error))?;
    let deliveries = terms
        .hosts
        .iter()
        .filter(|host| input.filter.hosts.is_empty() || input.filter.hosts.contains(host))
        .map(|host| delivery_to(input, index, rule, terms, host))
        .collect::<Result<Vec<_>, _>>()?;
    if deliveries.is_empty() {
        return Err(SkipReason::Filtered);
    }
    Ok(deliveries)
}

fn delivery_to(
    input: &PlanInput<'_>,
    index: usize,
    rule: &Rule,
    terms: &RuleTerms,
    host: &str,
) -> Result<PlannedDelivery, SkipReason> {
    let login = (input.login_of)(rule, host).ok_or_else(|| {
        unusable(
            rule,
            &format!(
                "no login for host {host}: set `login`, or add `machine {host} login …` to netrc"
            ),
        )
    })?;
    let mut service = terms.service.clone();
    if input.filter.upload_only {
        service.install_command = None;
    }
    Ok(PlannedDelivery {
        change: index,
        rule: rule.name.clone(),
        rule_line: rule.line,
        target: Target {
            host: host.to_owned(),
            login,
            ssh_port: terms.ssh_port,
            ftp_port: terms.ftp_port,
        },
        dest_dir: terms
            .dest_dir
            .clone()
            .unwrap_or_else(|| default_dest_dir(input.stamp)),
        connection: terms.connection.clone(),
        service,
    })
}

fn unusable(rule: &Rule, message: &str) -> SkipReason {
    SkipReason::RuleUnusable {
        message: format!("[{}] (line {}): {message}", rule.name, rule.line),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(name: &str, hosts: &[&str], login: Option<&str>) -> Rule {
        Rule {
            name: name.to_owned(),
            line: 1,
            pattern: Pattern::new(name).expect("a pattern"),
            path_pattern: None,
            terms: if hosts.is_empty() {
                Err("no host".to_owned())
            } else {
                Ok(RuleTerms {
                    hosts: hosts.iter().map(|&host| host.to_owned()).collect(),
                    login: login.map(str::to_owned),
                    ssh_port: 22,
                    ftp_port: 21,
                    dest_dir: None,
                    connection: ConnectionTerms::default(),
                    service: ServiceTerms {
                        install_command: Some("true".to_owned()),
                        ..ServiceTerms::default()
                    },
                })
            },
        }
    }

    fn added(path: &str) -> Change {
        Change {
            path: path.to_owned(),
            action: Action::Added,
            skipped: None,
        }
    }

    fn planned(changes: &[Change], rules: Vec<Rule>, filter: &Filter) -> Plan {
        plan(&PlanInput {
            changes,
            rules: &RuleSet::new(rules),
            stamp: "20261122_080000",
            login_of: &|rule, _| {
                rule.terms
                    .as_ref()
                    .ok()
                    .and_then(|terms| terms.login.clone())
            },
            filter,
        })
    }

    #[test]
    fn each_host_of_the_first_matching_rule_gets_a_delivery() {
        let rules = vec![
            rule("app", &["h1", "h2"], Some("u")),
            rule("ap", &["h3"], Some("u")),
        ];
        let plan = planned(&[added("trunk/app.tar")], rules, &Filter::default());
        let hosts: Vec<_> = plan
            .deliveries
            .iter()
            .map(|d| d.target.host.as_str())
            .collect();
        assert_eq!(hosts, ["h1", "h2"]);
        assert_eq!(plan.deliveries[0].dest_dir, "~/newcx/20261122_080000");
    }

    #[test]
    fn every_path_that_is_not_delivered_has_a_reason() {
        let rules = vec![rule("fish", &[], None), rule("frog", &["h"], None)];
        let mut gone = added("old.tar");
        gone.skipped = Some(SkipReason::Deleted);
        let changes = [gone, added("cat.tar"), added("fish.tar"), added("frog.tar")];
        let plan = planned(&changes, rules, &Filter::default());
        assert!(plan.deliveries.is_empty());
        let reasons: Vec<String> = plan
            .skips
            .iter()
            .map(|skip| skip.reason.to_string())
            .collect();
        assert_eq!(reasons[0], "deleted");
        assert_eq!(reasons[1], "no rule");
        assert_eq!(reasons[2], "rule cannot serve: [fish] (line 1): no host");
        assert!(reasons[3].contains("no login for host h"), "{}", reasons[3]);
    }

    #[test]
    fn a_filter_leaves_out_packages_hosts_and_commands() {
        let filter = Filter {
            package: Some(Pattern::new("app").expect("a pattern")),
            hosts: vec!["h2".to_owned()],
            upload_only: true,
        };
        let rules = vec![rule("", &["h1", "h2"], Some("u"))];
        let plan = planned(&[added("app.tar"), added("lib.tar")], rules, &filter);
        assert_eq!(plan.deliveries.len(), 1);
        assert_eq!(plan.deliveries[0].target.host, "h2");
        assert_eq!(plan.deliveries[0].service.install_command, None);
        assert_eq!(plan.skips[0].reason, SkipReason::Filtered);
    }
}
