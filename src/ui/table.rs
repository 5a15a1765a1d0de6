//! Tables as kubectl prints them: no lines, columns three spaces apart. It knows nothing of what stands in them.

use comfy_table::{Table as Grid, presets};

/// A table of text.
#[derive(Debug, Clone, Default)]
pub struct Table {
    header: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// Makes a table with these column names; they are printed in capitals.
    pub fn new<I: IntoIterator<Item = S>, S: AsRef<str>>(header: I) -> Self {
        Self {
            header: header.into_iter().map(|h| h.as_ref().to_uppercase()).collect(),
            rows: Vec::new(),
        }
    }

    /// Adds a row. A cell is one line.
    pub fn row<I: IntoIterator<Item = S>, S: Into<String>>(&mut self, cells: I) {
        let cell = |cell: S| -> String { cell.into().replace(['\n', '\r', '\t'], " ") };
        self.rows.push(cells.into_iter().map(cell).collect());
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Returns the table as text; `header` says whether the column names stand above it.
    pub fn render(&self, header: bool) -> String {
        let mut grid = Grid::new();
        grid.load_style(presets::NOTHING);
        grid.set_content_arrangement(comfy_table::ContentArrangement::Disabled);
        if header {
            grid.add_row(&self.header);
        }
        for row in &self.rows {
            grid.add_row(row);
        }
        for column in grid.column_iter_mut() {
            column.set_padding((0, 3));
        }
        let mut text = String::new();
        for line in grid.lines() {
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_nothing_stands_behind_the_last() {
        let mut table = Table::new(["name", "Age"]);
        table.row(["a", "5s"]);
        table.row(["longer-name", ""]);
        assert_eq!(
            table.render(true),
            "NAME          AGE\na             5s\nlonger-name\n"
        );
        assert_eq!(table.render(false), "a             5s\nlonger-name\n");
    }
}
