//! Columns of text.

/// Lines of `rows` under `header`, each column as wide as its widest cell, three blanks between, as Docker prints them.
pub(crate) fn table<const N: usize>(header: [&str; N], rows: &[[String; N]]) -> String {
    let mut widths = header.map(|cell| cell.chars().count());
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    line(&mut text, &widths, header.iter().copied());
    for row in rows {
        line(&mut text, &widths, row.iter().map(String::as_str));
    }
    text
}

fn line<'a>(text: &mut String, widths: &[usize], cells: impl Iterator<Item = &'a str>) {
    let mut blanks = 0;
    for (cell, width) in cells.zip(widths) {
        if cell.is_empty() {
            blanks += width + 3;
            continue;
        }
        text.extend(std::iter::repeat_n(' ', blanks));
        text.push_str(cell);
        blanks = width + 3 - cell.chars().count();
    }
    text.push('\n');
}

#[cfg(test)]
mod tests {
    #[test]
    fn columns_line_up_and_no_line_ends_in_blanks() {
        let rows = [
            ["a".to_owned(), "long one".to_owned()],
            ["bbbb".to_owned(), String::new()],
        ];
        assert_eq!(
            super::table(["X", "Y"], &rows),
            "X      Y\na      long one\nbbbb\n"
        );
    }
}
