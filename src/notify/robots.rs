//! What the robots of the usual chats understand, how they want requests signed, and how they say no.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::domain::notice::message::Message;
use crate::domain::notice::notifier::Form;
use crate::domain::notice::wording::{self, calm, calmed, lines, subject, within};
use crate::domain::secret::Secret;

/// Slack cuts a section off here, in characters; bytes are never fewer.
const SLACK_MAX: usize = 2900;
/// WeCom refuses longer texts, in bytes.
const WECOM_MAX: usize = 2040;
/// The others take much more.
const TEXT_MAX: usize = 12_000;

/// The body of the request; none: our own JSON.
pub(super) fn body(
    form: Form,
    message: &Message,
    sign: Option<&Secret>,
    now_s: i64,
) -> Result<Option<String>, String> {
    let (title, text) = (subject(message), lines(message));
    let plain = wording::plain(&text, "\n");
    let quiet = || format!("{}\n{}", calm(&title), calmed(&text));
    let body = match form {
        Form::Generic => return Ok(None),
        // Blocks of plain text: neither links nor mentions are made of it. The text is what a notification shows.
        Form::Slack => json!({
            "text": calm(&title).replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;"),
            "link_names": false,
            "parse": "none",
            "unfurl_links": false,
            "unfurl_media": false,
            "blocks": [
                {"type": "header", "text": plain_text(&within(&title, 145))},
                {"type": "section", "text": plain_text(&within(&plain, SLACK_MAX))},
            ],
        }),
        Form::Teams => teams(&title, &within(&plain, TEXT_MAX)),
        // Within a fence nothing means anything, but for the fence.
        Form::Mattermost | Form::RocketChat => {
            let fenced = within(&plain, TEXT_MAX).replace('`', "\u{2018}");
            json!({"text": format!("{}\n```\n{fenced}\n```", calm(&title).replace('*', "\u{2217}"))})
        }
        Form::DingTalk => json!({
            "msgtype": "text",
            "text": {"content": within(&quiet(), TEXT_MAX)},
            "at": {"isAtAll": false},
        }),
        Form::WeCom => json!({"msgtype": "text", "text": {"content": within(&quiet(), WECOM_MAX)}}),
        Form::Feishu => {
            let mut body =
                json!({"msg_type": "text", "content": {"text": within(&quiet(), TEXT_MAX)}});
            if let (Some(sign), Some(fields)) = (sign, body.as_object_mut()) {
                fields.insert("timestamp".to_owned(), json!(now_s.to_string()));
                let signature = feishu_signature(sign, now_s)?;
                fields.insert("sign".to_owned(), json!(signature));
            }
            body
        }
    };
    Ok(Some(body.to_string()))
}

fn plain_text(text: &str) -> Value {
    json!({"type": "plain_text", "text": text, "emoji": false})
}

/// A card whose runs of text know no Markdown.
fn teams(title: &str, text: &str) -> Value {
    let run = |text: &str, weight: &str| json!({"type": "TextRun", "text": text, "weight": weight, "fontType": "Monospace"});
    let mut body = vec![json!({"type": "RichTextBlock", "inlines": [run(title, "Bolder")]})];
    for line in text.lines().filter(|line| !line.is_empty()) {
        body.push(
            json!({"type": "RichTextBlock", "spacing": "None", "inlines": [run(line, "Default")]}),
        );
    }
    json!({
        "type": "message",
        "attachments": [{
            "contentType": "application/vnd.microsoft.card.adaptive",
            "content": {
                "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
                "type": "AdaptiveCard",
                "version": "1.4",
                "msteams": {"width": "Full"},
                "body": body,
            },
        }],
    })
}

/// The URL; DingTalk wants the signature in it.
pub(super) fn signed_url(
    form: Form,
    url: &Secret,
    sign: Option<&Secret>,
    now_s: i64,
) -> Result<Secret, String> {
    let (Form::DingTalk, Some(sign)) = (form, sign) else {
        return Ok(url.clone());
    };
    let millis = now_s * 1000;
    let signature = dingtalk_signature(sign, millis)?;
    let mut encoded = String::with_capacity(signature.len() * 3);
    for c in signature.chars() {
        match c {
            '+' => encoded.push_str("%2B"),
            '/' => encoded.push_str("%2F"),
            '=' => encoded.push_str("%3D"),
            plain => encoded.push(plain),
        }
    }
    let joint = if url.expose().contains('?') { '&' } else { '?' };
    Ok(Secret::new(format!(
        "{}{joint}timestamp={millis}&sign={encoded}",
        url.expose()
    )))
}

/// HMAC-SHA256 over time and secret, by the secret.
fn dingtalk_signature(sign: &Secret, millis: i64) -> Result<String, String> {
    let text = Zeroizing::new(format!("{millis}\n{}", sign.expose()));
    hmac(sign.expose().as_bytes(), text.as_bytes())
}

/// HMAC-SHA256 over nothing, by time and secret.
fn feishu_signature(sign: &Secret, now_s: i64) -> Result<String, String> {
    let key = Zeroizing::new(format!("{now_s}\n{}", sign.expose()));
    hmac(key.as_bytes(), b"")
}

fn hmac(key: &[u8], text: &[u8]) -> Result<String, String> {
    let mut hmac = Hmac::<Sha256>::new_from_slice(key)
        .map_err(|_| "the secret to sign with has no length that HMAC takes".to_owned())?;
    hmac.update(text);
    Ok(STANDARD.encode(hmac.finalize().into_bytes()))
}

/// Why a robot refuses what it answers with a good status.
pub(super) fn refusal(form: Form, answer: &str) -> Option<String> {
    let answer = answer.trim();
    let parsed = serde_json::from_str::<Value>(answer).ok();
    match form {
        Form::Generic => None,
        Form::Slack | Form::Mattermost => (answer != "ok").then(|| answer.to_owned()),
        Form::Teams => answer
            .to_ascii_lowercase()
            .contains("failed")
            .then(|| answer.to_owned()),
        Form::RocketChat => {
            let success = parsed
                .as_ref()
                .and_then(|parsed| parsed["success"].as_bool());
            (success != Some(true)).then(|| answer.to_owned())
        }
        // DingTalk and WeCom say `errcode`, Feishu `code`, and once said `StatusCode`.
        Form::DingTalk | Form::WeCom | Form::Feishu => {
            let code = ["errcode", "code", "StatusCode"]
                .iter()
                .find_map(|name| parsed.as_ref()?.get(name)?.as_i64());
            (code != Some(0)).then(|| answer.to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_are_those_of_the_makers() {
        // By Python: base64.b64encode(hmac.new(b"SECabc", b"1577262236757\nSECabc", "sha256").digest()), and
        // hmac.new(b"1599360473\nSECabc", b"", "sha256").
        let sign = Secret::new("SECabc".to_owned());
        assert_eq!(
            dingtalk_signature(&sign, 1_577_262_236_757).unwrap(),
            "I5TKCOTTj6fad4sJ4q9RsIffw0PAChVQZQGTdtRbNEQ="
        );
        assert_eq!(
            feishu_signature(&sign, 1_599_360_473).unwrap(),
            "KjJCRpeZcpDq6nFA4wlSAm5ZsE3Y8HuB1O1Sgv2Y9xA="
        );
        let url = Secret::new("https://oapi.example/robot/send?access_token=x".to_owned());
        let signed = signed_url(Form::DingTalk, &url, Some(&sign), 1_577_262_236).unwrap();
        let (_, query) = signed
            .expose()
            .split_once("&timestamp=1577262236000&sign=")
            .unwrap();
        assert!(
            query.ends_with("%3D") && !query.contains(['+', '/', '=']),
            "{query}"
        );
    }

    #[test]
    fn a_refusal_with_a_good_status_is_a_failure() {
        for (form, answer, is_refused) in [
            (Form::DingTalk, r#"{"errcode":0,"errmsg":"ok"}"#, false),
            (
                Form::DingTalk,
                r#"{"errcode":310000,"errmsg":"sign not match"}"#,
                true,
            ),
            (
                Form::WeCom,
                r#"{"errcode":93000,"errmsg":"invalid webhook url"}"#,
                true,
            ),
            (Form::Feishu, r#"{"code":0,"msg":"success"}"#, false),
            (
                Form::Feishu,
                r#"{"StatusCode":0,"StatusMessage":"success"}"#,
                false,
            ),
            (
                Form::Feishu,
                r#"{"code":19021,"msg":"sign match fail"}"#,
                true,
            ),
            (Form::Feishu, "<html>login</html>", true),
            (Form::Slack, "ok", false),
            (Form::Slack, "<html>proxy</html>", true),
            (Form::RocketChat, r#"{"success":false}"#, true),
            (Form::Teams, "1", false),
            (Form::Teams, "", false),
            (
                Form::Teams,
                "Webhook message delivery failed with error",
                true,
            ),
            (Form::Generic, r#"{"errcode":1}"#, false),
        ] {
            assert_eq!(
                refusal(form, answer).is_some(),
                is_refused,
                "{form:?} {answer}"
            );
        }
    }
}
