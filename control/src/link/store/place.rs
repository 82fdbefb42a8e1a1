//! Where links are, by their ids: for files of clicks.

use std::collections::HashMap;

use carom_shared::{Code, DomainId, LinkId, WorkspaceId};
use sqlx::AssertSqlSafe;

use super::{corrupt, sound};
use crate::db::{Db, StoreError, on_db};

/// Links looked up per statement.
const CHUNK: usize = 100;

/// Whose a link is, and where; also of one that was deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LinkPlace {
    pub(crate) workspace: WorkspaceId,
    pub(crate) domain: DomainId,
    /// `None`: another link has taken its code since.
    pub(crate) code: Option<Code>,
}

/// The places of those of the links that are here.
pub(crate) async fn link_places(
    db: &Db,
    links: &[LinkId],
) -> Result<HashMap<LinkId, LinkPlace>, StoreError> {
    const SELECT: &str = "select l.id, l.workspace_id, l.domain_id, l.code, r.link_id \
         from link l left join route r on r.domain_id = l.domain_id and r.code = l.code \
         where l.id in (";
    let mut places = HashMap::with_capacity(links.len());
    for chunk in links.chunks(CHUNK) {
        let list: Vec<String> = (1..=chunk.len()).map(|place| format!("${place}")).collect();
        let sql = format!("{SELECT}{})", list.join(","));
        let rows: Vec<(i64, i64, i64, String, Option<i64>)> = on_db!(db, |pool| {
            let mut query = sqlx::query_as(AssertSqlSafe(sql));
            for link in chunk {
                query = query.bind(link.get());
            }
            query.fetch_all(pool).await
        })?;
        for (id, workspace, domain, code, holder) in rows {
            let code = (holder == Some(id)).then(|| code.parse()).transpose().map_err(corrupt)?;
            let place = LinkPlace {
                workspace: sound(workspace.try_into())?,
                domain: sound(domain.try_into())?,
                code,
            };
            places.insert(sound(id.try_into())?, place);
        }
    }
    Ok(places)
}

#[cfg(test)]
mod tests;
