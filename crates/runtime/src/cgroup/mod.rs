//! Limits of a whole container, through the host's control groups, version 1 or 2.
//!
//! A container without limits has no control group of its own: joining one costs up to 20 ms (the kernel waits for all
//! processors), and many odd hosts have none to join. A limit that was asked for is kept or is an error that names it.
//!
//! [`plan`] is pure: it reads the two texts that describe the host's hierarchies and says what to make and write. The group is called
//! `barque/ID.PID` below our own group (in version 2 where [`unified`] finds a place), with the number of the process that made it, so that groups whose maker was killed are
//! found and removed by the next one.

mod unified;

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::spec::Limits;
use unified::Step;

/// Length of a period in which processor time is counted, in microseconds.
const PERIOD: u64 = 100_000;

/// Where hosts mount their control groups.
pub(crate) const PLACE: &str = "/sys/fs/cgroup";

/// True if this host has control groups of version 2 alone.
pub(crate) fn is_unified() -> bool {
    // `CGROUP2_SUPER_MAGIC`
    rustix::fs::statfs(PLACE).is_ok_and(|stat| stat.f_type == 0x6367_7270)
}

/// One group to make.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Group {
    /// The group that ours lies below.
    base: PathBuf,
    /// The group that we are in.
    own: PathBuf,
    /// The controllers that must be switched on from `base` down, in version 2.
    enable: Vec<&'static str>,
    /// Which limit, which file, which value. A file marked optional may be missing.
    values: Vec<Value>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Value {
    limit: &'static str,
    file: &'static str,
    text: String,
    optional: bool,
}

/// The groups of one container; dropping it removes them.
#[derive(Debug, Default)]
pub(crate) struct Groups {
    pub(crate) made: Vec<PathBuf>,
    /// Files through which a process joins by writing `0`.
    pub(crate) join: Vec<OwnedFd>,
}

/// What each limit is called, in which controller it is, and the file and value of version 1 and of version 2.
fn values(limits: &Limits) -> Vec<(&'static str, Vec<Value>, Vec<Value>)> {
    let value = |limit, file, text: String, optional| Value {
        limit,
        file,
        text,
        optional,
    };
    let mut all = Vec::new();
    if let Some(bytes) = limits.memory {
        let text = bytes.to_string();
        let both = bytes.saturating_mul(2).to_string();
        all.push((
            "memory",
            // As much swap as memory, as Docker has it; kernels without swap accounting have no file for it.
            vec![
                value("memory", "memory.limit_in_bytes", text.clone(), false),
                value("memory", "memory.memsw.limit_in_bytes", both, true),
            ],
            vec![
                value("memory", "memory.max", text.clone(), false),
                value("memory", "memory.swap.max", text, true),
            ],
        ));
    }
    if let Some(cpus) = limits.cpus {
        let quota = quota(cpus);
        all.push((
            "cpu",
            vec![
                value("cpus", "cpu.cfs_period_us", PERIOD.to_string(), false),
                value("cpus", "cpu.cfs_quota_us", quota.to_string(), false),
            ],
            vec![value("cpus", "cpu.max", format!("{quota} {PERIOD}"), false)],
        ));
    }
    if let Some(pids) = limits.pids {
        let values = vec![value("pids", "pids.max", pids.to_string(), false)];
        all.push(("pids", values.clone(), values));
    }
    all
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "bounded on both sides"
)]
fn quota(cpus: f64) -> u64 {
    // The kernel takes no less than a millisecond.
    (cpus * PERIOD as f64).clamp(1000.0, 1e12) as u64
}

/// A hierarchy that is mounted on the host.
struct Hierarchy<'a> {
    /// Controllers; empty in version 2.
    controllers: Vec<&'a str>,
    /// Where, with our own group in it.
    own: PathBuf,
    /// Where, without.
    top: PathBuf,
}

/// The hierarchies of a host, from `/proc/self/mountinfo` and `/proc/self/cgroup`.
fn hierarchies<'a>(mountinfo: &'a str, own: &str) -> Vec<Hierarchy<'a>> {
    let mut found = Vec::new();
    for line in mountinfo.lines() {
        let Some((left, right)) = line.split_once(" - ") else {
            continue;
        };
        let (left, right): (Vec<_>, Vec<_>) =
            (left.split(' ').collect(), right.split(' ').collect());
        let (Some(root), Some(point), Some(kind)) = (left.get(3), left.get(4), right.first())
        else {
            continue;
        };
        let options: Vec<&str> = right
            .get(2)
            .map(|options| options.split(',').collect())
            .unwrap_or_default();
        let path = own.lines().find_map(|line| {
            let mut fields = line.splitn(3, ':').skip(1);
            let (names, path) = (fields.next()?, fields.next()?);
            let fits = match *kind {
                "cgroup2" => names.is_empty(),
                "cgroup" => {
                    !names.is_empty() && names.split(',').all(|name| options.contains(&name))
                }
                _ => false,
            };
            fits.then_some(path)
        });
        let Some(path) = path else { continue };
        // The mount may show only a part of the hierarchy.
        let below = path
            .strip_prefix(root.trim_end_matches('/'))
            .unwrap_or("")
            .trim_start_matches('/');
        let controllers = if *kind == "cgroup" {
            options
        } else {
            Vec::new()
        };
        found.push(Hierarchy {
            controllers,
            own: Path::new(point).join(below),
            top: PathBuf::from(point),
        });
    }
    found
}

/// Says which groups to make.
fn plan(
    mountinfo: &str,
    own: &str,
    limits: &Limits,
) -> std::result::Result<Vec<Group>, (&'static str, String)> {
    let hierarchies = hierarchies(mountinfo, own);
    let unified = hierarchies
        .iter()
        .find(|hierarchy| hierarchy.controllers.is_empty());
    let mut groups: Vec<Group> = Vec::new();
    for (controller, first, second) in values(limits) {
        let limit = first.first().map_or("limit", |value| value.limit);
        let old = hierarchies
            .iter()
            .find(|hierarchy| hierarchy.controllers.contains(&controller));
        let (base, own, enable, values) = match (old, unified) {
            (Some(old), _) => (&old.own, &old.own, Vec::new(), first),
            // In version 2 a group with processes, as ours is, cannot hand controllers on.
            (None, Some(unified)) => (&unified.top, &unified.own, vec![controller], second),
            (None, None) => {
                return Err((
                    limit,
                    format!("this host has no control groups for `{controller}`"),
                ));
            }
        };
        match groups.iter_mut().find(|group| group.base == *base) {
            Some(group) => {
                group.enable.extend(enable);
                group.values.extend(values);
            }
            None => groups.push(Group {
                base: base.clone(),
                own: own.clone(),
                enable,
                values,
            }),
        }
    }
    Ok(groups)
}

/// Makes the groups that the limits need; none for no limits.
///
/// # Errors
///
/// The host cannot keep a limit: [`Error::Limit`] names it.
pub(crate) fn make(id: &str, limits: &Limits) -> Result<Groups> {
    let mut made = Groups::default();
    if limits.is_empty() {
        return Ok(made);
    }
    let mountinfo = sys::fs::read_to_string(Path::new("/proc/self/mountinfo"))?;
    let own = sys::fs::read_to_string(Path::new("/proc/self/cgroup"))?;
    let groups = plan(&mountinfo, &own, limits).map_err(|(limit, reason)| failed(limit, reason))?;
    let name = format!("{id}.{}", std::process::id());
    for mut group in groups {
        let limit = group.values.first().map_or("limit", |value| value.limit);
        if !group.enable.is_empty() {
            group.base =
                unified::base(&group.base, &group.own, &group.enable).map_err(|reason| {
                    failed(limit, format!("no control group can hold it: {reason}"))
                })?;
        }
        let path = set_up(&group, &name).map_err(|error| failed(limit, error.to_string()))?;
        made.made.push(path.clone());
        values_into(&group, &path)?;
        let join = sys::fs::open_for_writing(&path.join("cgroup.procs"));
        made.join.push(
            join.map_err(|error| failed(limit, error.to_string()))?
                .into(),
        );
    }
    Ok(made)
}

/// Makes one group called `name` and switches its controllers on, from its base down.
fn set_up(group: &Group, name: &str) -> sys::fs::Result<PathBuf> {
    for step in unified::steps(group, name) {
        match step {
            Step::Ensure(path) => {
                sys::fs::create_dir_all(&path)?;
                sweep(&path);
            }
            Step::Make(path) => sys::fs::create_dir(&path)?,
            Step::Write(path, text) => sys::fs::write(&path, text.as_bytes())?,
        }
    }
    Ok(group.base.join("barque").join(name))
}

/// Writes the limits into a group.
fn values_into(group: &Group, path: &Path) -> Result<()> {
    for value in &group.values {
        match sys::fs::write(&path.join(value.file), value.text.as_bytes()) {
            Err(error) if !value.optional => return Err(failed(value.limit, error.to_string())),
            _ => {}
        }
    }
    Ok(())
}

fn failed(limit: &str, reason: String) -> Error {
    Error::Limit {
        limit: limit.to_owned(),
        reason,
    }
}

/// Removes groups whose maker is gone; one that still has processes refuses.
fn sweep(ours: &Path) {
    let Ok(entries) = sys::fs::read_dir(ours) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let maker = name
            .to_str()
            .and_then(|name| name.rsplit_once('.'))
            .and_then(|(_, pid)| pid.parse::<i32>().ok());
        if maker.is_some_and(|pid| sys::process::start_time(pid).is_err()) {
            sys::fs::remove_dir(&entry.path()).ok();
        }
    }
}

/// Moves the calling process into groups; runs inside the container.
pub(crate) fn join(groups: &[OwnedFd]) -> io::Result<()> {
    groups
        .iter()
        .try_for_each(|group| File::from(group.try_clone()?).write_all(b"0"))
}

/// Files through which a process joins the groups that we made for the container of `pid`.
pub(crate) fn of_process(pid: i32) -> Result<Vec<OwnedFd>> {
    let mountinfo = sys::fs::read_to_string(Path::new("/proc/self/mountinfo"))?;
    let own = sys::fs::read_to_string(&PathBuf::from(format!("/proc/{pid}/cgroup")))?;
    let mut files = Vec::new();
    for hierarchy in hierarchies(&mountinfo, &own) {
        let ours = hierarchy
            .own
            .parent()
            .and_then(Path::file_name)
            .is_some_and(|name| name == "barque");
        if ours {
            let file = sys::fs::open_for_writing(&hierarchy.own.join("cgroup.procs"))?;
            files.push(file.into());
        }
    }
    Ok(files)
}

/// Removes groups; the last process may still be on its way out.
pub(crate) fn remove(groups: &[PathBuf]) {
    for path in groups {
        for _ in 0..2500 {
            match sys::fs::remove_dir(path) {
                Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
                    std::thread::sleep(std::time::Duration::from_millis(2));
                }
                _ => break,
            }
        }
    }
}

impl Drop for Groups {
    fn drop(&mut self) {
        remove(&self.made);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n\
        32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct\n\
        35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n\
        41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n";
    const HYBRID_OWN: &str = "4:memory:/a/b\n1:cpu,cpuacct:/\n0::/x\n";

    fn all() -> Limits {
        Limits {
            memory: Some(1 << 20),
            cpus: Some(0.5),
            pids: Some(7),
        }
    }

    #[test]
    fn version_1_per_controller_and_version_2_for_the_rest() {
        let groups = plan(HYBRID, HYBRID_OWN, &all()).unwrap();
        let bases: Vec<_> = groups
            .iter()
            .map(|group| (group.base.to_str().unwrap(), group.enable.clone()))
            .collect();
        assert_eq!(
            bases,
            [
                ("/sys/fs/cgroup/memory/a/b", vec![]),
                ("/sys/fs/cgroup/cpu,cpuacct/", vec![]),
                ("/sys/fs/cgroup/unified", vec!["pids"])
            ]
        );
        assert_eq!(groups[1].values[1].text, "50000");
    }

    #[test]
    fn version_2_in_one_group_and_relative_to_the_mounted_part() {
        let info = "30 23 0:26 /docker/abc /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\n";
        let groups = plan(info, "0::/docker/abc/init\n", &all()).unwrap();
        assert_eq!(groups.len(), 1);
        assert_eq!(groups[0].base, Path::new("/sys/fs/cgroup"));
        assert_eq!(groups[0].enable, ["memory", "cpu", "pids"]);
        let texts: Vec<_> = groups[0]
            .values
            .iter()
            .map(|value| format!("{}={}", value.file, value.text))
            .collect();
        assert_eq!(
            texts,
            [
                "memory.max=1048576",
                "memory.swap.max=1048576",
                "cpu.max=50000 100000",
                "pids.max=7"
            ]
        );
    }

    #[test]
    fn a_host_without_control_groups_is_an_error_that_names_the_limit() {
        let limits = Limits {
            cpus: Some(2.0),
            ..Limits::default()
        };
        assert_eq!(plan("", "", &limits).unwrap_err().0, "cpus");
        assert!(plan("", "", &Limits::default()).unwrap().is_empty());
        assert_eq!(
            (quota(0.000_001), quota(f64::MAX), quota(f64::NAN)),
            (1000, 1_000_000_000_000, 0)
        );
    }
}
