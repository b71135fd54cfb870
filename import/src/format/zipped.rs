//! Zip archives: XLSX and ODS. The bytes that are unzipped are bounded.

use std::cell::Cell;
use std::io::{self, BufRead, BufReader, Read, Seek};
use zip::ZipArchive;
use zip::result::ZipError;

use super::{Kind, broken};
use crate::error::ListError;
use crate::inspection::Format;

/// Finds the kind of spreadsheet in an archive.
pub(crate) fn kind(input: &mut (impl Read + Seek)) -> Result<Kind, ListError> {
    let mut zip = ZipArchive::new(input).map_err(|e| broken(Format::Xlsx, problem(&e)))?;
    let has = |name: &str| zip.file_names().flatten().any(|file| file.eq_ignore_ascii_case(name));
    if has("content.xml") {
        let mut kind = String::new();
        if let Ok(file) = zip.by_name("mimetype") {
            let _text = file.take(100).read_to_string(&mut kind);
        }
        if kind.is_empty() || kind.contains("opendocument.spreadsheet") {
            return Ok(Kind::Ods);
        }
        return Err(ListError::UnknownFormat { found: "an OpenDocument file without sheets".to_owned() });
    }
    let found = if has("xl/workbook.bin") {
        "a binary workbook (XLSB)"
    } else if has("word/document.xml") {
        "a text document"
    } else if has("Index/Document.iwa") || has("Index.zip") {
        "a document of Apple Numbers or Pages"
    } else if has("[Content_Types].xml") {
        return Ok(Kind::Xlsx);
    } else {
        "a zip archive without a spreadsheet"
    };
    Err(ListError::UnknownFormat { found: found.to_owned() })
}

/// An archive whose unzipped bytes are counted.
pub(crate) struct Archive<R> {
    zip: ZipArchive<R>,
    format: Format,
    left: Cell<u64>,
    limit: u64,
}

impl<R: Read + Seek> Archive<R> {
    pub(crate) fn open(input: R, format: Format, limit: u64) -> Result<Self, ListError> {
        let zip = ZipArchive::new(input).map_err(|e| broken(format, problem(&e)))?;
        Ok(Self { zip, format, left: Cell::new(limit), limit })
    }

    /// Opens a part, if the archive has it.
    pub(crate) fn part(&mut self, name: &str) -> Result<Option<impl BufRead + use<'_, R>>, ListError> {
        let name = name.trim_start_matches('/');
        // Some programs write other capitals than they refer to.
        let known = self.zip.file_names().flatten().find(|file| file.replace('\\', "/").eq_ignore_ascii_case(name));
        let Some(known) = known.map(std::borrow::Cow::into_owned) else { return Ok(None) };
        let Self { zip, format, left, limit } = self;
        let part = zip.by_name(&known).map_err(|e| broken(*format, problem(&e)))?;
        Ok(Some(BufReader::new(Limited { part, left, limit: *limit })))
    }
}

fn problem(error: &ZipError) -> String {
    error.to_string()
}

/// Fails after the last byte that may be unzipped.
struct Limited<'a, R> {
    part: R,
    left: &'a Cell<u64>,
    limit: u64,
}

/// More bytes were unzipped than the limit.
#[derive(Debug, thiserror::Error)]
#[error("has more than {0} unzipped bytes")]
pub(crate) struct UnzippedLimit(pub(crate) u64);

impl<R: Read> Read for Limited<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.part.read(buffer)?;
        let left =
            self.left.get().checked_sub(read as u64).ok_or_else(|| io::Error::other(UnzippedLimit(self.limit)))?;
        self.left.set(left);
        Ok(read)
    }
}
