//! What hosts say: banners, replies, complaints, output, names in certificates. None of it reaches a screen, a log or
//! `--json` raw, and none of it forges a line.

use std::fs;

use serde_json::json;

use super::{assert_harmless, is_forbidden};
use crate::pipeline::Pipeline;
use crate::pipeline::host::Host;
use crate::pipeline::rule::Rule;
use crate::servers::certificates::Certificate;
use crate::servers::hostile_ftp::HostileFtp;
use crate::servers::pyftpdlib::{LOGIN, PASSWORD};
use crate::testenv::TestEnv;

/// Every kind of character that is forbidden, and a line of its own.
const TEXT: &str = "T\u{1b}[31m\u{1b}]0;x\u{7}\u{8}\u{0}\u{7f}\u{85}\u{9b}2J\u{202a}\u{202e}\u{2066}\u{2069}\u{2028}\
                    \u{2029}\u{feff}\rCR";
/// Its beginning, as people see it.
const SHOWN: &str = "T\\x1b[31m";

/// `TEXT` as the bytes that a setting of the hostile server holds: one character a byte.
fn latin1() -> String {
    TEXT.bytes().map(char::from).collect()
}

/// Everything that the program can be asked, and what it wrote by itself.
#[track_caller]
fn assert_all_harmless(pipeline: &Pipeline) -> String {
    let repository = pipeline.repository();
    let rows = pipeline.history();
    let mut shown = String::new();
    let mut asked: Vec<Vec<String>> = [
        &["history"][..],
        &["history", "--json"],
        &["status"],
        &["status", "--json"],
        &["check"],
        &["check", "--json"],
        &["changed", repository, "1", "--all"],
        &["changed", repository, "1", "--all", "--json"],
        &["explain", TEXT.trim_matches('\0'), "app"],
        &["explain", "--json", "app"],
        &["replay", repository, "1", "--dry-run"],
        &["replay", repository, "1"],
    ]
    .iter()
    .map(|args| {
        args.iter()
            .map(|arg| arg.replace('\0', ""))
            .collect::<Vec<String>>()
    })
    .collect();
    for row in &rows {
        let id = row["id"].to_string();
        for args in [
            &["show", &id][..],
            &["show", &id, "--json"],
            &["retry", &id, "--wait"],
            &["cancel", &id],
            &["dismiss", &id, "--json"],
        ] {
            asked.push(args.iter().map(|&arg| arg.to_owned()).collect());
        }
    }
    for args in &asked {
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let ran = pipeline.ad(&args);
        assert_harmless(&format!("{args:?} on stdout"), ran.stdout.as_bytes());
        assert_harmless(&format!("{args:?} on stderr"), ran.stderr.as_bytes());
        shown.push_str(&ran.stdout);
        shown.push_str(&ran.stderr);
    }
    let log = fs::read(pipeline.state().join("auto-dispatcher.log")).expect("the log");
    assert_harmless("the log", &log);
    let log = String::from_utf8(log).expect("text");
    for line in log.lines() {
        assert!(line.starts_with("20"), "no line of the log's own: {line:?}");
    }
    shown + &log
}

/// Delivers one package and looks at every output; the text has to have been met.
#[track_caller]
fn is_shown_escaped(rule: Rule) -> String {
    let pipeline = Pipeline::bare();
    pipeline.rules(&[rule.with("retries", 0).with("connect_timeout", 5)]);
    pipeline.commit(&[("app", b"x")]);
    let ran = pipeline.ad(&["hook", pipeline.repository(), "1", "--wait"]);
    assert_harmless("the hook", ran.stderr.as_bytes());
    let shown = assert_all_harmless(&pipeline);
    assert!(shown.contains(SHOWN), "nobody was told: {shown}");
    shown
}

fn ftp_rule(server: &HostileFtp) -> Rule {
    Rule::new("app")
        .with("host", "127.0.0.1")
        .with("login", LOGIN)
        .with("password", PASSWORD)
        .with("transports", "ftp")
        .with("dest_dir", "~")
        .with("ftp_port", server.port)
}

#[test]
fn of_ftp_servers() {
    for command in [
        "", "greeting", "USER", "PASS", "TYPE", "CWD", "STOR", "SIZE", "RNTO",
    ] {
        let env = TestEnv::new();
        let mut settings = json!({ "text": latin1() });
        settings["replies"] = if command.is_empty() {
            // The last step alone fails.
            json!({ "RNFR": format!("553-no\r\nFORGED\r\n553 {}", latin1()) })
        } else {
            let key = if command == "greeting" { "" } else { command };
            json!({ key: format!("553 no {}\r\nFORGED\r\n", latin1()) })
        };
        let server = HostileFtp::start(env.root(), None, settings);
        is_shown_escaped(ftp_rule(&server));
    }
}

#[test]
fn of_certificates() {
    let env = TestEnv::new();
    let authority = Certificate::authority(env.root());
    // openssl writes neither NUL nor line breaks into a name.
    let name: String = TEXT.chars().filter(|c| !"\0\r".contains(*c)).collect();
    let certificate = authority.sign(env.root(), "server", &format!("DNS:{name}"));
    let server = HostileFtp::start(env.root(), Some(&certificate), json!({}));
    let rule = ftp_rule(&server)
        .with("transports", "ftps")
        .with("ca_file", authority.cert.display());
    let pipeline = Pipeline::bare();
    pipeline.rules(&[rule.with("retries", 0)]);
    pipeline.commit(&[("app", b"x")]);
    let ran = pipeline.ad(&["hook", pipeline.repository(), "1", "--wait"]);
    assert_harmless("the hook", ran.stderr.as_bytes());
    let shown = assert_all_harmless(&pipeline);
    assert!(shown.contains("untrusted"), "{shown}");
    assert!(server.commands().iter().all(|line| line == "AUTH TLS"));
}

#[test]
fn of_ssh_banners_and_install_commands() {
    let env = TestEnv::new();
    let banner = env.write("banner", format!("{TEXT}\nFORGED\n").replace('\0', ""));
    let output = env.write("output", format!("{TEXT}\nFORGED line\n"));
    let host = Host::with(&format!("Banner {}\nPrintMotd yes", banner.display()));
    let command = format!("cat {0}; cat {0} >&2; exit 3", output.display());
    let shown = is_shown_escaped(host.rule("app").with("install_command", command));
    assert!(shown.contains("  | FORGED line"), "{shown}");
}

#[test]
fn of_install_commands_that_pretend_to_be_our_own_script() {
    for mode in ["tracked", "plain"] {
        let host = Host::up();
        // The marks have the form AD and 24 digits; nothing on the host shows them, and made-up ones are output.
        let command = "for p in /proc/[0-9]*; do tr '\\0' ' ' <$p/environ; tr '\\0' ' ' <$p/cmdline; done \
                       2>/dev/null | grep -ao 'AD[0-9a-f]\\{24\\}' | grep -v 0000000000 | sed 's/^/seen /'; \
                       for n in AD000000000000000000000000; do echo \"$n S 0\"; echo \"$n D 0 5\"; echo; \
                       echo \"$n 0\"; echo \"$n L\"; done; exit 7";
        let pipeline = Pipeline::bare();
        let rule = host.rule("app").with("install_mode", mode);
        pipeline.rules(&[rule.with("install_command", command)]);
        pipeline.commit(&[("app", b"x")]);
        pipeline.ad(&["hook", pipeline.repository(), "1", "--wait"]);
        let row = pipeline.delivery("app");
        assert_eq!(row["exit_status"], 7, "{row}");
        let shown = pipeline.show(&row);
        let output = shown["attempt_list"][0]["output"].as_str().expect("output");
        let n = "AD000000000000000000000000";
        assert_eq!(
            output,
            format!("{n} S 0\n{n} D 0 5\n\n{n} 0\n{n} L\n"),
            "{mode}"
        );
    }
}

#[test]
fn of_hosts_that_complain() {
    let env = TestEnv::new();
    let text = env.write("text", format!("{TEXT}\nFORGED\n"));
    for name in ["mkdir", "mv"] {
        env.program(
            format!("bin-{name}/{name}"),
            format!(
                "#!/bin/sh\nprintf '\\001'; cat {}; exit 1\n",
                text.display()
            ),
        );
        let host = Host::with(&format!(
            "ForceCommand PATH={}:$PATH; export PATH; eval \"$SSH_ORIGINAL_COMMAND\"",
            env.path(format!("bin-{name}")).display()
        ));
        is_shown_escaped(host.rule("app"));
    }
    let host = Host::with(&format!("ForceCommand cat {}", text.display()));
    is_shown_escaped(host.rule("app"));
}

#[test]
fn of_svnlook() {
    let pipeline = Pipeline::bare();
    let host = Host::up();
    pipeline.rules(&[host.rule("app")]);
    pipeline.commit(&[("app", b"x")]);
    let text = pipeline.env.write("text", format!("{TEXT}\nFORGED\n"));
    let script = format!(
        "case $1 in changed|cat|tree|filesize) cat {} >&2; exit 1 ;; esac\nexec \"$SVNLOOK\" \"$@\"",
        text.display()
    );
    let svnlook = crate::servers::svn::fake_svnlook(&pipeline.env, "svnlook", &script);
    pipeline.settings(&format!("svnlook = {}", svnlook.display()));
    let mut worker = pipeline.spawn(&["worker"]);
    pipeline.ad(&["hook", pipeline.repository(), "1"]).exits(0);
    crate::testenv::wait_until("planning failed", crate::pipeline::LIMIT, || {
        pipeline
            .status()
            .iter()
            .any(|row| row.to_string().contains("FORGED"))
    });
    worker.terminate();
    worker.ends();
    let repository = pipeline.repository();
    let mut shown = String::new();
    for args in [
        &["status"][..],
        &["status", "--json"],
        &["changed", repository, "1"],
    ] {
        let ran = pipeline.ad(args);
        assert_harmless(&format!("{args:?}"), ran.stdout.as_bytes());
        assert_harmless(&format!("{args:?}"), ran.stderr.as_bytes());
        shown += &ran.stdout;
    }
    assert!(shown.contains(SHOWN), "{shown}");
    let log = fs::read(pipeline.state().join("auto-dispatcher.log")).expect("the log");
    assert_harmless("the log", &log);
}

#[test]
fn the_text_has_every_kind_of_what_is_forbidden() {
    let kinds = TEXT.chars().filter(|&c| is_forbidden(c)).count();
    assert_eq!(kinds, 16);
}
