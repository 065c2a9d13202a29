//! Flags as Vault's users type them: `-mount=secret`, `-mount secret`, `-force`, `-force=false`.

use std::ffi::OsString;

use clap::{ArgAction, Command, builder::BoolValueParser};

/// Turns `-word` into `--word`, up to `--`. A dash alone (standard input) and negative numbers stay.
pub fn rewrite(arguments: Vec<OsString>) -> Vec<OsString> {
    let mut open = true;
    let rewrite = |(index, argument): (usize, OsString)| {
        let Some(text) = argument.to_str() else { return argument };
        open &= text != "--";
        let word = text.strip_prefix('-').filter(|word| word.starts_with(|c: char| c.is_ascii_alphabetic()));
        match word {
            Some("h") if open && index > 0 => "--help".into(),
            Some(word) if open && index > 0 => format!("--{word}").into(),
            _ => argument,
        }
    };
    arguments.into_iter().enumerate().map(rewrite).collect()
}

/// Lets every switch also take `=true` and `=false`, in this command and all below it.
pub fn lenient(mut command: Command) -> Command {
    command = command.mut_args(|arg| match arg.get_action() {
        ArgAction::SetTrue => arg
            .action(ArgAction::Set)
            .value_parser(BoolValueParser::new())
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("true")
            .default_value("false")
            .hide_default_value(true)
            .hide_possible_values(true)
            .value_name("BOOL"),
        _ => arg,
    });
    let names: Vec<String> = command.get_subcommands().map(|sub| sub.get_name().to_owned()).collect();
    names.into_iter().fold(command, |command, name| command.mut_subcommand(name, lenient))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rewritten(text: &str) -> String {
        let arguments = text.split(' ').map(OsString::from).collect();
        let words: Vec<_> = rewrite(arguments).into_iter().map(|word| word.into_string().unwrap()).collect();
        words.join(" ")
    }

    #[test]
    fn one_dash_becomes_two() {
        assert_eq!(rewritten("hf kv put -mount=secret -cas 1 a b=-c"), "hf kv put --mount=secret --cas 1 a b=-c");
        assert_eq!(rewritten("hf login - -1 --x -h"), "hf login - -1 --x --help");
        assert_eq!(rewritten("hf write -f a -- -b"), "hf write --f a -- -b");
    }
}
