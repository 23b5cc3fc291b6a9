//! [`Table`]: the results of a measurement, as Markdown, JSON and a plot.

use serde::Serialize;
use std::fmt::Write as _;
use std::path::Path;
use std::{fs, io};

/// The figures of all peers for one workload.
#[derive(Debug, Serialize)]
pub struct Table {
    /// The name of the workload.
    pub workload: String,
    /// The unit of the figures.
    pub unit: String,
    /// The peer with which the others are compared.
    pub anchor: String,
    /// A row for each peer.
    pub rows: Vec<Row>,
}

/// The figures of a peer, one for each round that has not failed.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    /// Its name.
    pub peer: String,
    /// The figures.
    pub figures: Vec<f64>,
}

impl Row {
    /// A row without figures.
    pub fn new(peer: &str) -> Self {
        Self { peer: peer.to_owned(), figures: Vec::new() }
    }

    /// The median, the least and the greatest figure.
    fn median(&self) -> Option<(f64, f64, f64)> {
        let mut sorted = self.figures.clone();
        sorted.sort_by(f64::total_cmp);
        Some((*sorted.get(sorted.len() / 2)?, *sorted.first()?, *sorted.last()?))
    }
}

impl Table {
    fn anchored(&self) -> Option<f64> {
        self.rows.iter().find(|row| row.peer == self.anchor)?.median().map(|(middle, ..)| middle)
    }

    /// The table in Markdown.
    pub fn markdown(&self) -> String {
        let mut text = format!("\n| {} | ratio | {} (spread) |\n|---|---|---|\n", self.workload, self.unit);
        for row in &self.rows {
            let Some((middle, least, most)) = row.median() else { continue };
            let ratio = self.anchored().map_or_else(|| "–".to_owned(), |anchor| format!("{:.2}", middle / anchor));
            let _ = writeln!(text, "| {} | {ratio} | {middle:.2} ({least:.2}–{most:.2}) |", row.peer);
        }
        text
    }
}

/// Writes `peers.json`, a plot of processor time and a plot of memory into a folder.
///
/// # Errors
/// A file cannot be written.
pub fn write(folder: &Path, tables: &[Table]) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    fs::write(folder.join("peers.json"), serde_json::to_string_pretty(tables)? + "\n")?;
    let of = |unit: &str| tables.iter().filter(|table| table.unit.contains(unit)).collect::<Vec<&Table>>();
    let (memory, cpu) = (of("KiB"), of("processor time"));
    for (name, title, tables) in [
        ("cpu.svg", "Processor time, as a multiple of the anchor (log scale; less is better)", cpu),
        ("memory.svg", "Memory of an idle connection, KiB (log scale; less is better)", memory),
    ] {
        if !tables.is_empty() {
            fs::write(folder.join(name), plot(title, &tables))?;
        }
    }
    Ok(())
}

/// The colours of the peers, in their order.
const COLOURS: [&str; 6] = ["#9aa0a6", "#5f6368", "#1a73e8", "#e8710a", "#34a853", "#a142f4"];

/// Measures in pixels: where bars begin, how long the longest bar is, how high a bar is, and the gap between groups.
const LEFT: f64 = 230.0;
const LENGTH: f64 = 520.0;
const BAR: f64 = 14.0;
const GAP: f64 = 18.0;

/// An SVG with a group of bars for each table. Times are shown as ratios to the anchor, memory in its unit.
fn plot(title: &str, tables: &[&Table]) -> String {
    let value = |table: &Table, row: &Row| -> Option<f64> {
        let (middle, ..) = row.median()?;
        if table.unit.starts_with("KiB") { Some(middle) } else { Some(middle / table.anchored()?) }
    };
    let all = || tables.iter().flat_map(|table| table.rows.iter().filter_map(|row| value(table, row)));
    let least = all().fold(f64::INFINITY, f64::min).min(1.0) * 0.8;
    let most = all().fold(1.0, f64::max) * 1.1;
    let length = |value: f64| (value / least).ln() / (most / least).ln() * LENGTH;
    let mut body = String::new();
    let mut y = 60.0;
    for table in tables {
        let middle = y + table.rows.len() as f64 * BAR / 2.0;
        let _ =
            writeln!(body, r#"<text x="{}" y="{middle:.1}" text-anchor="end">{}</text>"#, LEFT - 10.0, table.workload);
        for (row, colour) in table.rows.iter().zip(COLOURS.iter().cycle()) {
            if let Some(value) = value(table, row) {
                let (wide, base) = (length(value).max(1.0), y + BAR - 4.0);
                let _ = writeln!(
                    body,
                    r#"<rect x="{LEFT}" y="{y:.1}" width="{wide:.1}" height="{:.1}" fill="{colour}"/><text class="value" x="{:.1}" y="{base:.1}">{value:.2} {}</text>"#,
                    BAR - 2.0,
                    LEFT + wide + 4.0,
                    row.peer,
                );
            }
            y += BAR;
        }
        y += GAP;
    }
    let width = LEFT + LENGTH + 150.0;
    format!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {y}" width="{width}" height="{y}" font-family="sans-serif" font-size="13">
<style>.value {{ font-size: 11px; fill: #444 }}</style>
<rect width="100%" height="100%" fill="white"/>
<text x="16" y="28" font-size="16">{title}</text>
{body}</svg>
"#
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_ratios_and_bars() {
        let row = |peer: &str, figures: &[f64]| Row { peer: peer.to_owned(), figures: figures.to_vec() };
        let rows = vec![row("floor", &[3.0, 1.0, 2.0]), row("other", &[8.0, 4.0, 5.0]), row("failed", &[])];
        let table = Table { workload: "w".to_owned(), unit: "µs".to_owned(), anchor: "floor".to_owned(), rows };
        let text = table.markdown();
        assert!(text.contains("| floor | 1.00 | 2.00 (1.00–3.00) |"), "{text}");
        assert!(text.contains("| other | 2.50 | 5.00 (4.00–8.00) |"), "{text}");
        assert!(!text.contains("failed"));
        let svg = plot("t", &[&table]);
        assert_eq!(svg.matches("<rect").count(), 3, "the background and two bars");
        assert!(svg.contains("2.50 other"));
    }
}
