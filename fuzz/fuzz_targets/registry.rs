//! Whatever a registry may write in a header, a query, an error document or a reference.
#![no_main]

use distribution::client::Url;
use distribution::wire::{
    ByteRange, Challenge, ContentRange, ErrorDocument, Query, Scope, UploadRange, next_link,
    read_warnings,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    std::hint::black_box(ErrorDocument::read(bytes));
    oci::Document::parse(bytes, None).ok();
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    for challenge in Challenge::read(text) {
        let again = Challenge::read(&challenge.to_string());
        assert!(again.len() <= 1);
    }
    std::hint::black_box(next_link(text));
    text.parse::<ByteRange>().map(|range| range.within(1 << 20)).ok();
    text.parse::<ContentRange>().ok();
    text.parse::<UploadRange>().map(UploadRange::count).ok();
    text.parse::<Scope>().ok();
    std::hint::black_box(Query::read(text));
    read_warnings([text]);
    if let Ok(reference) = text.parse::<oci::Reference>() {
        assert_eq!(reference.to_string().parse(), Ok(reference));
    }
    let base: Url = "https://h/a?b".parse().unwrap();
    base.join(text).ok();
});
