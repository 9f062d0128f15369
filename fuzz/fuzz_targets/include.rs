//! A Dockerfile of several files: whatever they are and however they include each other, reading ends, and every place
//! it names is in the file that it names. Files are separated by zero bytes; the first one is the Dockerfile, the others are called
//! `a`, `b`, `c` and so on.

#![no_main]

use dockerfile::{Diagnostic, Span, parse_including};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data);
    let files: Vec<&str> = text.split('\0').collect();
    let main = format!("# barque: extensions=include,reset,if-exists\n{}", files[0]);
    let parsed = parse_including(&main, &mut |path| {
        assert!(!path.starts_with('/') && !path.split('/').any(|part| part == ".."), "{path}");
        let number = path.bytes().next().map_or(0, |b| usize::from(b.wrapping_sub(b'a')) + 1);
        let file = files.get(number).filter(|_| path.len() == 1);
        file.map(|file| (*file).to_owned()).ok_or_else(|| "gone".to_owned())
    });
    let source = |span: Span| match span.file.checked_sub(1) {
        None => main.as_str(),
        Some(number) => &*parsed.included[number as usize].text,
    };
    let place = |span: Span| assert!(source(span).get(span.range()).is_some(), "{span:?}");
    let check = |found: &Diagnostic| {
        place(found.span);
        found.labels.iter().for_each(|label| place(label.span));
    };
    match &parsed.file {
        Ok(file) => {
            file.warnings.iter().for_each(check);
            for stage in &file.stages {
                place(stage.span);
                stage.instructions.iter().for_each(|i| place(i.span));
            }
        }
        Err(errors) => errors.iter().for_each(check),
    }
});
