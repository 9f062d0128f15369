//! Named contexts: `--build-context`.

use std::path::PathBuf;

use engine::building::{BuildRequest, Built};
use store::Image;
use testkit::TempStore;

use crate::support::{engine, message, save};

/// A place to build in.
struct Site {
    store: TempStore,
    request: BuildRequest,
}

impl Site {
    fn new() -> Self {
        let store = testkit::store();
        let context = store.beside().join("context");
        std::fs::create_dir(&context).unwrap();
        let request = BuildRequest {
            context: context.into(),
            network: "default".to_owned(),
            tags: vec!["out:1".to_owned()],
            ..BuildRequest::default()
        };
        Self { store, request }
    }

    fn context(&mut self, text: impl Into<String>) -> &mut Self {
        self.request.contexts.push(text.into());
        self
    }

    fn try_build(&self, dockerfile: &str) -> Result<Built, engine::Error> {
        std::fs::write(
            self.store.beside().join("context").join("Dockerfile"),
            dockerfile,
        )
        .unwrap();
        engine(&self.store).build(&self.request, &|_| {})
    }

    #[track_caller]
    fn build(&self, dockerfile: &str) -> Image {
        if let Err(error) = self.try_build(dockerfile) {
            panic!("{}", message(&error));
        }
        self.store.store().resolve("out:1").unwrap()
    }

    #[track_caller]
    fn read(&self, image: &Image, path: &str) -> Option<String> {
        let view = self.store.store().view(&image.layers).unwrap();
        let node = view.lookup(path.as_bytes(), layer::Follow::Yes).unwrap()?;
        let mut text = String::new();
        std::io::Read::read_to_string(&mut view.open(&node).unwrap(), &mut text).unwrap();
        Some(text)
    }

    /// An OCI layout with one image, tagged `localhost/layout:v1`, made in another store.
    fn layout(&self) -> PathBuf {
        let other = testkit::store();
        testkit::image()
            .file("from", "layout")
            .env("FROM_LAYOUT=yes")
            .config(|config| config.config.working_dir = "/work".to_owned())
            .name("localhost/layout:v1")
            .build(&other)
            .unwrap();
        let path = self.store.beside().join("layout");
        save(
            &engine(&other),
            &["localhost/layout:v1"],
            &path,
            engine::transfer::ArchiveFormat::OciDir,
            engine::transfer::Compression::None,
        );
        path
    }
}

#[test]
fn f108_env_and_workdir_of_an_oci_layout_apply_to_from() {
    let mut site = Site::new();
    let path = site.layout();
    std::fs::write(site.store.beside().join("context").join("file"), "x").unwrap();
    for source in ["", ":v1"] {
        site.request.contexts = vec![format!("base=oci-layout://{}{source}", path.display())];
        let image = site.build("FROM base\nCOPY file .\n");
        let config = site.store.store().config(&image).unwrap().config;
        assert!(config.env.contains(&"FROM_LAYOUT=yes".to_owned()));
        assert_eq!(config.working_dir, "/work");
        assert_eq!(site.read(&image, "work/file").as_deref(), Some("x"));
        assert_eq!(site.read(&image, "from").as_deref(), Some("layout"));
    }
    let images = site.store.store().images().unwrap();
    let is_base = |image: &Image| image.layers.len() == 1;
    assert!(
        !images.iter().any(is_base),
        "the base is no image of the store"
    );
    site.request.contexts = vec![format!("base=oci-layout://{}:v2", path.display())];
    let error = site.try_build("FROM base\n").unwrap_err();
    assert!(message(&error).contains(":v2"), "{}", message(&error));
}

#[test]
fn an_image_of_a_layout_is_named_by_its_digest() {
    let mut site = Site::new();
    let path = site.layout();
    let index: oci::Index =
        serde_json::from_slice(&std::fs::read(path.join("index.json")).unwrap()).unwrap();
    let digest = index.manifests[0].digest;
    site.context(format!("base=oci-layout://{}@{digest}", path.display()));
    let image = site.build("FROM scratch\nCOPY --from=base /from /copied\n");
    assert_eq!(site.read(&image, "copied").as_deref(), Some("layout"));
}

#[test]
fn a_directory_context_has_its_own_ignore_file_and_can_be_a_base() {
    let mut site = Site::new();
    let other = site.store.beside().join("other");
    std::fs::create_dir(&other).unwrap();
    for (name, text) in [("kept", "1"), ("left", "2"), (".dockerignore", "left\n")] {
        std::fs::write(other.join(name), text).unwrap();
    }
    site.context(format!("other={}", other.display()));
    let copied = "FROM scratch\nCOPY --from=other / /copied/\n";
    let image = site.build(copied);
    assert_eq!(site.read(&image, "copied/kept").as_deref(), Some("1"));
    assert_eq!(site.read(&image, "copied/left"), None);
    let image = site.build("FROM other\nLABEL a=b\n");
    assert_eq!(site.read(&image, "kept").as_deref(), Some("1"));
    let config = site.store.store().config(&image).unwrap();
    let layers = config.history.iter().filter(|entry| !entry.empty_layer);
    assert_eq!(layers.count(), config.rootfs.diff_ids.len());
}

#[test]
fn a_context_is_for_one_platform_or_for_all() {
    let mut site = Site::new();
    for name in ["arm", "all"] {
        let image = testkit::image().file("which", name).name(name);
        image.build(&site.store).unwrap();
    }
    site.context("base::linux/arm64=docker-image://arm");
    site.context("base=docker-image://all");
    site.request.platforms = vec!["linux/amd64,linux/arm64".to_owned()];
    site.try_build("FROM base\n").unwrap();
    let index = site.store.store().find_index("out:1").unwrap().unwrap();
    let found: Vec<_> = index
        .images
        .iter()
        .map(|image| site.read(image, "which").unwrap())
        .collect();
    assert_eq!(found, ["all", "arm"]);
}

#[test]
fn what_is_not_referenced_is_not_loaded_and_what_is_missing_has_a_hint() {
    let mut site = Site::new();
    site.context("base=docker-image://nowhere:1");
    site.context("other=oci-layout:///no/such/layout");
    site.build("FROM base AS unneeded\nFROM scratch\nLABEL a=b\n");
    let error = site.try_build("FROM base\n").unwrap_err();
    assert!(message(&error).contains("nowhere:1"), "{}", message(&error));
    assert!(!error.hints().is_empty());
    let error = site.try_build("FROM other\n").unwrap_err();
    assert!(
        message(&error).contains("/no/such/layout"),
        "{}",
        message(&error)
    );
}
