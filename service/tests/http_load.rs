//! Many concurrent clients over real HTTP.

mod support;

use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::thread;

use support::service::{Service, on_both};

on_both! {
    overlapping_batches_of_64_clients_create_no_duplicate;
}

const CLIENTS: usize = 64;
const BATCHES: usize = 3;
const PEOPLE: usize = 500;

fn overlapping_batches_of_64_clients_create_no_duplicate(service: &mut Service) {
    let service = &*service;
    // Each batch starts at another person of the same set, so each person is in many batches.
    let batch = |client: usize, batch: usize| {
        let first = (client * BATCHES + batch) * 7;
        let person = |n: usize| json!({"phone": format!("+1415555{:04}", (first + n) % PEOPLE)});
        json!({"to": (0..30).map(person).collect::<Vec<_>>()})
    };
    let accepted: BTreeSet<String> = thread::scope(|scope| {
        let client = |client: usize| {
            let answers = (0..BATCHES).map(move |n| {
                let key = format!("client-{client}-batch-{n}");
                let first = service.enroll(&batch(client, n), &[("Idempotency-Key", &key)]).accepted();
                // Repeat the request, like a client that lost the response.
                let again = service.enroll(&batch(client, n), &[("Idempotency-Key", &key)]).accepted();
                assert_eq!(first, again);
                first
            });
            answers.collect::<Vec<_>>()
        };
        let clients: Vec<_> = (0..CLIENTS).map(|n| scope.spawn(move || client(n))).collect();
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
    });
    assert_eq!(accepted.len(), CLIENTS * BATCHES);

    let (mut created, mut recipients) = (0, 0);
    for enrollment in &accepted {
        let done = service.wait_for(enrollment);
        assert_eq!(done["state"], "completed", "{done}");
        created += done["counts"]["contacts_created"].as_u64().unwrap();
        recipients += done["total"].as_u64().unwrap();
    }
    assert_eq!(recipients, (CLIENTS * BATCHES * 30) as u64);
    let mut phones = BTreeSet::new();
    for offset in [0, 500] {
        let page = service.get(&format!("/v1/contacts?limit=500&offset={offset}")).json;
        let total = page["total"].as_u64().unwrap();
        // The seed contains two contacts.
        assert_eq!((total, total - 2), ((PEOPLE + 2) as u64, created));
        let phone_of = |contact: &Value| contact["phone"].as_str().unwrap().to_owned();
        phones.extend(page["data"].as_array().unwrap().iter().map(phone_of));
    }
    assert_eq!(phones.len(), PEOPLE + 2);
}
