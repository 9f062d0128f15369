//! Dockerfiles, images and caches that mean harm. Where a line of the list in `docs/security.md` needs no build to show, its test is
//! with the code.

use build::SecretSource;
use testkit::image;

use crate::running::{last_layer, output, site};
use crate::support::Site;

#[test]
fn an_endless_list_of_accounts_is_an_error() {
    let site = Site::new();
    // CVE-2026-47262. Cut short, it would say that there is no such user, or find another one.
    site.write("passwd", &"x".repeat((4 << 20) + 1))
        .write("f", "");
    for user in [
        "COPY --chown=user f /f",
        "USER user\nWORKDIR /w",
        "USER user\nRUN true",
    ] {
        let message = site.fail(&format!("FROM scratch\nCOPY passwd /etc/passwd\n{user}\n"));
        assert!(message.contains("larger than 4 MiB"), "{message}");
        assert!(message.contains("`/etc/passwd`"), "{message}");
    }
}

#[test]
fn numbers_of_users_never_wrap_to_root() {
    let site = Site::new();
    // CVE-2024-40635, CVE-2026-30892.
    site.write("passwd", "huge:x:4294967296:4294967296::/:\n");
    for user in ["4294967296", "0:4294967296", "-1", "+0", "huge"] {
        let message = site.fail(&format!(
            "FROM scratch\nCOPY passwd /etc/passwd\nUSER {user}\nRUN true\n"
        ));
        assert!(
            message.contains(&format!("`{user}`")) || message.contains("`4294967296`"),
            "{user}: {message}"
        );
    }
}

#[test]
fn words_that_other_builders_hand_to_mount_are_errors() {
    let site = Site::new();
    // CVE-2024-9407.
    for option in [
        "bind-propagation=shared",
        "bind-propagation=rshared",
        "propagation=shared",
        "relabel=shared",
        "bind-nonrecursive",
        "U",
        "z",
        "Z",
        "O",
        "upperdir=/",
        "tmpcopyup",
    ] {
        let message = site.fail(&format!(
            "FROM scratch\nRUN --mount=type=bind,target=/m,{option} true\n"
        ));
        assert!(message.contains("unknown key"), "{option}: {message}");
    }
}

#[test]
fn a_syntax_line_starts_and_reads_nothing() {
    let site = Site::new();
    // CVE-2026-33747: what a frontend is called is a name here, and no file's.
    for name in [
        "/etc/passwd",
        "../../../evil",
        "docker-image://nosuch.invalid/x",
    ] {
        let outcome = site.build(&format!("# syntax={name}\nFROM scratch\nLABEL a=b\n"));
        assert_eq!(outcome.built.image.layers, []);
    }
}

#[test]
fn priv_accounts_that_are_pipes_devices_or_links_are_no_accounts() {
    let Some(site) = site("priv_accounts_that_are_pipes_devices_or_links_are_no_accounts") else {
        return;
    };
    // CVE-2024-9676: a pipe would be waited for, a link would show the host's file.
    std::fs::write(site.outside("passwd"), "host:x:0:0::/:\n").unwrap();
    for command in [
        "mkfifo /etc/passwd".to_owned(),
        "mknod /etc/passwd c 1 5".to_owned(),
        format!("ln -s {} /etc/passwd", site.outside("passwd").display()),
        "mkdir /etc/passwd".to_owned(),
    ] {
        let begin = format!("FROM busybox\nRUN rm /etc/passwd && busybox {command}\n");
        let outcome = site.build(&format!("{begin}USER 7\nRUN [\"echo\", \"ran\"]\n"));
        assert_eq!(output(&outcome), "ran\n", "{command}");
        let message = site.fail(&format!("{begin}USER host\nRUN [\"echo\", \"ran\"]\n"));
        assert!(message.contains("no user `host`"), "{message}");
    }
}

#[test]
fn priv_cleaning_up_after_mounts_deletes_nothing_of_the_host() {
    let Some(site) = site("priv_cleaning_up_after_mounts_deletes_nothing_of_the_host") else {
        return;
    };
    // CVE-2024-23652: empty files and directories that were made only to mount on are removed after the step. What leads
    // there by then is not what led there before.
    let host = site.outside("host");
    std::fs::create_dir_all(host.join("b/c")).unwrap();
    std::fs::write(host.join("secret"), "").unwrap();
    site.write("f", "of the context");
    let link = format!("ln -s {} /a", host.display());
    let outcome = site.build(&format!(
        "FROM busybox\n\
         RUN --mount=source=f,target=/a/secret --mount=target=/a/b/c mv /a /moved && {link}\n\
         RUN --mount=source=f,target=/a/secret --mount=target=/a/b/c cat /a/secret\n\
         RUN --mount=target=/t/b/c mv /t /gone && ln -s / /t\n"
    ));
    assert_eq!(output(&outcome), "of the context");
    assert!(host.join("b/c").is_dir() && host.join("secret").is_file());
    assert_eq!(outcome.stat("a").unwrap().kind, layer::FileType::Symlink);
    for path in ["gone/b/c", "moved/secret", "moved/b/c"] {
        // They went with what they were in, as empty as they were made.
        if let Some(stat) = outcome.stat(path) {
            assert!(
                stat.kind == layer::FileType::Dir || stat.size == 0,
                "{path}"
            );
        }
    }
}

#[test]
fn priv_links_in_a_cache_lead_no_mount_out_of_the_image() {
    let Some(mut site) = site("priv_links_in_a_cache_lead_no_mount_out_of_the_image") else {
        return;
    };
    let host = site.outside("host");
    std::fs::create_dir(&host).unwrap();
    site.request
        .secrets
        .insert("s".to_owned(), SecretSource::Value(b"hidden".to_vec()));
    let outcome = site.build(&format!(
        "FROM busybox\n\
         RUN --mount=type=cache,target=/c ln -s {host} /c/link && mknod /c/zero c 1 5 || busybox mknod /c/zero c 1 5\n\
         RUN --mount=type=cache,target=/c --mount=type=secret,id=s,target=/c/link/s cat /c/link/s\n\
         RUN --mount=type=cache,target=/c --mount=type=cache,id=d,target=/c/link/d echo x > /c/link/d/f\n\
         RUN --mount=type=cache,target=/c ! cat /c/zero\n",
        host = host.display()
    ));
    let text = output(&outcome);
    assert!(
        text.contains("hidden") && text.contains("/c/zero"),
        "{text}"
    );
    assert_eq!(std::fs::read_dir(&host).unwrap().count(), 0);
    assert_eq!(last_layer(&site, &outcome), Vec::<String>::new());
}

#[test]
fn priv_a_cache_that_changes_under_a_mount_never_shows_the_host() {
    let Some(site) = site("priv_a_cache_that_changes_under_a_mount_never_shows_the_host") else {
        return;
    };
    // CVE-2024-11218, CVE-2024-23651: one build swaps a directory for a link while another mounts it.
    let host = site.outside("host");
    std::fs::create_dir(&host).unwrap();
    std::fs::write(host.join("f"), "of the host").unwrap();
    site.build(
        "FROM busybox\nRUN --mount=type=cache,id=x,target=/c mkdir /c/sel && echo own > /c/sel/f\n",
    );
    std::thread::scope(|scope| {
        let (heard, hear) = std::sync::mpsc::channel();
        let swap = format!(
            "FROM busybox\nRUN --mount=type=cache,id=x,target=/c ln -s {} /c/link && echo begun && \
             for i in $(seq 1000); do test -e /c/stop && break; mv /c/sel /c/own; mv /c/link /c/sel; mv /c/sel /c/link; mv /c/own /c/sel; done\n",
            host.display()
        );
        let swapping = crate::mounts::build_beside(scope, &site, swap, heard);
        assert_eq!(hear.recv().unwrap(), "begun\n");
        let mut seen = 0;
        for number in 0..12 {
            let read = format!(
                "FROM busybox\nENV N={number}\nRUN --mount=type=cache,id=x,source=sel,target=/m cat /m/f\n"
            );
            // Where nothing or the link is at that moment, it fails.
            if let Ok(outcome) = site.try_build(&read) {
                assert_eq!(output(&outcome), "own\n");
                seen += 1;
            }
        }
        site.build("FROM busybox\nRUN --mount=type=cache,id=x,target=/c touch /c/stop\n");
        swapping.join().unwrap().unwrap();
        assert!(seen <= 12);
    });
}

#[test]
fn priv_texts_of_a_base_image_do_nothing_on_the_host() {
    let Some(site) = site("priv_texts_of_a_base_image_do_nothing_on_the_host") else {
        return;
    };
    // CVE-2026-53488, CVE-2026-57231: labels, variables and triggers are texts of the image and of its sandbox.
    let marker = site.outside("marker");
    let command = format!("touch {}", marker.display());
    image()
        .on(&site.store.resolve("busybox").unwrap())
        .config(|config| {
            config
                .config
                .labels
                .insert("run".to_owned(), command.clone());
        })
        .env(&format!("BASH_ENV=$({command})"))
        .env("LD_PRELOAD=/nosuch.so")
        .env("PATH=/evil:/bin")
        .name("odd")
        .build(&site.store)
        .unwrap();
    let outcome = site.build("FROM odd\nRUN echo $LD_PRELOAD\n");
    assert!(output(&outcome).contains("/nosuch.so"));
    assert!(!marker.exists());
}
