//! From the bytes of a file to text.

/// Reads the bytes of a Dockerfile or of a file like it as text.
///
/// Comments may be in any encoding, as old files have the names of their authors: what is not UTF-8 in them becomes U+FFFD. That is so only where
/// a line that begins with `#` can be nothing else, which is not so in a file with heredocs.
///
/// # Errors
///
/// What is wrong, for a person: which line is not UTF-8, or that all of it is UTF-16.
///
/// ```
/// let text = dockerfile::decode(b"# J\xfcrgen\nFROM alpine\n".to_vec()).unwrap();
/// assert_eq!(text, "# J\u{fffd}rgen\nFROM alpine\n");
/// assert!(dockerfile::decode(b"FROM alpine\nRUN echo \xfc\n".to_vec()).is_err());
/// ```
pub fn decode(bytes: Vec<u8>) -> Result<String, String> {
    let bytes = match String::from_utf8(bytes) {
        Ok(text) => return Ok(text),
        Err(error) => error.into_bytes(),
    };
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        return Err("it is UTF-16 text, not UTF-8".to_owned());
    }
    let heredocs = bytes.windows(2).any(|two| two == b"<<");
    for (number, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        let comment = !heredocs && line.trim_ascii_start().starts_with(b"#");
        if !comment && std::str::from_utf8(line).is_err() {
            return Err(format!("line {} is not UTF-8 text", number + 1));
        }
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::decode;

    #[test]
    fn comments_are_in_any_encoding_and_nothing_else_is() {
        let read = |bytes: &[u8]| decode(bytes.to_vec());
        assert_eq!(read(b"\xef\xbb\xbfFROM a\n").unwrap(), "\u{feff}FROM a\n");
        assert_eq!(
            read(b"FROM a\r\n  # \xff\r\nRUN b \\\n# \xfe\n c").unwrap(),
            "FROM a\r\n  # \u{fffd}\r\nRUN b \\\n# \u{fffd}\n c"
        );
        assert_eq!(
            read(b"FROM a\nLABEL a=\xe4\n# x\n").unwrap_err(),
            "line 2 is not UTF-8 text"
        );
        // It may be a line of the file.
        let heredoc = b"FROM a\nCOPY <<E f\n# \xe4\nE\n";
        assert_eq!(read(heredoc).unwrap_err(), "line 3 is not UTF-8 text");
        for utf16 in [b"\xff\xfeF\0", b"\xfe\xff\0F"] {
            assert_eq!(read(utf16).unwrap_err(), "it is UTF-16 text, not UTF-8");
        }
    }
}
