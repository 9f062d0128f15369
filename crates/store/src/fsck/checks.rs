//! The quick half: rows against names, kinds and sizes. Runs under the store's lock, so nothing is on its way meanwhile.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use oci::{DiffId, Digest, Document, ImageConfig};
use sys::fs;

use super::{Checker, Remedy};
use crate::adopt::ADOPTED;
use crate::change::Content;
use crate::db;
use crate::error::Result;
use crate::folder::{self, Flavour};
use crate::layers::Layer;
use crate::sweep::names;

type Check = fn(&mut Checker<'_>) -> Result<()>;

/// In an order in which each finds what those after it rely on.
pub(super) const CHECKS: &[(&str, Check)] = &[
    ("folder", folder_itself),
    ("database", database),
    ("layers", layers),
    ("trees", trees),
    ("blobs", blobs),
    ("orphans", orphans),
    ("images", images),
    ("records", records),
    ("containers", containers),
];

/// The folder is ours alone, has its directories, and nothing that nobody knows.
fn folder_itself(checker: &mut Checker<'_>) -> Result<()> {
    let folder = checker.store.folder().clone();
    let mode = fs::metadata(folder.root())?.permissions().mode() & 0o7777;
    if mode != folder::MODE {
        let problem = format!("its mode is {mode:04o}, so others can reach what is in it");
        let path = Some(folder.root().to_owned());
        checker.found("the store".to_owned(), problem, path, Remedy::CloseFolder)?;
    }
    for name in folder::DIRECTORIES {
        let path = folder.root().join(name);
        if !is_dir(&path)? {
            let remedy = Remedy::MakeDirectory(path.clone());
            checker.found(
                format!("directory {name}"),
                "it is missing",
                Some(path),
                remedy,
            )?;
        }
    }
    if !is_file(&folder.format())? {
        let path = Some(folder.format());
        checker.found(
            "file format".to_owned(),
            "it is missing",
            path,
            Remedy::Acknowledge,
        )?;
    }
    for name in names(folder.root())? {
        let known = folder::NAMES.contains(&name.as_str())
            || name == "lost+found"
            || name.starts_with("format.");
        if !known {
            stray(checker, folder.root().join(name))?;
        }
    }
    Ok(())
}

fn stray(checker: &mut Checker<'_>, path: PathBuf) -> Result<()> {
    let remedy = Remedy::SetFileAside(path.clone());
    checker.found(
        format!("file {}", path.display()),
        "nothing needs it",
        Some(path),
        remedy,
    )
}

/// The database is whole, and was not lost.
fn database(checker: &mut Checker<'_>) -> Result<()> {
    let path = checker.store.folder().database();
    let problems = checker.store.read("check the database", |db| {
        let mut problems = db::texts(db, "PRAGMA integrity_check(20)", [])?;
        problems.retain(|line| line != "ok");
        problems.extend(db::texts(
            db,
            "SELECT 'a row of ' || \"table\" || ' leads nowhere' FROM pragma_foreign_key_check",
            [],
        )?);
        Ok(problems)
    })?;
    for problem in problems {
        checker.found(
            "the database".to_owned(),
            problem,
            Some(path.clone()),
            Remedy::RebuildDatabase,
        )?;
    }
    if checker
        .store
        .read("read the past", |db| db::meta(db, ADOPTED))?
        .is_some()
    {
        let problem = "it was lost and made anew from the folder; images have lost their names";
        checker.found(
            "the database".to_owned(),
            problem,
            Some(path),
            Remedy::Acknowledge,
        )?;
    }
    Ok(())
}

/// Each recorded layer has its files, and nothing beside them.
fn layers(checker: &mut Checker<'_>) -> Result<()> {
    for layer in checker.store.layers()? {
        checker.report.layers += 1;
        let what = format!("layer {}", layer.diff_id);
        if let Some(problem) = tar_problem(&layer)? {
            checker.found(
                what,
                problem,
                Some(layer.tar()),
                Remedy::SetLayerAside(layer.diff_id),
            )?;
            continue;
        }
        if let Some((problem, path)) = index_problem(&layer)? {
            checker.found(what, problem, Some(path), Remedy::MendIndex(layer.diff_id))?;
        }
        for name in names(&layer.dir)? {
            let known = ["layer.tar", "index.erofs", "tree", "tree-user"].contains(&name.as_str())
                || (name == "side" && layer.side);
            if !known {
                stray(checker, layer.dir.join(name))?;
            }
        }
    }
    Ok(())
}

/// What a look at the tar without reading it tells.
pub(super) fn tar_problem(layer: &Layer) -> Result<Option<String>> {
    if !is_dir(&layer.dir)? {
        return Ok(Some("its directory is missing".to_owned()));
    }
    size_problem(&layer.tar(), layer.size, "its tar")
}

fn size_problem(path: &Path, size: u64, what: &str) -> Result<Option<String>> {
    Ok(match fs::optional(fs::symlink_metadata(path))? {
        None => Some(format!("{what} is missing")),
        Some(meta) if !meta.is_file() => Some(format!("{what} is not a regular file")),
        Some(meta) if meta.len() != size => {
            Some(format!("{what} has {} bytes instead of {size}", meta.len()))
        }
        Some(_) => None,
    })
}

/// What a look at index and side file tells, with the path of the one that is wrong.
pub(super) fn index_problem(layer: &Layer) -> Result<Option<(String, PathBuf)>> {
    if !is_file(&layer.index())? {
        return Ok(Some(("its index is missing".to_owned(), layer.index())));
    }
    let side = match layer.side() {
        Some(side) if !is_file(&side)? => {
            return Ok(Some(("its side file is missing".to_owned(), side)));
        }
        Some(side) => fs::metadata(&side)?.len(),
        None => 0,
    };
    let size = fs::metadata(&layer.index())?.len() + side;
    // Of adopted layers the entries were never counted: the index is made anew before the first use.
    if size != layer.index_size {
        let problem = format!("its index has {size} bytes instead of {}", layer.index_size);
        return Ok(Some((problem, layer.index())));
    }
    Ok(match layer.open() {
        Ok(_) => None,
        Err(_) => Some(("its index cannot be read".to_owned(), layer.index())),
    })
}

/// Unpacked layers and their rows agree.
fn trees(checker: &mut Checker<'_>) -> Result<()> {
    for layer in checker.store.layers()? {
        for flavour in [Flavour::Trusted, Flavour::User] {
            let path = layer.dir.join(flavour.directory());
            let recorded = checker.store.read("find an unpacked layer", |db| {
                Ok(db
                    .prepare_cached("SELECT 1 FROM tree WHERE diff_id = ?1 AND flavour = ?2")?
                    .exists((layer.diff_id.to_string(), flavour.directory()))?)
            })?;
            let problem = match (recorded, is_dir(&path)?) {
                (true, false) => "it is missing",
                (false, true) => "nothing says that it is complete",
                _ => continue,
            };
            let what = format!("unpacked layer {}", layer.diff_id);
            checker.found(
                what,
                problem,
                Some(path),
                Remedy::DropTree(layer.diff_id, flavour),
            )?;
        }
    }
    Ok(())
}

/// Each recorded blob is a file of its size.
fn blobs(checker: &mut Checker<'_>) -> Result<()> {
    for (digest, size) in all_blobs(checker)? {
        checker.report.blobs += 1;
        let path = checker.store.folder().blob(&digest);
        if let Some(problem) = size_problem(&path, size, "it")? {
            checker.found(
                format!("blob {digest}"),
                problem,
                Some(path),
                Remedy::SetBlobAside(digest),
            )?;
        }
    }
    Ok(())
}

pub(super) fn all_blobs(checker: &Checker<'_>) -> Result<Vec<(Digest, u64)>> {
    checker.store.read("list the blobs", |db| {
        let mut statement = db.prepare_cached("SELECT digest, size FROM blob ORDER BY digest")?;
        let rows = statement.query_map([], |row| Ok((db::parsed(row, 0)?, db::size(row, 1)?)))?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    })
}

/// Nothing lies where content lies that no row names.
fn orphans(checker: &mut Checker<'_>) -> Result<()> {
    let folder = checker.store.folder().clone();
    for content in checker.store.strays()? {
        let path = content.path(checker.store);
        let what = format!("{} {}", content.kind(), content.id());
        let remedy = Remedy::SetFileAside(path.clone());
        checker.found(what, "no record names it", Some(path), remedy)?;
    }
    let odd = |dir: PathBuf, known: &dyn Fn(&str) -> bool| -> Result<Vec<PathBuf>> {
        let names = names(&dir)?.into_iter().filter(|name| !known(name));
        Ok(names.map(|name| dir.join(name)).collect())
    };
    let hex = |name: &str| {
        name.len() == 64
            && name
                .bytes()
                .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    let mut paths = odd(folder.layers(), &|name| {
        folder::layer_of_directory(name).is_some()
    })?;
    for algorithm in [oci::Algorithm::Sha256, oci::Algorithm::Sha512] {
        let known = |name: &str| {
            format!("{}:{name}", algorithm.name())
                .parse::<Digest>()
                .is_ok()
        };
        paths.extend(odd(folder.blobs(algorithm), &known)?);
    }
    paths.extend(odd(
        folder.blobs(oci::Algorithm::Sha256).join(".."),
        &|name| ["sha256", "sha512"].contains(&name),
    )?);
    paths.extend(odd(folder.caches(), &hex)?);
    paths.extend(odd(folder.contexts(), &hex)?);
    paths.into_iter().try_for_each(|path| stray(checker, path))
}

/// Each image has its documents, they agree with the rows, and its content is there.
fn images(checker: &mut Checker<'_>) -> Result<()> {
    for image in checker.store.images()? {
        checker.report.images += 1;
        if let Some(problem) = image_problem(checker, &image)? {
            let what = format!("image {}", checker.store.image_label(&image.digest)?);
            checker.found(what, problem, None, Remedy::DropImage(image.digest))?;
        }
    }
    Ok(())
}

fn image_problem(checker: &Checker<'_>, image: &crate::Image) -> Result<Option<String>> {
    let store = checker.store;
    let recorded = |content: Content| store.read("find content", |db| content.is_recorded(db));
    for layer in &image.layers {
        if !recorded(Content::Layer(*layer))? {
            return Ok(Some(format!("its layer {layer} is missing")));
        }
    }
    let key = image.digest.to_string();
    let blobs = store.read("find the blobs of an image", |db| {
        db::digests(db, "SELECT blob FROM image_blob WHERE image = ?1", [&key])
    })?;
    for blob in &blobs {
        let there = recorded(Content::Blob(*blob))?
            || recorded(Content::Layer(DiffId::from_digest(*blob)))?;
        if !there {
            return Ok(Some(format!("its blob {blob} is missing")));
        }
    }
    let (Some(manifest), Some(config)) = (
        document(checker, &image.digest)?,
        document(checker, image.id.digest())?,
    ) else {
        // A damaged file is a finding of its own, this is what follows from it.
        return Ok(Some("its manifest or its config is damaged".to_owned()));
    };
    let Ok(Document::Manifest(manifest)) = Document::parse(&manifest, Some(&image.media_type))
    else {
        return Ok(Some("its manifest cannot be understood".to_owned()));
    };
    let Ok(config) = serde_json::from_slice::<ImageConfig>(&config) else {
        return Ok(Some("its config cannot be understood".to_owned()));
    };
    let agree =
        manifest.config.digest == *image.id.digest() && config.rootfs.diff_ids == image.layers;
    Ok((!agree).then(|| "its record contradicts its documents".to_owned()))
}

/// The bytes of a document if they are what the digest says.
fn document(checker: &Checker<'_>, digest: &Digest) -> Result<Option<Vec<u8>>> {
    let path = checker.store.folder().blob(digest);
    if !fs::symlink_metadata(&path)
        .is_ok_and(|meta| meta.is_file() && meta.len() <= oci::MAX_DOCUMENT_SIZE)
    {
        return Ok(None);
    }
    let bytes = fs::read(&path)?;
    let mut hasher = oci::Hasher::new(digest.algorithm());
    hasher.update(&bytes);
    Ok((hasher.finish() == *digest).then_some(bytes))
}

/// Each build record has its layers.
fn records(checker: &mut Checker<'_>) -> Result<()> {
    let broken = checker.store.read("check the build records", |db| {
        let mut statement = db.prepare_cached(
            "SELECT DISTINCT r.id, r.key FROM record r JOIN record_layer l ON l.record = r.id
             WHERE NOT EXISTS (SELECT 1 FROM layer WHERE diff_id = l.diff_id)",
        )?;
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let rows: Vec<(i64, String)> = rows.collect::<rusqlite::Result<_>>()?;
        Ok(rows)
    })?;
    for (id, key) in broken {
        checker.found(
            format!("build record {key}"),
            "a layer of it is missing",
            None,
            Remedy::DropRecord(id),
        )?;
    }
    let loose = checker.store.read("check the compressed forms", |db| {
        Ok(db.query_row(
            "SELECT count(*) FROM compressed WHERE diff_id NOT IN (SELECT diff_id FROM layer)
                OR blob NOT IN (SELECT digest FROM blob)",
            [],
            |row| db::size(row, 0),
        )?)
    })?;
    if loose > 0 {
        let what = format!("{loose} compressed forms");
        checker.found(
            what,
            "the layer or the blob is missing",
            None,
            Remedy::DropRows,
        )?;
    }
    Ok(())
}

/// Each container has its directory and its layers.
fn containers(checker: &mut Checker<'_>) -> Result<()> {
    for container in checker.store.containers()? {
        let missing = |path: PathBuf| -> Result<bool> { Ok(!is_dir(&path)?) };
        let mut problem = None;
        if missing(container.upper())? || missing(container.work())? {
            problem = Some("its directory is missing or incomplete".to_owned());
        } else if !is_file(&container.spec())? {
            problem = Some("its spec is missing".to_owned());
        }
        for layer in &container.layers {
            if !checker
                .store
                .read("find a layer", |db| Content::Layer(*layer).is_recorded(db))?
            {
                problem = Some(format!("its layer {layer} is missing"));
            }
        }
        if let Some(problem) = problem {
            let what = format!("container {}", container.name);
            let path = Some(container.dir().to_owned());
            checker.found(
                what,
                problem,
                path,
                Remedy::DropContainer(container.id.clone()),
            )?;
        }
    }
    Ok(())
}

fn is_dir(path: &Path) -> Result<bool> {
    Ok(fs::optional(fs::symlink_metadata(path))?.is_some_and(|meta| meta.is_dir()))
}

fn is_file(path: &Path) -> Result<bool> {
    Ok(fs::optional(fs::symlink_metadata(path))?.is_some_and(|meta| meta.is_file()))
}
