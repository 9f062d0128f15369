//! Rules about the file as a whole and its FROM lines.

use std::collections::{BTreeMap, BTreeSet};

use super::{Input, Report, rules};
use crate::ast::{Dockerfile, Instruction, InstructionKind as Kind, Stage};
use crate::expand::Names;
use crate::scope::{GlobalScope, Settings};
use crate::{Diagnostic, Span, nearest};

pub(super) fn check(input: &Input<'_>, report: &mut Report<'_>) {
    names(input.file, report);
    casing(input.file, report);
    descriptions(input.file, report);
    unused(input.file, report);
    for instruction in instructions(input.file) {
        if let Kind::Maintainer(_) = instruction.kind {
            let message =
                "MAINTAINER is deprecated: use a label such as `org.opencontainers.image.authors`";
            let rule = &rules::MAINTAINER_DEPRECATED;
            report.warn(
                &instruction.comments,
                rule,
                instruction.span,
                message.to_owned(),
            );
        }
    }
    from_lines(input, report);
}

fn instructions(file: &Dockerfile) -> impl Iterator<Item = &Instruction> {
    file.stages.iter().flat_map(|s| &s.instructions)
}

fn names(file: &Dockerfile, report: &mut Report<'_>) {
    let mut seen: BTreeMap<&str, Span> = BTreeMap::new();
    for stage in &file.stages {
        let (Some(name), Some(written)) = (&stage.name, &stage.name_as_written) else {
            continue;
        };
        if name != written {
            let message = format!("stage name `{written}` is not in lower case");
            report.warn(
                &stage.comments,
                &rules::STAGE_NAME_CASING,
                stage.span,
                message,
            );
        }
        if let "scratch" | "context" = name.as_str() {
            let message = format!("`{name}` has a meaning of its own and cannot well name a stage");
            report.warn(
                &stage.comments,
                &rules::RESERVED_STAGE_NAME,
                stage.span,
                message,
            );
        }
        if let Some(earlier) = seen.insert(name, stage.span) {
            let message = format!("stage name `{name}` is used twice");
            let rule = rules::DUPLICATE_STAGE_NAME.name;
            let found = Diagnostic::warning(rule, stage.span, message);
            report.add(
                &stage.comments,
                found.with_label(earlier, "first used here"),
            );
        }
    }
}

/// Keywords against the case of most of them, and AS against FROM.
fn casing(file: &Dockerfile, report: &mut Report<'_>) {
    let first_word = |text: &'_ str| {
        text.split_ascii_whitespace()
            .next()
            .unwrap_or_default()
            .to_owned()
    };
    let mut words = Vec::new();
    for stage in &file.stages {
        words.push((first_word(&stage.original), stage.span, &stage.comments));
        from_as(stage, report);
        for instruction in &stage.instructions {
            let word = instruction.keyword_as_written().to_owned();
            words.push((word, instruction.span, &instruction.comments));
        }
    }
    let lower = words.iter().filter(|(word, ..)| is_lower(word)).count();
    let upper = words.iter().filter(|(word, ..)| is_upper(word)).count();
    let (fits, case): (fn(&str) -> bool, _) = match lower > upper {
        true => (is_lower, "lower"),
        false => (is_upper, "upper"),
    };
    for (word, span, comments) in words {
        if !fits(&word) {
            let message = format!("`{word}` is not in {case} case as most instructions are");
            report.warn(
                comments,
                &rules::CONSISTENT_INSTRUCTION_CASING,
                span,
                message,
            );
        }
    }
}

fn from_as(stage: &Stage, report: &mut Report<'_>) {
    let mut words = stage.original.split_ascii_whitespace();
    let from = words.next().unwrap_or_default();
    let Some(as_) = words.rev().nth(1).filter(|_| stage.name.is_some()) else {
        return;
    };
    if (is_lower(from) && !is_lower(as_)) || (is_upper(from) && !is_upper(as_)) {
        let message = format!("`{as_}` is not in the case of `{from}`");
        report.warn(&stage.comments, &rules::FROM_AS_CASING, stage.span, message);
    }
}

fn is_lower(word: &str) -> bool {
    !word.bytes().any(|b| b.is_ascii_uppercase())
}

fn is_upper(word: &str) -> bool {
    !word.bytes().any(|b| b.is_ascii_lowercase())
}

/// The last comment above a definition describes it, or something else is meant.
fn descriptions(file: &Dockerfile, report: &mut Report<'_>) {
    let rule = &rules::INVALID_DEFINITION_DESCRIPTION;
    let mut check = |what: &str, names: &[&str], comments: &[String], span: Span| {
        let (Some(comment), Some(name)) = (comments.last(), names.first()) else {
            return;
        };
        let word = comment.split(' ').next().unwrap_or_default();
        if !names.contains(&word) {
            let message = format!("the comment above {what} does not begin with `{name}`");
            let found = Diagnostic::warning(rule.name, span, message);
            let hint = "put an empty line or comment between if it describes nothing";
            report.add(comments, found.with_hint(hint));
        }
    };
    for stage in &file.stages {
        if let Some(name) = &stage.name {
            check("FROM", &[name], &stage.comments, stage.span);
        }
    }
    for instruction in file.global_args.iter().chain(instructions(file)) {
        if let Kind::Arg(definitions) = &instruction.kind {
            let names: Vec<&str> = definitions.iter().map(|d| d.name.as_str()).collect();
            check("ARG", &names, &instruction.comments, instruction.span);
        }
    }
}

/// Stages that no other one mentions. Words with variables may mention anything.
fn unused(file: &Dockerfile, report: &mut Report<'_>) {
    let mut mentioned: BTreeSet<String> = BTreeSet::new();
    for stage in &file.stages {
        mentioned.insert(stage.base.to_lowercase());
        for instruction in &stage.instructions {
            match &instruction.kind {
                Kind::Copy(copy) | Kind::Add(copy) => {
                    mentioned.extend(copy.flags.from.as_ref().map(|f| f.to_lowercase()));
                }
                Kind::Run(run) => {
                    let from = run.flags.mounts.iter().filter_map(|m| m.from());
                    mentioned.extend(from.map(str::to_lowercase));
                }
                _ => {}
            }
        }
    }
    if mentioned.iter().any(|word| word.contains('$')) {
        return;
    }
    let before_last = file.stages.len().saturating_sub(1);
    for (index, stage) in file.stages.iter().enumerate().take(before_last) {
        let name = stage.name.as_deref();
        let used = mentioned.contains(&index.to_string())
            || name.is_some_and(|name| mentioned.contains(name));
        if !used {
            let message = match name {
                Some(name) => format!("nothing uses stage `{name}`"),
                None => "nothing uses this stage".to_owned(),
            };
            report.warn(&stage.comments, &rules::UNUSED_STAGE, stage.span, message);
        }
    }
}

/// What FROM lines make of global ARGs.
fn from_lines(input: &Input<'_>, report: &mut Report<'_>) {
    let Ok(globals) = GlobalScope::new(input.file, input.settings) else {
        return; // the build will say why
    };
    let declared: BTreeSet<&str> = globals
        .names()
        .chain(input.file.global_definitions().map(|d| d.name.as_str()))
        .collect();
    for stage in &input.file.stages {
        if let Ok(base) = globals.expand(&stage.base) {
            undeclared(stage, &base.names, &declared, report);
        }
        let Some(platform) = &stage.platform else {
            continue;
        };
        let Ok(expanded) = globals.expand(platform) else {
            continue;
        };
        undeclared(stage, &expanded.names, &declared, report);
        let Names { used, undefined } = &expanded.names;
        let only_target =
            used.len() == 1 && used.contains("TARGETPLATFORM") && undefined.is_empty();
        if only_target && Some(expanded.text.as_str()) == globals.get("TARGETPLATFORM") {
            let message = format!("`--platform={platform}` is the default");
            report.warn(
                &stage.comments,
                &rules::REDUNDANT_TARGET_PLATFORM,
                stage.span,
                message,
            );
        }
        if used.is_empty() && undefined.is_empty() && !mentions(stage, &expanded.text) {
            let message = format!("`--platform={platform}` fixes the platform");
            let rule = rules::FROM_PLATFORM_FLAG_CONST_DISALLOWED.name;
            let found = Diagnostic::warning(rule, stage.span, message);
            let hint =
                "use a variable such as `$BUILDPLATFORM`, or name the stage after the platform";
            report.add(&stage.comments, found.with_hint(hint));
        }
    }
    defaults(input, report);
}

/// Whether a stage's name tells of the platform.
fn mentions(stage: &Stage, platform: &str) -> bool {
    let name = stage.name.as_deref().unwrap_or_default();
    let mut parts = platform.split('/').take(2).filter(|p| !p.is_empty());
    parts.any(|part| name.contains(part))
}

fn undeclared(stage: &Stage, names: &Names, declared: &BTreeSet<&str>, report: &mut Report<'_>) {
    for name in names
        .undefined
        .iter()
        .filter(|n| !declared.contains(n.as_str()))
    {
        let message = format!("FROM uses `${name}`, which no ARG before it declares");
        let mut found = Diagnostic::warning(rules::UNDEFINED_ARG_IN_FROM.name, stage.span, message);
        let meant = nearest(name, declared.iter().copied());
        found
            .hints
            .extend(meant.map(|m| format!("did you mean `${m}`?")));
        report.add(&stage.comments, found);
    }
}

/// Image names when nobody passes build args.
fn defaults(input: &Input<'_>, report: &mut Report<'_>) {
    let settings = Settings {
        build_args: BTreeMap::new(),
        ..input.settings.clone()
    };
    let Ok(globals) = GlobalScope::new(input.file, &settings) else {
        return;
    };
    for stage in &input.file.stages {
        let Ok(base) = globals.expand(&stage.base) else {
            continue;
        };
        if !(input.is_image_name)(&base.text) {
            let base = &stage.base;
            let message = format!("without build args, `{base}` is no valid image name");
            report.warn(
                &stage.comments,
                &rules::INVALID_DEFAULT_ARG_IN_FROM,
                stage.span,
                message,
            );
        }
    }
}
