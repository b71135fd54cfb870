//! Distributed tables. Needs Citus: `ENROLL_TEST_POSTGRES_URL` and `ENROLL_TEST_CITUS_WORKERS` as in docs/scaling.md, then
//! `cargo test -p enroll-postgres --all-features --test citus`.
#![cfg(feature = "testing")]

mod support;

use enroll::inbox::Retention;
use enroll_postgres::seed::dump;
use enroll_postgres::testing::Server;
use enroll_postgres::{PostgresError, PostgresRepository, distribute, is_distributed, migrate};
use serde_json::Value;
use std::time::Duration;
use support::{Request, block_on, body, connect, database, open, organization, seed};
use tokio_postgres::Client;

/// Returns an address for the coordinator, by which the workers reach it.
fn coordinator() -> (String, i32) {
    let url = std::env::var("ENROLL_TEST_POSTGRES_URL").expect("the address of the coordinator");
    let config: tokio_postgres::Config = url.parse().unwrap();
    match &config.get_hosts()[0] {
        tokio_postgres::config::Host::Tcp(host) => (host.clone(), config.get_ports()[0].into()),
        other @ tokio_postgres::config::Host::Unix(_) => panic!("{other:?}"),
    }
}

#[test]
fn a_database_with_rows_is_distributed_and_keeps_them() {
    block_on(async {
        let name = format!("enroll_test_filled_{}", std::process::id());
        let url = Server::shared().empty_database(&name).await.unwrap();
        let mut client = connect(&url).await;
        migrate(&mut client).await.unwrap();
        enroll_postgres::seed::load(&mut client, &seed()).await.unwrap();
        let first = Request::new(1, &body(0, 20)).enroll(&mut open(&url).await).await.unwrap();
        let before = rows(&mut client).await;

        let error = distribute(&mut client, &[]).await.unwrap_err();
        assert!(matches!(error, PostgresError::NoCitus), "{error}");
        client.batch_execute("create extension citus").await.unwrap();
        let error = distribute(&mut client, &[]).await.unwrap_err();
        assert!(matches!(error, PostgresError::NoCoordinator), "{error}");
        let (host, port) = coordinator();
        client.execute("select citus_set_coordinator_host($1, $2)", &[&host, &port]).await.unwrap();
        client
            .batch_execute(&format!("select citus_set_node_property('{host}', {port}, 'shouldhaveshards', true)"))
            .await
            .unwrap();
        client.batch_execute("set citus.shard_count = 4").await.unwrap();
        assert!(!is_distributed(&client).await.unwrap());
        assert_eq!(distribute(&mut client, &[]).await.unwrap().len(), 20);
        assert!(is_distributed(&client).await.unwrap());
        assert_eq!(distribute(&mut client, &[]).await.unwrap(), Vec::<String>::new());
        // The next version of the schema finds distributed tables.
        migrate(&mut client).await.unwrap();

        let mut repository = open(&url).await;
        assert_eq!(rows(&mut client).await, before);
        assert_eq!(Request::new(1, &body(0, 20)).enroll(&mut repository).await.unwrap(), first);
        let again = Request::new(2, &body(0, 30)).enroll(&mut repository).await.unwrap();
        assert_eq!((again.counts().reprocessed, again.counts().added), (20, 10));
        client.batch_execute("delete from enroll.organizations").await.unwrap();
        assert_eq!(support::count_rows(&client).await, 0);
    });
}

/// Citus reads one shard for each statement of a load and a commit.
#[test]
fn each_statement_reads_one_shard() {
    block_on(async {
        let mut repository = open(&database().await).await;
        Request::new(1, &body(0, 2)).enroll(&mut repository).await.unwrap();
        let client = repository.client();
        let (mut of_one, mut of_all) = (0, Vec::new());
        for (sql, plan) in plans(client).await {
            let counts = task_counts(&plan);
            if counts.iter().all(|count| *count == 1) {
                of_one += counts.len();
            } else {
                of_all.push(sql);
            }
        }
        assert!(of_one >= 40, "{of_one}");
        assert!(of_all.is_empty(), "{of_all:#?}");
    });
}

#[test]
fn the_retention_removes_reports_of_several_organizations() {
    block_on(async {
        let url = database().await;
        let mut repository = PostgresRepository::connect(&url, 2).await.unwrap();
        let client = connect(&url).await;
        for n in 1..=3 {
            Request::new(n, &body(0, 2)).enroll(&mut repository).await.unwrap();
        }
        let others = "insert into enroll.organizations select gen_random_uuid() from generate_series(1, 5);
            insert into enroll.enrollments (organization_id, id, sequence_id, fingerprint, at, state, report, completed_at,
                    added, re_added, reprocessed, ignored, duplicate, contacts_created, conversations_created)
                select organization_id, organization_id, organization_id, sha256(''), now(), 'completed', '{}', now(),
                    1, 0, 0, 0, 0, 1, 1 from enroll.organizations";
        client.batch_execute(others).await.unwrap();
        let mut retention = Retention::keep();
        retention.completed = Some(Duration::ZERO);
        assert_eq!(repository.remove_expired(&retention).await.unwrap().reports, 9);
        assert_eq!(repository.remove_expired(&retention).await.unwrap().reports, 0);
        let left = client.query_one("select count(*) from enroll.enrollment_outcomes", &[]).await.unwrap();
        assert_eq!(left.get::<_, i64>(0), 0);
    });
}

/// Returns all rows, as JSON.
async fn rows(client: &mut Client) -> Value {
    serde_json::to_value(dump(client, organization()).await.unwrap()).unwrap()
}

/// Returns the number of shards of each part of a plan.
fn task_counts(plan: &Value) -> Vec<i64> {
    match plan {
        Value::Object(members) => {
            let own = members.get("Task Count").and_then(Value::as_i64);
            own.into_iter().chain(members.values().flat_map(task_counts)).collect()
        }
        Value::Array(items) => items.iter().flat_map(task_counts).collect(),
        _ => Vec::new(),
    }
}

/// Returns the plan of each statement that reads a table. Citus does not explain an insert with values of a sequence.
async fn plans(client: &Client) -> Vec<(String, Value)> {
    let prepared = "select name, statement, parameter_types::text[] from pg_prepared_statements
        where cardinality(parameter_types) > 0 and statement like '%enroll.%' and statement not like 'insert into enroll.counts%'";
    client.batch_execute("set plan_cache_mode = force_custom_plan").await.unwrap();
    let mut plans = Vec::new();
    for row in client.query(prepared, &[]).await.unwrap() {
        let (name, sql, types): (String, String, Vec<String>) = (row.get(0), row.get(1), row.get(2));
        let parameter = |of: &String| match of.strip_suffix("[]") {
            Some(element) => format!("array[]::{element}[]"),
            None if of == "uuid" => format!("'{}'::uuid", organization().as_uuid()),
            None if of == "double precision" => "60".to_owned(),
            None => format!("null::{of}"),
        };
        let parameters: Vec<String> = types.iter().map(parameter).collect();
        let explain = format!("explain (format json) execute {name}({})", parameters.join(", "));
        let plan: Value = client.query_one(&explain, &[]).await.unwrap().get(0);
        plans.push((sql, plan[0]["Plan"].clone()));
    }
    plans
}
