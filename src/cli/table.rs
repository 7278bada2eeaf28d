//! Tables for people: columns line up, a narrow screen makes them give way, tones show what matters. Knows nothing of
//! what is in them.

use std::io::Write;

use super::lines::line_of;
use super::screen::{Screen, Tone, shorten, width_of};
use crate::domain::text::escape;
use crate::error::Result;

/// Between two columns.
const GAP: usize = 2;
/// What a column that gives way keeps.
const KEPT: usize = 8;
/// What it keeps for the last column to stay in its line.
const KEPT_BESIDE: usize = 16;
/// With less room than that, the last column goes to lines of its own.
const LAST_MIN: usize = 24;
/// How far those are indented.
const INDENT: usize = 4;

/// A cell: text in a tone; what could harm a terminal is escaped.
#[derive(Debug, Clone, Default)]
pub(super) struct Cell {
    text: String,
    tone: Tone,
}

impl Cell {
    pub(super) fn new(text: &str, tone: Tone) -> Self {
        Self {
            text: escape(text).into_owned(),
            tone,
        }
    }

    /// The same behind `text`.
    pub(super) fn after(mut self, text: &str) -> Self {
        self.text.insert_str(0, &escape(text));
        self
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self::new(&text, Tone::Plain)
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self::new(text, Tone::Plain)
    }
}

/// A table. Columns are as wide as their widest cell. On a screen that is too narrow, those that may give way lose the
/// middle of their texts, and the last one, which often holds a message, is wrapped and never cut.
#[derive(Debug, Default)]
pub(super) struct Table {
    rows: Vec<Vec<Cell>>,
    giving_way: Vec<usize>,
}

impl Table {
    pub(super) fn new(header: &[&str]) -> Self {
        let mut table = Self::default();
        table.row(header.iter().map(|&cell| Cell::new(cell, Tone::Dim)));
        table
    }

    /// Names the columns (from 0) that give way on a narrow screen.
    pub(super) fn giving_way(mut self, columns: &[usize]) -> Self {
        self.giving_way = columns.to_vec();
        self
    }

    /// Adds a row.
    pub(super) fn row<C: Into<Cell>>(&mut self, cells: impl IntoIterator<Item = C>) {
        self.rows.push(cells.into_iter().map(Into::into).collect());
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rows.len() <= 1
    }

    pub(super) fn print(&self, screen: &Screen, out: &mut dyn Write) -> Result<()> {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let mut widths: Vec<usize> = (0..columns)
            .map(|column| {
                let cells = self.rows.iter().filter_map(|row| row.get(column));
                cells.map(|cell| width_of(&cell.text)).max().unwrap_or(0)
            })
            .collect();
        let last = columns.saturating_sub(1);
        let is_below = screen
            .width
            .is_some_and(|width| self.fit(&mut widths, width));
        for row in &self.rows {
            let mut line = Line::default();
            for (column, cell) in row.iter().enumerate().take(last) {
                let text = shorten(&cell.text, widths[column]);
                line.cell(screen, cell.tone, &text, widths[column]);
            }
            let Some(cell) = row.get(last) else {
                line.end(out)?;
                continue;
            };
            if is_below {
                line.end(out)?;
                for part in screen.wrap(&cell.text, INDENT) {
                    if part.is_empty() {
                        continue;
                    }
                    let shown = screen.paint(cell.tone, &part);
                    line_of(out, &format!("{}{shown}", " ".repeat(INDENT)))?;
                }
                continue;
            }
            let before = line.used;
            for part in screen.wrap(&cell.text, before) {
                line.indent(before);
                line.cell(screen, cell.tone, &part, 0);
                line.end(out)?;
                line = Line::default();
            }
        }
        Ok(())
    }

    /// Makes columns narrower until the table fits; true where the last one has to go to lines of its own. That leaves
    /// the others more room, so it goes before they say nothing any more.
    fn fit(&self, widths: &mut [usize], width: usize) -> bool {
        let Some((last, others)) = widths.split_last_mut() else {
            return false;
        };
        let wanted = others.to_vec();
        let narrowest_last = (*last).min(LAST_MIN);
        let gaps = GAP * others.len();
        if self.shrink(
            others,
            width.saturating_sub(gaps + narrowest_last),
            KEPT_BESIDE,
        ) {
            return false;
        }
        others.copy_from_slice(&wanted);
        let gaps = GAP * others.len().saturating_sub(1);
        self.shrink(others, width.saturating_sub(gaps), KEPT);
        true
    }

    /// Takes from the widest of the columns that give way until all have room; false where they would keep too little.
    fn shrink(&self, columns: &mut [usize], room: usize, kept: usize) -> bool {
        while columns.iter().sum::<usize>() > room {
            let giving = self.giving_way.iter().copied();
            let giving = giving.filter(|&column| columns.get(column).is_some_and(|&w| w > kept));
            let Some(widest) = giving.max_by_key(|&column| columns[column]) else {
                return false;
            };
            columns[widest] -= 1;
        }
        true
    }
}

/// A line that is being laid out.
#[derive(Default)]
struct Line {
    text: String,
    /// Columns, gaps included.
    used: usize,
    /// Blanks that come only if something follows.
    owed: usize,
}

impl Line {
    fn cell(&mut self, screen: &Screen, tone: Tone, text: &str, width: usize) {
        if !text.is_empty() {
            self.text.push_str(&" ".repeat(self.owed));
            self.owed = 0;
            self.text.push_str(&screen.paint(tone, text));
        }
        let wide = width.max(width_of(text));
        self.owed += wide - width_of(text) + GAP;
        self.used += wide + GAP;
    }

    fn indent(&mut self, columns: usize) {
        let missing = columns.saturating_sub(self.used);
        self.owed += missing;
        self.used += missing;
    }

    fn end(&mut self, out: &mut dyn Write) -> Result<()> {
        line_of(out, &std::mem::take(&mut self.text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(table: &Table, width: Option<usize>) -> String {
        let screen = Screen {
            colours: false,
            width,
        };
        let mut out = Vec::new();
        table.print(&screen, &mut out).expect("printed");
        String::from_utf8(out).expect("UTF-8")
    }

    fn example() -> Table {
        let mut table = Table::new(&["ID", "PACKAGE", "TO", "STATE"]).giving_way(&[1, 2]);
        table.row([
            "7",
            "core-banking-2026.11.tar.gz",
            "deploy@10.1.2.3:/srv/newcx/20261124_101010/",
            "failed: denied: the host refuses the password of deploy",
        ]);
        table.row(["8", "核心.tar", "ops@h:/x", "done"]);
        table
    }

    #[test]
    fn columns_line_up_and_cells_are_escaped() {
        let mut table = Table::new(&["A", "B"]);
        table.row(["long\n", "x"]);
        table.row(["核心", "y"]);
        assert_eq!(printed(&table, None), "A       B\nlong\\n  x\n核心    y\n");
    }

    #[test]
    fn no_line_is_wider_than_the_screen_and_no_message_is_cut() {
        for width in [30, 40, 60, 80, 100, 120, 200] {
            let shown = printed(&example(), Some(width));
            for line in shown.lines() {
                assert!(width_of(line) <= width, "{width}: {line}");
            }
            let words: Vec<&str> = shown.split_whitespace().collect();
            let text = words.join(" ");
            for word in ["refuses", "password", "deploy", "done"] {
                assert!(text.contains(word), "{width}: {shown}");
            }
        }
    }

    #[test]
    fn where_there_is_room_nothing_gives_way() {
        let shown = printed(&example(), Some(200));
        assert!(shown.contains("core-banking-2026.11.tar.gz  deploy@10.1.2.3:/srv/newcx/20261124_101010/  failed: denied"), "{shown}");
        assert_eq!(shown, printed(&example(), None));
    }
}
