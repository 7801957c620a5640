//! `siskin serve`: translations over HTTP, in the form of LibreTranslate's. `docs/serve.md` describes it.
//!
//! One thread speaks HTTP and never computes; the workers compute and never wait for a client. Between them is a queue
//! that is full sooner than memory is.

mod answer;
mod ask;
mod http;
mod metrics;
mod models;
mod workers;

use super::load::ModelsArguments;
use super::resources::{ResourceArguments, size};
use super::search::SearchArguments;
use crate::{Error, Result};
use clap::Args;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

const EXAMPLES: &str = "\
Examples:
  siskin serve
  siskin serve -m en-de.siskin -m de-en.siskin --address 127.0.0.1:5000 --workers 2
  curl -d q='Good morning!' -d source=en -d target=de http://127.0.0.1:5000/translate";

/// Answer requests of other programs over HTTP: translate, batch, stream; a part of LibreTranslate's API.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    #[command(flatten)]
    models: ModelsArguments,
    /// Where to listen; only programs on this machine reach the default
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:5000")]
    address: SocketAddr,
    /// Requests that are computed at the same time, each on its own --threads
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    workers: u16,
    /// Requests that wait for a worker; more are refused at once
    #[arg(long, value_name = "N", default_value_t = 128)]
    queue: u16,
    /// Connections at the same time; more wait to be accepted
    #[arg(long, value_name = "N", default_value_t = 512, value_parser = clap::value_parser!(u16).range(1..))]
    connections: u16,
    /// The largest request
    #[arg(long, value_name = "SIZE", default_value = "1MB", value_parser = size)]
    max_request: u64,
    /// The most texts in a request
    #[arg(long, value_name = "N", default_value_t = 256)]
    max_texts: u16,
    /// Seconds until a request is given up, waiting included
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    time_limit: u16,
    #[command(flatten)]
    search: SearchArguments,
    #[command(flatten)]
    resources: ResourceArguments,
}

/// What a request may use.
#[derive(Clone, Copy)]
struct Limits {
    bytes: usize,
    texts: usize,
    time: Duration,
    connections: usize,
}

/// Runs the service; it ends only by an error.
///
/// # Errors
/// A model cannot be loaded, an option is wrong, or the address cannot be listened on.
pub(super) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let files = arguments.models.find(&["en-de", "de-en"])?;
    let models = models::Models::open(&files, &arguments.search, &arguments.resources)?;
    let metrics = Arc::new(metrics::Metrics::default());
    let workers = workers::Workers::start(&models, arguments.workers, arguments.queue, &metrics)?;
    let limits = Limits {
        bytes: usize::try_from(arguments.max_request).unwrap_or(usize::MAX),
        texts: arguments.max_texts.into(),
        time: Duration::from_secs(arguments.time_limit.into()),
        connections: arguments.connections.into(),
    };
    let service = Arc::new(http::Service { models, workers, metrics, limits });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Error::io("cannot start the service", error))?;
    runtime.block_on(http::listen(arguments.address, service))
}
