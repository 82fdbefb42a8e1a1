//! `carom serve`: everything in one process, from the lock on the folder to the last stored click.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::net::{TcpListener, UnixListener};
use tokio::runtime::Handle;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use carom_control::{
    App, Limits, Listener, OpenOptions, admin, api_router, internal_router, operator, serve,
};
use carom_edge::process::{Inherited, SteadyClock, raise_file_limit};
use carom_edge::{Domains, Edge, EdgeParts};
use carom_shared::settings::InvalidSetting;
use carom_shared::{Clock, Random, SystemClock, SystemRandom};

use crate::backup::{Backups, SpoolSource, router as backup_router};
use crate::compose::{
    ControlOrigin, ControlSink, EdgeSubscriber, keep_missing, keep_salts, note_missing,
};
use crate::data_dir::DataDir;
use crate::doctor::Probe;
use crate::error::CommandError;
use crate::output;
use crate::settings::Settings;
use crate::upgrade;

/// Connections of the admin listener and of `control.sock`, at most.
const OPERATOR_CONNECTIONS_MAX: u32 = 64;

/// Serves until it is told to stop. `program` is how this program was called.
///
/// `inherited` are sockets that whoever started this program listens on, for the edge.
pub(crate) fn run(
    settings: &Settings,
    inherited: Inherited,
    program: &str,
) -> Result<(), CommandError> {
    settings.check()?;
    if !inherited.https.is_empty() && settings.edge.tls.listen.is_none() {
        let reason = "must be set too: LISTEN_FDNAMES names a socket https";
        return Err(InvalidSetting::new("edge.tls.listen", reason).into());
    }
    settings.log.start()?;
    raise_file_limit();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .thread_name("background")
        .enable_all()
        .build()
        .map_err(CommandError::Runtime)?;
    let result = runtime.block_on(Server::run(settings, inherited, program));
    // Whoever asked twice does not wait for what still runs; everything else has ended.
    runtime.shutdown_background();
    result
}

struct Server {
    app: App,
    edge: Edge,
    backups: Backups,
    /// Cancelled: the control plane's listeners take no more.
    stop: CancellationToken,
    listeners: TaskTracker,
    /// Dropped last: what still runs may write to the folder.
    _data_dir: DataDir,
}

impl Server {
    async fn run(
        settings: &Settings,
        inherited: Inherited,
        program: &str,
    ) -> Result<(), CommandError> {
        // Before anything starts, so that no moment is left in which a signal just kills.
        let mut interrupt = signal(SignalKind::interrupt()).map_err(CommandError::Runtime)?;
        let mut terminate = signal(SignalKind::terminate()).map_err(CommandError::Runtime)?;

        let server = Self::start(settings, inherited).await?;
        output::started(settings, server.edge.recovered(), program)?;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        output::line("Stopping: answering what is under way, storing what was clicked ...")?;
        tokio::select! {
            stopped = server.stop() => output::stopped(stopped),
            _ = interrupt.recv() => output::line("Stopped at once; the next start goes on from here."),
        }
    }

    async fn start(settings: &Settings, inherited: Inherited) -> Result<Self, CommandError> {
        let data_dir = DataDir::lock(&settings.data_dir).await?;
        let api = listen("control.listen", settings.control.listen).await?;
        let health = listen("control.admin_listen", settings.control.admin_listen).await?;
        let internal = settings.control.internal_listen;
        let internal = match settings.internal.token.is_empty() {
            true => None,
            false => Some(listen("control.internal_listen", internal).await?),
        };
        let socket = listen_unix(&DataDir::socket_path(&settings.data_dir))?;

        let steady = Arc::new(SteadyClock::start());
        let clock: Arc<dyn Clock> = Arc::clone(&steady) as Arc<dyn Clock>;
        let random: Arc<dyn Random> = Arc::new(SystemRandom);
        upgrade::prepare(settings, &*clock).await?;
        let app = App::open(OpenOptions {
            config: settings.control_config(),
            clock: Arc::clone(&clock),
            random: Arc::clone(&random),
        })
        .await?;
        let salts = app.salts().await;
        let salts = salts.map_err(|reason| CommandError::NotReady { part: "database", reason })?;
        let edge = Edge::start(EdgeParts {
            config: settings.edge.clone(),
            inherited,
            spool: settings.spool.clone(),
            spool_dir: data_dir.spool(),
            snapshot: Some(data_dir.snapshot()),
            domains: Domains::serving(&app.domains()),
            salts,
            clock: Arc::clone(&clock),
            random: Arc::clone(&random),
            origin: Arc::new(ControlOrigin(app.clone())),
            sink: Arc::new(ControlSink(app.clone())),
            background: Handle::current(),
        })?;
        // Before the first command can be taken, so that the edge hears of every change.
        app.subscribe(Arc::new(EdgeSubscriber(edge.feed()))).map_err(|_| CommandError::Feed)?;

        let spool = SpoolSource::Live(edge.spool());
        let backups = Backups::new(app.clone(), spool, Arc::clone(&clock), random);
        let server = Self {
            app,
            edge,
            backups,
            stop: CancellationToken::new(),
            listeners: TaskTracker::new(),
            _data_dir: data_dir,
        };
        let stop = server.stop.clone();
        server.listeners.spawn(steady.keep(stop.clone()));
        server.listeners.spawn(keep_salts(server.app.clone(), server.edge.feed(), stop.clone()));
        let missing = server.edge.missing_codes();
        server.listeners.spawn(keep_missing(server.app.clone(), missing, stop));
        server.listeners.spawn(server.backups.clone().keep(settings.backup.clone()));
        let drain = Duration::from_millis(settings.edge.drain_timeout_ms);
        let few = Limits { connections: OPERATOR_CONNECTIONS_MAX, drain, ..Limits::default() };
        let limits = Limits { connections: settings.control.max_connections, ..few };
        server.listen(api_router(&server.app), Listener::Tcp(api), limits);
        if let Some((router, listener)) = internal_router(&server.app).zip(internal) {
            server.listen(router, Listener::Tcp(listener), limits);
        }
        let health_router = admin::router_with(&server.app, Arc::new(server.backups.clone()));
        server.listen(health_router, Listener::Tcp(health), few);
        // It says how far the wall clock has jumped, so it looks at that.
        let wall = Arc::new(SystemClock);
        let probe = Probe::new(server.edge.state(), server.backups.clone(), wall);
        let operator = operator::router(&server.app)
            .merge(backup_router(&server.backups))
            .merge(probe.router());
        server.listen(operator, Listener::Unix(socket), few);
        Ok(server)
    }

    fn listen(&self, router: Router, listener: Listener, limits: Limits) {
        let stop = self.stop.clone();
        self.listeners.spawn(async move {
            let cut_off = serve(router, listener, limits, stop).await;
            if cut_off > 0 {
                tracing::warn!(
                    connections = cut_off,
                    "connections are cut: they did not end in time"
                );
            }
        });
    }

    /// Listeners and edge stop side by side; the stores close last, after the edge's last clicks.
    async fn stop(self) -> carom_edge::Stopped {
        self.app.drain();
        self.stop.cancel();
        self.listeners.close();
        let edge = self.edge;
        let missing = edge.missing_codes();
        let edge = tokio::task::spawn_blocking(move || edge.stop());
        let ((), (), stopped) = tokio::join!(self.backups.stop(), self.listeners.wait(), edge);
        note_missing(&self.app, &missing).await;
        self.app.close().await;
        match stopped {
            Ok(stopped) => stopped,
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        }
    }
}

async fn listen(setting: &'static str, address: SocketAddr) -> Result<TcpListener, CommandError> {
    TcpListener::bind(address).await.map_err(|source| CommandError::Listen {
        setting,
        address: address.to_string(),
        source,
    })
}

/// The socket of the last process is still there if that was killed; the lock says it is dead.
fn listen_unix(path: &Path) -> Result<UnixListener, CommandError> {
    let bound = std::fs::remove_file(path)
        .or_else(|error| match error.kind() {
            std::io::ErrorKind::NotFound => Ok(()),
            _ => Err(error),
        })
        .and_then(|()| UnixListener::bind(path))
        .and_then(|listener| {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
            Ok(listener)
        });
    bound.map_err(|source| CommandError::Listen {
        setting: "data_dir",
        address: path.display().to_string(),
        source,
    })
}
