//! SQLite as a repository of `enroll`.
