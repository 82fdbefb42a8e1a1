//! Domains while the process runs: in memory, given to the edge of this process, looked at again when
//! another control plane changed them, and their records looked for each day.

use std::sync::Arc;
use std::time::Duration;

use carom_shared::{DomainId, Host, ServedDomain, TargetPolicy, UnixMillis};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::act::{AddDomain, ChangeDomain, DomainRefused, NoteCheck, ReleaseDomain, VerifyDomain};
use super::store::{domain_fetch, domains_due, domains_read, domains_version};
use super::{Asked, Domain, Domains};
use crate::app::App;
use crate::audit::Actor;
use crate::config::Origin;
use crate::db::{Db, StoreError};
use crate::http::auth::Caller;
use crate::http::precondition::IfMatch;
use crate::http::problem::ApiError;

use super::command::{DomainChange, NewDomain};

/// How long a change of another control plane may go unnoticed: with the edges' second, two.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How often it is looked whether records are due, and how many are asked for then, one by one.
const DUE_EVERY: Duration = Duration::from_secs(60);
const DUE_MAX: u32 = 100;
/// How long a record that was found is believed.
const CHECK_AFTER_MS: i64 = 24 * 3600 * 1000;

/// What links on these domains are judged by.
pub(crate) fn target_policy(base: &TargetPolicy, domains: &Domains) -> TargetPolicy {
    let own_hosts = domains.verified().map(|domain| domain.host.clone()).collect();
    TargetPolicy { own_hosts, ..base.clone() }
}

impl App {
    /// Every domain, as edges serve it.
    #[must_use]
    pub fn domains(&self) -> Vec<ServedDomain> {
        self.domain_set().served(self.home())
    }

    /// Where the public reports a link.
    #[must_use]
    pub fn report_url(&self) -> String {
        format!("{}/report", self.problem_base())
    }

    /// The host of the API and the dashboard.
    pub(crate) fn control_host(&self) -> Option<Host> {
        let origin = Origin::parse("control.public_url", self.problem_base()).ok()?;
        Some(origin.host().clone())
    }

    /// Whether a certificate may be asked for: links are served on this host.
    pub(crate) fn serves_host(&self, host: &str) -> bool {
        Host::parse(host).is_ok_and(|host| self.domain_set().serving(&host).is_some())
    }

    /// Reads the domains again, and lets the edge of this process know.
    ///
    /// # Errors
    /// [`StoreError`] if the database fails.
    pub(crate) async fn reload_domains(&self) -> Result<(), StoreError> {
        // Alone, so that an older reading cannot come after a newer one.
        let _reading = self.domains_lock().lock().await;
        let all = domains_read(self.read()).await?;
        let known = self.domain_set();
        if all == known.all() {
            return Ok(());
        }
        let domains = Domains::new(all, known.public_url().clone());
        self.set_domains(domains);
        self.publisher().domains(&self.domains());
        Ok(())
    }

    /// What was written is served before it is answered. Should reading it fail now, it is read again
    /// in a moment ([`keep_domains`](Self::keep_domains)).
    async fn reload_after(&self) {
        if let Err(error) = self.reload_domains().await {
            tracing::warn!(%error, "domains that were changed are not read again yet");
        }
    }

    pub(super) async fn domain_add(
        &self,
        new: NewDomain,
        actor: Actor,
    ) -> Result<Domain, ApiError> {
        let max = self.config().domains.max_per_workspace;
        Ok(self.act(AddDomain { new, max, actor }).await??)
    }

    pub(super) async fn domain_change(
        &self,
        caller: &Caller,
        id: DomainId,
        if_match: IfMatch,
        change: DomainChange,
    ) -> Result<Domain, ApiError> {
        let (workspace, actor) = (caller.workspace, caller.actor.clone());
        let done = self.act(ChangeDomain { workspace, id, if_match, change, actor }).await??;
        self.reload_after().await;
        Ok(done)
    }

    pub(super) async fn domain_verify(
        &self,
        caller: &Caller,
        id: DomainId,
    ) -> Result<Domain, ApiError> {
        let workspace = caller.workspace;
        let domain = domain_fetch(self.read(), workspace, id).await?;
        let domain = domain.filter(|domain| domain.workspace == Some(workspace));
        let domain = domain.ok_or(ApiError::NotFound("domain"))?;
        let (name, challenge) = (domain.record_name(), domain.challenge);
        match self.dns().ask(&name, &challenge).await {
            Asked::Found => {}
            Asked::Unknown(why) => return Err(ApiError::Conflict(why)),
            Asked::Missing { others } => {
                let others = match others {
                    0 => "none was found".to_owned(),
                    others => format!("{others} with other values were found"),
                };
                return Err(ApiError::Conflict(format!(
                    "there is no TXT record {name} with the value {challenge} yet ({others}); \
                     add it, wait until your DNS servers have it, and try again"
                )));
            }
        }
        let actor = caller.actor.clone();
        let done = self.act(VerifyDomain { workspace, id, challenge, actor }).await??;
        self.reload_after().await;
        Ok(done)
    }

    pub(super) async fn domain_release(
        &self,
        caller: &Caller,
        id: DomainId,
        if_match: IfMatch,
        is_forced: bool,
    ) -> Result<(), ApiError> {
        caller.credentials.require_fresh(self.now())?;
        let (workspace, actor) = (caller.workspace, caller.actor.clone());
        let act = ReleaseDomain { workspace, id, if_match, is_forced, actor };
        let done: Result<Domain, DomainRefused> = self.act(act).await?;
        done?;
        self.reload_after().await;
        Ok(())
    }

    /// Follows what other control planes change, and looks for records; until `stop`.
    pub(crate) async fn keep_domains(self, stop: CancellationToken) {
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.follow_domains() => {}
            () = self.check_domains() => {}
        }
    }

    async fn follow_domains(&self) {
        // Of a file this process is the only writer; what it writes it reads itself.
        if matches!(self.read(), Db::Sqlite(_)) {
            return std::future::pending().await;
        }
        let mut seen = None;
        loop {
            sleep(LOOK_EVERY).await;
            let looked = async {
                let version = domains_version(self.read()).await?;
                if seen != Some(version) {
                    self.reload_domains().await?;
                }
                Ok::<_, StoreError>(version)
            };
            match looked.await {
                Ok(version) => seen = Some(version),
                Err(error) => tracing::debug!(%error, "domains cannot be looked at"),
            }
        }
    }

    async fn check_domains(&self) {
        loop {
            if let Err(error) = self.check_due().await {
                tracing::warn!(%error, "the records of domains are not looked for");
            }
            sleep(DUE_EVERY).await;
        }
    }

    async fn check_due(&self) -> Result<(), ApiErrorText> {
        let before = UnixMillis::new(self.now().get().saturating_sub(CHECK_AFTER_MS));
        let due = domains_due(self.read(), before, DUE_MAX).await.map_err(text)?;
        for domain in due {
            let is_found = match self.dns().ask(&domain.record_name(), &domain.challenge).await {
                Asked::Found => Some(true),
                Asked::Missing { .. } => {
                    tracing::warn!(
                        domain.id = %domain.id,
                        "the TXT record of a domain is missing: its workspace may lose it"
                    );
                    Some(false)
                }
                // Nobody loses a domain because DNS is away.
                Asked::Unknown(_) => None,
            };
            self.act(NoteCheck { id: domain.id, is_found }).await.map_err(text)?;
        }
        Ok(())
    }
}

/// An error for the log.
type ApiErrorText = Arc<str>;

fn text(error: impl std::error::Error) -> ApiErrorText {
    error.to_string().into()
}
