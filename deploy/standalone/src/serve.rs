//! `carom serve`: everything in one process, from the lock on the folder to the last stored click.

use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use tokio::runtime::Handle;

use carom_control::health::SelfKnowledge;
use carom_control::program::{
    Listeners, OPERATOR_CONNECTIONS_MAX, ProgramError, listen_tcp, listen_unix,
};
use carom_control::{App, Limits, OpenOptions, admin, api_router, internal_router, operator};
use carom_edge::process::{Inherited, Signals, SteadyClock, background_runtime, raise_file_limit};
use carom_edge::{Edge, EdgeParts};
use carom_shared::settings::InvalidSetting;
use carom_shared::{Clock, Random, SystemClock, SystemRandom};

use crate::backup::{Backups, SpoolSource, router as backup_router};
use crate::compose::{
    ControlOrigin, ControlSink, EdgeSubscriber, chain, keep_disabled, keep_missing, keep_salts,
    note_missing, served,
};
use crate::data_dir::{DataDir, snapshot_path, spool_path};
use crate::doctor::Probe;
use crate::error::CommandError;
use crate::output;
use crate::settings::Settings;
use crate::upgrade;

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
    let traces = settings.log.start(&settings.otel, "carom")?;
    raise_file_limit();
    let runtime = background_runtime().map_err(ProgramError::Runtime)?;
    let result = runtime.block_on(Server::run(settings, inherited, program));
    // Whoever asked twice does not wait for what still runs; everything else has ended.
    runtime.shutdown_background();
    traces.finish();
    result
}

struct Server {
    app: App,
    edge: Edge,
    backups: Backups,
    /// Those of the control plane, and what runs beside them.
    listeners: Listeners,
    /// Dropped last: what still runs may write to the folder.
    _data_dir: DataDir,
}

impl Server {
    async fn run(
        settings: &Settings,
        inherited: Inherited,
        program: &str,
    ) -> Result<(), CommandError> {
        let mut signals = Signals::new().map_err(ProgramError::Runtime)?;

        let server = Self::start(settings, inherited).await?;
        let setup = carom_control::program::output::setup(&server.app).await;
        output::started(settings, server.edge.recovered(), program, &setup)?;
        signals.stop().await;
        output::line("Stopping: answering what is under way, storing what was clicked ...")?;
        tokio::select! {
            stopped = server.stop() => output::stopped(stopped),
            () = signals.at_once() => output::line("Stopped at once; the next start goes on from here."),
        }
    }

    async fn start(settings: &Settings, inherited: Inherited) -> Result<Self, CommandError> {
        let data_dir = DataDir::lock(&settings.data_dir).await?;
        let api = listen_tcp("control.listen", settings.control.listen).await?;
        let health = listen_tcp("control.admin_listen", settings.control.admin_listen).await?;
        let internal = settings.control.internal_listen;
        let internal = match settings.internal.token.is_empty() {
            true => None,
            false => Some(listen_tcp("control.internal_listen", internal).await?),
        };
        let socket = listen_unix(&DataDir::socket_path(&settings.data_dir))?;

        let steady = Arc::new(SteadyClock::start());
        let clock: Arc<dyn Clock> = Arc::clone(&steady) as Arc<dyn Clock>;
        let random: Arc<dyn Random> = Arc::new(SystemRandom);
        upgrade::prepare(settings, &*clock).await?;
        let options = OpenOptions {
            config: settings.control_config(),
            clock: Arc::clone(&clock),
            random: Arc::clone(&random),
        };
        // Not here: the threads of SQLite that this starts are to stand back as the runtime's do, and the
        // edge's, which are started here, are not.
        let open = move || Handle::current().block_on(App::open(options));
        let app = tokio::task::spawn_blocking(open).await.unwrap_or_else(resume)?;
        app.keep_clicks().await.map_err(ProgramError::from)?;
        let unread = |reason| ProgramError::NotReady { part: "database", reason };
        let salts = app.salts().await.map_err(unread)?;
        let disabled = app.disabled_workspaces().await;
        let disabled = disabled.map_err(|error| unread(chain(&error)))?;
        let edge = Edge::start(EdgeParts {
            config: settings.edge.clone(),
            inherited,
            spool: settings.spool.clone(),
            spool_dir: spool_path(data_dir.path()),
            snapshot: Some(snapshot_path(data_dir.path())),
            domains: served(&app.domains(), &app.report_url()),
            disabled,
            salts,
            clock: Arc::clone(&clock),
            random: Arc::clone(&random),
            origin: Arc::new(ControlOrigin(app.clone())),
            sink: Arc::new(ControlSink(app.clone())),
            background: Handle::current(),
        })?;
        // Before the first command can be taken, so that the edge hears of every change.
        let subscriber = EdgeSubscriber { feed: edge.feed(), report_url: app.report_url() };
        app.subscribe(Arc::new(subscriber)).map_err(|_| CommandError::Feed)?;
        // What was written since the edge caught up.
        edge.feed().missed();

        let spool = SpoolSource::Live(edge.spool());
        let backups =
            Backups::new(app.clone(), spool, Arc::clone(&clock), random, settings.backup.clicks);
        let server =
            Self { app, edge, backups, listeners: Listeners::default(), _data_dir: data_dir };
        let Self { app, edge, backups, listeners, .. } = &server;
        listeners.spawn(|stop| Arc::clone(&steady).keep(stop));
        listeners.spawn(|stop| keep_salts(app.clone(), edge.feed(), stop));
        listeners.spawn(|stop| keep_disabled(app.clone(), edge.feed(), stop));
        listeners.spawn(|stop| keep_missing(app.clone(), edge.missing_codes(), stop));
        // It ends with `Backups::stop`.
        listeners.spawn(|_| backups.clone().keep(settings.backup.clone()));
        let drain = Duration::from_millis(settings.edge.drain_timeout_ms);
        let few = Limits { connections: OPERATOR_CONNECTIONS_MAX, drain, ..Limits::default() };
        let limits = Limits { connections: settings.control.max_connections, ..few };
        // It says how far the wall clock has jumped, so it looks at that.
        let wall = Arc::new(SystemClock);
        let probe = Probe::new(edge.state(), backups.clone(), wall, Arc::clone(&steady));
        let knowledge = SelfKnowledge(Arc::new(probe.clone()));
        listeners.serve(api_router(app).layer(Extension(knowledge)), api, limits);
        if let Some((router, listener)) = internal_router(app).zip(internal) {
            listeners.serve(router, listener, limits);
        }
        listeners.serve(admin::router_with(app, Arc::new(backups.clone())), health, few);
        let operator = operator::router(app).merge(backup_router(backups)).merge(probe.router());
        listeners.serve(operator, socket, few);
        Ok(server)
    }

    /// Listeners and edge stop side by side; the stores close last, after the edge's last clicks.
    async fn stop(self) -> carom_edge::Stopped {
        self.app.drain();
        let edge = self.edge;
        let missing = edge.missing_codes();
        let edge = tokio::task::spawn_blocking(move || edge.stop());
        let ((), (), stopped) = tokio::join!(self.backups.stop(), self.listeners.stop(), edge);
        note_missing(&self.app, &missing).await;
        self.app.close().await;
        stopped.unwrap_or_else(resume)
    }
}

/// Goes on with the panic of a task that was waited for.
fn resume<T>(ended: tokio::task::JoinError) -> T {
    std::panic::resume_unwind(ended.into_panic())
}
