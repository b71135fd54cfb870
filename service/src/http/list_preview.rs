//! What a list would do: a rehearsal of its requests, and its rows with their outcomes.

use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::task::block_in_place;
use uuid::Uuid;

use enroll::contact::{Email, PhoneNumber};
use enroll::report::{Counts, Warning};
use enroll::{
    AsyncRepository, ChangeSet, Disposition, Engine, EnrollError, Enrolled, Enrollment, EnrollmentId, EnrollmentKey,
    EnrollmentState, OrganizationId, ReadAs, Reason, ReferenceData, ReferenceQuery, Rehearsal, RepositoryError,
    RepositoryErrorKind, Snapshot, SnapshotQuery, StepContactId, StoredEnrollment, enroll_contacts_async,
};
use enroll_import::SetAsideReason;

use super::App;
use super::body::MAX_BODY;
use super::errors::ApiError;
use super::list::{ListTarget, RequestOfList, UploadedList};
use super::lists::inspection_json;
use super::preview_answer::{AcceptedBefore, PreviewHead, RowOutcome, SET_ASIDE, shortened};
use crate::described::RowNote;
use crate::handles::HandlePool;
use crate::list_request::add_counts;
use crate::repeated_contacts::RepeatedContacts;
use crate::sql;
use crate::sql::people_lists::{EarlierList, ListState, earlier_lists};

/// What a list would do. Its rows are in a temporary file.
pub(crate) struct ListPreview {
    /// Everything but the rows.
    head: Value,
    rows: Mutex<File>,
    index: Vec<RowEntry>,
}

/// Where a row is in the file, and what filters need.
struct RowEntry {
    begin: u64,
    length: u32,
    disposition: u8,
    reasons: u32,
}

/// How a preview shares the processor and the memory of plans.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Pace {
    /// The caller has a share for the whole preview.
    Held,
    /// Each request waits for a share, so that others can go on in between.
    Shared,
}

/// Which rows of a preview are wanted. An empty list means all.
#[derive(Default)]
pub(crate) struct RowFilter {
    dispositions: Vec<u8>,
    reasons: u32,
}

impl RowFilter {
    /// Returns the filter for dispositions and codes that are known.
    pub(crate) fn new(dispositions: &[String], reasons: &[String]) -> Self {
        let index = |word: &String| dispositions_of_rows().iter().position(|known| known == word);
        let dispositions = dispositions.iter().filter_map(index).filter_map(|index| u8::try_from(index).ok());
        Self { dispositions: dispositions.collect(), reasons: bits(reasons.iter().map(String::as_str)) }
    }

    fn matches(&self, row: &RowEntry) -> bool {
        (self.dispositions.is_empty() || self.dispositions.contains(&row.disposition))
            && (self.reasons == 0 || self.reasons & row.reasons != 0)
    }
}

/// Returns the words of the dispositions of rows.
pub(crate) fn dispositions_of_rows() -> Vec<&'static str> {
    Disposition::ALL.map(Disposition::as_str).into_iter().chain([SET_ASIDE]).collect()
}

/// Returns the codes of why a row is not enrolled.
pub(crate) fn reasons_of_rows() -> Vec<&'static str> {
    let of_recipients = Reason::CODES.iter().map(|(code, _)| *code);
    of_recipients.chain(SetAsideReason::ALL.iter().map(|reason| reason.as_str())).collect()
}

fn bits<'c>(codes: impl Iterator<Item = &'c str>) -> u32 {
    let known = reasons_of_rows();
    codes.filter_map(|code| known.iter().position(|known| *known == code)).fold(0, |bits, index| bits | 1 << index)
}

fn disposition_index(word: &str) -> u8 {
    let index = dispositions_of_rows().iter().position(|known| *known == word);
    index.and_then(|index| u8::try_from(index).ok()).unwrap_or(u8::MAX)
}

impl ListPreview {
    /// Rehearses the requests of a list. Call it on a thread that can block. It adds to `done` for each request.
    pub(crate) async fn new(
        app: &App,
        list: &mut UploadedList,
        pace: Pace,
        done: &AtomicU64,
    ) -> Result<Self, ApiError> {
        if list.list.recipients() > MAX_RECIPIENTS {
            let problem = format!("a preview can have at most {MAX_RECIPIENTS} recipients; split the list");
            return Err(ApiError::invalid("too_many", "/file".to_owned(), problem));
        }
        let mut rehearsed = Rehearsed::new()?;
        let enrolled_by = EnrolledBy::default();
        let reads = PooledReads {
            handles: Arc::clone(&app.handles),
            organization_id: list.target.organization_id,
            enrolled_by: Arc::clone(&enrolled_by),
        };
        let mut rehearsal = Rehearsal::new(reads);
        let organization_id = list.target.organization_id;
        let mut requests = list.requests()?;
        let target = requests.target;
        let engine = Engine::new(&target.policy);
        loop {
            let _share = match pace {
                Pace::Held => None,
                Pace::Shared => Some(app.limits.share_of_checks(organization_id, MAX_BODY).await),
            };
            let Some(request) = requests.next().transpose()? else { break };
            let mut enrolled = rehearse(&mut rehearsal, &engine, target, &request, &mut rehearsed).await?;
            rehearsed.count_earlier(&enrolled, &enrolled_by);
            if enrolled.read_as.is_empty() {
                enrolled.read_as = stored_addresses(app, organization_id, &enrolled).await?;
            }
            rehearsed.add(&request, &enrolled)?;
            done.fetch_add(request.request.to.len() as u64, Ordering::Relaxed);
        }
        drop(requests);
        drop(rehearsal);
        rehearsed.find_earlier(app, organization_id).await?;
        let _share = match pace {
            Pace::Held => None,
            Pace::Shared => Some(app.limits.share_of_checks(organization_id, MAX_BODY).await),
        };
        rehearsed.finish(list)
    }

    /// Returns the JSON of the preview, with a part of its rows, and `more` members.
    pub(crate) fn json(
        &self,
        more: &Value,
        filter: &RowFilter,
        (offset, limit): (usize, usize),
    ) -> Result<String, ApiError> {
        let matching = self.index.iter().filter(|row| filter.matches(row));
        let total = matching.clone().count();
        let mut head = self.head.clone();
        if let (Some(head), Some(more)) = (head.as_object_mut(), more.as_object()) {
            head.extend(more.clone());
        }
        let mut text = format!("{{\"data\":{head}");
        text.pop();
        text.push_str(",\"rows\":[");
        let mut file = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        block_in_place(|| {
            let mut bytes = Vec::new();
            for (n, row) in matching.skip(offset).take(limit).enumerate() {
                if text.len() > MAX_ANSWER {
                    break;
                }
                bytes.resize(row.length as usize, 0);
                file.seek(SeekFrom::Start(row.begin))?;
                file.read_exact(&mut bytes)?;
                if n > 0 {
                    text.push(',');
                }
                text.push_str(&String::from_utf8_lossy(&bytes));
            }
            Ok(())
        })
        .map_err(temporary_file)?;
        let _infallible = write!(text, "],\"total\":{total}}}}}");
        Ok(text)
    }
}

/// Rehearses a request. One that was completed before has its report.
async fn rehearse(
    rehearsal: &mut Rehearsal<PooledReads>,
    engine: &Engine<'_>,
    target: &ListTarget,
    request: &RequestOfList,
    rehearsed: &mut Rehearsed,
) -> Result<Enrolled, ApiError> {
    let enrollment = target.enrollment(request);
    let reference = rehearsal.reference_data(&enrollment.reference_query()).await?;
    let previous = enrollment.previous(&reference);
    rehearsed.record_previous(previous);
    let has_report = previous.is_none_or(|previous| {
        previous.removed_at.is_none() && matches!(previous.state, EnrollmentState::Completed { .. })
    });
    // What was accepted and has no report is planned again, under another id.
    let key = if has_report { enrollment.key } else { EnrollmentKey::Id(EnrollmentId::from_uuid(Uuid::now_v7())) };
    let enrolled = enroll_contacts_async(rehearsal, engine, &Enrollment { key, ..enrollment }).await;
    enrolled.map_err(|e: EnrollError| target.error(&request.rows, e))
}

/// The results of the requests so far.
struct Rehearsed {
    requests: usize,
    counts: Counts,
    warnings: Vec<Warning>,
    repeated: RepeatedContacts,
    /// One line of JSON for each recipient, without its cells.
    outcomes: BufWriter<File>,
    /// The disposition and the reasons of each recipient.
    filters: Vec<(u8, u32)>,
    before: Vec<ListState>,
    /// For each earlier enrollment, the number of people that it enrolled and that would be reprocessed.
    earlier: BTreeMap<EnrollmentId, u64>,
    earlier_lists: Vec<EarlierList>,
}

impl Rehearsed {
    fn new() -> Result<Self, ApiError> {
        Ok(Self {
            requests: 0,
            counts: Counts::default(),
            warnings: Vec::new(),
            repeated: RepeatedContacts::new().map_err(temporary_database)?,
            outcomes: BufWriter::new(tempfile::tempfile().map_err(temporary_file)?),
            filters: Vec::new(),
            before: Vec::new(),
            earlier: BTreeMap::new(),
            earlier_lists: Vec::new(),
        })
    }

    fn record_previous(&mut self, previous: Option<&StoredEnrollment>) {
        self.before.extend(previous.map(|previous| match previous.state {
            EnrollmentState::Accepted => ListState::Accepted,
            EnrollmentState::Completed { .. } => ListState::Completed,
            _ => ListState::Failed,
        }));
    }

    /// Counts the people that another enrollment put into the step, by that enrollment.
    fn count_earlier(&mut self, enrolled: &Enrolled, enrolled_by: &EnrolledBy) {
        let enrolled_by = std::mem::take(&mut *enrolled_by.lock().unwrap_or_else(PoisonError::into_inner));
        let outcomes = enrolled.report.outcomes.iter().filter(|o| o.disposition == Disposition::Reprocessed);
        for id in outcomes.filter_map(|outcome| enrolled_by.get(&outcome.step_contact_id?)) {
            *self.earlier.entry(*id).or_default() += 1;
        }
    }

    /// Reads the lists of the earlier enrollments.
    async fn find_earlier(&mut self, app: &App, organization_id: OrganizationId) -> Result<(), ApiError> {
        let mut earlier: Vec<_> = std::mem::take(&mut self.earlier).into_iter().collect();
        earlier.sort_by_key(|(_, people)| std::cmp::Reverse(*people));
        earlier.truncate(MAX_EARLIER);
        if !earlier.is_empty() {
            let mut handle = app.handles.acquire(organization_id).await?;
            self.earlier_lists = earlier_lists(handle.handle()?, organization_id, &earlier).await?;
        }
        Ok(())
    }

    fn add(&mut self, request: &RequestOfList, enrolled: &Enrolled) -> Result<(), ApiError> {
        let report = &enrolled.report;
        self.requests += 1;
        add_counts(&mut self.counts, &report.counts());
        for warning in &report.warnings {
            if !self.warnings.contains(warning) {
                self.warnings.push(warning.clone());
            }
        }
        let rows: Vec<usize> = request.rows.iter().map(|row| usize::try_from(*row).unwrap_or(usize::MAX)).collect();
        let first_rows = self.repeated.record(report, &rows).map_err(temporary_database)?;
        let mut notes = request.notes.iter().peekable();
        for outcome in &report.outcomes {
            let index = outcome.index;
            let mut row = RowOutcome::from(outcome);
            if let Some(recipient) = request.request.to.get(index) {
                row = row.with_texts_of(recipient);
            }
            while let Some((_, note)) = notes.next_if(|(of, _)| *of == index) {
                row.notes.push(RowNote::Cells(note.clone()).into());
            }
            row.read_as = enrolled.read_as.get(index).cloned();
            let in_request = outcome.duplicate_of.and_then(|first| rows.get(first));
            row.repeats_row = first_rows.get(index).copied().flatten().or(in_request.copied());
            let reasons = bits(outcome.reasons.iter().map(Reason::code));
            self.filters.push((disposition_index(outcome.disposition.as_str()), reasons));
            writeln!(self.outcomes, "{}", json!(row)).map_err(temporary_file)?;
        }
        Ok(())
    }

    /// Reads the list again, and writes each row with its outcome.
    fn finish(self, list: &mut UploadedList) -> Result<ListPreview, ApiError> {
        let Self { requests, counts, warnings, outcomes, filters, before, earlier_lists, .. } = self;
        let accepted_before = AcceptedBefore::of(&before, requests, list.target.first.as_deref());
        let head = json!(PreviewHead {
            list_id: list.target.id,
            enrolled_before: if accepted_before.is_some() { Vec::new() } else { earlier_lists },
            accepted_before,
            inspection: inspection_json(&list.target.file_name, list.bytes, list.list.inspection()),
            requests,
            recipients: list.list.recipients(),
            set_aside: list.list.set_aside(),
            counts,
            warnings: warnings.into_iter().map(Into::into).collect(),
        });
        let mut outcomes = outcomes.into_inner().map_err(|e| temporary_file(e.into_error()))?;
        outcomes.rewind().map_err(temporary_file)?;
        let (mut outcomes, mut filters) = (BufReader::new(outcomes).lines(), filters.into_iter());
        let mut file = BufWriter::new(tempfile::tempfile().map_err(temporary_file)?);
        let (mut index, mut begin) = (Vec::new(), 0);
        let UploadedList { list, target, .. } = list;
        let mut rows = list.rows().map_err(|e| target.refused(&e))?;
        while let Some(row) = rows.next_with_cells() {
            let (cells, read) = row.map_err(|e| target.refused(&e))?;
            let (rest, (disposition, reasons)) = match read {
                Ok(_) => {
                    let outcome = outcomes.next().transpose().map_err(temporary_file)?;
                    let (Some(outcome), Some(filter)) = (outcome, filters.next()) else {
                        return Err(ApiError::internal());
                    };
                    (outcome, filter)
                }
                Err(set_aside) => {
                    let reasons = bits([set_aside.reason.as_str()].into_iter());
                    (json!(RowOutcome::from(set_aside)).to_string(), (disposition_index(SET_ASIDE), reasons))
                }
            };
            // Both are objects that are not empty.
            let mut text = json!(shortened(cells)).to_string();
            text.pop();
            text.push(',');
            text.push_str(rest.strip_prefix('{').unwrap_or(&rest));
            file.write_all(text.as_bytes()).map_err(temporary_file)?;
            let length = u32::try_from(text.len()).map_err(|_| ApiError::internal())?;
            index.push(RowEntry { begin, length, disposition, reasons });
            begin += u64::from(length);
        }
        let file = file.into_inner().map_err(|e| temporary_file(e.into_error()))?;
        Ok(ListPreview { head, rows: Mutex::new(file), index })
    }
}

/// Returns the addresses of the contacts of a report that was stored.
async fn stored_addresses(
    app: &App,
    organization_id: OrganizationId,
    enrolled: &Enrolled,
) -> Result<Vec<ReadAs>, ApiError> {
    let ids = enrolled.report.outcomes.iter().filter_map(|outcome| Some(outcome.contact_id?.as_uuid()));
    let mut handle = app.handles.acquire(organization_id).await?;
    let contacts = sql::named_contacts(handle.handle()?, organization_id, ids).await?;
    let contacts: BTreeMap<Uuid, _> = contacts.into_iter().map(|contact| (contact.id, contact)).collect();
    let read_as = enrolled.report.outcomes.iter().map(|outcome| {
        let contact = outcome.contact_id.and_then(|id| contacts.get(&id.as_uuid()));
        let mut read_as = ReadAs::default();
        read_as.phone = contact.and_then(|contact| PhoneNumber::parse(contact.phone.as_deref()?, None).ok());
        read_as.email = contact.and_then(|contact| Email::parse(contact.email.as_deref()?).ok());
        read_as
    });
    Ok(read_as.collect())
}

/// The enrollment that wrote a step contact last, for the step contacts that were read.
type EnrolledBy = Arc<Mutex<BTreeMap<StepContactId, EnrollmentId>>>;

/// Reads with a handle of the pool for each call, so that a long preview keeps no handle.
struct PooledReads {
    handles: Arc<HandlePool<OrganizationId>>,
    organization_id: OrganizationId,
    enrolled_by: EnrolledBy,
}

impl AsyncRepository for PooledReads {
    async fn reference_data(&mut self, query: &ReferenceQuery) -> Result<ReferenceData, RepositoryError> {
        let mut handle = self.handles.acquire(self.organization_id).await?;
        handle.handle()?.inbox().reference_data(query).await
    }

    async fn load(&mut self, query: &SnapshotQuery) -> Result<Snapshot, RepositoryError> {
        let mut handle = self.handles.acquire(self.organization_id).await?;
        let snapshot = handle.handle()?.inbox().load(query).await?;
        let step_contacts = snapshot.contacts.values().flat_map(|contact| &contact.step_contacts);
        let ids = step_contacts.filter_map(|step_contact| Some((step_contact.id, step_contact.enrollment_id?)));
        self.enrolled_by.lock().unwrap_or_else(PoisonError::into_inner).extend(ids);
        Ok(snapshot)
    }

    async fn commit(&mut self, _: &ChangeSet) -> Result<(), RepositoryError> {
        Err(RepositoryError::new(RepositoryErrorKind::Other, "a preview writes nothing"))
    }
}

#[expect(clippy::needless_pass_by_value, reason = "for `map_err`")]
fn temporary_file(error: std::io::Error) -> ApiError {
    tracing::error!(error = %error, "cannot use a temporary file");
    ApiError::unavailable()
}

#[expect(clippy::needless_pass_by_value, reason = "for `map_err`")]
fn temporary_database(error: rusqlite::Error) -> ApiError {
    tracing::error!(error = %error, "cannot use the temporary database of repeated contacts");
    ApiError::unavailable()
}

/// The number of recipients that a preview can have. It keeps their contacts in memory.
const MAX_RECIPIENTS: u64 = 250_000;
/// The number of earlier enrollments that a preview looks up: those with the most people.
const MAX_EARLIER: usize = 50;
/// The number of bytes after which an answer gets no more rows.
const MAX_ANSWER: usize = 16 << 20;
