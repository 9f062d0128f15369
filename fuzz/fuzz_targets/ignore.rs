//! Ignore files take any text; a directory that can be skipped holds nothing that is kept.

#![no_main]

use dockerfile::ignore::Patterns;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (&str, &str, &str)| {
    let (source, directory, below) = input;
    let Ok(patterns) = Patterns::parse(source) else {
        return;
    };
    let mut level = patterns.root();
    for name in directory
        .split('/')
        .filter(|n| !matches!(*n, "" | "." | ".."))
    {
        level = level.enter(name.as_bytes());
    }
    let skipped = level.can_be_skipped();
    for name in below.split('/').filter(|n| !matches!(*n, "" | "." | "..")) {
        assert!(!skipped || level.excludes(name.as_bytes()));
        level = level.enter(name.as_bytes());
        assert!(!skipped || level.can_be_skipped());
    }
});
