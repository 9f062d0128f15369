//! Facts about what single instructions mean, and what history says of them.

use dockerfile::history::{self, argv};
use dockerfile::mount::{Mount, MountType, Sharing};
use dockerfile::{InstructionKind as Kind, InvalidValue, ports};

use crate::support::{copy, errors, kind, pair, run};

fn exposed(words: &str) -> Result<ports::Ports, InvalidValue> {
    let Kind::Expose(words) = kind(&format!("EXPOSE {words}")) else {
        panic!()
    };
    ports::parse(ports::in_order(&words))
}

#[test]
fn f195_ports_are_listed_in_order() {
    let ports = exposed("2375 5000 1234/udp").unwrap().ports;
    assert_eq!(
        history::expose(&ports),
        "EXPOSE [1234/udp 2375/tcp 5000/tcp]"
    );
}

#[test]
fn f196_host_parts_are_dropped() {
    let found = exposed("0.0.0.0:1234-1235:3333-3334/tcp").unwrap();
    assert_eq!(found.ports, ["3333/tcp", "3334/tcp"]);
    assert_eq!(found.with_host.len(), 1);
    for bad in [
        "localhost:1:1",
        "80:",
        "80:/tcp",
        "x",
        "80/foo",
        "65536",
        "2-1",
        "1-2:3-5",
        "-1",
        "80-",
        "x:80",
        "[::1:80:80",
    ] {
        assert!(exposed(bad).is_err(), "{bad}");
    }
    assert_eq!(exposed("8000-9000:80").unwrap().ports, ["80/tcp"]);
    assert_eq!(exposed("80/").unwrap().ports, ["80/tcp"]);
    let found = exposed("80/TCP").unwrap();
    assert_eq!(
        (found.ports, found.upper_case.len()),
        (vec!["80/tcp".to_owned()], 1)
    );
}

#[test]
fn f197_addresses_in_brackets() {
    assert_eq!(exposed("[::1]:80:80").unwrap().ports, ["80/tcp"]);
}

#[test]
fn exposing_everything_again_and_again_is_refused() {
    assert!(exposed("0-65535/tcp 0-65535/udp 0-65535/sctp").is_ok());
    assert!(exposed(&"0-65535 ".repeat(1000)).is_err());
}

fn mount(flag: &str) -> Mount {
    let run = run(&format!("RUN --mount={flag} x"));
    run.flags.mounts[0]
        .resolve(&mut |v| Ok(v.to_owned()))
        .unwrap()
}

fn mount_error(flag: &str) -> String {
    let found = errors(&format!("FROM x\nRUN --mount={flag} x\n"));
    assert_eq!(found.len(), 1, "{flag}");
    found[0].message.clone()
}

#[test]
fn f169_a_cache_without_id_is_known_by_its_target() {
    assert_eq!(mount("type=cache,target=/a//b/").cache_id(), "/a/b");
    assert_eq!(mount("type=cache,target=/a,id=x").cache_id(), "x");
}

#[test]
fn f170_caches_have_owner_and_mode() {
    let cache = mount("type=cache,target=/a,uid=1001,gid=1002,mode=0751,sharing=locked");
    assert_eq!(
        (cache.uid, cache.gid, cache.mode),
        (Some(1001), Some(1002), Some(0o751))
    );
    assert_eq!((cache.sharing, cache.read_only), (Sharing::Locked, false));
}

#[test]
fn f174_tmpfs_has_a_size() {
    assert_eq!(
        mount("type=tmpfs,target=/t,size=128m").size,
        Some(128 << 20)
    );
}

#[test]
fn f175_variables_in_mounts_are_expanded_later() {
    let run = run("RUN --mount=type=$T,id=\"${I}\",target=$D/x x");
    let values = [pair("T", "cache"), pair("I", "i d"), pair("D", "/d")];
    let mut expand = |v: &str| Ok(dockerfile::expand::word(v, '\\', &values[..])?.text);
    let mount = run.flags.mounts[0].resolve(&mut expand).unwrap();
    assert_eq!(mount.mount_type, MountType::Cache);
    assert_eq!(
        (mount.id.as_deref(), mount.target.as_str()),
        (Some("i d"), "/d/x")
    );
}

#[test]
fn f177_f178_secrets_as_files_and_variables() {
    let secret = mount("type=secret,id=s,mode=741,uid=100,gid=102,target=/mysecret,required");
    assert_eq!(
        (secret.secret_id(), secret.mode, secret.required),
        ("s", Some(0o741), true)
    );
    let secret = mount("type=secret,id=s,env=TOKEN");
    assert_eq!(
        (secret.env.as_deref(), secret.target.as_str()),
        (Some("TOKEN"), "")
    );
    assert_eq!(mount("type=secret,target=/a/name").secret_id(), "name");
}

#[test]
fn mounts_are_checked_against_their_type() {
    for (flag, message) in [
        (
            "type=bind,target=/a,mode=7",
            "`mode` is not allowed on a mount of type `bind`",
        ),
        (
            "type=tmpfs,target=/a,uid=7",
            "`uid` is not allowed on a mount of type `tmpfs`",
        ),
        (
            "type=cache,target=/a,size=1",
            "`size` is not allowed on a mount of type `cache`",
        ),
        (
            "type=bind,target=/a,required",
            "`required` is not allowed on a mount of type `bind`",
        ),
        (
            "type=bind,target=/a,sharing=locked",
            "`sharing` is not allowed on a mount of type `bind`",
        ),
        ("type=secret,id=a,from=b", "a secret mount takes no `from`"),
        ("type=secret", "a secret mount needs `id` or `target`"),
        (
            "type=cache,target=/a,mode=9",
            "`mode=9` is not an octal mode",
        ),
        (
            "type=bind,target",
            "`target` of `--mount` needs a value: `target=…`",
        ),
        (
            "type=bind,target=/a,rw=maybe",
            "`rw=maybe` is neither true nor false",
        ),
    ] {
        assert_eq!(mount_error(flag), message);
    }
    assert!(mount("type=bind,target=/a").target_in("/").is_ok());
    assert!(mount("type=bind,target=.").target_in("/").is_err());
    assert_eq!(
        mount("type=bind,target=.").target_in("/src").unwrap(),
        "/src"
    );
    assert!(!mount("type=bind,target=/a,rw").read_only);
    assert!(mount("type=cache,target=/a,ro").read_only);
    assert!(!mount("type=bind,target=/a,ro=false").read_only);
}

#[test]
fn f193_the_shell_takes_the_text_as_one_argument() {
    let Kind::Entrypoint(command) = kind("ENTRYPOINT my entrypoint") else {
        panic!()
    };
    assert_eq!(command.argv(&["ls".to_owned()]), ["ls", "my entrypoint"]);
}

#[test]
fn history_of_copy_keeps_some_flags_and_names_heredocs() {
    let shown = |instruction| history::copy(&copy(instruction), false);
    assert_eq!(
        shown("COPY --from=a --link --chown=1:1 src dst"),
        "COPY --chown=1:1 src dst # buildkit"
    );
    assert_eq!(
        shown("COPY --chmod=7 --parents --exclude=x <<EOF b /d\nx\nEOF"),
        "COPY --parents --chmod=7 b <<EOF /d # buildkit"
    );
}

#[test]
fn history_of_configuration() {
    let words = |words: &[&str]| words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>();
    assert_eq!(history::cmd(&words(&["a", "b c"])), r#"CMD ["a" "b c"]"#);
    assert_eq!(history::entrypoint(&[]), "ENTRYPOINT []");
    assert_eq!(history::volume(&words(&["/d", "/e"])), "VOLUME [/d /e]");
    assert_eq!(
        history::shell(&words(&["/bin/sh", "-c"])),
        "SHELL [/bin/sh -c]"
    );
    assert_eq!(
        history::env(&[pair("k", "v w"), pair("l", "")]),
        "ENV k=v w l="
    );
    assert_eq!(history::label(&[pair("k", "v")]), "LABEL k=v");
    let args = [
        ("k".to_owned(), Some("v".to_owned())),
        ("k2".to_owned(), None),
    ];
    assert_eq!(history::arg(&args), "ARG k=v k2");
    assert_eq!(history::workdir("/a"), "WORKDIR /a");
    let Kind::Healthcheck(check) = kind("HEALTHCHECK --interval=90s --retries=3 CMD curl x") else {
        panic!()
    };
    assert_eq!(
        history::healthcheck(&check),
        "HEALTHCHECK {Test:[CMD-SHELL curl x] Interval:1m30s Timeout:0s StartPeriod:0s StartInterval:0s Retries:3}"
    );
}

#[test]
fn f163_run_is_shown_as_it_runs() {
    let shell = ["/bin/sh".to_owned(), "-c".to_owned()];
    let shown = |instruction: &str| history::run(&[], &argv(&run(instruction).script(), &shell));
    assert_eq!(shown("RUN make all"), "RUN /bin/sh -c make all # buildkit");
    assert_eq!(shown("RUN [\"make\", \"all\"]"), "RUN make all # buildkit");
    assert_eq!(
        shown("RUN <<EOF\na\nb\nEOF"),
        "RUN /bin/sh -c a\nb\n # buildkit"
    );
    assert_eq!(
        shown("RUN <<EOF\n#!/bin/awk\nEOF"),
        "RUN /bin/sh -c /dev/pipes/EOF # buildkit"
    );
}
