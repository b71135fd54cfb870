//! The contacts that a change set writes, found by their ids.

use std::sync::Arc;

use super::Conflict;
use crate::ids::ContactId;
use crate::snapshot::ContactAggregate;

/// Contacts as they are afterwards: those that are created, then those that existed, both in the order of their ids.
pub(super) struct People {
    pub(super) ids: Vec<ContactId>,
    pub(super) list: Vec<Arc<ContactAggregate>>,
    created: usize,
    /// Where the last row went. RowChanges of new contacts come in the order of these.
    last: usize,
}

impl People {
    pub(super) fn with_capacity(created: usize, updated: usize) -> Self {
        let people = created + updated;
        Self { ids: Vec::with_capacity(people), list: Vec::with_capacity(people), created, last: 0 }
    }

    pub(super) fn push(&mut self, person: ContactAggregate) {
        self.ids.push(person.contact.id);
        self.list.push(Arc::new(person));
    }

    pub(super) fn creates(&mut self, id: ContactId) -> bool {
        self.place(id).is_some_and(|place| place < self.created)
    }

    pub(super) fn written(&mut self, id: ContactId) -> Result<&mut ContactAggregate, Conflict> {
        let person = self.place(id).and_then(|place| self.list.get_mut(place));
        person.map(Arc::make_mut).ok_or(Conflict::ContactNotWritten(id))
    }

    fn place(&mut self, id: ContactId) -> Option<usize> {
        let near = [self.last, self.last + 1].into_iter().find(|place| self.ids.get(*place) == Some(&id));
        let place = near.or_else(|| {
            let (created, updated) = self.ids.split_at(self.created);
            let updated = || updated.binary_search(&id).ok().map(|place| self.created + place);
            created.binary_search(&id).ok().or_else(updated)
        })?;
        self.last = place;
        Some(place)
    }
}
