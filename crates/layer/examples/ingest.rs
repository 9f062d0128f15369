//! Times the making of layers: `ingest tar FILE`, `ingest tree DIR`, `ingest bytes COUNT SIZE`, `ingest reindex FILE`,
//! `ingest walk DIR` (of a layer).
//!
//! The layer goes to a temporary directory in the working directory and is removed, unless `KEEP` names an empty directory
//! for it. A tar may be compressed. Times are printed with the peak memory.

#![allow(
    clippy::disallowed_methods,
    reason = "a measurement is no part of the program"
)]
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Instant;

use layer::{Ingest, Kind, LayerFiles, Meta, Time};

type Outcome = Result<(), Box<dyn std::error::Error>>;

fn main() -> Outcome {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let temporary = tempfile::tempdir_in(".")?;
    let kept = std::env::var_os("KEEP").map(std::path::PathBuf::from);
    let dir = kept.as_deref().unwrap_or(temporary.path());
    let start = Instant::now();
    let mut ingest = Ingest::create(dir)?;
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["tar", file] => {
            let mut source = layer::compression::Decoder::new(std::fs::File::open(file)?)?;
            ingest.copy_tar(&mut source)?;
        }
        ["tree", root] => append_tree(&mut ingest, Path::new(root), Path::new(""))?,
        ["bytes", count, size] => {
            let bytes = vec![b'x'; size.parse()?];
            for number in 0..count.parse::<u32>()? {
                let path = format!("d{}/f{number}", number / 100);
                let meta = Meta::file(bytes.len() as u64, 0o644);
                ingest.append_bytes(path.as_bytes(), &meta, &bytes)?;
            }
        }
        ["walk", dir] => return walk(Path::new(dir)),
        ["reindex", file] => return reindex(Path::new(file), dir),
        _ => return Err("see the head of the example".into()),
    }
    let fed = start.elapsed();
    let done = ingest.finish()?;
    report(&format!(
        "{done:?}\nfed {fed:?}, finished {:?}",
        start.elapsed()
    ))
}

fn reindex(tar: &Path, dir: &Path) -> Outcome {
    let files = LayerFiles {
        tar: tar.to_owned(),
        ..LayerFiles::in_dir(dir)
    };
    let start = Instant::now();
    let any = oci::DiffId::from_digest(oci::Digest::sha256_of(b""));
    let done = layer::reindex(&files, any)?;
    report(&format!("{done:?}\n{:?}", start.elapsed()))
}

/// Lists and stats everything, twice, then reads every file.
fn walk(dir: &Path) -> Outcome {
    let view = layer::View::new(vec![layer::Index::open(&LayerFiles::in_dir(dir))?]);
    let mut text = String::new();
    for _ in 0..2 {
        let start = Instant::now();
        let (mut count, mut size) = (0, 0);
        for entry in view.walk(b"", view.root()?.ok_or("no root")?) {
            let (_, node) = entry?;
            size += view.stat(&node)?.size;
            count += 1;
        }
        text.push_str(&format!(
            "{count} entries, {size} bytes: {:?}\n",
            start.elapsed()
        ));
    }
    let start = Instant::now();
    let mut read = 0;
    for entry in view.walk(b"", view.root()?.ok_or("no root")?) {
        let (_, node) = entry?;
        if node.kind() == layer::FileType::File {
            read += std::io::copy(&mut view.open(&node)?, &mut std::io::sink())?;
        }
    }
    report(&format!("{text}{read} bytes read: {:?}", start.elapsed()))
}

fn report(text: &str) -> Outcome {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let peak = status.lines().find(|line| line.starts_with("VmHWM"));
    writeln!(std::io::stdout(), "{text}\n{}", peak.unwrap_or_default())?;
    Ok(())
}

fn append_tree(ingest: &mut Ingest, root: &Path, below: &Path) -> Outcome {
    let mut names: Vec<_> = std::fs::read_dir(root.join(below))?
        .map(|entry| entry.map(|entry| entry.file_name()))
        .collect::<Result<_, _>>()?;
    names.sort();
    for name in names {
        let path = below.join(name);
        let full = root.join(&path);
        let stat = std::fs::symlink_metadata(&full)?;
        let kind = if stat.is_dir() {
            Kind::Dir
        } else if stat.is_symlink() {
            let target = std::fs::read_link(&full)?;
            Kind::Symlink {
                target: target.as_os_str().as_bytes().to_vec(),
            }
        } else {
            Kind::File { size: stat.size() }
        };
        let mut meta = Meta::new(kind, stat.mode() & 0o7777);
        meta.mtime = Time::from_secs(stat.mtime());
        let name = path.as_os_str().as_bytes();
        if stat.is_file() {
            ingest.append_file(name, &meta, &std::fs::File::open(&full)?, 0)?;
        } else {
            ingest.append_bytes(name, &meta, b"")?;
        }
        if stat.is_dir() {
            append_tree(ingest, root, &path)?;
        }
    }
    Ok(())
}
