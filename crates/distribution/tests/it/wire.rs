//! What both sides read in headers and queries, with anything in it.

use distribution::client::{Origin, Url};
use distribution::wire::{
    ByteRange, Challenge, ContentRange, ErrorDocument, Query, Scope, UploadRange, encode_component,
    next_link, next_link_header, read_warnings, sanitised, warning_header,
};
use proptest::prelude::*;

proptest! {
    /// Nothing that anybody can send makes a reader panic.
    #[test]
    fn anything_is_read_without_a_panic(text in any::<String>(), bytes in any::<Vec<u8>>()) {
        let challenges = Challenge::read(&text);
        for challenge in &challenges {
            challenge.to_string();
        }
        std::hint::black_box(next_link(&text));
        text.parse::<ByteRange>().map(|range| range.within(100)).ok();
        text.parse::<ContentRange>().ok();
        text.parse::<UploadRange>().map(UploadRange::count).ok();
        text.parse::<Scope>().ok();
        std::hint::black_box(Query::read(&text));
        read_warnings([text.as_str()]);
        std::hint::black_box(ErrorDocument::read(&bytes));
        text.parse::<Url>().ok();
        Origin::parse(true, &text).ok();
        let base: Url = "https://h/a/b?c".parse().unwrap();
        base.join(&text).ok();
    }

    /// What is shown cannot steer a terminal, and is not longer than allowed.
    #[test]
    fn what_is_shown_is_harmless(text in any::<String>(), limit in 0_usize..200) {
        let shown = sanitised(&text, limit);
        prop_assert!(!shown.chars().any(char::is_control));
        prop_assert!(shown.chars().count() <= limit + 1);
    }

    #[test]
    fn challenges_are_read_as_they_were_written(
        scheme in "[a-z]{1,10}",
        pairs in prop::collection::vec(("[a-z]{1,8}", "[ -~]{0,30}"), 1..5),
    ) {
        let challenge = Challenge { scheme, parameters: pairs };
        prop_assert_eq!(Challenge::read(&challenge.to_string()), [challenge]);
    }

    #[test]
    fn ranges_are_read_as_they_were_written(first: u64, count in 1_u64.., size: u64) {
        if let Some(range) = UploadRange::chunk(first, count) {
            prop_assert_eq!(range.to_string().parse(), Ok(range));
            prop_assert_eq!(range.count(), count);
        }
        for range in [ByteRange::From(first), ByteRange::Last(count), ByteRange::Between(first, first.max(count))] {
            prop_assert_eq!(range.to_string().parse(), Ok(range));
            if let Ok((from, length)) = range.within(size) {
                prop_assert!(length > 0 && from + length <= size);
            }
        }
        if first < size {
            let range = ContentRange { first, last: size - 1, size: Some(size) };
            prop_assert_eq!(range.to_string().parse(), Ok(range));
        }
    }

    #[test]
    fn links_and_queries_are_read_as_they_were_written(path in "/[a-z0-9/?&=%._-]{0,60}", value in any::<String>()) {
        let header = next_link_header(&path);
        prop_assert_eq!(next_link(&header), Some(path.as_str()));
        let query = Query::read(&format!("a={}&b=c", encode_component(&value)));
        let query = query.unwrap();
        prop_assert_eq!(query.get("a"), Some(value.as_str()));
        let warned = read_warnings([warning_header(&value).as_str()]).concat();
        prop_assert_eq!(warned, sanitised(&value, 2048));
    }

    /// A URL never leads to another host than the one that stands in it.
    #[test]
    fn a_relative_location_stays_on_its_host(reference in "[a-z0-9/?&=%._~-]{0,60}") {
        let base: Url = "https://registry.example:8443/v2/a/blobs/uploads/1?x".parse().unwrap();
        if !reference.starts_with("//") && let Ok(url) = base.join(&reference) {
            prop_assert_eq!(url.origin(), base.origin());
        }
    }
}
