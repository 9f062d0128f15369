//! `--format` with Go templates, as Docker's scripts use them.

use crate::environment::{Environment, eventually, root_or_skip};

#[test]
fn lists_and_inspections_go_through_templates() {
    let environment = Environment::with_busybox();
    let ok = |words: &[&str]| environment.barque(words).ok().to_owned();
    assert_eq!(
        ok(&["images", "--format", "{{.Repository}}:{{.Tag}}"]),
        "busybox:latest"
    );
    assert_eq!(
        ok(&["images", "--format", "table {{.Repository}}\\t{{.Tag}}"]),
        "REPOSITORY   TAG\nbusybox      latest"
    );
    let id = ok(&["images", "-q", "--no-trunc"]);
    assert_eq!(ok(&["inspect", "-f", "{{.Id}}", "busybox"]), id);
    assert_eq!(
        ok(&[
            "inspect",
            "-f",
            "{{json .Config.Cmd}} {{index .RepoTags 0}}",
            "busybox"
        ]),
        "[\"sh\"] busybox:latest"
    );
    assert_eq!(
        ok(&[
            "inspect",
            "-f",
            "{{with .Config.Labels}}x{{else}}none{{end}}",
            "busybox"
        ]),
        "none"
    );
    let size: u64 = ok(&["inspect", "-f", "{{.Descriptor.size}}", "busybox"])
        .parse()
        .unwrap();
    assert!(size > 100, "{size}");
    let created_by = ok(&["history", "--format", "{{.CreatedBy}}|{{.Size}}", "busybox"]);
    assert!(created_by.contains('|'), "{created_by}");
    assert!(ok(&["df", "--format", "{{.Type}}={{.TotalCount}}"]).contains("Images=1"));
    // The upkeep of the import may still be at work.
    assert!(eventually(|| {
        ok(&["df", "--format", "{{.Type}}={{.TotalCount}}"]).contains("Unfinished=0")
    }));
    assert!(!ok(&["info", "-f", "{{.Version}}"]).is_empty());
}

#[test]
fn mistakes_in_a_format_are_told() {
    let environment = Environment::with_busybox();
    let fails = |words: &[&str]| environment.barque(words).fails(1).to_owned();
    let text = fails(&["images", "--format", "{{.Nope}}"]);
    assert!(text.contains("there is no field `.Nope`"), "{text}");
    assert!(text.contains("hint: there are ID, Repository"), "{text}");
    let text = fails(&["images", "--format", "{{shout .ID}}"]);
    assert!(text.contains("there is no function `shout`"), "{text}");
    assert!(text.contains("upper"), "{text}");
    let text = fails(&["inspect", "-f", "{{.Id", "busybox"]);
    assert!(text.contains("`{{` has no `}}`"), "{text}");
    let text = fails(&["images", "--format", "jsn"]);
    assert!(
        text.contains("neither table, json nor a template"),
        "{text}"
    );
}

#[test]
fn priv_containers_go_through_templates() {
    if !root_or_skip("priv_containers_go_through_templates") {
        return;
    }
    let environment = Environment::with_busybox();
    let ok = |words: &[&str]| environment.barque(words).ok().to_owned();
    let id = ok(&[
        "run",
        "-d",
        "--name",
        "boat",
        "--label",
        "a.b=c",
        "-v",
        "/usr:/host:ro",
        "busybox",
        "sleep",
        "1000",
    ]);
    assert_eq!(ok(&["inspect", "-f", "{{.State.Running}}", "boat"]), "true");
    assert_eq!(
        ok(&[
            "inspect",
            "-f",
            "{{.State.Status}} {{.State.FinishedAt}} {{.Name}}",
            "boat"
        ]),
        "running 0001-01-01T00:00:00Z /boat"
    );
    assert_eq!(
        ok(&[
            "inspect",
            "-f",
            "{{range .Mounts}}{{.Type}} {{.Source}} {{.Destination}} {{.RW}};{{end}}",
            "boat"
        ]),
        "bind /usr /host false;"
    );
    assert_eq!(
        ok(&[
            "inspect",
            "-f",
            "{{if .State.Health}}{{.State.Health.Status}}{{else}}none{{end}}",
            "boat"
        ]),
        "none"
    );
    assert_eq!(
        ok(&[
            "ps",
            "--format",
            "{{.Names}} {{.Image}} {{.State}} {{.Label \"a.b\"}} {{.Labels}}"
        ]),
        "boat busybox running c a.b=c"
    );
    assert_eq!(ok(&["ps", "--format", "{{.ID}}"]), id[..12]);
    assert_eq!(ok(&["ps", "--no-trunc", "--format", "{{.ID}}"]), id);
    assert_eq!(ok(&["ps", "-q"]), id[..12]);
    ok(&["kill", "boat"]);
    ok(&["wait", "boat"]);
    assert_eq!(
        ok(&[
            "inspect",
            "-f",
            "{{.State.Running}} {{.State.ExitCode}}",
            "boat"
        ]),
        "false 137"
    );
    let finished = ok(&["inspect", "-f", "{{.State.FinishedAt}}", "boat"]);
    assert!(finished.starts_with("20"), "{finished}");
}

/// What a container was made with is in `inspect` under Docker's names, and goes on into an image of its changes.
#[test]
fn priv_what_run_was_asked_for_is_told_and_committed() {
    if !root_or_skip("priv_what_run_was_asked_for_is_told_and_committed") {
        return;
    }
    let environment = Environment::with_busybox();
    let ok = |words: &[&str]| environment.barque(words).ok().to_owned();
    let told = |name: &str, format: &str| ok(&["inspect", "-f", format, name]);
    let changes = [
        "-c",
        "ENTRYPOINT [\"echo\"]",
        "-c",
        "ENV A=image B=image",
        "-c",
        "CMD [\"x\"]",
    ];
    environment.write("empty.tar", &"\0".repeat(1024));
    ok(&[&["import"][..], &changes, &["empty.tar", "nothing"]].concat());
    assert_eq!(
        told(
            "nothing",
            "{{.Config.User}}|{{.Config.Labels}}|{{.Config.Entrypoint}}|{{.Config.Healthcheck}}"
        ),
        "|map[]|[echo]|<nil>"
    );
    let flags = "--name boat --network none -e A=run -w /tmp -u 7:8 --label l=m --cap-drop ALL --cap-add CHOWN --shm-size 1m --read-only";
    let flags: Vec<_> = flags.split(' ').collect();
    ok(&[&["run"][..], &flags, &["busybox", "echo", "one", "two"]].concat());
    assert_eq!(
        told(
            "boat",
            "{{.Config.Cmd}} {{.Config.Entrypoint}} {{.Config.Env}} {{.Config.User}} {{.Config.WorkingDir}}"
        ),
        "[echo one two] [] [A=run] 7:8 /tmp"
    );
    assert_eq!(
        told(
            "boat",
            "{{with .HostConfig}}{{.NetworkMode}} {{.CapAdd}} {{.CapDrop}} {{.Memory}} {{.ShmSize}} {{.ReadonlyRootfs}}{{end}}"
        ),
        "none [CHOWN] [ALL] 0 1048576 true"
    );
    assert_eq!(told("boat", "{{.Image}}"), told("busybox", "{{.Id}}"));
    ok(&["commit", "-c", "ENV C=change", "--no-pause", "boat", "next"]);
    assert_eq!(
        told(
            "next",
            "{{.Config.Cmd}} {{.Config.Env}} {{.Config.User}} {{.Config.WorkingDir}} {{.Config.Labels}}"
        ),
        "[echo one two] [A=run C=change] 7:8 /tmp map[l:m]"
    );
    assert_eq!(ok(&["run", "--rm", "next"]), "one two");
    assert_eq!(ok(&["ps", "-n", "5", "--format", "{{.Names}}"]), "boat");
    assert_eq!(
        ok(&["logs", "--since", "1h", "boat"]),
        ok(&["logs", "boat"])
    );
    assert_eq!(ok(&["images", "-q", "-f", "until=1h"]), "");
    assert_eq!(
        ok(&["history", "-q", "--no-trunc", "busybox"]),
        told("busybox", "{{.Id}}")
    );
}
