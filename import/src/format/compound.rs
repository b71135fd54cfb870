//! Compound files (MS-CFB): the container of XLS. No chain is longer than the file.

use super::broken;
use crate::error::ListError;
use crate::inspection::Format;

/// The sectors of a compound file, and how they are chained.
pub(super) struct Compound<'f> {
    sectors: Sectors<'f>,
    table: Vec<u32>,
    directory: Vec<Entry>,
    mini_stream: Vec<u8>,
    mini_table: Vec<u32>,
    mini_cutoff: u64,
}

#[derive(Clone, Copy)]
struct Sectors<'f> {
    file: &'f [u8],
    size: usize,
}

struct Entry {
    name: String,
    start: u32,
    length: u64,
}

/// The numbers of sectors end here; greater ones mark the end of a chain or a free sector.
const LAST_SECTOR: u32 = 0xffff_fffa;
const MINI_SECTOR: usize = 64;

pub(super) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(at..at.checked_add(2)?)?.try_into().ok()?))
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

impl<'f> Sectors<'f> {
    /// Returns a sector. The last one can be cut.
    fn get(self, number: u32) -> Option<&'f [u8]> {
        let start = (number as usize).checked_add(1)?.checked_mul(self.size)?;
        let end = start.checked_add(self.size)?.min(self.file.len());
        self.file.get(start..end).filter(|sector| !sector.is_empty())
    }

    fn count(self) -> usize {
        self.file.len() / self.size
    }

    /// Returns the bytes of a chain of sectors, at most `length`.
    fn chain(self, start: u32, table: &[u32], length: u64) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        let mut sector = start;
        for _ in 0..=self.count() {
            if sector >= LAST_SECTOR || bytes.len() as u64 >= length {
                bytes.truncate(usize::try_from(length).unwrap_or(usize::MAX));
                return Some(bytes);
            }
            bytes.extend_from_slice(self.get(sector)?);
            sector = *table.get(sector as usize)?;
        }
        // The chain is a circle.
        None
    }
}

fn numbers(bytes: &[u8]) -> impl Iterator<Item = u32> {
    bytes.chunks_exact(4).map(|four| u32::from_le_bytes([four[0], four[1], four[2], four[3]]))
}

impl<'f> Compound<'f> {
    pub(super) fn open(file: &'f [u8]) -> Result<Self, ListError> {
        Self::read(file).ok_or_else(|| broken(Format::Xls, "its sectors are not complete"))
    }

    fn read(file: &'f [u8]) -> Option<Self> {
        let size = 1 << u16_at(file, 30).filter(|shift| matches!(shift, 9 | 12))?;
        let sectors = Sectors { file, size };
        let number = |at| u32_at(file, at);
        let mut tables: Vec<u32> = numbers(file.get(76..512)?).collect();
        let mut next = number(68)?;
        for _ in 0..sectors.count() {
            if next >= LAST_SECTOR {
                break;
            }
            tables.extend(numbers(sectors.get(next)?));
            next = tables.pop()?;
        }
        let mut table = Vec::new();
        for sector in tables.into_iter().filter(|sector| *sector < LAST_SECTOR).take(sectors.count()) {
            table.extend(numbers(sectors.get(sector)?));
        }
        let directory = sectors.chain(number(48)?, &table, u64::MAX)?;
        let directory: Vec<Entry> = directory.chunks_exact(128).filter_map(entry).collect();
        let root = directory.first()?;
        let mini_stream = sectors.chain(root.start, &table, root.length)?;
        let mini_table = numbers(&sectors.chain(number(60)?, &table, u64::MAX)?).collect();
        let mini_cutoff = u64::from(number(56)?);
        Some(Self { sectors, table, directory, mini_stream, mini_table, mini_cutoff })
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.directory.iter().any(|entry| entry.name == name)
    }

    /// Returns the bytes of a stream.
    pub(super) fn stream(&self, name: &str) -> Option<Result<Vec<u8>, ListError>> {
        let entry = self.directory.iter().find(|entry| entry.name == name)?;
        let stream = if entry.length < self.mini_cutoff {
            self.mini_chain(entry)
        } else {
            self.sectors.chain(entry.start, &self.table, entry.length)
        };
        let complete = stream.filter(|bytes| bytes.len() as u64 == entry.length);
        Some(complete.ok_or_else(|| broken(Format::Xls, "a stream is torn")))
    }

    fn mini_chain(&self, entry: &Entry) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        let mut sector = entry.start;
        while (bytes.len() as u64) < entry.length {
            let start = (sector as usize).checked_mul(MINI_SECTOR)?;
            let end = start.checked_add(MINI_SECTOR)?.min(self.mini_stream.len());
            bytes.extend_from_slice(self.mini_stream.get(start..end).filter(|bytes| !bytes.is_empty())?);
            sector = *self.mini_table.get(sector as usize)?;
        }
        bytes.truncate(usize::try_from(entry.length).ok()?);
        Some(bytes)
    }
}

fn entry(bytes: &[u8]) -> Option<Entry> {
    let length = usize::from(u16_at(bytes, 64)?).min(64);
    let units: Vec<u16> = (0..length / 2).filter_map(|n| u16_at(bytes, n * 2)).take_while(|unit| *unit != 0).collect();
    // The upper half of the length is unused in files with small sectors, and may be anything.
    let length = u64::from(u32_at(bytes, 120)?);
    Some(Entry { name: String::from_utf16_lossy(&units), start: u32_at(bytes, 116)?, length })
}
