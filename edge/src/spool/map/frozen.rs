//! A file that is read in place and that nobody changes any more.

use std::fs::File;
use std::io;

use memmap2::Mmap;

/// The bytes of a whole file, mapped for reading.
#[derive(Debug)]
pub(crate) struct Frozen(Mmap);

impl Frozen {
    /// Maps a file that has its final content: it was written under another name, and whoever wants
    /// other content makes another file in its place.
    ///
    /// If somebody cuts it short all the same, or its disk cannot be read any more, the kernel ends
    /// the process at the next look (`SIGBUS`). Only the owner of the data folder could do the first.
    pub(crate) fn map(file: &File) -> io::Result<Self> {
        // SAFETY: the content is final, so what is handed out as `&[u8]` does not change.
        unsafe { Mmap::map(file) }.map(Self)
    }
}

impl AsRef<[u8]> for Frozen {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}
