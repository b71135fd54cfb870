//! Prints tables of the stored results of the benches, and writes plots to `docs/performance`.
//!
//! `cargo run -p enroll-bench --bin report`

use enroll_bench::rounds::{self, Outcome, Timed};
use plotters::prelude::*;
use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;

fn main() -> Result<(), Box<dyn Error>> {
    let outcomes = outcomes()?;
    tables(&outcomes);
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/performance"));
    std::fs::create_dir_all(folder)?;
    plot(
        &folder.join("recipients.svg"),
        "Cost against recipients (mixed request, in memory)",
        "recipients",
        &by_recipients(&outcomes),
    )?;
    plot(
        &folder.join("existing-contacts.svg"),
        "Cost of 4000 new recipients against existing contacts",
        "existing contacts",
        &by_existing_contacts(&outcomes),
    )?;
    Ok(())
}

fn outcomes() -> Result<Vec<Outcome>, Box<dyn Error>> {
    let folder = rounds::folder();
    let mut outcomes: Vec<Outcome> = Vec::new();
    for file in std::fs::read_dir(&folder).map_err(|e| format!("{}: {e}; run the benches first", folder.display()))? {
        let path = file?.path();
        // Other files come from benches without a comparison.
        if let Ok(outcome) = serde_json::from_slice(&std::fs::read(&path)?) {
            outcomes.push(outcome);
        }
    }
    outcomes.sort_by(|a, b| (&a.group, a.recipients, &a.parameter).cmp(&(&b.group, b.recipients, &b.parameter)));
    Ok(outcomes)
}

fn tables(outcomes: &[Outcome]) {
    for outcome in outcomes {
        let Outcome { group, parameter, rounds, contenders, .. } = outcome;
        println!("\n**{group}, {parameter}** ({rounds} rounds)\n\n| | ms | × floor |\n|---|---|---|");
        for Timed { name, floor, median, .. } in contenders {
            let ratio = match (floor, outcome.floor()) {
                (true, _) => "floor".to_owned(),
                (false, 0) => String::new(),
                (false, sum) => format!("{:.2}", ratio(*median, sum)),
            };
            println!("| {name} | {:.2} | {ratio} |", ms(*median));
        }
    }
}

/// One line for each contender: positions on the axis and milliseconds.
type Lines = BTreeMap<String, Vec<(f64, f64)>>;

fn by_recipients(outcomes: &[Outcome]) -> Lines {
    let mut lines = Lines::new();
    for outcome in outcomes.iter().filter(|outcome| outcome.parameter.ends_with("mixed")) {
        let at = precise(outcome.recipients);
        if outcome.group == "engine" {
            lines.entry("floor".to_owned()).or_default().push((at, ms(outcome.floor())));
        }
        if matches!(outcome.group.as_str(), "engine" | "plan") {
            for contender in outcome.contenders.iter().filter(|contender| !contender.floor) {
                lines.entry(contender.name.clone()).or_default().push((at, ms(contender.median)));
            }
        }
    }
    lines
}

fn by_existing_contacts(outcomes: &[Outcome]) -> Lines {
    let mut lines = Lines::new();
    for outcome in outcomes {
        let existing = outcome.parameter.split([',', ' ']).filter_map(|word| word.parse::<u64>().ok()).next_back();
        let whole = outcome.contenders.iter().find(|contender| contender.name == "whole enrollment");
        let (Some(existing), Some(whole)) = (existing, whole) else { continue };
        if !outcome.parameter.contains("new") {
            continue;
        }
        // The axis is logarithmic, so 0 contacts need another position.
        let at = precise(existing.max(1000));
        lines.entry(outcome.group.clone()).or_default().push((at, ms(whole.median)));
        lines.entry(format!("{}, floor", outcome.group)).or_default().push((at, ms(outcome.floor())));
    }
    lines
}

fn plot(path: &Path, title: &str, axis: &str, lines: &Lines) -> Result<(), Box<dyn Error>> {
    let points = || lines.values().flatten();
    let (left, right) = points().fold((f64::MAX, 1.0_f64), |(low, high), (x, _)| (low.min(*x), high.max(*x)));
    let (bottom, top) = points().fold((f64::MAX, 0.0_f64), |(low, high), (_, y)| (low.min(*y), high.max(*y)));
    if points().next().is_none() {
        return Ok(());
    }
    let canvas = SVGBackend::new(path, (860, 480)).into_drawing_area();
    canvas.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&canvas)
        .caption(title, ("sans-serif", 18))
        .margin(12)
        .x_label_area_size(40)
        .y_label_area_size(60)
        .build_cartesian_2d((left..right * 1.1).log_scale(), (bottom * 0.8..top * 1.3).log_scale())?;
    chart.configure_mesh().x_desc(axis).y_desc("ms").draw()?;
    for (place, (name, points)) in lines.iter().enumerate() {
        let color = Palette99::pick(place).to_rgba();
        let mut points = points.clone();
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        chart
            .draw_series(LineSeries::new(points.iter().copied(), color.stroke_width(2)))?
            .label(name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], color.stroke_width(2)));
        chart.draw_series(points.iter().map(|point| Circle::new(*point, 3, color.filled())))?;
    }
    chart.configure_series_labels().position(SeriesLabelPosition::UpperLeft).background_style(WHITE.mix(0.8)).draw()?;
    canvas.present()?;
    Ok(())
}

fn ms(nanoseconds: u64) -> f64 {
    precise(nanoseconds) / 1e6
}

fn ratio(a: u64, b: u64) -> f64 {
    precise(a) / precise(b)
}

#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
fn precise(number: u64) -> f64 {
    number as f64
}
