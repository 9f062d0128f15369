//! Keys of steps: named parts, and a hash over them.
//!
//! The parts are kept in the build record, so that a miss can be explained by comparing with the nearest earlier record of the
//! same definition.

use std::fmt::Write as _;

use oci::DiffId;

/// Collects what decides what a step makes.
#[derive(Debug)]
pub(crate) struct Key {
    kind: &'static str,
    /// How many of the parts are the definition.
    defined: usize,
    parts: Vec<(String, String)>,
}

impl Key {
    /// A key of steps of this kind. Two kinds never have the same key.
    pub(crate) const fn new(kind: &'static str) -> Self {
        Self {
            kind,
            defined: 0,
            parts: Vec::new(),
        }
    }

    /// Adds a part that belongs to the definition: what the Dockerfile says, whatever its inputs are. These come first.
    pub(crate) fn define(&mut self, name: impl Into<String>, value: impl Into<String>) {
        self.parts.push((name.into(), value.into()));
        self.defined = self.parts.len();
    }

    /// Adds a part that comes from the inputs.
    pub(crate) fn part(&mut self, name: impl Into<String>, value: impl Into<String>) {
        self.parts.push((name.into(), value.into()));
    }

    /// Adds the layers that something is built on, as one part.
    pub(crate) fn layers(&mut self, name: impl Into<String>, layers: &[DiffId]) {
        let chain =
            oci::ChainId::of(layers).map_or_else(|| "none".to_owned(), |chain| chain.to_string());
        self.part(name, chain);
    }

    /// The hash over the definition.
    pub(crate) fn definition(&self) -> String {
        self.hash("definition", &self.parts[..self.defined])
    }

    /// The hash over all parts.
    pub(crate) fn key(&self) -> String {
        self.hash("key", &self.parts)
    }

    /// The parts by name.
    pub(crate) fn into_parts(self) -> Vec<(String, String)> {
        self.parts
    }

    fn hash(&self, domain: &str, parts: &[(String, String)]) -> String {
        let mut hasher = blake3::Hasher::new();
        let mut field = |text: &str| {
            hasher.update(&(text.len() as u64).to_le_bytes());
            hasher.update(text.as_bytes());
        };
        field("barque build 1");
        field(domain);
        field(self.kind);
        for (name, value) in parts {
            field(name);
            field(value);
        }
        hasher.finalize().to_hex().to_string()
    }
}

/// Bytes in hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // Writing to a `String` cannot fail.
        write!(text, "{byte:02x}").ok();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_do_not_run_into_each_other() {
        let key = |parts: &[(&str, &str)]| {
            let mut key = Key::new("test");
            for (name, value) in parts {
                key.part(*name, *value);
            }
            key.key()
        };
        assert_ne!(key(&[("ab", "c")]), key(&[("a", "bc")]));
        assert_ne!(key(&[("a", "b"), ("c", "d")]), key(&[("a", "bcd")]));
        assert_ne!(Key::new("x").key(), Key::new("y").key());
        assert_ne!(Key::new("x").key(), Key::new("x").definition());
    }

    #[test]
    fn inputs_change_the_key_but_not_the_definition() {
        let mut one = Key::new("test");
        one.define("command", "make");
        let mut other = Key::new("test");
        other.define("command", "make");
        one.part("base", "1");
        other.part("base", "2");
        assert_eq!(one.definition(), other.definition());
        assert_ne!(one.key(), other.key());
    }
}
