//! A line of a statement that makes a table, looked at and changed outside of quotes.

use super::rewrite::{masked, skip_name};

/// A line of a statement. What is in quotes is masked where words are looked for.
pub(super) struct Line {
    pub(super) text: String,
    mask: String,
    /// Whether the table needs it.
    pub(super) is_needed: bool,
}

impl Line {
    pub(super) fn new(text: &str) -> Self {
        Self { text: text.to_owned(), mask: masked(text), is_needed: true }
    }

    pub(super) fn has(&self, word: &str) -> bool {
        self.mask.contains(word)
    }

    /// The same of a word that has a value in quotes.
    pub(super) fn says(&self, word: &str) -> bool {
        self.text.match_indices(word).any(|(at, _)| self.is_outside(at))
    }

    fn is_outside(&self, at: usize) -> bool {
        self.mask.as_bytes().get(at) == self.text.as_bytes().get(at)
    }

    /// The type of a column, without its length; none where the line is of no column.
    pub(super) fn column_type(&self) -> Option<String> {
        let rest = self.text.strip_prefix("  ").and_then(skip_name)?.trim_start();
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
        rest.get(..end).map(str::to_ascii_lowercase)
    }

    pub(super) fn is_key(&self) -> bool {
        let begin = self.mask.trim_start();
        begin.starts_with("KEY ")
            || begin
                .split_once(" KEY ")
                .is_some_and(|(kind, _)| matches!(kind, "UNIQUE" | "PRIMARY" | "FULLTEXT" | "SPATIAL" | "VECTOR"))
    }

    /// The length of a prefix stands in parentheses too.
    pub(super) fn indexes_an_expression(&self) -> bool {
        let Some((_, parts)) = self.mask.split_once('(') else { return false };
        let mut nested = parts.match_indices('(').map(|(at, _)| parts.as_bytes().get(at + 1));
        nested.any(|next| next.is_none_or(|byte| !byte.is_ascii_digit()))
    }

    /// Where the default of a column begins.
    pub(super) fn default(&self) -> Option<usize> {
        const DEFAULT: &str = " DEFAULT ";
        self.mask.find(DEFAULT).map(|at| at + DEFAULT.len())
    }

    /// Whether the default that begins there is no literal. What every server takes as the time of now is none.
    pub(super) fn computes(&self, at: usize) -> bool {
        let rest = self.mask.get(at..).unwrap_or_default();
        let lower = rest.to_ascii_lowercase();
        let is_now = lower.starts_with("current_timestamp");
        let introduces =
            rest.split_once('\'').is_some_and(|(begin, _)| begin.starts_with('_') || matches!(begin, "b" | "x"));
        let begins = rest.bytes().next().unwrap_or(b'(');
        !(is_now || introduces || lower.starts_with("null")) && (begins == b'(' || begins.is_ascii_alphabetic())
    }

    /// MySQL wants parentheses around what is computed, and around any default of a text.
    pub(super) fn wrap_default(&mut self) {
        let is_long = self.column_type().is_some_and(|name| {
            ["text", "blob", "json"].iter().any(|word| name.ends_with(word)) || name.starts_with("geom")
        });
        let Some(begin) = self.default() else { return };
        let rest = self.mask.get(begin..).unwrap_or_default();
        let is_null = rest.to_ascii_lowercase().starts_with("null");
        let wraps = !rest.starts_with('(') && (self.computes(begin) || is_long && !is_null);
        let end = begin + end_of_expression(rest);
        if wraps && let Some(default) = self.text.get(begin..end) {
            let wrapped = format!("({default})");
            self.put(begin, end, &wrapped);
        }
    }

    fn put(&mut self, begin: usize, end: usize, with: &str) {
        if self.text.get(begin..end).is_some() {
            self.text.replace_range(begin..end, with);
            self.mask = masked(&self.text);
        }
    }

    pub(super) fn replace(&mut self, word: &str, with: &str) {
        if let Some(at) = self.mask.find(word) {
            self.put(at, at + word.len(), with);
        }
    }

    pub(super) fn replace_all(&mut self, word: &str, with: &str) {
        while self.has(word) {
            self.replace(word, with);
        }
    }

    /// Removes a comment that begins so.
    pub(super) fn replace_comment(&mut self, begin: &str) -> bool {
        let Some(at) = self.mask.find(begin) else { return false };
        let Some(length) = self.mask.get(at..).and_then(|rest| rest.find("*/")) else { return false };
        self.put(at, at + length + 2, "");
        true
    }

    /// Removes an option of a table, and says its value without quotes; a backtick in its name ends it.
    pub(super) fn remove_option(&mut self, option: &str) -> Option<String> {
        let upper = self.text.to_ascii_uppercase();
        let is_quoted = option.contains('`');
        let mut places = upper.match_indices(option).map(|(at, _)| if is_quoted { at.saturating_sub(1) } else { at });
        let is_one = |at: &usize| {
            let before = self.text.as_bytes().get(at.wrapping_sub(1));
            self.is_outside(*at)
                && before == Some(&b' ')
                && (!is_quoted || self.text.as_bytes().get(*at) == Some(&b'`'))
        };
        let at = places.find(is_one)?;
        let value = at + option.len() + usize::from(is_quoted);
        let end =
            self.mask.get(value..).and_then(|rest| rest.find(' ')).map_or(self.text.len(), |length| value + length);
        let said = self.text.get(value..end).unwrap_or_default().trim_matches(['\'', ',']).to_owned();
        self.put(at - 1, end, "");
        Some(said)
    }
}

/// Where the expression at the beginning of `mask` ends: before what else may be said of a column.
fn end_of_expression(mask: &str) -> usize {
    const BEHIND: [&str; 5] = [" ON UPDATE ", " COMMENT '", " CHECK (", " INVISIBLE", " AUTO_INCREMENT"];
    let mut depth = 0_usize;
    for (at, c) in mask.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => return at,
            ' ' if depth == 0
                && BEHIND.iter().any(|word| mask.get(at..).is_some_and(|rest| rest.starts_with(word))) =>
            {
                return at;
            }
            _ => {}
        }
    }
    mask.len()
}
