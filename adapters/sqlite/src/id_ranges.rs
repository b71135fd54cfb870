//! The scan over adjacent ids: rows of contacts that one request created are read by range, the others by id.

use enroll::ContactId;
use enroll::repository::are_adjacent;
use rusqlite::{Connection, params};
use uuid::Uuid;

use crate::error::SqliteError;
use crate::fields::ColumnReader;
use crate::read::{for_each_row, id_array};

/// Sorted contact ids, split by how their rows are found fastest.
pub(crate) struct ContactRanges<'i> {
    organization: Uuid,
    /// Runs of adjacent ids, whose rows are read by range.
    ranges: Vec<IdRange<'i>>,
    /// Ids whose rows are read one by one.
    single: Vec<Uuid>,
}

/// Adjacent ids.
struct IdRange<'i> {
    first: Uuid,
    last: Uuid,
    ids: &'i [Uuid],
}

/// How the related rows of contacts in one table are read.
pub(crate) struct RelatedQuery {
    /// Reads the rows of the contacts `?2` that belong to `?3`: the contact id, then the columns.
    pub(crate) by_id: &'static str,
    /// Reads the rows of the contacts from `?2` to `?3`, in their order, at most `?5`: the contact id, whether the row
    /// belongs to `?4`, then the columns.
    pub(crate) by_range: &'static str,
}

/// A related row that was read, or the order to drop those of a contact.
pub(crate) enum Related<T> {
    Row(T),
    /// The range ended at this contact, and its other rows are unknown: they will be read by id.
    Discard,
}

impl<'i> ContactRanges<'i> {
    pub(crate) fn new(organization: Uuid, sorted: &'i [Uuid]) -> Self {
        let (mut ranges, mut single) = (Vec::new(), Vec::new());
        for ids in sorted.chunk_by(|a, b| are_adjacent(*a, *b)) {
            match *ids {
                [first, .., last] if ids.len() >= MIN_RANGE => ranges.push(IdRange { first, last, ids }),
                _ => single.extend(ids),
            }
        }
        Self { organization, ranges, single }
    }

    /// Reads the contacts, and possibly others that lie in the same ranges.
    ///
    /// `by_range` takes the first and the last id of a range, `by_id` an array of ids.
    pub(crate) fn for_each_contact(
        &self,
        connection: &Connection,
        by_range: &str,
        by_id: &str,
        mut found: impl FnMut(&mut ColumnReader<'_, '_>) -> rusqlite::Result<()>,
    ) -> Result<(), SqliteError> {
        for range in &self.ranges {
            let params = params![self.organization, range.first, range.last];
            for_each_row(connection, by_range, params, &mut found)?;
        }
        if !self.single.is_empty() {
            let params = params![self.organization, id_array(self.single.iter().copied())];
            for_each_row(connection, by_id, params, &mut found)?;
        }
        Ok(())
    }

    /// Reads the related rows of the contacts that belong to one channel, sequence or custom object.
    ///
    /// A range is abandoned where the contacts have many rows that belong elsewhere. Its remaining contacts are then
    /// read by id.
    pub(crate) fn for_each_related<T>(
        &self,
        connection: &Connection,
        query: &RelatedQuery,
        belongs_to: Uuid,
        read: impl Fn(&mut ColumnReader<'_, '_>) -> rusqlite::Result<T>,
        mut found: impl FnMut(ContactId, Related<T>),
    ) -> Result<(), SqliteError> {
        let mut single = self.single.clone();
        for range in &self.ranges {
            let max_rows = i64::try_from(range.ids.len()).unwrap_or(i64::MAX).saturating_mul(MAX_ROWS_PER_CONTACT);
            let (mut rows, mut reached) = (0, range.first);
            let params = params![self.organization, range.first, range.last, belongs_to, max_rows];
            for_each_row(connection, query.by_range, params, |columns| {
                (rows, reached) = (rows + 1, columns.read()?);
                if columns.read()? {
                    found(ContactId::from_uuid(reached), Related::Row(read(columns)?));
                }
                Ok(())
            })?;
            if rows == max_rows {
                found(ContactId::from_uuid(reached), Related::Discard);
                single.extend(range.ids.iter().filter(|id| **id >= reached));
            }
        }
        if single.is_empty() {
            return Ok(());
        }
        let params = params![self.organization, id_array(single.into_iter()), belongs_to];
        for_each_row(connection, query.by_id, params, |columns| {
            let contact_id = columns.read()?;
            found(contact_id, Related::Row(read(columns)?));
            Ok(())
        })
    }
}

/// The number of adjacent ids from which a range scan is faster than reading by id.
const MIN_RANGE: usize = 8;
/// The average number of rows per contact up to which a range scan is faster than reading by id.
const MAX_ROWS_PER_CONTACT: i64 = 4;
