//! Where options come from: a file, the environment, the command line, each stronger than the one before.
//!
//! The command line's own parser reads all of them: `--max-connections` is `FANTAIL_MAX_CONNECTIONS` in the environment and
//! `max-connections` in the file, whose values take the place of the defaults. Routes alone have no flag. It refuses keys of
//! the file that nobody knows, and says which one was probably meant.

use std::ffi::OsString;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::{fs, io};

use clap::{Arg, ArgMatches, Args, Command};
use serde::Deserialize;
use serde::de::IntoDeserializer;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::arguments::Arguments;
use super::route::Route;

/// The option that names the file.
const FILE: &str = "config";
/// The key of the file that has no flag.
const ROUTE: &str = "route";
/// How like a known name an unknown one must be to have been meant for it: a letter or two are wrong.
const LIKENESS_MIN: f64 = 0.8;

/// Options as they were given, by whichever source is the strongest.
pub(crate) struct Given {
    pub(crate) matches: ArgMatches,
    pub(crate) routes: Vec<Route>,
}

/// Reads the options of `command` and, if they name a file, those of the file.
///
/// # Errors
/// What is wrong with them, or what the command says instead of running, as its help.
pub(crate) fn read(command: Command, arguments: &[OsString]) -> Result<Given, SourceError> {
    let command = amend(command, &|arg| match arg.get_long() {
        Some(name) => {
            let variable = variable(name);
            arg.env(variable).hide_env(true)
        }
        None => arg,
    });
    let matches = command.clone().try_get_matches_from(arguments)?;
    let serve = matches.subcommand_matches("serve").unwrap_or(&matches);
    let Ok(Some(path)) = serve.try_get_one::<PathBuf>(FILE) else {
        return Ok(Given { matches, routes: Vec::new() });
    };
    let file = File::read(path)?;
    let command = amend(command, &|arg| {
        let values = arg.get_long().and_then(|name| file.values.iter().find(|(other, _)| other == name));
        match values {
            Some((_, values)) => arg.default_values(values.clone()),
            None => arg,
        }
    });
    Ok(Given { matches: command.try_get_matches_from(arguments)?, routes: file.routes })
}

/// Changes the options of the server, which are also those of the command without a name.
fn amend(command: Command, change: &impl Fn(Arg) -> Arg) -> Command {
    command.mut_args(change).mut_subcommand("serve", |serve| serve.mut_args(change))
}

fn variable(name: &str) -> String {
    format!("FANTAIL_{}", name.to_ascii_uppercase().replace('-', "_"))
}

/// What a file says.
struct File {
    /// The values of options, by their names.
    values: Vec<(String, Vec<String>)>,
    routes: Vec<Route>,
}

impl File {
    fn read(path: &Path) -> Result<File, SourceError> {
        let text =
            fs::read_to_string(path).map_err(|error| SourceError::Unreadable { path: path.to_path_buf(), error })?;
        File::parse(&text).map_err(|(problem, span)| {
            let line = 1 + text[..span.unwrap_or_default().start].bytes().filter(|byte| *byte == b'\n').count();
            SourceError::File { path: path.to_path_buf(), line, problem }
        })
    }

    fn parse(text: &str) -> Result<File, (String, Option<Range<usize>>)> {
        let table = DeTable::parse(text).map_err(|error| (error.message().to_owned(), error.span()))?;
        let mut file = File { values: Vec::new(), routes: Vec::new() };
        for (key, value) in table.into_inner() {
            let (name, at) = (key.get_ref().as_ref(), value.span());
            if name == ROUTE {
                file.routes = Vec::deserialize(value.into_deserializer())
                    .map_err(|error| (explain(error.message()), error.span().or(Some(at))))?;
                continue;
            }
            let command = Arguments::augment_args(Command::new("file").no_binary_name(true));
            know(&command, name).map_err(|problem| (problem, Some(key.span())))?;
            let values = values(&value).map_err(|problem| (format!("{name}: {problem}"), Some(at.clone())))?;
            check(command, name, &values).map_err(|problem| (problem, Some(at)))?;
            file.values.push((name.to_owned(), values));
        }
        Ok(file)
    }
}

/// What an option is given as: a text, a number, or several.
fn values(value: &Spanned<DeValue<'_>>) -> Result<Vec<String>, &'static str> {
    match value.get_ref() {
        DeValue::String(text) => Ok(vec![text.clone().into_owned()]),
        DeValue::Integer(number) => Ok(vec![number.to_string()]),
        DeValue::Array(all) => {
            let all: Vec<_> = all.iter().map(values).collect::<Result<_, _>>()?;
            Ok(all.into_iter().flatten().collect())
        }
        DeValue::Boolean(_) | DeValue::Float(_) | DeValue::Datetime(_) | DeValue::Table(_) => {
            Err("a text or a whole number is wanted")
        }
    }
}

/// Whether there is such an option.
fn know(command: &Command, name: &str) -> Result<(), String> {
    let options = command.get_arguments().filter_map(Arg::get_long).filter(|known| *known != FILE);
    let known: Vec<&str> = options.chain([ROUTE]).collect();
    match known.contains(&name) {
        true => Ok(()),
        false => Err(unknown(name, &known)),
    }
}

/// Whether the option takes these values.
fn check(command: Command, name: &str, values: &[String]) -> Result<(), String> {
    let arguments = values.iter().map(|value| format!("--{name}={value}"));
    match command.try_get_matches_from(arguments) {
        Ok(_) => Ok(()),
        Err(error) => {
            let text = error.to_string();
            let said = text.split("\n\n").next().unwrap_or_default();
            Err(said.strip_prefix("error: ").unwrap_or(said).to_owned())
        }
    }
}

fn unknown(name: &str, known: &[&str]) -> String {
    let likeness = |known: &&&str| (strsim::jaro_winkler(name, known) * 1000.0) as u32;
    match known.iter().max_by_key(likeness).filter(|known| strsim::jaro_winkler(name, known) >= LIKENESS_MIN) {
        Some(meant) => format!("there is no key `{name}`; did you mean `{meant}`?"),
        None => format!("there is no key `{name}`; there are {}", known.join(", ")),
    }
}

/// What serde says, with a suggestion: it quotes the unknown name first and then all that are known.
fn explain(message: &str) -> String {
    let mut quoted = message.split('`').skip(1).step_by(2);
    match quoted.next() {
        Some(name) if message.starts_with("unknown field") => unknown(name, &quoted.collect::<Vec<_>>()),
        Some(_) | None => message.to_owned(),
    }
}

/// Why there are no options.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SourceError {
    /// Arguments or variables are wrong, or ask for something else than to run.
    #[error(transparent)]
    Arguments(#[from] clap::Error),
    /// The file can't be read.
    #[error("{} can't be read: {error}", path.display())]
    Unreadable { path: PathBuf, error: io::Error },
    /// The file is wrong.
    #[error("{}, line {line}: {problem}", path.display())]
    File { path: PathBuf, line: usize, problem: String },
}
