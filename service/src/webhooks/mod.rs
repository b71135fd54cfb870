//! Webhooks: sends the events of enrollments to the endpoints of their organizations, signed by the convention
//! [Standard Webhooks](https://www.standardwebhooks.com).
//!
//! The log of events has all organizations. [`fan_out`] copies each event into a *delivery* for each endpoint that wants it.
//! [`deliver`] sends the deliveries of an endpoint one at a time, in the order in which they are due.

mod address;
pub(crate) mod command;
pub(crate) mod deliver;
mod ended;
mod endpoint;
mod fan_out;
mod schedule;
mod send;
mod sign;
mod store;

pub(crate) use self::address::Networks;
pub(crate) use self::ended::end_of_disabled;
pub(crate) use self::endpoint::{EndpointUrl, Kinds};
pub(crate) use self::fan_out::prune;
pub(crate) use self::schedule::Retries;
pub(crate) use self::store::Backlog;

/// The target of the lines of the log.
const WEBHOOKS: &str = "enroll::webhooks";
