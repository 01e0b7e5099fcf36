//! The trees that are copied: many small files, a thousand a directory, with
//! contents that are the same every time and do not compress.

use anyhow::{Context, Result};
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

/// The bytes of a file.
const SIZE: usize = 512;
/// The files of a directory.
const PER_DIRECTORY: u64 = 1000;
/// One file of so many is changed.
const CHANGED: u64 = 100;

/// Makes a tree of so many files.
pub fn make(place: &Path, files: u64) -> Result<()> {
    let mut bytes = Bytes(files ^ 0x9e37_79b9_7f4a_7c15);
    for first in (0..files).step_by(PER_DIRECTORY as usize) {
        let dir = place.join(format!("{:04}", first / PER_DIRECTORY));
        fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        for number in first..files.min(first + PER_DIRECTORY) {
            File::create(dir.join(format!("file{number:07}")))?.write_all(&bytes.next())?;
        }
    }
    Ok(())
}

/// Gives one file of a hundred other contents, of the same size; each round
/// others.
pub fn change(place: &Path, files: u64, round: u32) -> Result<()> {
    let mut bytes = Bytes(files ^ u64::from(round + 1).wrapping_mul(0x2545_f491_4f6c_dd1d));
    for number in (u64::from(round) % CHANGED..files).step_by(CHANGED as usize) {
        let file = format!("{:04}/file{number:07}", number / PER_DIRECTORY);
        // A new file under the old name, as editors and package managers do.
        let (old, new) = (place.join(&file), place.join(format!("{file}.new")));
        File::create(&new)?.write_all(&bytes.next())?;
        fs::rename(&new, &old).with_context(|| format!("cannot change {}", old.display()))?;
    }
    Ok(())
}

/// Bytes that look random (xorshift), the same for the same beginning.
struct Bytes(u64);

impl Bytes {
    fn next(&mut self) -> [u8; SIZE] {
        let mut block = [0; SIZE];
        for word in block.chunks_exact_mut(8) {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            word.copy_from_slice(&self.0.to_le_bytes());
        }
        block
    }
}
