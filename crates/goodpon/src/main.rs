//! The program of Goodpon, a platform on which merchants publish coupons and their shops issue, list, redeem and cancel
//! them.
//!
//! It reads settings and their sources, chooses the back ends (`backends.rs`), wires adapters to ports (`wiring.rs`), runs
//! the roles up to their orderly stop (`serve.rs`), and has the subcommands. A wrong setting ends the start with one line
//! that says what to do. No rule is decided here. Only this crate and `goodpon-scaled` name adapters.

mod admin_address;
mod backends;
mod clock;
mod config;
mod demo;
mod failed;
mod guessing;
mod health;
mod healthcheck;
mod maintenance;
mod metric;
mod open_files;
mod parked;
mod passwords;
mod random;
mod role;
mod secrets;
mod serve;
mod tokens;
mod wiring;
mod work;

use std::io::{ErrorKind, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};

use config::{Flags, Resolved, Settings};
use failed::Failed;
use role::Role;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Coupons over HTTP: on one machine with nothing else to install, or scaled out on MySQL, Valkey and Kafka.
#[derive(Parser)]
#[command(version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve the dashboard, partner and admin ports.
    Serve {
        #[command(flatten)]
        role: RoleFlags,
        /// Create an account, a merchant and templates to try, and print commands that use them; listens on this machine
        /// alone unless the addresses are given
        #[arg(long)]
        demo: bool,
    },
    /// Serve the dashboard and admin ports of a scaled-out set, run its sweeps and send its mails.
    Dashboard(RoleFlags),
    /// Serve the partner and admin ports of a scaled-out set.
    Partner(RoleFlags),
    /// Write the coupons of accepted issues of a scaled-out set.
    Issuer(RoleFlags),
    /// Migrate the database of a scaled-out set and create its topic; safe to repeat.
    Migrate {
        #[command(flatten)]
        flags: Flags,
        /// If the topic was created anew, or has lost accepted issues that were not written yet, continue with what it
        /// has: customers whose issue of those coupons was answered 200 do not get them
        #[arg(long)]
        skip_lost: bool,
    },
    /// List, retry or discard events of a scaled-out set that could not be written as coupons.
    Parked {
        #[command(flatten)]
        flags: Flags,
        #[command(subcommand)]
        action: parked::Action,
    },
    /// Recompute every counter, limit and state; exit code 1 if there are differences, 2 if not everything could be
    /// checked.
    Verify {
        #[command(flatten)]
        flags: Flags,
    },
    /// Copy the database to FILE and check the copy; a server may be running.
    Backup {
        #[command(flatten)]
        store: StoreFlags,
        /// The file to write; must not exist.
        file: PathBuf,
    },
    /// Restore a backup into an empty data folder.
    Restore {
        #[command(flatten)]
        store: StoreFlags,
        /// A file that `backup` wrote.
        file: PathBuf,
    },
    /// Print an API's OpenAPI 3.1 description as JSON.
    Openapi {
        /// The API.
        api: Api,
    },
    /// Print all metrics with their meanings, as Markdown.
    Metrics,
    /// Print mails, newest first; a server may be running.
    Mailbox {
        #[command(flatten)]
        flags: Flags,
        /// Print only mails to this address.
        #[arg(long, value_name = "ADDRESS")]
        to: Option<String>,
        /// Print a JSON array.
        #[arg(long)]
        json: bool,
    },
    /// Print the value of every setting and its source.
    Config {
        #[command(flatten)]
        flags: Flags,
        /// Print a JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Ask a running server whether it is ready; exit code 1 if not.
    Healthcheck {
        /// The address of its admin port, if neither the settings nor its data folder lead there.
        #[arg(long, value_name = "HOST:PORT")]
        admin_addr: Option<String>,
        /// Its data folder.
        #[arg(long, value_name = "DIR")]
        data_dir: Option<String>,
        /// TOML file with settings.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
}

/// The flags of every command that serves.
#[derive(Args)]
struct RoleFlags {
    #[command(flatten)]
    flags: Flags,
    /// Say whether this program could serve with these settings, also beside one that does, and end.
    #[arg(long)]
    check: bool,
}

#[derive(Args)]
struct StoreFlags {
    /// Folder that holds the database.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<String>,
    /// TOML file with settings.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Api {
    Dashboard,
    Partner,
}

fn main() -> ExitCode {
    let result = run(Cli::parse().command);
    let (output, code) = match &result {
        Ok(output) => (output, 0),
        Err(failed) => (&failed.output, failed.code),
    };
    let written = print(output);
    let (message, code) = match (result, written) {
        (Err(failed), _) => (Some(failed), code),
        (Ok(_), Err(failed)) => (Some(failed), 1),
        (Ok(_), Ok(())) => (None, code),
    };
    if let Some(message) = message {
        eprintln!("goodpon: {message}");
    }
    ExitCode::from(code)
}

/// Runs a command, and returns its output for stdout.
fn run(command: Command) -> Result<String, Failed> {
    match command {
        Command::Serve { role, demo } => {
            let mut all = resolve(&role.flags)?;
            if demo {
                // A demo is for this machine alone, unless addresses are given.
                all.set_default("dashboard-addr", "127.0.0.1:8080");
                all.set_default("partner-addr", "127.0.0.1:8081");
            }
            role.serve(Settings::check(&all)?, Role::All, demo)
        }
        Command::Dashboard(flags) => flags.serve_part(Role::Dashboard),
        Command::Partner(flags) => flags.serve_part(Role::Partner),
        Command::Issuer(flags) => flags.serve_part(Role::Issuer),
        Command::Migrate { flags, skip_lost } => maintenance::migrate(&checked(&flags)?, skip_lost),
        Command::Parked { flags, action } => parked::run(&checked(&flags)?, &action),
        Command::Verify { flags } => {
            let settings = checked(&flags);
            let settings =
                settings.map_err(|failed| failed.with_code(maintenance::COULD_NOT_RUN))?;
            maintenance::verify(&settings)
        }
        Command::Backup { store, file } => maintenance::backup(&store.settings()?, &file),
        Command::Restore { store, file } => maintenance::restore(&store.settings()?, &file),
        Command::Openapi { api } => openapi(api),
        Command::Metrics => Ok(metric::page()),
        Command::Mailbox { flags, to, json } => {
            maintenance::mailbox(&checked(&flags)?, to.as_deref(), json)
        }
        Command::Config { flags, json } => {
            let all = resolve(&flags)?;
            Settings::check(&all)?;
            Ok(match json {
                true => format!("{:#}\n", config::as_json(&all)?),
                false => config::as_table(&all)?,
            })
        }
        Command::Healthcheck {
            admin_addr,
            data_dir,
            config,
        } => {
            let is_given = admin_addr.is_some();
            let values = [("admin-addr", admin_addr), ("data-dir", data_dir)];
            let settings = settings_with(values, config)?;
            let noted = match is_given {
                true => None,
                false => admin_address::find(&settings.data_dir, &settings.admin_addr),
            };
            healthcheck::run(&noted.unwrap_or(settings.admin_addr))?;
            Ok(String::new())
        }
    }
}

impl RoleFlags {
    fn serve_part(self, role: Role) -> Result<String, Failed> {
        let settings = checked(&self.flags)?;
        self.serve(settings, role, false)
    }

    fn serve(self, settings: Settings, role: Role, demo: bool) -> Result<String, Failed> {
        match self.check {
            true => serve::check(&settings, role),
            false => serve::run(settings, role, demo).map(|()| String::new()),
        }
    }
}

impl StoreFlags {
    fn settings(self) -> Result<Settings, Failed> {
        settings_with([("data-dir", self.data_dir)], self.config)
    }
}

/// Returns the settings of a command that has flags for these settings and the file only.
fn settings_with(
    values: impl IntoIterator<Item = (&'static str, Option<String>)>,
    file: Option<PathBuf>,
) -> Result<Settings, Failed> {
    let given = values
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)));
    let values = given.collect();
    Ok(Settings::check(&resolve(&Flags { values, file })?)?)
}

fn checked(flags: &Flags) -> Result<Settings, Failed> {
    Ok(Settings::check(&resolve(flags)?)?)
}

fn resolve(flags: &Flags) -> Result<Resolved, Failed> {
    Ok(config::resolve(flags, std::env::vars_os())?)
}

fn openapi(api: Api) -> Result<String, Failed> {
    let description = match api {
        Api::Dashboard => goodpon_http::dashboard::document(),
        Api::Partner => goodpon_http::partner::document(),
    };
    let mut text = description.to_pretty_json().map_err(Failed::new)?;
    text.push('\n');
    Ok(text)
}

/// Writes to stdout. A closed pipe (`goodpon mailbox | head`) is not an error.
fn print(text: &str) -> Result<(), Failed> {
    let mut stdout = std::io::stdout().lock();
    match stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
    {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Failed::new(format!("cannot write to stdout: {error}")))
        }
        _ => Ok(()),
    }
}
