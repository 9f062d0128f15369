//! Several processes at once, and processes that are killed.
//!
//! The test binary starts itself again, with the name of a test that does nothing unless the variable below names a store.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use oci::Digest;
use store::{Error, FsckOptions, Kind, OpenOptions, Record, RecordPolicy, Store};
use testkit::{image, store};

const ROOT: &str = "BARQUE_TEST_STORE";
const ROLE: &str = "BARQUE_TEST_ROLE";
const SEED: &str = "BARQUE_TEST_SEED";

/// The other process: works in a loop until it is killed or `SECONDS` are over.
#[test]
fn child_process() {
    let Ok(root) = std::env::var(ROOT) else {
        return;
    };
    let role = std::env::var(ROLE).unwrap();
    if role == "story" {
        return story(Path::new(&root));
    }
    let mut random = Random(std::env::var(SEED).unwrap().parse().unwrap());
    let end = Instant::now() + Duration::from_secs(SECONDS);
    while Instant::now() < end {
        let store = Store::open(Path::new(&root), &OpenOptions::default()).unwrap();
        for _ in 0..1 + random.below(4) {
            work(&store, &role, &mut random);
        }
        if random.below(3) == 0 {
            store.upkeep().unwrap();
        }
    }
}

/// How long a child works at most.
const SECONDS: u64 = 4;

struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) % end
    }
}

/// One piece of work. Whatever a process was promised must hold; what it was not may be gone.
fn work(store: &Store, role: &str, random: &mut Random) {
    match role {
        "builder" => build(store, random),
        "remover" => {
            let name = format!("app:{}", random.below(4));
            allow(
                store.remove_image(&name, random.below(2) == 0),
                &[Kind::NotFound, Kind::Conflict],
            );
            if random.below(3) == 0 {
                store
                    .remove_container(&allow_none(store.containers()))
                    .unwrap_or_default();
            }
        }
        "pruner" => {
            store.prune_images(random.below(4) == 0, |_| true).unwrap();
            store
                .prune_records(&RecordPolicy {
                    all: true,
                    ..RecordPolicy::default()
                })
                .unwrap();
            store.prune_unneeded().unwrap();
        }
        _ => {
            for image in store.images().unwrap() {
                // Claimed or gone, nothing between.
                let lease = store.lease("reader").unwrap();
                match lease.view(&image.layers) {
                    Ok(view) => {
                        let node = view.lookup(b"number", layer::Follow::Yes).unwrap().unwrap();
                        std::io::read_to_string(view.open(&node).unwrap()).unwrap();
                    }
                    Err(Error::MissingLayer(_)) => {}
                    Err(error) => panic!("{error:?}"),
                }
            }
        }
    }
}

/// A container to be removed, if there is one.
fn allow_none(containers: store::Result<Vec<store::Container>>) -> String {
    containers
        .unwrap()
        .pop()
        .map_or_else(String::new, |container| container.id)
}

fn allow<T>(result: store::Result<T>, kinds: &[Kind]) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(error) if kinds.contains(&error.kind()) => None,
        Err(error) => panic!("{error:?}"),
    }
}

/// Makes an image with shared and own layers, keeps a record, uses what it was promised, and names it last.
fn build(store: &Store, random: &mut Random) {
    let lease = store.lease("builder").unwrap();
    let number = random.below(6).to_string();
    let key = format!("step {number}");
    if let Some(record) = lease.find_record(&key).unwrap() {
        // Found means there until the lease ends.
        let view = lease.view(&record.layers).unwrap();
        assert!(view.root().unwrap().is_some());
    }
    let built = image()
        .file("shared", "the same in all")
        .layer()
        .file("number", &number)
        .tree(testkit::tree(30, random.below(3)))
        .name(&format!("app:{}", random.below(4)))
        .build_under(&lease)
        .unwrap();
    let record = Record {
        key,
        definition: "step".to_owned(),
        parts: Vec::new(),
        output: serde_json::Value::Null,
        layers: built.layers.clone(),
        created: 0,
        last_used: 0,
    };
    lease.put_record(&record).unwrap();
    let view = lease.view(&built.layers).unwrap();
    let node = view.lookup(b"number", layer::Follow::Yes).unwrap().unwrap();
    assert_eq!(
        std::io::read_to_string(view.open(&node).unwrap()).unwrap(),
        number
    );
    if random.below(3) == 0 {
        for layer in &built.layers {
            let layer = store.find_layer(layer).unwrap().unwrap();
            let tree = lease.tree(&layer, store::Flavour::User).unwrap();
            assert!(tree.join("number").exists() || tree.join("shared").exists());
        }
    }
    if random.below(4) == 0 {
        let new = store::NewContainer {
            name: None,
            image: Some(&built.digest),
            image_name: "app",
            layers: &built.layers,
            spec: b"{}",
            state: serde_json::Value::Null,
        };
        let container = lease.create_container(&new).unwrap();
        let layers = container.layers.clone();
        drop(lease);
        // The container keeps its layers without the lease, while it is there.
        let gone = layers
            .iter()
            .any(|layer| store.find_layer(layer).unwrap().is_none());
        assert!(!gone || store.container(&container.id).is_err());
    }
}

#[test]
fn a_layer_that_is_removed_while_it_is_looked_for_is_found_or_not() {
    let store = testkit::store();
    let make = || image().file("a", "1").name("app").build(&store).unwrap();
    let id = make().layers[0];
    std::thread::scope(|scope| {
        let others = scope.spawn(|| {
            for _ in 0..60 {
                store.remove_image("app", false).unwrap();
                make();
            }
        });
        while !others.is_finished() {
            store.find_layer(&id).unwrap();
        }
    });
}

/// Everything that changes a store, once.
fn story(root: &Path) {
    let store = Store::open(root, &OpenOptions::default()).unwrap();
    let lease = store.lease("story").unwrap();
    let built = image()
        .file("a", "1")
        .layer()
        .file("b", "2")
        .name("app")
        .build_under(&lease)
        .unwrap();
    let record = Record {
        key: "key".to_owned(),
        definition: "step".to_owned(),
        parts: Vec::new(),
        output: serde_json::Value::Null,
        layers: vec![built.layers[0]],
        created: 0,
        last_used: 0,
    };
    lease.put_record(&record).unwrap();
    let layer = store.find_layer(&built.layers[0]).unwrap().unwrap();
    lease.tree(&layer, store::Flavour::User).unwrap();
    let new = store::NewContainer {
        name: Some("box"),
        image: Some(&built.digest),
        image_name: "app",
        layers: &built.layers,
        spec: b"{}",
        state: serde_json::Value::Null,
    };
    let container = lease.create_container(&new).unwrap();
    drop(lease);
    store.upkeep().unwrap();
    let second = image().file("a", "3").name("app").build(&store).unwrap();
    store.remove_container(&container.id).unwrap();
    store.prune_images(false, |_| true).unwrap();
    store
        .prune_records(&RecordPolicy {
            all: true,
            ..RecordPolicy::default()
        })
        .unwrap();
    store.remove_image(&second.id.to_string(), false).unwrap();
    store.upkeep().unwrap();
}

/// Changes of files, SQLite's among them. strace kills before a call is made: the first n changes are done, and no more.
const STEPS: &str = "mkdir,rename,unlink,unlinkat,rmdir,pwrite64,ftruncate";

/// Runs the story under strace; with `step`, kills it before that one of its changes. True if it came to its end.
fn tell(root: &Path, step: Option<usize>, log: &Path) -> bool {
    let mut strace = Command::new("strace");
    strace
        .args(["-f", "-qq", "-e"])
        .arg(format!("trace={STEPS}"))
        .arg("-o")
        .arg(log);
    if let Some(step) = step {
        strace
            .arg("-e")
            .arg(format!("inject={STEPS}:signal=SIGKILL:when={step}"));
    }
    let output = strace
        .arg(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "concurrency::child_process",
            "--nocapture",
            "--test-threads=1",
        ])
        .env(ROOT, root)
        .env(ROLE, "story")
        .env(SEED, "1")
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(!stderr.contains("panicked"), "{step:?}: {stderr}");
    output.status.success()
}

/// Kills at some 40 steps; at each if `BARQUE_TEST_ALL_STEPS` is set, which takes minutes.
#[test]
fn a_process_killed_before_any_of_its_steps_leaves_a_clean_store() {
    if Command::new("strace").arg("-V").output().is_err() {
        testkit::skipped(&testkit::running_test(), "`strace` is not installed");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    assert!(tell(&dir.path().join("whole"), None, &log));
    let steps = std::fs::read_to_string(&log).unwrap().lines().count();
    assert!(steps > 100, "{steps} steps are too few to be true");
    let stride = if std::env::var_os("BARQUE_TEST_ALL_STEPS").is_some() {
        1
    } else {
        steps / 40
    };
    for step in (1..=steps).step_by(stride) {
        let root = dir.path().join(format!("store-{step}"));
        tell(&root, Some(step), &log);
        let after = Store::open(&root, &OpenOptions::default())
            .unwrap_or_else(|error| panic!("step {step}: {error:?}"));
        let report = after
            .fsck(&FsckOptions {
                full: true,
                repair: false,
            })
            .unwrap();
        assert!(
            report.findings.is_empty(),
            "step {step}: {:#?}",
            report.findings
        );
        after.upkeep().unwrap();
        assert_eq!(litter(&root), [""; 0], "step {step}");
        // And work goes on.
        image().file("a", "1").name("app").build(&after).unwrap();
        std::fs::remove_dir_all(&root).unwrap();
    }
}

/// What lies in `tmp/`.
fn litter(root: &Path) -> Vec<String> {
    let names = std::fs::read_dir(root.join("tmp"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names
        .filter(|name| name != "upkeep.lock" && name != "turns.lock")
        .collect()
}

fn start(root: &Path, role: &str, seed: u64) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "concurrency::child_process",
            "--nocapture",
            "--test-threads=1",
        ])
        .env(ROOT, root)
        .env(ROLE, role)
        .env(SEED, (seed * 0x9e37_79b9 + 1).to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn assert_whole(store: &Store) {
    let report = store
        .fsck(&FsckOptions {
            full: true,
            repair: false,
        })
        .unwrap();
    assert!(report.findings.is_empty(), "{:#?}", report.findings);
}

#[test]
fn builders_readers_removers_and_a_pruner_never_break_each_other() {
    let store = store();
    let roles = [
        "builder", "builder", "builder", "reader", "remover", "pruner",
    ];
    let children: Vec<Child> = (0..)
        .zip(roles)
        .map(|(seed, role)| start(store.root(), role, seed))
        .collect();
    for (child, role) in children.into_iter().zip(roles) {
        let output = child.wait_with_output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{role}: {stderr}");
    }
    assert_whole(&store);
    store.prune_images(true, |_| true).unwrap();
    store
        .prune_records(&RecordPolicy {
            all: true,
            ..RecordPolicy::default()
        })
        .unwrap();
    for container in store.containers().unwrap() {
        store.remove_container(&container.id).unwrap();
    }
    store.prune_images(true, |_| true).unwrap();
    // Nothing was forgotten: with the last that needs it, all content is gone.
    assert_eq!(store.layers().unwrap(), []);
    assert_eq!(store.usage().unwrap().unowned.count, 0);
    store.upkeep().unwrap();
    assert_eq!(
        std::fs::read_dir(store.root().join("layers"))
            .unwrap()
            .count(),
        0
    );
    assert_eq!(
        std::fs::read_dir(store.root().join("blobs/sha256"))
            .unwrap()
            .count(),
        0
    );
}

#[test]
fn a_process_killed_at_any_moment_leaves_a_clean_store() {
    let store = store();
    let mut random = Random(42);
    let begin = Instant::now();
    let roles = ["builder", "remover", "builder", "pruner"];
    let mut kills = 0;
    // Eight seconds, or on a busy machine until enough moments were hit.
    while begin.elapsed().as_secs() < 8 || kills < 12 {
        let first = roles[usize::try_from(random.below(4)).unwrap()];
        let mut children = [
            start(store.root(), first, kills + 7),
            start(store.root(), "builder", kills + 99),
        ];
        std::thread::sleep(Duration::from_millis(5 + random.below(120)));
        for child in &mut children {
            child.kill().unwrap();
            child.wait().unwrap();
        }
        kills += 1;
        // The next command sweeps, and finds everything whole.
        let after = store.reopen();
        assert_whole(&after);
        after.upkeep().unwrap();
        assert_eq!(litter(store.root()), [""; 0]);
    }
}

#[test]
fn threads_share_one_store() {
    let store = store();
    std::thread::scope(|scope| {
        for thread in 0..4_u64 {
            let store = store.store().clone();
            scope.spawn(move || {
                let mut random = Random(thread + 1);
                for _ in 0..10 {
                    build(&store, &mut random);
                    work(&store, "remover", &mut random);
                }
            });
        }
    });
    assert_whole(&store);
}

#[test]
fn many_processes_that_make_the_store_at_once_make_one() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("deep/store");
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let store = Store::open(&root, &OpenOptions::default()).unwrap();
                let lease = store.lease("test").unwrap();
                assert_eq!(
                    *lease.put_blob(b"x").unwrap().digest(),
                    Digest::sha256_of(b"x")
                );
            });
        }
    });
    assert_whole(&Store::open(&root, &OpenOptions::default()).unwrap());
}
