//! Webhooks: certificates, tokens, the forms of chats, their refusals, redirects.

use serde_json::json;

use super::Site;
use crate::servers::certificates::Certificate;
use crate::servers::receivers::Receiver;
use crate::testenv::secret;

const TOKEN: &str = secret!("tOkEn/7Fq2");

/// A receiver over TLS, and the lines that make it known.
fn secured(site: &Site, settings: serde_json::Value) -> (Receiver, String) {
    let dir = site.pipeline.env.path("tls");
    std::fs::create_dir_all(&dir).unwrap();
    let authority = Certificate::authority(&dir);
    let certificate = authority.sign(&dir, "chat", "DNS:localhost,IP:127.0.0.1");
    let receiver = Receiver::chat(site.pipeline.env.root(), Some(&certificate), settings);
    let url = format!("https://localhost:{}/{TOKEN}", receiver.port);
    let file = site.vault("url", &format!("{url}\n"));
    let lines = format!(
        "webhook_file = {}\nca_file = {}\n",
        file.display(),
        authority.cert.display()
    );
    (receiver, lines)
}

#[test]
fn our_own_json_goes_over_tls_and_the_token_is_nowhere() {
    let site = Site::new();
    let (receiver, lines) = secured(&site, json!({}));
    site.notifier(&lines);
    site.send("app-包.tar").exits(1);
    let got = receiver.got();
    assert_eq!(got.len(), 1, "{got:?} {}", site.log());
    assert_eq!(got[0]["path"], "/(secret) tOkEn/7Fq2");
    assert_eq!(got[0]["body"]["groups"][0]["package"], "app-包.tar");
    assert_eq!(got[0]["id"], got[0]["body"]["id"]);
    assert!(site.log().contains(" answers 200 OK: ok"), "{}", site.log());
    assert!(!site.log().contains("tOkEn"), "{}", site.log());
}

#[test]
fn a_certificate_that_nobody_vouches_for_is_refused() {
    let site = Site::new();
    let (receiver, lines) = secured(&site, json!({}));
    let own = lines.lines().next().unwrap();
    site.notifier(own);
    site.send("app").exits(1);
    assert!(receiver.got().is_empty());
    let status = site.pipeline.ad(&["status"]).exits(0).stdout;
    assert!(status.contains("UnknownIssuer"), "{status}");
}

#[test]
fn every_chat_gets_its_form_and_no_mention() {
    let forms = [
        ("slack", "/blocks/1/text/text", "ok"),
        ("teams", "/attachments/0/content/body/1/inlines/0/text", "1"),
        ("mattermost", "/text", "ok"),
        ("rocketchat", "/text", r#"{"success":true}"#),
        (
            "dingtalk",
            "/text/content",
            r#"{"errcode":0,"errmsg":"ok"}"#,
        ),
        ("wecom", "/text/content", r#"{"errcode":0,"errmsg":"ok"}"#),
        ("feishu", "/content/text", r#"{"code":0,"msg":"success"}"#),
    ];
    let site = Site::new();
    for (form, place, answer) in forms {
        let settings = json!({"answers": [{"status": 200, "body": answer}]});
        let (receiver, lines) = secured(&site, settings);
        // Each a notifier of its own: none waits for another one's digest.
        site.pipeline.settings(&format!(
            "site = 银行 A\n[notify:{form}]\n{lines}webhook_form = {form}\n"
        ));
        let name = format!("app-{form} @everyone <!channel> ```evil.example");
        site.send(&name).exits(1);
        let got = receiver.got();
        assert_eq!(got.len(), 1, "{form}: {got:?} {}", site.log());
        let text = got[0]["body"].pointer(place).and_then(|text| text.as_str());
        let text = text.unwrap_or_else(|| panic!("{form}: {got:?}"));
        assert!(text.contains("FAILED"), "{form}: {text}");
        let whole = got[0]["body"].to_string();
        assert!(whole.contains(&format!("app-{form}")), "{form}: {whole}");
        assert!(whole.contains("银行 A"), "{form}: {whole}");
        // Slack's plain text and the runs of a card mean nothing, and nothing is heard within a fence.
        let is_inert = ["slack", "teams", "mattermost", "rocketchat"].contains(&form);
        assert!(is_inert || !whole.contains("@everyone"), "{form}: {whole}");
        assert!(
            form == "slack" || form == "teams" || whole.matches("```").count() <= 2,
            "{form}: {whole}"
        );
    }
}

#[test]
fn signatures_are_those_that_the_receiver_reckons() {
    let site = Site::new();
    for form in ["dingtalk", "feishu"] {
        let answers = json!([{"status": 200, "body": r#"{"errcode":0}"#}]);
        let (receiver, lines) = secured(&site, json!({"secret": "SECxyz", "answers": answers}));
        let secret = site.vault("sign", "SECxyz\n");
        site.notifier(&format!(
            "{lines}webhook_form = {form}\nwebhook_secret_file = {}\n",
            secret.display()
        ));
        site.pipeline.ad(&["notify", "--test"]).exits(0);
        assert_eq!(
            receiver.got()[0]["signed"],
            true,
            "{form}: {:?}",
            receiver.got()
        );
    }
}

#[test]
fn a_refusal_with_status_200_is_a_failure_and_is_tried_again() {
    let site = Site::new();
    let answers = json!([
        {"status": 200, "body": format!(r#"{{"errcode":310000,"errmsg":"no such {TOKEN}"}}"#)},
        {"status": 200, "body": r#"{"errcode":0}"#},
    ]);
    let (receiver, lines) = secured(&site, json!({"answers": answers}));
    site.notifier(&format!("{lines}webhook_form = wecom\n"));
    site.send("app").exits(1);
    let status = site.pipeline.ad(&["status"]).exits(0).stdout;
    assert!(
        status.contains("refuses the message: {\"errcode\":310000"),
        "{status}"
    );
    let _worker = site.pipeline.spawn(&["worker"]);
    crate::testenv::wait_until("it is sent", crate::pipeline::LIMIT, || {
        site.pipeline
            .sql("SELECT sent_at IS NOT NULL FROM messages")
            == [Some(1)]
    });
    let got = receiver.got();
    assert_eq!(got.len(), 2);
    assert_eq!(
        (&got[0]["body"], &got[0]["id"]),
        (&got[1]["body"], &got[1]["id"])
    );
}

#[test]
fn a_redirect_is_not_followed() {
    let site = Site::new();
    let thief = Receiver::chat(&site.pipeline.env.path("thief"), None, json!({}));
    let location = format!("http://127.0.0.1:{}/x", thief.port);
    let answers = json!([{"status": 307, "headers": {"Location": location}}]);
    let (receiver, lines) = secured(&site, json!({"answers": answers}));
    site.notifier(&lines);
    let ran = site.pipeline.ad(&["notify", "--test"]).exits(1);
    assert!(
        ran.stdout.contains("307") && ran.stdout.contains("not asked"),
        "{ran}"
    );
    assert_eq!((receiver.got().len(), thief.got().len()), (1, 0));
}

#[test]
fn http_is_spoken_only_where_the_settings_say_so() {
    let site = Site::new();
    let receiver = Receiver::chat(site.pipeline.env.root(), None, json!({}));
    let url = format!("http://127.0.0.1:{}/{TOKEN}", receiver.port);
    let file = site.vault("url", &url);
    let line = format!("webhook_file = {}\n", file.display());
    site.notifier(&line);
    let ran = site.pipeline.ad(&["notify", "--test"]).exits(1);
    assert!(ran.stdout.contains("webhook_http = yes"), "{ran}");
    assert!(receiver.got().is_empty());
    site.notifier(&format!("{line}webhook_http = yes\n"));
    site.pipeline.ad(&["notify", "--test"]).exits(0);
    assert_eq!(receiver.got()[0]["body"]["test"], true);
}

#[test]
fn a_receiver_that_never_answers_is_left_after_the_timeout() {
    let site = Site::new();
    let (_receiver, lines) = secured(&site, json!({"hangs": true}));
    site.notifier(&format!("{lines}timeout = 1\n"));
    let ran = site.pipeline.ad(&["notify", "--test"]).exits(1);
    assert!(
        ran.stdout.contains("does not answer within `timeout`"),
        "{ran}"
    );
}
