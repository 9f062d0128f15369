//! What a build is given: secrets, agents, privileges.

use std::os::unix::net::UnixListener;

use build::SecretSource;

use crate::running::{last_layer, output, site};
use crate::support::Site;

#[test]
fn f183_more_privileges_are_refused() {
    let mut site = Site::new();
    for (flag, entitlement) in [
        ("--security=insecure", "security.insecure is not allowed"),
        ("--network=host", "network.host is not allowed"),
        (
            "--device=vendor.com/gpu=all,required",
            "`RUN --device=vendor.com/gpu=all`",
        ),
    ] {
        // Before anything runs, and so also where the step before would fail.
        let dockerfile = format!("FROM scratch\nRUN [\"/nosuch\"]\nRUN {flag} true\n");
        let message = site.fail(&dockerfile);
        assert!(message.contains(entitlement), "{message}");
        // A stage that nobody needs asks for nothing.
        let unused = format!("FROM scratch AS unused\nRUN {flag} true\nFROM scratch\nLABEL a=b\n");
        site.build(&unused);
        let triggered = format!("FROM scratch AS base\nONBUILD RUN {flag} true\nFROM base\n");
        let message = site.fail(&triggered);
        assert!(message.contains(entitlement), "{message}");
    }
    // One does not stand for the other.
    site.request.grants.network_host = true;
    let message = site.fail("FROM scratch\nRUN --security=insecure true\n");
    assert!(message.contains("security.insecure is not allowed"));
    let message = site.fail("FROM scratch\nRUN --mount=type=ssh,required true\n");
    assert!(message.contains("the ssh agent `default`"), "{message}");
}

#[test]
fn priv_f184_insecure_has_all_capabilities_devices_and_no_filter() {
    let Some(mut site) = site("priv_f184_insecure_has_all_capabilities_devices_and_no_filter")
    else {
        return;
    };
    site.request.grants.insecure = true;
    let own = std::fs::read_to_string("/proc/self/status").unwrap();
    let full = own
        .lines()
        .find_map(|line| line.strip_prefix("CapBnd:\t"))
        .unwrap();
    // Meanwhile other tests may make loop devices.
    let before: Vec<_> = std::fs::read_dir("/dev").unwrap().flatten().collect();
    let command = "grep -E 'Cap(Eff|Bnd)|Seccomp:' /proc/self/status; (echo free > /proc/sys/kernel/hostname) 2>&1; hostname; ls /dev";
    let dockerfile = format!("FROM busybox\nRUN --security=insecure {command}\n");
    let outcome = site.build(&dockerfile);
    let text = output(&outcome);
    let begin = format!("CapEff:\t{full}\nCapBnd:\t{full}\nSeccomp:\t0\nfree\n");
    assert!(text.starts_with(&begin), "{text}");
    use std::os::unix::fs::FileTypeExt as _;
    for device in before.iter().filter(|device| device.path().exists()) {
        let kind = device.file_type().unwrap();
        if kind.is_block_device() || kind.is_char_device() {
            let name = device.file_name().to_string_lossy().into_owned();
            assert!(text.lines().any(|line| line == name), "no {name}: {text}");
        }
    }
    assert_eq!(last_layer(&site, &outcome), Vec::<String>::new());
    // It is part of what the step is.
    assert!(site.build(&dockerfile).all_cached());
    let sandboxed = format!("FROM busybox\nRUN {command}\n");
    assert!(!site.build(&sandboxed).all_cached());
    let named = format!("FROM busybox\nRUN --security=sandbox {command}\n");
    assert!(site.build(&named).all_cached());
}

#[test]
fn f179_a_secret_in_the_environment_is_masked_in_the_name_of_its_step() {
    let mut site = Site::new();
    let source = SecretSource::Value(b"hunter2".to_vec());
    site.request.secrets.insert("s".to_owned(), source);
    let events = std::sync::Mutex::new(Vec::new());
    let request = build::Request {
        dockerfile: build::Text {
            name: "Dockerfile".to_owned(),
            text:
                "FROM scratch\nRUN --mount=type=secret,id=s,env=TOKEN curl -H \"$TOKEN\" ${TOKEN}\n"
                    .to_owned(),
        },
        ..site.request.clone()
    };
    let failed = build::build(
        &request,
        &site.store,
        &build::Local(&site.store),
        &build::Offline,
        &|event| events.lock().unwrap().push(event),
    )
    .unwrap_err();
    let events = events.into_inner().unwrap();
    let named = events.iter().any(|event| {
        matches!(event, build::Event::StepStarted { name, .. } if name.ends_with("curl -H \"****\" ****"))
    });
    assert!(named, "{events:?}");
    let all = format!("{events:?} {failed:?} {failed} {request:?}");
    assert!(!all.contains("hunter2"), "{all}");
}

#[test]
fn priv_f181_a_socket_for_each_agent() {
    let Some(mut site) = site("priv_f181_a_socket_for_each_agent") else {
        return;
    };
    let _agents = ["one", "two"].map(|id| {
        let path = site.outside(id);
        let listener = UnixListener::bind(&path).unwrap();
        site.request.ssh.insert(id.to_owned(), path);
        listener
    });
    let stat = "stat -c '%F %a %u:%g'";
    let outcome = site.build(&format!(
        "FROM busybox\n\
         RUN --mount=type=ssh,id=one echo $SSH_AUTH_SOCK; {stat} $SSH_AUTH_SOCK\n\
         RUN --mount=type=ssh,id=nobody --mount=type=ssh,id=two --mount=type=ssh,id=one,mode=0660,uid=7,gid=8,target=/own \
         echo $SSH_AUTH_SOCK; test ! -e $SSH_AUTH_SOCK; {stat} /run/buildkit/ssh_agent.1 /own\n\
         ENV SSH_AUTH_SOCK=/mine\n\
         RUN --mount=type=ssh,id=one,target=/own echo $SSH_AUTH_SOCK; {stat} /own\n\
         RUN echo $SSH_AUTH_SOCK; test ! -e /run/buildkit\n"
    ));
    assert_eq!(
        output(&outcome),
        "/run/buildkit/ssh_agent.0\nsocket 600 0:0\n\
         /run/buildkit/ssh_agent.0\nsocket 600 0:0\nsocket 660 7:8\n\
         /mine\nsocket 600 0:0\n/mine\n"
    );
    assert!(outcome.stat("own").is_none() && outcome.stat("run").is_none());
    // An agent that has gone is an error, not a step without it; one that nobody gave is none.
    site.request
        .ssh
        .insert("gone".to_owned(), site.outside("nothing"));
    let message = site.fail("FROM busybox\nRUN --mount=type=ssh,id=gone true\n");
    assert!(message.contains("the ssh agent `gone`"), "{message}");
    let message = site.fail("FROM busybox\nRUN --mount=type=ssh,required true\n");
    assert!(
        message.contains("the ssh agent `default` is required"),
        "{message}"
    );
    site.build("FROM busybox\nRUN --mount=type=ssh true\n");
}
