//! Limits: how often somebody may ask for something; shared through Redis where there is one.
//!
//! ```text
//! a charge ──► local table (governor) ──► Redis (one script) ──► Decision
//!              with Redis: a shield of twice the quota            Redis away or slow: the table
//!              alone: the quota                                   decides, with this process's part
//! ```
//!
//! It is GCRA everywhere: of each subject one time is kept, at which its quota is whole again. Nothing
//! is ever shut for good, and nothing is open because something failed. What is counted together is
//! one key, one workspace, one account or one block of addresses, never a whole endpoint: that would
//! let anybody shut out everybody.

pub(crate) mod api;
mod local;
mod quota;
mod shared;

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use carom_shared::{AccountId, ApiKeyId, Clock, Random, SessionId, WorkspaceId};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::LimitsConfig;
use crate::http::problem::ApiError;
use crate::metrics::LimitMetrics;
use crate::redis::RedisAt;
use local::{KEYS_MAX, Table, Ticks};
use quota::{Charge, Subject};
pub(crate) use quota::{Limit, Quota};
use shared::{Shared, SharedTask};

/// How often those are forgotten whose quota is whole again.
const SWEEP_EVERY: Duration = Duration::from_secs(30);
/// How much of a quota the table lets through to Redis.
const SHIELD: u32 = 2;

/// What was decided about one charge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Decision {
    pub(crate) limit: Limit,
    pub(crate) quota: Quota,
    pub(crate) is_allowed: bool,
    /// How many more are allowed at once.
    pub(crate) remaining: u32,
    /// When the quota is whole again or, if refused, when there is one.
    pub(crate) reset: Duration,
}

impl Decision {
    fn allowed(charge: &Charge, remaining: u32) -> Self {
        let Charge { limit, quota, .. } = *charge;
        let reset = quota.every * quota.burst.get().saturating_sub(remaining);
        Self { limit, quota, is_allowed: true, remaining, reset }
    }

    fn refused(charge: &Charge, retry_after: Duration) -> Self {
        let Charge { limit, quota, .. } = *charge;
        Self { limit, quota, is_allowed: false, remaining: 0, reset: retry_after }
    }

    /// Whole seconds until the quota is whole or, if refused, until there is one; at least 1.
    pub(crate) fn reset_s(&self) -> u64 {
        u64::try_from(self.reset.as_millis().div_ceil(1000)).unwrap_or(u64::MAX).max(1)
    }

    /// # Errors
    /// [`ApiError::Limited`], if it was refused.
    pub(crate) fn into_result(self) -> Result<(), ApiError> {
        if self.is_allowed {
            return Ok(());
        }
        let retry_after_s = self.reset_s();
        let what = self.limit.what();
        let detail =
            format!("there were too many {what}; the next is answered in {retry_after_s} s");
        Err(ApiError::Limited { detail, retry_after_s })
    }
}

/// All limits of this process.
pub(crate) struct Limits {
    config: LimitsConfig,
    /// Of keys, people and workspaces.
    callers: Table,
    addresses: Table,
    /// Of accounts, and of e-mail addresses that may be nobody's.
    accounts: Table,
    ticks: Ticks,
    shared: Option<Arc<Shared>>,
    metrics: Arc<LimitMetrics>,
}

impl Limits {
    pub(crate) fn new(
        config: &LimitsConfig,
        clock: &Arc<dyn Clock>,
        is_shared: bool,
        metrics: &Arc<LimitMetrics>,
    ) -> Arc<Self> {
        let [callers, addresses, accounts] = [(); 3].map(|()| Table::new(KEYS_MAX));
        let shared = is_shared.then(Shared::new);
        let (ticks, config) = (Ticks::new(Arc::clone(clock)), config.clone());
        let metrics = Arc::clone(metrics);
        Arc::new(Self { config, callers, addresses, accounts, ticks, shared, metrics })
    }

    /// Starts what forgets, and what keeps the connection to Redis.
    pub(crate) fn start(
        self: &Arc<Self>,
        redis: Option<RedisAt>,
        random: &dyn Random,
        tasks: &TaskTracker,
        stop: &CancellationToken,
    ) {
        tasks.spawn(Arc::clone(self).sweep(stop.clone()));
        if let (Some(at), Some(shared)) = (redis, &self.shared) {
            let mut name = [0; 8];
            random.fill(&mut name);
            let name = format!("{:016x}", u64::from_be_bytes(name));
            let (shared, metrics) = (Arc::clone(shared), Arc::clone(&self.metrics));
            tasks.spawn(SharedTask { at, shared, name, metrics }.run(stop.clone()));
        }
    }

    async fn sweep(self: Arc<Self>, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(SWEEP_EVERY) => {}
            }
            let now = self.ticks.now();
            let tables = [&self.callers, &self.addresses, &self.accounts];
            tables.iter().for_each(|table| table.sweep(now));
            let keys: usize = tables.iter().map(|table| table.len()).sum();
            self.metrics.keys.set(keys as u64);
        }
    }

    /// Before a password is looked at. An account that does not exist is counted as well.
    ///
    /// # Errors
    /// [`ApiError::Limited`] for this address or this account; so everywhere here. An address that is
    /// not known, as over a Unix socket, is not counted.
    pub(crate) async fn login(
        &self,
        address: Option<IpAddr>,
        email_hash: &[u8; 32],
    ) -> Result<(), ApiError> {
        let account = (Limit::LoginAccount, Subject::hash(email_hash));
        self.charge(Some((Limit::Login, address)), &[account]).await
    }

    /// As [`login`](Self::login), from an address from which the account was signed in before. `hash`: of
    /// both.
    pub(crate) async fn login_known(
        &self,
        address: Option<IpAddr>,
        hash: &[u8; 32],
    ) -> Result<(), ApiError> {
        let known = (Limit::LoginKnown, Subject::hash(hash));
        self.charge(Some((Limit::Login, address)), &[known]).await
    }

    /// Before a password of somebody who is signed in is looked at. Nobody else uses it up for them.
    pub(crate) async fn confirm(&self, session: SessionId) -> Result<(), ApiError> {
        self.charge(None, &[(Limit::Confirm, Subject::session(session))]).await
    }

    /// Before a browser is sent to a provider, or one that comes back is listened to.
    pub(crate) async fn provider(&self, address: Option<IpAddr>) -> Result<(), ApiError> {
        self.charge(Some((Limit::Provider, address)), &[]).await
    }

    /// Before a challenge is made for a passkey, or an answer to one is looked at. A page that offers
    /// passkeys asks for a challenge when it is opened.
    pub(crate) async fn passkey(&self, address: Option<IpAddr>) -> Result<(), ApiError> {
        self.charge(Some((Limit::Passkey, address)), &[]).await
    }

    /// Before a code of the second factor, or a recovery code, is looked at.
    pub(crate) async fn totp(&self, account: AccountId) -> Result<(), ApiError> {
        self.charge(None, &[(Limit::Totp, Subject::account(account))]).await
    }

    /// Before an account is made by whoever wants one; also for guesses of a setup token.
    pub(crate) async fn registration(&self, address: Option<IpAddr>) -> Result<(), ApiError> {
        self.charge(Some((Limit::Registration, address)), &[]).await
    }

    /// Before a mail is sent with which a password is set anew.
    pub(crate) async fn reset(
        &self,
        address: Option<IpAddr>,
        email_hash: &[u8; 32],
    ) -> Result<(), ApiError> {
        let account = (Limit::ResetAccount, Subject::hash(email_hash));
        self.charge(Some((Limit::Reset, address)), &[account]).await
    }

    /// Before a mail is sent once more: verification, change of address.
    pub(crate) async fn resend(&self, email_hash: &[u8; 32]) -> Result<(), ApiError> {
        let subject = Subject::hash(email_hash);
        self.charge(None, &[(Limit::Resend, subject), (Limit::ResendHour, subject)]).await
    }

    /// Before somebody is invited, whether a mail is sent or not. `account`: who invites, if it is known.
    pub(crate) async fn invitation(
        &self,
        account: Option<AccountId>,
        workspace: WorkspaceId,
        email_hash: &[u8; 32],
    ) -> Result<(), ApiError> {
        let email = Subject::hash(email_hash);
        let mut subjects = vec![(Limit::Invitation, Subject::workspace(workspace))];
        subjects.extend(account.map(|account| (Limit::Invitation, Subject::account(account))));
        subjects.extend([(Limit::Resend, email), (Limit::ResendHour, email)]);
        self.charge(None, &subjects).await
    }

    /// Before a password of a share is looked at. A share that does not exist is counted as well.
    pub(crate) async fn share(
        &self,
        address: Option<IpAddr>,
        token_hash: &[u8; 32],
    ) -> Result<(), ApiError> {
        let share = (Limit::ShareOne, Subject::hash(token_hash));
        self.charge(Some((Limit::Share, address)), &[share]).await
    }

    /// Before a report of abuse is taken.
    pub(crate) async fn report(&self, address: Option<IpAddr>) -> Result<(), ApiError> {
        self.charge(Some((Limit::Report, address)), &[]).await
    }

    /// Before a request without valid credentials is answered.
    async fn stranger(&self, address: Option<IpAddr>) -> Vec<Decision> {
        self.decide(&self.charges(Some((Limit::Address, address)), &[])).await
    }

    /// Before the database is asked about credentials. Counts nothing.
    ///
    /// # Errors
    /// [`ApiError::Limited`]: it was asked about too many wrong ones of this address.
    pub(crate) fn may_look_up(&self, address: Option<IpAddr>) -> Result<(), ApiError> {
        let now = self.ticks.now();
        let charges = self.charges(Some((Limit::LookUp, address)), &[]);
        let refused = charges.iter().find_map(|charge| self.addresses.refusal(charge, now));
        let Some(refused) = refused else { return Ok(()) };
        self.metrics.refused(Limit::LookUp).add(1);
        refused.into_result()
    }

    /// Counts credentials that the database does not know.
    fn looked_up(&self, address: Option<IpAddr>) {
        self.decide_here(&self.charges(Some((Limit::LookUp, address)), &[]), 1, 1);
    }

    /// Before a request with a key is answered. `own` is the key's own rate, requests a minute.
    async fn key(
        &self,
        key: ApiKeyId,
        own: Option<NonZeroU32>,
        workspace: WorkspaceId,
    ) -> Vec<Decision> {
        let own = own.and_then(|own| Quota::per_minute(own.get()));
        let quota = own.or_else(|| Limit::Key.quota(&self.config));
        let key = quota.map(|quota| Charge::new(Limit::Key, Subject::key(key), quota));
        let workspace = self.charges(None, &[(Limit::Workspace, Subject::workspace(workspace))]);
        let charges: Vec<_> = key.into_iter().chain(workspace).collect();
        self.decide(&charges).await
    }

    /// Before a request of somebody who is signed in is answered.
    async fn person(&self, account: AccountId) -> Vec<Decision> {
        self.decide(&self.charges(None, &[(Limit::Key, Subject::account(account))])).await
    }

    /// Before a request of somebody who is signed in is answered that is about a workspace.
    async fn workspace(&self, workspace: WorkspaceId) -> Vec<Decision> {
        let subject = Subject::workspace(workspace);
        self.decide(&self.charges(None, &[(Limit::Workspace, subject)])).await
    }

    fn charges(
        &self,
        address: Option<(Limit, Option<IpAddr>)>,
        subjects: &[(Limit, Subject)],
    ) -> Vec<Charge> {
        let quota = |limit: Limit| limit.quota(&self.config);
        let address = address.and_then(|(limit, address)| Some((limit, address?, quota(limit)?)));
        let of_address = address
            .into_iter()
            .flat_map(|(limit, address, quota)| Charge::of_address(limit, address, quota));
        let of_subjects = subjects
            .iter()
            .filter_map(|&(limit, subject)| Some(Charge::new(limit, subject, quota(limit)?)));
        of_address.chain(of_subjects).collect()
    }

    async fn charge(
        &self,
        address: Option<(Limit, Option<IpAddr>)>,
        subjects: &[(Limit, Subject)],
    ) -> Result<(), ApiError> {
        let decisions = self.decide(&self.charges(address, subjects)).await;
        decisions.last().map_or(Ok(()), |decision| decision.into_result())
    }

    /// Counts each charge in turn, up to the first that is refused: the last decision says whether
    /// all are allowed.
    async fn decide(&self, charges: &[Charge]) -> Vec<Decision> {
        if charges.is_empty() {
            return Vec::new();
        }
        let decisions = match self.shared.as_ref().filter(|shared| shared.is_there()) {
            None => self.decide_alone(charges),
            Some(shared) => {
                let shield = self.decide_here(charges, SHIELD, 1);
                if shield.last().is_some_and(|decision| !decision.is_allowed) {
                    shield
                } else {
                    let counted = shared.count(charges).await;
                    counted.unwrap_or_else(|| self.decide_alone(charges))
                }
            }
        };
        if let Some(refused) = decisions.last().filter(|decision| !decision.is_allowed) {
            self.metrics.refused(refused.limit).add(1);
        }
        decisions
    }

    /// With this process's part of each quota: each request counts for those that the others let
    /// through.
    fn decide_alone(&self, charges: &[Charge]) -> Vec<Decision> {
        self.decide_here(charges, 1, self.instances())
    }

    /// How many processes count together, as far as this one knows.
    pub(crate) fn instances(&self) -> u32 {
        self.shared.as_ref().map_or(1, |shared| shared.instances())
    }

    fn decide_here(&self, charges: &[Charge], factor: u32, weight: u32) -> Vec<Decision> {
        let now = self.ticks.now();
        let mut decisions = Vec::with_capacity(charges.len());
        for charge in charges {
            let decision = self.table(charge.limit).check(charge, factor, weight, now);
            decisions.push(decision);
            if !decision.is_allowed {
                break;
            }
        }
        decisions
    }

    const fn table(&self, limit: Limit) -> &Table {
        match limit {
            Limit::Key | Limit::Workspace => &self.callers,
            Limit::Address
            | Limit::LookUp
            | Limit::Login
            | Limit::Provider
            | Limit::Passkey
            | Limit::Registration
            | Limit::Reset
            | Limit::Report
            | Limit::Share => &self.addresses,
            Limit::LoginAccount
            | Limit::LoginKnown
            | Limit::Confirm
            | Limit::Invitation
            | Limit::Totp
            | Limit::ResetAccount
            | Limit::Resend
            | Limit::ResendHour
            | Limit::ShareOne => &self.accounts,
        }
    }
}

#[cfg(test)]
mod tests;
