//! The lists that the service answers with. Every statement names the organization.

use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write;
use utoipa::ToSchema;

use enroll::contact::{Address, BirthDate};
use enroll::{EnrollmentId, OrganizationId, Rejection, RepositoryError, SequenceId, StepId, Timestamp};
use uuid::Uuid;

use super::{Bound, Page, Row, Window, there, unreadable};
use crate::http::docs::{AddressDoc, BirthDateDoc};
use crate::store::Handle;

/// How far an enrollment got.
#[derive(Debug)]
pub(crate) struct EnrollmentRow {
    pub(crate) id: EnrollmentId,
    pub(crate) sequence_id: SequenceId,
    pub(crate) state: String,
    pub(crate) accepted_at: Timestamp,
    pub(crate) completed_at: Option<Timestamp>,
    pub(crate) attempts: u32,
    /// Whether an attempt failed.
    pub(crate) failed_before: bool,
    pub(crate) rejection: Option<Rejection>,
}

/// The newest first.
pub(crate) async fn enrollments(
    handle: &mut Handle,
    organization_id: OrganizationId,
    states: &[String],
    window: Window,
) -> Result<Page<EnrollmentRow>, RepositoryError> {
    let columns = "e.id, e.sequence_id, e.state, e.at, e.completed_at, cast(e.attempts as bigint),
        cast(case when e.error is null then 0 else 1 end as bigint), cast(e.rejection as text)";
    let mut list = List::of(organization_id, columns, "enroll.enrollments e", "e", "e.at desc, e.id desc");
    list.one_of("e.state", states.iter().cloned().map(Bound::Text).collect());
    list.read(handle, window, |row| {
        Ok(EnrollmentRow {
            id: EnrollmentId::from_uuid(there(row.id()?)?),
            sequence_id: SequenceId::from_uuid(there(row.id()?)?),
            state: there(row.text()?)?,
            accepted_at: there(row.instant()?)?,
            completed_at: row.instant()?,
            attempts: whole(row.number()?)?,
            failed_before: row.number()? == Some(1),
            rejection: json(row.text()?.as_deref())?,
        })
    })
    .await
}

/// A contact in a step of a sequence.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct StepContactRow {
    pub(crate) id: Uuid,
    pub(crate) status: String,
    pub(crate) step_id: Uuid,
    pub(crate) sequence_id: Uuid,
    pub(crate) contact: NamedContact,
    pub(crate) channel_id: Option<Uuid>,
    #[schema(value_type = String, format = DateTime)]
    pub(crate) scheduled_at: Timestamp,
    pub(crate) times_processed: u32,
    /// When its run began.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(crate) created_at: Option<Timestamp>,
    /// When the request was made that enrolled it last; absent where a host wrote it.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(crate) updated_at: Option<Timestamp>,
}

/// Who a contact is, in short.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct NamedContact {
    pub(crate) id: Uuid,
    pub(crate) name: Option<String>,
    pub(crate) email: Option<String>,
    pub(crate) phone: Option<String>,
    pub(crate) external_id: Option<String>,
}

/// The newest first.
pub(crate) async fn step_contacts(
    handle: &mut Handle,
    organization_id: OrganizationId,
    sequence_id: SequenceId,
    statuses: &[String],
    steps: &[StepId],
    window: Window,
) -> Result<Page<StepContactRow>, RepositoryError> {
    let columns = "s.id, s.status, s.step_id, s.sequence_id, c.id, c.name, c.email, c.phone, c.external_id,
        s.channel_id, s.scheduled_at, cast(s.times_processed as bigint), r.started_at, e.at";
    let tables = "enroll.step_contacts s
        join enroll.contacts c on c.organization_id = s.organization_id and c.id = s.contact_id
        left join enroll.runs r on r.organization_id = s.organization_id and r.id = s.run_id
        left join enroll.enrollments e on e.organization_id = s.organization_id and e.id = s.enrollment_id";
    let mut list = List::of(organization_id, columns, tables, "s", "s.id desc");
    list.one_of("s.sequence_id", vec![Bound::Id(sequence_id.as_uuid())]);
    list.one_of("s.status", statuses.iter().cloned().map(Bound::Text).collect());
    list.one_of("s.step_id", steps.iter().map(|id| Bound::Id(id.as_uuid())).collect());
    list.read(handle, window, |row| {
        Ok(StepContactRow {
            id: there(row.id()?)?,
            status: there(row.text()?)?,
            step_id: there(row.id()?)?,
            sequence_id: there(row.id()?)?,
            contact: NamedContact {
                id: there(row.id()?)?,
                name: row.text()?,
                email: row.text()?,
                phone: row.text()?,
                external_id: row.text()?,
            },
            channel_id: row.id()?,
            scheduled_at: there(row.instant()?)?,
            times_processed: whole(row.number()?)?,
            created_at: row.instant()?,
            updated_at: row.instant()?,
        })
    })
    .await
}

/// A contact.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ContactRow {
    pub(crate) id: Uuid,
    pub(crate) external_id: Option<String>,
    pub(crate) phone: Option<String>,
    pub(crate) email: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) language: Option<String>,
    pub(crate) default_channel_id: Option<Uuid>,
    #[schema(value_type = Option<AddressDoc>)]
    pub(crate) address: Option<Address>,
    #[schema(value_type = Option<BirthDateDoc>)]
    pub(crate) birth_date: Option<BirthDate>,
    pub(crate) state: String,
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(crate) created_at: Option<Timestamp>,
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(crate) updated_at: Option<Timestamp>,
}

/// The keys that a contact holds.
#[derive(Debug, Default)]
pub(crate) struct ContactFilter {
    pub(crate) phone: Option<String>,
    /// As it is compared.
    pub(crate) email_key: Option<String>,
    pub(crate) external_id: Option<String>,
}

/// The newest first.
pub(crate) async fn contacts(
    handle: &mut Handle,
    organization_id: OrganizationId,
    filter: ContactFilter,
    window: Window,
) -> Result<Page<ContactRow>, RepositoryError> {
    let columns = "c.id, c.external_id, c.phone, c.email, c.name, c.language, c.default_channel_id,
        cast(c.address as text), cast(c.birth_day as bigint), cast(c.birth_month as bigint),
        cast(c.birth_year as bigint), c.state, c.created_at, c.updated_at";
    let mut list = List::of(organization_id, columns, "enroll.contacts c", "c", "c.id desc");
    let ContactFilter { phone, email_key, external_id } = filter;
    for (column, key) in [("c.held_phone", phone), ("c.held_email", email_key), ("c.held_external_id", external_id)] {
        list.one_of(column, key.into_iter().map(Bound::Text).collect());
    }
    list.read(handle, window, |row| {
        Ok(ContactRow {
            id: there(row.id()?)?,
            external_id: row.text()?,
            phone: row.text()?,
            email: row.text()?,
            name: row.text()?,
            language: row.text()?,
            default_channel_id: row.id()?,
            address: json(row.text()?.as_deref())?,
            birth_date: BirthDate::new(row.number()?, row.number()?, row.number()?).filter(|date| !date.is_empty()),
            state: there(row.text()?)?,
            created_at: row.instant()?,
            updated_at: row.instant()?,
        })
    })
    .await
}

/// A sequence.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SequenceRow {
    pub(crate) id: Uuid,
    pub(crate) title: String,
    pub(crate) status: String,
    pub(crate) steps: Vec<StepRow>,
}

/// A step of a sequence.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct StepRow {
    pub(crate) id: Uuid,
    pub(crate) position: i64,
    pub(crate) channel_kind: String,
}

/// By title, then id.
pub(crate) async fn sequences(
    handle: &mut Handle,
    organization_id: OrganizationId,
    window: Window,
) -> Result<Page<SequenceRow>, RepositoryError> {
    let columns = "s.id, s.title, s.status";
    let list = List::of(organization_id, columns, "enroll.sequences s", "s", "s.title, s.id");
    let mut page = list
        .read(handle, window, |row| {
            let (id, title, status) = (there(row.id()?)?, there(row.text()?)?, there(row.text()?)?);
            Ok(SequenceRow { id, title, status, steps: Vec::new() })
        })
        .await?;
    if page.data.is_empty() {
        return Ok(page);
    }
    let columns = "s.sequence_id, s.id, cast(s.position as bigint), s.channel_kind";
    let mut list = List::of(organization_id, columns, "enroll.steps s", "s", "s.position, s.id");
    list.one_of("s.sequence_id", page.data.iter().map(|sequence| Bound::Id(sequence.id)).collect());
    let steps = list
        .rows(handle, |row| {
            let (sequence, id) = (there(row.id()?)?, there(row.id()?)?);
            Ok((sequence, StepRow { id, position: there(row.number()?)?, channel_kind: there(row.text()?)? }))
        })
        .await?;
    let mut of: BTreeMap<Uuid, Vec<StepRow>> = BTreeMap::new();
    for (sequence, step) in steps {
        of.entry(sequence).or_default().push(step);
    }
    for sequence in &mut page.data {
        sequence.steps = of.remove(&sequence.id).unwrap_or_default();
    }
    Ok(page)
}

/// Whether the organization has that sequence.
pub(crate) async fn has_sequence(
    handle: &mut Handle,
    organization_id: OrganizationId,
    sequence_id: SequenceId,
) -> Result<bool, RepositoryError> {
    let sql = "select id from enroll.sequences where organization_id = $1 and id = $2";
    let bound = [Bound::Id(organization_id.as_uuid()), Bound::Id(sequence_id.as_uuid())];
    Ok(!handle.query(sql, &bound, |row| row.id()).await?.is_empty())
}

/// A list of an organization.
struct List {
    columns: &'static str,
    from: String,
    order: &'static str,
    bound: Vec<Bound>,
}

impl List {
    fn of(
        organization_id: OrganizationId,
        columns: &'static str,
        tables: &str,
        table: &str,
        order: &'static str,
    ) -> Self {
        let from = format!("from {tables} where {table}.organization_id = $1");
        Self { columns, from, order, bound: vec![Bound::Id(organization_id.as_uuid())] }
    }

    /// Only rows whose column is one of these; all of them if there are none.
    fn one_of(&mut self, column: &str, values: Vec<Bound>) {
        if values.is_empty() {
            return;
        }
        let first = self.bound.len() + 1;
        let places: Vec<String> = (first..first + values.len()).map(|place| format!("${place}")).collect();
        let _infallible = write!(self.from, " and {column} in ({})", places.join(", "));
        self.bound.extend(values);
    }

    async fn read<T>(
        mut self,
        handle: &mut Handle,
        window: Window,
        decode: impl Fn(&mut dyn Row) -> Result<T, RepositoryError>,
    ) -> Result<Page<T>, RepositoryError> {
        let count = format!("select count(*) {}", self.from);
        let counted = handle.query(&count, &self.bound, |row| there(row.number()?)).await?;
        let total = counted.first().map_or(0, |count| count.unsigned_abs());
        let (limit, offset) = (self.bound.len() + 1, self.bound.len() + 2);
        let sql =
            format!("select {} {} order by {} limit ${limit} offset ${offset}", self.columns, self.from, self.order);
        self.bound.extend([Bound::Number(window.limit.into()), Bound::Number(window.offset.into())]);
        Ok(Page { data: handle.query(&sql, &self.bound, decode).await?, total })
    }

    async fn rows<T>(
        self,
        handle: &mut Handle,
        decode: impl Fn(&mut dyn Row) -> Result<T, RepositoryError>,
    ) -> Result<Vec<T>, RepositoryError> {
        let sql = format!("select {} {} order by {}", self.columns, self.from, self.order);
        handle.query(&sql, &self.bound, decode).await
    }
}

fn json<T: serde::de::DeserializeOwned>(text: Option<&str>) -> Result<Option<T>, RepositoryError> {
    text.map(serde_json::from_str).transpose().map_err(unreadable)
}

fn whole(number: Option<i64>) -> Result<u32, RepositoryError> {
    u32::try_from(there(number)?).map_err(unreadable)
}
