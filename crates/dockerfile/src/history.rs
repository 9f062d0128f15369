//! The `created_by` texts of an image's history, the same that BuildKit writes.
//!
//! All arguments are as they count: expanded, paths absolute, ports listed.

use std::fmt::Write as _;

use crate::ast::{Copy, Healthcheck, Script, Settable};

/// The `comment` of every entry.
pub const COMMENT: &str = "buildkit.dockerfile.v0";

/// What the texts of instructions that make layers of files end in.
const SUFFIX: &str = " # buildkit";

/// RUN. `args` are [`crate::scope::StageScope::history_args`], `argv` what was run.
pub fn run(args: &[(String, String)], argv: &[String]) -> String {
    let mut words = Vec::new();
    if !args.is_empty() {
        words.push(format!("|{}", args.len()));
        words.extend(args.iter().map(|(name, value)| format!("{name}={value}")));
    }
    words.extend(argv.iter().cloned());
    format!("RUN {}{SUFFIX}", words.join(" "))
}

/// The argument vector of a RUN, as it is run and as history shows it.
pub fn argv(script: &Script, shell: &[String]) -> Vec<String> {
    match script {
        Script::Command(command) => command.argv(shell),
        Script::File { name, .. } => {
            let file = format!("/dev/pipes/{name}");
            shell.iter().cloned().chain([file]).collect()
        }
    }
}

/// COPY, or with `add` ADD, whose paths, destination, `chown` and `chmod` are expanded.
pub fn copy(copy: &Copy, add: bool) -> String {
    let mut out = if add { "ADD" } else { "COPY" }.to_owned();
    if copy.flags.parents {
        out.push_str(" --parents");
    }
    if let Some(chown) = &copy.flags.chown {
        let _ = write!(out, " --chown={chown}");
    }
    if let Some(chmod) = &copy.flags.chmod {
        let _ = write!(out, " --chmod={chmod}");
    }
    for path in copy.paths() {
        let _ = write!(out, " {path}");
    }
    for heredoc in copy.heredocs() {
        let _ = write!(out, " <<{}", heredoc.name);
    }
    let _ = write!(out, " {}{SUFFIX}", copy.destination);
    out
}

/// ENV.
pub fn env(pairs: &[(String, String)]) -> String {
    key_values("ENV", pairs)
}

/// LABEL.
pub fn label(pairs: &[(String, String)]) -> String {
    key_values("LABEL", pairs)
}

fn key_values(keyword: &str, pairs: &[(String, String)]) -> String {
    let mut out = keyword.to_owned();
    for (key, value) in pairs {
        let _ = write!(out, " {key}={value}");
    }
    out
}

/// ARG, with the values that the names have now.
pub fn arg(definitions: &[(String, Option<String>)]) -> String {
    let mut out = "ARG".to_owned();
    for (name, value) in definitions {
        let _ = write!(out, " {name}");
        if let Some(value) = value {
            let _ = write!(out, "={value}");
        }
    }
    out
}

/// CMD, with the shell before text that is for it.
pub fn cmd(argv: &[String]) -> String {
    format!("CMD {}", quoted_list(argv))
}

/// ENTRYPOINT, with the shell before text that is for it.
pub fn entrypoint(argv: &[String]) -> String {
    format!("ENTRYPOINT {}", quoted_list(argv))
}

/// EXPOSE, with [`crate::ports::Ports::ports`].
pub fn expose(ports: &[String]) -> String {
    format!("EXPOSE {}", list(ports))
}

/// VOLUME.
pub fn volume(paths: &[String]) -> String {
    format!("VOLUME {}", list(paths))
}

/// `--unset` with the names that go, or `--reset` where there are none.
pub fn unset(what: Settable, names: &[String]) -> String {
    let keyword = what.keyword();
    match names {
        [] => format!("{keyword} --reset"),
        names => format!("{keyword} --unset {}", names.join(" ")),
    }
}

/// SHELL.
pub fn shell(argv: &[String]) -> String {
    format!("SHELL {}", list(argv))
}

/// WORKDIR, with the absolute path.
pub fn workdir(path: &str) -> String {
    format!("WORKDIR {path}")
}

/// USER.
pub fn user(user: &str) -> String {
    format!("USER {user}")
}

/// STOPSIGNAL.
pub fn stop_signal(signal: &str) -> String {
    format!("STOPSIGNAL {signal}")
}

/// MAINTAINER.
pub fn maintainer(author: &str) -> String {
    format!("MAINTAINER {author}")
}

/// HEALTHCHECK.
pub fn healthcheck(check: &Healthcheck) -> String {
    let (test, options) = match check {
        Healthcheck::None => (vec!["NONE".to_owned()], None),
        Healthcheck::Command { options, .. } => (healthcheck_test(check), Some(*options)),
    };
    let options = options.unwrap_or_default();
    format!(
        "HEALTHCHECK {{Test:{} Interval:{} Timeout:{} StartPeriod:{} StartInterval:{} Retries:{}}}",
        list(&test),
        go_duration(options.interval),
        go_duration(options.timeout),
        go_duration(options.start_period),
        go_duration(options.start_interval),
        options.retries
    )
}

/// The `Test` of the image config: `NONE`, `CMD` and a vector, or `CMD-SHELL` and text.
pub fn healthcheck_test(check: &Healthcheck) -> Vec<String> {
    use crate::ast::CommandLine::{Exec, Shell};
    let (kind, words) = match check {
        Healthcheck::None => ("NONE", &[][..]),
        Healthcheck::Command {
            command: Exec(argv),
            ..
        } => ("CMD", argv.as_slice()),
        Healthcheck::Command {
            command: Shell(text),
            ..
        } => ("CMD-SHELL", std::slice::from_ref(text)),
    };
    std::iter::once(kind.to_owned())
        .chain(words.iter().cloned())
        .collect()
}

/// `[a b]`
fn list(words: &[String]) -> String {
    format!("[{}]", words.join(" "))
}

/// `["a" "b"]`
fn quoted_list(words: &[String]) -> String {
    let quoted: Vec<String> = words.iter().map(|w| go_quoted(w)).collect();
    format!("[{}]", quoted.join(" "))
}

/// A text as Go's `%q` writes it.
fn go_quoted(text: &str) -> String {
    let mut out = "\"".to_owned();
    for c in text.chars() {
        let code = u32::from(c);
        let _ = match c {
            '"' | '\\' => write!(out, "\\{c}"),
            '\u{7}' => write!(out, "\\a"),
            '\u{8}' => write!(out, "\\b"),
            '\u{c}' => write!(out, "\\f"),
            '\n' => write!(out, "\\n"),
            '\r' => write!(out, "\\r"),
            '\t' => write!(out, "\\t"),
            '\u{b}' => write!(out, "\\v"),
            '\0'..=' ' if c != ' ' => write!(out, "\\x{code:02x}"),
            '\u{7f}' => write!(out, "\\x7f"),
            c if printable(c) => write!(out, "{c}"),
            _ if code < 0x10000 => write!(out, "\\u{code:04x}"),
            _ => write!(out, "\\U{code:08x}"),
        };
    }
    out.push('"');
    out
}

/// Whether a character shows: no control character and no blank but the plain one.
fn printable(c: char) -> bool {
    c == ' '
        || !(c.is_control()
            || c.is_whitespace()
            || matches!(c, '\u{ad}' | '\u{feff}' | '\u{200b}'..='\u{200f}' | '\u{e000}'..='\u{f8ff}'))
}

/// Nanoseconds as Go's `Duration` prints them: `1h0m0s`, `1.5s`, `100ms`, `0s`.
fn go_duration(nanoseconds: i64) -> String {
    let sign = if nanoseconds < 0 { "-" } else { "" };
    let n = nanoseconds.unsigned_abs();
    let text = match n {
        0 => "0s".to_owned(),
        1..1_000 => format!("{n}ns"),
        1_000..1_000_000 => format!("{}µs", decimal(n, 1_000)),
        1_000_000..1_000_000_000 => format!("{}ms", decimal(n, 1_000_000)),
        _ => {
            let (minutes, rest) = (n / 60_000_000_000, n % 60_000_000_000);
            let seconds = decimal(rest, 1_000_000_000);
            match (minutes / 60, minutes % 60) {
                (0, 0) => format!("{seconds}s"),
                (0, minutes) => format!("{minutes}m{seconds}s"),
                (hours, minutes) => format!("{hours}h{minutes}m{seconds}s"),
            }
        }
    };
    format!("{sign}{text}")
}

/// `n / unit` with as many places as needed.
fn decimal(n: u64, unit: u64) -> String {
    let (whole, mut fraction) = (n / unit, n % unit);
    let mut out = whole.to_string();
    let mut place = unit;
    if fraction > 0 {
        out.push('.');
    }
    while fraction > 0 {
        place /= 10;
        let _ = write!(out, "{}", fraction / place);
        fraction %= place;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::{go_duration, go_quoted};

    #[test]
    fn durations_as_go_prints_them() {
        for (n, text) in [
            (0, "0s"),
            (1, "1ns"),
            (1_500, "1.5µs"),
            (100_000_000, "100ms"),
            (1_500_000_000, "1.5s"),
            (30_000_000_000, "30s"),
            (90_000_000_000, "1m30s"),
            (3_600_000_000_000, "1h0m0s"),
            (-1_000_000, "-1ms"),
            (1_000_000_001, "1.000000001s"),
        ] {
            assert_eq!(go_duration(n), text);
        }
    }

    #[test]
    fn texts_as_go_quotes_them() {
        assert_eq!(
            go_quoted("a\"b\\c\n\té\u{1}\u{a0}"),
            r#""a\"b\\c\n\té\x01\u00a0""#
        );
    }
}
