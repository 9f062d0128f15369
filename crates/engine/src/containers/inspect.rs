//! The JSON of `inspect`: everything about a container, with Docker's names for the fields.

use std::path::Path;

use serde_json::{Value, json};
use store::Container;

use super::list::{record_of, state_of};
use super::record::Record;
use super::{ContainerError, State};
use crate::{Engine, Error};

impl Engine {
    /// Everything about a container, with Docker's names for the fields.
    ///
    /// # Errors
    ///
    /// There is no such container.
    pub fn inspect_container(&self, name: &str) -> Result<Value, Error> {
        let container = self.store().container(name)?;
        let record = record_of(&container)?;
        let state = state_of(&container, &record)?;
        let pid = match &state {
            State::Running { pid, .. } => *pid,
            State::Created | State::Exited { .. } => 0,
        };
        let started = runtime::detached::started_at(container.dir())
            .map_err(ContainerError::from)?
            .map(crate::time_text);
        let (code, finished) = match &state {
            State::Exited { code, at } => (*code, at.clone()),
            State::Created | State::Running { .. } => (0, None),
        };
        let spec: Value = sys::fs::optional(sys::fs::read(&container.spec()))?
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .unwrap_or_default();
        Ok(json!({
            "Id": container.id,
            "Created": crate::time_text(container.created),
            "Path": record.command.first(),
            "Args": record.command.get(1..),
            "State": {
                "Status": state.word(),
                "Running": matches!(state, State::Running { .. }),
                "Paused": false,
                "Restarting": false,
                "Dead": false,
                "Pid": pid,
                "ExitCode": code,
                "Error": record.ended.as_ref().and_then(|ended| ended.error.clone()).unwrap_or_default(),
                "StartedAt": started.as_deref().unwrap_or(NEVER),
                "FinishedAt": finished.as_deref().unwrap_or(NEVER),
            },
            // Of containers of the first versions only the manifest is known.
            "Image": match &record.origin {
                Some(origin) => json!(origin.image),
                None => json!(container.image),
            },
            "Name": format!("/{}", container.name),
            "RestartCount": 0,
            "Platform": "linux",
            "LogPath": container.log(),
            "Mounts": mounts(&spec, container.dir()),
            "Config": config(&container, &record, &spec),
            "HostConfig": host_config(&record, &spec),
            "NetworkSettings": { "IPAddress": "", "Ports": {} },
            "Spec": spec,
        }))
    }
}

/// What the image and the command line say, as Docker's `Config` has it.
fn config(container: &Container, record: &Record, spec: &Value) -> Value {
    let mut config = json!({
        "Image": container.image_name,
        "Labels": record.labels,
        "Env": spec["env"],
        "WorkingDir": spec["cwd"],
        "Hostname": spec["hostname"],
        "Tty": !spec["terminal"].is_null(),
        "StopSignal": record.stop_signal,
    });
    let Some(origin) = &record.origin else {
        return config;
    };
    let asked = &origin.config;
    let more = json!({
        "Env": asked.env,
        "OpenStdin": origin.interactive,
        "User": asked.user,
        "Cmd": asked.cmd,
        "Entrypoint": asked.entrypoint,
        "WorkingDir": asked.working_dir,
        "Volumes": asked.volumes,
        "ExposedPorts": asked.exposed_ports,
        "Healthcheck": asked.healthcheck,
    });
    if let (Value::Object(config), Value::Object(more)) = (&mut config, more) {
        config.extend(more);
    }
    config
}

/// What was asked of the host, as Docker's `HostConfig` has it.
fn host_config(record: &Record, spec: &Value) -> Value {
    let limits = &spec["limits"];
    #[expect(
        clippy::cast_possible_truncation,
        reason = "billionths of the CPUs of one host"
    )]
    let cpus = limits["cpus"].as_f64().map(|cpus| (cpus * 1e9) as i64);
    let origin = record.origin.as_ref();
    json!({
        "NetworkMode": spec["network"],
        "AutoRemove": record.remove,
        "Privileged": spec["privileged"],
        "ReadonlyRootfs": spec["readonly_root"],
        "Init": spec["init"],
        "CapAdd": origin.map(|origin| &origin.cap_add).filter(|list| !list.is_empty()),
        "CapDrop": origin.map(|origin| &origin.cap_drop).filter(|list| !list.is_empty()),
        "Memory": limits["memory"].as_u64().unwrap_or(0),
        "NanoCpus": cpus.unwrap_or(0),
        "PidsLimit": limits["pids"],
        "ShmSize": spec["shm_size"],
        "RestartPolicy": { "Name": "no", "MaximumRetryCount": 0 },
    })
}

/// What Docker says of a time that did not come, or is not known.
const NEVER: &str = "0001-01-01T00:00:00Z";

/// What the user or the image had mounted, as Docker lists it. Files that every container gets are left out.
fn mounts(spec: &Value, folder: &Path) -> Vec<Value> {
    let mounts = spec["mounts"].as_array().into_iter().flatten();
    mounts
        .filter_map(|mount| {
            let source = &mount["source"];
            let (kind, path) = if let Some(bind) = source.get("bind") {
                let path = bind["path"].as_str()?;
                let ours = Path::new(path).starts_with(folder);
                (if ours { "volume" } else { "bind" }, path)
            } else if let Some(layers) = source.get("layers") {
                ("volume", layers["plan"]["upper"]["dir"].as_str()?)
            } else {
                source.get("tmpfs")?;
                ("tmpfs", "")
            };
            Some(json!({
                "Type": kind,
                "Source": path,
                "Destination": mount["target"],
                "Mode": "",
                "RW": mount["readonly"] != true,
                "Propagation": if kind == "bind" { "rprivate" } else { "" },
            }))
        })
        .collect()
}
