//! Lists of people: their history, the progress of their requests, and the texts of their rows.

use enroll::report::{Counts, OutcomeCount, UploadTag};
use enroll::{EnrollmentId, EnrollmentReport, EnrollmentState, OrganizationId, RepositoryError, SequenceId, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use utoipa::ToSchema;
use uuid::Uuid;

use super::enrollment::read_counts;
use super::list::{List, Shape};
use super::lists::json;
use super::{EnrollmentRow, Page, Pagination, Param, Position, Row, Sort, invalid_data, not_null};
use crate::handles::Handle;

/// A list of people, with the progress of its requests.
#[derive(Debug)]
pub(crate) struct ListRow {
    pub(crate) id: EnrollmentId,
    /// The id that the content of the list has without an idempotency key.
    pub(crate) content_id: EnrollmentId,
    pub(crate) sequence_id: SequenceId,
    /// The name of the file.
    pub(crate) file: String,
    pub(crate) at: Timestamp,
    pub(crate) recipients: u64,
    pub(crate) set_aside: u64,
    pub(crate) requests: u64,
    /// When the texts of its rows were removed.
    pub(crate) removed_at: Option<Timestamp>,
    pub(crate) progress: Progress,
}

/// What became of the requests of a list.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// The number of requests that wait.
    pub(crate) accepted: u64,
    pub(crate) completed: u64,
    /// The number of requests that failed or were rejected.
    pub(crate) failed: u64,
    pub(crate) counts: Counts,
    /// The tag of the first request that enrolled a contact. All requests of a list have the same one.
    pub(crate) upload_tag: Option<UploadTag>,
    /// When the last of them ended.
    ended_at: Option<Timestamp>,
}

/// The states of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ListState {
    /// A request waits.
    Accepted,
    /// All requests are completed.
    Completed,
    /// No request waits, and one failed or was rejected.
    Failed,
}

impl ListState {
    pub(crate) const WORDS: [&'static str; 3] = ["accepted", "completed", "failed"];

    /// Returns the condition for lists of a state, whose word is known.
    fn condition(word: &str) -> String {
        let has = |states: &str| {
            format!(
                "exists (select 1 from enroll_service.list_requests r join enroll.enrollments e
                    on e.organization_id = r.organization_id and e.id = r.enrollment_id
                    where r.organization_id = t.organization_id and r.list_id = t.id and e.state in ({states}))"
            )
        };
        let (waits, failed) = (has("'accepted'"), has("'failed', 'rejected'"));
        match word {
            "accepted" => waits,
            "failed" => format!("(not {waits} and {failed})"),
            _ => format!("(not {waits} and not {failed})"),
        }
    }
}

impl ListRow {
    const COLUMNS: &str =
        "l.id, l.content_id, l.sequence_id, l.file, l.at, l.recipients, l.set_aside, l.requests, l.removed_at";

    fn read(row: &mut dyn Row) -> Result<Self, RepositoryError> {
        let count = |row: &mut dyn Row| Ok::<_, RepositoryError>(not_null(row.number()?)?.unsigned_abs());
        Ok(Self {
            id: EnrollmentId::from_uuid(not_null(row.id()?)?),
            content_id: EnrollmentId::from_uuid(not_null(row.id()?)?),
            sequence_id: SequenceId::from_uuid(not_null(row.id()?)?),
            file: not_null(row.text()?)?,
            at: instant(row)?.ok_or_else(|| invalid_data("a list has no instant"))?,
            recipients: count(row)?,
            set_aside: count(row)?,
            requests: count(row)?,
            removed_at: instant(row)?,
            progress: Progress::default(),
        })
    }

    pub(crate) fn state(&self) -> ListState {
        match &self.progress {
            Progress { accepted: 1.., .. } => ListState::Accepted,
            Progress { failed: 1.., .. } => ListState::Failed,
            _ => ListState::Completed,
        }
    }

    /// Returns the instant at which the last request ended, unless one waits.
    pub(crate) fn ended_at(&self) -> Option<Timestamp> {
        (self.state() != ListState::Accepted).then_some(self.progress.ended_at.unwrap_or(self.at))
    }
}

/// Reads an instant of the service's own tables.
fn instant(row: &mut dyn Row) -> Result<Option<Timestamp>, RepositoryError> {
    row.number()?.map(Timestamp::from_millis).transpose().map_err(invalid_data)
}

/// Returns a page of the lists of an organization, the newest first. It counts them: an organization has few lists.
pub(crate) async fn people_lists(
    handle: &mut Handle,
    organization_id: OrganizationId,
    states: &[String],
    sequence: Option<SequenceId>,
    pagination: &Pagination,
) -> Result<Page<ListRow>, RepositoryError> {
    let mut list = List::new(
        organization_id,
        Shape {
            table: "enroll_service.lists t",
            keys: "t.id, t.at",
            order: "t.at desc, t.id desc",
            merged_order: "k.at desc, k.id desc",
            columns: ListRow::COLUMNS,
            joins: "join enroll_service.lists l on l.organization_id = $1 and l.id = k.id",
        },
    );
    list.filter_one_of("t.sequence_id", sequence.iter().map(|id| Param::Id(id.as_uuid())));
    if !states.is_empty() {
        let conditions: Vec<String> = states.iter().map(|word| ListState::condition(word)).collect();
        list.filter(&format!("({})", conditions.join(" or ")));
    }
    let total = list.count(handle).await?;
    match &pagination.after {
        Some(Position { sort: Sort::Instant(at), id }) => {
            let (at, id) = (list.param(Param::Number(at.millis())), list.param(Param::Id(*id)));
            list.part(format!("t.at = {at} and t.id < {id}"));
            list.part(format!("t.at < {at}"));
        }
        _ => list.part("t.at is not null".to_owned()),
    }
    let position = |row: &ListRow| Position { sort: Sort::Instant(row.at), id: row.id.as_uuid() };
    let mut page = list.read(handle, pagination, total, ListRow::read, position).await?;
    add_progress(handle, organization_id, &mut page.data).await?;
    Ok(page)
}

/// Returns a list.
pub(crate) async fn people_list(
    handle: &mut Handle,
    organization_id: OrganizationId,
    id: EnrollmentId,
) -> Result<Option<ListRow>, RepositoryError> {
    let sql =
        format!("select {} from enroll_service.lists l where l.organization_id = $1 and l.id = $2", ListRow::COLUMNS);
    let mut found = handle.query(&sql, &key(organization_id, id), ListRow::read).await?;
    add_progress(handle, organization_id, &mut found).await?;
    Ok(found.pop())
}

async fn add_progress(
    handle: &mut Handle,
    organization_id: OrganizationId,
    lists: &mut [ListRow],
) -> Result<(), RepositoryError> {
    if lists.is_empty() {
        return Ok(());
    }
    let mut params = vec![Param::Id(organization_id.as_uuid())];
    params.extend(lists.iter().map(|list| Param::Id(list.id.as_uuid())));
    let places: Vec<String> = (2..=params.len()).map(|number| format!("${number}")).collect();
    let of_state = |states: &str| format!("cast(sum(case when e.state in ({states}) then 1 else 0 end) as bigint)");
    let counts = Counts::NAMES.map(|column| format!("cast(coalesce(sum(e.{column}), 0) as bigint)")).join(", ");
    let sql = format!(
        "select r.list_id, {}, {}, {}, {counts}, max(e.completed_at), max(e.failed_at)
        from enroll_service.list_requests r
        join enroll.enrollments e on e.organization_id = r.organization_id and e.id = r.enrollment_id
        where r.organization_id = $1 and r.list_id in ({}) group by r.list_id",
        of_state("'accepted'"),
        of_state("'completed'"),
        of_state("'failed', 'rejected'"),
        places.join(", ")
    );
    let progress = handle.query(&sql, &params, |row| {
        let id = not_null(row.id()?)?;
        let mut count = || Ok::<_, RepositoryError>(not_null(row.number()?)?.unsigned_abs());
        let (accepted, completed, failed) = (count()?, count()?, count()?);
        let counts = read_counts(row)?;
        let ended_at = [row.instant()?, row.instant()?].into_iter().flatten().max();
        Ok((id, Progress { accepted, completed, failed, counts, upload_tag: None, ended_at }))
    });
    let mut progress: BTreeMap<Uuid, Progress> = progress.await?.into_iter().collect();
    let reports = format!(
        "select r.list_id, cast(e.report as text) from enroll_service.list_requests r
        join enroll.enrollments e on e.organization_id = r.organization_id and e.id = r.enrollment_id
        where r.organization_id = $1 and r.list_id in ({}) and r.number = (
            select min(o.number) from enroll_service.list_requests o
            join enroll.enrollments f on f.organization_id = o.organization_id and f.id = o.enrollment_id
            where o.organization_id = $1 and o.list_id = r.list_id and f.state = 'completed'
                and cast(f.report as text) like '%\"upload_tag\"%'
        )",
        places.join(", ")
    );
    let reports = handle.query(&reports, &params, |row| {
        let id = not_null(row.id()?)?;
        let report: Option<EnrollmentReport> = json(row.text()?.as_deref())?;
        Ok((id, report.and_then(|report| report.upload_tag)))
    });
    for (id, upload_tag) in reports.await? {
        if let Some(progress) = progress.get_mut(&id) {
            progress.upload_tag = upload_tag;
        }
    }
    for list in lists {
        list.progress = progress.remove(&list.id.as_uuid()).unwrap_or_default();
    }
    Ok(())
}

/// A list or a request that enrolled people of this list before.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct EarlierList {
    /// The enrollment, or the first one that was found of a list.
    pub(crate) enrollment_id: EnrollmentId,
    /// Absent if it was not sent as a list over HTTP, or if the list was removed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(crate) list_id: Option<EnrollmentId>,
    /// The name of the file of the list.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(crate) file: Option<String>,
    pub(crate) accepted_at: Timestamp,
    /// How many of the people it enrolled.
    pub(crate) recipients: u64,
}

/// Returns the lists of enrollments with their numbers of people, the newest first.
pub(crate) async fn earlier_lists(
    handle: &mut Handle,
    organization_id: OrganizationId,
    enrollments: &[(EnrollmentId, u64)],
) -> Result<Vec<EarlierList>, RepositoryError> {
    let mut params = vec![Param::Id(organization_id.as_uuid())];
    params.extend(enrollments.iter().map(|(id, _)| Param::Id(id.as_uuid())));
    let places: Vec<String> = (2..=params.len()).map(|number| format!("${number}")).collect();
    let sql = format!(
        "select e.id, e.at, l.id, l.file, l.at from enroll.enrollments e
        left join enroll_service.list_requests r on r.organization_id = e.organization_id and r.enrollment_id = e.id
        left join enroll_service.lists l on l.organization_id = r.organization_id and l.id = r.list_id
        where e.organization_id = $1 and e.id in ({}) order by e.at, e.id, l.id",
        places.join(", ")
    );
    let found = handle.query(&sql, &params, |row| {
        let enrollment_id = EnrollmentId::from_uuid(not_null(row.id()?)?);
        let accepted_at = not_null(row.instant()?)?;
        let (list_id, file) = (row.id()?.map(EnrollmentId::from_uuid), row.text()?);
        let accepted_at = instant(row)?.unwrap_or(accepted_at);
        let people = enrollments.iter().find(|(id, _)| *id == enrollment_id);
        let recipients = people.map_or(0, |(_, people)| *people);
        Ok(EarlierList { enrollment_id, list_id, file, accepted_at, recipients })
    });
    let mut lists: Vec<EarlierList> = Vec::new();
    for row in found.await? {
        // One enrollment can be a request of two lists.
        if lists.iter().any(|list| list.enrollment_id == row.enrollment_id) {
            continue;
        }
        match lists.iter_mut().find(|list| row.list_id.is_some() && list.list_id == row.list_id) {
            Some(list) => list.recipients += row.recipients,
            None => lists.push(row),
        }
    }
    lists.reverse();
    Ok(lists)
}

/// What a list keeps next to its rows, as JSON.
#[derive(Debug)]
pub(crate) struct ListTexts {
    pub(crate) options: Value,
    pub(crate) inspection: Value,
    /// False if the texts of the rows were removed, and the texts of the people in the other two with them.
    pub(crate) is_kept: bool,
    /// The name of the API key that sent it.
    pub(crate) key_name: Option<String>,
}

/// The options and the inspection of a list, if its texts are kept.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Kept {
    pub(crate) options: Value,
    pub(crate) inspection: Value,
}

pub(crate) async fn list_texts(
    handle: &mut Handle,
    organization_id: OrganizationId,
    id: EnrollmentId,
) -> Result<Option<ListTexts>, RepositoryError> {
    let sql = "select l.options, l.inspection, l.kept, (
            select k.name from enroll_service.audit a join enroll_service.keys k on k.id = a.key_id
            where a.organization_id = $1 and a.subject_id = l.id and a.action = 'enroll'
            order by a.at, a.id limit 1
        ) from enroll_service.lists l where l.organization_id = $1 and l.id = $2";
    let key = key(organization_id, id);
    let found = handle.query(sql, &key, |row| {
        let bare = Kept {
            options: not_null(json(row.text()?.as_deref())?)?,
            inspection: not_null(json(row.text()?.as_deref())?)?,
        };
        let kept: Option<Kept> = json(row.text()?.as_deref())?;
        let is_kept = kept.is_some();
        let Kept { options, inspection } = kept.unwrap_or(bare);
        Ok(ListTexts { options, inspection, is_kept, key_name: row.text()? })
    });
    Ok(found.await?.pop())
}

/// A request of a list.
#[derive(Debug)]
pub(crate) struct RequestRow {
    pub(crate) number: u64,
    pub(crate) recipients: u64,
    pub(crate) enrollment_id: EnrollmentId,
    /// Absent if a host deleted it.
    pub(crate) enrollment: Option<EnrollmentRow>,
}

/// Returns the requests of a list, in order.
pub(crate) async fn list_requests(
    handle: &mut Handle,
    organization_id: OrganizationId,
    id: EnrollmentId,
) -> Result<Vec<RequestRow>, RepositoryError> {
    let sql = format!(
        "select r.number, r.recipients, r.enrollment_id, cast(case when e.id is null then 0 else 1 end as bigint), {}
        from enroll_service.list_requests r
        left join enroll.enrollments e on e.organization_id = r.organization_id and e.id = r.enrollment_id
        where r.organization_id = $1 and r.list_id = $2 order by r.number",
        EnrollmentRow::COLUMNS
    );
    let key = key(organization_id, id);
    let requests = handle.query(&sql, &key, |row| {
        Ok(RequestRow {
            number: not_null(row.number()?)?.unsigned_abs(),
            recipients: not_null(row.number()?)?.unsigned_abs(),
            enrollment_id: EnrollmentId::from_uuid(not_null(row.id()?)?),
            enrollment: if row.number()? == Some(1) { Some(EnrollmentRow::read(row)?) } else { None },
        })
    });
    requests.await
}

/// A number of adjacent rows, whose recipients belong to one request, without the rows.
#[derive(Clone, Debug)]
pub(crate) struct Piece {
    pub(crate) number: i64,
    pub(crate) request: u64,
    /// The index of its first recipient in the request.
    pub(crate) first_index: u64,
    pub(crate) recipients: u64,
    /// The number of rows that are set aside, by the code of the reason.
    pub(crate) set_aside: BTreeMap<String, u64>,
}

impl Piece {
    /// Returns true if an outcome of its request belongs to it.
    pub(crate) fn has_index(&self, index: u64) -> bool {
        (self.first_index..self.first_index + self.recipients).contains(&index)
    }
}

/// Returns the pieces of a list, in order.
pub(crate) async fn list_pieces(
    handle: &mut Handle,
    organization_id: OrganizationId,
    id: EnrollmentId,
) -> Result<Vec<Piece>, RepositoryError> {
    let sql = "select p.number, p.request, p.first_index, p.recipients, p.set_aside
        from enroll_service.list_pieces p where p.organization_id = $1 and p.list_id = $2 order by p.number";
    let key = key(organization_id, id);
    let pieces = handle.query(sql, &key, |row| {
        let number = not_null(row.number()?)?;
        let mut count = || Ok::<_, RepositoryError>(not_null(row.number()?)?.unsigned_abs());
        let (request, first_index, recipients) = (count()?, count()?, count()?);
        Ok(Piece { number, request, first_index, recipients, set_aside: not_null(json(row.text()?.as_deref())?)? })
    });
    pieces.await
}

/// A row of a list, as a piece stores it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum RowEntry {
    /// A recipient, with its row.
    Recipient(u64),
    SetAside(SetAsideRow),
}

impl RowEntry {
    pub(crate) fn row(&self) -> u64 {
        match self {
            Self::Recipient(row) | Self::SetAside(SetAsideRow { row, .. }) => *row,
        }
    }
}

/// A row that is not enrolled.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct SetAsideRow {
    pub(crate) row: u64,
    pub(crate) column: String,
    pub(crate) reason: String,
    /// The reason for people.
    pub(crate) description: String,
}

/// The texts of a row: personal data.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct RowTexts {
    pub(crate) cells: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) phone: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) email: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<String>,
    /// What was changed or left out when the row was read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) notes: Vec<Value>,
}

/// Reads the rows of a piece, and their texts if they are kept.
pub(crate) async fn piece_rows(
    handle: &mut Handle,
    organization_id: OrganizationId,
    id: EnrollmentId,
    number: i64,
) -> Result<(Vec<RowEntry>, Option<Vec<RowTexts>>), RepositoryError> {
    let sql = "select p.entries, p.texts from enroll_service.list_pieces p
        where p.organization_id = $1 and p.list_id = $2 and p.number = $3";
    let [organization, list] = key(organization_id, id);
    let params = [organization, list, Param::Number(number)];
    let found =
        handle.query(sql, &params, |row| Ok((not_null(json(row.text()?.as_deref())?)?, json(row.text()?.as_deref())?)));
    // Absent if the list was removed meanwhile.
    Ok(found.await?.pop().unwrap_or_default())
}

/// The counts of a chunk of the outcomes of a request.
#[derive(Debug)]
pub(crate) struct ChunkCounts {
    pub(crate) request: u64,
    pub(crate) first_index: u64,
    pub(crate) last_index: u64,
    pub(crate) counts: Vec<OutcomeCount>,
}

/// Returns the counts of the outcomes of a list, in the order of its requests.
pub(crate) async fn list_counts(
    handle: &mut Handle,
    organization_id: OrganizationId,
    id: EnrollmentId,
) -> Result<Vec<ChunkCounts>, RepositoryError> {
    let sql = "select r.number, o.first_index, o.last_index, cast(o.counts as text)
        from enroll_service.list_requests r
        join enroll.enrollment_outcomes o on o.organization_id = r.organization_id and o.enrollment_id = r.enrollment_id
        where r.organization_id = $1 and r.list_id = $2 order by r.number, o.first_index";
    let key = key(organization_id, id);
    let counts = handle.query(sql, &key, |row| {
        let mut number = || Ok::<_, RepositoryError>(not_null(row.number()?)?.unsigned_abs());
        let (request, first_index, last_index) = (number()?, number()?, number()?);
        Ok(ChunkCounts { request, first_index, last_index, counts: not_null(json(row.text()?.as_deref())?)? })
    });
    counts.await
}

/// Inserts a list. A list with the same id wins.
pub(crate) const INSERT_LIST: &str = "insert into enroll_service.lists
    (organization_id, id, content_id, sequence_id, file, at, recipients, set_aside, requests, options, inspection, kept)
    values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) on conflict do nothing";
pub(crate) const INSERT_REQUEST: &str = "insert into enroll_service.list_requests
    (organization_id, list_id, number, enrollment_id, recipients) values ($1, $2, $3, $4, $5)";
pub(crate) const INSERT_PIECE: &str = "insert into enroll_service.list_pieces
    (organization_id, list_id, number, request, first_index, recipients, set_aside, entries, texts)
    values ($1, $2, $3, $4, $5, $6, $7, $8, $9)";

/// A list whose texts or whose row can be removed.
pub(crate) type ListKey = (OrganizationId, EnrollmentId);

/// Returns lists that ended before an instant: at most `limit` of those that keep texts, or of all.
pub(crate) async fn ended_lists(
    handle: &mut Handle,
    before: Timestamp,
    with_texts: bool,
    limit: u32,
) -> Result<Vec<ListKey>, RepositoryError> {
    let kept = if with_texts { "l.kept is not null and" } else { "" };
    let sql = format!(
        "select l.organization_id, l.id from enroll_service.lists l where {kept} l.at <= $1 and not exists (
            select 1 from enroll_service.list_requests r join enroll.enrollments e
                on e.organization_id = r.organization_id and e.id = r.enrollment_id
            where r.organization_id = l.organization_id and r.list_id = l.id
                and (e.state = 'accepted' or e.completed_at > $2 or e.failed_at > $2)
        ) order by l.at limit $3"
    );
    let params = [Param::Number(before.millis()), Param::Instant(before.as_datetime()), Param::Number(limit.into())];
    let lists = handle.query(&sql, &params, |row| {
        let organization_id = OrganizationId::from_uuid(not_null(row.id()?)?);
        Ok((organization_id, EnrollmentId::from_uuid(not_null(row.id()?)?)))
    });
    lists.await
}

/// Removes the texts of the rows of a list. The rows keep their numbers.
pub(crate) async fn remove_texts(
    handle: &mut Handle,
    (organization_id, id): ListKey,
    now: Timestamp,
) -> Result<(), RepositoryError> {
    let [organization, list] = key(organization_id, id);
    let sql = "update enroll_service.list_pieces set texts = null
        where organization_id = $1 and list_id = $2 and texts is not null";
    handle.execute(sql, &[organization.clone(), list.clone()]).await?;
    // At the end: if the process ends before, the next one continues.
    let sql = "update enroll_service.lists set kept = null, removed_at = $3
        where organization_id = $1 and id = $2 and kept is not null";
    handle.execute(sql, &[organization, list, Param::Number(now.millis())]).await.map(drop)
}

/// Removes a list. Its enrollments stay, so that it is recognized if it is sent again.
pub(crate) async fn remove_list(handle: &mut Handle, (organization_id, id): ListKey) -> Result<(), RepositoryError> {
    let sql = "delete from enroll_service.lists where organization_id = $1 and id = $2";
    handle.execute(sql, &key(organization_id, id)).await.map(drop)
}

/// Returns the lists of an organization that keep texts.
pub(crate) async fn lists_with_texts(
    handle: &mut Handle,
    organization_id: OrganizationId,
) -> Result<Vec<EnrollmentId>, RepositoryError> {
    let sql = "select l.id from enroll_service.lists l where l.organization_id = $1 and l.kept is not null";
    let params = [Param::Id(organization_id.as_uuid())];
    handle.query(sql, &params, |row| Ok(EnrollmentId::from_uuid(not_null(row.id()?)?))).await
}

/// Returns true if a report of the list names a contact.
pub(crate) async fn list_has_contact(
    handle: &mut Handle,
    organization_id: OrganizationId,
    id: EnrollmentId,
    contact_id: Uuid,
) -> Result<bool, RepositoryError> {
    let sql = "select o.first_index from enroll_service.list_requests r
        join enroll.enrollment_outcomes o on o.organization_id = r.organization_id and o.enrollment_id = r.enrollment_id
        where r.organization_id = $1 and r.list_id = $2 and cast(o.outcomes as text) like $3 limit 1";
    let [organization, list] = key(organization_id, id);
    let params = [organization, list, Param::Text(format!("%{contact_id}%"))];
    Ok(!handle.query(sql, &params, |row| row.number()).await?.is_empty())
}

fn key(organization_id: OrganizationId, id: EnrollmentId) -> [Param; 2] {
    [Param::Id(organization_id.as_uuid()), Param::Id(id.as_uuid())]
}

/// Returns true if the enrollment of a request is completed and has its outcomes.
pub(crate) fn has_outcomes(request: &RequestRow) -> bool {
    let enrollment = request.enrollment.as_ref();
    enrollment.is_some_and(|row| row.state == EnrollmentState::WORDS[1] && row.removed_at.is_none())
}
