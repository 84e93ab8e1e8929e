//! The rates as a picture: for each handler time a bar for each contender, on a logarithmic scale.

use std::path::Path;

use plotters::prelude::*;

use crate::plan::Aim;
use crate::report::grouped;
use crate::results::{Results, Row};

/// Why there is no picture.
#[derive(Debug, thiserror::Error)]
#[error("failed to draw {what}")]
pub struct PlotError {
    what: &'static str,
    #[source]
    source: Box<dyn std::error::Error + Send + Sync>,
}

fn failed<E: std::error::Error + Send + Sync + 'static>(what: &'static str) -> impl Fn(E) -> PlotError {
    move |source| PlotError { what, source: source.into() }
}

const BAR: i32 = 16;
const LEFT: i32 = 330;
const SCALE: i32 = 560;
const LOWEST: f64 = 1.0;
const HIGHEST: f64 = 1e7;

/// Draws the first topic's rates.
///
/// # Errors
/// When the file can't be written.
pub fn draw(results: &Results, file: &Path) -> Result<(), PlotError> {
    let Some(shape) = results.rows.iter().find(|row| row.aim == Aim::Rate).map(|row| row.shape) else {
        return Ok(());
    };
    let drawn = |row: &&Row| row.aim == Aim::Rate && row.shape == shape;
    let rows: Vec<&Row> = results.rows.iter().filter(drawn).collect();
    let mut handlers: Vec<u64> = rows.iter().map(|row| row.handler_ms).collect();
    handlers.dedup();
    let height = 70 + rows.len() as i32 * BAR + handlers.len() as i32 * 34;
    let area = SVGBackend::new(file, ((LEFT + SCALE + 120) as u32, height as u32)).into_drawing_area();
    area.fill(&WHITE).map_err(failed("the background"))?;
    let title = format!("Records a second, topic {shape} (logarithmic)");
    label(&area, &title, (12, 12), 18)?;
    let mut top = 48;
    for handler in handlers {
        label(&area, &format!("handler of {handler} ms"), (12, top), 15)?;
        top += 22;
        for row in rows.iter().filter(|row| row.handler_ms == handler) {
            bar(&area, row, results.keys, top)?;
            top += BAR;
        }
        top += 12;
    }
    area.present().map_err(failed("the file"))
}

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;

fn label(area: &Area<'_>, text: &str, at: (i32, i32), size: i32) -> Result<(), PlotError> {
    let style = ("sans-serif", size).into_font().color(&BLACK);
    area.draw(&Text::new(text.to_owned(), at, style)).map_err(failed("a text"))
}

fn bar(area: &Area<'_>, row: &Row, keys: usize, top: i32) -> Result<(), PlotError> {
    label(area, &row.title, (24, top), 12)?;
    let Some(rate) = row.median(|run| run.rate) else {
        return label(area, "failed", (LEFT, top), 12);
    };
    let colour =
        if row.title.starts_with("keyweir") { RGBColor(20, 90, 170) } else { RGBColor(150, 160, 170) };
    let place = |rate: f64| LEFT + (share(rate) * f64::from(SCALE)) as i32;
    let filled = Rectangle::new([(LEFT, top + 1), (place(rate), top + BAR - 3)], colour.filled());
    area.draw(&filled).map_err(failed("a bar"))?;
    if let Some(most) = row.ceiling(keys) {
        let mark = PathElement::new(vec![(place(most), top), (place(most), top + BAR - 2)], RED);
        area.draw(&mark).map_err(failed("a ceiling"))?;
    }
    label(area, &grouped(rate), (place(rate) + 8, top), 12)
}

/// Where a rate stands between the lowest and the highest, by its logarithm.
fn share(rate: f64) -> f64 {
    ((rate.max(LOWEST) / LOWEST).ln() / (HIGHEST / LOWEST).ln()).clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::Machine;
    use crate::results::tests::row;

    #[test]
    fn a_picture_names_every_contender() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("rates.svg");
        let rows = vec![row("keyweir, default", 0, &[1e6]), row("other", 0, &[1e3]), row("broken", 10, &[])];
        let results =
            Results { machine: Machine::default(), keys: 1000, records: 100, window_seconds: 10.0, rows };
        draw(&results, &file).unwrap();
        let svg = std::fs::read_to_string(file).unwrap();
        for text in ["keyweir, default", "other", "broken", "1,000,000", "handler of 10 ms"] {
            assert!(svg.contains(text), "{text}");
        }
        assert!((share(1e7) - 1.0).abs() < 1e-9 && share(0.0) == 0.0);
    }
}
