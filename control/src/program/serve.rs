//! `carom-control serve`: from the lock on the folder to the last answer.

use std::sync::Arc;

use carom_process::{Inherited, Signals, SteadyClock, raise_file_limit, serving_runtime};
use carom_shared::settings::InvalidSetting;
use carom_shared::{Clock, SystemClock, SystemRandom};
use tokio::net::TcpListener;

use super::error::ProgramError;
use super::folder::Folder;
use super::listen::{Listeners, OPERATOR_CONNECTIONS_MAX, listen_tcp, listen_unix};
use super::output;
use super::settings::Settings;
use crate::app::{App, OpenOptions};
use crate::http::api_router;
use crate::internal::internal_router;
use crate::server::{Limits, Listener};
use crate::{admin, operator};

/// What a command opens the control plane with.
pub(super) fn options(settings: &Settings) -> OpenOptions {
    OpenOptions {
        config: settings.config(),
        clock: Arc::new(SystemClock),
        random: Arc::new(SystemRandom),
    }
}

/// Serves until it is told to stop.
pub(super) fn run(settings: &Settings, inherited: Inherited) -> Result<(), ProgramError> {
    if settings.internal.token.is_empty() {
        let problem =
            "must be set: without it no edge is served; make one with openssl rand -hex 32";
        return Err(InvalidSetting::new("internal.token", problem).into());
    }
    let traces = settings.log.start(&settings.otel, "carom-control")?;
    raise_file_limit();
    let runtime = serving_runtime().map_err(ProgramError::Runtime)?;
    let result = runtime.block_on(serve(settings, inherited));
    // Whoever asked twice does not wait for what still runs; everything else has ended.
    runtime.shutdown_background();
    traces.finish();
    result
}

async fn serve(settings: &Settings, inherited: Inherited) -> Result<(), ProgramError> {
    let mut signals = Signals::new().map_err(ProgramError::Runtime)?;
    let _folder = Folder::lock(&settings.data_dir).await?;
    let control = &settings.control;
    let api = api_listeners(settings, inherited).await?;
    let internal = listen_tcp("control.internal_listen", control.internal_listen).await?;
    let health = listen_tcp("control.admin_listen", control.admin_listen).await?;
    let socket = listen_unix(&Folder::socket_path(&settings.data_dir))?;

    let steady = Arc::new(SteadyClock::start());
    let clock = Arc::clone(&steady) as Arc<dyn Clock>;
    let opening = App::open(OpenOptions { clock, ..options(settings) });
    let app = tokio::select! {
        app = opening => app?,
        // What is half done is rolled back.
        () = signals.stop() => return Ok(()),
    };
    app.keep_clicks().await?;

    let listeners = Listeners::default();
    listeners.spawn(|stop| steady.keep(stop));
    let few = Limits { connections: OPERATOR_CONNECTIONS_MAX, ..Limits::default() };
    let limits = Limits { connections: control.max_connections, ..few };
    for listener in api {
        listeners.serve(api_router(&app), listener, limits);
    }
    if let Some(router) = internal_router(&app) {
        listeners.serve(router, internal, limits);
    }
    listeners.serve(admin::router(&app), health, few);
    listeners.serve(operator::router(&app), socket, few);
    output::line(&format!(
        "Carom's control plane {} is serving: API {} (listening on {}), edges on {}, health on http://{}/readyz.",
        env!("CARGO_PKG_VERSION"),
        control.public_url,
        control.listen,
        control.internal_listen,
        control.admin_listen,
    ))?;
    output::text(&output::setup(&app).await)?;

    signals.stop().await;
    output::line("Stopping: answering what is under way ...")?;
    let ending = async {
        app.drain();
        listeners.stop().await;
        app.close().await;
    };
    tokio::select! {
        () = ending => output::line("Stopped."),
        () = signals.at_once() => output::line("Stopped at once; what was acknowledged is stored."),
    }
}

/// Sockets that the process was given stand in place of `control.listen`.
async fn api_listeners(
    settings: &Settings,
    inherited: Inherited,
) -> Result<Vec<Listener>, ProgramError> {
    let Inherited { http, https } = inherited;
    let setting = "control.listen";
    if !https.is_empty() {
        let problem = "is plain HTTP: LISTEN_FDNAMES names a socket https";
        return Err(InvalidSetting::new(setting, problem).into());
    }
    if http.is_empty() {
        return Ok(vec![listen_tcp(setting, settings.control.listen).await?]);
    }
    let adopt = |socket: std::net::TcpListener| {
        socket.set_nonblocking(true)?;
        TcpListener::from_std(socket).map(Listener::Tcp)
    };
    http.into_iter().map(adopt).collect::<Result<_, _>>().map_err(|source| ProgramError::Listen {
        setting,
        address: "LISTEN_FDS".to_owned(),
        source,
    })
}
