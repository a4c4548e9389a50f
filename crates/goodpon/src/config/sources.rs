//! Collects the values of settings from flags, environment, file and defaults.

use std::collections::{BTreeMap, HashMap};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};

use clap::{Arg, ArgMatches, Command};

use super::{ConfigError, SPECS, Secrecy, Source, Spec};

/// The variable that names the TOML file; not a setting itself.
const FILE_VARIABLE: &str = "GOODPON_CONFIG";

/// A `GOODPON_*` variable that is not a setting: test harnesses find this program by it.
const IGNORED_VARIABLE: &str = "GOODPON_BIN";

/// The settings of the command line.
#[derive(Debug, Clone, Default)]
pub struct Flags {
    /// Values by setting name.
    pub values: BTreeMap<&'static str, String>,
    /// The TOML file.
    pub file: Option<PathBuf>,
}

impl clap::Args for Flags {
    fn augment_args(command: Command) -> Command {
        let command = command.arg(
            Arg::new("config")
                .long("config")
                .value_name("FILE")
                .value_parser(clap::value_parser!(PathBuf))
                .help("TOML file with settings, keys written with _ [env: GOODPON_CONFIG]"),
        );
        SPECS.iter().fold(command, |command, spec| {
            let default = match spec.default {
                "" => String::new(),
                default => format!(" [default: {default}]"),
            };
            let arg = Arg::new(spec.name)
                .long(spec.name)
                .value_name(spec.value)
                .help(format!("{}{default}", spec.help));
            command.arg(match spec.value {
                "BOOL" => arg
                    .num_args(0..=1)
                    .require_equals(true)
                    .default_missing_value("true"),
                _ => arg,
            })
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl clap::FromArgMatches for Flags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let given = SPECS.iter().filter_map(|spec| {
            let value = matches.get_one::<String>(spec.name)?;
            Some((spec.name, value.clone()))
        });
        Ok(Self {
            values: given.collect(),
            file: matches.get_one::<PathBuf>("config").cloned(),
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// The effective value of each setting, as text, and its source.
#[derive(Debug)]
pub struct Resolved(HashMap<&'static str, (String, Source)>);

impl Resolved {
    /// Replaces the default of a setting; does nothing if a value was given.
    pub fn set_default(&mut self, name: &'static str, value: &str) {
        if let Some((text, Source::Default)) = self.0.get_mut(name) {
            value.clone_into(text);
        }
    }

    /// Returns a setting's text and source.
    ///
    /// # Errors
    /// There is no setting of that name.
    pub fn get(&self, name: &str) -> Result<(&str, &Source), ConfigError> {
        self.0
            .get(name)
            .map(|(text, source)| (text.as_str(), source))
            .ok_or_else(|| ConfigError(format!("there is no setting {name}")))
    }
}

/// Collects all settings.
///
/// # Errors
/// There is an unknown key or variable, a file that cannot be read, or a secret that is empty or given twice.
pub fn resolve(
    flags: &Flags,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Resolved, ConfigError> {
    let mut variables = Variables::collect(environment)?;
    let file = flags.file.clone().or_else(|| variables.file.take());
    let mut keys = match &file {
        Some(path) => read_file(path)?,
        None => BTreeMap::new(),
    };
    let mut all = HashMap::new();
    for spec in &SPECS {
        let from_variable = variables.value(spec)?;
        let from_file = keys.remove(&spec.key());
        let flag = flags.values.get(spec.name).cloned();
        let found = match (flag, from_variable, from_file, &file) {
            (Some(text), ..) => (text, Source::Flag),
            (None, Some((text, name)), ..) => (text, Source::Variable(name)),
            (None, None, Some(text), Some(path)) => (text, Source::File(path.clone())),
            _ => (spec.default.to_owned(), Source::Default),
        };
        all.insert(spec.name, cleaned(spec, found)?);
    }
    if let (Some(key), Some(path)) = (keys.keys().next(), &file) {
        return Err(ConfigError(format!(
            "unknown setting {key} in file {}: `goodpon config` lists the settings, written with _ in files",
            path.display()
        )));
    }
    if let Some(name) = variables.values.keys().next() {
        return Err(ConfigError(format!(
            "unknown environment variable {name}: correct or unset it; `goodpon config` lists the settings"
        )));
    }
    Ok(Resolved(all))
}

/// Trims a secret of the byte order mark and the blanks that editors and shells put around it. An empty secret that was
/// given is an error.
fn cleaned(spec: &Spec, (text, source): (String, Source)) -> Result<(String, Source), ConfigError> {
    if spec.secrecy == Secrecy::Open || source == Source::Default {
        return Ok((text, source));
    }
    match without_surroundings(&text) {
        "" => Err(ConfigError(format!(
            "{} is given and empty ({source}): put the value there, or do not give it at all",
            spec.name
        ))),
        inner => Ok((inner.to_owned(), source)),
    }
}

/// Trims a text of a byte order mark and of blanks.
pub fn without_surroundings(text: &str) -> &str {
    text.trim_start_matches('\u{feff}').trim()
}

/// Returns whether Kubernetes made a variable, for a Service whose name is `goodpon` or begins with `goodpon-`.
fn is_kubernetes_link(name: &str, value: &OsStr) -> bool {
    let is_url = || {
        let value = value.to_string_lossy();
        ["tcp://", "udp://", "sctp://"]
            .iter()
            .any(|scheme| value.starts_with(scheme))
    };
    let of_port = |protocol: &str| {
        name.split_once("_PORT_").is_some_and(|(_, rest)| {
            let rest = rest.trim_start_matches(|c: char| c.is_ascii_digit());
            let rest = rest.strip_prefix(protocol);
            rest.is_some_and(|rest| matches!(rest, "" | "_PROTO" | "_PORT" | "_ADDR"))
        })
    };
    name.ends_with("_SERVICE_HOST")
        || name.contains("_SERVICE_PORT")
        || name.ends_with("_PORT") && is_url()
        || ["_TCP", "_UDP", "_SCTP"].into_iter().any(of_port)
}

/// The `GOODPON_*` variables that no setting has taken yet.
struct Variables {
    values: BTreeMap<String, String>,
    file: Option<PathBuf>,
}

impl Variables {
    fn collect(
        environment: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Self, ConfigError> {
        let (mut values, mut file) = (BTreeMap::new(), None);
        for (name, value) in environment {
            let name = name.to_string_lossy().into_owned();
            if !name.starts_with("GOODPON_")
                || name == IGNORED_VARIABLE
                || is_kubernetes_link(&name, &value)
            {
                continue;
            }
            // Compose files and scripts set a variable to nothing when they leave it out.
            if value.is_empty() {
                continue;
            }
            if name == FILE_VARIABLE {
                file = Some(PathBuf::from(value));
                continue;
            }
            let value = value
                .into_string()
                .map_err(|_| ConfigError(format!("environment variable {name} is not UTF-8")))?;
            values.insert(name, value);
        }
        Ok(Self { values, file })
    }

    /// Takes a setting's value, and the name of the variable that it came from.
    fn value(&mut self, spec: &Spec) -> Result<Option<(String, String)>, ConfigError> {
        let name = spec.variable();
        let plain = self.values.remove(&name);
        if spec.secrecy == Secrecy::Open {
            return Ok(plain.map(|value| (value, name)));
        }
        let by_file = format!("{name}_FILE");
        match (plain, self.values.remove(&by_file)) {
            (Some(_), Some(_)) => Err(ConfigError(format!(
                "{name} and {by_file} are both set: unset one of them"
            ))),
            (None, Some(path)) => {
                let text = fs::read_to_string(&path).map_err(|error| {
                    ConfigError(format!("{by_file}: cannot read {path}: {error}"))
                })?;
                if without_surroundings(&text).is_empty() {
                    return Err(ConfigError(format!("{by_file}: {path} is empty")));
                }
                Ok(Some((text, by_file)))
            }
            (plain, None) => Ok(plain.map(|value| (value, name))),
        }
    }
}

/// Reads the keys of a TOML file, with their values as flags would have them.
fn read_file(path: &Path) -> Result<BTreeMap<String, String>, ConfigError> {
    let wrong = |what: String| ConfigError(format!("file {}: {what}", path.display()));
    let text =
        fs::read_to_string(path).map_err(|error| wrong(format!("cannot be read: {error}")))?;
    let text = text.trim_start_matches('\u{feff}');
    let table: toml::Table = text.parse().map_err(|error: toml::de::Error| {
        let before = error.span().and_then(|span| text.get(..span.start));
        let line = before.map_or(1, |before| before.matches('\n').count() + 1);
        let message = error.message().replace('\n', " ");
        wrong(format!("line {line} is not TOML: {message}"))
    })?;
    table
        .into_iter()
        .map(|(key, value)| {
            let text = plain(&value).ok_or_else(|| {
                wrong(format!(
                    "{key} is neither text, number, true, false, nor a list of texts"
                ))
            })?;
            Ok((key, text))
        })
        .collect()
}

fn plain(value: &toml::Value) -> Option<String> {
    match value {
        toml::Value::String(text) => Some(text.clone()),
        toml::Value::Integer(number) => Some(number.to_string()),
        toml::Value::Boolean(yes) => Some(yes.to_string()),
        toml::Value::Array(items) => {
            let texts: Option<Vec<&str>> = items.iter().map(toml::Value::as_str).collect();
            texts.map(|texts| texts.join(","))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests;
