//! A policy as `policy fmt` writes it: two blanks per open bracket, one blank around `=` and after commas, equal signs of
//! neighbouring lines below each other. Heredocs, comments and strings stay.

/// The whole text.
pub fn format(text: &str) -> String {
    let mut lines: Vec<Line> = Vec::new();
    let mut depth = 0usize;
    let mut here: Option<String> = None;
    let mut comment = false;
    for line in text.lines() {
        if let Some(mark) = &here {
            lines.push(Line::kept(line));
            if line.trim() == mark {
                here = None;
            }
            continue;
        }
        let (opens, closes, first_closes, ends_in_comment, mark) = brackets(line.trim(), comment);
        lines.push(match comment {
            true => Line::kept(line.trim_end()),
            false => Line::code(depth.saturating_sub(first_closes), line.trim(), opens == closes && mark.is_none()),
        });
        depth = (depth + opens).saturating_sub(closes);
        comment = ends_in_comment;
        here = mark;
    }
    align(&mut lines);
    lines.into_iter().map(|line| line.text + "\n").collect()
}

struct Line {
    text: String,
    /// Where its equal sign is, if it is `name = value` and nothing more.
    equals: Option<usize>,
}

impl Line {
    fn kept(text: &str) -> Self {
        Self { text: text.to_owned(), equals: None }
    }

    fn code(depth: usize, text: &str, alone: bool) -> Self {
        if text.is_empty() {
            return Self::kept("");
        }
        let (spaced, equals) = spaced(text);
        let indent = "  ".repeat(depth);
        let equals = equals.filter(|_| alone).map(|at| at + indent.len());
        Self { text: indent + &spaced, equals }
    }
}

/// The line with its blanks in order, and where its first equal sign is.
fn spaced(line: &str) -> (String, Option<usize>) {
    let (mut out, mut equals, mut string) = (String::new(), None, false);
    let mut rest = line.chars();
    while let Some(c) = rest.next() {
        if string {
            out.push(c);
            match c {
                '\\' => out.extend(rest.next()),
                '"' => string = false,
                _ => {}
            }
            continue;
        }
        let after = rest.as_str();
        match c {
            '#' => return (out + "#" + after, equals),
            '/' | '<' if after.starts_with(['/', '*', '<']) => return (out + &c.to_string() + after, equals),
            '=' => {
                out.truncate(out.trim_end().len());
                equals = equals.or(Some(out.len() + 1));
                out.push_str(" = ");
            }
            ',' => {
                out.truncate(out.trim_end().len());
                out.push_str(", ");
            }
            ']' => {
                out.truncate(out.trim_end().len());
                out.push(']');
            }
            '{' if !out.is_empty() && !out.ends_with([' ', '[']) => out.push_str(" {"),
            c if c.is_whitespace() => {
                if !out.is_empty() && !out.ends_with([' ', '[']) {
                    out.push(' ');
                }
            }
            c => {
                string = c == '"';
                out.push(c);
            }
        }
    }
    out.truncate(out.trim_end().len());
    (out, equals)
}

fn align(lines: &mut [Line]) {
    let mut begin = 0;
    while begin < lines.len() {
        let indent = |line: &Line| line.text.len() - line.text.trim_start().len();
        let own = indent(&lines[begin]);
        let run = lines[begin..].iter().take_while(|line| line.equals.is_some() && indent(line) == own).count();
        let furthest = lines[begin..begin + run].iter().filter_map(|line| line.equals).max().unwrap_or(0);
        for line in &mut lines[begin..begin + run] {
            if let Some(at) = line.equals {
                line.text.insert_str(at, &" ".repeat(furthest - at));
            }
        }
        begin += run.max(1);
    }
}

/// Brackets outside strings and comments: opened, closed, closed before anything else; is a comment still open at the
/// end of the line; the mark of a heredoc that begins here.
fn brackets(line: &str, mut comment: bool) -> (usize, usize, usize, bool, Option<String>) {
    let (mut opens, mut closes, mut first, mut leading, mut string) = (0, 0, 0, true, false);
    let mut rest = line;
    while let Some(c) = rest.chars().next() {
        let tail = &rest[c.len_utf8()..];
        let skip = match c {
            _ if comment && rest.starts_with("*/") => {
                comment = false;
                1
            }
            _ if comment => 0,
            '\\' if string => tail.chars().next().map_or(0, char::len_utf8),
            '"' => {
                string = !string;
                0
            }
            _ if string => 0,
            '#' => break,
            '/' if tail.starts_with('/') => break,
            '/' if tail.starts_with('*') => {
                comment = true;
                1
            }
            '<' if tail.starts_with('<') => {
                let mark = tail[1..].trim_start_matches('-').trim().to_owned();
                return (opens, closes, first, comment, Some(mark));
            }
            '{' | '[' => {
                opens += 1;
                0
            }
            '}' | ']' => {
                closes += 1;
                first += usize::from(leading);
                0
            }
            _ => 0,
        };
        leading &= matches!(c, '}' | ']' | ' ' | ',');
        rest = &tail[skip..];
    }
    (opens, closes, first, comment, None)
}

#[cfg(test)]
mod tests {
    use super::format;

    #[test]
    fn lines_are_indented_and_what_must_stay_stays() {
        let text = "# c {\npath \"a/{x\" {\ncapabilities = [\n\"read\", # ]\n\"list\"\n]\n      }\n/* {\n  kept\n*/\nx = <<E\n   {\nE\ny = 1\n";
        let expected = "# c {\npath \"a/{x\" {\n  capabilities = [\n    \"read\", # ]\n    \"list\"\n  ]\n}\n/* {\n  kept\n*/\nx = <<E\n   {\nE\ny = 1\n";
        assert_eq!(format(text), expected);
        assert_eq!(format(expected), expected);
    }

    #[test]
    fn blanks_are_as_vault_writes_them() {
        let text = "path \"a,=b\"{\ncapabilities=[ \"read\",\"li\\\"st=\" ]\n  policy   =\"read\"   # a=b\n\nallowed_parameters={\n\"x\"=[]\n}\n}\n";
        let expected = "path \"a,=b\" {\n  capabilities = [\"read\", \"li\\\"st=\"]\n  policy       = \"read\" # a=b\n\n  allowed_parameters = {\n    \"x\" = []\n  }\n}\n";
        assert_eq!(format(text), expected);
        assert_eq!(format(expected), expected);
    }
}
