//! The index file in memory, as far as it was needed.

use std::borrow::Cow;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::OnceLock;

/// The index in pieces that are read when they are first needed.
#[derive(Debug)]
pub(super) struct Pages {
    file: File,
    size: u64,
    pages: Vec<OnceLock<Box<[u8]>>>,
}

impl Pages {
    /// A multiple of the block size; small, because a lookup touches few places.
    const PAGE: u64 = 16 << 10;

    pub(super) fn open(path: &Path) -> sys::fs::Result<Self> {
        use sys::fs::Context as _;
        let file = sys::fs::open(path)?;
        let size = file.metadata().context("stat", path)?.len();
        let count = usize::try_from(size.div_ceil(Self::PAGE)).unwrap_or_default();
        let pages = std::iter::repeat_with(OnceLock::new).take(count).collect();
        Ok(Self { file, size, pages })
    }

    /// Bytes of the index.
    pub(super) const fn size(&self) -> u64 {
        self.size
    }

    fn page(&self, index: u64) -> io::Result<Option<&[u8]>> {
        let Some(cell) = usize::try_from(index)
            .ok()
            .and_then(|at| self.pages.get(at))
        else {
            return Ok(None);
        };
        if let Some(page) = cell.get() {
            return Ok(Some(page));
        }
        let start = index * Self::PAGE;
        let len = (self.size - start).min(Self::PAGE);
        let mut bytes = vec![0; usize::try_from(len).unwrap_or_default()];
        self.file.read_exact_at(&mut bytes, start)?;
        Ok(Some(cell.get_or_init(|| bytes.into_boxed_slice())))
    }

    /// `len` bytes from `at`; `None` if the file ends before.
    pub(super) fn get(&self, at: u64, len: usize) -> io::Result<Option<Cow<'_, [u8]>>> {
        let Some(end) = at.checked_add(len as u64).filter(|end| *end <= self.size) else {
            return Ok(None);
        };
        let offset = usize::try_from(at % Self::PAGE).unwrap_or_default();
        let first = at / Self::PAGE;
        let Some(page) = self.page(first)? else {
            return Ok((len == 0).then_some(Cow::Borrowed(&[])));
        };
        if let Some(bytes) = page.get(offset..offset + len) {
            return Ok(Some(Cow::Borrowed(bytes)));
        }
        let mut bytes = Vec::with_capacity(len);
        bytes.extend_from_slice(page.get(offset..).unwrap_or_default());
        for index in first + 1..end.div_ceil(Self::PAGE) {
            let missing = len - bytes.len();
            let Some(page) = self.page(index)? else {
                return Ok(None);
            };
            bytes.extend_from_slice(&page[..page.len().min(missing)]);
        }
        Ok(Some(Cow::Owned(bytes)))
    }
}
