//! Edge and control plane in one process: each side's interface to the other is a direct call.

use std::sync::Arc;
use std::time::Duration;

use carom_control::{App, Change, StoreBatchError, Subscriber};
use carom_edge::resolve::{Origin, OriginError, OriginFuture, RouteChange};
use carom_edge::ship::{ClickSink, LossFuture, SinkError, SinkFuture, Stored};
use carom_edge::{Domains, EdgeFeed, MissingCodes};
use carom_shared::batch::Token;
use carom_shared::internal::LossReport;
use carom_shared::{Code, DomainId, FeedPage, FeedPosition, ServedDomain};

use bytes::Bytes;
use tokio_util::sync::CancellationToken;

/// How often salts are looked at. Tomorrow's are there a day ahead, so being late costs nothing.
const SALTS_EVERY: Duration = Duration::from_secs(600);
/// How often it is looked which workspaces are out of service.
const DISABLED_EVERY: Duration = Duration::from_secs(1);
/// How often missing codes are brought over: so much of them is lost with a process that is killed.
const MISSING_EVERY: Duration = Duration::from_secs(60);

/// Routes that the edge does not know come straight from the control plane's database.
pub(crate) struct ControlOrigin(pub(crate) App);

impl Origin for ControlOrigin {
    fn resolve(&self, domain: DomainId, code: &Code) -> OriginFuture {
        let (app, code) = (self.0.clone(), code.clone());
        Box::pin(async move {
            app.resolve(domain, &code).await.map_err(|error| OriginError(chain(&error)))
        })
    }

    fn changes(&self, after: Option<FeedPosition>) -> OriginFuture<Option<FeedPage>> {
        let app = self.0.clone();
        Box::pin(async move {
            let page = match after {
                Some(after) => app.changes_after(after, Duration::ZERO).await,
                None => app
                    .feed_head()
                    .await
                    .map(|head| Some(FeedPage { head, first: 0, changes: Vec::new() })),
            };
            page.map_err(|error| OriginError(chain(&error)))
        })
    }

    fn announces_changes(&self) -> bool {
        self.0.is_only_writer()
    }

    fn routes(&self, after: Option<(DomainId, Code)>) -> OriginFuture<Vec<RouteChange>> {
        let app = self.0.clone();
        Box::pin(async move {
            app.routes_after(after).await.map_err(|error| OriginError(chain(&error)))
        })
    }
}

/// Batches of clicks go straight into the control plane's click store.
pub(crate) struct ControlSink(pub(crate) App);

impl ClickSink for ControlSink {
    fn takes_several(&self) -> bool {
        self.0.are_clicks_shared()
    }

    fn report_losses(&self, report: LossReport) -> LossFuture {
        let app = self.0.clone();
        Box::pin(async move { app.note_losses(report).await.map_err(SinkError::Unavailable) })
    }

    fn store(&self, token: Token, batch: Bytes) -> SinkFuture {
        let app = self.0.clone();
        Box::pin(async move {
            match app.store_batch(&token, &batch).await {
                Ok(carom_control::Stored::New { .. }) => Ok(Stored::New),
                Ok(carom_control::Stored::Duplicate) => Ok(Stored::Already),
                Ok(carom_control::Stored::TooOld) => Err(SinkError::Refused(
                    "it is older than the store's memory of what it has".to_owned(),
                )),
                Err(error @ (StoreBatchError::Batch { .. } | StoreBatchError::Refused { .. })) => {
                    Err(SinkError::Refused(chain(&error)))
                }
                Err(error @ StoreBatchError::Store { .. }) => {
                    Err(SinkError::Unavailable(chain(&error)))
                }
            }
        })
    }
}

/// Changes go straight into the edge's memory, before their command is answered.
pub(crate) struct EdgeSubscriber {
    pub(crate) feed: EdgeFeed,
    pub(crate) report_url: String,
}

/// The domains that an edge of this process serves.
pub(crate) fn served(domains: &[ServedDomain], report_url: &str) -> Domains {
    Domains::serving(domains).with_report_url(Some(report_url))
}

impl Subscriber for EdgeSubscriber {
    fn apply(&self, changes: &[Change]) {
        for change in changes {
            self.feed.apply(RouteChange {
                domain: change.domain,
                code: change.code.clone(),
                record: change.record.clone(),
            });
        }
        if let Some((first, last)) = changes.first().zip(changes.last()) {
            self.feed.advance(first.epoch, first.seq, last.seq);
        }
    }

    fn domains(&self, domains: &[ServedDomain]) {
        self.feed.set_domains(served(domains, &self.report_url));
    }

    fn missed(&self) {
        self.feed.missed();
    }
}

/// Gives the edge the salts of each day in time, until `stop`.
pub(crate) async fn keep_salts(app: App, feed: EdgeFeed, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(SALTS_EVERY) => {}
        }
        match app.salts().await {
            Ok(salts) => feed.set_salts(salts),
            // The edge has tomorrow's already.
            Err(error) => tracing::warn!("{error}"),
        }
    }
}

/// Lets the edge know each second which workspaces are out of service, until `stop`.
pub(crate) async fn keep_disabled(app: App, feed: EdgeFeed, stop: CancellationToken) {
    let mut known = None;
    loop {
        match app.disabled_workspaces().await {
            Ok(disabled) => {
                if known.as_ref() != Some(&disabled) {
                    feed.set_disabled_workspaces(&disabled);
                    known = Some(disabled);
                }
            }
            Err(error) => {
                tracing::warn!(error = chain(&error), "disabled workspaces are not heard of")
            }
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(DISABLED_EVERY) => {}
        }
    }
}

/// Brings the codes that visitors asked for and that do not exist to the control plane, each minute
/// until `stop`.
pub(crate) async fn keep_missing(app: App, missing: Arc<MissingCodes>, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(MISSING_EVERY) => note_missing(&app, &missing).await,
        }
    }
}

/// Brings those that nobody has taken yet. What is taken and cannot be noted is not counted: it may
/// have been, and twice would be worse.
pub(crate) async fn note_missing(app: &App, missing: &MissingCodes) {
    let taken = missing.take().into_iter();
    // The edge counts nothing that cannot be a link's code.
    let codes = taken.filter_map(|of| Some((of.domain, Code::parse(&of.code).ok()?, of.at_least)));
    if let Err(error) = app.note_missing(codes).await {
        tracing::warn!("{error}");
    }
}

/// An error with all its causes, for the log.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
