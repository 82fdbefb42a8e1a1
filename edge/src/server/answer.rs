//! One request on a worker: ask, resolve, record, respond.

use std::net::IpAddr;

use http::header::{CONNECTION, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Version};
use hyper::body::{Body as _, Incoming};
use hyper::{Request, Response};

use carom_shared::{Code, UnixMillis};

use super::Worker;
use super::watch::{Fate, UnderWay, Watch};
use crate::config::OnOverload;
use crate::limit::Block;
use crate::pressure::Pressure;
use crate::proxy;
use crate::record;
use crate::request::{Ask, Form, Refusal, Resource, Visitor, names_host};
use crate::resolve::{Key, Known, Route, Unavailable};
use crate::respond::{self, Body, ErrorPage, Redirect, file, preview};
use crate::spool::losses::Loss;
use crate::spool::sync::Synced;

/// Who is at the other end of a connection.
#[derive(Debug)]
pub(super) struct Peer {
    /// Of the connection, or what a trusted proxy said before it.
    pub(super) address: IpAddr,
    /// The host that the client named to TLS.
    pub(super) server_name: Option<Box<str>>,
}

impl Worker {
    /// Answers one of a connection's requests; its last, if so is its fate.
    pub(super) async fn serve(
        &self,
        request: &Request<Incoming>,
        peer: &Peer,
        watch: &Watch,
    ) -> Response<Body> {
        let under_way = UnderWay::begin(watch);
        let mut response = self.answer(request, peer).await;
        if watch.fate() != Fate::Stays || request.version() == Version::HTTP_2 {
            last_answer(&mut response, request.version());
        }
        drop(under_way);
        response
    }

    async fn answer(&self, request: &Request<Incoming>, peer: &Peer) -> Response<Body> {
        let has_body = !request.body().is_end_stream();
        let ask = {
            let domains = self.shared.domains.load();
            Ask::parse(request, has_body, &domains)
        };
        let ask = match &peer.server_name {
            Some(name) if !names_host(request, name) => ask.and(Err(Refusal::Misdirected)),
            _ => ask,
        };
        let answer = match ask {
            Ok(ask) => self.fulfil(&ask, request.headers(), peer.address).await,
            Err(refusal) => Err(refusal.into()),
        };
        answer.unwrap_or_else(|page| {
            self.metrics().error(page);
            let mut response = page.response(Form::wanted(request.headers()));
            if page == ErrorPage::TooManyMisses {
                response.headers_mut().insert(RETRY_AFTER, self.shared.limits.misses.retry_after());
            }
            response
        })
    }

    async fn fulfil(
        &self,
        ask: &Ask<'_>,
        headers: &HeaderMap,
        peer: IpAddr,
    ) -> Result<Response<Body>, ErrorPage> {
        let now = self.shared.clock.now();
        match ask.resource {
            Resource::Link(code) => {
                let route = self.route(ask, code, headers, peer, now).await?;
                let redirect = self.judge(&route, headers, peer, now)?;
                if let Some(synced) = self.record(ask, headers, peer, &redirect, now)?
                    && !synced.wait().await
                {
                    self.metrics().clicks_unsynced.add(1);
                }
                self.metrics().redirects.add(1);
                Ok(redirect.response(ask.query, now))
            }
            Resource::Preview(code) => {
                let route = self.route(ask, code, headers, peer, now).await?;
                let redirect = self.judge(&route, headers, peer, now)?;
                self.metrics().previews.add(1);
                Ok(preview::response(&redirect, Form::wanted(headers)))
            }
            Resource::Robots => {
                self.metrics().files.add(1);
                Ok(file::robots())
            }
            Resource::Favicon => {
                self.metrics().files.add(1);
                Ok(file::favicon())
            }
            Resource::Home => {
                let domains = self.shared.domains.load();
                let home = domains.home(ask.domain).ok_or(ErrorPage::NotFound)?;
                self.metrics().homes.add(1);
                Ok(respond::home(home))
            }
            Resource::Nothing => Err(ErrorPage::NotFound),
        }
    }

    async fn route(
        &self,
        ask: &Ask<'_>,
        code: &str,
        headers: &HeaderMap,
        peer: IpAddr,
        now: UnixMillis,
    ) -> Result<Route, ErrorPage> {
        let key = Key::new(ask.domain, code);
        let route = match self.shared.resolver.known(&key) {
            // By a setting, rather nobody is sent than to where a link may lead no more.
            Known::Route(_) if self.shared.resolver.feed().refuses() => {
                return Err(ErrorPage::Unavailable);
            }
            Known::Route(route) => {
                self.metrics().memory_hits.add(1);
                return Ok(route);
            }
            Known::Absent => {
                self.metrics().absence_hits.add(1);
                None
            }
            Known::Unknown => {
                self.metrics().look_ups.add(1);
                let code = Code::parse(code).map_err(|_| ErrorPage::NotFound)?;
                let block = self.client(headers, peer);
                let is_spent =
                    block.is_some_and(|block| self.shared.limits.misses.is_spent(block, now));
                // Who has missed too often is still looked up for, while few others like it are.
                let _guess = match is_spent.then(|| self.shared.limits.guesses.try_acquire()) {
                    Some(Err(_)) => return Err(ErrorPage::TooManyMisses),
                    guess => guess,
                };
                match self.shared.resolver.look_up(&key, ask.domain, code).await {
                    Ok(route) => route,
                    Err(Unavailable) => return Err(ErrorPage::Unavailable),
                }
            }
        };
        route.ok_or_else(|| {
            let page = self.miss(headers, peer, now);
            if page == ErrorPage::NotFound {
                self.shared.missing.count(ask.domain, code);
            }
            page
        })
    }

    /// What a route answers now. One that has not begun is missed like one that never was: whoever
    /// has no miss left must not see the difference.
    fn judge<'a>(
        &self,
        route: &'a Route,
        headers: &HeaderMap,
        peer: IpAddr,
        now: UnixMillis,
    ) -> Result<Redirect<'a>, ErrorPage> {
        Redirect::of(route, now).map_err(|page| match page {
            ErrorPage::NotFound => self.miss(headers, peer, now),
            page => page,
        })
    }

    /// Counts a code that does not exist against who asked for it.
    #[cold]
    fn miss(&self, headers: &HeaderMap, peer: IpAddr, now: UnixMillis) -> ErrorPage {
        match self.client(headers, peer) {
            Some(block) if !self.shared.limits.misses.spend(block, now) => ErrorPage::TooManyMisses,
            _ => ErrorPage::NotFound,
        }
    }

    /// Whose limits count; `None`: nobody's.
    #[cold]
    fn client(&self, headers: &HeaderMap, peer: IpAddr) -> Option<Block> {
        self.shared
            .limits
            .blocks
            .of(proxy::client(&self.shared.limits.trusted_proxies, peer, headers))
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
        headers: &HeaderMap,
        peer: IpAddr,
        redirect: &Redirect<'_>,
        now: UnixMillis,
    ) -> Result<Option<Synced>, ErrorPage> {
        let visitor = Visitor::read(headers);
        let address = proxy::client(&self.shared.limits.trusted_proxies, peer, headers);
        let click = record::click(ask, &visitor, address, redirect, now);
        let recorded = self.recorder.borrow_mut().record(&click);
        if recorded.is_err() {
            return self.record_overload(&click).map(|()| None);
        }
        self.metrics().clicks_recorded.add(1);
        Ok(self.shared.is_synced.then(|| self.recorder.borrow_mut().synced()))
    }

    /// The ring is full: keeps the number, or the total, or nothing, as the operator wants it.
    #[cold]
    fn record_overload(&self, click: &carom_shared::RawClick<'_>) -> Result<(), ErrorPage> {
        if self.shared.on_overload == OnOverload::Refuse {
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

/// Says that a connection ends. HTTP/2 says so by itself, and forbids the header (RFC 9113 8.2.2).
#[cold]
fn last_answer(response: &mut Response<Body>, version: Version) {
    if version == Version::HTTP_2 {
        response.headers_mut().remove(CONNECTION);
    } else {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
}
