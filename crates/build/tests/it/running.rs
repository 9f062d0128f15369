//! RUN, in a busybox image. Needs root.

use build::{Event, SecretSource};
use testkit::image;

use crate::support::{Outcome, Site};

/// A site with the image `busybox`, or `None` where containers cannot be made.
pub(crate) fn site(test: &str) -> Option<Site> {
    if !testkit::is_root() {
        testkit::skipped(test, "it needs root");
        return None;
    }
    let busybox = match std::fs::read("/bin/busybox") {
        Ok(bytes) => bytes,
        Err(error) => {
            testkit::skipped(test, &format!("no static busybox: {error}"));
            return None;
        }
    };
    let site = Site::new();
    let mut factory = image()
        .dir("tmp", 0o1777)
        .dir("dev", 0o755)
        .program("bin/busybox", &busybox)
        .file(
            "etc/passwd",
            "root:x:0:0::/root:/bin/sh\nuser:x:1000:1001::/home/user:/bin/sh\n",
        )
        .file(
            "etc/group",
            "root:x:0:\nwheel:x:10:root\nextra:x:55:user\nuser:x:1001:\n",
        );
    for name in [
        "sh", "cat", "echo", "env", "id", "ls", "mkdir", "rm", "chmod", "mv", "ln", "true", "pwd",
        "hostname", "awk", "seq", "sleep", "stat", "test", "touch", "wc", "grep", "kill", "df",
        "mount",
    ] {
        factory = factory.symlink(&format!("bin/{name}"), "busybox");
    }
    factory.name("busybox").build(&site.store).unwrap();
    Some(site)
}

/// All output of RUN steps.
pub(crate) fn output(outcome: &Outcome) -> String {
    let mut bytes = Vec::new();
    for event in &outcome.events {
        if let Event::StepLog { bytes: more, .. } = event {
            bytes.extend_from_slice(more);
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The paths of the last layer, with `-` before those that it deletes.
pub(crate) fn last_layer(site: &Site, outcome: &Outcome) -> Vec<String> {
    let id = outcome.built.image.layers.last().unwrap();
    let tar = std::fs::read(site.store.find_layer(id).unwrap().unwrap().tar()).unwrap();
    let mut reader = layer::tar::Reader::new(&tar[..]);
    let mut paths = Vec::new();
    while let Some(entry) = reader.next().unwrap() {
        paths.push(String::from_utf8_lossy(&entry.path).into_owned());
    }
    paths
}

#[test]
fn priv_a_run_makes_a_layer_of_what_it_changed() {
    let Some(site) = site("priv_a_run_makes_a_layer_of_what_it_changed") else {
        return;
    };
    let dockerfile =
        "FROM busybox\nRUN echo hello > /f && rm /etc/group && mkdir /d && echo said\n";
    let outcome = site.build(dockerfile);
    assert_eq!(outcome.read("f"), "hello\n");
    assert!(outcome.stat("etc/group").is_none());
    assert_eq!(
        last_layer(&site, &outcome),
        ["d/", "etc/", "etc/.wh.group", "f"]
    );
    assert_eq!(output(&outcome), "said\n");
    assert_eq!(
        outcome.steps(),
        [
            "CACHED [1/2] FROM busybox:latest",
            "DONE [2/2] RUN echo hello > /f && rm /etc/group && mkdir /d && echo said"
        ]
    );
    let again = site.build(dockerfile);
    assert!(again.all_cached());
    assert_eq!(again.built.descriptor, outcome.built.descriptor);
}

#[test]
fn priv_a_program_for_another_platform_is_named_with_it() {
    let test = "priv_a_program_for_another_platform_is_named_with_it";
    if std::path::Path::new("/proc/sys/fs/binfmt_misc/qemu-s390x").exists() {
        return testkit::skipped(test, "this machine has an emulator for it");
    }
    let Some(mut site) = site(test) else {
        return;
    };
    // The header of a program for s390x.
    let mut program = b"\x7fELF\x02\x02\x01".to_vec();
    program.resize(16, 0);
    program.extend([0, 2, 0, 22, 0, 0, 0, 1]);
    program.resize(4096, 0);
    image()
        .program("bin/sh", &program)
        .program("bin/script", "#!/bin/sh\n")
        .name("foreign")
        .build(&site.store)
        .unwrap();
    site.request.platform = Some("linux/s390x".parse().unwrap());
    for (command, program) in [
        ("x", "/bin/sh"),
        ("[\"/bin/sh\"]", "/bin/sh"),
        // By the interpreter in its first line.
        ("[\"/bin/script\"]", "/bin/script"),
    ] {
        let message = site.fail(&format!("FROM foreign\nRUN {command}\n"));
        assert!(
            message.contains(&format!("`{program}` is a program for `linux/s390x`")),
            "{message}"
        );
    }
}

#[test]
fn priv_a_run_that_changes_nothing_gives_an_empty_layer() {
    let Some(site) = site("priv_a_run_that_changes_nothing_gives_an_empty_layer") else {
        return;
    };
    let outcome = site.build("FROM busybox\nRUN true\n");
    assert_eq!(last_layer(&site, &outcome), Vec::<String>::new());
    assert!(!outcome.config.history.last().unwrap().empty_layer);
}

#[test]
fn priv_only_directories_that_hide_something_say_so() {
    let Some(site) = site("priv_only_directories_that_hide_something_say_so") else {
        return;
    };
    let outcome = site.build(concat!(
        "FROM busybox\n",
        "RUN mkdir -p /etc/d/old /etc/f && touch /etc/file /etc/d/old/x\n",
        "RUN mkdir -p /new/sub /etc/new && rm -r /etc/d /etc/file && mkdir -p /etc/d/old /etc/file && rmdir /etc/f\n",
    ));
    assert_eq!(
        last_layer(&site, &outcome),
        [
            "etc/",
            "etc/d/",
            "etc/d/.wh..wh..opq",
            "etc/d/old/",
            "etc/.wh.f",
            "etc/file/",
            "etc/new/",
            "new/",
            "new/sub/"
        ]
    );
    assert!(outcome.stat("etc/d/old/x").is_none());
}

#[test]
fn priv_f094_proxies_are_seen_but_are_no_part_of_key_or_history() {
    let Some(mut site) = site("priv_f094_proxies_are_seen_but_are_no_part_of_key_or_history")
    else {
        return;
    };
    site.request
        .build_args
        .insert("http_proxy".to_owned(), "http://one".to_owned());
    let dockerfile = "FROM busybox\nRUN echo $HTTP_PROXY $http_proxy > /f\n";
    let outcome = site.build(dockerfile);
    assert_eq!(outcome.read("f"), "http://one http://one\n");
    site.request
        .build_args
        .insert("http_proxy".to_owned(), "http://two".to_owned());
    let again = site.build(dockerfile);
    assert!(again.all_cached());
    assert_eq!(again.read("f"), "http://one http://one\n");
    assert_eq!(
        again.created_by().last().unwrap(),
        "RUN /bin/sh -c echo $HTTP_PROXY $http_proxy > /f # buildkit"
    );
}

#[test]
fn priv_f091_f098_args_are_in_the_environment_the_key_and_the_history() {
    let Some(mut site) = site("priv_f091_f098_args_are_in_the_environment_the_key_and_the_history")
    else {
        return;
    };
    let dockerfile = "FROM busybox\nARG FOO\nARG BAR=\nARG X=1\nARG X=2\nRUN env > /env\n";
    let outcome = site.build(dockerfile);
    let env = outcome.read("env");
    assert!(
        env.lines().any(|line| line == "BAR=") && !env.contains("FOO"),
        "{env}"
    );
    assert_eq!(
        outcome.created_by().last().unwrap(),
        "RUN |3 FOO= BAR= X=2 /bin/sh -c env > /env # buildkit"
    );
    site.request
        .build_args
        .insert("FOO".to_owned(), "given".to_owned());
    assert!(!site.build(dockerfile).all_cached());
}

#[test]
fn priv_f162_f163_exec_form_and_failures() {
    let Some(site) = site("priv_f162_f163_exec_form_and_failures") else {
        return;
    };
    assert_eq!(
        output(&site.build("FROM busybox\nENTRYPOINT [\"/nosuch\"]\nRUN [\"echo\", \"a  b\"]\n")),
        "a  b\n"
    );
    match site.try_build("FROM busybox\nENV a=b\nRUN echo before && exit 7\n") {
        Err(error @ build::Error::Step(_)) => {
            assert_eq!(
                error.to_string(),
                "process `/bin/sh -c echo before && exit 7` did not complete successfully: exit code: 7"
            );
            assert_eq!(error.exit_code(), Some(7));
            assert_eq!(error.span().unwrap().first_line, 3);
            let build::Error::Step(failure) = error else {
                unreachable!()
            };
            assert_eq!(failure.output, b"before\n");
            assert_eq!(failure.name, "[2/2] RUN echo before && exit 7");
        }
        _ => panic!("the build did not fail as it should"),
    }
    assert!(
        site.fail("FROM busybox\nRUN [\"/nosuch\"]\n")
            .contains("`/nosuch` not found")
    );
    assert!(
        site.fail("FROM busybox\nUSER nobody-knows\nRUN true\n")
            .contains("`nobody-knows`")
    );
}

#[test]
fn priv_f045_f050_heredocs_of_run() {
    let Some(site) = site("priv_f045_f050_heredocs_of_run") else {
        return;
    };
    let outcome = site.build(concat!(
        "FROM busybox\n",
        "ARG name=builder\n",
        "RUN <<EOF\nname=shell; echo one $name\necho two\nEOF\n",
        "RUN <<EOF\n#!/bin/awk -f\nBEGIN { print \"awk\" }\nEOF\n",
        "RUN <<EOF sh > /f\necho \"to $name\"\nEOF\n",
        "RUN cat <<A > /a; cat <<B > /b\nin a\nA\nin b\nB\n",
    ));
    assert_eq!(output(&outcome), "one shell\ntwo\nawk\n");
    assert_eq!(outcome.read("f"), "to builder\n");
    assert_eq!(
        (outcome.read("a"), outcome.read("b")),
        ("in a\n".to_owned(), "in b\n".to_owned())
    );
    assert!(
        outcome.stat("dev/pipes").is_none(),
        "the script leaves no trace"
    );
}

#[test]
fn priv_f185_f190_surroundings_leave_no_trace() {
    let Some(mut site) = site("priv_f185_f190_surroundings_leave_no_trace") else {
        return;
    };
    site.request.add_hosts = vec![("db".to_owned(), "10.1.2.3".to_owned())];
    let outcome = site.build("FROM busybox\nRUN hostname; echo $HOSTNAME; grep -c 10.1.2.3 /etc/hosts; cat /etc/resolv.conf > /dev/null\n");
    assert_eq!(output(&outcome), "buildkitsandbox\nbuildkitsandbox\n1\n");
    assert_eq!(last_layer(&site, &outcome), Vec::<String>::new());
    site.request
        .build_args
        .insert("BUILDKIT_SANDBOX_HOSTNAME".to_owned(), "other".to_owned());
    assert_eq!(
        output(&site.build(
            "FROM busybox\nRUN hostname; echo $HOSTNAME; grep -c other /etc/hosts\nRUN ! echo x > /etc/hosts && ! echo x > /etc/resolv.conf\n"
        ))
        .replace("/bin/sh: can't create /etc/hosts: Read-only file system\n", "")
        .replace("/bin/sh: can't create /etc/resolv.conf: Read-only file system\n", ""),
        "other\nother\n1\n"
    );
    assert_eq!(
        output(&site.build("FROM busybox\nARG BUILDKIT_SANDBOX_HOSTNAME=mine\nENV HOSTNAME=own\nRUN hostname; echo $HOSTNAME\n")),
        "other\nown\n"
    );
}

#[test]
fn priv_f191_a_stage_without_the_cache_takes_along_what_its_new_content_is_in() {
    let Some(mut site) =
        site("priv_f191_a_stage_without_the_cache_takes_along_what_its_new_content_is_in")
    else {
        return;
    };
    let dockerfile = concat!(
        "FROM busybox AS s0\n",
        "RUN cat /proc/sys/kernel/random/uuid > /id\n",
        "FROM busybox\n",
        "RUN echo a > /a\n",
        "COPY --from=s0 /id /id\n",
        "RUN cat /id\n",
    );
    let first = site.build(dockerfile).read("id");
    assert!(site.build(dockerfile).all_cached());
    site.request.no_cache_stages = vec!["s0".to_owned()];
    let outcome = site.build(dockerfile);
    assert_ne!(outcome.read("id"), first);
    let words = |line: &String| line.split(' ').next().unwrap_or_default().to_owned();
    let steps: Vec<String> = outcome.steps().iter().map(words).collect();
    assert_eq!(steps, ["CACHED", "DONE", "CACHED", "DONE", "DONE"]);
}

#[test]
fn priv_f186_f187_f188_f189_users_and_groups() {
    let Some(site) = site("priv_f186_f187_f188_f189_users_and_groups") else {
        return;
    };
    for (user, expected) in [
        ("", "uid=0(root) gid=0(root) groups=0(root),10(wheel)"),
        ("USER 1234\n", "uid=1234 gid=0(root) groups=0(root)"),
        ("USER 1234:1234\n", "uid=1234 gid=1234 groups=1234"),
        (
            "USER user\n",
            "uid=1000(user) gid=1001(user) groups=55(extra),1001(user)",
        ),
        (
            "USER user:user\n",
            "uid=1000(user) gid=1001(user) groups=1001(user)",
        ),
        (
            "USER user:wheel\n",
            "uid=1000(user) gid=10(wheel) groups=10(wheel)",
        ),
        (
            "USER 1000\n",
            "uid=1000(user) gid=1001(user) groups=55(extra),1001(user)",
        ),
    ] {
        assert_eq!(
            output(&site.build(&format!("FROM busybox\n{user}RUN id\n"))).trim(),
            expected,
            "{user}"
        );
    }
    assert_eq!(
        output(&site.build("FROM busybox\nUSER user\nRUN echo $HOME\n")),
        "/home/user\n"
    );
}

#[test]
fn priv_f184_the_default_capabilities() {
    let Some(site) = site("priv_f184_the_default_capabilities") else {
        return;
    };
    let text =
        output(&site.build("FROM busybox\nRUN grep -E 'Cap(Eff|Bnd|Inh)' /proc/self/status\n"));
    assert!(
        text.contains("CapEff:\t00000000a80425fb") && text.contains("CapBnd:\t00000000a80425fb"),
        "{text}"
    );
    assert!(text.contains("CapInh:\t0000000000000000"), "{text}");
}

#[test]
fn priv_f182_network_none_has_only_a_loopback_device_whatever_the_build_has() {
    let Some(mut site) =
        site("priv_f182_network_none_has_only_a_loopback_device_whatever_the_build_has")
    else {
        return;
    };
    let command = "RUN --network=none grep -c : /proc/net/dev\n";
    site.request.network = build::Network::Host;
    assert_eq!(
        output(&site.build(&format!("FROM busybox\n{command}"))),
        "1\n"
    );
    site.request.network = build::Network::None;
    assert_eq!(
        output(&site.build("FROM busybox\nRUN true; grep -c : /proc/net/dev\n")),
        "1\n"
    );
    site.request.grants.network_host = true;
    let host = std::fs::read_to_string("/proc/self/net/dev").unwrap();
    let devices = host.lines().filter(|line| line.contains(':')).count();
    assert_eq!(
        output(&site.build("FROM busybox\nRUN --network=host grep -c : /proc/net/dev\n")),
        format!("{devices}\n")
    );
}

#[test]
fn priv_f165_f168_bind_mounts_of_the_context() {
    let Some(mut site) = site("priv_f165_f168_bind_mounts_of_the_context") else {
        return;
    };
    site.write("d/a.txt", "a")
        .write("b.txt", "b")
        .write("ignored", "i");
    site.request.ignore = Some(build::Text {
        name: ".dockerignore".to_owned(),
        text: "ignored\n".to_owned(),
    });
    let dockerfile = "FROM busybox\nRUN --mount=target=/c --mount=source=b.txt,target=/t2 ls /c > /l && cat /t2 >> /l && ! touch /c/x\n";
    let outcome = site.build(dockerfile);
    assert_eq!(outcome.read("l"), "b.txt\nd\nb");
    assert_eq!(
        last_layer(&site, &outcome),
        ["l"],
        "mount points leave no trace"
    );
    let again = site.build(dockerfile);
    assert!(again.all_cached());
    let name = "RUN --mount=target=/c --mount=source=b.txt,target=/t2 ls /c";
    assert!(again.steps()[1].contains(name), "{:?}", again.steps());
    site.write("d/a.txt", "changed");
    assert!(
        !site.build(dockerfile).all_cached(),
        "f168: any file under the mount counts"
    );
}

#[test]
fn priv_f167_bind_from_a_stage_counts_by_content() {
    let Some(site) = site("priv_f167_bind_from_a_stage_counts_by_content") else {
        return;
    };
    site.write("f", "f").write("noise", "1");
    let dockerfile = "FROM busybox AS a\nCOPY f /d/f\nFROM busybox\nRUN --mount=from=a,source=/d,target=/m cat /m/f > /got\n";
    let outcome = site.build(dockerfile);
    assert_eq!(outcome.read("got"), "f");
    crate::support::set_mtime(&site.path("f"), 5);
    assert!(site.build(dockerfile).all_cached());
}

#[test]
fn priv_f169_f170_caches_outlive_steps_and_are_no_content() {
    let Some(site) = site("priv_f169_f170_caches_outlive_steps_and_are_no_content") else {
        return;
    };
    let outcome = site.build(concat!(
        "FROM busybox\n",
        "RUN --mount=type=cache,target=/c,uid=1001,gid=1002,mode=0751 echo two > /c/f; stat -c '%a %u:%g' /c\n",
        "RUN --mount=type=cache,target=/c echo one > /c/f; stat -c '%a %u:%g' /c\n",
        "RUN --mount=type=cache,target=/c cat /c/f; ls /c/\n",
        "RUN --mount=type=cache,target=/other ls /other\n",
        "RUN --mount=type=cache,id=/c,target=/third cat /third/f\n",
    ));
    assert_eq!(output(&outcome), "751 1001:1002\n755 0:0\none\nf\none\n");
    assert!(outcome.stat("c").is_none());
}

#[test]
fn priv_a_cache_may_begin_with_the_content_of_a_stage() {
    let Some(site) = site("priv_a_cache_may_begin_with_the_content_of_a_stage") else {
        return;
    };
    site.write("d/f", "first")
        .write("d/sub/g", "g")
        .link("d/l", "/etc");
    let outcome = site.build(concat!(
        "FROM scratch AS first\n",
        "COPY --chown=3:4 d /d\n",
        "FROM busybox\n",
        "RUN --mount=type=cache,target=/c,from=first,source=/d cat /c/f /c/sub/g; stat -c ' %u:%g' /c/f; echo second > /c/f\n",
        "RUN --mount=type=cache,target=/c,from=first,source=/d cat /c/f; rm -r /c/sub; ln -s /etc /c/sub\n",
    ));
    assert_eq!(output(&outcome), "firstg 3:4\nsecond\n");
    let message = site.fail(
        "FROM scratch AS first\nFROM busybox\nRUN --mount=type=cache,id=x,target=/c,from=busybox,source=/nosuch true\n",
    );
    assert!(message.contains("/nosuch"), "{message}");
}

#[test]
fn priv_f174_tmpfs_is_gone_in_the_next_step() {
    let Some(site) = site("priv_f174_tmpfs_is_gone_in_the_next_step") else {
        return;
    };
    let outcome = site.build(concat!(
        "FROM busybox\n",
        "RUN --mount=type=tmpfs,target=/t,size=128m df -k /t | grep -c 131072; echo x > /t/x\n",
        "RUN test ! -e /t\n",
    ));
    assert_eq!(output(&outcome), "1\n");
}

#[test]
fn priv_f176_f180_secrets() {
    let Some(mut site) = site("priv_f176_f180_secrets") else {
        return;
    };
    let optional = "FROM busybox\nRUN --mount=type=secret,id=s test ! -e /run/secrets/s\n";
    site.build(optional);
    assert!(
        site.fail("FROM busybox\nRUN --mount=type=secret,id=s,required true\n")
            .contains("`s`")
    );
    site.request
        .secrets
        .insert("s".to_owned(), SecretSource::Value(b"hidden".to_vec()));
    let dockerfile = concat!(
        "FROM busybox\n",
        "RUN --mount=type=secret,id=s cat /run/secrets/s; stat -c ' %a' /run/secrets/s\n",
        "RUN --mount=type=secret,id=s,mode=741,uid=100,gid=102,target=/mysecret stat -c '%a %u:%g' /mysecret\n",
        "RUN --mount=type=secret,id=s,env=TOKEN echo $TOKEN; test ! -e /run/secrets/s\n",
        "RUN --mount=type=secret,id=s,env=TOKEN,target=/both echo $TOKEN; cat /both; echo\n",
    );
    let outcome = site.build(dockerfile);
    assert_eq!(
        output(&outcome),
        "hidden 400\n741 100:102\nhidden\nhidden\nhidden\n"
    );
    for path in ["mysecret", "both", "run/secrets"] {
        assert!(outcome.stat(path).is_none(), "no stub of /{path} stays");
    }
    site.request
        .secrets
        .insert("s".to_owned(), SecretSource::Value(b"changed".to_vec()));
    assert!(
        site.build(dockerfile).all_cached(),
        "f180: the value is no part of the key"
    );
}

#[test]
fn priv_the_hosts_ca_bundle_is_seen_and_leaves_no_trace() {
    let Some(mut site) = site("priv_the_hosts_ca_bundle_is_seen_and_leaves_no_trace") else {
        return;
    };
    std::fs::write(site.outside("ca.pem"), "certificate").unwrap();
    let dockerfile = "FROM busybox\nENV CURL_CA_BUNDLE=/own\nRUN cat $SSL_CERT_FILE $GIT_SSL_CAINFO; echo; echo $CURL_CA_BUNDLE\n";
    site.request.host_ca = Some(site.outside("ca.pem"));
    let outcome = site.build(dockerfile);
    assert_eq!(output(&outcome), "certificatecertificate\n/own\n");
    assert_eq!(last_layer(&site, &outcome), Vec::<String>::new());
    assert!(
        !outcome
            .config
            .config
            .env
            .iter()
            .any(|entry| entry.contains("SSL"))
    );
    site.request.host_ca = None;
    assert!(
        site.build(dockerfile).all_cached(),
        "it is no part of the key"
    );
}

#[test]
fn priv_a_base_that_is_rebuilt_with_the_same_content_changes_nothing() {
    let Some(site) = site("priv_a_base_that_is_rebuilt_with_the_same_content_changes_nothing")
    else {
        return;
    };
    site.write("f", "f");
    let dockerfile = "FROM busybox\nCOPY f /f\nRUN cat /f > /g\n";
    let first = site.build(dockerfile);
    crate::support::set_mtime(&site.path("f"), 5);
    let second = site.build(dockerfile);
    assert!(second.all_cached());
    assert_eq!(first.built.descriptor, second.built.descriptor);
    site.write("f", "2");
    assert_eq!(site.build(dockerfile).read("g"), "2");
}

#[test]
fn priv_a_run_on_an_empty_root_says_what_is_missing() {
    let Some(site) = site("priv_a_run_on_an_empty_root_says_what_is_missing") else {
        return;
    };
    let message = site.fail("FROM scratch\nRUN true\n");
    assert!(message.contains("/bin/sh"), "{message}");
}

#[test]
fn priv_a_bind_whose_source_is_a_link_stays_inside_its_context_or_stage() {
    let Some(site) = site("priv_a_bind_whose_source_is_a_link_stays_inside_its_context_or_stage")
    else {
        return;
    };
    // CVE-2024-1753: a source that is a link to `/` must not show the host.
    let secret = site.outside("secret");
    std::fs::write(&secret, "host").unwrap();
    site.write("inside", "x")
        .link("all", "/")
        .link("up", "../../../..");
    let outcome = site.build(concat!(
        "FROM busybox\n",
        "RUN --mount=source=all,target=/m ls /m\n",
        "RUN --mount=source=up,target=/m ls /m\n",
        "FROM busybox AS evil\n",
        "RUN ln -s / /all && ln -s ../../../.. /up\n",
        "FROM busybox\n",
        "RUN --mount=from=evil,source=/all,target=/m ls /m/bin/busybox\n",
        "RUN --mount=from=evil,source=/up,target=/m,rw echo x > /m/written && ls /m/bin/busybox\n",
    ));
    assert_eq!(output(&outcome), "/m/bin/busybox\n/m/bin/busybox\n");
    assert!(!std::path::Path::new("/written").exists());
    let mut first = site;
    first.request.target = Some("0".to_owned());
    let outcome = first.build(concat!(
        "FROM busybox\n",
        "RUN --mount=source=all,target=/m ls /m\n",
        "RUN --mount=source=up,target=/m ls /m\n",
    ));
    assert_eq!(output(&outcome), "all\ninside\nup\nall\ninside\nup\n");
}

#[test]
fn priv_ids_of_caches_and_targets_of_secrets_lead_nowhere_else() {
    let Some(mut site) = site("priv_ids_of_caches_and_targets_of_secrets_lead_nowhere_else") else {
        return;
    };
    // CVE-2024-9675, CVE-2024-23651, CVE-2024-9341.
    site.request
        .secrets
        .insert("s".to_owned(), SecretSource::Value(b"hidden".to_vec()));
    let outside = site.outside("out");
    std::fs::create_dir(&outside).unwrap();
    let outcome = site.build(&format!(
        "FROM busybox\nRUN ln -s {outside} /link\nRUN --mount=type=cache,id=../../../../out,target=/c echo x > /c/f\n\
         RUN --mount=type=secret,id=s,target=/link/secret cat /link/secret\n\
         RUN --mount=type=cache,target=/link/c echo x > /link/c/f\n",
        outside = outside.display()
    ));
    assert_eq!(output(&outcome), "hidden");
    assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0);
    assert!(
        outcome
            .stat(&format!("{}/secret", outside.display()))
            .is_none(),
        "no stub stays"
    );
}

#[test]
fn priv_nothing_of_the_hosts_environment_is_seen() {
    let Some(site) = site("priv_nothing_of_the_hosts_environment_is_seen") else {
        return;
    };
    // CVE-2021-3602; CVE-2026-57231: a name without a value must not fetch the host's.
    image()
        .on(&site.store.resolve("busybox").unwrap())
        .env("CARGO_MANIFEST_DIR")
        .env("A=1")
        .name("odd")
        .build(&site.store)
        .unwrap();
    let text = output(&site.build("FROM odd\nRUN env\n"));
    let mut names: Vec<&str> = text
        .lines()
        .filter_map(|line| line.split('=').next())
        .collect();
    names.sort_unstable();
    names.retain(|name| !["PWD", "SHLVL", "OLDPWD"].contains(name));
    assert_eq!(
        names,
        ["A", "CARGO_MANIFEST_DIR", "HOME", "HOSTNAME", "PATH"]
    );
    assert!(
        text.lines().any(|line| line == "CARGO_MANIFEST_DIR="),
        "{text}"
    );
}

#[test]
fn priv_working_directories_through_links_stay_inside() {
    let Some(site) = site("priv_working_directories_through_links_stay_inside") else {
        return;
    };
    // CVE-2024-21626, CVE-2026-55686.
    let outside = site.outside("made");
    let outcome = site.build(&format!(
        "FROM busybox\nRUN ln -s {} /w && ln -s /proc/self/fd /fd\nWORKDIR /w/x\nRUN pwd && echo here > file\nWORKDIR /fd/7\n",
        outside.display()
    ));
    assert_eq!(output(&outcome).trim(), format!("{}/x", outside.display()));
    assert!(!outside.exists());
    assert_eq!(
        outcome.read(&format!("{}/x/file", outside.display())),
        "here\n"
    );
    assert!(
        outcome.stat("proc/self/fd/7").is_some(),
        "a directory of the image, named like one of the host's"
    );
}
