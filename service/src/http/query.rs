//! Query parameters. All problems are reported in one response.

use axum::http::StatusCode;
use enroll::StepId;

use super::errors::{ApiError, ErrorItem};
use crate::sql::Pagination;

/// The query parameters of a request. Unknown parameters and blank texts are ignored. If a parameter with one value is
/// repeated, the last value is used.
pub(crate) struct Parameters {
    pairs: Vec<(String, String)>,
    faults: Vec<ErrorItem>,
}

impl Parameters {
    pub(crate) fn parse(query: Option<&str>) -> Self {
        let pairs = form_urlencoded::parse(query.unwrap_or_default().as_bytes());
        let mut faults = Vec::new();
        let mut kept = Vec::new();
        for (name, value) in pairs {
            if value.contains('\0') {
                let problem = "must not contain U+0000; remove it".to_owned();
                faults.push(ErrorItem::new("invalid_character", format!("?{}", name.replace('\0', "")), problem));
            } else {
                kept.push((name.into_owned(), value.into_owned()));
            }
        }
        Self { pairs: kept, faults }
    }

    /// Returns a text that is not blank.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.one(name).filter(|text| !text.trim().is_empty())
    }

    fn one(&self, name: &str) -> Option<&str> {
        self.pairs.iter().rev().find(|(key, _)| key == name).map(|(_, value)| &**value)
    }

    /// Reads `limit` and `offset`.
    pub(crate) fn pagination(&mut self) -> Pagination {
        let limit = self.number("limit", 1, MAX_LIMIT).unwrap_or(DEFAULT_LIMIT);
        Pagination { limit, offset: self.number("offset", 0, u32::MAX).unwrap_or(0) }
    }

    pub(crate) fn flag(&mut self, name: &str) -> bool {
        match self.one(name) {
            None | Some("false" | "0") => false,
            Some("true" | "1") => true,
            Some(_) => {
                self.invalid(name, "must be `true` or `false`".to_owned());
                false
            }
        }
    }

    /// Returns the values of a parameter, each of which must be known. They are separated by commas, or the parameter is
    /// repeated.
    pub(crate) fn one_of(&mut self, name: &str, known: &[&str]) -> Vec<String> {
        let mut words = self.list(name);
        words.sort();
        words.dedup();
        if words.iter().any(|word| !known.contains(&&**word)) {
            self.invalid(name, format!("must be one of `{}`", known.join("`, `")));
        }
        words
    }

    pub(crate) fn step_ids(&mut self, name: &str) -> Vec<StepId> {
        let words = self.list(name);
        if words.len() > MAX_IDS {
            self.invalid(name, format!("must contain at most {MAX_IDS} ids"));
            return Vec::new();
        }
        let ids: Result<Vec<StepId>, _> = words.iter().map(|word| word.parse()).collect();
        ids.unwrap_or_else(|_| {
            self.invalid(name, "must be uuids".to_owned());
            Vec::new()
        })
    }

    /// Returns an error if any parameter was invalid.
    pub(crate) fn finish(self) -> Result<(), ApiError> {
        if self.faults.is_empty() {
            return Ok(());
        }
        Err(ApiError::with_items(StatusCode::UNPROCESSABLE_ENTITY, self.faults))
    }

    fn list(&self, name: &str) -> Vec<String> {
        let values = self.pairs.iter().filter(|(key, _)| key == name).flat_map(|(_, value)| value.split(','));
        values.map(|word| word.trim().to_owned()).collect()
    }

    fn number(&mut self, name: &str, min: u32, max: u32) -> Option<u32> {
        let number = self.one(name)?.parse().ok().filter(|number| (min..=max).contains(number));
        if number.is_none() {
            self.invalid(name, format!("must be a whole number from {min} to {max}"));
        }
        number
    }

    fn invalid(&mut self, name: &str, problem: String) {
        self.faults.push(ErrorItem::new("invalid_parameter", format!("?{name}"), problem));
    }
}

const DEFAULT_LIMIT: u32 = 50;
const MAX_LIMIT: u32 = 500;
const MAX_IDS: usize = 100;
