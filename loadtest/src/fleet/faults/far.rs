//! An edge on another host, as far as this machine can play one.
//!
//! As root and with `ip` it lives in a network namespace of its own, with two cables: one to its
//! visitors, one to all the rest. Pulling the second (its interface goes down) loses packets in silence,
//! and connections learn of it by their own deadlines. Without, it is a process like the others, whose
//! wires to the rest are proxies, and cutting those is what there is. Delay is made by these proxies in
//! both cases: it needs no module of the kernel (`netem`) that many machines do not have.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::geteuid;

use super::super::member::{Member, Plan};
use super::super::proxy::Proxy;
use crate::failure::Failure;
use crate::report::progress;

/// Where Debian has it, and others.
const IP_PROGRAMS: [&str; 4] = ["/usr/sbin/ip", "/sbin/ip", "/usr/bin/ip", "/bin/ip"];

/// The wires of the far edge.
pub(super) struct Far {
    namespace: Option<Namespace>,
    wires: Vec<Proxy>,
}

/// What is between the far edge and the rest: where each is reached, and where it is.
pub(super) struct Wanted {
    /// Free ports for its wires, one for each of the others.
    pub(super) ports: Vec<u16>,
    pub(super) to: Vec<SocketAddr>,
}

impl Far {
    /// Lays the wires; gives the addresses at which the far edge finds the others.
    pub(super) async fn lay(wanted: Wanted) -> Result<(Self, Vec<SocketAddr>), Failure> {
        let namespace = match Namespace::make() {
            Ok(namespace) => Some(namespace),
            Err(failure) => {
                progress(&format!("no network namespace ({failure}): proxies are cut instead"));
                None
            }
        };
        let mut wires = Vec::new();
        for (port, to) in wanted.ports.into_iter().zip(wanted.to) {
            let ip = namespace.as_ref().map_or([127, 0, 0, 1], |of| of.rest_here());
            wires.push(Proxy::start(SocketAddr::from((ip, port)), to).await?);
        }
        let addresses = wires.iter().map(Proxy::address).collect();
        Ok((Self { namespace, wires }, addresses))
    }

    /// What the cut is made with.
    pub(super) const fn means(&self) -> &'static str {
        match self.namespace {
            Some(_) => "network namespace",
            None => "proxies",
        }
    }

    /// Where it listens, given where it would here.
    pub(super) fn listen(&self, here: SocketAddr) -> SocketAddr {
        let Some(namespace) = &self.namespace else { return here };
        SocketAddr::from((namespace.visitors_there(), here.port()))
    }

    /// The edge of a plan, on the other host.
    pub(super) fn start(&self, mut plan: Plan) -> Result<Member, Failure> {
        if let Some(namespace) = &self.namespace {
            let program = std::mem::replace(&mut plan.program, namespace.ip.clone());
            let inside = ["netns", "exec", &namespace.name].map(str::to_owned);
            let program = program.display().to_string();
            plan.arguments.splice(0..0, inside.into_iter().chain([program]));
        }
        Member::start(plan)
    }

    pub(super) fn set_delay(&self, delay: Duration) {
        self.wires.iter().for_each(|wire| wire.set_delay(delay));
    }

    /// Pulls the cable, or puts it in again.
    pub(super) fn set_cut(&self, is_cut: bool) -> Result<(), Failure> {
        match &self.namespace {
            Some(namespace) => namespace.set_cut(is_cut),
            None => {
                self.wires.iter().for_each(|wire| wire.set_cut(is_cut));
                Ok(())
            }
        }
    }
}

/// A network namespace and its two cables. Dropping it removes them.
struct Namespace {
    ip: PathBuf,
    name: String,
    /// Part of its addresses: two experiments at once do not meet.
    third: u8,
}

impl Namespace {
    fn make() -> Result<Self, Failure> {
        if !geteuid().is_root() {
            return Err(Failure::new("it needs to be root"));
        }
        let ip = IP_PROGRAMS.into_iter().map(PathBuf::from).find(|path| path.exists());
        let ip = ip.ok_or_else(|| Failure::new("the program ip is missing: install iproute2"))?;
        let id = std::process::id();
        let third = u8::try_from(id % 251).unwrap_or(0);
        let namespace = Self { ip, name: format!("carom-{id}"), third };
        namespace.run(&format!("netns add {}", namespace.name))?;
        namespace.run(&format!("-n {} link set lo up", namespace.name))?;
        namespace.cable('v', namespace.visitors_here(), namespace.visitors_there())?;
        namespace.cable('r', namespace.rest_here(), [10, 213, third, 6])?;
        Ok(namespace)
    }

    const fn visitors_here(&self) -> [u8; 4] {
        [10, 213, self.third, 1]
    }

    const fn visitors_there(&self) -> [u8; 4] {
        [10, 213, self.third, 2]
    }

    const fn rest_here(&self) -> [u8; 4] {
        [10, 213, self.third, 5]
    }

    /// This end of a cable.
    fn device(&self, which: char) -> String {
        format!("cr{}{which}", std::process::id())
    }

    fn cable(&self, which: char, here: [u8; 4], there: [u8; 4]) -> Result<(), Failure> {
        let text = |[a, b, c, d]: [u8; 4]| format!("{a}.{b}.{c}.{d}/30");
        let (device, name) = (self.device(which), &self.name);
        self.run(&format!("link add {device} type veth peer name far-{which} netns {name}"))?;
        self.run(&format!("addr add {} dev {device}", text(here)))?;
        self.run(&format!("link set {device} up"))?;
        self.run(&format!("-n {name} addr add {} dev far-{which}", text(there)))?;
        self.run(&format!("-n {name} link set far-{which} up"))
    }

    fn set_cut(&self, is_cut: bool) -> Result<(), Failure> {
        let state = if is_cut { "down" } else { "up" };
        self.run(&format!("link set {} {state}", self.device('r')))
    }

    fn run(&self, arguments: &str) -> Result<(), Failure> {
        run(&self.ip, arguments)
    }
}

fn run(ip: &Path, arguments: &str) -> Result<(), Failure> {
    let failed = |what: &str| Failure::new(format!("{} {arguments}: {what}", ip.display()));
    let mut command = Command::new(ip);
    let output = command.args(arguments.split(' ')).stdin(Stdio::null()).output();
    let output = output.map_err(|error| failed(&error.to_string()))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(failed(String::from_utf8_lossy(&output.stderr).trim())),
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // Cables end with the namespace that their other ends are in.
        if let Err(failure) = self.run(&format!("netns del {}", self.name)) {
            progress(&failure.to_string());
        }
    }
}
