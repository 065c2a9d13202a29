//! The command line, with flags as Vault's agent takes them: `-x=y`, `-x y`, `--x=y`.

use std::path::PathBuf;

/// Environment variable that names the configuration file.
const FILE_ENV: &str = "HOLDFAST_AGENT_CONFIG_FILE";

/// For `help`.
pub const HELP: &str = "\
Usage: holdfast-agent [command] [options]

  Logs in, renders templates, renews what they hold, and passes requests on.

      $ holdfast-agent -config=/etc/holdfast/agent.hcl
      $ holdfast agent -config=agent.hcl -exit-after-auth

Commands:

  run                   Render, then keep everything fresh until told to end (the default).
  init                  Render once and end.
  ready                 Exit 0 if everything has been rendered: for probes. Needs status_dir.
  rotate [<item>]       Have the running agent replace the credentials of one item, or all, and tell how it went. Needs
                        status_dir, and the container of the agent.
  quit                  End the agent behind the configured listener (agent_api { enable_quit = true }).
  copy <path>           Copy this program: for images that have none.
  version               Print the version.

Options:

  -config=<path>        File or folder in the format of Vault's agent, HCL or JSON. May be given more than once. Without
                        it the environment variable HOLDFAST_AGENT_CONFIG holds the document of the injector.
  -exit-after-auth      As init.
  -log-level=<level>    trace, debug, info, warn or error.
  -log-format=<format>  text or json.

Exit codes: 0 done, 2 configuration, 3 login refused, 4 permission denied, 5 not found, 6 server away, 7 template or file;
with exec that of the program.
";

/// What is to be done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Command {
    /// Render and stay.
    #[default]
    Run,
    /// Render once.
    Init,
    /// Is everything rendered?
    Ready,
    /// Have another agent replace the credentials of an item, or of all.
    Rotate(Option<String>),
    /// End another agent.
    Quit,
    /// Copy the program.
    Copy(PathBuf),
    /// Print the version.
    Version,
    /// Print the help.
    Help,
}

/// What was asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Arguments {
    /// What is to be done.
    pub command: Command,
    /// Files and folders.
    pub config: Vec<PathBuf>,
    /// `-log-level`
    pub log_level: Option<String>,
    /// `-log-format`
    pub log_format: Option<String>,
}

/// Reads what follows the program's name.
pub fn parse(
    words: impl IntoIterator<Item = String>,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<Arguments, String> {
    let mut arguments = Arguments::default();
    let mut words = words.into_iter();
    let mut named = false;
    while let Some(word) = words.next() {
        let Some(option) = word.strip_prefix('-').map(|option| option.strip_prefix('-').unwrap_or(option)) else {
            if let Command::Rotate(item @ None) = &mut arguments.command {
                *item = Some(word);
                continue;
            }
            if named {
                return Err(format!("{word:?} is one word too many; see help"));
            }
            named = true;
            arguments.command = match word.as_str() {
                "run" => Command::Run,
                "init" => Command::Init,
                "ready" => Command::Ready,
                "rotate" => Command::Rotate(None),
                "quit" => Command::Quit,
                "copy" => Command::Copy(words.next().ok_or("copy: where to?")?.into()),
                "version" => Command::Version,
                "help" => Command::Help,
                other => return Err(format!("unknown command {other:?}; see help")),
            };
            continue;
        };
        let (name, value) = match option.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (option, None),
        };
        let mut value_of =
            || value.clone().or_else(|| words.next()).ok_or_else(|| format!("option -{name} needs a value"));
        match name {
            "config" => arguments.config.push(value_of()?.into()),
            "log-level" => arguments.log_level = Some(value_of()?),
            "log-format" => arguments.log_format = Some(value_of()?),
            "exit-after-auth" => match value.as_deref() {
                None | Some("true" | "1") => arguments.command = Command::Init,
                Some("false" | "0") => {}
                Some(_) => return Err("option -exit-after-auth takes true or false, or nothing".to_owned()),
            },
            "version" | "v" => arguments.command = Command::Version,
            "help" | "h" => arguments.command = Command::Help,
            _ => return Err(format!("unknown option {word:?}; see help")),
        }
    }
    if arguments.config.is_empty() {
        arguments.config.extend(environment(FILE_ENV).filter(|file| !file.is_empty()).map(PathBuf::from));
    }
    Ok(arguments)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Arguments, String> {
        parse(line.split_whitespace().map(str::to_owned), &|_| None)
    }

    #[test]
    fn flags_are_written_in_all_the_ways_of_vault() {
        for line in ["-config=a -config b", "--config=a --config b", "run -config a -config=b"] {
            assert_eq!(parsed(line).unwrap().config, [PathBuf::from("a"), PathBuf::from("b")], "{line}");
        }
        assert_eq!(parsed("-config=a -exit-after-auth").unwrap().command, Command::Init);
        assert_eq!(parsed("copy /bin/agent").unwrap().command, Command::Copy("/bin/agent".into()));
        assert_eq!(parsed("rotate").unwrap().command, Command::Rotate(None));
        assert_eq!(parsed("rotate db -config=a").unwrap().command, Command::Rotate(Some("db".to_owned())));
        for line in ["-nope", "dance", "rotate db web", "-config", "run init", "copy", "-exit-after-auth=maybe"] {
            assert!(parsed(line).is_err(), "{line}");
        }
    }

    #[test]
    fn the_environment_names_a_file_where_no_option_does() {
        let environment = |name: &str| (name == FILE_ENV).then(|| "from-env".to_owned());
        assert_eq!(parse([], &environment).unwrap().config, [PathBuf::from("from-env")]);
        assert_eq!(parse(["-config=x".to_owned()], &environment).unwrap().config, [PathBuf::from("x")]);
    }
}
