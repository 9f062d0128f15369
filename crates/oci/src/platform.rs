//! Platforms (image-spec, image-index.md, "platform"), in Docker's notation `os[(version)]/arch[/variant]`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What an image runs on.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Platform {
    /// The CPU architecture, with Go's name: `amd64`, `arm64`.
    pub architecture: String,
    /// The operating system, with Go's name: `linux`.
    pub os: String,
    /// The version of the operating system; Windows images have one.
    #[serde(
        rename = "os.version",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub os_version: Option<String>,
    /// Mandatory features of the operating system.
    #[serde(rename = "os.features", default, skip_serializing_if = "Vec::is_empty")]
    pub os_features: Vec<String>,
    /// The variant of the CPU: `v7`, `v8`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

/// Why a text is not a platform.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a platform: expected `os/arch`, `os/arch/variant` or `os(version)/arch`, like `linux/arm64`"
)]
pub struct PlatformError(String);

impl Platform {
    /// The platform of this program.
    #[must_use]
    pub fn host() -> Self {
        Self::normal(std::env::consts::OS, std::env::consts::ARCH, None)
    }

    /// With the names that other notations use (`x86_64`, `aarch64`, `armhf`) replaced by Go's.
    #[must_use]
    pub fn normal(os: &str, architecture: &str, variant: Option<&str>) -> Self {
        let os = os.to_ascii_lowercase();
        let architecture = architecture.to_ascii_lowercase();
        let variant = variant
            .map(str::to_ascii_lowercase)
            .filter(|v| !v.is_empty());
        let (architecture, variant) = match (architecture.as_str(), variant.as_deref()) {
            ("x86_64" | "x86-64" | "amd64", None | Some("v1")) => ("amd64", None),
            ("x86_64" | "x86-64" | "amd64", other) => ("amd64", other),
            ("i386" | "i686" | "x86" | "386", _) => ("386", None),
            ("aarch64" | "arm64", None | Some("8" | "v8")) => ("arm64", None),
            ("aarch64" | "arm64", other) => ("arm64", other),
            ("armhf", _) => ("arm", Some("v7")),
            ("armel", _) => ("arm", Some("v6")),
            ("arm", None | Some("7")) => ("arm", Some("v7")),
            ("arm", Some("6")) => ("arm", Some("v6")),
            ("arm", Some("5")) => ("arm", Some("v5")),
            (other, variant) => (other, variant),
        };
        let os = if os == "macos" {
            "darwin".to_owned()
        } else {
            os
        };
        Self {
            architecture: architecture.to_owned(),
            variant: variant.map(str::to_owned),
            os,
            os_version: None,
            os_features: Vec::new(),
        }
    }
}

impl Platform {
    /// How far what is made for this platform is from what `wanted` asks for: 0 is exact, `None` cannot run there.
    ///
    /// `arm/v7` runs `v6` and `v5`; `amd64/v3` runs `v2` and what has no variant. If a version of the operating system is wanted,
    /// it is that one, or one that says more: `10.0.17763` takes `10.0.17763.1`.
    #[must_use]
    pub fn distance_from(&self, wanted: &Self) -> Option<u32> {
        let found = Self::normal(&self.os, &self.architecture, self.variant.as_deref());
        if (&found.os, &found.architecture) != (&wanted.os, &wanted.architecture) {
            return None;
        }
        if let Some(version) = &wanted.os_version {
            let rest = self.os_version.as_deref()?.strip_prefix(version.as_str())?;
            if !rest.is_empty() && !rest.starts_with('.') {
                return None;
            }
        }
        wanted.level().checked_sub(found.level())
    }

    /// The notation with the version of the operating system, if there is one: `windows(10.0.17763.1)/amd64`.
    #[must_use]
    pub fn with_version(&self) -> String {
        match &self.os_version {
            Some(version) => self.to_string().replacen('/', &format!("({version})/"), 1),
            None => self.to_string(),
        }
    }

    /// The number of the variant; where none is said, that of what all have.
    fn level(&self) -> u32 {
        let plain = if self.architecture == "arm64" { 8 } else { 1 };
        let number = |variant: &str| {
            let major = variant.trim_start_matches('v').split('.').next();
            major.and_then(|major| major.parse().ok())
        };
        self.variant.as_deref().and_then(number).unwrap_or(plain)
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        self.variant
            .iter()
            .try_for_each(|variant| write!(f, "/{variant}"))
    }
}

impl FromStr for Platform {
    type Err = PlatformError;

    fn from_str(text: &str) -> Result<Self, PlatformError> {
        let wrong = || PlatformError(text.chars().take(140).collect());
        let part = |part: &str| {
            !part.is_empty()
                && part.len() <= 64
                && part
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b))
        };
        let parts: Vec<&str> = text.split('/').collect();
        let (os, version) = match parts[0].strip_suffix(')') {
            Some(rest) => match rest.split_once('(') {
                Some((os, version)) => (os, Some(version)),
                None => return Err(wrong()),
            },
            None => (parts[0], None),
        };
        if !version
            .iter()
            .chain([&os])
            .chain(&parts[1..])
            .all(|p| part(p))
        {
            return Err(wrong());
        }
        let host = Self::host();
        let found = match (&parts[1..], os) {
            // One word is either, as with Docker; the other half is this machine's.
            ([], os) if is_os(os) => Self::normal(os, &host.architecture, host.variant.as_deref()),
            ([], architecture) if version.is_none() && is_architecture(architecture) => {
                Self::normal(&host.os, architecture, None)
            }
            ([architecture], os) => Self::normal(os, architecture, None),
            ([architecture, variant], os) => Self::normal(os, architecture, Some(variant)),
            _ => return Err(wrong()),
        };
        Ok(Self {
            os_version: version.map(str::to_owned),
            ..found
        })
    }
}

/// Operating systems that images are made for.
fn is_os(word: &str) -> bool {
    matches!(
        word.to_ascii_lowercase().as_str(),
        "linux" | "windows" | "darwin" | "macos" | "freebsd"
    )
}

/// Architectures that images are made for, by all their names.
fn is_architecture(word: &str) -> bool {
    matches!(
        Platform::normal("linux", word, None).architecture.as_str(),
        "amd64"
            | "386"
            | "arm64"
            | "arm"
            | "riscv64"
            | "ppc64le"
            | "s390x"
            | "loong64"
            | "mips64le"
            | "mips64"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_normalised_as_docker_does() {
        for (given, wanted) in [
            ("linux/x86_64", "linux/amd64"),
            ("Linux/ARM64/v8", "linux/arm64"),
            ("linux/arm", "linux/arm/v7"),
            ("linux/armhf", "linux/arm/v7"),
            ("linux/arm/v6", "linux/arm/v6"),
            ("linux/amd64/v2", "linux/amd64/v2"),
            ("linux/i686", "linux/386"),
        ] {
            assert_eq!(given.parse::<Platform>().unwrap().to_string(), wanted);
        }
    }

    #[test]
    fn refuses_what_is_no_platform() {
        for text in [
            "",
            "lunix",
            "linux/",
            "/amd64",
            "a/b/c/d",
            "linux/am d64",
            "linux()/amd64",
            "(1)/amd64",
            "linux(1/amd64",
            "linux1)/amd64",
            "linux(a b)/amd64",
            "amd64(1)",
        ] {
            assert!(text.parse::<Platform>().is_err(), "{text}");
        }
    }

    #[test]
    fn one_word_is_a_system_or_an_architecture() {
        let host = Platform::host();
        assert_eq!(
            "linux".parse(),
            Ok(Platform::normal("linux", &host.architecture, None))
        );
        assert_eq!(
            "aarch64".parse(),
            Ok(Platform::normal(&host.os, "arm64", None))
        );
    }

    #[test]
    fn a_version_of_the_system_chooses() {
        let at = |text: &str| text.parse::<Platform>().unwrap();
        let found = at("windows(10.0.17763.1)/amd64");
        assert_eq!(found.os_version.as_deref(), Some("10.0.17763.1"));
        assert_eq!(found.with_version(), "windows(10.0.17763.1)/amd64");
        assert_eq!(found.to_string(), "windows/amd64");
        for (wanted, runs) in [
            ("windows/amd64", true),
            ("windows(10.0.17763.1)/amd64", true),
            ("windows(10.0.17763)/amd64", true),
            ("windows(10.0.1776)/amd64", false),
            ("windows(10.0.20348)/amd64", false),
            ("windows(10.0.17763)/arm64", false),
        ] {
            assert_eq!(found.distance_from(&at(wanted)).is_some(), runs, "{wanted}");
        }
        let plain = at("windows/amd64");
        assert_eq!(plain.distance_from(&found), None);
    }
}
