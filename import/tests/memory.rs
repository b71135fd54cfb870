//! The memory of a text does not grow with the file, and that of a hostile spreadsheet is bounded.

use enroll::Timestamp;
use enroll_import::{Limits, List, ListError, Options, Settings, inspect};
use std::io::{self, Cursor, Read, Seek, SeekFrom, Write};
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;

/// A text of many rows that is not in memory.
struct Rows {
    rows: u64,
    at: u64,
}

const ROW: u64 = 40;

impl Rows {
    fn row(number: u64) -> String {
        let width = usize::try_from(ROW).unwrap_or_default() - 1;
        match number {
            0 => format!("{:width$}\n", "phone,name"),
            n => format!("{:width$}\n", format!("+1202{n:07},Ann {n}")),
        }
    }
}

impl Read for Rows {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at >= self.rows * ROW {
            return Ok(0);
        }
        let row = Self::row(self.at / ROW);
        let rest = &row.as_bytes()[usize::try_from(self.at % ROW).unwrap_or_default()..];
        let length = rest.len().min(buffer.len());
        buffer[..length].copy_from_slice(&rest[..length]);
        self.at += length as u64;
        Ok(length)
    }
}

impl Seek for Rows {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let SeekFrom::Start(at) = to else { return Err(io::ErrorKind::Unsupported.into()) };
        self.at = at;
        Ok(at)
    }
}

/// Returns the most bytes that were allocated at one time.
fn peak(work: impl FnOnce()) -> usize {
    let profiler = dhat::Profiler::builder().testing().build();
    work();
    let peak = dhat::HeapStats::get().max_bytes;
    drop(profiler);
    peak
}

fn read_text(rows: u64) {
    let settings = Settings::new(Timestamp::EPOCH).with_limits(Limits::default().with_bytes(u64::MAX));
    let mut list = List::open(Rows { rows, at: 0 }, Options::default(), settings).unwrap();
    assert_eq!(list.rows().unwrap().filter(|row| row.as_ref().unwrap().is_ok()).count() as u64, rows - 1);
}

fn zipped(parts: &[(&str, &[u8])]) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content) in parts {
        zip.start_file(*name, SimpleFileOptions::default()).unwrap();
        zip.write_all(content).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

/// One test, since the allocator counts the whole process.
#[test]
fn memory_is_bounded() {
    // What is made once for the process: the table of titles.
    read_text(10);
    let [small, large] = [2_000, 10_000].map(|rows| peak(|| read_text(rows)));
    assert!(large < small + (64 << 10), "{small} bytes for 2000 rows, {large} for 10,000");

    // A spreadsheet is refused at its limit, before the rest is unzipped.
    let bomb = zipped(&[("[Content_Types].xml", b"<Types/>"), ("xl/workbook.xml", &vec![b' '; 16 << 20])]);
    let mut limits = Limits::default();
    limits.unzipped_bytes = 1 << 20;
    let settings = Settings::new(Timestamp::EPOCH).with_limits(limits);
    let mut refused = None;
    let peak = peak(|| refused = inspect(Cursor::new(&bomb), &Options::default(), &settings).err());
    assert!(matches!(refused, Some(ListError::TooManyCells { .. })), "{refused:?}");
    assert!(peak < 4 << 20, "{peak} bytes for 1 MiB unzipped");
}
