//! A list as requests (spec 11, *Requests*).

use enroll::request::MAX_RECIPIENTS;
use enroll::{EnrollmentId, ListRef, OrganizationId, Recipient, Timestamp};
use sha2::{Digest, Sha256};
use std::io::{Read, Seek};

use crate::entry::Note;
use crate::error::ListError;
use crate::list::{List, Rows};
use crate::options::Options;

/// What identifies a list if it is sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ListKey<'a> {
    /// The caller's idempotency key: 1 to 255 visible ASCII characters.
    Idempotency(&'a str),
    /// The content: the bytes of the file, the mapping, the edits and the options of the list, and here the caller's own
    /// options of the request, such as its sequence.
    Content(&'a [u8]),
}

/// A request of a list.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ListRequest {
    /// The number of the request, from 0.
    pub number: u32,
    /// The id of its enrollment, derived from the id of the list.
    pub id: EnrollmentId,
    /// The instant of the request: each one is a millisecond after the previous one, so that ids of rows are in order.
    pub at: Timestamp,
    /// The list, for [`Enrollment::list`](enroll::Enrollment::list). `None` if this is its only request.
    pub list: Option<ListRef>,
    /// The recipients: 1 to 4000.
    pub recipients: Vec<Recipient<'static>>,
    /// The row of each recipient.
    pub rows: Vec<u64>,
    /// The notes, with the index of their recipient.
    pub notes: Vec<(usize, Note)>,
    /// The position of the column of each phone, with the index of its recipient, if several columns are phones.
    pub phone_positions: Vec<(usize, usize)>,
}

impl<R: Read + Seek> List<R> {
    /// Returns the id of the list. The id of its first request is the same, so that a list of one request and a request
    /// with the same idempotency key are one enrollment.
    ///
    /// # Errors
    /// [`ListError::InvalidIdempotencyKey`].
    pub fn id(&self, organization_id: OrganizationId, key: ListKey<'_>) -> Result<EnrollmentId, ListError> {
        let options = match key {
            ListKey::Idempotency(key)
                if (1..=255).contains(&key.len()) && key.bytes().all(|b| b.is_ascii_graphic()) =>
            {
                return Ok(EnrollmentId::from_idempotency_key(organization_id, key));
            }
            ListKey::Idempotency(_) => return Err(ListError::InvalidIdempotencyKey),
            ListKey::Content(options) => options,
        };
        let own = Options { mapping: self.options().mapping.sorted(), ..self.options().clone() };
        let own = serde_json::to_vec(&own).map_err(|e| ListError::Io(e.into()))?;
        let mut hash = Sha256::new().chain_update(b"enroll list\0").chain_update(organization_id.as_uuid().as_bytes());
        for part in [&self.digest()[..], &own, options] {
            hash.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            hash.update(part);
        }
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&hash.finalize()[..16]);
        Ok(uuid::Builder::from_custom_bytes(bytes).into_uuid().into())
    }

    /// Returns the number of recipients in each request: the fewest requests, whose sizes differ by one at most.
    #[must_use]
    pub fn request_sizes(&self) -> Vec<usize> {
        balanced(usize::try_from(self.recipients()).unwrap_or(usize::MAX))
    }

    /// Returns what the requests of the list name as their list, or `None` if there is only one request. `at` is the instant
    /// of the list.
    #[must_use]
    pub fn list_ref(&self, id: EnrollmentId, at: Timestamp) -> Option<ListRef> {
        (self.request_sizes().len() > 1).then_some(ListRef { id, at })
    }

    /// Reads the list again, as requests. One request is in memory at a time.
    ///
    /// `at` is the instant of the list. Rows that are set aside are in no request: [`List::rows`] has them.
    ///
    /// # Errors
    /// [`ListError`] if the file cannot be read again.
    pub fn requests(&mut self, id: EnrollmentId, at: Timestamp) -> Result<Requests<'_, R>, ListError> {
        let sizes = self.request_sizes();
        let list = self.list_ref(id, at);
        Ok(Requests { sizes: sizes.into_iter().enumerate(), rows: self.rows()?, id, at, list })
    }
}

/// The requests of a list. Created by [`List::requests`].
#[derive(Debug)]
pub struct Requests<'l, R: Read> {
    sizes: std::iter::Enumerate<std::vec::IntoIter<usize>>,
    rows: Rows<'l, R>,
    id: EnrollmentId,
    at: Timestamp,
    list: Option<ListRef>,
}

impl<R: Read> Iterator for Requests<'_, R> {
    type Item = Result<ListRequest, ListError>;

    fn next(&mut self) -> Option<Self::Item> {
        let (number, size) = self.sizes.next()?;
        Some(u32::try_from(number).map_err(|_| ListError::Changed).and_then(|number| self.request(number, size)))
    }
}

impl<R: Read> Requests<'_, R> {
    fn request(&mut self, number: u32, size: usize) -> Result<ListRequest, ListError> {
        let at = Timestamp::from_millis(self.at.millis().saturating_add(number.into())).unwrap_or(self.at);
        let (id, list) = (self.id.part(number), self.list);
        let (recipients, rows, notes, phone_positions) = (vec![], vec![], vec![], vec![]);
        let mut request = ListRequest { number, id, at, list, recipients, rows, notes, phone_positions };
        while request.recipients.len() < size {
            let row = self.rows.next().ok_or(ListError::Changed)??;
            if let Ok(entry) = row {
                let index = request.recipients.len();
                request.notes.extend(entry.notes.into_iter().map(|note| (index, note)));
                request.phone_positions.extend(entry.phone_position.map(|position| (index, position)));
                request.rows.push(entry.row);
                request.recipients.push(entry.recipient);
            }
        }
        Ok(request)
    }
}

/// Returns the sizes of the fewest requests. They differ by one at most.
fn balanced(recipients: usize) -> Vec<usize> {
    let requests = recipients.div_ceil(MAX_RECIPIENTS);
    (0..requests).map(|n| recipients / requests + usize::from(n < recipients % requests)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_balanced() {
        for recipients in [0, 1, 3999, 4000, 4001, 8001, 12_000, 100_003] {
            let sizes = balanced(recipients);
            assert_eq!(sizes.iter().sum::<usize>(), recipients);
            assert_eq!(sizes.len(), recipients.div_ceil(4000));
            let (min, max) = (sizes.iter().min(), sizes.iter().max());
            assert!(max.is_none_or(|max| *max <= 4000 && max - min.unwrap() <= 1), "{recipients}: {sizes:?}");
        }
    }
}
