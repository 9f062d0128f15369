//! Parsing takes any text, and every place it names is in that text.

#![no_main]

use dockerfile::{Diagnostic, InstructionKind as Kind, Span};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let source = String::from_utf8_lossy(data);
    match dockerfile::parse(&source) {
        Ok(file) => {
            file.warnings.iter().for_each(|w| check(&source, w));
            for instruction in file.stages.iter().flat_map(|s| &s.instructions) {
                place(&source, instruction.span);
                if let Kind::Run(run) = &instruction.kind {
                    let _script = run.script();
                }
                if let Kind::Onbuild(onbuild) = &instruction.kind
                    && file.directives.escape == '\\'
                {
                    // What was accepted once is accepted when it is run.
                    assert!(dockerfile::parse_instruction(&onbuild.expression).is_ok());
                }
            }
        }
        Err(errors) => errors.iter().for_each(|e| check(&source, e)),
    }
    let _ = dockerfile::parse_instruction(&source);
    let _ = dockerfile::detect_syntax(&source);
});

fn check(source: &str, diagnostic: &Diagnostic) {
    place(source, diagnostic.span);
    diagnostic.labels.iter().for_each(|l| place(source, l.span));
}

fn place(source: &str, span: Span) {
    assert!(source.get(span.range()).is_some(), "{span:?}");
    let shown = dockerfile::excerpt(source, "Dockerfile", span);
    assert!(!shown.is_empty(), "{span:?}");
}
