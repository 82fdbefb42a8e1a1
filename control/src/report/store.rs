//! The table `report`.

use carom_shared::{LinkId, Random, ReportId, UnixMillis, WorkspaceId};

use super::{Report, ReportReason, ReportState};
use crate::db::{Db, StoreError, Tx, on_db, on_tx};

/// How often an id is drawn before giving up.
const ID_DRAWS_MAX: usize = 8;
/// Milliseconds after which a closed report is forgotten: a year.
const FORGOTTEN_AFTER_MS: i64 = 365 * 86_400_000;
/// Reports that are forgotten at once.
pub(crate) const PRUNED_MAX: u64 = 1024;

macro_rules! report_columns {
    () => {
        "id, workspace_id, link_id, short_url, reason, comment, contact, state, created_at_ms, \
         closed_at_ms"
    };
}

#[derive(sqlx::FromRow)]
struct Row {
    id: i64,
    workspace_id: i64,
    link_id: i64,
    short_url: String,
    reason: i64,
    comment: String,
    contact: String,
    state: i64,
    created_at_ms: i64,
    closed_at_ms: Option<i64>,
}

impl TryFrom<Row> for Report {
    type Error = StoreError;

    fn try_from(row: Row) -> Result<Self, StoreError> {
        let corrupt = || StoreError::Corrupt("report row");
        let reason = ReportReason::ALL.into_iter().find(|it| it.number() == row.reason);
        let state = ReportState::ALL.into_iter().find(|it| it.number() == row.state);
        Ok(Self {
            id: row.id.try_into().map_err(|_| corrupt())?,
            workspace: row.workspace_id.try_into().map_err(|_| corrupt())?,
            link: row.link_id.try_into().map_err(|_| corrupt())?,
            short_url: row.short_url,
            reason: reason.ok_or_else(corrupt)?,
            comment: row.comment,
            contact: row.contact,
            state: state.ok_or_else(corrupt)?,
            created_at: UnixMillis::new(row.created_at_ms),
            closed_at: row.closed_at_ms.map(UnixMillis::new),
        })
    }
}

fn reports(rows: Vec<Row>) -> Result<Vec<Report>, StoreError> {
    rows.into_iter().map(Report::try_from).collect()
}

/// How many reports are open, of a link and in all.
pub(crate) async fn reports_open(tx: &mut Tx, link: LinkId) -> Result<(u64, u64), StoreError> {
    const COUNT: &str = "select cast(coalesce(sum(case when link_id = $1 then 1 else 0 end), 0) \
         as bigint), cast(count(*) as bigint) from report where state = 0";
    let (of_link, all): (i64, i64) =
        on_tx!(tx, |conn| sqlx::query_as(COUNT).bind(link.get()).fetch_one(conn).await)?;
    Ok((of_link.unsigned_abs(), all.unsigned_abs()))
}

/// Writes a new report; its id is drawn again while it is taken.
pub(crate) async fn report_insert(
    tx: &mut Tx,
    report: &mut Report,
    random: &dyn Random,
) -> Result<(), StoreError> {
    const INSERT: &str = concat!(
        "insert into report (",
        report_columns!(),
        ") values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) on conflict (id) do nothing"
    );
    for _ in 0..ID_DRAWS_MAX {
        let written = on_tx!(tx, |conn| {
            let query = sqlx::query(INSERT)
                .bind(report.id.get())
                .bind(report.workspace.get())
                .bind(report.link.get())
                .bind(report.short_url.as_str())
                .bind(report.reason.number())
                .bind(report.comment.as_str())
                .bind(report.contact.as_str())
                .bind(report.state.number())
                .bind(report.created_at.get())
                .bind(report.closed_at.map(UnixMillis::get));
            query.execute(conn).await.map(|done| done.rows_affected())
        });
        if written? == 1 {
            return Ok(());
        }
        report.id = ReportId::generate(report.created_at, random);
    }
    Err(StoreError::Exhausted(ID_DRAWS_MAX, "ids"))
}

/// Closes the open reports of a report's link, or that one alone. Tells of which link, and how many;
/// `None` if there is no such report.
pub(crate) async fn report_close(
    tx: &mut Tx,
    id: ReportId,
    state: ReportState,
    now: UnixMillis,
) -> Result<Option<(Report, u64)>, StoreError> {
    const READ: &str = concat!("select ", report_columns!(), " from report where id = $1");
    const CLOSE: &str = "update report set state = $2, closed_at_ms = $3, contact = '' \
         where state = 0 and id = $1";
    const CLOSE_ALL: &str = "update report set state = $2, closed_at_ms = $3, contact = '' \
         where state = 0 and link_id = $1";
    let row: Option<Row> =
        on_tx!(tx, |conn| sqlx::query_as(READ).bind(id.get()).fetch_optional(conn).await)?;
    let Some(row) = row else { return Ok(None) };
    let report = Report::try_from(row)?;
    // What is blocked is so for all who reported it.
    let (close, which) = match state {
        ReportState::Blocked => (CLOSE_ALL, report.link.get()),
        _ => (CLOSE, id.get()),
    };
    let closed = on_tx!(tx, |conn| {
        let query = sqlx::query(close).bind(which).bind(state.number()).bind(now.get());
        query.execute(conn).await.map(|done| done.rows_affected())
    })?;
    Ok(Some((report, closed)))
}

/// Forgets the oldest of those that were closed [`FORGOTTEN_AFTER_MS`] ago, at most [`PRUNED_MAX`]; says how
/// many.
pub(crate) async fn reports_prune(tx: &mut Tx, now: UnixMillis) -> Result<u64, StoreError> {
    const PRUNE: &str = "delete from report where id in (\
           select id from report where closed_at_ms < $1 order by closed_at_ms limit $2)";
    let done = on_tx!(tx, |conn| {
        let query = sqlx::query(PRUNE).bind(now.get().saturating_sub(FORGOTTEN_AFTER_MS));
        query.bind(PRUNED_MAX.cast_signed()).execute(conn).await.map(|done| done.rows_affected())
    });
    Ok(done?)
}

/// Reports before this one, newest first: of all, or of those in a state.
pub(crate) async fn reports_list(
    db: &Db,
    state: Option<ReportState>,
    before: Option<ReportId>,
    limit: u32,
) -> Result<Vec<Report>, StoreError> {
    const LIST: &str = concat!(
        "select ",
        report_columns!(),
        " from report where id < $1 order by id desc limit $2"
    );
    const IN_STATE: &str = concat!(
        "select ",
        report_columns!(),
        " from report where id < $1 and state = $3 order by id desc limit $2"
    );
    let before = before.map_or(i64::MAX, ReportId::get);
    reports(on_db!(db, |pool| match state {
        None => {
            let query = sqlx::query_as(LIST).bind(before).bind(i64::from(limit));
            query.fetch_all(pool).await
        }
        Some(state) => {
            let query = sqlx::query_as(IN_STATE).bind(before).bind(i64::from(limit));
            query.bind(state.number()).fetch_all(pool).await
        }
    })?)
}

/// Reports about a workspace's links before this one, newest first.
pub(crate) async fn reports_of(
    db: &Db,
    workspace: WorkspaceId,
    before: Option<ReportId>,
    limit: u32,
) -> Result<Vec<Report>, StoreError> {
    const LIST: &str = concat!(
        "select ",
        report_columns!(),
        " from report where workspace_id = $1 and id < $2 order by id desc limit $3"
    );
    let before = before.map_or(i64::MAX, ReportId::get);
    reports(on_db!(db, |pool| {
        let query = sqlx::query_as(LIST).bind(workspace.get()).bind(before);
        query.bind(i64::from(limit)).fetch_all(pool).await
    })?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::store::link_create;
    use crate::testing::{NOW, TestDb, on_each_database};

    on_each_database!(what_was_closed_long_ago_is_forgotten);

    async fn what_was_closed_long_ago_is_forgotten(test: TestDb) {
        let at = |ms: i64| UnixMillis::new(NOW.get() + ms);
        let mut tx = test.db.begin().await.unwrap();
        let made = link_create(&mut tx, test.create(None), NOW, &test.random).await.unwrap();
        let link = made.unwrap().0.id;
        let mut ids = Vec::new();
        for _ in 0..3 {
            let mut report = Report {
                id: ReportId::generate(NOW, &test.random),
                workspace: test.workspace,
                link,
                short_url: "https://go.example/x".into(),
                reason: ReportReason::ALL[0],
                comment: String::new(),
                contact: String::new(),
                state: ReportState::Open,
                created_at: NOW,
                closed_at: None,
            };
            report_insert(&mut tx, &mut report, &test.random).await.unwrap();
            ids.push(report.id);
        }
        for (id, ms) in ids.iter().zip([0, 1]) {
            let closed = report_close(&mut tx, *id, ReportState::Dismissed, at(ms)).await.unwrap();
            assert_eq!(closed.unwrap().1, 1);
        }
        assert_eq!(reports_prune(&mut tx, at(FORGOTTEN_AFTER_MS)).await.unwrap(), 0);
        assert_eq!(reports_prune(&mut tx, at(FORGOTTEN_AFTER_MS + 1)).await.unwrap(), 1);
        tx.commit().await.unwrap();
        let left = reports_list(&test.db.read, None, None, 10).await.unwrap();
        let mut left: Vec<_> = left.iter().map(|report| report.id).collect();
        left.sort_unstable();
        let mut expected = ids.split_off(1);
        expected.sort_unstable();
        assert_eq!(left, expected, "one that is open stays for ever");
    }
}
