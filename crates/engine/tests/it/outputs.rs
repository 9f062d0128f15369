//! What becomes of a build: `--output`, `--platform`, `--annotation`.

use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use engine::building::{BuildRequest, Built, output};
use oci::{Document, Index, Manifest, media_type};
use testkit::TempStore;

use crate::support::{engine, files, has, load, message, run, save};

/// A place to build in.
struct Site {
    store: TempStore,
    request: BuildRequest,
}

impl Site {
    fn new(dockerfile: &str) -> Self {
        let store = testkit::store();
        let context = store.beside().join("context");
        std::fs::create_dir(&context).unwrap();
        std::fs::write(context.join("Dockerfile"), dockerfile).unwrap();
        std::fs::write(context.join("file"), "content").unwrap();
        let request = BuildRequest {
            context: context.into(),
            network: "default".to_owned(),
            ..BuildRequest::default()
        };
        Self { store, request }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.store.beside().join(name)
    }

    fn platforms(mut self, platforms: &str) -> Self {
        self.request.platforms = vec![platforms.to_owned()];
        self
    }

    fn tags(mut self, tags: &[&str]) -> Self {
        self.request.tags = tags.iter().map(ToString::to_string).collect();
        self
    }

    fn epoch(mut self, seconds: i64) -> Self {
        let epoch = ("SOURCE_DATE_EPOCH".to_owned(), seconds.to_string());
        self.request.build_args.push(epoch);
        self
    }

    fn try_build(&self, outputs: &[String]) -> Result<Built, engine::Error> {
        let mut request = self.request.clone();
        for text in outputs {
            request.outputs.push(output(text)?);
        }
        engine(&self.store).build(&request, &|_| {})
    }

    #[track_caller]
    fn build(&self, outputs: &[String]) -> Built {
        self.try_build(outputs)
            .unwrap_or_else(|error| panic!("{}", message(&error)))
    }

    /// The message of a build that fails, with its hints.
    #[track_caller]
    fn fail(&self, outputs: &[&str]) -> String {
        let outputs: Vec<String> = outputs.iter().map(ToString::to_string).collect();
        let error = self.try_build(&outputs).unwrap_err();
        [message(&error), error.hints().join("; ")].join(" | ")
    }

    /// Builds an OCI layout in a folder.
    #[track_caller]
    fn layout(&self, options: &str) -> Layout {
        let folder = self.path("layout");
        std::fs::remove_dir_all(&folder).ok();
        self.build(&[format!(
            "type=oci,tar=false,dest={}{options}",
            folder.display()
        )]);
        Layout { folder }
    }
}

/// An OCI layout in a folder.
struct Layout {
    folder: PathBuf,
}

impl Layout {
    fn list(&self) -> Index {
        serde_json::from_slice(&std::fs::read(self.folder.join("index.json")).unwrap()).unwrap()
    }

    fn blob(&self, digest: &oci::Digest) -> Vec<u8> {
        let path = self.folder.join("blobs/sha256").join(digest.hex());
        let bytes = std::fs::read(path).unwrap();
        assert_eq!(oci::Digest::sha256_of(&bytes), *digest);
        bytes
    }

    /// The manifest that the list names first.
    fn manifest(&self) -> Manifest {
        let entry = &self.list().manifests[0];
        match Document::parse(&self.blob(&entry.digest), Some(&entry.media_type)).unwrap() {
            Document::Manifest(manifest) => *manifest,
            Document::Index(_) => panic!("an index"),
        }
    }

    fn index(&self) -> Index {
        let entry = &self.list().manifests[0];
        match Document::parse(&self.blob(&entry.digest), Some(&entry.media_type)).unwrap() {
            Document::Index(index) => *index,
            Document::Manifest(_) => panic!("a manifest"),
        }
    }
}

const COPY: &str = "FROM scratch\nCOPY file /dir/file\nCMD [\"/file\"]\n";

const MULTI: &str = "FROM scratch\nARG TARGETPLATFORM TARGETOS TARGETARCH TARGETVARIANT\n\
    LABEL on=\"$TARGETPLATFORM $TARGETOS $TARGETARCH $TARGETVARIANT\"\n\
    COPY <<on /on\n$TARGETPLATFORM\non\n";

#[test]
fn f208_two_names_are_two_entries_with_the_same_digest() {
    let site = Site::new(COPY).tags(&["repo:tag1", "repo:tag2"]);
    let list = site.layout("").list();
    let [first, second] = &list.manifests[..] else {
        panic!("{list:?}")
    };
    assert_eq!(first.digest, second.digest);
    for (entry, tag) in [(first, "tag1"), (second, "tag2")] {
        assert_eq!(entry.annotations["org.opencontainers.image.ref.name"], tag);
        let full = format!("docker.io/library/repo:{tag}");
        assert_eq!(entry.annotations["io.containerd.image.name"], full);
    }
    // The same by the option of the output alone.
    let site = Site::new(COPY);
    let folder = site.path("named");
    let text = format!(
        "type=oci,tar=false,dest={},\"name=repo:tag1,repo:tag2\"",
        folder.display()
    );
    site.build(&[text]);
    assert_eq!(Layout { folder }.list().manifests.len(), 2);
    assert!(
        site.store.store().images().unwrap().is_empty(),
        "nothing was named in the store"
    );
}

#[test]
fn f209_two_platforms_of_scratch_are_an_index_with_two_manifests() {
    let site = Site::new(MULTI)
        .platforms("linux/amd64,linux/arm/v7")
        .tags(&["multi:1"]);
    let built = site.build(&[]);
    let store = site.store.store();
    let index = store.find_index("multi:1").unwrap().unwrap();
    assert_eq!(built.digest, Some(index.digest));
    assert_eq!(built.id, Some(index.digest), "an index has no config");
    let found: Vec<_> = index
        .images
        .iter()
        .map(|image| {
            let config = store.config(image).unwrap();
            let label = config.config.labels["on"].clone();
            (image.platform.to_string(), label)
        })
        .collect();
    let wanted = [
        ("linux/amd64", "linux/amd64 linux amd64 "),
        ("linux/arm/v7", "linux/arm/v7 linux arm v7"),
    ];
    assert_eq!(found, wanted.map(|(a, b)| (a.to_owned(), b.to_owned())));
    let rows = engine(&site.store)
        .images(&engine::images::ImagesRequest::default())
        .unwrap();
    let mut names: Vec<_> = rows
        .iter()
        .map(|row| (row.tag.as_str(), row.platform.as_str()))
        .collect();
    names.sort_unstable();
    assert_eq!(names, [("1", "linux/amd64"), ("1", "linux/arm/v7")]);
    let inspected = engine(&site.store).inspect_image("multi:1").unwrap();
    assert_eq!(inspected["Manifests"].as_array().unwrap().len(), 2);
    assert_eq!(inspected["Descriptor"]["digest"], index.digest.to_string());
    // Saved, loaded, tagged, removed: it stays one index.
    for format in [
        engine::transfer::ArchiveFormat::OciArchive,
        engine::transfer::ArchiveFormat::DockerArchive,
        engine::transfer::ArchiveFormat::OciDir,
    ] {
        let path = site.path("saved");
        save(
            &engine(&site.store),
            &["multi:1"],
            &path,
            format,
            engine::transfer::Compression::None,
        );
        let other = testkit::store();
        load(&engine(&other), &path).unwrap();
        let again = other.store().find_index("multi:1").unwrap().unwrap();
        assert_eq!(again.digest, index.digest);
        engine(&other).tag("multi:1", "again:1").unwrap();
        assert!(other.store().find_index("again:1").unwrap().is_some());
        for name in ["multi:1", "again:1"] {
            other.store().remove_image(name, false).unwrap();
        }
        assert!(other.store().images().unwrap().is_empty());
        if path.is_dir() {
            std::fs::remove_dir_all(&path).unwrap();
        } else {
            std::fs::remove_file(&path).unwrap();
        }
    }
}

#[test]
fn the_image_of_each_platform_is_a_base_for_that_platform() {
    let mut site = Site::new(MULTI)
        .platforms("linux/amd64,linux/arm64")
        .tags(&["multi:1"]);
    site.build(&[]);
    let dockerfile = site.path("context").join("Dockerfile");
    std::fs::write(
        &dockerfile,
        "FROM multi:1\nCOPY --from=multi:1 /on /again\n",
    )
    .unwrap();
    site.request.tags = vec!["child:1".to_owned()];
    site.build(&[]);
    let child = site.store.store().find_index("child:1").unwrap().unwrap();
    for image in &child.images {
        let view = site.store.store().view(&image.layers).unwrap();
        let node = view.lookup(b"again", layer::Follow::Yes).unwrap().unwrap();
        let mut text = String::new();
        std::io::Read::read_to_string(&mut view.open(&node).unwrap(), &mut text).unwrap();
        assert_eq!(text.trim(), image.platform.to_string());
    }
}

#[test]
fn local_is_the_platform_of_this_machine_and_one_platform_is_no_index() {
    let site = Site::new(COPY).platforms("local, local").tags(&["app:1"]);
    site.build(&[]);
    let store = site.store.store();
    assert_eq!(store.find_index("app:1").unwrap(), None);
    assert_eq!(
        store.resolve("app:1").unwrap().platform,
        oci::Platform::host()
    );
    let mut site = Site::new(COPY).tags(&["app:1"]);
    let forced = ("BUILDKIT_MULTI_PLATFORM".to_owned(), "1".to_owned());
    site.request.build_args.push(forced);
    site.build(&[]);
    let index = site.store.store().find_index("app:1").unwrap().unwrap();
    assert_eq!(index.images.len(), 1);
}

#[test]
fn files_go_to_a_folder_and_a_tar_each_platform_apart() {
    let site = Site::new(MULTI).platforms("linux/amd64,linux/arm64");
    let (folder, tar) = (site.path("out"), site.path("out.tar"));
    site.build(&[
        folder.display().to_string(),
        format!("type=tar,dest={}", tar.display()),
    ]);
    let wanted = ["linux_amd64", "linux_arm64"].map(|platform| {
        let text = format!("{}\n", platform.replace('_', "/"));
        (PathBuf::from(platform).join("on"), text.into_bytes())
    });
    assert_eq!(files(&folder), wanted);
    let unpacked = site.path("unpacked");
    std::fs::create_dir(&unpacked).unwrap();
    run(std::process::Command::new("tar")
        .arg("-xf")
        .arg(&tar)
        .arg("-C")
        .arg(&unpacked));
    assert_eq!(files(&unpacked), wanted);
    assert!(
        site.store.store().images().unwrap().is_empty(),
        "no image was asked for"
    );
    let failed = site.fail(&[&format!(
        "type=local,platform-split=false,dest={}",
        site.path("one").display()
    )]);
    assert!(
        failed.contains("cannot overwrite `on` of linux/amd64 with that of linux/arm64"),
        "{failed}"
    );
}

#[test]
fn a_folder_is_never_left_through_links() {
    let site =
        Site::new("FROM scratch\nCOPY file /link/file\nCOPY file /other\nCOPY file /third\n");
    let (folder, outside) = (site.path("out"), site.path("outside"));
    for folder in [&folder, &outside] {
        std::fs::create_dir(folder).unwrap();
    }
    for name in ["kept", "second", "file"] {
        std::fs::write(outside.join(name), "old").unwrap();
    }
    std::fs::write(folder.join("mine"), "mine").unwrap();
    symlink(&outside, folder.join("link")).unwrap();
    symlink(outside.join("kept"), folder.join("other")).unwrap();
    std::fs::hard_link(outside.join("second"), folder.join("third")).unwrap();
    site.build(&[format!("type=local,dest={}", folder.display())]);
    for name in ["kept", "second", "file"] {
        assert_eq!(std::fs::read(outside.join(name)).unwrap(), b"old", "{name}");
    }
    for name in ["link/file", "other", "third"] {
        let path = folder.join(name);
        assert!(!path.is_symlink());
        assert_eq!(std::fs::read(path).unwrap(), b"content", "{name}");
    }
    assert_eq!(
        std::fs::read(folder.join("mine")).unwrap(),
        b"mine",
        "what was there stays"
    );
}

#[test]
fn files_have_their_modes_and_the_time_of_the_epoch() {
    let site = Site::new(
        "FROM scratch\n\
         COPY file /dir/plain\n\
         COPY --chmod=640 file /dir/file\n\
         COPY --chmod=4755 file /set\n",
    )
    .epoch(1_000_000_000);
    let folder = site.path("out");
    site.build(&[format!("type=local,dest={}", folder.display())]);
    // The folder comes with the first COPY: one that `--chmod=640` made nobody but root could look into.
    for (name, mode) in [
        ("dir", 0o755),
        ("dir/plain", 0o644),
        ("dir/file", 0o640),
        ("set", 0o4755),
    ] {
        let meta = std::fs::metadata(folder.join(name)).unwrap();
        assert_eq!(meta.mtime(), 1_000_000_000, "{name}");
        assert_eq!(meta.permissions().mode() & 0o7777, mode, "{name}");
    }
}

#[test]
fn layers_are_compressed_as_asked_for_and_a_base_without_a_form_too() {
    for (option, kind, magic) in [
        ("gzip", media_type::OCI_LAYER_GZIP, &[0x1f, 0x8b][..]),
        (
            "zstd",
            media_type::OCI_LAYER_ZSTD,
            &[0x28, 0xb5, 0x2f, 0xfd],
        ),
        ("uncompressed", media_type::OCI_LAYER, b"dir/"),
    ] {
        let site = Site::new("FROM base\nCOPY file /dir/file\n");
        testkit::image()
            .file("base", "1")
            .name("base")
            .build(&site.store)
            .unwrap();
        let options = format!(",compression={option}");
        let layout = site.layout(&options);
        let layers = layout.manifest().layers;
        assert_eq!(layers[0].media_type, kind, "built here, never pushed");
        assert_eq!(layers[1].media_type, kind);
        assert!(
            layout.blob(&layers[1].digest).starts_with(magic),
            "{option}"
        );
        let again = site.layout(&options).manifest();
        assert_eq!(again.layers, layers, "found again");
    }
}

#[test]
fn an_image_in_the_store_can_be_compressed_and_has_docker_types_if_asked_for() {
    let site = Site::new(COPY).tags(&["app:1"]);
    site.build(&[
        "type=image,compression=gzip,compression-level=9,oci-mediatypes=false".to_owned(),
    ]);
    let store = site.store.store();
    let image = store.resolve("app:1").unwrap();
    assert_eq!(image.media_type, media_type::DOCKER_MANIFEST);
    let manifest = store.manifest(&image).unwrap();
    assert_eq!(manifest.config.media_type, media_type::DOCKER_CONFIG);
    assert_eq!(manifest.layers[0].media_type, media_type::DOCKER_LAYER_GZIP);
    assert!(store.blob(&manifest.layers[0].digest).unwrap().is_some());
}

#[test]
fn annotations_go_where_they_are_said_to() {
    let mut site = Site::new(MULTI).platforms("linux/amd64,linux/arm64");
    site.request.annotations = [
        "plain=1",
        "manifest[linux/arm64]:arm=2",
        "index,manifest-descriptor:both=3",
        "index-descriptor:top=4",
    ]
    .map(str::to_owned)
    .to_vec();
    let layout = site.layout(",annotation.option=5,annotation-index.list=6");
    let list = layout.list();
    assert_eq!(list.manifests[0].annotations["top"], "4");
    let index = layout.index();
    let map = |entries: &[(&str, &str)]| -> BTreeMap<String, String> {
        entries
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect()
    };
    assert_eq!(index.annotations, map(&[("both", "3"), ("list", "6")]));
    for entry in &index.manifests {
        assert_eq!(entry.annotations, map(&[("both", "3")]));
        let bytes = layout.blob(&entry.digest);
        let manifest: Manifest = serde_json::from_slice(&bytes).unwrap();
        let mut wanted = map(&[("plain", "1"), ("option", "5")]);
        if entry.platform.as_ref().unwrap().architecture == "arm64" {
            wanted.insert("arm".to_owned(), "2".to_owned());
        }
        assert_eq!(manifest.annotations, wanted);
    }
    for (annotation, why) in [
        ("index:a=1", "has no index"),
        (
            "manifest[linux/s390x]:a=1",
            "nothing is built for linux/s390x",
        ),
        ("other:a=1", "`other` is not a type of annotation"),
        ("a", "an annotation is `KEY=VALUE`"),
    ] {
        let mut site = Site::new(COPY);
        site.request.annotations = vec![annotation.to_owned()];
        let failed = site.fail(&["type=image"]);
        assert!(failed.contains(why), "{annotation}: {failed}");
    }
}

#[test]
fn what_is_not_supported_is_refused_by_name_before_anything_is_built() {
    let site = Site::new("FROM nowhere:1\n");
    for (outputs, why) in [
        (&["type=registry"][..], "what is pushed needs a name"),
        (&["type=image,push=true"], "pass `--tag"),
        (
            &["type=registry,name=a/b:1,push-by-digest=true"],
            "`a/b:1` has a tag, and `push-by-digest` sets none | name it `a/b`",
        ),
        (
            &["type=oci,push=true"],
            "`push` is not an option of `type=oci`",
        ),
        (&["type=registry,dest=a"], "`dest` is not an option"),
        (
            &["type=registry,name=a/b", "type=image,push=perhaps"],
            "expected true or false",
        ),
        (&["type=registry,name=a/b"], "there is no network"),
        (
            &["type=image,compresion=gzip"],
            "did you mean `compression`?",
        ),
        (
            &["type=image,compression=estargz"],
            "expected uncompressed, gzip or zstd",
        ),
        (
            &["type=image,compression=gzip,compression-level=12"],
            "0 to 9 for gzip",
        ),
        (&["type=image,compression-level=many"], "0 to 9 for gzip"),
        (&["type=local"], "needs `dest=FOLDER`"),
        (&["type=local,dest=a,mode=delete"], "`mode=delete`"),
        (
            &["type=local,dest=a,compression=gzip"],
            "`compression` is not an option of `type=local`",
        ),
        (&["type=oci,tar=false"], "needs `dest=FOLDER`"),
        (
            &["type=oci,oci-mediatypes=perhaps"],
            "expected true or false",
        ),
        (&["type=cloud"], "`cloud` is not a type of output"),
        (&["dest=a,type=oci,x"], "`x` in `--output` is not"),
        (&["type=oci,\"name=a"], "quotes"),
        (&["-", "type=oci"], "only one output can go to stdout"),
    ] {
        let failed = site.fail(outputs);
        assert!(failed.contains(why), "{outputs:?}: {failed}");
    }
    let site = Site::new("FROM nowhere:1\n").platforms("linux/amd64,linux/arm64");
    let failed = site.fail(&["type=docker,dest=a"]);
    assert!(failed.contains("archive of one platform"), "{failed}");
}

#[test]
fn f219_the_epoch_alone_fixes_dates_of_the_config_and_not_of_files() {
    let site = Site::new(COPY).epoch(1_000_000_000).tags(&["app:1"]);
    let plain = site.layout(",compression=uncompressed");
    let list = plain.list();
    assert_eq!(
        list.manifests[0].annotations["org.opencontainers.image.created"],
        "2001-09-09T01:46:40Z"
    );
    let config = |layout: &Layout| -> oci::ImageConfig {
        serde_json::from_slice(&layout.blob(&layout.manifest().config.digest)).unwrap()
    };
    let times = |layout: &Layout| -> Vec<i64> {
        let tar = layout.blob(&layout.manifest().layers.last().unwrap().digest);
        let mut reader = layer::tar::Reader::new(&tar[..]);
        let mut times = Vec::new();
        while let Some(entry) = reader.next().unwrap() {
            times.push(entry.meta.mtime.secs);
        }
        times
    };
    let found = config(&plain);
    assert_eq!(found.created.as_deref(), Some("2001-09-09T01:46:40Z"));
    for entry in &found.history {
        assert_eq!(entry.created.as_deref(), Some("2001-09-09T01:46:40Z"));
    }
    let file = std::fs::metadata(site.path("context").join("file")).unwrap();
    assert!(
        times(&plain).contains(&file.mtime()),
        "the file keeps its time"
    );
    let rewritten = site.layout(",rewrite-timestamp=true,compression=uncompressed");
    assert!(times(&rewritten).iter().all(|time| *time <= 1_000_000_000));
    assert_ne!(config(&rewritten).rootfs, found.rootfs);
    let again = site.layout(",rewrite-timestamp=true,compression=uncompressed");
    assert_eq!(again.list(), rewritten.list(), "found again");
}

#[test]
fn rewriting_times_leaves_the_base_alone_and_older_files_too() {
    let site = Site::new("FROM base\nCOPY file /new\nCOPY old /old\n").epoch(1_000_000_000);
    let base = testkit::image()
        .put(
            "newer",
            layer::Meta {
                mtime: layer::Time::from_secs(1_600_000_000),
                ..layer::Meta::file(1, 0o644)
            },
            b"x",
        )
        .name("base")
        .build(&site.store)
        .unwrap();
    let old = site.path("context").join("old");
    let file = std::fs::File::create(old).unwrap();
    file.set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(5))
        .unwrap();
    let layout = site.layout(",rewrite-timestamp=true");
    let config: oci::ImageConfig =
        serde_json::from_slice(&layout.blob(&layout.manifest().config.digest)).unwrap();
    assert_eq!(config.rootfs.diff_ids[..1], base.layers);
    let view = site.store.store().view(&config.rootfs.diff_ids).unwrap();
    for (name, time) in [("newer", 1_600_000_000), ("new", 1_000_000_000), ("old", 5)] {
        let node = view
            .lookup(name.as_bytes(), layer::Follow::Yes)
            .unwrap()
            .unwrap();
        assert_eq!(view.stat(&node).unwrap().mtime.secs, time, "{name}");
    }
}

#[test]
fn f222_the_same_dockerfile_and_content_give_the_same_manifest_in_another_store() {
    let digest = |_: u32| {
        let site = Site::new(COPY).epoch(1_000_000_000).tags(&["app:1"]);
        site.layout(",rewrite-timestamp=true,compression=gzip")
            .list()
            .manifests[0]
            .digest
    };
    assert_eq!(digest(1), digest(2));
}

#[test]
fn f221_a_failed_build_carries_the_dockerfile_the_lines_and_the_source() {
    let text = "FROM scratch\n# why\nCOPY \\\n  missing \\\n  /there\n";
    let site = Site::new(text);
    let error = site.try_build(&[]).unwrap_err();
    let engine::Error::Build {
        sources,
        source: failure,
    } = &error
    else {
        panic!("{error:?}")
    };
    let source = (sources[0].name.as_str(), sources[0].text.as_str());
    assert_eq!(source, ("Dockerfile", text));
    let span = failure.span().unwrap();
    assert_eq!((span.first_line, span.last_line), (3, 5));
    assert!(text[span.start..span.end].starts_with("COPY"));
    let excerpt = error.excerpt().unwrap();
    assert!(
        excerpt.contains("Dockerfile:3") && excerpt.contains("missing"),
        "{excerpt}"
    );
}

/// The archives that are to be read by others, with skopeo's names for them.
fn archives(site: &Site) -> Vec<(PathBuf, String)> {
    let place = |name: &str| site.path(name);
    let (oci, docker, folder) = (place("a.oci"), place("a.docker"), place("a.folder"));
    site.build(&[
        format!("type=oci,dest={}", oci.display()),
        format!("type=docker,dest={}", docker.display()),
        format!(
            "type=oci,tar=false,dest={},compression=zstd",
            folder.display()
        ),
        "type=image".to_owned(),
    ]);
    let name = |kind: &str, path: &Path, name: &str| format!("{kind}:{}:{name}", path.display());
    vec![
        (oci.clone(), name("oci-archive", &oci, "1")),
        (
            docker.clone(),
            name("docker-archive", &docker, "localhost/app:1"),
        ),
        (folder.clone(), name("oci", &folder, "1")),
    ]
}

#[test]
fn skopeo_reads_what_a_build_writes() {
    if !has("skopeo", "skopeo_reads_what_a_build_writes") {
        return;
    }
    let site = Site::new(COPY).tags(&["localhost/app:1"]);
    for (path, source) in archives(&site) {
        let copy = path.with_extension("copy");
        let target = format!("dir:{}", copy.display());
        run(std::process::Command::new("skopeo").args([
            "--insecure-policy",
            "copy",
            &source,
            &target,
        ]));
        let other = testkit::store();
        let loaded = load(&engine(&other), &path).unwrap();
        assert_eq!(loaded[0].names, ["localhost/app:1"], "{source}");
    }
    let image = site.store.store().resolve("localhost/app:1").unwrap();
    assert_eq!(
        image.layers.len(),
        1,
        "several outputs at once, one of them in the store"
    );
}

#[test]
fn priv_podman_loads_what_a_build_writes() {
    testkit::skip_unless_root!();
    if !has("podman", "priv_podman_loads_what_a_build_writes") {
        return;
    }
    let site = Site::new(COPY).tags(&["localhost/app:1"]);
    for (number, (path, _)) in archives(&site).into_iter().take(2).enumerate() {
        let storage = site.path(&format!("storage-{number}"));
        let podman = |arguments: &[&str]| {
            let mut command = std::process::Command::new("podman");
            command.arg("--root").arg(storage.join("root"));
            command.arg("--runroot").arg(storage.join("run"));
            command.args(["--storage-driver", "vfs"]).args(arguments);
            run(&mut command).stdout
        };
        podman(&["load", "-q", "-i", path.to_str().unwrap()]);
        let listed = podman(&["images", "--format", "{{.Repository}}:{{.Tag}}"]);
        assert_eq!(String::from_utf8_lossy(&listed).trim(), "localhost/app:1");
    }
}

#[test]
fn priv_buildah_pulls_what_a_build_writes() {
    testkit::skip_unless_root!();
    if !has("buildah", "priv_buildah_pulls_what_a_build_writes") {
        return;
    }
    let site = Site::new(COPY).tags(&["localhost/app:1"]);
    let id = site.build(&[]).id.unwrap();
    // Of a folder buildah makes a name, which cannot have capital letters.
    for (number, (_, source)) in archives(&site).into_iter().take(2).enumerate() {
        let storage = site.path(&format!("storage-{number}"));
        let policy = site.path("policy.json");
        std::fs::write(
            &policy,
            r#"{"default":[{"type":"insecureAcceptAnything"}]}"#,
        )
        .unwrap();
        let mut command = std::process::Command::new("buildah");
        command.arg("--root").arg(storage.join("root"));
        command.arg("--runroot").arg(storage.join("run"));
        command.args(["--storage-driver", "vfs", "pull", "-q"]);
        command.arg("--signature-policy").arg(policy).arg(&source);
        let pulled = run(&mut command).stdout;
        let pulled = String::from_utf8_lossy(&pulled).trim().to_owned();
        assert_eq!(pulled, id.hex(), "{source}");
    }
}

#[test]
fn layers_leave_the_store_compressed_unless_something_else_is_asked_for() {
    let site = Site::new(COPY).tags(&["app:1"]);
    let kinds = |layout: &Layout| layout.manifest().layers[0].media_type.clone();
    let first = site.layout("");
    assert_eq!(kinds(&first), media_type::OCI_LAYER_GZIP);
    let plain = site.layout(",compression=uncompressed");
    assert_eq!(kinds(&plain), media_type::OCI_LAYER);
    // In the store they are what they are.
    site.build(&["type=image".to_owned()]);
    let store = site.store.store();
    let image = store.resolve("app:1").unwrap();
    let manifest = store.manifest(&image).unwrap();
    assert_eq!(manifest.layers[0].media_type, media_type::OCI_LAYER);
}
