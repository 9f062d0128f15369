//! Binds and caches of RUN: who sees them, when they begin anew, how they are shared. Needs root.

use std::sync::mpsc;

use build::{Event, Local, Request, Text};
use store::{OpenOptions, Store};

use crate::running::{last_layer, output, site};
use crate::support::Site;

#[test]
fn priv_f166_what_is_written_to_a_bind_is_gone_after_the_step() {
    let Some(site) = site("priv_f166_what_is_written_to_a_bind_is_gone_after_the_step") else {
        return;
    };
    site.write("b.txt", "b");
    let outcome = site.build(concat!(
        "FROM busybox AS src\n",
        "RUN mkdir /d && echo one > /d/f\n",
        "FROM busybox\n",
        "RUN --mount=from=src,source=/d,target=/m,rw echo two > /m/f && echo x > /m/new && cat /m/f && ls /m\n",
        "RUN --mount=from=src,source=/d,target=/m cat /m/f && ls /m\n",
        "RUN --mount=target=/c,rw echo x > /c/new && ls /c\n",
        "RUN --mount=target=/c ls /c && ! touch /c/x\n",
        "COPY --from=src /d /copied\n",
    ));
    assert_eq!(
        output(&outcome).replace("touch: /c/x: Read-only file system\n", ""),
        "two\nf\nnew\none\nf\nb.txt\nnew\nb.txt\n"
    );
    assert_eq!(outcome.read("copied/f"), "one\n");
    assert!(outcome.stat("copied/new").is_none() && outcome.stat("m").is_none());
    assert!(!site.path("new").exists());
}

#[test]
fn priv_f171_a_cache_with_a_mode_begins_anew_without_the_build_cache() {
    let Some(mut site) = site("priv_f171_a_cache_with_a_mode_begins_anew_without_the_build_cache")
    else {
        return;
    };
    let dockerfile = concat!(
        "FROM busybox\n",
        "ARG N\n",
        "RUN --mount=type=cache,target=/c,mode=0751 echo $N >> /c/f; stat -c %a /c\n",
        "RUN --mount=type=cache,target=/c,mode=0751 cat /c/f\n",
        "RUN --mount=type=cache,target=/plain echo $N >> /plain/f; cat /plain/f\n",
    );
    for (number, no_cache, expected) in [
        (1, false, "751\n1\n1\n"),
        (2, false, "751\n1\n2\n1\n2\n"),
        (3, true, "751\n3\n1\n2\n3\n"),
        (4, false, "751\n3\n4\n1\n2\n3\n4\n"),
    ] {
        site.request.no_cache = no_cache;
        site.request
            .build_args
            .insert("N".to_owned(), number.to_string());
        assert_eq!(output(&site.build(dockerfile)), expected, "build {number}");
    }
}

#[test]
fn priv_f171_who_uses_a_cache_keeps_it_while_another_begins_anew() {
    let Some(mut site) = site("priv_f171_who_uses_a_cache_keeps_it_while_another_begins_anew")
    else {
        return;
    };
    let write = "FROM busybox\nRUN --mount=type=cache,id=c,target=/c,uid=0 echo first > /c/f\n";
    site.build(write);
    let held = site.store.cache("/c\u{0}755 0:0", false).unwrap();
    let content = held.path().join("content");
    let before = std::fs::File::open(&content).unwrap();
    site.request.no_cache = true;
    let list =
        "FROM busybox\nRUN --mount=type=cache,id=c,target=/c,uid=0 ls /c; echo second > /c/g\n";
    assert_eq!(output(&site.build(list)), "");
    use std::os::fd::AsRawFd as _;
    let kept = format!("/proc/self/fd/{}/f", before.as_raw_fd());
    assert_eq!(std::fs::read_to_string(kept).unwrap(), "first\n");
    assert!(content.join("g").exists() && !content.join("f").exists());
    drop(held);
    // The next one that has it alone tidies up.
    site.build(write);
    let held = site.store.cache("/c\u{0}755 0:0", false).unwrap();
    let left: Vec<_> = std::fs::read_dir(held.path()).unwrap().collect();
    assert_eq!(left.len(), 1, "{left:?}");
}

#[test]
fn priv_f172_a_source_in_a_cache_does_not_lead_out_of_it() {
    let Some(site) = site("priv_f172_a_source_in_a_cache_does_not_lead_out_of_it") else {
        return;
    };
    let outcome = site.build(concat!(
        "FROM busybox\n",
        "RUN --mount=type=cache,id=x,target=/c mkdir /c/real && echo in > /c/real/f && ln -s real /c/near ",
        "&& ln -s /etc /c/sel && ln -s ../../../../../../../etc /c/up\n",
        "RUN --mount=type=cache,id=x,source=real,target=/m cat /m/f\n",
        "RUN --mount=type=cache,id=x,source=/near,target=/m cat /m/f\n",
        "RUN --mount=type=cache,id=x,source=../../real/f,target=/m cat /m\n",
    ));
    assert_eq!(output(&outcome), "in\nin\nin\n");
    for name in ["sel", "up", "nosuch", "sel/passwd"] {
        let message = site.fail(&format!(
            "FROM busybox\nRUN --mount=type=cache,id=x,source={name},target=/m ls /m\n"
        ));
        assert!(
            message.contains(&format!("`{name}` is not in the cache")),
            "{message}"
        );
    }
    // An `etc` of its own is what a link there means.
    let outcome = site.build(concat!(
        "FROM busybox\n",
        "RUN --mount=type=cache,id=x,target=/c mkdir /c/etc && echo own > /c/etc/passwd\n",
        "RUN --mount=type=cache,id=x,source=sel,target=/m cat /m/passwd\n",
    ));
    assert_eq!(output(&outcome), "own\n");
}

/// Builds in another thread, with a handle of its own on the store; `heard` gets what is logged.
pub(crate) fn build_beside<'scope>(
    scope: &'scope std::thread::Scope<'scope, '_>,
    site: &Site,
    dockerfile: String,
    heard: mpsc::Sender<String>,
) -> std::thread::ScopedJoinHandle<'scope, Result<(), String>> {
    let root = site.outside("store");
    let request = Request {
        dockerfile: Text {
            name: "Dockerfile".to_owned(),
            text: dockerfile,
        },
        ..site.request.clone()
    };
    scope.spawn(move || {
        let store = Store::open(root, &OpenOptions::default()).map_err(|e| e.to_string())?;
        let heard = std::sync::Mutex::new(heard);
        build::build(
            &request,
            &store,
            &Local(&store),
            &build::Offline,
            &|event| {
                if let Event::StepLog { bytes, .. } = event {
                    let text = String::from_utf8_lossy(&bytes).into_owned();
                    heard.lock().unwrap().send(text).ok();
                }
            },
        )
        .map(drop)
        .map_err(|error| format!("{error:?}"))
    })
}

#[test]
fn priv_f173_nested_caches_work_also_at_once() {
    let Some(site) = site("priv_f173_nested_caches_work_also_at_once") else {
        return;
    };
    let (heard, _keep) = mpsc::channel();
    std::thread::scope(|scope| {
        let builds: Vec<_> = (0..4)
            .map(|number| {
                // The inner one first: parents are mounted first whatever the order is.
                let dockerfile = format!(
                    "FROM busybox\nRUN --mount=type=cache,target=/foo/bar/baz --mount=type=cache,target=/foo/bar \
                     echo x > /foo/bar/baz/in{number} && echo x > /foo/bar/out{number}\n"
                );
                build_beside(scope, &site, dockerfile, heard.clone())
            })
            .collect();
        for build in builds {
            build.join().unwrap().unwrap();
        }
    });
    let outcome = site.build(concat!(
        "FROM busybox\n",
        "RUN --mount=type=cache,target=/foo/bar ls /foo/bar /foo/bar/baz\n",
        "RUN --mount=type=cache,target=/foo/bar/baz ls /foo/bar/baz\n",
    ));
    assert_eq!(
        output(&outcome),
        "/foo/bar:\nbaz\nout0\nout1\nout2\nout3\n\n/foo/bar/baz:\nin0\nin1\nin2\nin3\n"
    );
    assert_eq!(last_layer(&site, &outcome), Vec::<String>::new());
}

#[test]
fn priv_a_private_cache_is_another_one_while_the_first_is_in_use() {
    let Some(site) = site("priv_a_private_cache_is_another_one_while_the_first_is_in_use") else {
        return;
    };
    let step = |text: &str, number: u32| {
        let dockerfile = format!(
            "FROM busybox\nENV N={number}\nRUN --mount=type=cache,id=c,sharing=private,target=/c \
             cat /c/f; echo {text} > /c/f\n"
        );
        output(&site.build(&dockerfile))
            .replace("cat: can't open '/c/f': No such file or directory\n", "")
    };
    assert_eq!(step("first", 1), "");
    let held = site.store.cache("/c", true).unwrap();
    assert_eq!(step("second", 2), "", "it does not wait");
    drop(held);
    assert_eq!(step("first again", 3), "first\n");
    let held = site.store.cache("/c", false).unwrap();
    assert_eq!(step("second again", 4), "second\n");
    drop(held);
}

#[test]
fn priv_a_locked_cache_is_waited_for() {
    let Some(site) = site("priv_a_locked_cache_is_waited_for") else {
        return;
    };
    let held = site.store.cache("/c", false).unwrap();
    let (heard, hear) = mpsc::channel();
    std::thread::scope(|scope| {
        let dockerfile =
            "FROM busybox\nRUN --mount=type=cache,id=c,sharing=locked,target=/c echo done\n";
        let build = build_beside(scope, &site, dockerfile.to_owned(), heard);
        let first = hear.recv().unwrap();
        assert!(first.contains("waiting for the cache `c`"), "{first}");
        assert!(hear.try_recv().is_err(), "it waits");
        drop(held);
        build.join().unwrap().unwrap();
    });
    assert_eq!(hear.recv().unwrap(), "done\n");
    // A step that has one cache in two places does not wait for itself.
    let outcome = site.build(concat!(
        "FROM busybox\n",
        "RUN --mount=type=cache,id=c,sharing=locked,target=/a --mount=type=cache,id=c,sharing=locked,target=/b ",
        "--mount=type=cache,id=c,target=/d echo one > /a/f && cat /b/f /d/f\n",
    ));
    assert_eq!(output(&outcome), "one\none\n");
}

#[test]
fn priv_a_namespace_keeps_caches_apart() {
    let Some(mut site) = site("priv_a_namespace_keeps_caches_apart") else {
        return;
    };
    for (namespace, expected) in [("a", "a\n"), ("b", "b\n"), ("a", "a\na\n"), ("", "\n")] {
        site.request.no_cache = true;
        site.request
            .build_args
            .insert("BUILDKIT_CACHE_MOUNT_NS".to_owned(), namespace.to_owned());
        let dockerfile = format!(
            "FROM busybox\nRUN --mount=type=cache,target=/c echo {namespace} >> /c/f; cat /c/f\n"
        );
        assert_eq!(output(&site.build(&dockerfile)), expected);
    }
}
