//! `RUN --mount=…`: the flag as written, and what it means once its values are expanded.

use crate::expand::ExpandError;
use crate::{InvalidValue, Span, csv, nearest, size};

/// One `--mount` as written.
///
/// Values may hold variables (`from` may not), so that a mount is known only when its RUN is
/// reached: [`MountFlag::resolve`]. What is wrong whatever the variables hold is found by the parser.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountFlag {
    /// The flag's value.
    pub text: String,
    /// The value split at its commas, with the names of the keys.
    pub fields: Vec<(&'static str, Option<String>)>,
    /// The flag.
    pub span: Span,
}

/// Types of mounts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum MountType {
    /// Files of the build context, a stage or an image.
    #[default]
    Bind,
    /// A directory that outlives the build.
    Cache,
    /// A file system in memory.
    Tmpfs,
    /// A secret, as a file or in the environment.
    Secret,
    /// The socket of an ssh agent.
    Ssh,
}

impl MountType {
    const NAMES: [(&'static str, Self); 5] = [
        ("bind", Self::Bind),
        ("cache", Self::Cache),
        ("tmpfs", Self::Tmpfs),
        ("secret", Self::Secret),
        ("ssh", Self::Ssh),
    ];

    /// The name as in `type=`.
    pub fn name(self) -> &'static str {
        Self::NAMES
            .iter()
            .find(|(_, t)| *t == self)
            .map_or("bind", |(name, _)| name)
    }
}

/// How builds that run at once use one cache mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Sharing {
    /// Together.
    #[default]
    Shared,
    /// Each gets its own when another is using it.
    Private,
    /// One after the other.
    Locked,
}

impl Sharing {
    const NAMES: [(&'static str, Self); 3] = [
        ("shared", Self::Shared),
        ("private", Self::Private),
        ("locked", Self::Locked),
    ];
}

/// A mount with its values expanded and checked against each other.
///
/// Fields that a type has no use for are as in the default.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Mount {
    /// What is mounted.
    pub mount_type: MountType,
    /// Where files come from: a stage, a context or an image; the build context if `None`.
    pub from: Option<String>,
    /// The path there; empty means the root. For secrets another word for `id`.
    pub source: String,
    /// Where it appears; empty if not given. See [`Mount::target_in`].
    pub target: String,
    /// Whether the command cannot write to it.
    pub read_only: bool,
    /// Largest size of a tmpfs in bytes.
    pub size: Option<u64>,
    /// Name of a cache, secret or agent.
    pub id: Option<String>,
    /// How a cache is shared.
    pub sharing: Sharing,
    /// Whether the build fails without the secret or agent.
    pub required: bool,
    /// The environment variable to put a secret into; empty means one named after the secret.
    pub env: Option<String>,
    /// Permission bits.
    pub mode: Option<u32>,
    /// Owner.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
}

impl Mount {
    /// The absolute target for a command that runs in `workdir`.
    ///
    /// # Errors
    ///
    /// When that is the root directory, which cannot be mounted over.
    pub fn target_in(&self, workdir: &str) -> Result<String, InvalidValue> {
        let target = crate::path::join(workdir, &self.target);
        if target == "/" {
            let message = format!("cannot mount over `/` with `target={}`", self.target);
            return Err(InvalidValue::new(message));
        }
        Ok(target)
    }

    /// The name under which a cache is kept: its `id`, or its target as written.
    pub fn cache_id(&self) -> String {
        match self.id.as_deref() {
            Some(id) if !id.is_empty() => id.to_owned(),
            _ => crate::path::clean(&self.target),
        }
    }

    /// The environment variable that a secret is put into, if it is.
    pub fn secret_variable(&self) -> Option<&str> {
        let name = self.env.as_deref()?;
        if self.mount_type != MountType::Secret {
            return None;
        }
        Some(if name.is_empty() {
            self.secret_id()
        } else {
            name
        })
    }

    /// The name of the agent: its `id`, or `default`.
    pub fn ssh_id(&self) -> &str {
        let given = self.id.as_deref().filter(|id| !id.is_empty());
        given.unwrap_or("default")
    }

    /// The name of the secret: `id`, `source`, or the last part of the target.
    pub fn secret_id(&self) -> &str {
        let given = self.id.as_deref().filter(|id| !id.is_empty());
        match given {
            Some(id) => id,
            None if !self.source.is_empty() => &self.source,
            None => self.target.rsplit('/').next().unwrap_or_default(),
        }
    }
}

const KEYS: [&str; 19] = [
    "type",
    "from",
    "source",
    "target",
    "readonly",
    "id",
    "sharing",
    "required",
    "size",
    "mode",
    "uid",
    "gid",
    "src",
    "dst",
    "destination",
    "ro",
    "rw",
    "readwrite",
    "env",
];

/// The keys that stand for true when they have no value.
const SWITCHES: [&str; 5] = ["readonly", "ro", "readwrite", "rw", "required"];

impl MountFlag {
    /// Splits a flag's value and checks all of it that does not depend on variables.
    ///
    /// # Errors
    ///
    /// Text that is no comma-separated list, an unknown key (with the nearest one), a variable in
    /// `from`, and, where no value holds variables, whatever [`MountFlag::resolve`] refuses.
    pub fn parse(text: &str, span: Span) -> Result<Self, InvalidValue> {
        let mut fields = Vec::new();
        for field in csv::fields(text)? {
            let (key, value) = match field.split_once('=') {
                Some((key, value)) => (key, Some(value.to_owned())),
                None => (&*field, None),
            };
            let key = known_key(key, value.as_deref(), &field)?;
            fields.push((key, value));
        }
        let flag = Self {
            text: text.to_owned(),
            fields,
            span,
        };
        if !text.contains(['$', '\\', '`', '\'', '"']) {
            flag.resolve(&mut |value| Ok(value.to_owned()))?;
        }
        Ok(flag)
    }

    /// The stage, context or image that files come from, which needs no expansion.
    pub fn from(&self) -> Option<&str> {
        let from = self.fields.iter().rev().find(|(key, _)| *key == "from");
        from.and_then(|(_, value)| value.as_deref())
            .filter(|v| !v.is_empty())
    }

    /// Expands the values and gives the mount that they mean.
    ///
    /// # Errors
    ///
    /// A failing expansion, a value that its key does not take, or keys that do not go together.
    pub fn resolve(
        &self,
        expand: &mut dyn FnMut(&str) -> Result<String, ExpandError>,
    ) -> Result<Mount, InvalidValue> {
        let mut fields = Vec::with_capacity(self.fields.len());
        for (key, value) in &self.fields {
            let value = match value {
                Some(value) if *key != "from" => Some(expand(value)?),
                value => value.clone(),
            };
            fields.push((*key, value));
        }
        // The type decides what other keys may say, wherever it stands.
        let mut mount = Mount::default();
        for (key, value) in &fields {
            if *key == "type" {
                let value = value.as_deref().unwrap_or_default();
                mount.mount_type = one_of(&MountType::NAMES, value, "mount type")?;
            }
        }
        let mut given = Given::default();
        for (key, value) in fields {
            set(&mut mount, &mut given, key, value)?;
        }
        finish(mount, &given)
    }
}

/// What was said, where [`Mount`] itself cannot tell it from the default.
#[derive(Default)]
struct Given {
    read_only: bool,
    sharing: bool,
}

fn known_key(key: &str, value: Option<&str>, field: &str) -> Result<&'static str, InvalidValue> {
    let known = KEYS.into_iter().find(|k| k.eq_ignore_ascii_case(key));
    let Some(key) = known else {
        let error = InvalidValue::new(format!("unknown key `{key}` in `{field}` of `--mount`"));
        return Err(error.or_meant(nearest(key, KEYS)));
    };
    let Some(value) = value else {
        if SWITCHES.contains(&key) {
            return Ok(key);
        }
        let message = format!("`{key}` of `--mount` needs a value: `{key}=…`");
        return Err(InvalidValue::new(message));
    };
    let variable = value.find('$').is_some_and(|at| at + 1 < value.len());
    if key == "from" && variable {
        let mut error = InvalidValue::new(format!("variables are not expanded in `{field}`"));
        error.hint = Some("give the image a name with `FROM … AS name` and use that".to_owned());
        return Err(error);
    }
    Ok(key)
}

fn set(
    mount: &mut Mount,
    given: &mut Given,
    key: &str,
    value: Option<String>,
) -> Result<(), InvalidValue> {
    let text = value.as_deref();
    match key {
        "from" => mount.from = value.filter(|v| !v.is_empty()),
        "source" | "src" => mount.source = value.unwrap_or_default(),
        "target" | "dst" | "destination" => mount.target = value.unwrap_or_default(),
        "id" => mount.id = value,
        "env" => mount.env = value,
        "readonly" | "ro" => {
            mount.read_only = switch(key, text)?;
            given.read_only = true;
        }
        "readwrite" | "rw" => {
            mount.read_only = !switch(key, text)?;
            given.read_only = true;
        }
        "required" => {
            only_on(mount, key, &[MountType::Secret, MountType::Ssh])?;
            mount.required = switch(key, text)?;
        }
        "size" => {
            only_on(mount, key, &[MountType::Tmpfs])?;
            mount.size = Some(size::parse(text.unwrap_or_default())?);
        }
        "sharing" => {
            only_on(mount, key, &[MountType::Cache])?;
            mount.sharing = one_of(&Sharing::NAMES, text.unwrap_or_default(), "sharing mode")?;
            given.sharing = true;
        }
        "mode" | "uid" | "gid" => {
            only_on(
                mount,
                key,
                &[MountType::Secret, MountType::Ssh, MountType::Cache],
            )?;
            let radix = if key == "mode" { 8 } else { 10 };
            let number = number(key, text.unwrap_or_default(), radix)?;
            match key {
                "mode" => mount.mode = Some(number),
                "uid" => mount.uid = Some(number),
                _ => mount.gid = Some(number),
            }
        }
        _ => {}
    }
    Ok(())
}

fn finish(mut mount: Mount, given: &Given) -> Result<Mount, InvalidValue> {
    if !given.read_only {
        mount.read_only = !matches!(mount.mount_type, MountType::Cache | MountType::Tmpfs);
    }
    if mount.mount_type == MountType::Secret {
        let id = mount.id.as_deref().unwrap_or_default();
        if mount.from.is_some() {
            return Err(InvalidValue::new("a secret mount takes no `from`"));
        }
        if !mount.source.is_empty() && !id.is_empty() {
            let message = "a secret mount takes `id` or `source`, not both: they mean the same";
            return Err(InvalidValue::new(message));
        }
        if mount.source.is_empty() && mount.target.is_empty() && id.is_empty() {
            return Err(InvalidValue::new("a secret mount needs `id` or `target`"));
        }
    }
    Ok(mount)
}

fn only_on(mount: &Mount, key: &str, types: &[MountType]) -> Result<(), InvalidValue> {
    if types.contains(&mount.mount_type) {
        return Ok(());
    }
    let kind = mount.mount_type.name();
    let message = format!("`{key}` is not allowed on a mount of type `{kind}`");
    Err(InvalidValue::new(message))
}

fn one_of<T: std::marker::Copy>(
    names: &[(&'static str, T)],
    value: &str,
    what: &str,
) -> Result<T, InvalidValue> {
    let found = names
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(value));
    found.map(|(_, t)| *t).ok_or_else(|| {
        let known: Vec<&str> = names.iter().map(|(name, _)| *name).collect();
        InvalidValue::new(format!("unknown {what} `{value}`")).or_one_of(value, &known)
    })
}

fn switch(key: &str, value: Option<&str>) -> Result<bool, InvalidValue> {
    match value {
        None | Some("1" | "t" | "T" | "true" | "TRUE" | "True") => Ok(true),
        Some("0" | "f" | "F" | "false" | "FALSE" | "False") => Ok(false),
        Some(other) => Err(InvalidValue::new(format!(
            "`{key}={other}` is neither true nor false"
        ))),
    }
}

fn number(key: &str, value: &str, radix: u32) -> Result<u32, InvalidValue> {
    let digits = value.bytes().all(|b| b.is_ascii_digit());
    let parsed = digits.then(|| u32::from_str_radix(value, radix).ok());
    let largest = if key == "mode" { 0o7777 } else { u32::MAX };
    let fits = parsed.flatten().filter(|number| *number <= largest);
    fits.ok_or_else(|| {
        let kind = if key == "mode" {
            "an octal mode"
        } else {
            "a number"
        };
        InvalidValue::new(format!("`{key}={value}` is not {kind}"))
    })
}
