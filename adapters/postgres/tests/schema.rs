//! Checks the schema and the query plans with PostgreSQL's catalog.
#![cfg(feature = "testing")]

mod support;

use enroll_postgres::needs_postgres;
use enroll_postgres::testing::Server;
use serde_json::Value;
use support::{Request, block_on, body, connect, organization};

#[test]
#[ignore = needs_postgres!()]
fn every_key_and_index_begins_with_organization_id() {
    let (tables, indexes) = block_on(async {
        let client = connect(&Server::shared().database().await.unwrap()).await;
        let tables = "select c.relname::text, exists (
                select from pg_index i where i.indrelid = c.oid and i.indisprimary
            ) from pg_class c where c.relnamespace = 'enroll'::regnamespace and c.relkind in ('r', 'p') order by 1";
        let indexes = "select t.relname::text, c.relname::text, a.attname::text
            from pg_index i
                join pg_class c on c.oid = i.indexrelid
                join pg_class t on t.oid = i.indrelid
                left join pg_attribute a on a.attrelid = i.indrelid and a.attnum = i.indkey[0]
            where t.relnamespace = 'enroll'::regnamespace order by 1, 2";
        (client.query(tables, &[]).await.unwrap(), client.query(indexes, &[]).await.unwrap())
    });
    let tables: Vec<(String, bool)> = tables.iter().map(|row| (row.get(0), row.get(1))).collect();
    assert_eq!(tables.len(), 21, "{tables:?}");
    let without: Vec<_> = tables.iter().filter(|(_, has_key)| !has_key).collect();
    assert!(without.is_empty(), "no primary key: {without:?}");
    let mut seen = 0;
    for row in indexes {
        let (table, index, first): (String, String, Option<String>) = (row.get(0), row.get(1), row.get(2));
        // The retention, the turns of a claim and the log of events serve all organizations.
        let of_all = [
            "queues_turn",
            "enrollments_failed_at",
            "enrollments_completed_at",
            "events_position",
            "events_without_position",
            "events_at",
        ];
        if !["schema_version", "event_log"].contains(&&*table) && !of_all.contains(&&*index) {
            assert_eq!(first.as_deref(), Some("organization_id"), "`{index}` of `{table}`");
            seen += 1;
        }
    }
    assert!(seen >= 25, "{seen}");
}

/// A foreign key includes the organization, so that a check stays within a shard.
#[test]
#[ignore = needs_postgres!()]
fn every_foreign_key_begins_with_organization_id() {
    let rows = block_on(async {
        let client = connect(&Server::shared().database().await.unwrap()).await;
        let keys = "select c.conname::text, a.attname::text
            from pg_constraint c join pg_attribute a on a.attrelid = c.conrelid and a.attnum = c.conkey[1]
            where c.connamespace = 'enroll'::regnamespace and c.contype = 'f'";
        client.query(keys, &[]).await.unwrap()
    });
    assert_eq!(rows.len(), 6);
    for row in rows {
        let (key, first): (String, String) = (row.get(0), row.get(1));
        assert_eq!(first, "organization_id", "{key}");
    }
}

#[test]
#[ignore = needs_postgres!()]
fn no_trigger_function_depends_on_the_search_path() {
    let rows = block_on(async {
        let client = connect(&Server::shared().database().await.unwrap()).await;
        let functions = "select proname::text, proconfig::text from pg_proc
            where pronamespace = 'enroll'::regnamespace and prorettype = 'trigger'::regtype";
        client.query(functions, &[]).await.unwrap()
    });
    assert!(rows.len() >= 10);
    for row in rows {
        let (function, settings): (String, Option<String>) = (row.get(0), row.get(1));
        assert!(settings.is_some_and(|settings| settings.contains(r#""search_path=\"\"""#)), "{function}");
    }
}

/// A large organization is never read completely, even if most organizations are small.
#[test]
#[ignore = needs_postgres!()]
fn rows_of_lists_are_found_by_their_whole_key() {
    block_on(async {
        let mut repository = support::open(&support::database().await).await;
        Request::new(1, &body(0, 2)).enroll(&mut repository).await.unwrap();
        let client = repository.client();
        let many_small = "insert into enroll.organizations select gen_random_uuid() from generate_series(1, 20000);
            insert into enroll.contacts (organization_id, id) select organization_id, organization_id
                from enroll.organizations where organization_id not in (select organization_id from enroll.contacts);
            insert into enroll.runs select organization_id, id, id, id, 'active', now() from enroll.contacts;
            insert into enroll.conversations select organization_id, id, id, id, 'open', now() from enroll.contacts;
            insert into enroll.step_contacts
                select organization_id, id, id, id, id, id, 'active', now() from enroll.contacts;
            insert into enroll.custom_records select organization_id, id, id, 'contact', id, id from enroll.contacts;
            insert into enroll.tags select organization_id, id, id::text from enroll.contacts;
            insert into enroll.contact_tags select organization_id, id, id from enroll.contacts;
            insert into enroll.communication_preferences select organization_id, id, id, true from enroll.contacts;
            analyze";
        client.batch_execute(many_small).await.unwrap();
        let prepared = "select name, statement, parameter_types::text[] from pg_prepared_statements
            where (statement like '%offset 0%' or statement like '%lateral%') and statement not like '%recursive%'
                and cardinality(parameter_types) > 0";
        let prepared = client.query(prepared, &[]).await.unwrap();
        assert!(prepared.len() >= 16, "{}", prepared.len());
        // The planner knows nothing about the length of a list, or knows that it is long.
        for mode in ["force_generic_plan", "force_custom_plan"] {
            client.batch_execute(&format!("set plan_cache_mode = {mode}")).await.unwrap();
            for row in &prepared {
                let (name, sql, types): (String, String, Vec<String>) = (row.get(0), row.get(1), row.get(2));
                let parameters: Vec<String> = types.iter().map(|of| parameter_of(of)).collect();
                let plan = format!("explain execute {name}({})", parameters.join(", "));
                let plan = client.query(&plan, &[]).await.unwrap();
                let plan: Vec<String> = plan.iter().map(|line| line.get(0)).collect();
                let plan = plan.join("\n");
                assert!(plan.contains("Nested Loop") && !plan.contains("Seq Scan"), "{mode}: {sql}\n{plan}");
                for condition in plan.lines().filter(|line| line.contains("Index Cond:")) {
                    assert!(condition.contains(") AND ("), "{mode}: {sql}\n{plan}");
                }
            }
        }
    });
}

/// On a distributed database, a statement then reads and writes one shard: `$1`, of which the organization of the arrays is a
/// copy, takes its place. The turns of a claim are in a table that is not distributed.
#[test]
#[ignore = needs_postgres!()]
fn each_statement_concerns_one_organization() {
    block_on(async {
        let mut repository = support::open(&support::database().await).await;
        Request::new(1, &body(0, 2)).enroll(&mut repository).await.unwrap();
        let client = repository.client();
        let prepared = "select name, statement, parameter_types::text[] from pg_prepared_statements
            where cardinality(parameter_types) > 0 and statement not like '%pg_prepared_statements%'";
        let prepared = client.query(prepared, &[]).await.unwrap();
        client.batch_execute("set plan_cache_mode = force_generic_plan").await.unwrap();
        let (mut scans, mut inserts, mut of_all) = (0, 0, Vec::new());
        for row in &prepared {
            let (name, sql, types): (String, String, Vec<String>) = (row.get(0), row.get(1), row.get(2));
            let parameters: Vec<String> = types.iter().map(|of| parameter_of(of)).collect();
            let explain = format!("explain (verbose, format json) execute {name}({})", parameters.join(", "));
            let plan: Value = client.query_one(&explain, &[]).await.unwrap().get(0);
            let nodes = nodes_of(&plan[0]["Plan"]);
            for node in nodes.iter().filter(|node| node["Schema"] == "enroll" && node["Relation Name"] != "queues") {
                let conditions = ["Index Cond", "Recheck Cond", "Filter"].map(|key| node[key].as_str().unwrap_or(""));
                if node["Node Type"] != "ModifyTable" {
                    // In an empty table, the condition of a join with arrays can be in the node above.
                    let is_joined = sql.contains("organization_id = u.organization_id");
                    let is_of_one = is_joined || conditions.iter().any(|text| text.contains("organization_id = "));
                    if !is_of_one {
                        of_all.push(sql.clone());
                    }
                    scans += 1;
                } else if node["Operation"] == "Insert" {
                    let is_of_one =
                        ["values ($1", "where o.organization_id = $1"].iter().any(|part| sql.contains(part));
                    assert!(is_of_one, "{sql}");
                    inserts += 1;
                }
            }
        }
        assert!(scans >= 60 && inserts >= 10, "{scans} {inserts}");
        assert!(of_all.is_empty(), "{of_all:#?}");
    });
}

/// Returns a node of a plan, and all below it.
fn nodes_of(plan: &Value) -> Vec<&Value> {
    let below = plan["Plans"].as_array().into_iter().flatten().flat_map(nodes_of);
    std::iter::once(plan).chain(below).collect()
}

/// Returns a parameter of a type. An array has 4000 elements.
fn parameter_of(name: &str) -> String {
    match name.strip_suffix("[]") {
        Some(element) => format!("array_fill({}, '{{4000}}')", parameter_of(element)),
        None if name == "uuid" => format!("'{}'::uuid", organization().as_uuid()),
        None if name == "json" => "'{}'::json".to_owned(),
        None => format!("null::{name}"),
    }
}

/// The cost of a claim does not depend on the number of enrollments that have ended.
#[test]
#[ignore = needs_postgres!()]
fn a_claim_scans_only_the_index_of_waiting_enrollments() {
    block_on(async {
        let mut repository = support::open(&support::database().await).await;
        Request::new(1, &body(0, 2)).accept(&mut repository).await.unwrap();
        let client = repository.client();
        let many_ended = "insert into enroll.enrollments
                (organization_id, id, sequence_id, fingerprint, at, state, report, completed_at,
                    added, re_added, reprocessed, ignored, duplicate, contacts_created, conversations_created)
                select gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), sha256(''), now(), 'completed', '{}', now(),
                    1, 0, 0, 0, 0, 1, 1
                from generate_series(1, 20000);
            analyze enroll.enrollments; set plan_cache_mode = force_generic_plan";
        client.batch_execute(many_ended).await.unwrap();
        let prepared = "select name from pg_prepared_statements where statement like 'with oldest %'";
        let name: String = client.query_one(prepared, &[]).await.unwrap().get(0);
        let plan = client.query(&format!("explain execute {name}(gen_random_uuid(), 60)"), &[]).await.unwrap();
        let plan: Vec<String> = plan.iter().map(|line| line.get(0)).collect();
        let plan = plan.join("\n");
        assert!(plan.contains("Index Scan using enrollments_waiting") && !plan.contains("Seq Scan"), "{plan}");
        println!("{plan}");
    });
}
