//! From an image's config and a request to what the runtime is given. Decides; does nothing.

use std::path::{Component, Path, PathBuf};

use layer::{FileType, Follow, View};
use oci::ContainerConfig;

use super::options::merge_env;
use super::{ContainerError, RunRequest};

/// The path that is searched for programs where the image has none.
pub(super) const DEFAULT_PATH: &str =
    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The image's config and what was asked for over it. A given entrypoint drops the image's command; entries of the image's
/// environment without `=` are dropped, as they would stand for variables of the host (CVE-2026-57231).
pub(super) fn effective(request: &RunRequest, config: &ContainerConfig) -> ContainerConfig {
    let mut config = config.clone();
    if let Some(program) = request.entrypoint.as_deref() {
        config.entrypoint = (!program.is_empty()).then(|| vec![program.to_owned()]);
        config.cmd = None;
    }
    if !request.command.is_empty() {
        config.cmd = Some(request.command.clone());
    }
    config.env.retain(|entry| entry.contains('='));
    merge_env(&mut config.env, request.env.iter().cloned());
    config.labels.extend(request.labels.iter().cloned());
    if let Some(user) = &request.user {
        config.user.clone_from(user);
    }
    if let Some(workdir) = &request.workdir {
        config.working_dir.clone_from(workdir);
    }
    if request.stop_signal.is_some() {
        config.stop_signal.clone_from(&request.stop_signal);
    }
    config
}

/// Program and arguments: the entrypoint, then the command.
pub(super) fn arguments(
    image: &str,
    effective: &ContainerConfig,
) -> Result<Vec<String>, ContainerError> {
    let both = [&effective.entrypoint, &effective.cmd];
    let all: Vec<String> = both.into_iter().flatten().flatten().cloned().collect();
    if all.first().is_none_or(String::is_empty) {
        return Err(ContainerError::NoCommand(image.to_owned()));
    }
    Ok(all)
}

/// The variables of every container, then those that are configured.
pub(super) fn environment(
    terminal: bool,
    effective: &ContainerConfig,
    hostname: &str,
    home: &str,
) -> Vec<String> {
    let mut env = vec![DEFAULT_PATH.to_owned(), format!("HOSTNAME={hostname}")];
    if terminal {
        env.push("TERM=xterm".to_owned());
    }
    merge_env(&mut env, effective.env.iter().cloned());
    if !env.iter().any(|entry| entry.starts_with("HOME=")) {
        env.push(format!("HOME={home}"));
    }
    env
}

/// Where the process starts: an absolute path without `..`.
pub(super) fn workdir(
    given: Option<&str>,
    config: &ContainerConfig,
) -> Result<PathBuf, ContainerError> {
    let text = given.unwrap_or(&config.working_dir);
    if text.is_empty() {
        return Ok(PathBuf::from("/"));
    }
    if given.is_some() && !text.starts_with('/') {
        return Err(ContainerError::RelativeWorkdir(text.to_owned()));
    }
    Ok(clean(Path::new(text)))
}

/// `path` made absolute, `.` and `..` taken out without looking at any file.
pub(super) fn clean(path: &Path) -> PathBuf {
    let mut clean = PathBuf::from("/");
    for part in path.components() {
        match part {
            Component::Normal(name) => clean.push(name),
            Component::ParentDir => drop(clean.pop()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    clean
}

/// A small regular file of the image, such as `/etc/passwd`; `None` if there is none of that kind.
pub(super) fn accounts(view: &View, path: &str) -> Result<Option<Vec<u8>>, ContainerError> {
    let damaged = |source| ContainerError::ImageFile {
        path: path.to_owned(),
        source,
    };
    let Some(node) = view.lookup(path.as_bytes(), Follow::Yes).map_err(damaged)? else {
        return Ok(None);
    };
    let stat = view.stat(&node).map_err(damaged)?;
    if stat.kind != FileType::File {
        return Ok(None);
    }
    let reader = view.open(&node).map_err(damaged)?;
    let read = runtime::user::accounts(reader);
    let bytes = read.map_err(|source| ContainerError::ImageFileRead {
        path: path.to_owned(),
        source,
    })?;
    Ok(Some(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> ContainerConfig {
        ContainerConfig {
            entrypoint: Some(vec!["entry".to_owned()]),
            cmd: Some(vec!["default".to_owned()]),
            env: vec![
                "A=image".to_owned(),
                "B=image".to_owned(),
                "SECRET".to_owned(),
            ],
            ..ContainerConfig::default()
        }
    }

    #[test]
    fn a_given_entrypoint_drops_the_images_command() {
        let with = |entrypoint: Option<&str>, command: &[&str]| {
            let request = RunRequest {
                entrypoint: entrypoint.map(str::to_owned),
                command: command.iter().map(|word| (*word).to_owned()).collect(),
                ..RunRequest::default()
            };
            arguments("x", &effective(&request, &config()))
                .ok()
                .map(|words| words.join(" "))
        };
        assert_eq!(with(None, &[]).as_deref(), Some("entry default"));
        assert_eq!(with(None, &["x"]).as_deref(), Some("entry x"));
        assert_eq!(with(Some("sh"), &[]).as_deref(), Some("sh"));
        assert_eq!(with(Some("sh"), &["-c"]).as_deref(), Some("sh -c"));
        assert_eq!(with(Some(""), &["x"]).as_deref(), Some("x"));
        assert_eq!(with(Some(""), &[]), None);
    }

    #[test]
    fn later_variables_win_and_nameless_ones_import_nothing() {
        let request = RunRequest {
            env: vec!["B=flag".to_owned()],
            ..RunRequest::default()
        };
        assert_eq!(
            environment(true, &effective(&request, &config()), "boat", "/root"),
            [
                DEFAULT_PATH,
                "HOSTNAME=boat",
                "TERM=xterm",
                "A=image",
                "B=flag",
                "HOME=/root"
            ]
        );
    }

    #[test]
    fn the_working_directory_stays_below_the_root() {
        assert_eq!(
            workdir(Some("/a/../../b"), &config()).unwrap(),
            Path::new("/b")
        );
        assert!(workdir(Some("a"), &config()).is_err());
        let relative = ContainerConfig {
            working_dir: "app".to_owned(),
            ..config()
        };
        assert_eq!(workdir(None, &relative).unwrap(), Path::new("/app"));
    }
}
