//! Expansion takes any word and any values, in bounded time and memory.

#![no_main]

use dockerfile::expand::{self, MAX_GROWTH};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (&str, &str, &str, bool)| {
    let (word, first, second, backtick) = input;
    let escape = if backtick { '`' } else { '\\' };
    let env = [
        ("a".to_owned(), first.to_owned()),
        ("b".to_owned(), second.to_owned()),
        ("empty".to_owned(), String::new()),
    ];
    if let Ok(expanded) = expand::word(word, escape, &env[..]) {
        assert!(expanded.text.len() <= word.len() + MAX_GROWTH);
    }
    if let Ok(expanded) = expand::words(word, escape, &env[..]) {
        assert!(expanded.words.iter().all(|w| !w.is_empty()));
    }
    let _ = expand::text(word, &env[..]);
});
