//! No error text quotes stored data: logs would keep the phones and names of people.
#![cfg(feature = "testing")]

mod support;

use std::error::Error;
use std::iter::successors;

use enroll::{AsyncRepository, RepositoryError};
use enroll_postgres::{ConnectOptions, PostgresError, needs_postgres};
use support::{Request, block_on, body, connect, database, open, refused};

#[test]
#[ignore = needs_postgres!()]
fn a_refused_row_is_reported_by_code_and_constraint() {
    block_on(async {
        let url = database().await;
        let client = connect(&url).await;
        let mut repository = open(&url).await;
        let request = Request::new(1, &body(0, 2));
        let changes = request.plan(&mut repository).await;

        // PostgreSQL quotes the whole row.
        let checked = "alter table enroll.contacts add constraint no_phones check (phone is null)";
        client.batch_execute(checked).await.unwrap();
        let texts = printed(&repository.commit(&changes).await.unwrap_err());
        assert!(texts.contains("SQLSTATE 23514, constraint `no_phones`, table `contacts`"), "{texts}");

        client.batch_execute("alter table enroll.contacts drop constraint no_phones").await.unwrap();
        request.enroll(&mut repository).await.unwrap();
        let texts = printed(&repository.commit(&changes).await.unwrap_err());
        assert!(texts.contains("the data changed"), "{texts}");

        // PostgreSQL quotes the key.
        let twice = "insert into enroll.contacts (organization_id, id, phone)
            select organization_id, gen_random_uuid(), phone from enroll.contacts";
        let error = PostgresError::from(client.batch_execute(twice).await.unwrap_err());
        let texts = printed(&error.into());
        assert!(texts.contains("SQLSTATE 23505, constraint `contacts_held_phone`, table `contacts`"), "{texts}");
    });
}

/// PostgreSQL quotes a value that it cannot convert.
#[test]
#[ignore = needs_postgres!()]
fn a_stored_value_that_is_not_valid_is_reported_by_column() {
    block_on(async {
        let url = database().await;
        let client = connect(&url).await;
        let mut repository = open(&url).await;
        Request::new(1, &body(0, 1)).enroll(&mut repository).await.unwrap();
        client.batch_execute("update enroll.contacts set address = to_json(phone)").await.unwrap();
        let error = refused(Request::new(2, &body(0, 1)).enroll(&mut repository).await);
        assert!(printed(&error).contains("`address` of a stored row is not valid"), "{error}");
        let cast = client.batch_execute("select name::integer from enroll.contacts").await;
        let texts = printed(&PostgresError::from(cast.unwrap_err()).into());
        assert!(texts.contains("SQLSTATE 22P02"), "{texts}");
    });
}

#[test]
#[ignore = needs_postgres!()]
fn a_wrong_login_or_database_is_reported_with_advice() {
    block_on(async {
        let url = database().await;
        for url in [format!("{url}&user=nobody_here"), format!("{url}&dbname=nothing_here")] {
            let Err(error) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await else { panic!("{url}") };
            let error = PostgresError::from(error);
            assert!(matches!(&error, PostgresError::Refused(_)), "{error:?}");
            assert!(error.to_string().contains("check the user, the password and the database"), "{error}");
        }
    });
}

#[test]
#[ignore = needs_postgres!()]
fn options_that_the_server_does_not_know_are_reported_by_their_name() {
    block_on(async {
        let url = database().await;
        for option in ["no_such_setting%3Doff", "statement_timeout%3Dsoon"] {
            let options = ConnectOptions::from_address(&format!("{url}&options=-c%20{option}")).unwrap();
            let error = options.connect().await.unwrap_err();
            assert!(matches!(&error, PostgresError::Address(_)), "{error:?}");
            assert!(
                error.to_string().starts_with("the value of `options` is not valid: use options that the server"),
                "{error}"
            );
        }
    });
}

/// Returns the text of an error and of its causes. Checks that it quotes no part of a recipient.
#[track_caller]
fn printed(error: &RepositoryError) -> String {
    let causes = successors(Some(error as &dyn Error), |error| (*error).source()).map(ToString::to_string);
    let texts = causes.collect::<Vec<_>>().join(": ");
    for personal in ["+1202", "555", "person0", "person1", "Person", "crm-"] {
        assert!(!texts.contains(personal), "{texts}");
    }
    texts
}
