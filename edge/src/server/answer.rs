//! One request on a worker: ask, resolve, record, respond.
//!
//! What memory can answer is answered in plain calls, from [`Worker::begin`]; what has to wait goes on
//! in [`Worker::answer`].

use std::net::IpAddr;

use hyper::body::{Body as _, Incoming};
use hyper::{Request, Response};

use carom_shared::UnixMillis;

use super::Worker;
use super::watch::{Fate, UnderWay, Watch};
use crate::config::OnOverload;
use crate::limit::Block;
use crate::pressure::Pressure;
use crate::proxy;
use crate::record;
use crate::request::{Ask, Form, Head, Refusal, Resource, Visitor, names_host};
use crate::resolve::{Key, Known, Route, Unavailable};
use crate::respond::{self, Answer, Body, ErrorPage, Redirect, file, preview};
use crate::spool::losses::Loss;
use crate::spool::ring::RingFull;
use crate::spool::sync::Synced;

/// Who is at the other end of a connection.
#[derive(Debug)]
pub(super) struct Peer {
    /// Of the connection, or what a trusted proxy said before it.
    pub(super) address: IpAddr,
    /// The host that the client named to TLS.
    pub(super) server_name: Option<Box<str>>,
}

/// How far a request came without waiting.
pub(super) enum Begun<'a> {
    /// To its answer, which may have to wait until its click is on the disk.
    Answered(Answer, Option<Synced>),
    /// To a code that memory does not know. Nothing has been counted yet.
    Unknown(Unknown<'a>),
}

/// A request for a code that memory does not know.
pub(super) struct Unknown<'a> {
    ask: Ask<'a>,
    key: Key,
    now: UnixMillis,
}

impl Worker {
    /// Answers one of hyper's requests; the connection's last, if so is its fate.
    pub(super) async fn serve(
        &self,
        request: &Request<Incoming>,
        peer: &Peer,
        watch: &Watch,
    ) -> Response<Body> {
        let under_way = UnderWay::begin(watch);
        let head = Head::of(request, !request.body().is_end_stream());
        let mut answer = self.answer(&head, peer).await;
        if watch.fate() != Fate::Stays {
            answer.close();
        }
        drop(under_way);
        answer.into_response(request.version())
    }

    /// Answers a request, however long that takes.
    pub(super) async fn answer(&self, head: &Head<'_>, peer: &Peer) -> Answer {
        let (answer, synced) = match self.begin(head, peer, self.shared.clock.now()) {
            Begun::Answered(answer, synced) => (answer, synced),
            Begun::Unknown(unknown) => {
                let route = self.look_up(&unknown, head, peer.address).await;
                self.land(route, &unknown, head, peer.address)
            }
        };
        if let Some(synced) = synced {
            self.synced(synced).await;
        }
        answer
    }

    /// Waits until a click is on the disk, or for long enough.
    pub(super) async fn synced(&self, synced: Synced) {
        if !synced.wait().await {
            self.metrics().clicks_unsynced.add(1);
        }
    }

    /// Answers a request from memory.
    pub(super) fn begin<'a>(&self, head: &Head<'a>, peer: &Peer, now: UnixMillis) -> Begun<'a> {
        let ask = Ask::parse(head, &self.shared.domains.load());
        let ask = match &peer.server_name {
            Some(name) if !names_host(head, name) => ask.and(Err(Refusal::Misdirected)),
            _ => ask,
        };
        let answer = match ask {
            Ok(ask) => match self.fulfil(ask, head, peer.address, now) {
                Ok(begun) => return begun,
                Err(page) => self.lost(page, &ask, head),
            },
            Err(refusal) => self.error(refusal.into(), head),
        };
        Begun::Answered(answer, None)
    }

    /// The answer to those whom no link leads on: the page, or where the domain sends them instead.
    #[cold]
    fn lost(&self, page: ErrorPage, ask: &Ask<'_>, head: &Head<'_>) -> Answer {
        let domains = self.shared.domains.load();
        let way_out = match (ask.resource, page) {
            // Who asks what a link leads to wants to know that it leads nowhere.
            (Resource::Preview(_), _) => None,
            (_, ErrorPage::NotFound) => domains.not_found(ask.domain),
            (_, ErrorPage::Gone) => domains.expired(ask.domain),
            _ => None,
        };
        let Some(way_out) = way_out else { return self.error(page, head) };
        self.metrics().error(page);
        respond::home(way_out)
    }

    fn error(&self, page: ErrorPage, head: &Head<'_>) -> Answer {
        self.metrics().error(page);
        let mut answer = page.answer(Form::wanted(head));
        if page == ErrorPage::TooManyMisses {
            answer.retry_after(self.shared.limits.misses.retry_after());
        }
        answer
    }

    fn fulfil<'a>(
        &self,
        ask: Ask<'a>,
        head: &Head<'a>,
        peer: IpAddr,
        now: UnixMillis,
    ) -> Result<Begun<'a>, ErrorPage> {
        let answer = match ask.resource {
            Resource::Link(code) | Resource::Preview(code) => {
                let key = Key::new(ask.domain, code);
                let key = if ask.folds_case { key.folded() } else { key };
                let route = match self.shared.resolver.known(&key) {
                    // By a setting, rather nobody is sent than to where a link may lead no more.
                    Known::Route(_) if self.shared.resolver.feed().refuses() => {
                        return Err(ErrorPage::Unavailable);
                    }
                    Known::Route(route) => {
                        self.metrics().memory_hits.add(1);
                        route
                    }
                    Known::Absent => {
                        self.metrics().absence_hits.add(1);
                        return Err(self.absent(&ask, &key, head, peer, now));
                    }
                    Known::Unknown => {
                        return Ok(Begun::Unknown(Unknown { ask, key, now }));
                    }
                };
                let (answer, synced) = self.lead(&ask, head, peer, &route, now)?;
                return Ok(Begun::Answered(answer, synced));
            }
            Resource::Robots => {
                self.metrics().files.add(1);
                file::robots()
            }
            Resource::Favicon => {
                self.metrics().files.add(1);
                file::favicon()
            }
            Resource::Home => {
                let domains = self.shared.domains.load();
                let home = domains.home(ask.domain).ok_or(ErrorPage::NotFound)?;
                self.metrics().homes.add(1);
                respond::home(home)
            }
            Resource::Nothing => return Err(ErrorPage::NotFound),
        };
        Ok(Begun::Answered(answer, None))
    }

    /// What a route that was found answers.
    fn lead(
        &self,
        ask: &Ask<'_>,
        head: &Head<'_>,
        peer: IpAddr,
        route: &Route,
        now: UnixMillis,
    ) -> Result<(Answer, Option<Synced>), ErrorPage> {
        let redirect = self.judge(route, head, peer, now)?;
        if let Resource::Preview(_) = ask.resource {
            self.metrics().previews.add(1);
            let domains = self.shared.domains.load();
            let report = preview::report_url(domains.report_url(), ask, head);
            return Ok((preview::answer(&redirect, Form::wanted(head), report.as_deref()), None));
        }
        let synced = self.record(ask, head, peer, &redirect, now)?;
        self.metrics().redirects.add(1);
        Ok((redirect.answer(ask.query, now), synced))
    }

    /// Asks the origin for a route.
    async fn look_up(
        &self,
        unknown: &Unknown<'_>,
        head: &Head<'_>,
        peer: IpAddr,
    ) -> Result<Option<Route>, ErrorPage> {
        self.metrics().look_ups.add(1);
        let code = unknown.key.code().ok_or(ErrorPage::NotFound)?;
        // Who has missed too often is still looked up for, while few others like it are.
        let _guess = match self.is_spent(head, peer, unknown.now) {
            true => match self.shared.limits.guesses.try_acquire() {
                Ok(guess) => Some(guess),
                Err(_) => return Err(ErrorPage::TooManyMisses),
            },
            false => None,
        };
        let route = self.shared.resolver.look_up(&unknown.key, unknown.ask.domain, code).await;
        route.map_err(|Unavailable| ErrorPage::Unavailable)
    }

    fn is_spent(&self, head: &Head<'_>, peer: IpAddr, now: UnixMillis) -> bool {
        let block = self.client(head, peer);
        block.is_some_and(|block| self.shared.limits.misses.is_spent(block, now))
    }

    /// What the origin's answer is to the visitor.
    fn land(
        &self,
        route: Result<Option<Route>, ErrorPage>,
        unknown: &Unknown<'_>,
        head: &Head<'_>,
        peer: IpAddr,
    ) -> (Answer, Option<Synced>) {
        let Unknown { ask, key, now } = unknown;
        route
            .and_then(|route| match route {
                Some(route) => self.lead(ask, head, peer, &route, *now),
                None => Err(self.absent(ask, key, head, peer, *now)),
            })
            .unwrap_or_else(|page| (self.lost(page, ask, head), None))
    }

    /// A code that does not exist; noted as it would be stored, whatever its case was.
    fn absent(
        &self,
        ask: &Ask<'_>,
        key: &Key,
        head: &Head<'_>,
        peer: IpAddr,
        now: UnixMillis,
    ) -> ErrorPage {
        let page = self.miss(head, peer, now);
        if page == ErrorPage::NotFound {
            self.shared.missing.count(ask.domain, key.text());
        }
        page
    }

    /// What a route answers now. One that has not begun is missed like one that never was: whoever
    /// has no miss left must not see the difference.
    fn judge<'a>(
        &self,
        route: &'a Route,
        head: &Head<'_>,
        peer: IpAddr,
        now: UnixMillis,
    ) -> Result<Redirect<'a>, ErrorPage> {
        if self.shared.disabled.load().contains(&route.workspace) {
            return Err(ErrorPage::Gone);
        }
        Redirect::of(route, now).map_err(|page| match page {
            ErrorPage::NotFound => self.miss(head, peer, now),
            page => page,
        })
    }

    /// Counts a code that does not exist against who asked for it.
    #[cold]
    fn miss(&self, head: &Head<'_>, peer: IpAddr, now: UnixMillis) -> ErrorPage {
        match self.client(head, peer) {
            Some(block) if !self.shared.limits.misses.spend(block, now) => ErrorPage::TooManyMisses,
            _ => ErrorPage::NotFound,
        }
    }

    /// Whose limits count; `None`: nobody's.
    #[cold]
    fn client(&self, head: &Head<'_>, peer: IpAddr) -> Option<Block> {
        self.shared
            .limits
            .blocks
            .of(proxy::client(&self.shared.limits.trusted_proxies, peer, head.fields.forwarded_for))
    }

    /// Records before the response exists: what is answered is recorded, whatever happens next.
    ///
    /// With `spool.durability = always` there is something to wait for: the disk, in company.
    ///
    /// It does not wait here, and must not: what is held across a wait is kept in the connection's
    /// task, and the last visitor's address would stay in memory for as long as nobody else uses it.
    fn record(
        &self,
        ask: &Ask<'_>,
        head: &Head<'_>,
        peer: IpAddr,
        redirect: &Redirect<'_>,
        now: UnixMillis,
    ) -> Result<Option<Synced>, ErrorPage> {
        let visitor = Visitor::read(head);
        let proxies = &self.shared.limits.trusted_proxies;
        let address = proxy::client(proxies, peer, head.fields.forwarded_for);
        let click = record::click(ask, &visitor, address, redirect, now);
        let recorded = self.recorder.borrow_mut().record(&click);
        match recorded {
            Ok(()) => self.metrics().clicks_recorded.add(1),
            Err(RingFull) => self.record_overload(&click)?,
        }
        Ok(self.shared.is_synced.then(|| self.recorder.borrow_mut().synced()))
    }

    /// The ring is full: keeps the number, or the total, or nothing, as the operator wants it.
    #[cold]
    fn record_overload(&self, click: &carom_shared::RawClick<'_>) -> Result<(), ErrorPage> {
        if self.shared.on_overload == OnOverload::Refuse {
            self.metrics().pressure.set(Pressure::Counting.level().into());
            return Err(ErrorPage::Unavailable);
        }
        let (loss, pressure) = match self.recorder.borrow_mut().count(click) {
            Ok(()) => (Loss::Counted, Pressure::Counting),
            Err(_) => (Loss::Dropped, Pressure::Dropping),
        };
        self.shared.losses.add(loss, 1);
        self.metrics().pressure.set(pressure.level().into());
        Ok(())
    }
}
