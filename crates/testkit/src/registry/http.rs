//! As much HTTP/1.1 as the tests need, without a library that would be polite.

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::TcpStream;

/// A request.
#[derive(Debug, Clone, Default)]
pub struct Ask {
    /// The method.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body, once it was read.
    pub body: Vec<u8>,
}

impl Ask {
    /// The value of a header.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let fits = |(found, _): &&(String, String)| found == name;
        self.headers
            .iter()
            .find(fits)
            .map(|(_, value)| value.as_str())
    }

    /// True for this method and a path with `part` in it.
    #[must_use]
    pub fn is(&self, method: &str, part: &str) -> bool {
        self.method == method && self.path.contains(part)
    }
}

/// An answer.
#[derive(Debug, Clone, Default)]
pub struct Reply {
    /// The status.
    pub status: u16,
    /// Headers as they are sent. `Content-Length` is added unless there is one.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
    /// After the body, noise without end.
    pub endless: bool,
}

impl Reply {
    /// With a status only.
    #[must_use]
    pub fn status(status: u16) -> Self {
        Self {
            status,
            ..Self::default()
        }
    }

    /// With a body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// With one more header.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl ToString) -> Self {
        self.headers.push((name.to_owned(), value.to_string()));
        self
    }

    /// As it goes over the wire.
    pub(super) fn to_bytes(&self, head_only: bool) -> Vec<u8> {
        let mut text = format!("HTTP/1.1 {} Status\r\n", self.status);
        for (name, value) in &self.headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        let has_length = |(name, _): &(String, String)| {
            name.eq_ignore_ascii_case("content-length")
                || name.eq_ignore_ascii_case("transfer-encoding")
        };
        if !self.endless && !self.headers.iter().any(has_length) {
            text.push_str(&format!("Content-Length: {}\r\n", self.body.len()));
        }
        text.push_str("\r\n");
        let mut bytes = text.into_bytes();
        if !head_only {
            bytes.extend_from_slice(&self.body);
        }
        bytes
    }

    /// How many bytes of the body go out.
    pub(super) fn sent(&self, head_only: bool) -> usize {
        if head_only { 0 } else { self.body.len() }
    }
}

/// Reads requests of one connection.
pub(super) struct Reader<'s>(BufReader<&'s TcpStream>);

impl<'s> Reader<'s> {
    pub(super) fn new(stream: &'s TcpStream) -> Self {
        Self(BufReader::new(stream))
    }

    fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        match self.0.read_line(&mut line) {
            Ok(1..) => Some(line.trim_end_matches(['\r', '\n']).to_owned()),
            _ => None,
        }
    }

    /// The next request without its body; `None` at the end, and for what is no HTTP.
    pub(super) fn head(&mut self) -> Option<Ask> {
        let line = self.line()?;
        let mut words = line.split(' ');
        let mut ask = Ask {
            method: words.next()?.to_owned(),
            path: words.next()?.to_owned(),
            ..Ask::default()
        };
        loop {
            let line = self.line()?;
            if line.is_empty() {
                return Some(ask);
            }
            let (name, value) = line.split_once(':')?;
            ask.headers
                .push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
    }

    pub(super) fn body(&mut self, head: &Ask) -> Option<Vec<u8>> {
        if head.header("transfer-encoding").is_some() {
            return self.chunks();
        }
        let length = head.header("content-length").unwrap_or("0").parse().ok()?;
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).ok()?;
        Some(body)
    }

    fn chunks(&mut self) -> Option<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let size = usize::from_str_radix(self.line()?.split(';').next()?, 16).ok()?;
            let start = body.len();
            body.resize(start + size, 0);
            self.0.read_exact(&mut body[start..]).ok()?;
            self.line()?;
            if size == 0 {
                return Some(body);
            }
        }
    }

    /// The first bytes of a body that is not chunked.
    pub(super) fn part_of_body(&mut self, head: &Ask, most: usize) -> Vec<u8> {
        let length: usize = head
            .header("content-length")
            .and_then(|length| length.parse().ok())
            .unwrap_or(0);
        let mut part = vec![0; most.min(length)];
        match self.0.read_exact(&mut part) {
            Ok(()) => part,
            Err(_) => Vec::new(),
        }
    }
}
