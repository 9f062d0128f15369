//! Where a group can be made in version 2, and the steps that make it.
//!
//! What the kernel's documentation asks for (`Documentation/admin-guide/cgroup-v2.rst`):
//!
//! - A group has a controller only if its parent lists it in `cgroup.subtree_control`, which can list only what its own
//!   `cgroup.controllers` has. So a controller is switched on from the top down, before the child is made.
//! - A group other than the root of all cannot have processes of its own and hand controllers down. So ours is never made below our own
//!   group, in which we are, but beside it or higher up; and between it and the base lies `barque`, which has no processes.
//! - Below a threaded group there are only threads, and none of our controllers.
//! - Whoever moves a process needs the right to write `cgroup.procs` of the nearest group above both places. Where a part of the
//!   tree was delegated to a user, that holds for groups below what was delegated only.

use std::path::{Path, PathBuf};

use super::Group;

/// One thing to do, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// Make a directory, which may exist.
    Ensure(PathBuf),
    /// Make a directory that is new.
    Make(PathBuf),
    /// Write a file.
    Write(PathBuf, String),
}

/// The group below which ours can be made: the top of what is mounted, else the nearest above our own, `own`, that can hand `wanted` down.
///
/// # Errors
///
/// Why none can, for people.
pub(super) fn base(top: &Path, own: &Path, wanted: &[&str]) -> Result<PathBuf, String> {
    let above = own
        .ancestors()
        .skip(1)
        .take_while(|path| path.starts_with(top) && *path != top);
    let mut reasons = Vec::new();
    for group in std::iter::once(top).chain(above) {
        match problem(group, wanted) {
            None => return Ok(group.to_path_buf()),
            Some(reason) => reasons.push(format!("`{}` {reason}", group.display())),
        }
    }
    Err(reasons.join("; "))
}

/// Why a group cannot have ours below it.
fn problem(group: &Path, wanted: &[&str]) -> Option<String> {
    // The root of all has no such file.
    let kind = read(group, "cgroup.type");
    if let Some(kind) = kind.as_deref().filter(|kind| *kind != "domain") {
        return Some(format!("is `{kind}`, which has no groups of processes"));
    }
    let handed = read(group, "cgroup.controllers").unwrap_or_default();
    let has = |list: &str, name: &str| list.split_ascii_whitespace().any(|found| found == name);
    if let Some(missing) = wanted.iter().find(|name| !has(&handed, name)) {
        return Some(format!("was not given the controller `{missing}`"));
    }
    let missing = missing(group, wanted);
    let busy = read(group, "cgroup.procs").is_some_and(|list| !list.is_empty());
    if let (Some(_), true, Some(first)) = (kind, busy, missing.first()) {
        return Some(format!(
            "has processes of its own, so it cannot hand `{first}` down"
        ));
    }
    let files = ["cgroup.procs", "cgroup.subtree_control"];
    let needed = if missing.is_empty() {
        &files[..1]
    } else {
        &files
    };
    let writable = |path: &Path| rustix::fs::access(path, rustix::fs::Access::WRITE_OK).is_ok();
    if !writable(group) || !needed.iter().all(|file| writable(&group.join(file))) {
        return Some("cannot be written to by us".to_owned());
    }
    None
}

fn read(group: &Path, file: &str) -> Option<String> {
    let text = sys::fs::read_to_string(&group.join(file)).ok()?;
    Some(text.trim().to_owned())
}

/// Those of `wanted` that a group does not hand down yet.
fn missing<'w>(group: &Path, wanted: &[&'w str]) -> Vec<&'w str> {
    let enabled = read(group, "cgroup.subtree_control").unwrap_or_default();
    let is_on = |name: &str| enabled.split_ascii_whitespace().any(|on| on == name);
    wanted.iter().copied().filter(|name| !is_on(name)).collect()
}

/// What makes the group called `name`, in this order. In version 1 there is nothing to switch on.
pub(super) fn steps(group: &Group, name: &str) -> Vec<Step> {
    let ours = group.base.join("barque");
    let mut steps = vec![Step::Ensure(ours.clone())];
    for directory in [&group.base, &ours] {
        let missing = missing(directory, &group.enable);
        if !missing.is_empty() {
            let text: Vec<_> = missing.iter().map(|name| format!("+{name}")).collect();
            let file = directory.join("cgroup.subtree_control");
            steps.push(Step::Write(file, text.join(" ")));
        }
    }
    steps.push(Step::Make(ours.join(name)));
    steps
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroup::{plan, set_up, values_into};
    use crate::spec::Limits;

    /// A tree of plain files as the kernel would show it: path, type, controllers, what is handed down, processes.
    fn tree(groups: &[(&str, Option<&str>, &str, &str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (path, kind, controllers, handed, processes) in groups {
            let group = dir.path().join(path);
            std::fs::create_dir_all(&group).unwrap();
            let mut files = vec![
                ("cgroup.controllers", *controllers),
                ("cgroup.subtree_control", *handed),
                ("cgroup.procs", *processes),
            ];
            files.extend(kind.map(|kind| ("cgroup.type", kind)));
            for (name, text) in files {
                std::fs::write(group.join(name), format!("{text}\n")).unwrap();
            }
        }
        dir
    }

    const ALL: &str = "cpuset cpu io memory pids";

    fn limits() -> Limits {
        Limits {
            memory: Some(1 << 20),
            cpus: Some(0.5),
            pids: Some(7),
        }
    }

    #[test]
    fn controllers_are_switched_on_from_the_top_down_before_the_group_is_made() {
        let dir = tree(&[("", None, ALL, "pids", "1\n2")]);
        let top = dir.path();
        let mountinfo = format!("30 23 0:26 / {} rw - cgroup2 cgroup2 rw\n", top.display());
        let mut groups = plan(&mountinfo, "0::/user.slice/x.scope\n", &limits()).unwrap();
        let mut group = groups.pop().unwrap();
        group.base = base(top, &group.own, &group.enable).unwrap();
        let ours = top.join("barque");
        assert_eq!(
            steps(&group, "id.1"),
            [
                Step::Ensure(ours.clone()),
                // What is on already is not written again.
                Step::Write(top.join("cgroup.subtree_control"), "+memory +cpu".into()),
                Step::Write(
                    ours.join("cgroup.subtree_control"),
                    "+memory +cpu +pids".into()
                ),
                Step::Make(ours.join("id.1")),
            ]
        );
        let made = set_up(&group, "id.1").unwrap();
        values_into(&group, &made).unwrap();
        let text = |path: &Path| std::fs::read_to_string(path).unwrap();
        assert_eq!(text(&top.join("cgroup.subtree_control")), "+memory +cpu");
        assert_eq!(
            text(&ours.join("cgroup.subtree_control")),
            "+memory +cpu +pids"
        );
        for (file, wanted) in [
            ("memory.max", "1048576"),
            ("memory.swap.max", "1048576"),
            ("cpu.max", "50000 100000"),
            ("pids.max", "7"),
        ] {
            assert_eq!(text(&ours.join("id.1").join(file)), wanted, "{file}");
        }
        assert!(set_up(&group, "id.1").is_err(), "a group is never shared");
    }

    #[test]
    fn the_base_is_the_top_or_the_nearest_that_can_hand_down() {
        let domain = Some("domain");
        let wanted = ["memory", "pids"];
        let all = "memory pids";
        // Groups, our own, and which is the base or what is said.
        type Case<'c> = (
            Vec<(&'c str, Option<&'c str>, &'c str, &'c str, &'c str)>,
            &'c str,
            Result<&'c str, &'c str>,
        );
        let cases: [Case<'_>; 7] = [
            // A host: its root may have processes.
            (vec![("", None, all, "", "1")], "a/b", Ok("")),
            // In a container whose processes were moved out of the way.
            (vec![("", domain, all, "", "")], "init", Ok("")),
            // In one where somebody has switched them on.
            (vec![("", domain, all, all, "")], "init", Ok("")),
            // In one with its processes at the top, ours among them.
            (
                vec![("", domain, all, "", "1\n7")],
                "",
                Err("has processes of its own, so it cannot hand `memory` down"),
            ),
            // A part that somebody set up for us.
            (
                vec![
                    ("", domain, all, "memory", "1"),
                    ("part", domain, all, "", ""),
                    ("part/us", domain, all, "", "7"),
                ],
                "part/us",
                Ok("part"),
            ),
            (
                vec![("", None, "pids", "", "1")],
                "x",
                Err("was not given the controller `memory`"),
            ),
            (
                vec![("", Some("domain threaded"), all, "", "")],
                "x",
                Err("is `domain threaded`"),
            ),
        ];
        for (groups, own, expected) in cases {
            let dir = tree(&groups);
            // As the path of a group is written: without a slash at its end.
            let own: PathBuf = dir.path().join(own).components().collect();
            match (base(dir.path(), &own, &wanted), expected) {
                (Ok(found), Ok(wanted)) => {
                    assert_eq!(
                        found,
                        dir.path().join(wanted).components().collect::<PathBuf>()
                    );
                }
                (Err(reason), Err(wanted)) => assert!(reason.contains(wanted), "{reason}"),
                (found, wanted) => panic!("{found:?} instead of {wanted:?}"),
            }
        }
    }

    #[test]
    fn a_part_that_does_not_exist_cannot_be_written_to() {
        let dir = tree(&[("", None, ALL, "", "")]);
        let gone = dir.path().join("gone");
        assert!(base(&gone, &gone, &["memory"]).is_err());
    }
}
