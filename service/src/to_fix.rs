//! The rows of a list that a correction can help, as a file.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use enroll::Outcome;
use enroll_import::{List, SetAside};

use crate::people_lists::csv::ListFile;
use crate::people_lists::rows::ListedRow;
use crate::sql::people_lists::{RowTexts, SetAsideRow};
use crate::{Failure, list_file};

/// Refuses a file that exists: it can be the list itself.
pub(crate) fn check(path: &Path) -> Result<(), Failure> {
    match path.try_exists() {
        Ok(false) => Ok(()),
        Ok(true) => Err(Failure::new("--to-fix", format!("{} exists; name a new file", path.display()))),
        Err(e) => Err(Failure::from_error(path.display(), &e)),
    }
}

/// Writes the rows to a new file, and returns their number. `ignored` has the outcomes of recipients, by row.
pub(crate) fn write(
    path: &Path,
    name: &str,
    list: &mut List<File>,
    ignored: &mut BTreeMap<u64, Outcome>,
) -> Result<usize, Failure> {
    let failed = |e: &std::io::Error| Failure::from_error(path.display(), e);
    let titles: Vec<String> = list.inspection().columns.iter().map(|column| column.title.clone()).collect();
    let mut file = BufWriter::new(File::create_new(path).map_err(|e| failed(&e))?);
    file.write_all(ListFile::ToFix.header(&titles).as_bytes()).map_err(|e| failed(&e))?;
    let mut written = 0;
    let mut rows = list.rows().map_err(|e| list_file::failure(name, &e))?;
    while let Some(row) = rows.next_with_cells() {
        let (cells, read) = row.map_err(|e| list_file::failure(name, &e))?;
        let number = cells.row;
        let row = ListedRow {
            row: number,
            disposition: None,
            outcome: ignored.remove(&number),
            set_aside: read.err().map(set_aside_row),
            texts: Some(RowTexts { cells: cells.cells, ..RowTexts::default() }),
            repeats_row: None,
        };
        let mut line = String::new();
        ListFile::ToFix.push_row(&mut line, &row, titles.len());
        written += usize::from(!line.is_empty());
        file.write_all(line.as_bytes()).map_err(|e| failed(&e))?;
    }
    file.flush().map_err(|e| failed(&e))?;
    Ok(written)
}

fn set_aside_row(row: SetAside) -> SetAsideRow {
    let SetAside { row, column, reason, .. } = row;
    SetAsideRow { row, column, reason: reason.as_str().to_owned(), description: reason.to_string() }
}
