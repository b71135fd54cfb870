//! The contacts that a change set writes, by id.

use std::sync::Arc;

use super::Conflict;
use crate::ids::ContactId;
use crate::snapshot::ContactAggregate;

/// Contacts as they are after the commit: first the created ones, then the updated ones, each sorted by id.
pub(super) struct WrittenContacts {
    pub(super) ids: Vec<ContactId>,
    pub(super) aggregates: Vec<Arc<ContactAggregate>>,
    created: usize,
    /// The index of the contact of the previous row. Rows of new contacts have the same order as the contacts.
    last: usize,
}

impl WrittenContacts {
    pub(super) fn with_capacity(created: usize, updated: usize) -> Self {
        let capacity = created + updated;
        Self { ids: Vec::with_capacity(capacity), aggregates: Vec::with_capacity(capacity), created, last: 0 }
    }

    pub(super) fn push(&mut self, aggregate: ContactAggregate) {
        self.ids.push(aggregate.contact.id);
        self.aggregates.push(Arc::new(aggregate));
    }

    pub(super) fn creates(&mut self, id: ContactId) -> bool {
        self.position(id).is_some_and(|position| position < self.created)
    }

    pub(super) fn get_mut(&mut self, id: ContactId) -> Result<&mut ContactAggregate, Conflict> {
        let aggregate = self.position(id).and_then(|position| self.aggregates.get_mut(position));
        aggregate.map(Arc::make_mut).ok_or(Conflict::ContactNotWritten(id))
    }

    fn position(&mut self, id: ContactId) -> Option<usize> {
        let near = [self.last, self.last + 1].into_iter().find(|position| self.ids.get(*position) == Some(&id));
        let position = near.or_else(|| {
            let (created, updated) = self.ids.split_at(self.created);
            let updated = || updated.binary_search(&id).ok().map(|position| self.created + position);
            created.binary_search(&id).ok().or_else(updated)
        })?;
        self.last = position;
        Some(position)
    }
}
