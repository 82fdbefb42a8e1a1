//! Commands on the operator's surface, with the data folder of `carom`.

use std::sync::Arc;

use carom_control::program::Operator;
use carom_control::{App, OpenOptions};
use carom_shared::{SystemClock, SystemRandom};

use crate::error::CommandError;
use crate::settings::Settings;
use crate::upgrade;

/// The surface of the process that serves the data folder, or of this one. `make` makes a missing
/// folder.
pub(crate) async fn open(settings: &Settings, make: bool) -> Result<Operator, CommandError> {
    Operator::open(&settings.data_dir, make, async || open_app(settings).await).await
}

/// Opens the operator's surface, calls it, and closes it again.
pub(crate) fn with_operator<T>(
    settings: &Settings,
    make: bool,
    call: impl AsyncFnOnce(&Operator) -> Result<T, CommandError>,
) -> Result<T, CommandError> {
    let open = async || open_app(settings).await;
    carom_control::program::with_operator(&settings.data_dir, make, open, call)
}

async fn open_app(settings: &Settings) -> Result<App, CommandError> {
    upgrade::prepare(settings, &SystemClock).await?;
    let app = App::open(OpenOptions {
        config: settings.control_config(),
        clock: Arc::new(SystemClock),
        random: Arc::new(SystemRandom),
    });
    Ok(app.await?)
}
