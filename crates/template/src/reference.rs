//! The reference of functions, made from their tables: docs/reference/templates.md.

use std::fmt::Write;

use crate::functions::{ELSEWHERE, REFUSED, TABLES};

/// The page after its introduction, in Markdown.
pub fn functions() -> String {
    let mut page = String::new();
    for table in TABLES {
        // Writing to a String cannot fail.
        let _ = write!(page, "\n## {}\n| function | |\n|---|---|\n", table.title);
        for function in table.rows {
            let usage = [function.name, function.arguments].join(" ");
            let _ = writeln!(page, "| `{}` | {} |", usage.trim_end(), function.help.replace('|', "\\|"));
        }
    }
    page.push_str("\n## Refused\n");
    for (product, names) in ELSEWHERE {
        let _ = writeln!(page, "- What reads from {product}: `{}`.", names.join("`, `"));
    }
    for (name, why) in REFUSED {
        let _ = writeln!(page, "- `{name}`: {why}.");
    }
    page.push_str(
        "- Sprig's functions that make something new each time (`sprig_randAlphaNum`, `sprig_genCA`, `sprig_uuidv4` …): the \
         file would change with every look at it.\n",
    );
    page
}
