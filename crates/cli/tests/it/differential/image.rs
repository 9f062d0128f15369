//! What is in an image, as lines that can be compared. Read with the `tar` crate and rules of its own, so that it is no mirror of
//! the code that it judges.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{Hash, Hasher};
use std::io::Read;

use serde_json::Value;
use tar::EntryType;

/// Fields of Docker's config that say how a container once ran, not what the image is.
const OF_A_CONTAINER: [&str; 9] = [
    "Hostname",
    "Domainname",
    "AttachStdin",
    "AttachStdout",
    "AttachStderr",
    "Tty",
    "OpenStdin",
    "StdinOnce",
    "Image",
];

/// Contents up to this length are shown, longer ones as their length and a hash.
const SHOWN: usize = 200;

#[derive(Clone)]
struct File {
    /// What `ls -l` shows as the first letter.
    kind: char,
    mode: u32,
    owner: (u64, u64),
    content: Vec<u8>,
    /// Target of a link, numbers of a device.
    leads: Vec<u8>,
    xattrs: BTreeMap<String, Vec<u8>>,
    /// The same number for all names of one file.
    inode: usize,
}

type Tree = BTreeMap<Vec<u8>, File>;

/// The lines of an image whose manifest is `manifest`.
pub(super) fn lines(manifest: &[u8], blob: impl Fn(&str) -> Vec<u8>) -> BTreeSet<String> {
    let manifest: Value = serde_json::from_slice(manifest).unwrap();
    let config = blob(manifest["config"]["digest"].as_str().unwrap());
    let mut tree = Tree::new();
    let mut inodes = 0;
    for layer in manifest["layers"].as_array().unwrap() {
        let bytes = blob(layer["digest"].as_str().unwrap());
        apply(&mut tree, &plain(bytes), &mut inodes);
    }
    let mut lines = of_config(&serde_json::from_slice(&config).unwrap());
    lines.extend(of_tree(&tree));
    lines
}

fn plain(bytes: Vec<u8>) -> Vec<u8> {
    if !bytes.starts_with(&[0x1f, 0x8b]) {
        return bytes;
    }
    let mut plain = Vec::new();
    flate2::read::MultiGzDecoder::new(&bytes[..])
        .read_to_end(&mut plain)
        .unwrap();
    plain
}

/// `./a//b/` is `a/b`, the root is empty.
fn clean(path: &[u8]) -> Vec<u8> {
    let names: Vec<&[u8]> = path
        .split(|byte| *byte == b'/')
        .filter(|name| !name.is_empty() && *name != b".")
        .collect();
    names.join(&b'/')
}

fn remove_below(tree: &mut Tree, path: &[u8]) {
    let below = [path, b"/"].concat();
    tree.retain(|other, _| !(other.starts_with(&below) || path.is_empty() && !other.is_empty()));
}

fn apply(tree: &mut Tree, layer: &[u8], inodes: &mut usize) {
    let mut put = Vec::new();
    for (path, file) in entries(layer, inodes) {
        let split = path.iter().rposition(|byte| *byte == b'/');
        let (parent, name) = match split {
            Some(at) => (&path[..at], &path[at + 1..]),
            None => (&path[..0], &path[..]),
        };
        if name == b".wh..wh..opq" {
            remove_below(tree, parent);
        } else if let Some(name) = name.strip_prefix(b".wh.") {
            let gone = clean(&[parent, b"/", name].concat());
            remove_below(tree, &gone);
            tree.remove(&gone);
        } else {
            put.push((path, file));
        }
    }
    for (path, mut file) in put {
        if file.kind == 'h' {
            let target = clean(&file.leads);
            file = tree
                .get(&target)
                .unwrap_or_else(|| panic!("no {}", target.escape_ascii()))
                .clone();
        }
        if file.kind != 'd' {
            remove_below(tree, &path);
        }
        tree.insert(path, file);
    }
}

/// What extended headers say of the entry that follows them.
#[derive(Default)]
struct Extended {
    path: Option<Vec<u8>>,
    target: Option<Vec<u8>>,
    owner: (Option<u64>, Option<u64>),
    xattrs: BTreeMap<String, Vec<u8>>,
}

impl Extended {
    /// The `tar` crate's own reader of these stumbles over values with a newline.
    fn read(&mut self, mut records: &[u8]) {
        while let Some(blank) = records.iter().position(|byte| *byte == b' ') {
            let length = std::str::from_utf8(&records[..blank]).unwrap();
            let (record, rest) = records.split_at(length.parse().unwrap());
            let record = &record[blank + 1..record.len() - 1];
            let equals = record.iter().position(|byte| *byte == b'=').unwrap();
            let name = std::str::from_utf8(&record[..equals]).unwrap();
            let value = record[equals + 1..].to_vec();
            let number = || std::str::from_utf8(&value).unwrap().parse().ok();
            match name {
                "path" => self.path = Some(value),
                "linkpath" => self.target = Some(value),
                "uid" => self.owner.0 = number(),
                "gid" => self.owner.1 = number(),
                _ => {
                    if let Some(name) = name.strip_prefix("SCHILY.xattr.") {
                        self.xattrs.insert(name.to_owned(), value);
                    }
                }
            }
            records = rest;
        }
    }
}

fn entries(layer: &[u8], inodes: &mut usize) -> Vec<(Vec<u8>, File)> {
    let mut found = Vec::new();
    let mut extended = Extended::default();
    let mut archive = tar::Archive::new(layer);
    for entry in archive.entries().unwrap().raw(true) {
        let mut entry = entry.unwrap();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        let text = || content.split(|byte| *byte == 0).next().map(<[u8]>::to_vec);
        match entry.header().entry_type() {
            EntryType::XGlobalHeader => {}
            EntryType::XHeader => extended.read(&content),
            EntryType::GNULongName => extended.path = text(),
            EntryType::GNULongLink => extended.target = text(),
            _ => {
                *inodes += 1;
                let path = extended.path.take();
                let path = path.unwrap_or_else(|| entry.header().path_bytes().into_owned());
                let extended = std::mem::take(&mut extended);
                found.push((
                    clean(&path),
                    file(entry.header(), content, extended, *inodes),
                ));
            }
        }
    }
    found
}

fn file(header: &tar::Header, content: Vec<u8>, extended: Extended, inode: usize) -> File {
    let target = || {
        let target = extended.target.clone();
        target.unwrap_or_else(|| header.link_name_bytes().unwrap().into_owned())
    };
    let device = |number: std::io::Result<Option<u32>>| number.unwrap().unwrap_or(0);
    let (kind, leads) = match header.entry_type() {
        EntryType::Regular => ('f', Vec::new()),
        EntryType::Directory => ('d', Vec::new()),
        EntryType::Fifo => ('p', Vec::new()),
        EntryType::Symlink => ('l', target()),
        EntryType::Link => ('h', target()),
        kind @ (EntryType::Char | EntryType::Block) => {
            let letter = if kind == EntryType::Char { 'c' } else { 'b' };
            let numbers = (device(header.device_major()), device(header.device_minor()));
            (letter, format!("{},{}", numbers.0, numbers.1).into_bytes())
        }
        other => panic!("an entry of type {other:?}"),
    };
    let (uid, gid) = extended.owner;
    File {
        kind,
        mode: header.mode().unwrap() & 0o7777,
        owner: (
            uid.unwrap_or_else(|| header.uid().unwrap()),
            gid.unwrap_or_else(|| header.gid().unwrap()),
        ),
        content,
        leads,
        xattrs: extended.xattrs,
        inode,
    }
}

fn of_tree(tree: &Tree) -> Vec<String> {
    let mut first: BTreeMap<usize, &[u8]> = BTreeMap::new();
    let mut lines = Vec::new();
    if !tree.contains_key(&b""[..]) {
        // A layer need not speak of the root.
        lines.push("/ d 755 0:0".to_owned());
    }
    for (path, file) in tree {
        let mut line = format!("/{} {}", path.escape_ascii(), file.kind);
        if file.kind != 'l' {
            line += &format!(" {:o}", file.mode);
        }
        line += &format!(" {}:{}", file.owner.0, file.owner.1);
        match file.kind {
            'f' if file.content.len() > SHOWN => {
                let mut hasher = std::hash::DefaultHasher::new();
                file.content.hash(&mut hasher);
                line += &format!(" {} bytes #{:x}", file.content.len(), hasher.finish());
            }
            'f' => line += &format!(" \"{}\"", file.content.escape_ascii()),
            'l' => line += &format!(" -> {}", file.leads.escape_ascii()),
            'c' | 'b' => line += &format!(" {}", file.leads.escape_ascii()),
            _ => {}
        }
        for (name, value) in &file.xattrs {
            line += &format!(" {name}=\"{}\"", value.escape_ascii());
        }
        if let Some(other) = first.get(&file.inode) {
            line += &format!(" = /{}", other.escape_ascii());
        }
        first.entry(file.inode).or_insert(path);
        lines.push(line);
    }
    lines
}

fn of_config(image: &Value) -> BTreeSet<String> {
    // What is empty is as good as missing.
    let empty = |value: &Value| match value {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        Value::Number(_) => false,
    };
    let top = ["architecture", "os", "variant", "author"];
    let top = top.iter().map(|name| (*name, &image[*name]));
    let config = image["config"].as_object().into_iter().flatten();
    top.chain(config.map(|(name, value)| (name.as_str(), value)))
        .filter(|(name, value)| !empty(value) && !OF_A_CONTAINER.contains(name))
        .map(|(name, value)| format!("{name} {value}"))
        .collect()
}
