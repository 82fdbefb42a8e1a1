//! The command line: few words, so no crate reads it.

use std::ffi::OsString;
use std::path::PathBuf;

use super::error::ProgramError;

pub(super) const HELP: &str = "\
Redirects from memory, kept up to date by a control plane (edge.control_url); no database.

Usage: carom-edge [OPTIONS] [COMMAND]

Commands:
  serve           Answer visitors until SIGTERM (what carom-edge alone does)
  healthcheck     Ask the edge with these settings whether it is ready; exit code 1: no
  config check    Check the settings, and open nothing
  spool retry     Give batches that were set aside back, to be stored at the next start; while nobody serves

Options:
  --config FILE      Settings file [default: carom.toml, if it is there]
  --data-dir DIR     Folder of the click spool and of what is known [default: ./carom-data]
  --set NAME=VALUE   One setting by its name, such as edge.listen=0.0.0.0:80; may be repeated
  --help, --version

Settings: defaults < file < environment (CAROM_EDGE__LISTEN, ...) < options.
";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Command {
    Serve,
    Healthcheck,
    CheckConfig,
    RetrySpool,
    Help,
    Version,
}

/// Where settings come from beside the environment.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct SettingsArgs {
    pub(super) config: Option<PathBuf>,
    /// Names and values.
    pub(super) set: Vec<(String, String)>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Invocation {
    pub(super) command: Command,
    pub(super) args: SettingsArgs,
}

/// Reads the arguments after the program's name.
pub(super) fn parse(arguments: Vec<OsString>) -> Result<Invocation, ProgramError> {
    let mut args = SettingsArgs::default();
    let mut words = Vec::new();
    let mut rest = arguments.into_iter().map(|argument| {
        argument.into_string().map_err(|_| ProgramError::Usage("an argument is no text".into()))
    });
    while let Some(argument) = rest.next().transpose()? {
        let (name, joined) = match argument.split_once('=') {
            Some((name, value)) if name.starts_with("--") => {
                (name.to_owned(), Some(value.to_owned()))
            }
            _ => (argument, None),
        };
        let mut value = || match joined.clone() {
            Some(value) => Ok(value),
            None => {
                let missing = || ProgramError::Usage(format!("{name} needs a value"));
                rest.next().transpose()?.ok_or_else(missing)
            }
        };
        match name.as_str() {
            "--config" => args.config = Some(value()?.into()),
            "--data-dir" => args.set.push(("data_dir".to_owned(), value()?)),
            "--set" => {
                let text = value()?;
                let wrong = || {
                    let example = "write NAME=VALUE, for example --set edge.listen=0.0.0.0:80";
                    ProgramError::Usage(format!("--set {text}: {example}"))
                };
                let (name, value) = text.split_once('=').ok_or_else(wrong)?;
                args.set.push((name.to_owned(), value.to_owned()));
            }
            _ => words.push(name),
        }
    }
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let command = match words.as_slice() {
        [] | ["serve"] => Command::Serve,
        ["healthcheck"] => Command::Healthcheck,
        ["config", "check"] => Command::CheckConfig,
        ["spool", "retry"] => Command::RetrySpool,
        ["--help" | "-h" | "help"] => Command::Help,
        ["--version" | "-V"] => Command::Version,
        other => {
            let said = other.join(" ");
            return Err(ProgramError::Usage(format!("{said}: see carom-edge --help")));
        }
    };
    Ok(Invocation { command, args })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Invocation, String> {
        let arguments = text.split_whitespace().map(OsString::from).collect();
        parse(arguments).map_err(|error| error.to_string())
    }

    #[test]
    fn commands_and_options_stand_in_any_order() {
        for (text, command) in [
            ("", Command::Serve),
            ("serve", Command::Serve),
            ("healthcheck", Command::Healthcheck),
            ("config check", Command::CheckConfig),
            ("spool retry", Command::RetrySpool),
            ("--help", Command::Help),
            ("-V", Command::Version),
        ] {
            assert_eq!(parsed(text).unwrap().command, command, "{text}");
        }
        let set = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let args = SettingsArgs {
            config: Some("c.toml".into()),
            set: vec![set("data_dir", "/d"), set("edge.listen", "[::]:80")],
        };
        let expected = Ok(Invocation { command: Command::CheckConfig, args });
        for text in [
            "--config c.toml config --data-dir /d check --set edge.listen=[::]:80",
            "config check --config=c.toml --data-dir=/d --set=edge.listen=[::]:80",
        ] {
            assert_eq!(parsed(text), expected, "{text}");
        }
    }

    #[test]
    fn what_is_not_understood_is_named() {
        for text in ["srve", "config", "--port 80", "--config", "--set edge.listen", "serve serve"]
        {
            let error = parsed(text).unwrap_err();
            assert!(error.contains(text.split(' ').next().unwrap()), "{error}");
        }
    }
}
