//! A repository in memory: for tests, for trying things out, and as the shortest answer to what a repository must do.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::changes::{ChangeSet, Keys, NotApplied};
use crate::contact::KeyKind;
use crate::lookup::{Context, ContextLookup, Lookup, Person, Snapshot, Versioned};
use crate::repository::{AsyncRepository, Repository, RepositoryError, RepositoryErrorKind};
use crate::{ContactId, OrganizationId};

/// Organizations in memory, one snapshot each. A clone is another handle on the same.
///
/// A commit is [`ChangeSet::apply`] under a lock; loads copy what is asked for, and share the rows.
#[derive(Clone, Debug, Default)]
pub struct InMemoryRepository {
    organizations: Arc<Mutex<BTreeMap<OrganizationId, Organization>>>,
}

#[derive(Debug)]
struct Organization {
    snapshot: Snapshot,
    keys: Keys,
}

impl Organization {
    fn new(snapshot: Snapshot) -> Self {
        Self { keys: Keys::of(&snapshot), snapshot }
    }
}

impl InMemoryRepository {
    /// No organizations.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts an organization, in place of what was there.
    pub fn insert(&self, snapshot: Snapshot) {
        self.lock().insert(snapshot.context.organization_id, Organization::new(snapshot));
    }

    /// The organizations, in order.
    #[must_use]
    pub fn organizations(&self) -> Vec<OrganizationId> {
        self.lock().keys().copied().collect()
    }

    /// All that an organization is.
    #[must_use]
    pub fn snapshot(&self, organization_id: OrganizationId) -> Option<Snapshot> {
        self.lock().get(&organization_id).map(|organization| organization.snapshot.clone())
    }

    /// A host's own write, past the engine. Whatever `edit` changes has a new version afterwards, as a database's
    /// triggers would see to. `None` if there is no such organization.
    pub fn edit<T>(&self, organization_id: OrganizationId, edit: impl FnOnce(&mut Snapshot) -> T) -> Option<T> {
        let mut organizations = self.lock();
        let organization = organizations.get_mut(&organization_id)?;
        let before = organization.snapshot.clone();
        let answer = edit(&mut organization.snapshot);
        let after = &mut organization.snapshot;
        raise(&before.context.sequences, &mut after.context.sequences);
        raise(&before.context.channels, &mut after.context.channels);
        raise(&before.context.custom_objects, &mut after.context.custom_objects);
        raise(&before.context.call_flows, &mut after.context.call_flows);
        for (id, person) in &mut after.people {
            if let Some(before) = before.people.get(id)
                && person.version == before.version
                && *person != *before
            {
                Arc::make_mut(person).version = before.version.next();
            }
        }
        organization.keys = Keys::of(&organization.snapshot);
        Some(answer)
    }

    /// A commit checks everything before it writes anything, so a lock that was lost in a panic guards whole rows.
    fn lock(&self) -> MutexGuard<'_, BTreeMap<OrganizationId, Organization>> {
        self.organizations.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn raise<K: Ord, T: PartialEq>(before: &BTreeMap<K, Versioned<T>>, after: &mut BTreeMap<K, Versioned<T>>) {
    for (id, row) in after {
        if let Some(before) = before.get(id)
            && row.version == before.version
            && row.row != before.row
        {
            row.version = before.version.next();
        }
    }
}

impl Repository for InMemoryRepository {
    fn context(&mut self, lookup: &ContextLookup) -> Result<Context, RepositoryError> {
        let organizations = self.lock();
        let organization = organizations.get(&lookup.organization_id);
        Ok(organization
            .map_or_else(|| Context::new(lookup.organization_id), |found| found.snapshot.context.only(lookup)))
    }

    fn load(&mut self, lookup: &Lookup) -> Result<Snapshot, RepositoryError> {
        let organizations = self.lock();
        let Some(Organization { snapshot, keys }) = organizations.get(&lookup.context.organization_id) else {
            return Ok(Snapshot::new(Context::new(lookup.context.organization_id)));
        };
        let lists = [&lookup.external_ids, &lookup.phones, &lookup.emails];
        let found: BTreeSet<ContactId> = KeyKind::ALL
            .into_iter()
            .zip(lists)
            .flat_map(|(kind, texts)| texts.iter().filter_map(move |text| keys.holder(kind, text)))
            .collect();
        let person = |id: ContactId| Some((id, Arc::<Person>::clone(snapshot.people.get(&id)?)));
        let mut loaded = Snapshot::new(snapshot.context.only(&lookup.context));
        loaded.people = found.into_iter().filter_map(person).collect();
        Ok(loaded)
    }

    fn commit(&mut self, changes: &ChangeSet) -> Result<(), RepositoryError> {
        let mut organizations = self.lock();
        let organization = organizations
            .entry(changes.organization_id())
            .or_insert_with(|| Organization::new(Snapshot::new(Context::new(changes.organization_id()))));
        changes.apply_with(&mut organization.snapshot, &mut organization.keys).map_err(|e| {
            let kind = match e {
                NotApplied::Conflict(_) => RepositoryErrorKind::Conflict,
                NotApplied::IdExists(_) => RepositoryErrorKind::Other,
            };
            RepositoryError::new(kind, e)
        })
    }
}

/// The same, at once: nothing here waits for anything but the lock.
impl AsyncRepository for InMemoryRepository {
    async fn context(&mut self, lookup: &ContextLookup) -> Result<Context, RepositoryError> {
        Repository::context(self, lookup)
    }

    async fn load(&mut self, lookup: &Lookup) -> Result<Snapshot, RepositoryError> {
        Repository::load(self, lookup)
    }

    async fn commit(&mut self, changes: &ChangeSet) -> Result<(), RepositoryError> {
        Repository::commit(self, changes)
    }
}
