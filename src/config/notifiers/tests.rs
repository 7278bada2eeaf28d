//! Sections `[notify:NAME]`, right and wrong.

use std::os::unix::fs::PermissionsExt as _;

use super::*;

fn read_text(text: &str) -> Result<Vec<Notifier>, Vec<Finding>> {
    let file = Path::new("/etc/ad/auto-dispatcher.cfg");
    let document = Document::parse(file, text.as_bytes()).map_err(|mistakes| mistakes.0)?;
    let mut mistakes = Vec::new();
    let notifiers = read(&document, Some(Path::new("/home/ad")), &mut mistakes);
    if mistakes.is_empty() {
        Ok(notifiers)
    } else {
        Err(mistakes)
    }
}

#[test]
fn every_way_is_read() {
    let notifiers = read_text(
        "[notify:page]\nnotify_command = /usr/bin/pager --to \"night shift\"\non = failure\n\
         digest_after = 5m\ngive_up_after = 2h\ntimeout = 10\n\
         [notify:mail]\nmail_to = 运维 <ops@example.com>, b@example.com\nmail_from = ad@example.com\n\
         smtp_host = mail.example.com\nsmtp_login = ad\nsmtp_tls = wrapped\nca_file = ca.pem\n\
         [notify:chat]\nwebhook_file = ~/url\nwebhook_form = dingtalk\nwebhook_secret_file = /s\non = batch, recovery\n",
    )
    .unwrap();
    assert_eq!(
        notifiers[0].way,
        Way::Command(
            ["/usr/bin/pager", "--to", "night shift"]
                .map(str::to_owned)
                .to_vec()
        )
    );
    assert_eq!(notifiers[0].on, [Kind::Failure]);
    let first = &notifiers[0];
    assert_eq!(
        (first.digest_after_s, first.give_up_after_s, first.timeout_s),
        (300, 7200, 10)
    );
    let Way::Mail(mail) = &notifiers[1].way else {
        panic!("{notifiers:?}");
    };
    assert_eq!(mail.to, ["运维 <ops@example.com>", "b@example.com"]);
    assert_eq!((mail.port, &mail.password), (465, &SecretFrom::Netrc));
    assert_eq!(mail.ca_file.as_deref(), Some(Path::new("/etc/ad/ca.pem")));
    let Way::Webhook(webhook) = &notifiers[2].way else {
        panic!("{notifiers:?}");
    };
    assert_eq!(webhook.url, SecretFrom::File("/home/ad/url".into()));
    assert_eq!(
        (webhook.form, &webhook.sign),
        (Form::DingTalk, &SecretFrom::File("/s".into()))
    );
    assert_eq!(notifiers[2].on, [Kind::Batch, Kind::Recovery]);
}

#[test]
fn mistakes_are_told_with_their_lines_and_without_the_token() {
    let cases = [
        ("[notify:a]\non = failure\n", 1, "needs one of"),
        (
            "[notify:a]\nnotify_command = x\nwebhook_file = /u\n",
            1,
            "and one alone",
        ),
        (
            "[notify:a]\nnotify_command = x\nsmtp_port = 25\n",
            3,
            "means nothing beside",
        ),
        ("[notify:a]\nnotify_command = \"x\n", 2, "a quote is open"),
        (
            "[notify:a]\nnotify_command = x\non = failures\n",
            3,
            "is no list of",
        ),
        (
            "[notify:a]\nnotify_command = x\n[notify: a]\nnotify_command = x\n",
            3,
            "line 1 already",
        ),
        ("[notify:a b]\nnotify_command = x\n", 1, "names no notifier"),
        (
            "[notify:a]\nnotify_command = x\ntimeout = 0\n",
            3,
            "may not be 0",
        ),
        ("[notify:a]\nwebhook = ftp://tOkEn\n", 1, "is no URL"),
        ("[notify:a]\nwebhook = http://tOkEn\n", 1, "webhook_http"),
        (
            "[notify:a]\nwebhook_file = /u\nwebhook_form = irc\n",
            3,
            "is none of generic",
        ),
        (
            "[notify:a]\nwebhook_file = /u\nwebhook_form = slack\nwebhook_secret_file = /s\n",
            1,
            "sign with",
        ),
        (
            "[notify:a]\nmail_to = ops\nmail_from = a@b\nsmtp_host = m\n",
            2,
            "no address",
        ),
        (
            "[notify:a]\nmail_to = a@b\nmail_from = a@b\n",
            1,
            "has no `smtp_host`",
        ),
        (
            "[notify:a]\nmail_to = a@b\nmail_from = a@b\nsmtp_host = m\nsmtp_login = l\nsmtp_tls = none\n",
            1,
            "in clear",
        ),
        (
            "[notify:a]\nmail_to = a@b\nmail_from = a@b\nsmtp_host = m\nsmtp_password_file = /p\n",
            1,
            "no `smtp_login`",
        ),
        (
            "[notify:a]\nmail_to = a@b\n\tx: y\nmail_from = a@b\nsmtp_host = m\n",
            2,
            "no address",
        ),
    ];
    for (text, line, expected) in cases {
        let mistakes = read_text(text).unwrap_err();
        let found = mistakes
            .iter()
            .find(|mistake| mistake.line == Some(line) && mistake.text.contains(expected));
        assert!(found.is_some(), "{text}: {mistakes:?}");
        assert!(!format!("{mistakes:?}").contains("tOkEn"), "{mistakes:?}");
    }
}

#[test]
fn several_kinds_of_secrets_are_had() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("url");
    std::fs::write(&file, "https://chat.example/tOkEn\n").unwrap();
    let text = format!("[notify:a]\nwebhook_file = {}\n", file.display());
    let notifier = read_text(&text).unwrap().remove(0);
    let places = secrets::SecretPlaces::default();
    let mode = |bits| std::fs::Permissions::from_mode(bits);
    std::fs::set_permissions(&file, mode(0o644)).unwrap();
    let error = places.secrets_of(&notifier, &|| false).unwrap_err();
    assert!(
        error.contains("chmod") && !error.contains("tOkEn"),
        "{error}"
    );
    std::fs::set_permissions(&file, mode(0o600)).unwrap();
    let had = places.secrets_of(&notifier, &|| false).unwrap();
    assert_eq!(had.url.unwrap().expose(), "https://chat.example/tOkEn");
    let notifier = read_text("[notify:a]\nwebhook_command = echo http://clear\n")
        .unwrap()
        .remove(0);
    let error = places.secrets_of(&notifier, &|| false).unwrap_err();
    assert!(error.contains("in clear"), "{error}");
}
