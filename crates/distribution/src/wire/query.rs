//! Query strings: percent-encoding and reading.

/// A query string, read: pairs in their order, decoded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Query(Vec<(String, String)>);

impl Query {
    /// Reads what stands after the question mark. `None` if something in it is not UTF-8 after decoding or a percent sign is
    /// not followed by two hexadecimal digits. A plus sign stays what it is: digests and media types have them.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        text.split('&')
            .filter(|pair| !pair.is_empty())
            .map(|pair| {
                let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                Some((decode(name)?, decode(value)?))
            })
            .collect::<Option<_>>()
            .map(Self)
    }

    /// The first value with this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(found, _)| found == name)
            .map(|(_, value)| value.as_str())
    }

    /// All values with this name.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0
            .iter()
            .filter(move |(found, _)| found == name)
            .map(|(_, value)| value.as_str())
    }
}

fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let high = char::from(rest.next()?).to_digit(16)?;
            let low = char::from(rest.next()?).to_digit(16)?;
            bytes.push(u8::try_from(high << 4 | low).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

/// `text` as part of a path or a query: everything but letters, digits and `-._~` is escaped.
#[must_use]
pub fn encode_component(text: &str) -> String {
    use std::fmt::Write as _;
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            // Writing to a `String` cannot fail.
            write!(encoded, "%{byte:02X}").ok();
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_pairs() {
        let query =
            Query::read("tag=a&tag=b%2Fc&digest=sha256:00&flag&x=application/a+json").unwrap();
        assert_eq!(query.all("tag").collect::<Vec<_>>(), ["a", "b/c"]);
        assert_eq!(query.get("digest"), Some("sha256:00"));
        assert_eq!(query.get("flag"), Some(""));
        assert_eq!(query.get("x"), Some("application/a+json"));
        assert_eq!(query.get("y"), None);
        assert!(Query::read("a=%").is_none());
        assert!(Query::read("a=%zz").is_none());
        assert!(Query::read("a=%ff").is_none());
        assert_eq!(Query::read(""), Some(Query::default()));
    }

    #[test]
    fn decodes_what_it_encodes() {
        let text = "a b/c?d=é&%+";
        assert_eq!(decode(&encode_component(text)).as_deref(), Some(text));
    }
}
