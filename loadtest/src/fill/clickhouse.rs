//! A ClickHouse that takes the clicks: a database of its own in it, what that has on the disk, and what the
//! engine's process costs.

use std::net::{SocketAddr, ToSocketAddrs};

use clap::Args;
use serde::Serialize;

use crate::failure::Failure;
use crate::http::{Connection, HttpError};
use crate::process::{CpuSample, Memory};

#[derive(Debug, Args)]
pub(crate) struct EngineArgs {
    /// Clicks go to this ClickHouse, whose databases may be made by anybody who reaches it:
    /// `http://127.0.0.1:8123`; a database of its own is made, and dropped unless --keep is given.
    #[arg(long, value_name = "URL")]
    clickhouse: Option<String>,
    /// With --clickhouse: the process of the engine, to measure its CPU time and memory.
    #[arg(long, value_name = "PID", requires = "clickhouse")]
    engine_pid: Option<u32>,
    /// With --again: the database that `fill --keep` made.
    #[arg(long, value_name = "NAME", requires = "clickhouse")]
    database: Option<String>,
}

/// The database in it.
#[derive(Debug)]
pub(crate) struct Engine {
    address: SocketAddr,
    authority: String,
    database: String,
    pid: Option<u32>,
}

/// What the engine's process has used, and what the clicks are on its disk.
#[derive(Debug, Serialize)]
pub(crate) struct EngineCost {
    /// Microseconds of CPU for each click, until all were stored; merges that came later are not in it.
    pub(crate) cpu_us: f64,
    pub(crate) memory: Memory,
}

/// Bytes on its disk, by table, once merges rest.
#[derive(Debug, Serialize)]
pub(crate) struct TableSize {
    pub(crate) table: String,
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
    pub(crate) parts: u64,
}

impl EngineArgs {
    /// Makes the database, or takes the one that is named.
    pub(crate) async fn engine(&self) -> Result<Option<Engine>, Failure> {
        let Some(url) = &self.clickhouse else { return Ok(None) };
        let unknown = || Failure::new(format!("{url} is no address like http://127.0.0.1:8123"));
        let authority = url.strip_prefix("http://").ok_or_else(unknown)?.trim_end_matches('/');
        let mut addresses = authority.to_socket_addrs().map_err(|_| unknown())?;
        let address = addresses.next().ok_or_else(unknown)?;
        let name = || format!("carom_fill_{}", std::process::id());
        let engine = Engine {
            address,
            authority: authority.to_owned(),
            database: self.database.clone().unwrap_or_else(name),
            pid: self.engine_pid,
        };
        if self.database.is_none() {
            engine.ask("default", &format!("CREATE DATABASE {}", engine.database)).await?;
        }
        Ok(Some(engine))
    }
}

impl Engine {
    /// The setting that names it.
    pub(crate) fn setting(&self) -> String {
        format!("clicks.url=http://{}/{}", self.authority, self.database)
    }

    pub(crate) fn database(&self) -> &str {
        &self.database
    }

    pub(crate) fn sample(&self) -> Result<Option<CpuSample>, Failure> {
        self.pid.map(CpuSample::take).transpose()
    }

    pub(crate) fn cost(
        &self,
        sample: Option<&CpuSample>,
        clicks: u64,
    ) -> Result<Option<EngineCost>, Failure> {
        let Some((pid, sample)) = self.pid.zip(sample) else { return Ok(None) };
        let cost = sample.cost_until_now(pid, clicks)?;
        let cpu_us = cost.edge_us + cost.others_us;
        Ok(Some(EngineCost { cpu_us, memory: cost.memory }))
    }

    pub(crate) async fn sizes(&self) -> Result<Vec<TableSize>, Failure> {
        const SIZES: &str = "SELECT table, toString(sum(rows)), toString(sum(bytes_on_disk)), \
             toString(count()) FROM system.parts WHERE database = currentDatabase() AND active \
             GROUP BY table ORDER BY sum(bytes_on_disk) DESC FORMAT TSV";
        let text = self.ask(&self.database, SIZES).await?;
        let size = |line: &str| {
            let mut cells = line.split('\t');
            let table = cells.next()?.to_owned();
            let mut number = || cells.next()?.parse().ok();
            Some(TableSize { table, rows: number()?, bytes: number()?, parts: number()? })
        };
        let sizes: Option<Vec<TableSize>> = text.lines().map(size).collect();
        sizes.ok_or_else(|| Failure::new(format!("the engine's tables cannot be read: {text}")))
    }

    /// Merges still running.
    pub(crate) async fn merges(&self) -> Result<u64, Failure> {
        const MERGES: &str =
            "SELECT count() FROM system.merges WHERE database = currentDatabase() FORMAT TSV";
        Ok(self.ask(&self.database, MERGES).await?.trim().parse().unwrap_or_default())
    }

    pub(crate) async fn version(&self) -> Result<String, Failure> {
        Ok(self.ask("default", "SELECT version() FORMAT TSV").await?.trim().to_owned())
    }

    pub(crate) async fn drop_database(&self) -> Result<(), Failure> {
        self.ask("default", &format!("DROP DATABASE {} SYNC", self.database)).await.map(drop)
    }

    async fn ask(&self, database: &str, sql: &str) -> Result<String, Failure> {
        let asked = async {
            let mut connection = Connection::open(self.address).await?;
            let request = format!(
                "POST /?database={database} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\
                 Content-Length: {}\r\n\r\n{sql}",
                self.authority,
                sql.len()
            );
            connection.send(request.as_bytes()).await?;
            let head = connection.read_head().await?;
            let response = connection.read_body(&head).await?;
            Ok::<_, HttpError>((
                response.status,
                String::from_utf8_lossy(response.body).into_owned(),
            ))
        };
        match asked.await {
            Ok((200, text)) => Ok(text),
            Ok((status, text)) => Err(Failure::new(format!("the engine says {status}: {text}"))),
            Err(error) => Err(Failure::new(format!(
                "the engine at {} does not answer: {error}",
                self.authority
            ))),
        }
    }
}
