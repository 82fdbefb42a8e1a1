//! What an experiment is made on: an installation that runs already, or one that it starts itself.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::Args;

use crate::api::{Api, ApiClient};
use crate::failure::Failure;
use crate::installation::{Installation, Server};
use crate::process::{Cost, CpuSample};

/// Where to find, or how to start, the Carom under test.
#[derive(Debug, Args)]
pub(crate) struct SubjectArgs {
    /// Start this `carom` with an empty data folder and ports of its own, and stop it at the end.
    /// Without it, a running installation is used.
    #[arg(long, value_name = "PROGRAM", conflicts_with_all = ["edge", "control", "host", "pid"])]
    carom: Option<PathBuf>,
    #[command(flatten)]
    place: PlaceArgs,
    /// Where the running installation redirects.
    #[arg(long, default_value = "127.0.0.1:8080")]
    edge: SocketAddr,
    /// Where the running installation has its API.
    #[arg(long, default_value = "127.0.0.1:8081")]
    control: SocketAddr,
    /// Host of the short URLs, as its visitors send it [default: the address of --edge].
    #[arg(long)]
    host: Option<String>,
    /// API key of the running installation.
    #[arg(long, env = "LOADTEST_KEY", hide_env_values = true)]
    key: Option<String>,
    /// Process of the running installation, for its CPU time and memory.
    #[arg(long)]
    pid: Option<u32>,
}

/// Where an installation of one's own is put.
#[derive(Debug, Args)]
pub(crate) struct PlaceArgs {
    /// Folder below which an installation that is started here gets its own.
    #[arg(long, value_name = "FOLDER", default_value = "target/loadtest")]
    folder: PathBuf,
    /// First of the four ports of an installation that is started here.
    #[arg(long, default_value_t = 18080, value_parser = clap::value_parser!(u16).range(1024..32764))]
    first_port: u16,
    /// Keep its folder; it is kept too when the experiment fails.
    #[arg(long)]
    pub(crate) keep: bool,
    /// Database of an installation that is started here, empty, and not emptied afterwards
    /// [default: a new one of SQLite].
    #[arg(long, value_name = "URL", requires = "carom")]
    database_url: Option<String>,
}

impl PlaceArgs {
    /// The installation in `folder` that an earlier experiment left behind.
    pub(crate) fn existing(&self, carom: &Path, folder: &Path) -> Result<Installation, Failure> {
        Installation::existing(carom, folder, self.first_port)
    }

    /// Makes the place of an installation of `carom`, for the experiment `name`.
    pub(crate) fn installation(&self, carom: &Path, name: &str) -> Result<Installation, Failure> {
        let Self { folder, first_port, database_url, .. } = self;
        Installation::create(carom, folder, name, *first_port, database_url.as_deref())
    }
}

/// A Carom that answers.
pub(crate) struct Subject<'a> {
    pub(crate) edge: SocketAddr,
    pub(crate) host: String,
    /// `None` if the caller gave no key: then nothing can be created or read.
    api: Option<Api>,
    pid: Option<u32>,
    server: Option<Server<'a>>,
}

impl SubjectArgs {
    /// The folder and ports of an own installation, if that is what was asked for.
    pub(crate) fn installation(&self, name: &str) -> Result<Option<Installation>, Failure> {
        let carom = self.carom.as_deref();
        carom.map(|carom| self.place.installation(carom, name)).transpose()
    }

    /// Starts `installation`, or takes the one that runs.
    pub(crate) async fn subject<'a>(
        &self,
        installation: Option<&'a Installation>,
    ) -> Result<Subject<'a>, Failure> {
        let Some(installation) = installation else {
            let key = self.key.clone();
            return Ok(Subject {
                edge: self.edge,
                host: self.host.clone().unwrap_or_else(|| self.edge.to_string()),
                api: key.map(|key| Api { control: self.control, key }),
                pid: self.pid,
                server: None,
            });
        };
        let mut server = installation.start()?;
        server.ready().await?;
        let key = installation.create_key().await?;
        Ok(Subject {
            edge: installation.edge(),
            host: installation.edge().to_string(),
            api: Some(Api { control: installation.control(), key }),
            pid: Some(server.pid()),
            server: Some(server),
        })
    }

    /// Clears up after an experiment that went well.
    pub(crate) fn finish(&self, installation: Option<&Installation>) -> Result<(), Failure> {
        match installation {
            Some(installation) if !self.place.keep => installation.remove(),
            _ => Ok(()),
        }
    }
}

impl Subject<'_> {
    pub(crate) fn api(&self) -> Result<&Api, Failure> {
        self.api.as_ref().ok_or_else(|| {
            Failure::new(
                "this needs an API key: give --key or LOADTEST_KEY (`carom key create --name \
                 loadtest`), or --carom PROGRAM to start an installation",
            )
        })
    }

    pub(crate) fn client(&self) -> Result<ApiClient, Failure> {
        Ok(ApiClient::new(self.api()?.clone()))
    }

    /// Begins to measure CPU time, if the server's process is known.
    pub(crate) fn sample(&self) -> Result<Option<CpuSample>, Failure> {
        self.pid.map(CpuSample::take).transpose()
    }

    /// What each of `requests` has cost since `sample`.
    pub(crate) fn cost(
        &self,
        sample: Option<&CpuSample>,
        requests: u64,
    ) -> Result<Option<Cost>, Failure> {
        let both = self.pid.zip(sample);
        both.map(|(pid, sample)| sample.cost_until_now(pid, requests)).transpose()
    }

    /// Stops the server, if it was started here.
    pub(crate) async fn stop(self) -> Result<(), Failure> {
        match self.server {
            Some(server) => server.stop().await,
            None => Ok(()),
        }
    }
}
