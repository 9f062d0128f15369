//! The JSON form of instructions, strictly: what is not JSON is shell text, and no error.

/// Deepest nesting read. Deeper text is taken for no JSON, which is as good as the error that
/// nested arrays are anyway.
const MAX_DEPTH: u32 = 64;

/// What an instruction's text is, read as JSON.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Json {
    /// An array of strings.
    Strings(Vec<String>),
    /// An array that holds something else too.
    OtherArray,
    /// No array, or no JSON.
    None,
}

/// Reads a whole text as one JSON array.
pub(super) fn array(text: &str) -> Json {
    let text = text.trim();
    if !text.starts_with('[') {
        return Json::None;
    }
    let mut reader = Reader { text, at: 1 };
    match reader.strings() {
        Some(json) if reader.at == text.len() => json,
        _ => Json::None,
    }
}

/// The string that a whole text, read as one JSON object, holds under `key`.
pub(super) fn string_member(text: &str, key: &str) -> Option<String> {
    let text = text.trim();
    let mut reader = Reader { text, at: 0 };
    reader.expect(b'{')?;
    let mut found = None;
    loop {
        reader.skip_blanks();
        let name = reader.string()?;
        reader.skip_blanks();
        reader.expect(b':')?;
        reader.skip_blanks();
        let value = reader.value(0)?;
        if name == key {
            found = value;
        }
        reader.skip_blanks();
        match reader.next()? {
            b',' => {}
            b'}' if reader.at == text.len() => return found,
            _ => return None,
        }
    }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }

    fn expect(&mut self, byte: u8) -> Option<()> {
        (self.next()? == byte).then_some(())
    }

    fn skip_blanks(&mut self) {
        while let Some(b' ' | b'\t' | b'\r' | b'\n') = self.peek() {
            self.at += 1;
        }
    }

    /// The rest of the outer array.
    fn strings(&mut self) -> Option<Json> {
        let (mut strings, mut others) = (Vec::new(), false);
        self.skip_blanks();
        if self.peek()? == b']' {
            self.at += 1;
            return Some(Json::Strings(strings));
        }
        loop {
            self.skip_blanks();
            match self.value(0)? {
                Some(string) => strings.push(string),
                None => others = true,
            }
            self.skip_blanks();
            match self.next()? {
                b',' => {}
                b']' if others => return Some(Json::OtherArray),
                b']' => return Some(Json::Strings(strings)),
                _ => return None,
            }
        }
    }

    /// A value: `Some(Some(_))` is a string, `Some(None)` any other, `None` no JSON.
    fn value(&mut self, depth: u32) -> Option<Option<String>> {
        if depth > MAX_DEPTH {
            return None;
        }
        match self.peek()? {
            b'"' => return self.string().map(Some),
            open @ (b'[' | b'{') => self.members(open == b'{', depth)?,
            b'-' | b'0'..=b'9' => self.number()?,
            _ => {
                let rest = &self.text[self.at..];
                let words = ["true", "false", "null"];
                let word = words.into_iter().find(|w| rest.starts_with(w))?;
                self.at += word.len();
            }
        }
        Some(None)
    }

    fn members(&mut self, object: bool, depth: u32) -> Option<()> {
        let close = if object { b'}' } else { b']' };
        self.at += 1;
        self.skip_blanks();
        if self.peek()? == close {
            self.at += 1;
            return Some(());
        }
        loop {
            self.skip_blanks();
            if object {
                self.string()?;
                self.skip_blanks();
                self.expect(b':')?;
                self.skip_blanks();
            }
            self.value(depth + 1)?;
            self.skip_blanks();
            match self.next()? {
                b',' => {}
                byte if byte == close => return Some(()),
                _ => return None,
            }
        }
    }

    fn number(&mut self) -> Option<()> {
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        if self.peek() == Some(b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            self.digits()?;
        }
        Some(())
    }

    fn digits(&mut self) -> Option<()> {
        let start = self.at;
        while self.peek().is_some_and(|b| b.is_ascii_digit()) {
            self.at += 1;
        }
        (self.at > start).then_some(())
    }

    fn string(&mut self) -> Option<String> {
        self.expect(b'"')?;
        let mut out = String::new();
        loop {
            let rest = &self.text[self.at..];
            let end = rest.find(|c: char| matches!(c, '"' | '\\') || c < ' ')?;
            out.push_str(&rest[..end]);
            self.at += end + 1;
            match rest.as_bytes()[end] {
                b'"' => return Some(out),
                b'\\' => out.push(self.escaped()?),
                _ => return None,
            }
        }
    }

    fn escaped(&mut self) -> Option<char> {
        Some(match self.next()? {
            byte @ (b'"' | b'\\' | b'/') => char::from(byte),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => self.code_point()?,
            _ => return None,
        })
    }

    /// A `\u` escape, or two that are halves of one character. A lone half becomes U+FFFD.
    fn code_point(&mut self) -> Option<char> {
        let first = self.hex()?;
        if (0xd800..0xdc00).contains(&first) && self.text[self.at..].starts_with("\\u") {
            let back = self.at;
            self.at += 2;
            let second = self.hex()?;
            if (0xdc00..0xe000).contains(&second) {
                let code = 0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00);
                return char::from_u32(code);
            }
            self.at = back;
        }
        Some(char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER))
    }

    fn hex(&mut self) -> Option<u32> {
        let digits = self.text.get(self.at..self.at + 4)?;
        if !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return None;
        }
        self.at += 4;
        u32::from_str_radix(digits, 16).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::{Json, array, string_member};

    fn strings(text: &str) -> Vec<String> {
        match array(text) {
            Json::Strings(strings) => strings,
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn arrays_of_strings() {
        assert_eq!(strings("[]"), [""; 0]);
        assert_eq!(strings(" [ \"a\" ,\t\"b c\" ] "), ["a", "b c"]);
        assert_eq!(
            strings(r#"["\"\\\/\b\f\n\r\t\u00e9"]"#),
            ["\"\\/\u{8}\u{c}\n\r\té"]
        );
        assert_eq!(
            strings(r#"["\ud83d\ude00 \ud83d \ude00"]"#),
            ["😀 \u{fffd} \u{fffd}"]
        );
    }

    #[test]
    fn other_arrays_are_told_from_text() {
        for text in [
            r#"["a",1]"#,
            "[[]]",
            "[null]",
            r#"[{"a":[1.5e+3,true]}]"#,
            "[-0]",
        ] {
            assert_eq!(array(text), Json::OtherArray, "{text}");
        }
        for text in [
            "",
            "a",
            "[",
            "[,]",
            "['a']",
            "[\"a\" \"b\"]",
            "[\"a\",]",
            "[01]",
            "[\"a\"]x",
            "[\"\\x\"]",
            "[\"\\u00\"]",
            "[\"a\nb\"]",
            "[nul]",
            "[1.]",
        ] {
            assert_eq!(array(text), Json::None, "{text}");
        }
        assert_eq!(array(&"[".repeat(1_000_000)), Json::None);
    }

    #[test]
    fn members_of_objects() {
        let text = r#" {"a": {"syntax": "no"}, "syntax": "img:1"} "#;
        assert_eq!(string_member(text, "syntax").as_deref(), Some("img:1"));
        assert_eq!(string_member(text, "a"), None);
        assert_eq!(string_member("{", "a"), None);
    }
}
