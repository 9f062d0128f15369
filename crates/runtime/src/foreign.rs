//! Programs that the kernel refuses because they are for another machine.
//!
//! Looked at only after it has refused: what it knows through `binfmt_misc` runs like any other program.

use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use ::oci::Platform;
use rustix::fs::{Mode, OFlags};

/// What of a program is looked at, 256 bytes: the kernel reads as much of the first line of a script.
const HEAD: u64 = 256;

/// Longest chain of scripts that are each other's interpreters: the kernel's own limit.
const MAX_SCRIPTS: usize = 5;

/// The platform that a program is for, or the interpreter that it names if it is a script; `None` if that is this
/// machine's, or cannot be told.
pub(crate) fn platform_of(program: &Path) -> Option<Platform> {
    let mut path = program.to_path_buf();
    for _ in 0..MAX_SCRIPTS {
        let head = head(&path)?;
        match interpreter(&head) {
            Some(next) => path = next,
            None => return machine(&head).filter(|found| *found != Platform::host()),
        }
    }
    None
}

fn head(path: &Path) -> Option<Vec<u8>> {
    // It was executed just now, but it need not be the same file any more.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty()).ok()?);
    let mut head = Vec::new();
    file.take(HEAD).read_to_end(&mut head).ok()?;
    Some(head)
}

/// The program that a script names in its first line.
fn interpreter(head: &[u8]) -> Option<PathBuf> {
    let line = head
        .strip_prefix(b"#!")?
        .split(|byte| *byte == b'\n')
        .next()?;
    let word = line.trim_ascii().split(u8::is_ascii_whitespace).next()?;
    let path = Path::new(std::ffi::OsStr::from_bytes(word));
    Some(path.to_path_buf())
}

/// The platform in the header of an ELF file.
fn machine(head: &[u8]) -> Option<Platform> {
    let [0x7f, b'E', b'L', b'F', class, order, ..] = *head else {
        return None;
    };
    let number: [u8; 2] = head.get(18..20)?.try_into().ok()?;
    let little = order == 1;
    let number = match little {
        true => u16::from_le_bytes(number),
        false => u16::from_be_bytes(number),
    };
    let name = match (number, class, little) {
        (3, ..) => "386",
        (8, 1, true) => "mipsle",
        (8, 1, false) => "mips",
        (8, _, true) => "mips64le",
        (8, _, false) => "mips64",
        (21, _, true) => "ppc64le",
        (21, _, false) => "ppc64",
        (22, ..) => "s390x",
        (40, ..) => "arm",
        (62, ..) => "amd64",
        (183, ..) => "arm64",
        (243, 2, _) => "riscv64",
        (258, ..) => "loong64",
        _ => return None,
    };
    Some(Platform {
        os: "linux".to_owned(),
        architecture: name.to_owned(),
        variant: None,
        os_version: None,
        os_features: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::{Platform, interpreter, machine, platform_of};
    use std::path::Path;

    fn elf(class: u8, order: u8, number: [u8; 2]) -> Vec<u8> {
        let mut head = vec![0x7f, b'E', b'L', b'F', class, order];
        head.resize(18, 0);
        head.extend(number);
        head
    }

    #[test]
    fn the_header_of_a_program_tells_its_platform() {
        for (head, expected) in [
            (elf(2, 1, [183, 0]), Some("linux/arm64")),
            (elf(2, 1, [62, 0]), Some("linux/amd64")),
            (elf(1, 1, [40, 0]), Some("linux/arm")),
            (elf(2, 2, [0, 22]), Some("linux/s390x")),
            (elf(2, 1, [21, 0]), Some("linux/ppc64le")),
            (elf(2, 1, [243, 0]), Some("linux/riscv64")),
            (elf(2, 1, [1, 1]), None),
            (elf(2, 1, [62, 0])[..19].to_vec(), None),
            (b"#!/bin/sh\n".to_vec(), None),
            (Vec::new(), None),
        ] {
            let found = machine(&head).map(|platform| platform.to_string());
            assert_eq!(found.as_deref(), expected);
        }
    }

    #[test]
    fn a_script_is_for_the_platform_of_its_interpreter() {
        let dir = tempfile::tempdir().unwrap();
        let (program, script) = (dir.path().join("program"), dir.path().join("script"));
        std::fs::write(&program, elf(2, 2, [0, 22])).unwrap();
        std::fs::write(&script, format!("#! {} -x\n", program.display())).unwrap();
        let found = platform_of(&script).map(|platform| platform.to_string());
        assert_eq!(found.as_deref(), Some("linux/s390x"));
        let itself = dir.path().join("itself");
        std::fs::write(&itself, format!("#!{}\n", itself.display())).unwrap();
        assert_eq!(platform_of(&itself), None);
        assert_eq!(interpreter(b"#!\n").as_deref(), Some(Path::new("")));
        assert_eq!(platform_of(Path::new("/gone")), None);
        let own = platform_of(&std::env::current_exe().unwrap());
        assert_eq!(own, None, "this is {}", Platform::host());
    }
}
