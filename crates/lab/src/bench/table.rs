//! The tables, as text: keepalived beside Mainstay, and their ratio.

use std::io::Write;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::bench::{Column, Options, Reading, Row, cost as measure_cost, measure, storm as measure_storm};
use crate::cluster::Software;
use crate::timeline::{median, millis};

/// A client that waits longer after a heal was left alone: its neighbour entry names a host that let the vip go.
const HEALED_WITHIN: Duration = Duration::from_millis(50);

/// Faults down, columns across; each cell is filled for all software in turn, so that all meet the same machine.
pub(super) fn failover(
    options: &Options,
    software: &[Software],
    rows: &[Row],
    columns: &[Column],
    out: &mut dyn Write,
) -> Result<()> {
    writeln!(
        out,
        "Outage in ms that a client sees, medians of {} (2 ms UDP probes, two hosts)\n",
        options.runs
    )?;
    let mut head = vec!["fault".to_owned()];
    for column in columns {
        head.extend(software.iter().map(|software| format!("{software} {}", column.name)));
        if software.len() > 1 {
            head.push("ratio".to_owned());
        }
    }
    let mut lines = vec![head];
    let mut late = Vec::new();
    for row in rows {
        let mut line = vec![row.name().to_owned()];
        for column in columns {
            let mut medians = Vec::new();
            let mut readings = vec![Vec::new(); software.len()];
            for run in 0..options.runs {
                for (software, readings) in software.iter().zip(&mut readings) {
                    let reading = measure(software, column.pace, *row)
                        .with_context(|| format!("{software}, {}, {}", row.name(), column.name))?;
                    eprintln!(
                        "{software} | {} | {} | run {run}: {}",
                        row.name(),
                        column.name,
                        show(&reading)
                    );
                    late.push(reading.late);
                    readings.push(reading);
                }
            }
            for readings in &readings {
                let outages: Vec<_> = readings.iter().map(|reading| reading.outage).collect();
                medians.push(median(&outages).unwrap_or_default().as_secs_f64());
                line.push(cell(*row, readings));
            }
            if let [theirs, ours] = medians[..] {
                line.push(ratio(ours, theirs));
            }
        }
        lines.push(line);
    }
    write_lines(&lines, out)?;
    let worst = late.iter().max().copied().unwrap_or_default();
    writeln!(out, "\nThe client's own greatest delay: {} ms\n", millis(worst))?;
    Ok(())
}

fn ratio(ours: f64, theirs: f64) -> String {
    if theirs > 0.0 { format!("{:.2}", ours / theirs) } else { "-".to_owned() }
}

/// One run in a few words.
fn show(reading: &Reading) -> String {
    let mut text = format!("{} ms, {} lost", millis(reading.outage), reading.lost);
    if let Some(until) = reading.two_until {
        let end = if reading.two_at_end { " (to the end)" } else { "" };
        text += &format!(", two answered until {} ms{end}", millis(until));
    }
    if !reading.ended_well {
        text += ", black hole";
    }
    text + &format!(", client late by {} ms", millis(reading.late))
}

fn cell(row: Row, readings: &[Reading]) -> String {
    let runs = readings.len();
    let outages: Vec<_> = readings.iter().map(|reading| reading.outage).collect();
    let mut text = millis(median(&outages).unwrap_or_default());
    if row.asks_for_two() {
        let endless = readings.iter().filter(|reading| reading.two_at_end).count();
        let ends: Vec<_> = readings.iter().filter_map(|reading| reading.two_until).collect();
        text = match (endless, ends.iter().max()) {
            (0, None) => format!("{text}; never two"),
            (0, Some(longest)) => format!("{text}; two until {} at most", millis(*longest)),
            (endless, _) => format!("{text}; two for ever {endless}/{runs}"),
        };
    }
    if row.asks_for_holes() {
        let holes = outages.iter().filter(|outage| **outage >= HEALED_WITHIN).count();
        text += &format!("; over {} ms {holes}/{runs}", HEALED_WITHIN.as_millis());
    }
    let endless = readings.iter().filter(|reading| !reading.ended_well).count();
    if endless > 0 {
        text += &format!("; no end {endless}/{runs}");
    }
    let spread = (outages.iter().min(), outages.iter().max());
    if let (Some(least), Some(most)) = spread {
        text += &format!(" ({} to {})", millis(*least), millis(*most));
    }
    text
}

/// False takeovers on a busy machine.
pub(super) fn storm(options: &Options, software: &[Software], out: &mut dyn Write) -> Result<()> {
    writeln!(out, "50 vips, adverts every 10 ms, all cores busy for 4 s: false takeovers in each run\n")?;
    let mut lines = vec![vec!["".to_owned(), "takeovers".to_owned(), "adverts sent".to_owned()]];
    for software in software {
        let mut storms = Vec::new();
        for run in 0..options.runs {
            let storm = measure_storm(software)?;
            eprintln!(
                "{software} | storm | run {run}: {} takeovers, {} adverts",
                storm.takeovers, storm.adverts
            );
            storms.push(storm);
        }
        let listed =
            |figures: Vec<usize>| figures.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        let takeovers = listed(storms.iter().map(|storm| storm.takeovers).collect());
        let adverts = listed(storms.iter().map(|storm| storm.adverts).collect());
        lines.push(vec![software.to_string(), takeovers, adverts]);
    }
    write_lines(&lines, out)?;
    writeln!(out)?;
    Ok(())
}

/// Processor time and memory of a thousand vips.
pub(super) fn cost(software: &[Software], out: &mut dyn Write) -> Result<()> {
    writeln!(out, "1,000 vips, adverts every second, 20 s: percent of a core, and PSS in MiB\n")?;
    let head = ["", "active CPU", "backup CPU", "active PSS", "backup PSS"];
    let mut lines = vec![head.map(str::to_owned).to_vec()];
    for software in software {
        let costs = measure_cost(software)?;
        let mut line = vec![software.to_string()];
        line.extend(costs.iter().map(|cost| format!("{:.2} %", cost.cpu)));
        line.extend(costs.iter().map(|cost| mebibytes(cost.memory.iter().map(|(_, bytes)| bytes).sum())));
        lines.push(line);
        for (command, bytes) in costs.iter().flat_map(|cost| &cost.memory) {
            eprintln!("{software} | cost | {} MiB: {command}", mebibytes(*bytes));
        }
    }
    write_lines(&lines, out)?;
    writeln!(out)?;
    Ok(())
}

fn mebibytes(bytes: u64) -> String {
    let hundredths = bytes * 100 / (1 << 20);
    format!("{}.{:02}", hundredths / 100, hundredths % 100)
}

/// A Markdown table with aligned columns.
pub(crate) fn write_lines(lines: &[Vec<String>], out: &mut dyn Write) -> Result<()> {
    let columns = lines.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        lines
            .iter()
            .filter_map(|line| line.get(column))
            .map(|cell| cell.chars().count())
            .max()
            .unwrap_or(0)
            .max(3)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    for (number, line) in lines.iter().enumerate() {
        let cells = widths.iter().zip(line).map(|(width, cell)| format!(" {cell:width$} |"));
        writeln!(out, "|{}", cells.collect::<String>())?;
        if number == 0 {
            let rules = widths.iter().map(|width| format!("{}|", "-".repeat(width + 2)));
            writeln!(out, "|{}", rules.collect::<String>())?;
        }
    }
    Ok(())
}
