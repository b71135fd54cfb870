//! Who comes again in a later request of an import, however long the import is.

use rusqlite::{Connection, OptionalExtension, params};
use std::collections::HashMap;

use enroll::{ContactId, EnrollmentReport};

/// Whom the earlier requests of an import enrolled.
///
/// Nothing is kept of whoever the import itself made, most of a long list: the id of a contact that an enrollment made
/// names that enrollment and the recipient (SPEC 6), so that a few words a request tell where they stand. Contacts that
/// stood before have ids of any kind. They go to a private database that SQLite keeps in a few pages of memory and, past
/// those, in a temporary file that is gone with it.
pub(crate) struct Again {
    /// Of each enrollment that made contacts, the place of its first person in the list.
    made: HashMap<u128, usize>,
    stood: Connection,
    rows: Rows,
}

impl Again {
    pub(crate) fn new() -> Result<Self, rusqlite::Error> {
        let stood = Connection::open("")?;
        stood.execute_batch(STOOD)?;
        Ok(Self { made: HashMap::new(), stood, rows: Rows::default() })
    }

    /// Takes the next request's report in, with the row of each recipient. Of each recipient whose contact an earlier
    /// request enrolled, the row that was enrolled first.
    pub(crate) fn rows(
        &mut self,
        report: &EnrollmentReport,
        rows: &[usize],
    ) -> Result<Vec<Option<usize>>, rusqlite::Error> {
        let begin = self.rows.people;
        rows.iter().for_each(|row| self.rows.push(*row));
        let made = report.outcomes.iter().find(|outcome| outcome.contact_created);
        if let Some(contact_id) = made.and_then(|outcome| outcome.contact_id) {
            self.made.insert(maker(contact_id).0, begin);
        }
        let transaction = self.stood.unchecked_transaction()?;
        let mut first_rows = Vec::with_capacity(rows.len());
        for (outcome, place) in report.outcomes.iter().zip(begin..) {
            let first = match outcome.contact_id {
                Some(contact_id) => {
                    let (maker, index) = maker(contact_id);
                    match self.made.get(&maker) {
                        Some(begin) => Some(begin + index),
                        None => stood(&transaction, contact_id, place, outcome.disposition.is_enrolled())?,
                    }
                }
                None => None,
            };
            first_rows.push(first.filter(|first| *first < begin).map(|first| self.rows.of(first)));
        }
        transaction.commit()?;
        Ok(first_rows)
    }
}

/// Where a contact was enrolled first: here, if it is enrolled and was nowhere before.
fn stood(
    connection: &Connection,
    contact_id: ContactId,
    place: usize,
    enrolled: bool,
) -> Result<Option<usize>, rusqlite::Error> {
    let id = contact_id.as_uuid();
    let mut find = connection.prepare_cached("select place from stood where id = ?1")?;
    let first: Option<i64> = find.query_row([id.as_bytes()], |row| row.get(0)).optional()?;
    if first.is_none() && enrolled {
        let place = i64::try_from(place).unwrap_or(i64::MAX);
        connection.prepare_cached("insert into stood values (?1, ?2)")?.execute(params![id.as_bytes(), place])?;
    }
    Ok(first.and_then(|first| usize::try_from(first).ok()))
}

/// A minted id but for the index of its recipient, and that index.
fn maker(contact_id: ContactId) -> (u128, usize) {
    let id = contact_id.as_uuid().as_u128();
    (id & !INDEX, usize::try_from((id & INDEX) >> 64).unwrap_or_default())
}

/// The row of each person. Of rows that follow each other, as most do, only the first is kept.
#[derive(Default)]
struct Rows {
    people: usize,
    runs: Vec<(usize, usize)>,
}

impl Rows {
    fn push(&mut self, row: usize) {
        if self.runs.last().is_none_or(|(place, first)| first + self.people - place != row) {
            self.runs.push((self.people, row));
        }
        self.people += 1;
    }

    fn of(&self, place: usize) -> usize {
        let run = self.runs.partition_point(|(first, _)| *first <= place).saturating_sub(1);
        self.runs.get(run).map_or(0, |(first, row)| row + place - first)
    }
}

/// Where a minted id has the index of its recipient.
const INDEX: u128 = 0xfff << 64;
/// Nothing of it outlives the import, so nothing is made safe.
const STOOD: &str = "
    pragma journal_mode = off;
    pragma synchronous = off;
    pragma cache_size = -2000;
    create table stood (id blob primary key, place integer not null) without rowid;
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_found_by_the_place_of_its_person() {
        let mut rows = Rows::default();
        let of_people = [2, 3, 4, 7, 8, 20, 22, 23];
        of_people.into_iter().for_each(|row| rows.push(row));
        assert_eq!(rows.runs, [(0, 2), (3, 7), (5, 20), (6, 22)]);
        assert!(of_people.into_iter().enumerate().all(|(place, row)| rows.of(place) == row));
    }
}
