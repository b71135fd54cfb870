//! Query parameters, also those in a body. All problems are reported in one response.

use axum::http::StatusCode;
use enroll::{StepId, Timestamp};
use serde_json::{Map, Value};

use super::cursor::Scope;
use super::errors::{ApiError, ErrorItem};
use crate::sql::Pagination;

/// The query parameters of a request. A parameter without a value is absent, if it occurs once. If a parameter with one
/// value is repeated, the last value is used.
///
/// A route knows a parameter if it reads it before [`finish`](Self::finish).
pub(crate) struct Parameters {
    place: Place,
    pairs: Vec<(String, String)>,
    known: Vec<&'static str>,
    faults: Vec<ErrorItem>,
}

impl Parameters {
    pub(crate) fn parse(query: Option<&str>) -> Self {
        let pairs = form_urlencoded::parse(query.unwrap_or_default().as_bytes());
        let mut faults = Vec::new();
        let mut kept = Vec::new();
        for (name, value) in pairs {
            if value.contains('\0') {
                faults.push(Place::Query.contains_nul(&name));
            } else {
                kept.push((name.into_owned(), value.into_owned()));
            }
        }
        Self { place: Place::Query, pairs: kept, known: Vec::new(), faults }
    }

    /// Reads the members of a JSON object as parameters: texts, and the numbers with these names. A member that is
    /// `null`, blank or empty is absent.
    pub(crate) fn parse_body(body: &[u8], texts: &[&'static str], numbers: &[&'static str]) -> Result<Self, ApiError> {
        let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
        let members: Map<String, Value> = serde_json::from_slice(body).map_err(|_| {
            let problem = "the body must be a JSON object, such as `{}`".to_owned();
            ApiError::invalid("invalid_type", String::new(), problem)
        })?;
        let (mut kept, mut faults) = (Vec::new(), Vec::new());
        for (name, value) in members {
            let is_text = texts.contains(&&*name);
            let value = match value {
                Value::Null => continue,
                Value::String(text) if text.trim().is_empty() => continue,
                Value::Array(items) if items.is_empty() && !is_text => continue,
                Value::Object(members) if members.is_empty() && !is_text => continue,
                Value::String(text) if text.contains('\0') => {
                    faults.push(Place::Body.contains_nul(&name));
                    continue;
                }
                Value::String(text) => text.trim().to_owned(),
                _ if is_text => {
                    let problem = "must be a text".to_owned();
                    faults.push(ErrorItem::new("invalid_type", Place::Body.path(&name), problem));
                    continue;
                }
                // `10.0` is a whole number in JSON.
                Value::Number(number) if numbers.contains(&&*name) => {
                    let text = number.to_string();
                    text.strip_suffix(".0").map_or(text.clone(), str::to_owned)
                }
                other => other.to_string(),
            };
            kept.push((name, value));
        }
        Ok(Self { place: Place::Body, pairs: kept, known: Vec::new(), faults })
    }

    /// Returns a text that is not blank.
    pub(crate) fn text(&mut self, name: &'static str) -> Option<&str> {
        self.one(name).filter(|text| !text.trim().is_empty())
    }

    fn one(&mut self, name: &'static str) -> Option<&str> {
        self.values(name).last()
    }

    fn values(&mut self, name: &'static str) -> impl Iterator<Item = &str> {
        if !self.known.contains(&name) {
            self.known.push(name);
        }
        let values = self.pairs.iter().filter(move |(key, _)| key == name).map(|(_, value)| &**value);
        let is_absent = values.clone().eq([""]);
        values.filter(move |_| !is_absent)
    }

    /// Reads `limit` and `offset`.
    pub(crate) fn pagination(&mut self) -> Pagination {
        let limit = self.number("limit", 1, MAX_LIMIT).unwrap_or(DEFAULT_LIMIT);
        Pagination { limit, offset: self.number("offset", 0, u32::MAX).unwrap_or(0), after: None }
    }

    /// Reads `limit`, and `offset` or `cursor`.
    pub(crate) fn page(&mut self, scope: &Scope) -> Pagination {
        let pagination = self.pagination();
        let has_offset = self.one("offset").is_some();
        let Some(after) = self.one("cursor").map(|cursor| scope.decode(cursor)) else { return pagination };
        if has_offset {
            self.invalid("cursor", "cannot be used together with `offset`; remove one of them".to_owned());
        } else if after.is_none() {
            let problem = "is not a cursor of this list with these filters; send the `next_cursor` of a page unchanged, \
                with the filters of that page, or omit it to start again";
            self.invalid("cursor", problem.to_owned());
        }
        Pagination { after, ..pagination }
    }

    /// Reads a flag. A flag without a value is a fault: as an absent one, `?preview` would enroll people.
    pub(crate) fn flag(&mut self, name: &'static str) -> bool {
        let has_no_value = self.pairs.iter().any(|(key, value)| key == name && value.is_empty());
        let flag = match self.one(name) {
            _ if has_no_value => None,
            None | Some("false" | "0") => Some(false),
            Some("true" | "1") => Some(true),
            Some(_) => None,
        };
        if flag.is_none() {
            self.invalid(name, "must be `true` or `false`".to_owned());
        }
        flag.unwrap_or_default()
    }

    /// Returns the values of a parameter, each of which must be known. They are separated by commas, or the parameter is
    /// repeated.
    pub(crate) fn one_of(&mut self, name: &'static str, known: &[&str]) -> Vec<String> {
        self.one_of_spelled(name, known, &[])
    }

    /// The same with other spellings of known values.
    pub(crate) fn one_of_spelled(
        &mut self,
        name: &'static str,
        known: &[&str],
        spellings: &[(&str, &str)],
    ) -> Vec<String> {
        let mut words = self.list(name);
        for word in &mut words {
            if let Some((_, meant)) = spellings.iter().find(|(spelling, _)| spelling == word) {
                *word = (*meant).to_owned();
            }
        }
        words.sort();
        words.dedup();
        let unknown = words.iter().find(|word| !known.contains(&&***word));
        if let Some(word) = unknown {
            let mut problem = format!("must be one of `{}`", known.join("`, `"));
            if NOT_SUPPORTED.contains(&&**word) {
                problem = format!("`{word}` is not supported: it {problem}");
            }
            self.invalid(name, problem);
        }
        words
    }

    /// Reads an id.
    pub(crate) fn id<Id: std::str::FromStr>(&mut self, name: &'static str) -> Option<Id> {
        let id = self.one(name)?.parse().ok();
        if id.is_none() {
            self.invalid(name, "must be a uuid".to_owned());
        }
        id
    }

    /// Reads an id that must not be absent.
    pub(crate) fn required_id<Id: std::str::FromStr>(&mut self, name: &'static str) -> Option<Id> {
        if self.one(name).is_none() {
            self.invalid(name, "is missing; it must be a uuid".to_owned());
            return None;
        }
        self.id(name)
    }

    pub(crate) fn step_ids(&mut self, name: &'static str) -> Vec<StepId> {
        let words = self.list(name);
        if words.len() > MAX_IDS {
            self.invalid(name, format!("must contain at most {MAX_IDS} ids"));
            return Vec::new();
        }
        let ids: Result<Vec<StepId>, _> = words.iter().map(|word| word.parse()).collect();
        let mut ids = ids.unwrap_or_else(|_| {
            self.invalid(name, "must be uuids".to_owned());
            Vec::new()
        });
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    /// Reads an instant. An unescaped `+` of its offset is a space.
    pub(crate) fn instant(&mut self, name: &'static str) -> Option<Timestamp> {
        let text = self.one(name)?;
        let with_plus = text.rsplit_once(' ').filter(|(_, offset)| offset.len() == "01:00".len());
        let with_plus = with_plus.map(|(instant, offset)| format!("{instant}+{offset}"));
        match with_plus.as_deref().unwrap_or(text).parse() {
            Ok(at) => Some(at),
            Err(e) => {
                self.invalid(name, format!("is {e}"));
                None
            }
        }
    }

    /// Returns an error if any parameter was invalid or unknown.
    pub(crate) fn finish(mut self) -> Result<(), ApiError> {
        let mut unknown: Vec<&str> = self.pairs.iter().map(|(name, _)| &**name).collect();
        unknown.retain(|name| !self.known.contains(name));
        unknown.sort_unstable();
        unknown.dedup();
        let unknown = unknown.into_iter().take(MAX_UNKNOWN);
        let unknown =
            unknown.map(|name| ErrorItem::new("invalid_parameter", self.place.path(name), self.unknown_problem(name)));
        let unknown: Vec<_> = unknown.collect();
        self.faults.extend(unknown);
        if self.faults.is_empty() {
            return Ok(());
        }
        Err(ApiError::with_items(StatusCode::UNPROCESSABLE_ENTITY, self.faults))
    }

    fn unknown_problem(&self, name: &str) -> String {
        // `channels[][id]` is a member of an entry of `channels`.
        if name.split('[').next().is_some_and(|name| NOT_SUPPORTED.contains(&name)) {
            return "is not supported: this service has no such filter; remove it".to_owned();
        }
        let similarity = |known: &str| strsim::jaro_winkler(known, &name.to_lowercase());
        let nearest = self.known.iter().max_by(|a, b| similarity(a).total_cmp(&similarity(b)));
        match nearest.filter(|known| similarity(known) > MIN_SIMILARITY) {
            Some(known) => format!("is not a parameter of this route; did you mean `{known}`?"),
            None if self.known.is_empty() => "is not a parameter: this route has none; remove it".to_owned(),
            None => {
                format!("is not a parameter of this route; remove it, or use one of `{}`", self.known.join("`, `"))
            }
        }
    }

    fn list(&mut self, name: &'static str) -> Vec<String> {
        self.values(name).flat_map(|value| value.split(',')).map(|word| word.trim().to_owned()).collect()
    }

    fn number(&mut self, name: &'static str, min: u32, max: u32) -> Option<u32> {
        let number = self.one(name)?.parse().ok().filter(|number| (min..=max).contains(number));
        if number.is_none() {
            self.invalid(name, format!("must be a whole number from {min} to {max}"));
        }
        number
    }

    fn invalid(&mut self, name: &str, problem: String) {
        self.faults.push(ErrorItem::new("invalid_parameter", self.place.path(name), problem));
    }
}

/// Documented filters of the original API, and `removed` as a status, that need data which this service does not have.
const NOT_SUPPORTED: [&str; 6] = ["channels", "clicked_link", "removed", "responded", "search", "unsubscribed"];

/// Where the parameters are.
#[derive(Clone, Copy)]
enum Place {
    Query,
    Body,
}

impl Place {
    /// Returns the path of a parameter in an error. The name is cut.
    fn path(self, name: &str) -> String {
        let path = match self {
            Self::Query => format!("?{name}"),
            Self::Body => format!("/{}", name.replace('~', "~0").replace('/', "~1")),
        };
        let mut path = path.replace('\0', "");
        if let Some((end, _)) = path.char_indices().nth(MAX_NAME) {
            path.truncate(end);
            path.push('…');
        }
        path
    }

    fn contains_nul(self, name: &str) -> ErrorItem {
        ErrorItem::new("invalid_character", self.path(name), "must not contain U+0000; remove it".to_owned())
    }
}

const DEFAULT_LIMIT: u32 = 50;
const MAX_LIMIT: u32 = 500;
const MAX_IDS: usize = 100;
/// The number of unknown parameters that an error lists.
const MAX_UNKNOWN: usize = 20;
/// The number of characters of a name in an error.
const MAX_NAME: usize = 64;
/// How similar an unknown name must be to a known one, from 0 to 1.
const MIN_SIMILARITY: f64 = 0.8;
