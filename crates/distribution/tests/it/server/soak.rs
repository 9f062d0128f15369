//! Pushes, deletions and collections side by side for minutes, and a checker that knows what must be there: `./test soak`.
//!
//! Each worker has repositories of its own, so that it knows what they hold; layers are everybody's. A minute goes by in
//! each second, so that what nobody counts on is collected while the soak runs.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use distribution::server::Config;
use distribution::server::storage::Collected;
use oci::{Digest, media_type};

use super::bucket::Bucket;
use super::deletes::assert_whole;
use super::desk::{Desk, descriptor, digest};
use super::shaky::Shaky;

const WORKERS: u64 = 6;

/// Seconds of the registry's time in one of ours.
const SPEED: u64 = 60;

/// With what clocks are allowed to lose, a blob is kept for ten seconds of ours.
const GRACE: u64 = 600;

#[derive(Default)]
struct Counts {
    pushed: AtomicU64,
    deleted: AtomicU64,
    checked: AtomicU64,
    late: AtomicU64,
    blobs: AtomicU64,
    content: AtomicU64,
}

impl Counts {
    fn add(&self, collected: &Collected) {
        self.blobs.fetch_add(collected.blobs, Ordering::Relaxed);
        self.content.fetch_add(collected.content, Ordering::Relaxed);
    }
}

fn told(count: &AtomicU64) -> u64 {
    count.load(Ordering::Relaxed)
}

/// Numbers that look random and are the same each time (xorshift64*).
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % limit
    }
}

fn layer(number: u64) -> Vec<u8> {
    // From a few bytes to a few hundred thousand.
    let size = 10_usize << (number % 16);
    number
        .to_le_bytes()
        .into_iter()
        .cycle()
        .take(size)
        .collect()
}

/// A worker and what it knows.
struct Worker {
    desk: Arc<Desk>,
    counts: Arc<Counts>,
    name: String,
    dice: Dice,
    tags: BTreeMap<String, Digest>,
}

impl Worker {
    async fn push_layer(&mut self, bytes: &[u8]) {
        let digest = digest(bytes);
        let there = format!("/v2/{}/blobs/{digest}", self.name);
        if self.desk.head(&there).await.status == 200 {
            return;
        }
        let from = format!("w{}", self.dice.below(WORKERS));
        let mount = format!(
            "/v2/{}/blobs/uploads/?mount={digest}&from={from}",
            self.name
        );
        let answer = self.desk.send("POST", &mount, &[], "").await;
        if answer.status == 201 {
            return;
        }
        let location = answer.is(202).header("location").to_owned();
        let (first, second) = bytes.split_at(bytes.len() / 2);
        self.desk
            .send("PATCH", &location, &[], first.to_vec())
            .await
            .is(202);
        let finish = format!("{location}?digest={digest}");
        self.desk
            .send("PUT", &finish, &[], second.to_vec())
            .await
            .is(201);
    }

    /// The number of a layer: of one that others push all the time, or of one that comes again when it may be gone.
    fn any(&mut self) -> u64 {
        match self.dice.below(2) {
            0 => self.dice.below(64),
            _ => 64 + self.dice.below(1 << 14),
        }
    }

    async fn push(&mut self) {
        let begin = Instant::now();
        let tag = format!("t{}", self.dice.below(5));
        let count = 1 + self.dice.below(4);
        let layers: Vec<Vec<u8>> = (0..count).map(|_| layer(self.any())).collect();
        for bytes in &layers {
            self.push_layer(bytes).await;
        }
        let described: Vec<_> = layers
            .iter()
            .map(|bytes| descriptor(media_type::OCI_LAYER, bytes))
            .collect();
        let manifest = serde_json::to_vec(&serde_json::json!({
            "schemaVersion": 2,
            "mediaType": media_type::OCI_MANIFEST,
            "config": described[0],
            "layers": described,
            "annotations": {"salt": self.dice.below(4).to_string()},
        }))
        .unwrap();
        let answer = self
            .desk
            .put_manifest(&self.name, &tag, media_type::OCI_MANIFEST, &manifest)
            .await;
        // On a machine that stands still for so long a blob may rightly be gone.
        let is_late = begin.elapsed().as_secs() * SPEED >= GRACE;
        if is_late && answer.status == 404 && answer.code() == "MANIFEST_BLOB_UNKNOWN" {
            self.counts.late.fetch_add(1, Ordering::Relaxed);
            return;
        }
        answer.is(201);
        self.counts.pushed.fetch_add(1, Ordering::Relaxed);
        self.tags.insert(tag, digest(&manifest));
    }

    async fn delete(&mut self) {
        let Some((tag, named)) = self.tags.first_key_value() else {
            return;
        };
        let (tag, named) = (tag.clone(), *named);
        if self.dice.below(2) == 0 {
            self.desk
                .delete(&format!("/v2/{}/manifests/{tag}", self.name))
                .await
                .is(202);
            self.tags.remove(&tag);
        } else {
            self.desk
                .delete(&format!("/v2/{}/manifests/{named}", self.name))
                .await
                .is(202);
            self.tags.retain(|_, digest| *digest != named);
        }
        self.counts.deleted.fetch_add(1, Ordering::Relaxed);
    }

    /// What is there is what must be there, and whole.
    async fn check(&self) {
        let path = format!("/v2/{}/tags/list", self.name);
        let listed = self.desk.get(&path).await.is(200).json();
        let known: Vec<&String> = self.tags.keys().collect();
        assert_eq!(listed["tags"], serde_json::json!(known), "{}", self.name);
        for (tag, named) in &self.tags {
            let answer = self
                .desk
                .get(&format!("/v2/{}/manifests/{tag}", self.name))
                .await
                .is(200);
            assert_eq!(digest(&answer.body), *named);
            for part in answer.json()["layers"].as_array().unwrap() {
                let blob = part["digest"].as_str().unwrap();
                let path = format!("/v2/{}/blobs/{blob}", self.name);
                let got = self.desk.get(&path).await.is(200);
                assert_eq!(digest(&got.body).to_string(), blob);
            }
        }
        self.counts.checked.fetch_add(1, Ordering::Relaxed);
    }

    async fn work(mut self, until: Instant) {
        self.push().await;
        while Instant::now() < until {
            match self.dice.below(10) {
                0..5 => self.push().await,
                5..8 => self.delete().await,
                _ => self.check().await,
            }
        }
        self.check().await;
    }
}

async fn soak(what: &str, desk: Desk) {
    let seconds = std::env::var("BARQUE_SOAK_SECONDS").map_or(600, |text| text.parse().unwrap());
    let begin = Instant::now();
    let until = begin + Duration::from_secs(seconds);
    let desk = Arc::new(desk);
    let counts = Arc::new(Counts::default());
    let working = Arc::new(AtomicBool::new(true));
    let collector = tokio::spawn({
        let (desk, counts, working) = (desk.clone(), counts.clone(), working.clone());
        async move {
            let mut rounds = 0_u64;
            while working.load(Ordering::SeqCst) {
                let now = desk.start + begin.elapsed().as_secs() * SPEED;
                desk.time.store(now, Ordering::SeqCst);
                counts.add(&desk.collect(GRACE, false).await);
                rounds += 1;
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            rounds
        }
    });
    let workers: Vec<_> = (0..WORKERS)
        .map(|number| {
            let worker = Worker {
                desk: desk.clone(),
                counts: counts.clone(),
                name: format!("w{number}"),
                dice: Dice(number + 1),
                tags: BTreeMap::new(),
            };
            tokio::spawn(worker.work(until))
        })
        .collect();
    for worker in workers {
        worker.await.unwrap();
    }
    working.store(false, Ordering::SeqCst);
    let rounds = collector.await.unwrap();
    let meanwhile = (told(&counts.blobs), told(&counts.content));
    desk.wait(100 * GRACE);
    counts.add(&desk.collect(GRACE, false).await);
    for number in 0..WORKERS {
        assert_whole(&desk, &format!("w{number}")).await;
    }
    assert!(told(&counts.content) > 0, "nothing was ever collected");
    // Long enough for what is deleted in the first half to be old in the second, if collections are quick.
    let is_long = seconds * SPEED > 20 * GRACE;
    assert!(
        !is_long || meanwhile.1 > 0,
        "nothing was collected meanwhile"
    );
    assert!(
        told(&counts.pushed) > told(&counts.late),
        "most came too late: the machine is too slow for this"
    );
    eprintln!(
        "{what}: {} pushes, {} deletions, {} checks, {} collections that took {} blobs from repositories and {} contents away, {} too late, in {} s",
        told(&counts.pushed),
        told(&counts.deleted),
        told(&counts.checked),
        rounds,
        meanwhile.0,
        meanwhile.1,
        told(&counts.late),
        begin.elapsed().as_secs()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes ten minutes: `./test soak`"]
async fn over_a_folder() {
    soak("folder", Desk::local()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes ten minutes: `./test soak`"]
async fn over_a_bucket_in_memory() {
    let store = Shaky::default();
    store.take_turns(1);
    soak("bucket in memory", Desk::shaky(&store, Config::default())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes ten minutes: `./test soak`"]
async fn over_a_bucket() {
    soak("bucket", Desk::over_bucket(Bucket::start().await)).await;
}
