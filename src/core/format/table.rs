//! Tables of text: columns that line up, words to the left, figures to the
//! right, no rules between them.
//!
//! On a terminal a table keeps to the terminal's width, and to
//! [`WIDEST`] at most: cells that are too long go on below, but for the first
//! of a row, as long as there is room beside it. In a pipe nothing
//! is broken or left out, so that `grep` finds a whole row on one line.
//! Control characters of cells are escaped here.

use crate::core::format::text::printable;
use comfy_table::{CellAlignment, ColumnConstraint, ContentArrangement, Table as Grid, presets};

/// The widest that a table is on a terminal, in columns.
pub const WIDEST: u16 = 100;

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Column {
    /// Words, which stand to the left.
    Words(&'static str),
    /// Figures, which stand to the right.
    Figures(&'static str),
}

/// A table under way.
#[derive(Debug)]
pub struct Table {
    grid: Grid,
}

impl Table {
    /// A table without rows.
    pub fn new(columns: &[Column]) -> Self {
        let mut grid = Grid::new();
        grid.load_preset(presets::NOTHING);
        grid.set_header(columns.iter().map(|column| match column {
            Column::Words(title) | Column::Figures(title) => *title,
        }));
        for (index, column) in columns.iter().enumerate() {
            if let Some(grid) = grid.column_mut(index) {
                grid.set_padding((0, 2));
                if matches!(column, Column::Figures(_)) {
                    grid.set_cell_alignment(CellAlignment::Right);
                }
            }
        }
        Table { grid }
    }

    /// Adds a row, with a cell for each column.
    pub fn row<C: AsRef<str>>(&mut self, cells: impl IntoIterator<Item = C>) {
        self.grid.add_row(cells.into_iter().map(|cell| printable(cell.as_ref())));
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.grid.row_count() == 0
    }

    /// The table as lines, without blanks at their ends, each with its line
    /// break. `width` is that of the terminal; in a pipe there is none.
    pub fn render(mut self, width: Option<u16>) -> String {
        if let Some(width) = width {
            self.grid.set_content_arrangement(ContentArrangement::Dynamic);
            let width = width.min(WIDEST);
            self.grid.set_width(width);
            // A name that is broken cannot be copied.
            let names = self.grid.column_max_content_widths().first().copied().unwrap_or_default();
            if let Some(column) = self.grid.column_mut(0).filter(|_| names <= width / 3) {
                column.set_constraint(ColumnConstraint::ContentWidth);
            }
        }
        self.grid.lines().map(|line| format!("{}\n", line.trim_end())).collect()
    }
}

/// The text as lines of at most `width` columns, broken between words where that
/// is possible, those after the first indented by `indent` more than the first.
/// Control characters are escaped. In a pipe (no width) it is one line.
pub fn wrapped(text: &str, indent: u16, width: Option<u16>) -> Vec<String> {
    let begin = text.len() - text.trim_start().len();
    let (margin, text) = (" ".repeat(begin), printable(text.trim_start()));
    let Some(width) = width else { return vec![format!("{margin}{text}")] };
    let indent = usize::from(indent) + begin;
    let mut grid = Grid::new();
    grid.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
    let room = usize::from(width.min(WIDEST)).saturating_sub(indent).max(1);
    grid.set_width(u16::try_from(room).unwrap_or(WIDEST));
    grid.add_row([text]);
    if let Some(column) = grid.column_mut(0) {
        column.set_padding((0, 0));
    }
    let line = |(number, line): (usize, String)| {
        let margin = if number == 0 { begin } else { indent };
        format!("{:margin$}{}", "", line.trim_end())
    };
    grid.lines().enumerate().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::new(&[Column::Words("HOST"), Column::Figures("SIZE"), Column::Words("WHY")]);
        table.row(["vpn", "1.0 KiB", ""]);
        table.row(["web", "123.0 GiB", "no \u{1b}[2J route to the host that we know of"]);
        table
    }

    #[test]
    fn words_stand_left_and_figures_right() {
        assert_eq!(
            table().render(None),
            "HOST       SIZE  WHY\n\
             vpn     1.0 KiB\n\
             web   123.0 GiB  no \\u{1b}[2J route to the host that we know of\n"
        );
    }

    #[test]
    fn a_long_text_goes_on_below_and_keeps_all_its_words() {
        let text = "  CRITICAL: no \u{1b}[2J route to the host; is it switched on?";
        assert_eq!(
            wrapped(text, 2, None),
            ["  CRITICAL: no \\u{1b}[2J route to the host; is it switched on?"]
        );
        assert_eq!(
            wrapped(text, 2, Some(30)),
            ["  CRITICAL: no \\u{1b}[2J", "    route to the host; is it", "    switched on?"]
        );
        let word = wrapped(&"x".repeat(50), 4, Some(24));
        assert_eq!(word.iter().map(|line| line.trim().len()).sum::<usize>(), 50, "{word:?}");
        assert!(word.iter().all(|line| line.len() <= 24), "{word:?}");
    }

    #[test]
    fn on_a_terminal_no_line_is_wider_than_it() {
        let text = table().render(Some(40));
        assert!(text.lines().all(|line| line.chars().count() <= 40), "{text}");
        assert!(text.lines().count() > 3, "{text}");
        let mut snapshots = Table::new(&[
            Column::Words("SNAPSHOT"),
            Column::Words("TIME"),
            Column::Words("VERDICT"),
            Column::Figures("FILES"),
            Column::Figures("ONLY HERE"),
            Column::Words("KEPT FOR"),
        ]);
        let claims = "daily 2026-11-21, weekly 2026-W47, monthly 2026-11, the newest good one";
        snapshots.row(["backup-2026-11-21T020210Z", "2026-11-21 02:02", "good", "3", "8.0 KiB", claims]);
        let text = snapshots.render(Some(80));
        assert!(
            text.contains("backup-2026-11-21T020210Z ") && text.lines().all(|line| line.len() <= 80),
            "{text}"
        );
        let mut wide = Table::new(&[Column::Words("A")]);
        wide.row(["word ".repeat(100)]);
        assert!(wide.render(Some(300)).lines().all(|line| line.chars().count() <= 100));
    }
}
