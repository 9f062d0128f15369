//! Secrets that get into a layer: files that are known to hold some, and mounted ones that a RUN copies.

use super::shell::{self, Command};
use crate::mount::{Mount, MountType};

/// Files that hold secrets wherever they are.
const FILES: [&str; 19] = [
    ".env",
    ".git-credentials",
    ".htpasswd",
    ".netrc",
    ".npmrc",
    ".pgpass",
    ".pypirc",
    ".vault-token",
    ".yarnrc.yml",
    "_netrc",
    "application_default_credentials.json",
    "id_dsa",
    "id_ecdsa",
    "id_ecdsa_sk",
    "id_ed25519",
    "id_ed25519_sk",
    "id_rsa",
    "kubeconfig",
    "terraform.tfstate",
];

/// Files that hold secrets in these places, and the places as a whole.
const PLACES: [&str; 9] = [
    ".aws",
    ".aws/credentials",
    ".config/gcloud",
    ".docker/config.json",
    ".gnupg",
    ".kube",
    ".kube/config",
    ".ssh",
    ".terraform.d/credentials.tfrc.json",
];

/// What follows `.env.` in the names of files that only show how one would look.
const SAMPLES: [&str; 7] = [
    "example", "sample", "template", "dist", "default", "defaults", "schema",
];

/// Whether a path is that of a file, or a directory of files, that holds secrets.
pub(super) fn is_secret_file(path: &str) -> bool {
    let path = path.trim_end_matches('/');
    let name = path.rsplit('/').next().unwrap_or(path);
    if FILES.contains(&name) || name.ends_with(".p12") || name.ends_with(".pfx") {
        return true;
    }
    if let Some(kind) = name.strip_prefix(".env.") {
        return !kind.split('.').any(|part| SAMPLES.contains(&part));
    }
    let below = |place: &str| {
        path.strip_suffix(place)
            .is_some_and(|before| before.is_empty() || before.ends_with('/'))
    };
    PLACES.into_iter().any(below)
}

/// Where in a layer a script leaves a secret that is mounted: the secret's path or variable, and the file.
pub(super) fn left_behind(
    script: &str,
    mounts: &[Mount],
    workdir: &str,
) -> Option<(String, String)> {
    let secrets: Vec<&Mount> = mounts
        .iter()
        .filter(|m| m.mount_type == MountType::Secret)
        .collect();
    if secrets.is_empty() {
        return None;
    }
    let commands = shell::commands(script);
    for secret in secrets {
        for word in words_of(secret) {
            let uses = |text: &String| text.contains(&word);
            for (index, command) in commands.iter().enumerate() {
                let Some(file) = written(command, &uses) else {
                    continue;
                };
                let path = crate::path::join(workdir, file);
                let kept = !is_elsewhere(&path, mounts, workdir)
                    && !commands[index..].iter().any(|later| removes(later, file));
                if kept {
                    return Some((word, file.to_owned()));
                }
            }
        }
    }
    None
}

/// How a script speaks of a secret: its file, its variable.
fn words_of(secret: &Mount) -> Vec<String> {
    let mut words = Vec::new();
    let id = secret.secret_id();
    match (&secret.env, secret.target.as_str()) {
        (Some(_), "") => {}
        (None, "") => words.push(format!("/run/secrets/{id}")),
        (_, target) => words.push(target.to_owned()),
    }
    if let Some(name) = &secret.env {
        let name = if name.is_empty() { id } else { name };
        words.extend([format!("${name}"), format!("${{{name}}}")]);
    }
    words
}

/// The file that a command which reads a secret writes.
fn written<'c>(command: &'c Command, uses: &impl Fn(&String) -> bool) -> Option<&'c str> {
    if !command.words.iter().any(uses) {
        return None;
    }
    let words = &command.words;
    let after = |mark: &str| {
        let at = words.iter().position(|w| w == mark)?;
        words.get(at + 1).map(String::as_str)
    };
    if let Some(file) = after(">").filter(|file| !is_device(file) && !file.starts_with('&')) {
        // Not what is only told about it: `test -s /run/secrets/x 2>/dev/null`.
        let reads = [
            "cat", "echo", "printf", "tee", "base64", "sed", "envsubst", "jq", "tr", "gpg",
            "openssl",
        ];
        return reads.contains(&command.program()).then_some(file);
    }
    if let Some(file) = after("tee") {
        return Some(file);
    }
    let copies = ["cp", "mv", "install", "ln"].contains(&command.program());
    let arguments = command.arguments();
    let link = command.program() == "ln"
        && arguments
            .iter()
            .any(|a| a.starts_with('-') && a.contains('s'));
    let (destination, sources) = arguments.split_last()?;
    (copies && !link && sources.iter().any(uses)).then_some(destination.as_str())
}

fn is_device(path: &str) -> bool {
    path.starts_with("/dev/") || path.starts_with("/proc/")
}

/// Whether a path lies in something mounted, which is in no layer.
fn is_elsewhere(path: &str, mounts: &[Mount], workdir: &str) -> bool {
    is_device(path)
        || mounts.iter().any(|mount| {
            let target = crate::path::join(workdir, &mount.target);
            target != "/" && (path == target || path.starts_with(&format!("{target}/")))
        })
}

fn removes(command: &Command, file: &str) -> bool {
    matches!(command.program(), "rm" | "shred" | "unlink")
        && command.arguments().iter().any(|word| {
            let word = word.trim_end_matches('/');
            word == file || file.starts_with(&format!("{word}/"))
        })
}

#[cfg(test)]
mod tests {
    use super::{is_secret_file, left_behind};
    use crate::mount::{Mount, MountType};

    #[test]
    fn names_of_files_with_secrets() {
        for path in [
            ".env",
            "a/.env.production",
            "id_rsa",
            "keys/id_ed25519",
            ".npmrc",
            ".aws/credentials",
            "home/.aws",
            ".ssh/",
            "x.p12",
            ".docker/config.json",
        ] {
            assert!(is_secret_file(path), "{path}");
        }
        for path in [
            "env",
            ".envrc",
            ".env.example",
            ".env.local.sample",
            "id_rsa.pub",
            "aws/credentials",
            "my.ssh",
            "config.json",
            "npmrc",
            "credentials",
        ] {
            assert!(!is_secret_file(path), "{path}");
        }
    }

    #[test]
    fn a_mounted_secret_that_stays_is_found_and_one_that_goes_is_not() {
        let secret = |env: Option<&str>| Mount {
            mount_type: MountType::Secret,
            id: Some("tok".to_owned()),
            env: env.map(str::to_owned),
            ..Mount::default()
        };
        let cache = Mount {
            mount_type: MountType::Cache,
            target: "/c".to_owned(),
            ..Mount::default()
        };
        let mounts = [secret(None), cache.clone()];
        let found = |script| left_behind(script, &mounts, "/").map(|(_, file)| file);
        for (script, file) in [
            ("cp /run/secrets/tok ~/.npmrc && npm ci", "~/.npmrc"),
            ("echo \"_auth=$(cat /run/secrets/tok)\" > .npmrc", ".npmrc"),
            ("cat /run/secrets/tok | tee /etc/tok >/dev/null", "/etc/tok"),
            ("install -m 600 /run/secrets/tok /etc/tok", "/etc/tok"),
        ] {
            assert_eq!(found(script).as_deref(), Some(file), "{script}");
        }
        for script in [
            "npm ci --userconfig /run/secrets/tok",
            "TOKEN=$(cat /run/secrets/tok) make",
            "cp /run/secrets/tok .npmrc; npm ci; rm -f .npmrc",
            "cp /run/secrets/tok /c/tok",
            "cat /run/secrets/tok > /dev/null",
            "ln -s /run/secrets/tok ~/.npmrc",
            "curl -H @/run/secrets/tok https://h/x > x",
        ] {
            assert_eq!(found(script), None, "{script}");
        }
        let env = [secret(Some("TOKEN"))];
        let script = "echo $TOKEN > /etc/tok";
        assert_eq!(left_behind(script, &env, "/").unwrap().1, "/etc/tok");
        assert_eq!(left_behind("use $TOKEN", &env, "/"), None);
    }
}
