//! Where archives are written to: a file that appears whole or not at all, a pipe, or stdout.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use layer::compression::{Compression, Encoder, Level};
use layer::{Meta, tar};
use sys::fs::{self, Context as _};

use crate::Error;

/// An archive being written; dropped before [`Output::finish`], a file leaves nothing behind.
#[derive(Debug)]
#[must_use = "a file gets its name in `finish`"]
pub(crate) struct Output {
    file: File,
    place: Place,
}

#[derive(Debug)]
enum Place {
    /// Written under another name first.
    File { temporary: Temporary, path: PathBuf },
    /// Written as it comes: a pipe, a device, stdout.
    Stream,
}

/// A path that is removed unless it got its real name.
#[derive(Debug)]
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        // Gone already after `finish`.
        fs::remove_file(&self.0).ok();
    }
}

impl Output {
    /// Opens `path`, or stdout.
    pub(crate) fn create(path: Option<&Path>) -> Result<Self, Error> {
        let Some(path) = path else {
            let stdout = io::stdout()
                .as_fd()
                .try_clone_to_owned()
                .context("open", Path::new("stdout"))?;
            return Ok(Self {
                file: File::from(stdout),
                place: Place::Stream,
            });
        };
        match fs::optional(fs::metadata(path))? {
            Some(meta) if meta.is_dir() => {
                return Err(Error::Io(fs::Error::new(
                    "write",
                    path,
                    io::ErrorKind::IsADirectory.into(),
                )));
            }
            Some(meta) if !meta.is_file() => {
                return Ok(Self {
                    file: fs::open_for_writing(path)?,
                    place: Place::Stream,
                });
            }
            _ => {}
        }
        let temporary = beside(path);
        let file = fs::create_new(&temporary).map_err(|error| error.on(path))?;
        Ok(Self {
            file,
            place: Place::File {
                temporary: Temporary(temporary),
                path: path.to_owned(),
            },
        })
    }

    /// Gives a file its name.
    pub(super) fn finish(mut self) -> Result<(), Error> {
        self.file
            .flush()
            .context("write", Path::new("the archive"))?;
        if let Place::File { temporary, path } = &self.place {
            fs::rename(&temporary.0, path).map_err(|error| error.on(path))?;
        }
        Ok(())
    }
}

/// A name in the same folder that nothing has.
pub(super) fn beside(path: &Path) -> PathBuf {
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(format!(".{}.new", std::process::id()));
    path.with_file_name(name)
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// A tar being written.
#[derive(Debug)]
pub(crate) struct Archive {
    sink: Sink,
    /// Small pieces wait here for each other.
    buffer: Vec<u8>,
    head: Vec<u8>,
}

#[derive(Debug)]
enum Sink {
    Plain(Output),
    Compressed(Box<Encoder<Output>>),
}

/// Pieces from this size on go from file to file inside the kernel.
const LARGE: u64 = 128 << 10;
/// When waiting pieces are written.
const FULL: usize = 256 << 10;

impl Archive {
    /// Begins a tar in `output`, the whole of it compressed.
    pub(crate) fn new(output: Output, compression: super::Compression) -> Result<Self, Error> {
        let compression = match compression {
            super::Compression::None => {
                return Ok(Self {
                    sink: Sink::Plain(output),
                    buffer: Vec::with_capacity(FULL + tar::BLOCK),
                    head: Vec::new(),
                });
            }
            super::Compression::Gzip => Compression::Gzip,
            super::Compression::Zstd => Compression::Zstd,
        };
        let encoder = Encoder::new(output, compression, Level::Default).map_err(failed)?;
        let sink = Sink::Compressed(Box::new(encoder));
        Ok(Self {
            sink,
            buffer: Vec::with_capacity(FULL + tar::BLOCK),
            head: Vec::new(),
        })
    }

    /// Adds the header of an entry; of a file, its bytes must follow.
    pub(crate) fn header(&mut self, path: &[u8], meta: &Meta) -> Result<(), Error> {
        // Alone, since it is padded by its own length; what waits need not end with a whole block.
        self.head.clear();
        tar::header(path, meta, &mut self.head);
        self.buffer.extend_from_slice(&self.head);
        self.spill()
    }

    /// Adds all bytes of a file.
    pub(super) fn bytes(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.buffer.extend_from_slice(bytes);
        self.pad(bytes.len() as u64)
    }

    /// Adds all bytes of a file: `length` of another one, from `offset`.
    pub(super) fn range(&mut self, file: &File, offset: u64, length: u64) -> Result<(), Error> {
        let mut copied = 0;
        if let Sink::Plain(output) = &mut self.sink
            && length >= LARGE
        {
            output.file.write_all(&self.buffer).map_err(failed)?;
            self.buffer.clear();
            copied = sys::copy::range(file, offset, &mut output.file, length).map_err(failed)?;
        } else {
            while copied < length {
                let from = self.buffer.len();
                let most = FULL.min(usize::try_from(length - copied).unwrap_or(FULL));
                self.buffer.resize(from + most, 0);
                let count = file
                    .read_at(&mut self.buffer[from..], offset + copied)
                    .map_err(failed)?;
                self.buffer.truncate(from + count);
                if count == 0 {
                    break;
                }
                copied += count as u64;
                self.spill()?;
            }
        }
        if copied != length {
            return Err(failed(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "a file of the store is too short",
            )));
        }
        self.pad(length)
    }

    fn pad(&mut self, length: u64) -> Result<(), Error> {
        self.buffer.resize(
            self.buffer.len()
                + usize::try_from(length.wrapping_neg() % tar::BLOCK as u64).unwrap_or(0),
            0,
        );
        self.spill()
    }

    fn spill(&mut self) -> Result<(), Error> {
        if self.buffer.len() >= FULL {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Error> {
        let buffer = &self.buffer;
        match &mut self.sink {
            Sink::Plain(output) => output.file.write_all(buffer),
            Sink::Compressed(encoder) => encoder.write_all(buffer),
        }
        .map_err(failed)?;
        self.buffer.clear();
        Ok(())
    }

    /// Ends the tar and gives the file its name.
    pub(crate) fn finish(mut self) -> Result<(), Error> {
        self.buffer.extend_from_slice(&tar::TRAILER);
        self.flush()?;
        match self.sink {
            Sink::Plain(output) => output,
            Sink::Compressed(encoder) => encoder.finish().map_err(failed)?,
        }
        .finish()
    }
}

const fn failed(source: io::Error) -> Error {
    Error::Output {
        what: "the archive",
        source,
    }
}
