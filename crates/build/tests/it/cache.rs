//! What is found in the cache and what is not.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use testkit::image;

use crate::support::{Site, set_mtime};

#[test]
fn the_same_build_again_is_all_cached_and_the_same_image() {
    let site = Site::new();
    site.write("a", "1").write("b/c", "2");
    let dockerfile = "FROM scratch\nWORKDIR /w\nCOPY . .\nENV x=y\n";
    let first = site.build(dockerfile);
    assert_eq!(
        first.steps(),
        ["DONE [1/2] WORKDIR /w", "DONE [2/2] COPY . ."]
    );
    let second = site.build(dockerfile);
    assert!(second.all_cached(), "{:?}", second.steps());
    assert_eq!(first.built.descriptor, second.built.descriptor);
}

#[test]
fn f137_a_new_time_is_a_hit_and_a_rename_or_chmod_is_a_miss() {
    let site = Site::new();
    site.write("a", "1").write("b", "2");
    let dockerfile = "FROM scratch\nCOPY . /\n";
    let first = site.build(dockerfile);
    set_mtime(&site.path("a"), 1_000_000);
    let touched = site.build(dockerfile);
    assert!(touched.all_cached());
    assert_eq!(first.built.descriptor, touched.built.descriptor);
    fs::rename(site.path("a"), site.path("c")).unwrap();
    assert!(!site.build(dockerfile).all_cached());
    fs::set_permissions(site.path("b"), fs::Permissions::from_mode(0o600)).unwrap();
    let changed = site.build(dockerfile);
    assert!(!changed.all_cached());
    assert_eq!(changed.owner("b"), "600 0:0");
}

#[test]
fn f138_only_files_that_a_pattern_matches_count() {
    let site = Site::new();
    site.write("foo1", "1").write("foo2", "2");
    let dockerfile = "FROM scratch\nCOPY foo* /d/\n";
    site.build(dockerfile);
    site.write("unrelated", "x");
    assert!(site.build(dockerfile).all_cached());
    site.write("foo2", "changed");
    let changed = site.build(dockerfile);
    assert!(!changed.all_cached());
    assert_eq!(changed.read("d/foo2"), "changed");
}

#[test]
fn a_file_with_other_bytes_of_the_same_size_and_time_is_never_stale() {
    let site = Site::new();
    let dockerfile = "FROM scratch\nCOPY . /\n";
    for round in 0..20 {
        // Each round writes within the same tick of the clock as the build before it read.
        site.write("f", &format!("{round:02}"));
        set_mtime(&site.path("f"), 1_000_000);
        assert_eq!(site.build(dockerfile).read("f"), format!("{round:02}"));
    }
}

#[test]
fn a_copy_does_not_depend_on_what_lies_below_it() {
    let site = Site::new();
    site.write("app/x", "x").write("base", "1");
    let dockerfile = "FROM scratch\nCOPY base /base\nCOPY app /app\n";
    site.build(dockerfile);
    site.write("base", "2");
    let second = site.build(dockerfile);
    assert_eq!(
        second.steps(),
        ["DONE [1/2] COPY base /base", "CACHED [2/2] COPY app /app"]
    );
    assert_eq!(second.read("base"), "2");
    assert_eq!(second.read("app/x"), "x");
}

#[test]
fn but_it_depends_on_the_directories_that_it_goes_through() {
    let site = Site::new();
    site.write("x", "x");
    for mode in [0o755, 0o700] {
        image()
            .dir("d", mode)
            .name("base")
            .build(&site.store)
            .unwrap();
        let outcome = site.build("FROM base\nCOPY x /d/\n");
        assert!(!outcome.steps()[1].starts_with("CACHED"));
        assert_eq!(outcome.owner("d"), format!("{mode:o} 0:0"));
    }
}

#[test]
fn a_rebuilt_stage_with_the_same_content_is_the_same_input() {
    let site = Site::new();
    site.write("in", "1").write("noise", "1");
    let dockerfile =
        "FROM scratch AS a\nCOPY noise /noise\nCOPY in /in\nFROM scratch\nCOPY --from=a /in /out\n";
    let first = site.build(dockerfile);
    site.write("noise", "2");
    let second = site.build(dockerfile);
    assert_eq!(
        second.steps()[2],
        "CACHED [stage-1 1/1] COPY --from=a /in /out"
    );
    assert_eq!(first.built.image.layers, second.built.image.layers);
}

#[test]
fn f191_no_cache_does_everything_again() {
    let mut site = Site::new();
    site.write("a", "1");
    let dockerfile =
        "FROM scratch AS s0\nCOPY a /a\nFROM scratch AS s1\nCOPY a /b\nCOPY --from=s0 /a /c\n";
    site.build(dockerfile);
    assert!(site.build(dockerfile).all_cached());
    site.request.no_cache_stages = vec!["S0".to_owned()];
    let steps = site.build(dockerfile).steps();
    assert_eq!(
        steps,
        [
            "DONE [s0 1/1] COPY a /a",
            "CACHED [s1 1/2] COPY a /b",
            "CACHED [s1 2/2] COPY --from=s0 /a /c"
        ]
    );
    site.request.no_cache = true;
    assert!(
        site.build(dockerfile)
            .steps()
            .iter()
            .all(|step| step.starts_with("DONE"))
    );
}

#[test]
fn one_changed_file_gives_the_same_layer_as_a_build_from_nothing() {
    let site = Site::new();
    for number in 0..200 {
        site.write(
            &format!("d{}/f{number}", number % 7),
            &format!("content {number}"),
        );
        set_mtime(
            &site.path(&format!("d{}/f{number}", number % 7)),
            1_000_000 + number,
        );
    }
    let dockerfile = "FROM scratch\nCOPY . /app\n";
    // The second build believes the files of the first, which are settled by then.
    site.build(dockerfile);
    std::thread::sleep(std::time::Duration::from_millis(150));
    site.build(dockerfile);
    site.write("d3/f3", "changed");
    set_mtime(&site.path("d3/f3"), 2_000_000);
    let changed = site.build(dockerfile);
    assert_eq!(changed.read("app/d3/f3"), "changed");
    let mut fresh = Site::new();
    fresh.request.context = site.request.context.clone();
    assert_eq!(
        fresh.build(dockerfile).built.image.layers,
        changed.built.image.layers
    );
}

#[test]
fn a_layer_that_went_is_made_again() {
    let site = Site::new();
    site.write("a", "1").write("b", "2");
    let dockerfile = "FROM scratch\nCOPY . /app\n";
    let first = site.build(dockerfile);
    std::thread::sleep(std::time::Duration::from_millis(150));
    site.build(dockerfile);
    // All that the store has goes; what the index of the context says of it must not count.
    let layer = site
        .store
        .find_layer(&first.built.image.layers[0])
        .unwrap()
        .unwrap();
    fs::remove_dir_all(layer.dir()).unwrap();
    let again = site.build(dockerfile);
    assert_eq!(again.built.image.layers, first.built.image.layers);
    assert_eq!(again.read("app/a"), "1");
}

#[test]
fn f218_an_epoch_fixes_the_times_of_what_is_made() {
    let build = |epoch| {
        let mut site = Site::new();
        site.write("f", "f");
        set_mtime(&site.path("f"), 1_000_000);
        site.request.epoch = epoch;
        site.request.now = (std::process::id().into(), 5);
        site.build("FROM scratch\nWORKDIR /w\nCOPY f d/\nENV a=b\n")
    };
    let (one, two) = (build(Some(1_600_000_000)), build(Some(1_600_000_000)));
    assert_eq!(one.built.image.digest, two.built.image.digest);
    assert_eq!(one.config.created.as_deref(), Some("2020-09-13T12:26:40Z"));
    assert!(
        one.config
            .history
            .iter()
            .all(|entry| entry.created == one.config.created)
    );
    assert_eq!(one.stat("w").unwrap().mtime.secs, 1_600_000_000);
    assert_eq!(
        one.stat("w/d/f").unwrap().mtime.secs,
        1_000_000,
        "f219: files keep their times"
    );
    // Without one, the layers are the same all the same: nothing in them comes from a clock.
    assert_eq!(
        build(None).built.image.layers,
        build(None).built.image.layers
    );
}

#[test]
fn f220_the_time_of_a_local_context_is_no_epoch() {
    let mut site = Site::new();
    site.request
        .build_args
        .insert("SOURCE_DATE_EPOCH".to_owned(), "context".to_owned());
    assert_eq!(
        site.build("FROM scratch\nENV a=b\n")
            .config
            .created
            .as_deref(),
        Some("2023-11-14T22:13:20Z")
    );
    site.request
        .build_args
        .insert("SOURCE_DATE_EPOCH".to_owned(), "7".to_owned());
    assert_eq!(
        site.build("FROM scratch\nENV a=b\n")
            .config
            .created
            .as_deref(),
        Some("1970-01-01T00:00:07Z")
    );
    site.request
        .build_args
        .insert("SOURCE_DATE_EPOCH".to_owned(), "soon".to_owned());
    assert!(site.fail("FROM scratch\nENV a=b\n").contains("`soon`"));
    // Neither has a directory that has a name, and a stage must be one source from elsewhere.
    let directory = build::NamedContext::Directory(site.path("."));
    site.request.contexts.insert("soon".to_owned(), directory);
    let built = site.build("FROM scratch\nENV a=b\n");
    assert_eq!(
        built.config.created.as_deref(),
        Some("2023-11-14T22:13:20Z")
    );
    site.request.contexts.clear();
    for stage in [
        "FROM scratch AS soon\nCOPY a /\n",
        "FROM scratch AS soon\nADD a /\n",
        "FROM scratch AS soon\nADD http://h/a http://h/b /\n",
        "FROM scratch AS soon\nADD http://h/a /\nENV a=b\n",
        "FROM other AS soon\nADD http://h/a /\n",
    ] {
        let message = site.fail(&format!("{stage}FROM scratch\nENV a=b\n"));
        assert!(message.contains("stage `soon` has no time"), "{message}");
    }
    site.request.build_args.clear();
    let message = site
        .fail("ARG SOURCE_DATE_EPOCH=src\nFROM scratch AS src\nADD http://h/a /\nFROM scratch\n");
    assert!(
        message.contains("cannot get the time of `src`"),
        "{message}"
    );
}
