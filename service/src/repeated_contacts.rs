//! Finds the rows of an import that enroll a contact again, with a bounded amount of memory.

use rusqlite::{Connection, OptionalExtension, params};
use std::collections::HashMap;

use enroll::{ContactId, EnrollmentReport};

/// The contacts that the earlier requests of an import enrolled.
///
/// Most contacts of a long list are created by the import. They need no entry here: the id of a created contact contains
/// the enrollment and the index of the recipient (spec 6), so one entry for each request is enough. Contacts that existed
/// before the import have ids of any form. They are stored in a private SQLite database, which keeps a few pages in
/// memory and the rest in a temporary file.
pub(crate) struct RepeatedContacts {
    /// For each enrollment that created contacts, the position of its first person in the list.
    first_position: HashMap<u128, usize>,
    existing: Connection,
    rows: RowNumbers,
}

impl RepeatedContacts {
    pub(crate) fn new() -> Result<Self, rusqlite::Error> {
        let existing = Connection::open("")?;
        existing.execute_batch(TABLES)?;
        Ok(Self { first_position: HashMap::new(), existing, rows: RowNumbers::default() })
    }

    /// Records the report of the next request, with the row of each recipient. Returns, for each recipient whose contact
    /// an earlier request enrolled, the row that was enrolled first.
    pub(crate) fn record(
        &mut self,
        report: &EnrollmentReport,
        rows: &[usize],
    ) -> Result<Vec<Option<usize>>, rusqlite::Error> {
        let begin = self.rows.people;
        rows.iter().for_each(|row| self.rows.push(*row));
        let created = report.outcomes.iter().find(|outcome| outcome.contact_created);
        if let Some(contact_id) = created.and_then(|outcome| outcome.contact_id) {
            self.first_position.insert(split_id(contact_id).0, begin);
        }
        let transaction = self.existing.unchecked_transaction()?;
        let mut first_rows = Vec::with_capacity(rows.len());
        for (outcome, position) in report.outcomes.iter().zip(begin..) {
            let first = match outcome.contact_id {
                Some(contact_id) => {
                    let (enrollment, index) = split_id(contact_id);
                    match self.first_position.get(&enrollment) {
                        Some(begin) => Some(begin + index),
                        None => find_or_insert(&transaction, contact_id, position, outcome.disposition.is_enrolled())?,
                    }
                }
                None => None,
            };
            first_rows.push(first.filter(|first| *first < begin).map(|first| self.rows.row_at(first)));
        }
        transaction.commit()?;
        Ok(first_rows)
    }
}

/// Returns the position at which an existing contact was first enrolled. If the contact is enrolled now for the first
/// time, stores the current position.
fn find_or_insert(
    connection: &Connection,
    contact_id: ContactId,
    position: usize,
    enrolled: bool,
) -> Result<Option<usize>, rusqlite::Error> {
    let id = contact_id.as_uuid();
    let mut find = connection.prepare_cached("select position from existing where id = ?1")?;
    let first: Option<i64> = find.query_row([id.as_bytes()], |row| row.get(0)).optional()?;
    if first.is_none() && enrolled {
        let position = i64::try_from(position).unwrap_or(i64::MAX);
        connection.prepare_cached("insert into existing values (?1, ?2)")?.execute(params![id.as_bytes(), position])?;
    }
    Ok(first.and_then(|first| usize::try_from(first).ok()))
}

/// Splits the id of a created contact into the part that its enrollment determines and the index of the recipient.
fn split_id(contact_id: ContactId) -> (u128, usize) {
    let id = contact_id.as_uuid().as_u128();
    (id & !INDEX, usize::try_from((id & INDEX) >> 64).unwrap_or_default())
}

/// The row number of each person. Most rows are consecutive, so only the first row of each run is stored.
#[derive(Default)]
struct RowNumbers {
    people: usize,
    /// The position and the row of the first person of each run.
    runs: Vec<(usize, usize)>,
}

impl RowNumbers {
    fn push(&mut self, row: usize) {
        if self.runs.last().is_none_or(|(position, first)| first + self.people - position != row) {
            self.runs.push((self.people, row));
        }
        self.people += 1;
    }

    fn row_at(&self, position: usize) -> usize {
        let run = self.runs.partition_point(|(first, _)| *first <= position).saturating_sub(1);
        self.runs.get(run).map_or(0, |(first, row)| row + position - first)
    }
}

/// The bits of a derived id that contain the index of the recipient.
const INDEX: u128 = 0xfff << 64;
/// The database ends with the import, so it needs no journal.
const TABLES: &str = "
    pragma journal_mode = off;
    pragma synchronous = off;
    pragma cache_size = -2000;
    create table existing (id blob primary key, position integer not null) without rowid;
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_row_of_a_position() {
        let mut rows = RowNumbers::default();
        let numbers = [2, 3, 4, 7, 8, 20, 22, 23];
        numbers.into_iter().for_each(|row| rows.push(row));
        assert_eq!(rows.runs, [(0, 2), (3, 7), (5, 20), (6, 22)]);
        assert!(numbers.into_iter().enumerate().all(|(position, row)| rows.row_at(position) == row));
    }
}
