//! Pages of the audit log: what is asked for, and where a page ends. Pure.

use carom_shared::{AccountId, ApiKeyId, AuditId, UnixMillis, WorkspaceId};
use serde::{Deserialize, Serialize};
use utoipa::IntoParams;

use crate::click::report::params::Format;
use crate::http::cursor::CursorKey;
use crate::http::problem::{ApiError, FieldError};
use crate::link::command::check_time;

/// Entries of a page.
const PAGE_MAX: u32 = 1000;
const PAGE_DEFAULT: u32 = 50;
/// Bytes of an action and of an object's name.
const NAME_MAX: usize = 100;

/// A page of the audit log, as a client asks for it.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct AuditParams {
    /// Entries of a page; 50 unless it says otherwise.
    #[param(minimum = 1, maximum = 1000)]
    pub(crate) limit: Option<u32>,
    /// `next_cursor` of the page before, with the same filters.
    #[param(max_length = 1000)]
    pub(crate) cursor: Option<String>,
    /// Only this, such as `link.change`.
    #[param(max_length = 100)]
    pub(crate) action: Option<String>,
    /// Only what was done to this, such as `link:123`.
    #[param(max_length = 100)]
    pub(crate) object: Option<String>,
    /// Only what this account has done, by itself or with a key of its own.
    #[param(value_type = Option<String>, pattern = "^[1-9][0-9]{0,18}$")]
    pub(crate) account_id: Option<AccountId>,
    /// Only what was done with this key.
    #[param(value_type = Option<String>, pattern = "^[1-9][0-9]{0,18}$")]
    pub(crate) key_id: Option<ApiKeyId>,
    /// From this time on.
    #[param(format = "date-time")]
    pub(crate) from: Option<String>,
    /// Before this time.
    #[param(format = "date-time")]
    pub(crate) to: Option<String>,
    /// `json` unless it says otherwise.
    #[param(inline)]
    #[serde(default)]
    pub(crate) format: Format,
}

/// A page, checked.
#[derive(Clone, Debug)]
pub(crate) struct AuditQuery {
    pub(crate) filter: AuditFilter,
    /// `None`: from the newest on.
    pub(crate) below: Option<AuditId>,
    pub(crate) limit: u32,
    pub(crate) format: Format,
}

/// Which entries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct AuditFilter {
    /// `None`: of the whole installation.
    pub(crate) workspace: Option<WorkspaceId>,
    pub(crate) action: Option<String>,
    pub(crate) object: Option<String>,
    pub(crate) account: Option<AccountId>,
    pub(crate) key: Option<ApiKeyId>,
    /// Milliseconds.
    pub(crate) from: Option<i64>,
    pub(crate) to: Option<i64>,
}

/// Checks what a client asks for.
pub(crate) fn check_audit(
    params: &AuditParams,
    workspace: Option<WorkspaceId>,
    key: &CursorKey,
) -> Result<AuditQuery, ApiError> {
    let limit = params.limit.unwrap_or(PAGE_DEFAULT);
    if !(1..=PAGE_MAX).contains(&limit) {
        return Err(ApiError::Request(format!("limit is from 1 to {PAGE_MAX}")));
    }
    let name = |name: &Option<String>, what: &str| match name {
        Some(name) if name.len() > NAME_MAX || name.chars().any(char::is_control) => {
            Err(ApiError::Request(format!("{what} has at most {NAME_MAX} bytes of one line")))
        }
        name => Ok(name.clone()),
    };
    let time = |time: &Option<String>, what: &str| {
        let time = time.as_deref().map(|time| check_time(time, what)).transpose();
        let error = |error: FieldError| ApiError::Request(format!("{what}: {}", error.detail));
        time.map(|time| time.map(UnixMillis::get)).map_err(error)
    };
    let filter = AuditFilter {
        workspace,
        action: name(&params.action, "action")?,
        object: name(&params.object, "object")?,
        account: params.account_id,
        key: params.key_id,
        from: time(&params.from, "from")?,
        to: time(&params.to, "to")?,
    };
    let mut query = AuditQuery { filter, below: None, limit, format: params.format };
    if let Some(cursor) = &params.cursor {
        query.below = Some(query.read_cursor(cursor, key)?);
    }
    Ok(query)
}

impl AuditQuery {
    /// The cursor of a page that ends with this entry.
    pub(crate) fn cursor_after(&self, last: AuditId, key: &CursorKey) -> String {
        let place = u128::from(last.get().cast_unsigned());
        key.sign(place.to_be_bytes(), &self.to_bytes())
    }

    fn read_cursor(&self, cursor: &str, key: &CursorKey) -> Result<AuditId, ApiError> {
        let place = key.read(cursor, &self.to_bytes()).map(u128::from_be_bytes);
        let id = place.and_then(|place| i64::try_from(place).ok());
        id.and_then(|id| AuditId::try_from(id).ok()).ok_or_else(|| {
            let detail = "cursor is not one that this list gave out with these filters; start \
                          without one";
            ApiError::Request(detail.into())
        })
    }

    /// What tells lists apart.
    fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(&("audit", &self.filter)).expect("numbers and texts are JSON")
    }
}
