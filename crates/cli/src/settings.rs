//! What the program takes from its surroundings, read once; no other module asks for them.

use std::path::PathBuf;

use engine::exchange::NetworkSettings;

/// The variables that barque reads.
pub(crate) const VARIABLES: &[(&str, &str)] = &[
    (
        "BARQUE_ROOT",
        "the store's folder, where `--root` is not given",
    ),
    (
        "BARQUE_LAYERS",
        "how layers become a root filesystem, not found out: files, loops or unpacked",
    ),
    ("BARQUE_PROGRESS", "the default of `--progress`"),
    (
        "BUILDKIT_PROGRESS",
        "the same, for scripts written for Docker",
    ),
    (
        "SOURCE_DATE_EPOCH",
        "the time that images and their history get, in seconds",
    ),
    (
        "SSH_AUTH_SOCK",
        "the agent that `build --ssh default` forwards",
    ),
    (
        "XDG_DATA_HOME",
        "where an ordinary user's store is: `$XDG_DATA_HOME/barque`",
    ),
    (
        "HOME",
        "where an ordinary user's store is otherwise: `$HOME/.local/share/barque`",
    ),
    ("DOCKER_CONFIG", "the folder of Docker's `config.json`"),
    (
        "REGISTRY_AUTH_FILE",
        "the one file for credentials of registries",
    ),
    (
        "XDG_RUNTIME_DIR",
        "where podman's `containers/auth.json` is",
    ),
    ("XDG_CONFIG_HOME", "where `containers/registries.conf` is"),
    ("CONTAINERS_REGISTRIES_CONF", "another `registries.conf`"),
    ("HTTP_PROXY", "the proxy for registries without TLS"),
    ("HTTPS_PROXY", "the proxy for registries"),
    ("NO_PROXY", "hosts that are reached without a proxy"),
    (
        "NO_COLOR",
        "no colours on the terminal if set and not empty",
    ),
];

/// The surroundings of this run.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// The store's folder.
    pub(crate) root: PathBuf,
    /// `BARQUE_LAYERS` as it was found.
    pub(crate) layers: Option<String>,
    /// The default of `--progress`.
    pub(crate) progress: Option<String>,
    /// `SOURCE_DATE_EPOCH` as it was found.
    pub(crate) source_date_epoch: Option<String>,
    /// The socket of the user's ssh agent.
    pub(crate) ssh_auth_sock: Option<PathBuf>,
    /// Colours may be used.
    pub(crate) colour: bool,
    /// What the network needs to know.
    pub(crate) network: NetworkSettings,
}

impl Settings {
    /// Reads the environment; `root` is the flag.
    ///
    /// # Errors
    ///
    /// Nothing says where the store is.
    pub(crate) fn read(root: Option<PathBuf>) -> Result<Self, &'static str> {
        let root = match root.or_else(|| path("BARQUE_ROOT")) {
            Some(root) => root,
            None if engine::is_root() => PathBuf::from("/var/lib/barque"),
            None => path("XDG_DATA_HOME")
                .or_else(|| path("HOME").map(|home| home.join(".local/share")))
                .map(|data| data.join("barque"))
                .ok_or("cannot tell where the store is: neither `BARQUE_ROOT`, `XDG_DATA_HOME` nor `HOME` is set")?,
        };
        Ok(Self {
            root,
            layers: text("BARQUE_LAYERS"),
            progress: text("BARQUE_PROGRESS").or_else(|| text("BUILDKIT_PROGRESS")),
            source_date_epoch: text("SOURCE_DATE_EPOCH"),
            ssh_auth_sock: path("SSH_AUTH_SOCK"),
            colour: colour(),
            network: network(),
        })
    }
}

/// Whether talk may have colours.
pub(crate) fn colour() -> bool {
    text("NO_COLOR").is_none() && crate::render::stderr_is_terminal()
}

/// What the network needs to know. Proxies are taken in small letters too, as everybody does.
fn network() -> NetworkSettings {
    let either = |name: &str| text(&name.to_lowercase()).or_else(|| text(name));
    NetworkSettings {
        home: path("HOME"),
        docker_config: path("DOCKER_CONFIG"),
        auth_file: path("REGISTRY_AUTH_FILE"),
        runtime: path("XDG_RUNTIME_DIR"),
        config: path("XDG_CONFIG_HOME"),
        registries: path("CONTAINERS_REGISTRIES_CONF"),
        http_proxy: either("HTTP_PROXY"),
        https_proxy: either("HTTPS_PROXY"),
        no_proxy: either("NO_PROXY"),
        ..NetworkSettings::default()
    }
}

/// A variable that is set to something.
pub(crate) fn text(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn path(name: &str) -> Option<PathBuf> {
    std::env::var_os(name)
        .filter(|value| !value.is_empty())
        .map(PathBuf::from)
}
