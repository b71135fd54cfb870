//! The time to parse phone numbers, with the default phone crate and with the one of the feature `phonenumber`.
//!
//! `cargo bench --bench phones --features phonenumber`

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use enroll::contact::{Libphonenumber, PhoneNormalizer, Region};
use std::hint::black_box;

/// Returns numbers of many countries and spellings from the corpus of `tests/phones.rs`. Every tenth one is invalid.
fn numbers(count: usize) -> Vec<(&'static str, Option<Region>)> {
    let lines = include_str!("../tests/phones.tsv").lines().filter(|line| !line.starts_with('#'));
    let read = lines.filter_map(|line| {
        let (text, rest) = line.split_once('\t')?;
        let (region, answer) = rest.split_once('\t')?;
        Some((text, Region::new(region).ok(), !answer.is_empty()))
    });
    let (valid, junk): (Vec<_>, Vec<_>) = read.partition(|(.., valid)| *valid);
    let mut valid = valid.into_iter().step_by(7).cycle();
    let mut junk = junk.into_iter().cycle();
    let pick = |n: usize| if n % 10 == 9 { junk.next() } else { valid.next() };
    (0..count).filter_map(pick).map(|(text, region, _)| (text, region)).collect()
}

fn normalize(c: &mut Criterion, name: &str, phones: &dyn PhoneNormalizer, count: usize) {
    let numbers = numbers(count);
    let mut group = c.benchmark_group("phones");
    group.throughput(Throughput::Elements(count as u64)).sample_size(10);
    group.bench_function(name, |b| {
        b.iter(|| {
            for (text, region) in &numbers {
                let _ = black_box(phones.normalize(text, region.as_ref()));
            }
        });
    });
    group.finish();
}

fn phones(c: &mut Criterion) {
    normalize(c, "rlibphonenumber, 4000 mixed", &Libphonenumber, 4000);
    #[cfg(feature = "phonenumber")]
    normalize(c, "phonenumber, 400 mixed", &enroll::contact::PhonenumberCrate, 400);
}

criterion_group!(benches, phones);
criterion_main!(benches);
