//! Writes that happen only if the object is as it was.
//!
//! The store decides that (`If-Match`, `If-None-Match`). Some take these headers and ignore them, distributed ones that agree on
//! nothing among them: there, only one server can say what came first, and it does so for itself.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, Ordering};

use hyper::body::Bytes;
use object_store::path::Path;
use object_store::{PutMode, PutOptions, UpdateVersion};
use tokio::sync::Mutex;

use super::links::unique;
use super::{Inner, Result, failed};

/// Objects that are written one after the other are told apart by so many locks.
const LOCKS: usize = 64;

/// What the store does with conditions.
#[derive(Debug)]
pub(super) struct Conditions {
    /// It has been seen to ignore them.
    ignored: AtomicBool,
    locks: [Mutex<()>; LOCKS],
    hasher: RandomState,
}

impl Default for Conditions {
    fn default() -> Self {
        Self {
            ignored: AtomicBool::new(false),
            locks: [const { Mutex::const_new(()) }; LOCKS],
            hasher: RandomState::new(),
        }
    }
}

impl Conditions {
    fn lock_of(&self, path: &Path) -> &Mutex<()> {
        let hash = self.hasher.hash_one(path.as_ref());
        &self.locks[(hash % LOCKS as u64) as usize]
    }
}

impl Inner {
    /// Looks whether the store heeds conditions, by writing what must be refused. From then on, one that does not is helped.
    pub(super) async fn heeds_conditions(&self) -> Result<bool> {
        let path = self.keys.probe(&unique()?);
        let heeds = self.refuses_others(&path).await;
        // Also if that could not be found out.
        let deleted = self.delete(&path).await;
        let heeds = heeds?;
        deleted?;
        self.conditions.ignored.store(!heeds, Ordering::Relaxed);
        Ok(heeds)
    }

    /// Writes an object, and tries to write it again where it may not be written.
    async fn refuses_others(&self, path: &Path) -> Result<bool> {
        self.put(path, Bytes::from_static(b"there")).await?;
        let other = UpdateVersion {
            e_tag: Some("\"00000000000000000000000000000000\"".to_owned()),
            version: None,
        };
        let mut heeds = true;
        for mode in [PutMode::Create, PutMode::Update(other)] {
            let bytes = Bytes::from_static(b"refused");
            heeds &= !self.put_with(path, bytes, mode).await?;
        }
        Ok(heeds)
    }

    /// Writes if the object is as it was; says whether it was. What is written must be what nobody else would write.
    pub(super) async fn put_if(
        &self,
        path: &Path,
        bytes: Bytes,
        version: Option<UpdateVersion>,
    ) -> Result<bool> {
        if self.conditions.ignored.load(Ordering::Relaxed) {
            return self.put_after_a_look(path, bytes, version).await;
        }
        let mode = version.map_or(PutMode::Create, PutMode::Update);
        if self.put_with(path, bytes.clone(), mode).await? {
            return Ok(true);
        }
        // A request whose answer was lost is sent again, and finds what it wrote itself.
        let there = self.get(path).await?;
        Ok(there.is_some_and(|(there, _)| there == bytes))
    }

    /// Whether the store took it.
    async fn put_with(&self, path: &Path, bytes: Bytes, mode: PutMode) -> Result<bool> {
        let options = PutOptions::from(mode);
        match self.store.put_opts(path, bytes.into(), options).await {
            Ok(_) => Ok(true),
            Err(
                object_store::Error::AlreadyExists { .. }
                | object_store::Error::Precondition { .. }
                | object_store::Error::NotFound { .. },
            ) => Ok(false),
            Err(error) => Err(failed("write", path)(error)),
        }
    }

    /// The same with a store that ignores conditions: exact as long as nobody but this process writes there.
    async fn put_after_a_look(
        &self,
        path: &Path,
        bytes: Bytes,
        version: Option<UpdateVersion>,
    ) -> Result<bool> {
        let _alone = self.conditions.lock_of(path).lock().await;
        let there = self.get(path).await?;
        if there.as_ref().is_some_and(|(there, _)| *there == bytes) {
            return Ok(true);
        }
        if there.map(|(_, version)| version.e_tag) != version.map(|version| version.e_tag) {
            return Ok(false);
        }
        self.put(path, bytes).await?;
        Ok(true)
    }
}
