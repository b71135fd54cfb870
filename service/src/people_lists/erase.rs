//! Finds the lists that may have a row of a person, and removes their texts.

use enroll::contact::Email;
use enroll::erase::PersonQuery;
use enroll::{ContactId, EnrollmentId, OrganizationId, RepositoryError, Timestamp};
use std::collections::BTreeSet;
use uuid::Uuid;

use crate::handles::Handle;
use crate::sql::people_lists::{RowTexts, list_has_contact, list_pieces, lists_with_texts, piece_rows, remove_texts};
use crate::sql::{Param, not_null};

/// The texts by which a person is found in the cells of a list.
///
/// A cell is read with more tolerance than by the engine: in doubt, it is of the person.
pub(crate) struct PersonTexts {
    organization_id: OrganizationId,
    contacts: BTreeSet<Uuid>,
    external_ids: BTreeSet<String>,
    /// The digits, with the country code.
    phones: BTreeSet<String>,
    /// In lower case.
    emails: BTreeSet<String>,
}

impl PersonTexts {
    /// Reads the keys of the contacts that a query means. Call it before they are erased.
    pub(crate) async fn find(
        handle: &mut Handle,
        organization_id: OrganizationId,
        query: &PersonQuery,
    ) -> Result<Self, RepositoryError> {
        let mut person = Self {
            organization_id,
            contacts: query.id.map(ContactId::as_uuid).into_iter().collect(),
            external_ids: query.external_id.iter().map(ToString::to_string).collect(),
            phones: query.phone.iter().map(|phone| digits(phone.as_str())).collect(),
            emails: BTreeSet::new(),
        };
        let mut emails: Vec<String> =
            query.email.iter().flat_map(|email| [email.as_str().to_owned(), email.key().to_owned()]).collect();
        let mut params = vec![Param::Id(organization_id.as_uuid())];
        let mut conditions = Vec::new();
        let keys = [
            ("id", query.id.map(|id| Param::Id(id.as_uuid()))),
            ("external_id", query.external_id.as_ref().map(|id| Param::Text(id.to_string()))),
            ("phone", query.phone.as_ref().map(|phone| Param::Text(phone.as_str().to_owned()))),
            ("email_key", query.email.as_ref().map(|email| Param::Text(email.key().to_owned()))),
        ];
        for (column, key) in keys {
            if let Some(key) = key {
                params.push(key);
                conditions.push(format!("{column} = ${}", params.len()));
            }
        }
        if !conditions.is_empty() {
            let sql = format!(
                "select id, external_id, phone, email, email_key from enroll.contacts
                where organization_id = $1 and ({})",
                conditions.join(" or ")
            );
            let found = handle.query(&sql, &params, |row| {
                Ok((not_null(row.id()?)?, row.text()?, row.text()?, [row.text()?, row.text()?]))
            });
            for (id, external_id, phone, of_contact) in found.await? {
                person.contacts.insert(id);
                person.external_ids.extend(external_id);
                person.phones.extend(phone.map(|phone| digits(&phone)));
                emails.extend(of_contact.into_iter().flatten());
            }
        }
        person.emails = emails.into_iter().map(|email| email.trim().to_lowercase()).collect();
        Ok(person)
    }

    /// Returns the lists that keep texts and may have a row of the person, without those in `known`.
    pub(crate) async fn lists(
        &self,
        handle: &mut Handle,
        known: &BTreeSet<EnrollmentId>,
    ) -> Result<BTreeSet<EnrollmentId>, RepositoryError> {
        let mut found = BTreeSet::new();
        // A database that was never served has no lists.
        if !handle.has_tables().await? {
            return Ok(found);
        }
        for id in lists_with_texts(handle, self.organization_id).await? {
            if !known.contains(&id) && self.is_in_list(handle, id).await? {
                found.insert(id);
            }
        }
        Ok(found)
    }

    /// Removes the texts of lists.
    pub(crate) async fn remove(
        &self,
        handle: &mut Handle,
        lists: &BTreeSet<EnrollmentId>,
        now: Timestamp,
    ) -> Result<(), RepositoryError> {
        for id in lists {
            remove_texts(handle, (self.organization_id, *id), now).await?;
        }
        Ok(())
    }

    async fn is_in_list(&self, handle: &mut Handle, id: EnrollmentId) -> Result<bool, RepositoryError> {
        // The contact may have had other keys then.
        for contact in &self.contacts {
            if list_has_contact(handle, self.organization_id, id, *contact).await? {
                return Ok(true);
            }
        }
        for piece in list_pieces(handle, self.organization_id, id).await? {
            let (_, texts) = piece_rows(handle, self.organization_id, id, piece.number).await?;
            if texts.iter().flatten().any(|row| self.is_in_row(row)) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn is_in_row(&self, row: &RowTexts) -> bool {
        let phone = row.phone.as_deref().is_some_and(|text| self.has_phone(&digits(text), MIN_PHONE_DIGITS));
        phone || row.cells.iter().any(|cell| self.is_in_cell(cell))
    }

    fn is_in_cell(&self, cell: &str) -> bool {
        let is_id =
            |id: &String| cell.trim_matches(['\'', '"', '=', ' ']) == id || (id.len() >= 6 && cell.contains(&**id));
        if self.external_ids.iter().any(is_id) || self.has_phone(&digits(cell), SURE_DIGITS) {
            return true;
        }
        if !cell.contains('@') || self.emails.is_empty() {
            return false;
        }
        let lower = cell.to_lowercase();
        let is_key = |email: Email| self.emails.contains(&email.key().to_lowercase());
        self.emails.iter().any(|email| lower.contains(&**email)) || Email::parse(cell).is_ok_and(is_key)
    }

    /// Returns true if digits can be those of a phone: with or without its country code, and an extension.
    fn has_phone(&self, digits: &str, min: usize) -> bool {
        let national = digits.trim_start_matches('0');
        self.phones.iter().any(|phone| {
            let ends = national.len() >= min && phone.ends_with(national);
            let last = &phone[phone.len().saturating_sub(SURE_DIGITS)..];
            ends || (last.len() == SURE_DIGITS && digits.contains(last))
        })
    }
}

fn digits(text: &str) -> String {
    text.chars()
        .filter_map(|c| c.to_digit(10).or_else(|| other_digit(c)))
        .filter_map(|d| char::from_digit(d, 10))
        .collect()
}

/// Returns the value of a full-width or Arabic digit.
fn other_digit(c: char) -> Option<u32> {
    [0xff10, 0x0660, 0x06f0].into_iter().find_map(|zero| u32::from(c).checked_sub(zero).filter(|digit| *digit < 10))
}

/// The number of last digits that are enough to find a phone in any cell.
const SURE_DIGITS: usize = 7;
/// The number of digits of the shortest national phone number.
const MIN_PHONE_DIGITS: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_of_the_person_are_found_however_they_are_written() {
        let person = PersonTexts {
            organization_id: OrganizationId::from_uuid(Uuid::nil()),
            contacts: BTreeSet::new(),
            external_ids: BTreeSet::from(["crm-47".to_owned(), "12".to_owned()]),
            phones: BTreeSet::from(["491701234567".to_owned(), "29012345".to_owned()]),
            emails: BTreeSet::from(["zoe@xn--mrker-gra.example".to_owned()]),
        };
        let row = |cell: &str, phone: Option<&str>| {
            let (cells, phone) = (vec!["x".to_owned(), cell.to_owned()], phone.map(str::to_owned));
            person.is_in_row(&RowTexts { cells, phone, ..RowTexts::default() })
        };
        for cell in [
            "+49 170 1234567",
            "0170/123 45 67",
            "(0049) 170-1234567 ext. 12",
            "tel ١٧٠١٢٣٤٥٦٧",
            "Zoe@XN--MRKER-GRA.example",
            "Zoë <zoe@xn--mrker-gra.example>",
            "zoe@märker.example",
            "ID crm-47",
            "'12",
        ] {
            assert!(row(cell, None), "{cell}");
        }
        for cell in ["+49 170 1234568", "12345", "112", "zoe@example.org", "crm-4", ""] {
            assert!(!row(cell, None), "{cell}");
        }
        // A short number counts in the column of the phone.
        assert!(row("", Some("12345")));
    }
}
