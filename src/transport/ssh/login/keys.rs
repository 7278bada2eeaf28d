//! Keys: the one that the rule names, the agent's, and those that lie where ssh looks for them. Decides nothing of when
//! they are tried.

use std::path::Path;

use super::{Answer, Login, Refusal, among_keys};
use crate::transport::ssh::key_file::{self, KeyFile};
use crate::transport::ssh::wire::{Code, Halt, code};

impl Login<'_> {
    pub(super) fn keys(&mut self) -> Result<Answer, Refusal> {
        match self.named_key()? {
            Answer::No => {}
            answer => return Ok(answer),
        }
        match self.agent()? {
            Answer::No => {}
            answer => return Ok(answer),
        }
        if let Some(home) = &self.dial.surroundings.home {
            for name in ["id_ed25519", "id_ecdsa", "id_rsa"] {
                let file = home.join(".ssh").join(name);
                if Some(&file) == self.dial.terms.identity_file.as_ref() {
                    continue;
                }
                match self.key_file(&file, false)? {
                    Answer::No => {}
                    answer => return Ok(answer),
                }
            }
        }
        Ok(Answer::No)
    }

    /// The key that the rule names, once.
    pub(super) fn named_key(&mut self) -> Result<Answer, Refusal> {
        match self.dial.terms.identity_file.clone() {
            Some(file) if !std::mem::replace(&mut self.is_named_tried, true) => {
                self.key_file(&file, true)
            }
            _ => Ok(Answer::No),
        }
    }

    fn key_file(&mut self, file: &Path, named: bool) -> Result<Answer, Refusal> {
        let shown = file.display();
        let text = match key_file::read(file) {
            KeyFile::Open(text) => text,
            KeyFile::Encrypted(Some(public)) if named && self.has_agent() => {
                self.encrypted = Some((public, shown.to_string()));
                return Ok(Answer::No);
            }
            KeyFile::Encrypted(_) => {
                self.tried.push(format!(
                    "key {shown}: skipped, it is encrypted (use an agent, or a key without pass phrase)"
                ));
                return Ok(Answer::No);
            }
            KeyFile::LeftOut(why) => {
                self.tried.push(format!("key {shown}: {why}"));
                return Ok(Answer::No);
            }
            KeyFile::Missing(error) => {
                if named {
                    self.tried
                        .push(format!("identity_file {shown}: cannot be read ({error})"));
                }
                return Ok(Answer::No);
            }
        };
        if self.keys_left == 0 {
            return Ok(Answer::No);
        }
        self.keys_left -= 1;
        let login = &self.dial.target.login;
        let answer = self.attempt(|| {
            self.wire
                .session
                .userauth_pubkey_memory(login, None, &text, None)
        });
        self.key_answer(answer, format!("key {shown}"))
    }

    fn key_answer(
        &mut self,
        answer: Result<Result<(), ssh2::Error>, Halt>,
        what: String,
    ) -> Result<Answer, Refusal> {
        match answer {
            Ok(Ok(())) => Ok(self.by(&what)),
            // libssh2 gives a hang-up at this point the same code as a refused signature.
            Ok(Err(error)) if error.message().starts_with("Waiting") => {
                self.tried.push(what);
                Err(self.cut_among_keys(Halt::Ssh(error)))
            }
            Ok(Err(error)) => {
                let (why, answer) = match code(&error) {
                    Code::Session(-18) => ("refused", Answer::No),
                    Code::Session(-19) => ("not enough, or refused", Answer::Perhaps),
                    _ => (error.message(), Answer::No),
                };
                self.is_heard.set(true);
                self.tried.push(format!("{what}: {why}"));
                Ok(answer)
            }
            Err(halt) => {
                self.tried.push(what);
                Err(self.cut_among_keys(halt))
            }
        }
    }

    fn cut_among_keys(&self, halt: Halt) -> Refusal {
        match among_keys(self.broken(halt, "trying keys")) {
            Refusal::CutAmongKeys(fault) if !self.is_heard.get() => Refusal::CutUnheard(fault),
            other => other,
        }
    }

    fn has_agent(&self) -> bool {
        self.dial.surroundings.agent_socket.is_some()
    }

    /// The agent's keys; that of an encrypted `identity_file` first, for it is the one that is meant.
    fn agent(&mut self) -> Result<Answer, Refusal> {
        let Some(socket) = self.dial.surroundings.agent_socket.clone() else {
            return Ok(Answer::No);
        };
        let opened = self.open_agent(&socket);
        let (agent, mut identities) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                self.tried.push(format!("agent: {}", error.message()));
                return Ok(Answer::No);
            }
        };
        let encrypted = self.encrypted.take();
        let is_meant = |identity: &ssh2::PublicKey| {
            let public = encrypted.as_ref().map(|(public, _)| public.as_slice());
            public == Some(identity.blob())
        };
        if let Some((_, file)) = &encrypted
            && !identities.iter().any(is_meant)
        {
            self.tried.push(format!(
                "key {file}: skipped, it is encrypted and the agent does not hold it (ssh-add)"
            ));
        }
        identities.sort_by_key(|identity| !is_meant(identity));
        for identity in identities {
            if self.keys_left == 0 {
                break;
            }
            self.keys_left -= 1;
            let answer = self.attempt(|| agent.userauth(&self.dial.target.login, &identity));
            let what = match &encrypted {
                Some((_, file)) if is_meant(&identity) => {
                    format!("key {file}, encrypted, by the agent")
                }
                _ => format!("agent's key {}", identity.comment()),
            };
            match self.key_answer(answer, what)? {
                Answer::No => {}
                answer => return Ok(answer),
            }
        }
        Ok(Answer::No)
    }

    fn open_agent(
        &self,
        socket: &Path,
    ) -> Result<(ssh2::Agent, Vec<ssh2::PublicKey>), ssh2::Error> {
        let mut agent = self.wire.session.agent()?;
        agent.set_identity_path(socket)?;
        agent.connect()?;
        agent.list_identities()?;
        let identities = agent.identities()?;
        Ok((agent, identities))
    }
}
