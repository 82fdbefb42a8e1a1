//! Links as rows of CSV: as the control plane writes them.

pub(crate) use carom_control::operator::csv::{
    COLUMNS, TAGS, cells, push_line, read_forward, read_tags, unguarded,
};
