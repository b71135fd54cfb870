//! PostgreSQL as a repository of `enroll`.
