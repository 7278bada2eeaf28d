//! What a login needs beside the conversation itself: answers to a server's questions.

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

#[cfg(test)]
mod tests {
    use super::*;

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
