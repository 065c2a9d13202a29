//! The reference of the command line in Markdown, made from the same tree that parses it.

use clap::{Arg, Command};

/// The whole document.
pub fn markdown() -> String {
    let mut root = crate::command();
    root.build();
    let mut text = String::from(
        "# The command line\n\n\
         Made from the program by `HOLDFAST_UPDATE=1 cargo test -p holdfast-cli`; do not edit.\n\n\
         Flags may be written with one dash or two, and with `=` or a blank: `-mount=secret`, `--mount secret`.\n\
         Each setting is looked for in the flag, then `HOLDFAST_…`, then `VAULT_…`. The token comes from \
         `HOLDFAST_TOKEN`, `VAULT_TOKEN`, or `~/.vault-token`.\n\n\
         Exit codes: 0 done; 1 wrong use or a fault on this machine; 2 the server refused or was not reached \
         (`status`: 2 when sealed; `operator fsck`: 2 when not clean).\n",
    );
    text.push_str("\n## Flags of every command\n\n");
    let globals: Vec<&Arg> = root.get_arguments().filter(|arg| arg.is_global_set()).collect();
    text.push_str(&table(&globals));
    for command in visible(&root) {
        section(command, "holdfast", 2, &mut text);
    }
    text
}

fn visible(command: &Command) -> impl Iterator<Item = &Command> {
    // clap's own "help" of subcommands takes their names; `auth help` is a command of ours.
    let claps = |sub: &Command| sub.get_name() == "help" && sub.get_arguments().all(|arg| arg.get_id() != "method");
    command.get_subcommands().filter(move |sub| !sub.is_hide_set() && !claps(sub))
}

fn section(command: &Command, parent: &str, level: usize, text: &mut String) {
    let name = format!("{parent} {}", command.get_name());
    text.push_str(&format!("\n{} {name}\n", "#".repeat(level)));
    if let Some(about) = command.get_about() {
        text.push_str(&format!("\n{about}\n"));
    }
    let own: Vec<&Arg> = command.get_arguments().filter(|arg| !arg.is_global_set() && arg.get_id() != "help").collect();
    if command.get_subcommands().next().is_none() {
        text.push_str(&format!("\n```console\n{}\n```\n", usage(&name, &own)));
    }
    if !own.is_empty() {
        text.push('\n');
        text.push_str(&table(&own));
    }
    for sub in visible(command) {
        section(sub, &name, level + 1, text);
    }
}

fn usage(name: &str, arguments: &[&Arg]) -> String {
    let mut words = vec![format!("$ {name}")];
    if arguments.iter().any(|arg| !arg.is_positional() && !arg.is_hide_set()) {
        words.push("[flags]".to_owned());
    }
    for arg in arguments.iter().filter(|arg| arg.is_positional()) {
        let many = arg.get_num_args().is_some_and(|range| range.max_values() > 1);
        let word = format!("{}{}", arg.get_id().as_str().to_lowercase(), if many { "…" } else { "" });
        words.push(if arg.is_required_set() { format!("<{word}>") } else { format!("[{word}]") });
    }
    words.join(" ")
}

fn table(arguments: &[&Arg]) -> String {
    let mut text = String::from("| | |\n|---|---|\n");
    for arg in arguments.iter().filter(|arg| !arg.is_hide_set()) {
        let switch = arg.is_require_equals_set();
        let value = arg.get_value_names().and_then(|names| names.first()).map(ToString::to_string);
        let name = match (arg.get_long(), value) {
            (Some(long), Some(value)) if !switch => format!("-{long}={}", value.to_lowercase()),
            (Some(long), _) => format!("-{long}"),
            (None, _) => arg.get_id().as_str().to_lowercase(),
        };
        let help = arg.get_help().map(ToString::to_string).unwrap_or_default().replace('|', "\\|");
        text.push_str(&format!("| `{name}` | {help} |\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_reference_is_up_to_date() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reference/cli.md");
        let text = super::markdown();
        if std::env::var_os("HOLDFAST_UPDATE").is_some() {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, &text).unwrap();
        }
        let stored = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(stored == text, "run HOLDFAST_UPDATE=1 cargo test -p holdfast-cli");
    }
}
