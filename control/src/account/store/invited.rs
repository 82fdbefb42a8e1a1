//! Who is waited for.

use carom_shared::UnixMillis;

use crate::account::Email;
use crate::db::{Db, StoreError, on_db};

/// Whether a workspace waits for whoever has this address.
pub(crate) async fn email_is_invited(
    db: &Db,
    email: &Email,
    now: UnixMillis,
) -> Result<bool, StoreError> {
    const FIND: &str = "select id from invitation where email = $1 and accepted_at_ms is null \
           and withdrawn_at_ms is null and expires_at_ms > $2 limit 1";
    let found: Option<i64> = on_db!(db, |pool| {
        let query = sqlx::query_scalar(FIND).bind(email.as_str()).bind(now.get());
        query.fetch_optional(pool).await
    })?;
    Ok(found.is_some())
}
