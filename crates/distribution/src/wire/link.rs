//! `Link: <url>; rel="next"`: how listings go on (RFC 8288, as far as registries use it).

/// The target of the first link with `rel=next`, as it was written: absolute or relative.
#[must_use]
pub fn next_link(header: &str) -> Option<&str> {
    let mut rest = header;
    while let Some(open) = rest.find('<') {
        let after = &rest[open + 1..];
        let close = after.find('>')?;
        let target = &after[..close];
        let (parameters, following) = split_parameters(&after[close + 1..]);
        if is_next(parameters) {
            return Some(target).filter(|target| !target.is_empty());
        }
        rest = following;
    }
    None
}

/// The header for a listing that goes on at `target`.
#[must_use]
pub fn next_link_header(target: &str) -> String {
    format!("<{target}>; rel=\"next\"")
}

/// Cuts at the comma that begins the next link, which is not one within quotes.
fn split_parameters(text: &str) -> (&str, &str) {
    let mut quoted = false;
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b',' if !quoted => return (&text[..at], &text[at + 1..]),
            _ => {}
        }
    }
    (text, "")
}

fn is_next(parameters: &str) -> bool {
    parameters.split(';').any(|parameter| {
        parameter.split_once('=').is_some_and(|(name, value)| {
            name.trim().eq_ignore_ascii_case("rel")
                && value
                    .trim()
                    .trim_matches('"')
                    .split_ascii_whitespace()
                    .any(|rel| rel.eq_ignore_ascii_case("next"))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_next_page() {
        for (header, target) in [
            (
                "</v2/a/tags/list?last=b&n=2>; rel=\"next\"",
                Some("/v2/a/tags/list?last=b&n=2"),
            ),
            ("<https://h/x>;rel=next", Some("https://h/x")),
            (
                "<a>; rel=\"prev\", <b>; title=\"x, <c>\"; rel=\"last next\"",
                Some("b"),
            ),
            ("<a>; title=\"\\\", <b>\"; rel=prev", None),
            ("<a>; rel=prev", None),
            ("<a>", None),
            ("<>; rel=next", None),
            ("<a", None),
            ("", None),
        ] {
            assert_eq!(next_link(header), target, "{header}");
        }
        assert_eq!(next_link(&next_link_header("/x?y=z")), Some("/x?y=z"));
    }
}
