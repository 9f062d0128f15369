//! `barque run`.

use std::path::PathBuf;

use clap::Args;
use engine::containers::{self, RunRequest};

use super::{Context, Outcome};
use crate::render;

/// Create and start a container from an image
#[derive(Debug, Args)]
#[command(
    override_usage = "barque run [OPTIONS] IMAGE [COMMAND] [ARG]...",
    disable_help_flag = true
)]
pub(crate) struct Run {
    #[command(flatten)]
    process: ProcessFlags,
    #[command(flatten)]
    sandbox: SandboxFlags,
    /// Remove the container when it ends
    #[arg(long)]
    rm: bool,
    /// Run in the background and print the container's id
    #[arg(short, long)]
    detach: bool,
    /// When to ask the registry for the image
    #[arg(long, value_enum, default_value = "missing", value_name = "WHEN")]
    pull: super::pull::When,
    /// Run an image for this platform: OS/ARCH[/VARIANT]
    #[arg(long, value_name = "PLATFORM")]
    platform: Option<String>,
    /// Give the container a name
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Write the container's id to this file, which must not exist
    #[arg(long, value_name = "FILE")]
    cidfile: Option<PathBuf>,
    /// Attach a label: NAME=VALUE
    #[arg(short, long = "label", value_name = "NAME=VALUE")]
    labels: Vec<String>,
    /// Print help; `-h` is the host name here, as in Docker
    #[arg(long, action = clap::ArgAction::Help)]
    help: Option<bool>,
    /// The image
    image: String,
    /// What to run instead of the image's command, with its arguments
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

/// What the process is.
#[derive(Debug, Args)]
struct ProcessFlags {
    /// Keep stdin open
    #[arg(short, long)]
    interactive: bool,
    /// Give the process a terminal
    #[arg(short, long)]
    tty: bool,
    /// Set an environment variable: NAME=VALUE, or NAME to take it from here
    #[arg(short, long = "env", value_name = "NAME[=VALUE]")]
    env: Vec<String>,
    /// Read environment variables from a file
    #[arg(long, value_name = "FILE")]
    env_file: Vec<PathBuf>,
    /// Where the process starts
    #[arg(short, long, value_name = "DIR")]
    workdir: Option<String>,
    /// Whom the process runs as: USER[:GROUP], names or numbers
    #[arg(short, long, value_name = "USER[:GROUP]")]
    user: Option<String>,
    /// What to start in place of the image's entrypoint; empty for none
    #[arg(long, value_name = "PROGRAM")]
    entrypoint: Option<String>,
    /// Run a small process 1 that forwards signals and reaps children
    #[arg(long)]
    init: bool,
    /// The signal that `barque stop` sends
    #[arg(long, value_name = "SIGNAL")]
    stop_signal: Option<String>,
}

/// What surrounds it.
#[derive(Debug, Args)]
struct SandboxFlags {
    /// Bind a file or folder of the host: HOST:CONTAINER[:ro]
    #[arg(short, long = "volume", value_name = "HOST:CONTAINER[:ro]")]
    volumes: Vec<String>,
    /// Mount: type=bind|tmpfs,source=…,target=…
    #[arg(long = "mount", value_name = "SPEC")]
    mounts: Vec<String>,
    /// Mount memory: DIR[:size=…,mode=…]
    #[arg(long, value_name = "DIR[:OPTIONS]")]
    tmpfs: Vec<String>,
    /// Refuse writes to the root filesystem
    #[arg(long)]
    read_only: bool,
    /// The container's host name
    #[arg(short = 'h', long, value_name = "NAME")]
    hostname: Option<String>,
    /// Add a line to /etc/hosts: NAME:ADDRESS
    #[arg(long, value_name = "NAME:ADDRESS")]
    add_host: Vec<String>,
    /// Which network the container has
    #[arg(long, value_name = "host|none", default_value = "host")]
    network: String,
    /// Add a capability, or ALL
    #[arg(long, value_name = "CAP")]
    cap_add: Vec<String>,
    /// Drop a capability, or ALL
    #[arg(long, value_name = "CAP")]
    cap_drop: Vec<String>,
    /// All capabilities and devices, no seccomp, nothing masked
    #[arg(long)]
    privileged: bool,
    /// seccomp=unconfined|FILE, no-new-privileges
    #[arg(long, value_name = "OPTION")]
    security_opt: Vec<String>,
    /// Set a resource limit: NAME=SOFT[:HARD]
    #[arg(long = "ulimit", value_name = "NAME=SOFT[:HARD]")]
    ulimits: Vec<String>,
    /// Largest memory, with b, k, m or g; 0 is no limit
    #[arg(short, long, value_name = "SIZE")]
    memory: Option<String>,
    /// How many CPUs' time, as a decimal; 0 is no limit
    #[arg(long, value_name = "NUMBER")]
    cpus: Option<String>,
    /// Most processes; 0 or -1 is no limit
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    pids_limit: Option<i64>,
    /// Size of /dev/shm
    #[arg(long, value_name = "SIZE")]
    shm_size: Option<String>,
}

pub(crate) fn run(args: Run, context: &Context) -> Outcome {
    let here = |name: &str| std::env::var(name).ok();
    let mut env = Vec::new();
    for file in &args.process.env_file {
        env.extend(containers::env_file(&context.read_text(file)?, &here)?);
    }
    for text in &args.process.env {
        env.extend(containers::env(text, &here)?);
    }
    let directory = context.directory()?;
    let sandbox = args.sandbox;
    let mut mounts = Vec::new();
    for text in &sandbox.volumes {
        mounts.push(containers::Mount::volume(text, &directory)?);
    }
    for text in &sandbox.mounts {
        mounts.push(containers::Mount::long(text, &directory)?);
    }
    for text in &sandbox.tmpfs {
        mounts.push(containers::Mount::tmpfs(text)?);
    }
    let request = RunRequest {
        image: args.image,
        command: args.command,
        name: args.name,
        labels: containers::labels(&args.labels)?,
        remove: args.rm,
        detach: args.detach,
        interactive: args.process.interactive,
        terminal: args.process.tty,
        env,
        workdir: args.process.workdir,
        user: args.process.user,
        entrypoint: args.process.entrypoint,
        init: args.process.init,
        stop_signal: args.process.stop_signal,
        mounts,
        read_only: sandbox.read_only,
        hostname: sandbox.hostname,
        add_hosts: sandbox.add_host,
        network: containers::network(&sandbox.network)?,
        cap_add: sandbox.cap_add,
        cap_drop: sandbox.cap_drop,
        privileged: sandbox.privileged,
        security: containers::security(&sandbox.security_opt, &|file| context.read_text(file))?,
        ulimits: sandbox
            .ulimits
            .iter()
            .map(|text| containers::Ulimit::parse(text))
            .collect::<Result<_, _>>()?,
        memory: sandbox
            .memory
            .as_deref()
            .map(containers::memory)
            .transpose()?,
        cpus: sandbox.cpus.as_deref().map(containers::cpus).transpose()?,
        pids: sandbox.pids_limit,
        shm_size: sandbox
            .shm_size
            .as_deref()
            .map(containers::size)
            .transpose()?,
        cidfile: args.cidfile,
    };
    let detached = request.detach;
    let engine = context.privileged_engine()?;
    super::pull::ensure(
        context,
        engine,
        &request.image,
        args.platform.as_deref(),
        args.pull,
    )?;
    let ended = engine.run(&request)?;
    if detached {
        render::data(&format!("{}\n", ended.id))?;
    }
    Ok(ended.code.into())
}
