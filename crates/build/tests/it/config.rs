//! Config and history.

use testkit::image;

use crate::support::{Site, set_mtime};

fn env(outcome: &crate::support::Outcome, name: &str) -> Option<String> {
    let prefix = format!("{name}=");
    outcome
        .config
        .config
        .env
        .iter()
        .find_map(|entry| Some(entry.strip_prefix(&prefix)?.to_owned()))
}

#[test]
fn f084_words_of_expose_are_split() {
    let site = Site::new();
    let outcome = site.build("FROM scratch\nENV PORTS=\"3000 4000/udp\"\nEXPOSE $PORTS\n");
    assert_eq!(
        outcome
            .config
            .config
            .exposed_ports
            .keys()
            .collect::<Vec<_>>(),
        ["3000/tcp", "4000/udp"]
    );
}

#[test]
fn f087_f088_global_args_reach_a_stage_that_asks_for_them() {
    let site = Site::new();
    let outcome = site.build(
        "ARG a1=\"foo bar\" a2=box\nARG a3=\"$a2-foo\"\nFROM scratch AS $none\nENV before=\"$a1\"\nARG a3 a4=\"1 2\" a1\nENV after=\"$a1|$a3|$a4\"\n"
            .replace(" AS $none", "")
            .as_str(),
    );
    assert_eq!(env(&outcome, "before").as_deref(), Some(""));
    assert_eq!(
        env(&outcome, "after").as_deref(),
        Some("foo bar|box-foo|1 2")
    );
}

#[test]
fn f090_a_default_that_is_not_needed_is_not_evaluated() {
    let mut site = Site::new();
    let dockerfile = "FROM scratch\nARG BAR=${FOO:?missing}\nENV x=$BAR\n";
    assert!(site.fail(dockerfile).contains("missing"));
    site.request
        .build_args
        .insert("BAR".to_owned(), "bar".to_owned());
    assert_eq!(env(&site.build(dockerfile), "x").as_deref(), Some("bar"));
}

#[test]
fn f095_f096_platform_arguments_and_target_stage() {
    let mut site = Site::new();
    site.request.platform = Some("darwin/ppc64le".parse().unwrap());
    site.request
        .build_args
        .insert("TARGETOS".to_owned(), "freebsd".to_owned());
    let outcome = site.build(
        "FROM scratch AS last\nENV a=\"$TARGETSTAGE\"\nARG TARGETSTAGE TARGETPLATFORM TARGETOS\nENV b=\"$TARGETSTAGE $TARGETPLATFORM $TARGETOS\"\n",
    );
    assert_eq!(env(&outcome, "a").as_deref(), Some(""));
    assert_eq!(
        env(&outcome, "b").as_deref(),
        Some("last darwin/ppc64le freebsd")
    );
    assert_eq!(
        (
            outcome.config.os.as_str(),
            outcome.config.architecture.as_str()
        ),
        ("darwin", "ppc64le")
    );
}

#[test]
fn f192_entrypoint_drops_a_cmd_of_the_base() {
    let site = Site::new();
    image()
        .cmd(&["test"])
        .name("base")
        .build(&site.store)
        .unwrap();
    let outcome = site.build("FROM base\nENTRYPOINT x\n");
    assert_eq!(outcome.config.config.cmd, None);
    assert_eq!(
        outcome.config.config.entrypoint.unwrap(),
        ["/bin/sh", "-c", "x"]
    );
    let outcome = site.build("FROM base\nCMD [\"own\"]\nENTRYPOINT [\"x\"]\n");
    assert_eq!(outcome.config.config.cmd.unwrap(), ["own"]);
    assert_eq!(
        site.build("FROM base\nCMD []\n").config.config.cmd,
        Some(Vec::new())
    );
}

#[test]
fn f193_a_shell_takes_the_text_as_one_argument() {
    let site = Site::new();
    let outcome = site.build("FROM scratch\nSHELL [\"ls\"]\nENTRYPOINT my entrypoint\n");
    assert_eq!(
        outcome.config.config.entrypoint.unwrap(),
        ["ls", "my entrypoint"]
    );
    assert_eq!(outcome.config.config.shell, ["ls"]);
}

#[test]
fn f194_an_image_of_nothing_but_config() {
    let site = Site::new();
    let outcome = site.build("FROM scratch\nENV a=b\n");
    assert!(outcome.config.rootfs.diff_ids.is_empty());
    assert_eq!(outcome.config.history.len(), 1);
    assert!(outcome.config.history[0].empty_layer);
    assert_eq!(
        outcome.config.config.env,
        [
            "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "a=b"
        ]
    );
    assert_eq!(outcome.config.config.working_dir, "/");
}

#[test]
fn f195_history_of_every_instruction() {
    let mut site = Site::new();
    site.write("src", "x");
    site.request
        .build_args
        .insert("given".to_owned(), "g".to_owned());
    let outcome = site.build(concat!(
        "FROM scratch\n",
        "ARG a=1 none given\n",
        "ENV k=v l=\"two words\"\n",
        "LABEL a=b c=d\n",
        "EXPOSE 2375 5000 1234/udp\n",
        "VOLUME /d\n",
        "SHELL [\"/bin/bash\", \"-c\"]\n",
        "CMD [\"a\", \"b\"]\n",
        "ENTRYPOINT run it\n",
        "WORKDIR /abs\n",
        "USER x\n",
        "STOPSIGNAL SIGTERM\n",
        "MAINTAINER me\n",
        "HEALTHCHECK --interval=30s --retries=2 CMD curl -f\n",
        "ONBUILD ENV x=y\n",
        "COPY --chown=1:1 --link src dst\n",
        "ADD src <<EOF /e/\nx\nEOF\n",
    ));
    assert_eq!(
        outcome.created_by(),
        [
            "ARG a=1 none given=g",
            "ENV k=v l=two words",
            "LABEL a=b c=d",
            "EXPOSE [1234/udp 2375/tcp 5000/tcp]",
            "VOLUME [/d]",
            "SHELL [/bin/bash -c]",
            "CMD [\"a\" \"b\"]",
            "ENTRYPOINT [\"/bin/bash\" \"-c\" \"run it\"]",
            "WORKDIR /abs",
            "USER x",
            "STOPSIGNAL SIGTERM",
            "MAINTAINER me",
            "HEALTHCHECK {Test:[CMD-SHELL curl -f] Interval:30s Timeout:0s StartPeriod:0s StartInterval:0s Retries:2}",
            "COPY --chown=1:1 src dst # buildkit",
            "ADD src <<EOF /e/ # buildkit",
        ]
    );
    let config = &outcome.config;
    assert!(
        config
            .history
            .iter()
            .all(|entry| entry.comment.as_deref() == Some("buildkit.dockerfile.v0"))
    );
    let empty: Vec<bool> = config
        .history
        .iter()
        .map(|entry| entry.empty_layer)
        .collect();
    assert_eq!(
        empty.iter().filter(|empty| !**empty).count(),
        config.rootfs.diff_ids.len()
    );
    assert_eq!(config.author.as_deref(), Some("me"));
    assert_eq!(config.config.user, "x");
    assert_eq!(config.config.on_build, ["ENV x=y"]);
    assert_eq!(config.config.stop_signal.as_deref(), Some("SIGTERM"));
    assert_eq!(
        config.config.healthcheck.as_ref().unwrap().interval,
        30_000_000_000
    );
    assert!(config.config.volumes.contains_key("/d"));
}

#[test]
fn f198_labels_of_the_request_win() {
    let mut site = Site::new();
    site.request.labels = vec![
        ("a".to_owned(), "cli".to_owned()),
        ("new".to_owned(), "x".to_owned()),
    ];
    let outcome = site.build("FROM scratch\nLABEL a=file b=file\n");
    let labels: Vec<_> = outcome
        .config
        .config
        .labels
        .iter()
        .map(|(k, v)| format!("{k}={v}"))
        .collect();
    assert_eq!(labels, ["a=cli", "b=file", "new=x"]);
}

#[test]
fn f199_only_the_final_chain_is_in_the_history() {
    let site = Site::new();
    site.write("f", "f");
    let outcome =
        site.build("FROM scratch AS a\nCOPY f /f\nENV x=1\nFROM scratch\nCOPY --from=a /f /g\n");
    assert_eq!(outcome.created_by(), ["COPY /f /g # buildkit"]);
    let outcome = site.build("FROM scratch AS a\nENV x=1\nFROM a\nENV y=2\n");
    assert_eq!(outcome.created_by(), ["ENV x=1", "ENV y=2"]);
}

#[test]
fn f200_a_working_directory_makes_a_layer_even_if_it_exists_but_not_the_root() {
    let site = Site::new();
    image()
        .dir("old", 0o755)
        .name("base")
        .build(&site.store)
        .unwrap();
    let outcome = site.build("FROM base\nWORKDIR /\nWORKDIR /old\n");
    let empty: Vec<bool> = outcome
        .config
        .history
        .iter()
        .rev()
        .take(2)
        .map(|entry| entry.empty_layer)
        .collect();
    assert_eq!(empty, [false, true]);
    assert_eq!(outcome.config.rootfs.diff_ids.len(), 2);
}

#[test]
fn the_base_gives_its_config_and_history() {
    let site = Site::new();
    image()
        .file("f", b"f")
        .env("PATH=/own")
        .config(|config| {
            config.author = Some("them".to_owned());
            config.config.user = "u".to_owned();
            config.config.working_dir = "/w".to_owned();
            config.config.labels.insert("l".to_owned(), "1".to_owned());
            config.config.stop_signal = Some("9".to_owned());
        })
        .name("base")
        .build(&site.store)
        .unwrap();
    let base = site
        .store
        .config(&site.store.resolve("base").unwrap())
        .unwrap();
    let outcome = site.build("FROM base\nENV a=b\n");
    let config = &outcome.config;
    assert_eq!(config.config.env, ["PATH=/own", "a=b"]);
    assert_eq!(config.config.user, "u");
    assert_eq!(config.config.working_dir, "/w");
    assert_eq!(config.author.as_deref(), Some("them"));
    assert_eq!(config.rootfs.diff_ids, base.rootfs.diff_ids);
    assert_eq!(config.history[..base.history.len()], base.history[..]);
    assert_eq!(config.history.len(), base.history.len() + 1);
}

#[test]
fn the_manifest_names_uncompressed_layers() {
    let site = Site::new();
    site.write("f", "f");
    let outcome = site.build("FROM scratch\nCOPY f /\n");
    let manifest = site.store.manifest(&outcome.built.image).unwrap();
    assert_eq!(
        manifest.media_type.as_deref(),
        Some("application/vnd.oci.image.manifest.v1+json")
    );
    assert_eq!(
        manifest.layers[0].media_type,
        "application/vnd.oci.image.layer.v1.tar"
    );
    assert_eq!(
        manifest.layers[0].digest,
        *outcome.config.rootfs.diff_ids[0].digest()
    );
    let layer = site
        .store
        .find_layer(&outcome.config.rootfs.diff_ids[0])
        .unwrap()
        .unwrap();
    assert_eq!(manifest.layers[0].size, layer.size());
}

#[test]
fn a_layer_of_the_base_is_described_as_the_base_does() {
    let site = Site::new();
    let base = image().file("f", "f").build(&site.store).unwrap();
    let mut manifest = site.store.manifest(&base).unwrap();
    manifest.layers[0].urls = vec!["https://example.com/f".to_owned()];
    manifest.layers[0].annotations = [("a".to_owned(), "b".to_owned())].into();
    let described = manifest.layers[0].clone();
    let lease = site.store.lease("test").unwrap();
    lease
        .put_image(store::NewImage {
            manifest: &serde_json::to_vec(&manifest).unwrap(),
            media_type: None,
            config: &site.store.read_blob(&manifest.config.digest).unwrap(),
            also: &[],
            names: &["base".parse().unwrap()],
            by: "test",
        })
        .unwrap();
    site.write("g", "g");
    let outcome = site.build("FROM base\nCOPY g /\n");
    let manifest = site.store.manifest(&outcome.built.image).unwrap();
    assert_eq!(manifest.layers[0], described);
    assert_eq!(manifest.layers.len(), 2);
}

#[test]
fn metadata_and_iid_are_as_buildx_writes_them() {
    let mut site = Site::new();
    site.request.tags = vec![
        "app:1".parse().unwrap(),
        "localhost:5000/app".parse().unwrap(),
    ];
    let outcome = site.build("FROM scratch\nENV a=b\n");
    let metadata = outcome.built.metadata();
    assert_eq!(
        metadata["containerimage.digest"],
        outcome.built.image.digest.to_string()
    );
    assert_eq!(
        metadata["containerimage.config.digest"],
        outcome.built.image.id.to_string()
    );
    assert_eq!(
        metadata["image.name"],
        "docker.io/library/app:1,localhost:5000/app:latest"
    );
    let descriptor = &metadata["containerimage.descriptor"];
    assert_eq!(
        descriptor["mediaType"],
        "application/vnd.oci.image.manifest.v1+json"
    );
    assert_eq!(descriptor["platform"]["os"], "linux");
    assert!(descriptor["size"].as_u64().unwrap() > 100);
    assert_eq!(outcome.built.iid(), outcome.built.image.id.to_string());
    assert_eq!(
        site.store.resolve("app:1").unwrap().digest,
        outcome.built.image.digest
    );
}

#[test]
fn the_digest_of_a_small_build_is_pinned() {
    let mut site = Site::new();
    site.write("a/file", "content").link("a/link", "file");
    set_mtime(&site.path("a/file"), 1_000_000);
    site.request.epoch = Some(1_600_000_000);
    site.request.platform = Some("linux/amd64".parse().unwrap());
    rustix::fs::utimensat(
        rustix::fs::CWD,
        site.path("a/link"),
        &rustix::fs::Timestamps {
            last_access: rustix::fs::Timespec {
                tv_sec: 5,
                tv_nsec: 0,
            },
            last_modification: rustix::fs::Timespec {
                tv_sec: 5,
                tv_nsec: 0,
            },
        },
        rustix::fs::AtFlags::SYMLINK_NOFOLLOW,
    )
    .unwrap();
    let outcome = site.build("FROM scratch\nCOPY a /a\nCMD [\"/a/file\"]\n");
    assert_eq!(
        outcome.built.image.layers[0].to_string(),
        "sha256:bbc4877b4cace240659b2f2f215070715f91de11b5d538762af1317719574609"
    );
    assert_eq!(
        outcome.built.image.digest.to_string(),
        "sha256:1a9e5ea5357ebe72facfbf7fa17051ac6395d0609c4857988524d7b0fd2cf8b1"
    );
}

/// The codes of a build's warnings.
fn warnings(outcome: &crate::support::Outcome) -> Vec<&'static str> {
    let code = |event: &build::Event| match event {
        build::Event::Warning { finding, .. } => Some(finding.code),
        _ => None,
    };
    outcome.events.iter().filter_map(code).collect()
}

#[test]
fn f213_a_source_that_is_ignored_gets_a_warning() {
    let mut site = Site::new();
    site.write("a", "a");
    site.request.ignore = Some(build::Text {
        name: ".dockerignore".to_owned(),
        text: "*\n".to_owned(),
    });
    assert_eq!(
        warnings(&site.build("FROM scratch\nCOPY . .\n")),
        ["CopyIgnoredFile"]
    );
}

#[test]
fn f214_f216_findings_stop_a_build_only_if_asked_to() {
    let mut site = Site::new();
    let bad = "FROM scratch AS other\nWORKDIR relative\nFROM scratch\nENV c=d\nCMD echo x\n";
    assert_eq!(
        warnings(&site.build(bad)),
        ["JSONArgsRecommended"],
        "f216: the stage that is not needed is not looked at"
    );
    match site.try_build(&format!("# check=error=true\n{bad}")) {
        Err(build::Error::Dockerfile(findings)) => {
            assert_eq!(findings[0].code, "JSONArgsRecommended")
        }
        _ => panic!("the build did not fail as it should"),
    }
    assert!(warnings(&site.build(&format!("# check=skip=all;error=true\n{bad}"))).is_empty());
    site.request.build_args.insert(
        "BUILDKIT_DOCKERFILE_CHECK".to_owned(),
        "skip=all".to_owned(),
    );
    assert!(warnings(&site.build(&format!("# check=error=true\n{bad}"))).is_empty());
    site.request.build_args.clear();
    site.request.dockerfile.text = bad.to_owned();
    let codes: Vec<_> = build::check(&site.request)
        .unwrap()
        .iter()
        .map(|finding| finding.code)
        .collect();
    assert_eq!(codes, ["WorkdirRelativePath", "JSONArgsRecommended"]);
}

#[test]
fn variables_of_the_base_are_not_undefined() {
    let site = Site::new();
    image()
        .env("KNOWN=1")
        .name("base")
        .build(&site.store)
        .unwrap();
    assert!(warnings(&site.build("FROM base\nENV x=$KNOWN\n")).is_empty());
    assert_eq!(
        warnings(&site.build("FROM base\nENV x=$KNOWM\n")),
        ["UndefinedVar"]
    );
}
