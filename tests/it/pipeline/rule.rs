//! One rule of a rules file, in the making.

use std::fmt;

/// A section with its keys.
#[derive(Debug, Clone)]
pub struct Rule {
    name: String,
    keys: Vec<(String, String)>,
}

impl Rule {
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            keys: Vec::new(),
        }
    }

    /// Sets a key, once more if need be.
    pub fn with(mut self, key: &str, value: impl fmt::Display) -> Self {
        self = self.without(key);
        self.keys.push((key.to_owned(), value.to_string()));
        self
    }

    /// Takes a key away.
    pub fn without(mut self, key: &str) -> Self {
        self.keys.retain(|(known, _)| known != key);
        self
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "[{}]", self.name)?;
        for (key, value) in &self.keys {
            writeln!(f, "{key} = {value}")?;
        }
        writeln!(f)
    }
}
