//! Flags of instructions: which there are, and what they may say.

use super::Context;
use super::keyword::Keyword;
use super::words::Flag;
use crate::ast::{CopyFlags, Device, HealthcheckOptions, Network, RunFlags, Security};
use crate::extension::Extension;
use crate::mount::MountFlag;
use crate::{InvalidValue, chmod, csv, duration, expand, nearest};

/// How a flag takes its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// `--flag=value`, once.
    Text,
    /// `--flag=value`, as often as wanted.
    List,
    /// `--flag` or `--flag=true|false`, once.
    Switch,
}

type Spec = [(&'static str, Shape)];

const RUN: &Spec = &[
    ("mount", Shape::List),
    ("network", Shape::Text),
    ("security", Shape::Text),
    ("device", Shape::List),
];

const COPY: &Spec = &[
    ("from", Shape::Text),
    ("chown", Shape::Text),
    ("chmod", Shape::Text),
    ("link", Shape::Switch),
    ("parents", Shape::Switch),
    ("exclude", Shape::List),
];

const ADD: &Spec = &[
    ("chown", Shape::Text),
    ("chmod", Shape::Text),
    ("link", Shape::Switch),
    ("keep-git-dir", Shape::Switch),
    ("checksum", Shape::Text),
    ("unpack", Shape::Switch),
    ("exclude", Shape::List),
];

const HEALTHCHECK: &Spec = &[
    ("interval", Shape::Text),
    ("timeout", Shape::Text),
    ("start-period", Shape::Text),
    ("start-interval", Shape::Text),
    ("retries", Shape::Text),
];

/// Flags that extensions add to an instruction.
fn extended(keyword: Keyword) -> &'static [(&'static str, Shape, Extension)] {
    const IF_EXISTS: (&str, Shape, Extension) = ("if-exists", Shape::Switch, Extension::IfExists);
    const RESET: (&str, Shape, Extension) = ("reset", Shape::Switch, Extension::Reset);
    const UNSET: (&str, Shape, Extension) = ("unset", Shape::Switch, Extension::Reset);
    match keyword {
        Keyword::Copy | Keyword::Add => &[IF_EXISTS],
        Keyword::Env => &[UNSET],
        Keyword::Expose | Keyword::Label | Keyword::Volume => &[RESET, UNSET],
        _ => &[],
    }
}

/// A flag that its instruction has, with a value of the right shape.
struct Known<'f> {
    name: &'static str,
    value: &'f str,
    flag: &'f Flag,
}

/// Checks flags against what there is. What is wrong with them is reported, and they are left out.
fn known<'f>(cx: &mut Context<'_, '_>, flags: &'f [Flag], spec: &Spec) -> Vec<Known<'f>> {
    let mut found: Vec<Known<'f>> = Vec::new();
    for flag in flags {
        let (name, value) = match flag.text.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (flag.text.as_str(), None),
        };
        let bare = name.trim_start_matches("--");
        let ours = extended(cx.keyword()).iter().find(|(n, ..)| *n == bare);
        let allowed = ours.filter(|(.., extension)| cx.allows(*extension));
        let known = spec.iter().find(|(n, _)| *n == bare).copied();
        let Some((name, shape)) = known.or(allowed.map(|(n, shape, _)| (*n, *shape))) else {
            let keyword = cx.keyword();
            let message = format!("unknown flag `{name}` of {keyword}");
            let meant = nearest(bare, spec.iter().map(|(n, _)| *n));
            let hint = match (meant, spec) {
                _ if ours.is_some() && cx.in_trigger => Some(
                    "extensions cannot be part of ONBUILD, which other builders read too"
                        .to_owned(),
                ),
                _ if ours.is_some() => ours.map(|(.., extension)| extension.how_to_ask()),
                (Some(meant), _) => Some(format!("did you mean `--{meant}`?")),
                (None, []) => Some(format!("{keyword} has no flags")),
                (None, _) => None,
            };
            cx.flag_error("unknown-flag", flag, InvalidValue { message, hint });
            continue;
        };
        let value = match checked(shape, name, value) {
            Ok(value) => value,
            Err(error) => {
                cx.flag_error("invalid-flag", flag, error);
                continue;
            }
        };
        let once = shape != Shape::List;
        if once && found.iter().any(|earlier| earlier.name == name) {
            let error = InvalidValue::new(format!("flag `--{name}` is given twice"));
            cx.flag_error("duplicate-flag", flag, error);
            continue;
        }
        found.push(Known { name, value, flag });
    }
    found
}

fn checked<'f>(shape: Shape, name: &str, value: Option<&'f str>) -> Result<&'f str, InvalidValue> {
    match (shape, value) {
        (Shape::Text | Shape::List, Some(value)) => Ok(value),
        (Shape::Text | Shape::List, None) => Err(InvalidValue {
            message: format!("flag `--{name}` needs a value"),
            hint: Some(format!("write it with an equals sign: `--{name}=…`")),
        }),
        (Shape::Switch, None) => Ok("true"),
        (Shape::Switch, Some(value)) if value.eq_ignore_ascii_case("true") => Ok("true"),
        (Shape::Switch, Some(value)) if value.eq_ignore_ascii_case("false") => Ok("false"),
        (Shape::Switch, Some(value)) => Err(InvalidValue::new(format!(
            "`--{name}={value}` is neither true nor false"
        ))),
    }
}

/// For the instructions that have no flags.
pub(super) fn none(cx: &mut Context<'_, '_>, flags: &[Flag]) {
    known(cx, flags, &[]);
}

/// For the instructions that have no flags but `--reset` and `--unset`: whether all settings of their kind are to go, or
/// those that follow.
pub(super) fn taken_away(cx: &mut Context<'_, '_>, flags: &[Flag]) -> Option<Gone> {
    let known = known(cx, flags, &[]);
    let on = |name: &str| known.iter().find(|k| k.name == name && k.value == "true");
    match (on("reset"), on("unset")) {
        (Some(_), Some(both)) => {
            let error = InvalidValue::new("`--reset` and `--unset` do not go together");
            cx.flag_error("invalid-flag", both.flag, error);
            Some(Gone::These)
        }
        (Some(_), None) => Some(Gone::All),
        (None, Some(_)) => Some(Gone::These),
        (None, None) => None,
    }
}

/// What of the settings of a kind goes away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Gone {
    /// `--reset`
    All,
    /// `--unset`
    These,
}

/// The value of FROM's only flag.
pub(super) fn platform(cx: &mut Context<'_, '_>, flags: &[Flag]) -> Option<String> {
    let known = known(cx, flags, &[("platform", Shape::Text)]);
    known.first().map(|k| k.value.to_owned())
}

pub(super) fn run(cx: &mut Context<'_, '_>, flags: &[Flag]) -> RunFlags {
    let mut out = RunFlags::default();
    for Known { name, value, flag } in known(cx, flags, RUN) {
        let result = match name {
            "mount" => MountFlag::parse(value, cx.span(flag.range.clone()))
                .map(|mount| out.mounts.push(mount)),
            "network" => network(value).map(|network| out.network = Some(network)),
            "security" => security(value).map(|security| out.security = Some(security)),
            _ => device(value).map(|device| out.devices.push(device)),
        };
        if let Err(error) = result {
            cx.flag_error("invalid-flag", flag, error);
        }
    }
    out
}

fn network(value: &str) -> Result<Network, InvalidValue> {
    match value {
        "default" => Ok(Network::Default),
        "none" => Ok(Network::None),
        "host" => Ok(Network::Host),
        _ => Err(InvalidValue::new(format!("unknown network mode `{value}`"))
            .or_one_of(value, &["default", "none", "host"])),
    }
}

fn security(value: &str) -> Result<Security, InvalidValue> {
    match value {
        "sandbox" => Ok(Security::Sandbox),
        "insecure" => Ok(Security::Insecure),
        _ => Err(
            InvalidValue::new(format!("unknown security mode `{value}`"))
                .or_one_of(value, &["sandbox", "insecure"]),
        ),
    }
}

fn device(text: &str) -> Result<Device, InvalidValue> {
    let mut device = Device {
        name: String::new(),
        required: false,
    };
    for field in csv::fields(text)? {
        let (key, value) = match field.split_once('=') {
            Some((key, value)) => (key.to_lowercase(), Some(value)),
            None => (field.to_lowercase(), None),
        };
        match (key.as_str(), value) {
            ("required", None | Some("1" | "true" | "t" | "TRUE" | "T" | "True")) => {
                device.required = true;
            }
            ("required", Some("0" | "false" | "f" | "FALSE" | "F" | "False")) => {
                device.required = false;
            }
            ("name", Some(name)) if device.name.is_empty() => device.name = name.to_owned(),
            (key, _) if key != "required" && key != "name" && device.name.is_empty() => {
                device.name = field;
            }
            (key, _) => {
                let error = InvalidValue::new(format!("`{field}` is not allowed in `{text}`"));
                return Err(error.or_meant(nearest(key, ["name", "required"])));
            }
        }
    }
    Ok(device)
}

/// The flags of COPY, or with `add` of ADD.
pub(super) fn copy(cx: &mut Context<'_, '_>, flags: &[Flag], add: bool) -> CopyFlags {
    let mut out = CopyFlags::default();
    for Known { name, value, flag } in known(cx, flags, if add { ADD } else { COPY }) {
        let text = || Some(value.to_owned()).filter(|v| !v.is_empty());
        let on = value == "true";
        match name {
            "from" => {
                out.from = text();
                if let Err(error) = check_from(value, cx.escape()) {
                    cx.flag_error("invalid-flag", flag, error);
                }
            }
            "chown" => out.chown = text(),
            "chmod" => {
                out.chmod = text();
                let known_now = !value.is_empty() && !value.contains(['$', '\\', '`']);
                if let Some(Err(error)) = known_now.then(|| chmod::Chmod::parse(value)) {
                    cx.flag_error("invalid-flag", flag, error);
                }
            }
            "if-exists" => out.if_exists = on,
            "link" => out.link = on,
            "parents" => out.parents = on,
            "exclude" => out.exclude.push(value.to_owned()),
            "checksum" => out.checksum = text(),
            "keep-git-dir" => out.keep_git_dir = Some(on),
            _ => out.unpack = Some(on),
        }
    }
    out
}

/// Variables are no way to name a source: what a stage needs has to be known before it is run.
fn check_from(value: &str, escape: char) -> Result<(), InvalidValue> {
    if expand::word(value, escape, &expand::Empty).is_ok_and(|e| e.text == value) {
        return Ok(());
    }
    Err(InvalidValue {
        message: format!("variables are not expanded in `--from={value}`"),
        hint: Some("give the image a name with `FROM … AS name` and use that".to_owned()),
    })
}

pub(super) fn healthcheck(cx: &mut Context<'_, '_>, flags: &[Flag]) -> HealthcheckOptions {
    let mut out = HealthcheckOptions::default();
    for Known { name, value, flag } in known(cx, flags, HEALTHCHECK) {
        let result = match name {
            "interval" => interval(value).map(|d| out.interval = d),
            "timeout" => interval(value).map(|d| out.timeout = d),
            "start-period" => interval(value).map(|d| out.start_period = d),
            "start-interval" => interval(value).map(|d| out.start_interval = d),
            _ => retries(value).map(|r| out.retries = r),
        };
        if let Err(mut error) = result {
            error.message = format!("{} (in `--{name}`)", error.message);
            cx.flag_error("invalid-flag", flag, error);
        }
    }
    out
}

/// A time for the container engine to wait; shorter ones than this it refuses.
const SHORTEST_INTERVAL: i64 = 1_000_000;

fn interval(value: &str) -> Result<i64, InvalidValue> {
    if value.is_empty() {
        return Ok(0);
    }
    let nanoseconds = duration::parse(value)?;
    if nanoseconds != 0 && nanoseconds < SHORTEST_INTERVAL {
        let message = format!("`{value}` is shorter than a millisecond");
        return Err(InvalidValue::new(message));
    }
    Ok(nanoseconds)
}

fn retries(value: &str) -> Result<u32, InvalidValue> {
    match value.parse::<i32>() {
        _ if value.is_empty() => Ok(0),
        Ok(number) => {
            u32::try_from(number).map_err(|_| InvalidValue::new(format!("`{value}` is negative")))
        }
        Err(_) => Err(InvalidValue::new(format!("`{value}` is not a number"))),
    }
}
