//! Cache mounts that miss: the program keeps its cache in another directory, so that the mount stays empty and the cache
//! ends up in the layer.

use super::shell;
use crate::mount::{Mount, MountType};

/// A program with a cache.
struct Tool {
    /// What it is called on a command line.
    programs: &'static [&'static str],
    /// Words in a mount's path that show that it is meant for this program.
    words: &'static [&'static str],
    /// Where the cache is: absolute, or below the home directory.
    places: &'static [&'static str],
    /// Variables and flags that put it elsewhere, and programs that do.
    moved_by: &'static [&'static str],
}

const TOOLS: &[Tool] = &[
    Tool {
        programs: &["pip", "pip3"],
        words: &["pip"],
        places: &[".cache/pip"],
        moved_by: &[
            "PIP_CACHE_DIR",
            "--cache-dir",
            "PIP_NO_CACHE_DIR",
            "--no-cache-dir",
        ],
    },
    Tool {
        programs: &["uv"],
        words: &["uv"],
        places: &[".cache/uv"],
        moved_by: &["UV_CACHE_DIR", "--cache-dir"],
    },
    Tool {
        programs: &["poetry"],
        words: &["poetry", "pypoetry"],
        places: &[".cache/pypoetry"],
        moved_by: &["POETRY_CACHE_DIR", "cache-dir"],
    },
    Tool {
        programs: &["npm", "npx"],
        words: &["npm", ".npm"],
        places: &[".npm"],
        moved_by: &["NPM_CONFIG_CACHE", "npm_config_cache", "--cache", "config"],
    },
    Tool {
        programs: &["yarn"],
        words: &["yarn", ".yarn"],
        places: &[
            ".cache/yarn",
            ".yarn/berry/cache",
            "/usr/local/share/.cache/yarn",
        ],
        moved_by: &[
            "YARN_CACHE_FOLDER",
            "--cache-folder",
            "config",
            "YARN_GLOBAL_FOLDER",
        ],
    },
    Tool {
        programs: &["pnpm"],
        words: &["pnpm", ".pnpm-store"],
        places: &[".local/share/pnpm/store", ".pnpm-store", ".cache/pnpm"],
        moved_by: &["PNPM_HOME", "XDG_DATA_HOME", "store-dir", "config"],
    },
    Tool {
        programs: &["go"],
        words: &["go-build", "gocache", "gomod"],
        places: &[".cache/go-build", "/go/pkg/mod", "go/pkg/mod"],
        moved_by: &["GOCACHE", "GOMODCACHE", "GOPATH"],
    },
    Tool {
        programs: &["cargo"],
        words: &["cargo", ".cargo"],
        places: &[".cargo", "/usr/local/cargo"],
        moved_by: &["CARGO_HOME"],
    },
    Tool {
        programs: &["apt-get", "apt"],
        words: &["apt"],
        places: &["/var/cache/apt", "/var/lib/apt"],
        moved_by: &["Dir::Cache", "APT_CONFIG"],
    },
    Tool {
        programs: &["apk"],
        words: &["apk"],
        places: &["/var/cache/apk", "/etc/apk/cache"],
        moved_by: &["--cache-dir"],
    },
    Tool {
        programs: &["composer"],
        words: &["composer", ".composer"],
        places: &[".composer", ".cache/composer", "/tmp/cache"],
        moved_by: &["COMPOSER_CACHE_DIR", "COMPOSER_HOME"],
    },
    Tool {
        programs: &["mvn", "mvnw"],
        words: &[".m2", "m2", "maven"],
        places: &[".m2"],
        moved_by: &[
            "maven.repo.local",
            "MAVEN_OPTS",
            "MAVEN_CONFIG",
            "-s",
            "--settings",
        ],
    },
    Tool {
        programs: &["gradle", "gradlew"],
        words: &["gradle", ".gradle"],
        places: &[".gradle"],
        moved_by: &["GRADLE_USER_HOME", "--gradle-user-home", "-g"],
    },
    Tool {
        programs: &["dotnet"],
        words: &["nuget", ".nuget"],
        places: &[".nuget", ".local/share/NuGet"],
        moved_by: &["NUGET_PACKAGES", "--packages"],
    },
];

/// A cache mount that its program does not use.
pub(super) struct Missed {
    /// Where it is mounted.
    pub(super) target: String,
    /// The program.
    pub(super) program: String,
    /// Where that keeps its cache.
    pub(super) place: String,
}

/// Finds a cache mount that is meant for a program of the script and lies where that does not look.
///
/// `has_variable` says whether a variable is set; `user` is that of the RUN.
pub(super) fn missed(
    script: &str,
    mounts: &[Mount],
    workdir: &str,
    user: &str,
    has_variable: &dyn Fn(&str) -> bool,
) -> Option<Missed> {
    let mut targets = mounts
        .iter()
        .filter(|m| m.mount_type == MountType::Cache)
        .map(|m| crate::path::join(workdir, &m.target))
        .peekable();
    targets.peek()?;
    let targets: Vec<String> = targets.collect();
    if has_variable("XDG_CACHE_HOME") || has_variable("HOME") || script.contains("HOME=") {
        return None;
    }
    let home = match user.split(':').next().unwrap_or_default() {
        "" | "root" | "0" => "/root".to_owned(),
        // Whoever that is, the home directory is unknown.
        id if id.bytes().all(|b| b.is_ascii_digit()) => return None,
        name => format!("/home/{name}"),
    };
    let commands = shell::commands(script);
    for tool in TOOLS {
        let called = commands.iter().map(shell::Command::program);
        let Some(program) = called.into_iter().find(|p| tool.programs.contains(p)) else {
            continue;
        };
        let moved = |word: &&str| has_variable(word) || script.contains(*word);
        if tool.moved_by.iter().any(moved) {
            continue;
        }
        let places: Vec<String> = tool
            .places
            .iter()
            .map(|place| crate::path::join(&home, place))
            .collect();
        // A mount above, in or at one of the places holds some of the cache.
        let covers = |target: &String| {
            places
                .iter()
                .any(|place| inside(place, target) || inside(target, place))
        };
        if targets.iter().any(covers) {
            continue;
        }
        let meant = |target: &&String| target.split('/').any(|part| tool.words.contains(&part));
        if let (Some(target), Some(place)) = (targets.iter().find(meant), places.first()) {
            return Some(Missed {
                target: target.clone(),
                program: program.to_owned(),
                place: place.clone(),
            });
        }
    }
    None
}

fn inside(path: &str, directory: &str) -> bool {
    path == directory
        || path
            .strip_prefix(directory)
            .is_some_and(|rest| rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::missed;
    use crate::mount::{Mount, MountType};

    fn found(script: &str, target: &str, user: &str) -> Option<String> {
        let mounts = [Mount {
            mount_type: MountType::Cache,
            target: target.to_owned(),
            ..Mount::default()
        }];
        missed(script, &mounts, "/src", user, &|name| name == "CARGO_HOME").map(|m| m.place)
    }

    #[test]
    fn a_mount_where_the_program_does_not_look_is_found() {
        for (script, target, user, place) in [
            ("npm ci", "/root/.cache/npm", "", "/root/.npm"),
            ("npm ci", "/root/.npm", "node", "/home/node/.npm"),
            (
                "set -e; pip install -r r.txt",
                "/cache/pip",
                "root",
                "/root/.cache/pip",
            ),
            (
                "apt-get install x",
                "/root/.cache/apt",
                "",
                "/var/cache/apt",
            ),
            (
                "go build ./...",
                "/cache/go-build",
                "",
                "/root/.cache/go-build",
            ),
            ("./mvnw package", "/m2", "app:app", "/home/app/.m2"),
        ] {
            assert_eq!(
                found(script, target, user).as_deref(),
                Some(place),
                "{script} {target}"
            );
        }
    }

    #[test]
    fn a_mount_that_may_be_right_is_left_alone() {
        for (script, target, user) in [
            ("npm ci", "/root/.npm", ""),
            ("npm ci", "/root", ""),
            ("npm ci --cache /c/npm", "/c/npm", ""),
            ("npm run build", "/src/node_modules/.cache", ""),
            ("pip install x", "/root/.cache", "0:0"),
            ("pip install x", "/elsewhere", ""),
            ("pip install x", "/c/pip", "1000"),
            ("cargo build", "/c/cargo", ""),
            ("go build", "/go/pkg/mod", ""),
            ("make", "/c/npm", ""),
        ] {
            assert_eq!(found(script, target, user), None, "{script} {target}");
        }
    }
}
