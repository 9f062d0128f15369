//! Loop devices: a plain file as a block device, for kernels that mount some file systems from nothing else.
//!
//! A device that [`attach`] gives clears itself when its last user closes it: this process's descriptor, or the mount that was
//! made of it. So nothing stays behind, however its users end.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::fs::{Context, Error, Result};
use crate::mount::{self, Attributes};

/// Hands out devices that are free.
const CONTROL: &str = "/dev/loop-control";

/// The major number of loop devices.
const MAJOR: u32 = 7;

/// `LOOP_CONFIGURE`, since Linux 5.8.
const CONFIGURE: u32 = 0x4C0A;

/// `LOOP_CTL_GET_FREE`.
const GET_FREE: u32 = 0x4C82;

/// `LO_FLAGS_READ_ONLY` and `LO_FLAGS_AUTOCLEAR`.
const FLAGS: u32 = 1 | 4;

/// What the kernel counts the length of a device in; what a file has beyond the last whole one cannot be seen.
pub const SECTOR: u32 = 512;

/// How often somebody else may be faster. Each time one other process got its device, so this is no matter of luck.
const ATTEMPTS: u32 = 10_000;

/// `struct loop_config` with the `struct loop_info64` in it.
#[repr(C)]
struct Config {
    fd: u32,
    block_size: u32,
    device: u64,
    inode: u64,
    rdevice: u64,
    offset: u64,
    size_limit: u64,
    number: u32,
    encrypt_type: u32,
    encrypt_key_size: u32,
    flags: u32,
    file_name: [u8; 64],
    crypt_name: [u8; 64],
    encrypt_key: [u8; 32],
    init: [u64; 2],
    reserved: [u64; 8],
}

/// Puts the file that `backing` has open behind a free loop device: read-only, blocks of 512 bytes, through the page cache.
/// `path` is for messages. The descriptor of the device is all that keeps it.
///
/// A length that is no multiple of [`SECTOR`] is rounded down.
///
/// # Errors
///
/// This kernel has no loop devices, or we may not use them.
pub fn attach(backing: &impl AsFd, path: &Path) -> Result<OwnedFd> {
    let control = open(CWD.as_fd(), Path::new(CONTROL)).context("open", Path::new(CONTROL))?;
    for _ in 0..ATTEMPTS {
        // SAFETY: this request takes no argument.
        let number = unsafe { libc::ioctl(control.as_raw_fd(), GET_FREE as _) };
        let Ok(number) = u32::try_from(number) else {
            return Err(io::Error::last_os_error()).context("find a loop device for", path);
        };
        let device = match open_device(number) {
            Ok(device) => device,
            // Taken away in this moment.
            Err(error) if error.source.raw_os_error() == Some(libc::ENXIO) => continue,
            Err(error) => return Err(error),
        };
        match configure(&device, backing) {
            Ok(()) => return Ok(device),
            // Somebody else was faster; the kernel names another one next time.
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {}
            Err(error) => return Err(error).context("make a loop device of", path),
        }
    }
    Err(io::Error::from(Errno::BUSY)).context("find a loop device for", path)
}

fn configure(device: &OwnedFd, backing: &impl AsFd) -> io::Result<()> {
    let config = Config {
        fd: backing.as_fd().as_raw_fd().cast_unsigned(),
        block_size: SECTOR,
        device: 0,
        inode: 0,
        rdevice: 0,
        offset: 0,
        size_limit: 0,
        number: 0,
        encrypt_type: 0,
        encrypt_key_size: 0,
        flags: FLAGS,
        file_name: [0; 64],
        crypt_name: [0; 64],
        encrypt_key: [0; 32],
        init: [0; 2],
        reserved: [0; 8],
    };
    // SAFETY: `config` is a live `struct loop_config`, which the kernel only reads.
    let result = unsafe { libc::ioctl(device.as_raw_fd(), CONFIGURE as _, &raw const config) };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Opens a device by its number; where `/dev` has no node of it, as in containers, through one that nobody else sees.
fn open_device(number: u32) -> Result<OwnedFd> {
    let path = PathBuf::from(format!("/dev/loop{number}"));
    match open(CWD.as_fd(), &path) {
        Ok(device) if is_loop(&device, number) => return Ok(device),
        Ok(_) | Err(Errno::NOENT) => {}
        Err(errno) => return Err(Error::new("open", path, errno.into())),
    }
    let place = mount::tmpfs(&[("mode", "0700")], Attributes::default())?;
    let name = Path::new("loop");
    let numbers = rustix::fs::makedev(MAJOR, number);
    rustix::fs::mknodat(
        &place,
        name,
        FileType::BlockDevice,
        Mode::RUSR | Mode::WUSR,
        numbers,
    )
    .context("make a node of", &path)?;
    open(place.as_fd(), name).context("open", &path)
}

fn open(dir: std::os::fd::BorrowedFd<'_>, path: &Path) -> rustix::io::Result<OwnedFd> {
    rustix::fs::openat(dir, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
}

fn is_loop(device: &OwnedFd, number: u32) -> bool {
    rustix::fs::fstat(device).is_ok_and(|stat| {
        FileType::from_raw_mode(stat.st_mode) == FileType::BlockDevice
            && stat.st_rdev == rustix::fs::makedev(MAJOR, number)
    })
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::os::unix::fs::FileExt as _;

    use super::*;

    #[test]
    fn the_structure_is_the_kernels() {
        assert_eq!(size_of::<Config>(), 304);
        assert_eq!(std::mem::offset_of!(Config, flags), 8 + 52);
        assert_eq!(std::mem::offset_of!(Config, reserved), 8 + 232);
    }

    /// A device over `content`, unless this host has none for us.
    fn device(content: &[u8]) -> Option<std::fs::File> {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: needs root");
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        std::fs::write(&path, content).unwrap();
        match attach(&std::fs::File::open(&path).unwrap(), &path) {
            Ok(device) => Some(device.into()),
            Err(error) => {
                eprintln!("skipped: {error}");
                None
            }
        }
    }

    #[test]
    fn priv_a_device_is_its_file_rounded_down_and_read_only() {
        let mut content = vec![7_u8; 1024];
        content[1023] = 9;
        content.extend([5; 100]);
        let Some(mut device) = device(&content) else {
            return;
        };
        let mut read = Vec::new();
        device.read_to_end(&mut read).unwrap();
        assert_eq!(read, content[..1024]);
        assert!(device.write_at(b"x", 0).is_err());
    }

    #[test]
    fn priv_many_at_once_get_a_device_each() {
        let devices: Vec<_> = (0..8_u8)
            .map(|number| std::thread::spawn(move || (number, device(&[number; 512]))))
            .collect();
        // All are held until all have been looked at.
        let devices: Vec<_> = devices.into_iter().map(|t| t.join().unwrap()).collect();
        for (number, device) in &devices {
            let Some(device) = device else { return };
            let mut read = [0; 512];
            device.read_exact_at(&mut read, 0).unwrap();
            assert_eq!(read, [*number; 512]);
        }
    }
}
