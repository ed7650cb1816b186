//! MySQL's option files, as far as a client needs them.
//!
//! The syntax is that of the manual's "Using Option Files" and of `my_default.c`: groups, comments,
//! quotes, escapes, `-` and `_` as the same, `loose-`. Of several values the last one counts.
//! `!include` is refused: what it leads to would have to pass the same checks of owner and mode.

use std::collections::BTreeMap;

const GROUPS: [&str; 2] = ["client", "mysnap"];

/// The options of the groups that concern us, names with underscores.
#[derive(Default, PartialEq, Eq)]
pub struct OptionFile {
    options: BTreeMap<String, Option<String>>,
}

impl OptionFile {
    /// Reads the text of an option file. An error names the line, never its content: it may be a
    /// password.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut file = Self::default();
        let mut group: Option<&str> = None;
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            let wrong = |what: &str| Err(format!("line {}: {what}", number + 1));
            if line.is_empty() || line.starts_with(['#', ';']) {
                continue;
            }
            if line.starts_with('!') {
                return wrong("!include and !includedir are not followed; put the options into this file");
            }
            if let Some(rest) = line.strip_prefix('[') {
                let Some((name, _)) = rest.split_once(']') else { return wrong("a group without its ]") };
                group = Some(name.trim());
                continue;
            }
            match group {
                None => return wrong("an option before the first [group]"),
                Some(name) if GROUPS.contains(&name) => file.set(line),
                Some(_) => {}
            }
        }
        Ok(file)
    }

    fn set(&mut self, line: &str) {
        let line = without_comment(line);
        let (name, value) = match line.split_once('=') {
            Some((name, value)) => (name, Some(unquoted(value.trim()))),
            None => (line, None),
        };
        let name = name.trim().replace('-', "_");
        let name = name.strip_prefix("loose_").unwrap_or(&name);
        self.options.insert(name.to_owned(), value);
    }

    /// The value of `name`; none where it is absent or stands without one.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.options.get(name)?.as_deref()
    }

    /// Whether `name` is there, with or without a value.
    pub fn has(&self, name: &str) -> bool {
        self.options.contains_key(name)
    }

    /// Whether `name` is there and not switched off.
    pub fn is_on(&self, name: &str) -> bool {
        let off = |value: &str| ["0", "off", "false"].contains(&value.to_ascii_lowercase().as_str());
        self.options.get(name).is_some_and(|value| !value.as_deref().is_some_and(off))
    }
}

/// The line up to a `#` outside of quotes.
fn without_comment(line: &str) -> &str {
    let mut quote = None;
    let mut escaped = false;
    for (at, c) in line.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quote.is_some() => escaped = true,
            '\'' | '"' if quote == Some(c) => quote = None,
            '\'' | '"' if quote.is_none() => quote = Some(c),
            '#' if quote.is_none() => return line.get(..at).unwrap_or_default().trim_end(),
            _ => {}
        }
    }
    line
}

fn unquoted(value: &str) -> String {
    let within = |quote| value.strip_prefix(quote)?.strip_suffix(quote);
    unescaped(within('\'').or_else(|| within('"')).unwrap_or(value))
}

fn unescaped(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    let mut characters = value.chars();
    while let Some(c) = characters.next() {
        if c != '\\' {
            text.push(c);
            continue;
        }
        match characters.next() {
            Some('n') => text.push('\n'),
            Some('t') => text.push('\t'),
            Some('r') => text.push('\r'),
            Some('b') => text.push('\u{8}'),
            Some('s') => text.push(' '),
            Some(c @ ('\\' | '"' | '\'')) => text.push(c),
            // Any other escape stays as it is written.
            other => text.extend(['\\'].into_iter().chain(other)),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_option_file_is_read_as_the_servers_own_clients_read_it() {
        let file = OptionFile::parse(
            "# comment\n; another\n[mysqld]\nuser = mysql\n\n[client]\nuser=backup\npassword = 'a#b\\'c' # why\n\
             ssl-ca=/etc/ca.pem # x\nloose_skip-ssl\nhost = first\n[mysnap]\nhost=\"second \"\nport=3307\nsocket=/a\\sb\n",
        )
        .unwrap();
        assert_eq!(file.value("user"), Some("backup"));
        assert_eq!(file.value("password"), Some("a#b'c"));
        assert_eq!(file.value("ssl_ca"), Some("/etc/ca.pem"));
        assert_eq!(file.value("host"), Some("second "));
        assert_eq!(file.value("socket"), Some("/a b"));
        assert!(file.is_on("skip_ssl"));
        assert!(!file.has("ssl_mode"));
    }

    #[test]
    fn what_is_not_understood_is_refused_without_quoting_it() {
        for text in ["!includedir /etc/mysql/conf.d", "[client", "password=geheim\n[client]"] {
            let error = OptionFile::parse(text).err().unwrap();
            assert!(error.starts_with("line 1: ") && !error.contains("geheim"), "{error}");
        }
    }

    #[test]
    fn a_switch_can_be_off() {
        let file = OptionFile::parse("[client]\nssl=0\nssl-verify-server-cert\n").unwrap();
        assert!(!file.is_on("ssl") && file.is_on("ssl_verify_server_cert") && !file.is_on("other"));
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in "(\\[client\\]\n)?(.|\n){0,60}") {
            drop(OptionFile::parse(&text));
        }
        #[test]
        fn a_quoted_value_is_read_back(value in "[^\"'\\\\\r\n\u{85}\u{2028}\u{2029}\u{b}\u{c}]{1,20}") {
            let file = OptionFile::parse(&format!("[client]\npassword=\"{value}\"")).unwrap();
            proptest::prop_assert_eq!(file.value("password"), Some(value.as_str()));
        }
    }
}
