//! Cursors: where a page of a list ended, with a digest of the list, so that no other list accepts it.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use enroll::OrganizationId;
use serde::Serialize;
use serde_json::json;
use sha2::{Digest, Sha256};
use utoipa::ToSchema;

use crate::sql::{Page, Position, Sort};

/// The list that a cursor belongs to: its organization, its name and its filters.
pub(crate) struct Scope(String);

impl Scope {
    pub(crate) fn new(organization_id: OrganizationId, list: &str, filters: &impl Serialize) -> Self {
        let digest = Sha256::digest(json!([organization_id, list, filters]).to_string());
        Self(URL_SAFE_NO_PAD.encode(&digest[..DIGEST_BYTES]))
    }

    pub(super) fn encode(&self, position: &Position) -> String {
        URL_SAFE_NO_PAD.encode(json!([self.0, position.sort, position.id]).to_string())
    }

    /// Returns the position of a cursor. `None` if it is malformed or belongs to another list.
    pub(super) fn decode(&self, cursor: &str) -> Option<Position> {
        let json = URL_SAFE_NO_PAD.decode(cursor).ok()?;
        let (digest, sort, id): (String, Sort, _) = serde_json::from_slice(&json).ok()?;
        // A text in PostgreSQL cannot contain NUL.
        let is_valid = !matches!(&sort, Sort::Text(text) if text.contains('\0'));
        (digest == self.0 && is_valid).then_some(Position { sort, id })
    }
}

/// A page of a list.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Page)]
pub(crate) struct ListPage<T> {
    data: Vec<T>,
    /// The number of entries of the whole list.
    total: u64,
    /// Absent on the last page.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Metadata, required = false)]
    metadata: Option<Metadata>,
}

/// Where the list goes on.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Metadata {
    /// The `cursor` of the next page.
    next_cursor: String,
}

impl<T> ListPage<T> {
    pub(crate) fn new<R: Into<T>>(page: Page<R>, scope: &Scope) -> Self {
        let metadata = page.next.map(|position| Metadata { next_cursor: scope.encode(&position) });
        Self { data: page.data.into_iter().map(Into::into).collect(), total: page.total, metadata }
    }

    /// Returns a part of a list that is short enough for offsets.
    pub(crate) fn without_cursor(page: Page<T>) -> Self {
        Self { data: page.data, total: page.total, metadata: None }
    }
}

/// A collision of a prefix of SHA-256 would only give a wrong page of the caller's own list.
const DIGEST_BYTES: usize = 12;

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    #[test]
    fn a_cursor_is_accepted_only_by_its_list() {
        let [one, two] = [1, 2].map(|n| OrganizationId::from_uuid(Uuid::from_u128(n)));
        let scope = Scope::new(one, "contacts", &["a"]);
        for sort in [Sort::None, Sort::Text("Zoë".to_owned()), Sort::Instant("2026-02-01T15:00:00Z".parse().unwrap())]
        {
            let position = Position { sort, id: Uuid::from_u128(7) };
            let cursor = scope.encode(&position);
            assert_eq!(scope.decode(&cursor), Some(position));
            for other in [
                Scope::new(two, "contacts", &["a"]),
                Scope::new(one, "sequences", &["a"]),
                Scope::new(one, "contacts", &["b"]),
            ] {
                assert_eq!(other.decode(&cursor), None);
            }
            assert_eq!(scope.decode(&cursor[1..]), None);
        }
        let nul = Position { sort: Sort::Text("\0".to_owned()), id: Uuid::nil() };
        assert_eq!(scope.decode(&scope.encode(&nul)), None);
    }
}
