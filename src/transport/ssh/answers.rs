//! What a login needs beside the conversation itself: answers to a server's questions, and whether a key
//! file can be used without asking anybody.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ssh2::{KeyboardInteractivePrompt, Prompt};

use crate::domain::secret::Secret;

/// Rounds of questions that are answered with the password.
const MAX_ROUNDS: usize = 3;

/// Answers what looks like the question for the password, a bounded number of times.
pub(super) struct Answers {
    secret: Secret,
    rounds: usize,
}

impl Answers {
    pub(super) fn new(secret: Secret) -> Self {
        Self { secret, rounds: 0 }
    }
}

impl KeyboardInteractivePrompt for Answers {
    fn prompt(
        &mut self,
        _username: &str,
        _instructions: &str,
        prompts: &[Prompt<'_>],
    ) -> Vec<String> {
        if !prompts.is_empty() {
            self.rounds += 1;
        }
        prompts
            .iter()
            .map(|prompt| {
                let hidden_or_named =
                    !prompt.echo || prompt.text.to_lowercase().contains("password");
                if hidden_or_named && self.rounds <= MAX_ROUNDS {
                    self.secret.expose().to_owned()
                } else {
                    String::new()
                }
            })
            .collect()
    }
}

/// Whether a private key file needs a pass phrase.
pub(super) fn is_encrypted(text: &str) -> bool {
    if text.contains("ENCRYPTED") {
        return true;
    }
    let Some(body) = text.split("-----BEGIN OPENSSH PRIVATE KEY-----").nth(1) else {
        return false;
    };
    let body: String = body
        .split("-----")
        .next()
        .unwrap_or("")
        .split_whitespace()
        .collect();
    // magic, then the cipher's name with its length in front.
    let start = body.get(..64).unwrap_or(&body);
    let Ok(bytes) = STANDARD.decode(start) else {
        return false;
    };
    bytes.starts_with(b"openssh-key-v1\0") && bytes.get(15..23) != Some(b"\0\0\0\x04none")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encrypted_keys_are_told_from_open_ones() {
        let key = |cipher: &[u8]| {
            let mut bytes = b"openssh-key-v1\0\0\0\0".to_vec();
            bytes.push(u8::try_from(cipher.len()).unwrap());
            bytes.extend_from_slice(cipher);
            bytes.extend_from_slice(&[0; 80]);
            format!(
                "-----BEGIN OPENSSH PRIVATE KEY-----\n{}\n-----END OPENSSH PRIVATE KEY-----\n",
                STANDARD.encode(bytes)
            )
        };
        assert!(is_encrypted(&key(b"aes256-ctr")));
        assert!(!is_encrypted(&key(b"none")));
        assert!(is_encrypted("-----BEGIN ENCRYPTED PRIVATE KEY-----"));
        assert!(is_encrypted(
            "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n"
        ));
        assert!(!is_encrypted("-----BEGIN RSA PRIVATE KEY-----\nMIIE"));
    }

    #[test]
    fn only_what_looks_like_a_password_prompt_is_answered_and_not_for_ever() {
        let mut answers = Answers {
            secret: Secret::new("geheim".to_owned()),
            rounds: 0,
        };
        let prompt = |text: &'static str, echo| Prompt {
            text: text.into(),
            echo,
        };
        let asked = [prompt("Password: ", false), prompt("Your name? ", true)];
        for _ in 0..3 {
            assert_eq!(answers.prompt("", "", &asked), ["geheim", ""]);
        }
        assert_eq!(answers.prompt("", "", &asked), ["", ""]);
    }
}
