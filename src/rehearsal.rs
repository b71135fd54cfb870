//! Rehearsals: what enrollments would do, one after the other, without writing (spec 12).

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use crate::changes::{ChangeSet, KeyHolders};
use crate::contact::KeyKind;
use crate::ids::{ContactId, OrganizationId};
use crate::query::{ReferenceQuery, SnapshotQuery};
use crate::repository::{AsyncRepository, Repository, RepositoryError};
use crate::snapshot::{ContactAggregate, ReferenceData, Snapshot};
use crate::text::Text;

/// A repository over a repository: it reads from it, and keeps what commits would write.
///
/// Each enrollment sees what the earlier ones would change. Their reports are those of real commits in the same order,
/// without other writers. [`preview`](crate::preview) does the same for one enrollment.
///
/// The rehearsal keeps the contacts that it has loaded or changed in memory.
///
#[cfg_attr(feature = "seed", doc = "```")]
#[cfg_attr(not(feature = "seed"), doc = "```ignore")]
/// use enroll::{Engine, EnrollmentPolicy, Rehearsal, enroll_contacts};
/// # use enroll::{Disposition, Enrollment, EnrollmentKey, EnrollmentRequest};
/// # let demo = enroll::seed::Demo::new()?;
/// # let mut repository = enroll::InMemoryRepository::new();
/// # demo.given.snapshots()?.into_iter().for_each(|snapshot| repository.insert(snapshot));
/// # let before = repository.snapshot(demo.given.organization_id);
/// # let request = EnrollmentRequest::from_json(br#"{"to": [{"phone": "+1 202 555 0123"}]}"#);
/// # let at = "2026-02-01T15:00:00Z".parse()?;
/// # let enrollments = ["first", "second"].map(|key| Enrollment {
/// #     organization_id: demo.given.organization_id,
/// #     sequence_id: demo.sequence_id,
/// #     key: EnrollmentKey::Idempotency(key),
/// #     at,
/// #     list: None,
/// #     request: &request,
/// # });
///
/// // Two enrollments of the same person.
/// let policy = EnrollmentPolicy::default();
/// let mut rehearsal = Rehearsal::new(&mut repository);
/// let mut dispositions = Vec::new();
/// for enrollment in &enrollments {
///     let enrolled = enroll_contacts(&mut rehearsal, &Engine::new(&policy), enrollment)?;
///     dispositions.push(enrolled.report.outcomes[0].disposition);
/// }
/// assert_eq!(dispositions, [Disposition::Added, Disposition::Reprocessed]);
/// # assert_eq!(repository.snapshot(demo.given.organization_id), before);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Rehearsal<R> {
    repository: R,
    organizations: BTreeMap<OrganizationId, Rehearsed>,
}

impl<R> Rehearsal<R> {
    /// Starts a rehearsal over a repository. Pass `&mut repository` to use it again afterwards.
    pub fn new(repository: R) -> Self {
        Self { repository, organizations: BTreeMap::new() }
    }

    fn rehearsed(&mut self, organization_id: OrganizationId) -> &mut Rehearsed {
        self.organizations.entry(organization_id).or_insert_with(|| Rehearsed {
            snapshot: Snapshot::new(ReferenceData::new(organization_id)),
            keys: KeyHolders::default(),
            loaded: BTreeMap::new(),
        })
    }
}

/// The rows of an organization that were loaded or changed.
#[derive(Debug)]
struct Rehearsed {
    snapshot: Snapshot,
    keys: KeyHolders,
    /// The contacts as the repository has them.
    loaded: BTreeMap<ContactId, Arc<ContactAggregate>>,
}

impl Rehearsed {
    /// Returns the query for the repository. If a commit changed the key of a contact, the repository finds it only by its
    /// earlier keys.
    fn stored_query(&self, query: &SnapshotQuery) -> SnapshotQuery {
        let mut keys: Vec<(KeyKind, Text)> = Vec::new();
        for (kind, texts) in query.keys.iter() {
            for text in texts {
                keys.push((kind, text.clone()));
                let holder = self.keys.holder(kind, text).and_then(|id| self.loaded.get(&id));
                if let Some(holder) = holder.filter(|holder| holder.contact.key(kind) != Some(text)) {
                    let earlier = |kind| Some((kind, holder.contact.key(kind)?.into()));
                    keys.extend(KeyKind::ALL.into_iter().filter_map(earlier));
                }
            }
        }
        SnapshotQuery { keys: keys.into_iter().collect(), ..query.clone() }
    }

    /// Adds loaded rows, and returns the answer to the query. Rows that are here already stay: a commit may have changed
    /// them.
    fn answer(&mut self, loaded: Snapshot, query: &SnapshotQuery) -> Snapshot {
        self.add_reference_data(loaded.reference);
        for (id, aggregate) in loaded.contacts {
            match self.snapshot.contacts.entry(id) {
                Entry::Vacant(entry) => {
                    self.keys.add(&aggregate.contact);
                    self.loaded.insert(id, Arc::clone(&aggregate));
                    entry.insert(aggregate);
                }
                Entry::Occupied(mut entry) => add_rows(entry.get_mut(), &aggregate),
            }
        }
        for (id, tag) in loaded.tags {
            self.snapshot.tags.entry(id).or_insert(tag);
        }
        self.keys.loaded(&self.snapshot, query)
    }

    fn add_reference_data(&mut self, loaded: ReferenceData) {
        let ReferenceData { organization_id: _, sequences, channels, custom_objects, call_flows, enrollments } = loaded;
        let reference = &mut self.snapshot.reference;
        reference.sequences.extend(sequences);
        reference.channels.extend(channels);
        reference.custom_objects.extend(custom_objects);
        reference.call_flows.extend(call_flows);
        for (id, stored) in enrollments {
            reference.enrollments.entry(id).or_insert(stored);
        }
    }
}

/// Adds the related rows that an earlier load of the contact did not ask for.
fn add_rows(aggregate: &mut Arc<ContactAggregate>, loaded: &ContactAggregate) {
    macro_rules! add {
        ($($rows:ident by $key:expr),* $(,)?) => {
            $(for row in &loaded.$rows {
                let key = $key;
                if !aggregate.$rows.iter().any(|known| key(known) == key(row)) {
                    Arc::make_mut(aggregate).$rows.push(row.clone());
                }
            })*
        };
    }
    add!(
        preferences by |row: &crate::model::CommunicationPreference| row.channel_id,
        conversations by |row: &crate::model::Conversation| row.id,
        runs by |row: &crate::model::Run| row.id,
        step_contacts by |row: &crate::model::StepContact| row.id,
        tags by |id: &crate::ids::TagId| *id,
        records by |row: &crate::model::CustomRecord| row.id,
    );
}

impl<R: Repository> Repository for Rehearsal<R> {
    fn reference_data(&mut self, query: &ReferenceQuery) -> Result<ReferenceData, RepositoryError> {
        let loaded = self.repository.reference_data(query)?;
        let rehearsed = self.rehearsed(query.organization_id);
        rehearsed.add_reference_data(loaded);
        Ok(rehearsed.snapshot.reference.only(query))
    }

    fn load(&mut self, query: &SnapshotQuery) -> Result<Snapshot, RepositoryError> {
        let stored_query = self.rehearsed(query.reference.organization_id).stored_query(query);
        let loaded = self.repository.load(&stored_query)?;
        Ok(self.rehearsed(query.reference.organization_id).answer(loaded, query))
    }

    /// Keeps the changes in memory.
    fn commit(&mut self, changes: &ChangeSet) -> Result<(), RepositoryError> {
        let Rehearsed { snapshot, keys, .. } = self.rehearsed(changes.organization_id());
        Ok(changes.apply_with(snapshot, keys)?)
    }
}

impl<R: AsyncRepository> AsyncRepository for Rehearsal<R> {
    async fn reference_data(&mut self, query: &ReferenceQuery) -> Result<ReferenceData, RepositoryError> {
        let loaded = self.repository.reference_data(query).await?;
        let rehearsed = self.rehearsed(query.organization_id);
        rehearsed.add_reference_data(loaded);
        Ok(rehearsed.snapshot.reference.only(query))
    }

    async fn load(&mut self, query: &SnapshotQuery) -> Result<Snapshot, RepositoryError> {
        let stored_query = self.rehearsed(query.reference.organization_id).stored_query(query);
        let loaded = self.repository.load(&stored_query).await?;
        Ok(self.rehearsed(query.reference.organization_id).answer(loaded, query))
    }

    /// Keeps the changes in memory.
    async fn commit(&mut self, changes: &ChangeSet) -> Result<(), RepositoryError> {
        let Rehearsed { snapshot, keys, .. } = self.rehearsed(changes.organization_id());
        Ok(changes.apply_with(snapshot, keys)?)
    }
}
