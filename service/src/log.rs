//! The log of `enroll serve` on standard error.

use std::str::FromStr;
use tracing_subscriber::filter::{FilterExt, LevelFilter, Targets, filter_fn};
use tracing_subscriber::fmt;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

use crate::args::LogFormat;
use crate::telemetry::{Export, LOG_SPANS, SPANS};

/// Which events are logged: a level, and the levels of single targets, such as `info,enroll::requests=warn`.
///
/// A target is the name of a module or of a part of it. The longest one that an event's target begins with decides.
#[derive(Clone, Debug)]
pub(crate) struct LogFilter(Targets);

impl LogFilter {
    /// Returns the filter of a process whose own messages are not in the log.
    pub(crate) fn warnings() -> Self {
        Self(Targets::new().with_default(LevelFilter::WARN))
    }
}

impl FromStr for LogFilter {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut filter = Targets::new();
        for part in text.split(',').map(str::trim) {
            filter = match part.split_once('=') {
                None if part == "json" || part == "text" => {
                    return Err(format!("`{part}` is a format; use `--log-format {part}`"));
                }
                None => filter.with_default(level(part)?),
                Some((target, _)) if target.trim().is_empty() => {
                    return Err(format!("`{part}` has no target before `=`, such as `enroll=debug`"));
                }
                // The name of a module, or of a part of it. No event has another target.
                Some((target, _))
                    if !target.trim().chars().all(|c| c.is_ascii_alphanumeric() || "_-:.".contains(c)) =>
                {
                    return Err(format!(
                        "`{}` is not a target, and wildcards are not supported; use a level for all targets, such as `debug`",
                        target.trim()
                    ));
                }
                Some((target, word)) => filter.with_target(target.trim(), level(word.trim())?),
            };
        }
        Ok(Self(filter))
    }
}

fn level(word: &str) -> Result<LevelFilter, String> {
    let level = LEVELS.into_iter().find(|(name, _)| name.eq_ignore_ascii_case(word)).map(|(_, level)| level);
    level.ok_or_else(|| {
        format!(
            "`{word}` is not a level; use `off`, `error`, `warn`, `info`, `debug` or `trace`, or TARGET=LEVEL such as \
             `enroll=debug`"
        )
    })
}

/// Starts the log, and the export of spans.
pub(crate) fn start(format: LogFormat, filter: &LogFilter, export: Option<&Export>) {
    let lines = fmt::layer().with_writer(std::io::stderr);
    let lines = match format {
        LogFormat::Json => lines.json().boxed(),
        LogFormat::Text => lines.with_ansi(false).boxed(),
    };
    let lines_of = filter.0.clone().with_target(SPANS, LevelFilter::OFF);
    // These spans only add fields to lines, so no filter removes them.
    let spans = filter_fn(|metadata| metadata.target() == LOG_SPANS).with_max_level_hint(LevelFilter::ERROR);
    let log = tracing_subscriber::registry().with(lines.with_filter(lines_of.or(spans)));
    log.with(export.map(Export::layer)).init();
}

const LEVELS: [(&str, LevelFilter); 6] = [
    ("off", LevelFilter::OFF),
    ("error", LevelFilter::ERROR),
    ("warn", LevelFilter::WARN),
    ("info", LevelFilter::INFO),
    ("debug", LevelFilter::DEBUG),
    ("trace", LevelFilter::TRACE),
];

#[cfg(test)]
mod tests {
    use super::*;
    use tracing::Level;

    #[test]
    fn the_longest_target_decides() {
        let LogFilter(filter) = "warn, enroll=debug,enroll::requests=off".parse().unwrap();
        for (target, level, enabled) in [
            ("deadpool.postgres", Level::WARN, true),
            ("deadpool.postgres", Level::INFO, false),
            ("enroll::work", Level::DEBUG, true),
            ("enroll::work", Level::TRACE, false),
            ("enroll::requests", Level::ERROR, false),
        ] {
            assert_eq!(filter.would_enable(target, &level), enabled, "{target} {level}");
        }
    }

    #[test]
    fn a_filter_that_means_nothing_is_refused() {
        for (filter, problem) in [
            ("", "`` is not a level"),
            ("inof", "`inof` is not a level; use `off`, `error`"),
            ("info,enroll", "`enroll` is not a level"),
            ("enroll=verbose", "`verbose` is not a level"),
            ("enroll=", "`` is not a level"),
            ("=debug", "`=debug` has no target"),
            ("info,*=debug", "`*` is not a target, and wildcards are not supported"),
            ("info;enroll=debug", "`info;enroll` is not a target"),
            ("json", "use `--log-format json`"),
        ] {
            let error = filter.parse::<LogFilter>().unwrap_err();
            assert!(error.contains(problem), "{filter}: {error}");
        }
    }
}
